#include "trine/input/audio.h"
#include "trine/input/encode_image.h"
#include "trine/input/image.h"
#include "trine/input/text.h"

#include "module.h"

namespace trine::python {
namespace {

ResizeFilter resize_filter(const std::string& name) {
  if (name == "nearest") return ResizeFilter::nearest;
  if (name == "box") return ResizeFilter::box;
  if (name == "bilinear") return ResizeFilter::bilinear;
  if (name == "hamming") return ResizeFilter::hamming;
  if (name == "bicubic") return ResizeFilter::bicubic;
  if (name == "lanczos") return ResizeFilter::lanczos;
  throw std::invalid_argument("[resize] a filter is nearest, box, bilinear, hamming, bicubic or lanczos, not '" + name +
                              "'");
}

void bind_tokenizer(py::module_& m) {
  py::class_<Encoding>(m, "Encoding", "Token ids of one text.")
      .def_readonly("ids", &Encoding::ids, "Token ids, special tokens included.")
      .def_readonly("tokens", &Encoding::tokens, "The token of each id.")
      .def_readonly("offsets", &Encoding::offsets,
                    "(begin, end) of each token in characters of the text; (0, 0) for special tokens.")
      .def_readonly("truncated", &Encoding::truncated, "Whether max_length cut something away.")
      .def("__len__", [](const Encoding& e) { return e.ids.size(); })
      .def("__repr__", [](const Encoding& e) {
        return "Encoding(" + std::to_string(e.ids.size()) + " tokens" + (e.truncated ? ", truncated)" : ")");
      });

  py::class_<Tokenizer>(m, "Tokenizer", R"(Text to token ids, from the tokenizer files of a checkpoint.

Ids and offsets equal those of the Hugging Face fast tokenizer. It reads tokenizer.json, else the older files: vocab.txt,
vocab.json with merges.txt, SentencePiece models.

>>> tokenizer = trine.Tokenizer.load("all-MiniLM-L6-v2")    # doctest: +SKIP
>>> tokenizer.encode("the red one").tokens                  # doctest: +SKIP
['[CLS]', 'the', 'red', 'one', '[SEP]'])")
      .def_static("load", &Tokenizer::load, py::arg("path"), NoGil(),
                  "Reads a tokenizer.json, or the files in a directory. RuntimeError names what is not supported.")
      .def(
          "encode",
          [](const Tokenizer& self, const py::str& text, std::int64_t max_length) {
            const std::string bytes = utf8(text);
            const py::gil_scoped_release unlocked;
            return self.encode(bytes, max_length);
          },
          py::arg("text"), py::kw_only(), py::arg("max_length") = 0,
          "The tokens of a text, cut to max_length (special tokens included; 0: no limit).")
      .def(
          "decode",
          [](const Tokenizer& self, const std::vector<std::int32_t>& ids, bool skip_special_tokens) {
            return self.decode(ids, skip_special_tokens);
          },
          py::arg("ids"), py::kw_only(), py::arg("skip_special_tokens") = true, NoGil(),
          "The text of token ids; RuntimeError where the file's decoder is not ByteLevel (GPT-2, RoBERTa, Whisper).")
      .def_property_readonly("pad_id", &Tokenizer::pad_id, "The id that fills short rows.")
      .def_property_readonly("max_length", &Tokenizer::max_length,
                             "Most tokens that the model was made for, as the files say; 0 if they say nothing.")
      .def_property_readonly("vocab_size", &Tokenizer::vocab_size, "Number of ids.")
      .def("describe", &Tokenizer::describe, "One line: model, normaliser, pre-tokeniser, post-processor.")
      .def("__repr__", [](const Tokenizer& self) { return "Tokenizer(" + self.describe() + ")"; });
}

}  // namespace

void bind_input(py::module_& m) {
  m.def(
      "read_image",
      [](const std::filesystem::path& path, std::int64_t draft_side) {
        return read_image(path, {.draft_side = draft_side});
      },
      py::arg("path"), py::arg("draft_side") = 0, NoGil());
  m.def(
      "decode_image",
      [](const py::bytes& file, std::int64_t draft_side) {
        const auto bytes = bytes_of(file);
        const py::gil_scoped_release unlocked;
        return decode_image(bytes, {.draft_side = draft_side});
      },
      py::arg("file"), py::arg("draft_side") = 0);
  m.def(
      "resize",
      [](const Image& image, int width, int height, const std::string& filter) {
        return resize(image, width, height, resize_filter(filter));
      },
      NoGil());
  m.def("encode_jpeg", [](const Image& image, int quality) {
    std::vector<std::byte> file;
    {
      const py::gil_scoped_release unlocked;
      file = encode_jpeg(image, quality);
    }
    return py::bytes(reinterpret_cast<const char*>(file.data()), file.size());
  });

  m.def(
      "read_audio", [](const std::filesystem::path& path, int rate) { return read_audio(path, {.sample_rate = rate}); },
      NoGil());
  m.def("decode_audio", [](const py::bytes& file, int rate) {
    const auto bytes = bytes_of(file);
    const py::gil_scoped_release unlocked;
    return decode_audio(bytes, {.sample_rate = rate});
  });
  m.def("make_audio", [](const Floats& samples, int from, int to) {
    const auto channels = static_cast<int>(samples.shape(1));  // (n, channels)
    const std::span values(samples.data(), static_cast<std::size_t>(samples.size()));
    const py::gil_scoped_release unlocked;
    return make_audio(values, channels, from, {.sample_rate = to});
  });
  m.def("whisper_mel", [](const Floats& samples, int mel_bands) {
    const std::span values(samples.data(), static_cast<std::size_t>(samples.size()));
    Spectrogram mel;
    {
      const py::gil_scoped_release unlocked;
      mel = whisper_mel(values, mel_bands);
    }
    return py::array_t<float>({mel.rows, mel.columns}, mel.values.data());
  });

  bind_tokenizer(m);
}

}  // namespace trine::python
