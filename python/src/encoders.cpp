#include "trine/encoders/encoder.h"

#include "trine/device.h"
#include "trine/encoders/clap.h"
#include "trine/encoders/pe_audio_video.h"
#include "trine/encoders/video.h"
#include "trine/precision.h"

#include "module.h"

namespace trine::python {

namespace {

/// What `make` loads, as the class of the only encoder or as Encoders of several.
template <typename Make>
py::object load(const Make& make) {
  AnyEncoder encoder;
  {
    const py::gil_scoped_release unlocked;
    encoder = make();
  }
  if ((encoder.image != nullptr) + (encoder.text != nullptr) + (encoder.audio != nullptr) > 1) {
    return py::cast(std::move(encoder));
  }
  if (encoder.image) return py::cast(std::move(encoder.image));
  if (encoder.text) return py::cast(std::move(encoder.text));
  return py::cast(std::move(encoder.audio));
}

/// By the reference's names, those that there are.
py::dict to_dict(const PeEmbeddings& found) {
  py::dict result;
  const auto add = [&](const char* name, const torch::Tensor& vectors) {
    if (vectors.defined()) result[name] = vectors;
  };
  add("audio", found.audio);
  add("video", found.video);
  add("audio_video", found.audio_video);
  add("text_audio", found.text_audio);
  add("text_video", found.text_video);
  add("text_audio_video", found.text_audio_video);
  add("audio_plus_text", found.audio_plus_text);
  add("video_plus_text", found.video_plus_text);
  return result;
}

}  // namespace

void bind_encoders(py::module_& m) {
  py::class_<ImageEncoder>(m, "ImageEncoder", "Pixels to features, which are not normalised.")
      .def_property_readonly("dim", &ImageEncoder::dim, "Length of a feature vector.")
      .def("preprocess", &ImageEncoder::preprocess, py::arg("image"), NoGil(),
           "Resized, cropped, normalised. uint8 (H, W, 3) -> (3, H', W')")
      .def(
          "preprocess",
          [](const ImageEncoder& self, const py::bytes& file) {
            const auto bytes = bytes_of(file);
            const py::gil_scoped_release unlocked;
            return self.preprocess_file(bytes);
          },
          py::arg("file"), "The same of the bytes of a file.")
      .def(
          "preprocess",
          [](const ImageEncoder& self, const std::filesystem::path& path) { return self.preprocess_file(path); },
          py::arg("path"), NoGil(), "The same of a file.")
      .def("encode", &ImageEncoder::encode, py::arg("pixels"), NoGil(), "(N, 3, H', W') -> (N, dim)")
      .def(
          "encode_video",
          [](const ImageEncoder& self, const torch::Tensor& pixels) {
            const auto* video = dynamic_cast<const VideoEncoder*>(&self);
            if (video == nullptr) throw std::invalid_argument("[encode_video] the encoder is of pictures alone");
            return video->encode_video(pixels);
          },
          py::arg("pixels"), NoGil(), "Of the frames of a video together, PE-AV only: (T, 3, H', W') -> (dim)")
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
      [](const std::filesystem::path& directory, const std::string& name, double accuracy, const std::string& where) {
        return load([&] {
          const LoadDevice there(device(where));
          const LoadPrecision scope(precision(name), accuracy);
          return load_encoder(directory);
        });
      },
      py::arg("directory"), py::arg("precision") = "fp32", py::arg("accuracy") = 0.999,
      py::arg("device") = "cpu");  // trine.load_encoder says what it does

  m.def(
      "load_clap",
      [](const std::filesystem::path& directory, bool whole_clips, std::optional<std::uint32_t> seed,
         bool fuse_short_clips, const std::string& where) {
        return load([&] {
          const LoadDevice there(device(where));
          return load_clap(directory, {.whole_clips = whole_clips, .seed = seed, .fuse_short_clips = fuse_short_clips});
        });
      },
      py::arg("directory"), py::kw_only(), py::arg("whole_clips") = false, py::arg("seed") = py::none(),
      py::arg("fuse_short_clips") = true, py::arg("device") = "cpu",
      R"(The towers of a CLAP directory, as `load_encoder` gives them, with a say in what becomes of a clip.

- whole_clips: one vector of a clip of up to an hour, as the reference takes it: the fusion of the whole and three pieces
  (first, middle and last, or drawn with `seed`); without fusion one piece, which wants a seed (ValueError). Otherwise
  clips over the window are refused, and `Embedder` cuts them into windows.
- seed: that of numpy.random.seed before each clip.
- fuse_short_clips: a clip that fits the window is fused with copies of itself, as the reference does where it is alone in
  its batch; False: never.
- device: where it computes, as at `Embedder`.

>>> clap = trine.load_clap("clap-htsat-fused", whole_clips=True)            # doctest: +SKIP
>>> clap.audio.encode(trine.read_audio("rain.wav", sample_rate=0)).shape    # doctest: +SKIP
torch.Size([1, 512]))");

  py::class_<PeAudioVideo>(m, "PeAudioVideo")
      .def_static(
          "load",
          [](const std::filesystem::path& directory, double max_seconds, const std::string& where) {
            const LoadDevice there(device(where));
            return PeAudioVideo::load(directory, {.max_seconds = max_seconds});
          },
          NoGil())
      .def_property_readonly("dim", &PeAudioVideo::dim)
      .def_property_readonly("has_audio", &PeAudioVideo::has_audio)
      .def_property_readonly("has_video", &PeAudioVideo::has_video)
      .def_property_readonly("pairs",
                             [](const PeAudioVideo& self) {
                               std::vector<std::string> names;
                               for (const PePair pair : self.pairs()) names.emplace_back(to_string(pair));
                               return names;
                             })
      .def("embed",
           [](const PeAudioVideo& self, std::optional<Audio> audio, std::optional<std::vector<Image>> video,
              std::optional<std::vector<std::string>> text) {
             PeEmbeddings found;
             {
               const py::gil_scoped_release unlocked;
               found = self.embed({.audio = std::move(audio), .video = std::move(video), .text = std::move(text)});
             }
             return to_dict(found);
           })
      .def(
          "logits",
          [](const PeAudioVideo& self, const std::string& pair, const torch::Tensor& a, const torch::Tensor& b) {
            return self.logits(pe_pair(pair), a, b);
          },
          NoGil())
      .def("describe", &PeAudioVideo::describe);
}

}  // namespace trine::python
