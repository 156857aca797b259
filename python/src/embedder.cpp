#include "trine/embedder.h"

#include "module.h"

namespace trine::python {
namespace {

py::dict to_dict(const Coverage& coverage) {
  py::dict result;
  result["total"] = coverage.total;
  result["used"] = coverage.used;
  result["windows"] = coverage.windows;
  return result;
}

/// A batch method of Embedder as one that returns (vectors, coverage of each input).
template <typename Input>
using Embed = torch::Tensor (Embedder::*)(const std::vector<Input>&, const EmbedOptions&) const;

template <typename Input>
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
  for (const Coverage& c : coverage) described.append(to_dict(c));
  return py::make_tuple(vectors, described);
}

template <typename Input>
auto with_coverage(Embed<Input> embed) {
  return [embed](const Embedder& self, const std::vector<Input>& inputs, std::int64_t batch_size) {
    return call_with_coverage(self, embed, inputs, {.batch_size = batch_size});
  };
}

py::tuple embed_texts(const Embedder& self, const std::vector<std::string>& texts, std::int64_t batch_size,
                      const std::optional<std::string>& prompt_name, const std::optional<std::string>& prompt) {
  return call_with_coverage(self, &Embedder::embed_texts, texts,
                            {.batch_size = batch_size, .prompt_name = prompt_name, .prompt = prompt});
}

}  // namespace

void bind_embedder(py::module_& m) {
  m.def("default_model_directory", &default_model_directory);

  py::class_<Embedder>(m, "Embedder")
      .def_static("load", py::overload_cast<>(&Embedder::load), NoGil())
      .def_static("load", py::overload_cast<const std::filesystem::path&>(&Embedder::load), NoGil())
      .def_property_readonly("dim", &Embedder::dim)
      .def_property_readonly("modalities", &Embedder::modalities)
      .def_property_readonly("directory", &Embedder::directory)
      .def_property_readonly("name", &Embedder::name)
      .def("supports", &Embedder::supports)
      .def("embed_images", with_coverage<ImageInput>(&Embedder::embed_images))
      .def("embed_texts", embed_texts, py::arg("texts"), py::arg("batch_size"), py::arg("prompt_name") = py::none(),
           py::arg("prompt") = py::none())
      .def("embed_audios", with_coverage<AudioInput>(&Embedder::embed_audios))
      .def("describe", &Embedder::describe);
}

}  // namespace trine::python
