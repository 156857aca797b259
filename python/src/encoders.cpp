#include "trine/encoders/encoder.h"

#include "module.h"

namespace trine::python {

void bind_encoders(py::module_& m) {
  py::class_<ImageEncoder>(m, "ImageEncoder", "Pixels to features, which are not normalised.")
      .def_property_readonly("dim", &ImageEncoder::dim, "Length of a feature vector.")
      .def("preprocess", &ImageEncoder::preprocess, py::arg("image"), NoGil(),
           "Resized, cropped, normalised. uint8 (H, W, 3) -> (3, H', W')")
      .def("encode", &ImageEncoder::encode, py::arg("pixels"), NoGil(), "(N, 3, H', W') -> (N, dim)")
      .def("describe", &ImageEncoder::describe, "What happens to a picture, as (step, sentence) pairs.");

  py::class_<TextEncoder>(m, "TextEncoder", "Texts to sentence vectors, pooled as the checkpoint says.")
      .def_property_readonly("dim", &TextEncoder::dim, "Length of a vector.")
      .def_property_readonly("max_tokens", &TextEncoder::max_tokens,
                             "Tokens of a text that are used, special tokens included.")
      .def(
          "count_tokens",
          [](const TextEncoder& self, const py::str& text) {
            const std::string bytes = utf8(text);
            const py::gil_scoped_release unlocked;
            return self.count_tokens(bytes);
          },
          py::arg("text"), "Tokens of a text, special tokens included, before anything is cut.")
      .def(
          "tokenize",
          [](const TextEncoder& self, const py::str& text) {
            const std::string bytes = utf8(text);
            const py::gil_scoped_release unlocked;
            return self.tokenize(bytes);
          },
          py::arg("text"), "The ids that the network gets: special tokens included, cut at max_tokens.")
      .def(
          "encode",
          [](const TextEncoder& self, const std::vector<std::string>& texts, const std::string& prompt) {
            return self.encode_after(prompt, texts);
          },
          py::arg("texts"), py::kw_only(), py::arg("prompt") = "", NoGil(),
          "N texts, with `prompt` before each -> (N, dim)")
      .def_property_readonly(
          "prompts", [](const TextEncoder& self) { return self.prompts().by_name; }, "Of the checkpoint, by name.")
      .def("describe", &TextEncoder::describe, "What happens to a text, as (step, sentence) pairs.");

  py::class_<AudioEncoder>(m, "AudioEncoder", "A clip to a sequence of feature vectors, as long as the clip.")
      .def_property_readonly("dim", &AudioEncoder::dim, "Length of a feature vector.")
      .def_property_readonly("sample_rate", &AudioEncoder::sample_rate, "The rate it wants, in Hz.")
      .def_property_readonly("max_seconds", &AudioEncoder::max_seconds, "Longest clip of one call.")
      .def("preprocess", &AudioEncoder::preprocess, py::arg("clip"), NoGil(),
           "What enters the network of (samples, sample_rate): mel (bands, frames), or samples (n).")
      .def("encode", &AudioEncoder::encode, py::arg("clip"), NoGil(),
           "(samples, sample_rate), as trine.read_audio gives it -> (T, dim)")
      .def("describe", &AudioEncoder::describe, "What happens to a clip, as (step, sentence) pairs.");

  py::class_<Similarity>(m, "Similarity", "Scores of pairs: softmax or sigmoid of scale * cosine + bias.")
      .def_property_readonly(
          "kind", [](const Similarity& self) { return self.kind == SimilarityKind::softmax ? "softmax" : "sigmoid"; },
          "\"softmax\" over the candidates or \"sigmoid\" of each pair alone.")
      .def_readonly("scale", &Similarity::scale, "Factor of the cosine.")
      .def_readonly("bias", &Similarity::bias, "Added to it; 0 of softmax.");

  py::class_<AnyEncoder>(m, "Encoders", "Towers whose vectors share one space; None for what the checkpoint lacks.")
      .def_property_readonly(
          "image", [](const AnyEncoder& self) { return self.image.get(); }, "The ImageEncoder, or None.")
      .def_property_readonly(
          "text", [](const AnyEncoder& self) { return self.text.get(); }, "The TextEncoder, or None.")
      .def_property_readonly(
          "audio", [](const AnyEncoder& self) { return self.audio.get(); }, "The AudioEncoder, or None.")
      .def_readonly("similarity", &AnyEncoder::similarity, "How the family scores a pair.");

  m.def(
      "load_encoder",
      [](const std::filesystem::path& directory) -> py::object {
        AnyEncoder encoder;
        {
          const py::gil_scoped_release unlocked;
          encoder = load_encoder(directory);
        }
        if ((encoder.image != nullptr) + (encoder.text != nullptr) + (encoder.audio != nullptr) > 1) {
          return py::cast(std::move(encoder));
        }
        if (encoder.image) return py::cast(std::move(encoder.image));
        if (encoder.text) return py::cast(std::move(encoder.text));
        return py::cast(std::move(encoder.audio));
      },
      py::arg("directory"),
      R"(The encoder that a checkpoint directory holds: ImageEncoder, TextEncoder or AudioEncoder, or Encoders of several.

It gives the features themselves, before any head; `Embedder` is what puts them into one space.

>>> encoder = trine.load_encoder("all-MiniLM-L6-v2")        # doctest: +SKIP
>>> encoder.encode(["the red one"]).shape                   # doctest: +SKIP
torch.Size([1, 384]))");
}

}  // namespace trine::python
