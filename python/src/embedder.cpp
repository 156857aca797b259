#include "trine/embedder.h"

#include <span>

#include "trine/device.h"
#include "trine/encoders/gradients.h"
#include "trine/precision.h"

#include "module.h"

namespace trine::python {
namespace {

/// Numbers of a text are whole: tokens, characters.
template <typename Number>
py::dict to_dict(const Coverage& coverage) {
  py::list windows;
  for (const Window& w : coverage.windows) {
    windows.append(py::make_tuple(static_cast<Number>(w.first), static_cast<Number>(w.last)));
  }
  py::dict result;
  result["total"] = static_cast<Number>(coverage.total);
  result["used"] = static_cast<Number>(coverage.used);
  result["windows"] = windows;
  return result;
}

/// A batch method of Embedder, and what it returns as (vectors, coverage of each input).
template <typename Input>
using Embed = torch::Tensor (Embedder::*)(const std::vector<Input>&, const EmbedOptions&) const;

template <typename Number, typename Input>
py::tuple call_with_coverage(const Embedder& self, Embed<Input> embed, const std::vector<Input>& inputs,
                             EmbedOptions options) {
  std::vector<Coverage> coverage;
  options.coverage = &coverage;
  torch::Tensor vectors;
  {
    const py::gil_scoped_release unlocked;
    vectors = (self.*embed)(inputs, options);
  }
  py::list described;
  for (const Coverage& c : coverage) described.append(to_dict<Number>(c));
  return py::make_tuple(vectors, described);
}

py::tuple embed_images(const Embedder& self, const std::vector<ImageInput>& images, std::int64_t batch_size,
                       bool draft) {
  return call_with_coverage<std::int64_t>(self, &Embedder::embed_images, images,
                                          {.batch_size = batch_size, .draft = draft});
}

py::tuple embed_texts(const Embedder& self, const std::vector<std::string>& texts, std::int64_t batch_size,
                      const std::string& how, const std::optional<std::string>& prompt_name,
                      const std::optional<std::string>& prompt) {
  return call_with_coverage<std::int64_t>(
      self, &Embedder::embed_texts, texts,
      {.batch_size = batch_size, .long_input = long_input(how), .prompt_name = prompt_name, .prompt = prompt});
}

py::tuple embed_audios(const Embedder& self, const std::vector<AudioInput>& audios, std::int64_t batch_size,
                       const std::string& how) {
  return call_with_coverage<double>(self, &Embedder::embed_audios, audios,
                                    {.batch_size = batch_size, .long_input = long_input(how)});
}

/// A path, the bytes of a file, or a list of pictures.
VideoInput to_video(const py::object& video) {
  if (py::isinstance<py::bytes>(video)) return copy_of(py::reinterpret_borrow<py::bytes>(video));
  if (py::isinstance<py::list>(video)) return video.cast<std::vector<Image>>();
  return video.cast<std::filesystem::path>();
}

/// `call` of one video without the interpreter's lock.
template <typename Call>
torch::Tensor of_video(const py::object& video, const VideoEmbedOptions& options, const Call& call) {
  const std::vector<VideoInput> videos{to_video(video)};
  const py::gil_scoped_release unlocked;
  return call(videos, options);
}

torch::Tensor embed_video(const Embedder& self, const py::object& video, double rate, std::int64_t frames,
                          std::int64_t batch_size) {
  return of_video(video, {.frames_per_second = rate, .frames = frames, .batch_size = batch_size},
                  [&](const auto& videos, const auto& options) { return self.embed_videos(videos, options)[0]; });
}

torch::Tensor video_probabilities(const Embedder& self, const py::object& video, const std::vector<std::string>& texts,
                                  double rate, std::int64_t frames, std::int64_t batch_size) {
  return of_video(
      video, {.frames_per_second = rate, .frames = frames, .batch_size = batch_size},
      [&](const auto& videos, const auto& options) { return self.video_probabilities(videos, texts, options)[0]; });
}

}  // namespace

void bind_embedder(py::module_& m) {
  m.def("default_model_directory", &default_model_directory);
  m.def("device", [](const std::string& name) { return device(name).str(); });

  py::class_<Embedder>(m, "Embedder")
      .def_static(
          "load",
          [](const std::filesystem::path& directory, const std::string& name, double accuracy,
             const std::optional<std::vector<Modality>>& modalities, const std::string& where) {
            const LoadDevice there(device(where));
            const LoadPrecision scope(precision(name), accuracy);
            return modalities ? Embedder::load(directory, *modalities) : Embedder::load(directory);
          },
          py::arg("directory"), py::arg("precision") = "fp32", py::arg("accuracy") = 0.999,
          py::arg("modalities") = py::none(), py::arg("device") = "cpu", NoGil())
      .def_property_readonly("device", [](const Embedder& self) { return self.device().str(); })
      .def_property_readonly("dim", &Embedder::dim)
      .def_property_readonly("modalities", &Embedder::modalities)
      .def_property_readonly("directory", &Embedder::directory)
      .def_property_readonly("name", &Embedder::name)
      .def("supports", &Embedder::supports)
      .def("embed_images", embed_images, py::arg("images"), py::arg("batch_size"), py::arg("draft") = false)
      .def("embed_texts", embed_texts, py::arg("texts"), py::arg("batch_size"), py::arg("long_input"),
           py::arg("prompt_name") = py::none(), py::arg("prompt") = py::none())
      .def("embed_audios", embed_audios, py::arg("audios"), py::arg("batch_size"), py::arg("long_input"))
      .def("embed_video", embed_video, py::arg("video"), py::arg("frames_per_second"), py::arg("frames"),
           py::arg("batch_size"))
      .def_static("similarity", &Embedder::similarity, NoGil())
      .def("scoring_kind",
           [](const Embedder& self, Modality modality) {
             return self.scoring_kind(modality) == SimilarityKind::softmax ? "softmax" : "sigmoid";
           })
      .def("image_probabilities", &Embedder::image_probabilities, NoGil())
      .def("audio_probabilities", &Embedder::audio_probabilities, NoGil())
      .def("video_probabilities", video_probabilities)
      .def("preprocess_image", &Embedder::preprocess_image, py::arg("image"), py::arg("draft") = false, NoGil())
      .def("embed_pixels", &Embedder::embed_pixels, NoGil())
      .def("preprocess_audio", &Embedder::preprocess_audio, NoGil())
      .def("tokenize", &Embedder::tokenize, NoGil())
      .def("describe", &Embedder::describe)
      .def("fingerprint", &Embedder::fingerprint, NoGil())
      .def("weights",
           [](const Embedder& self, Modality modality) {
             py::dict weights;
             for (const auto& [name, tensor] : self.weights(modality)) weights[py::str(name)] = tensor;
             return weights;
           })
      .def("save", &Embedder::save, NoGil());
  py::class_<RecordGradients>(m, "RecordGradients").def(py::init<>());
}

}  // namespace trine::python
