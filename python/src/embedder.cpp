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
auto with_coverage(torch::Tensor (Embedder::*embed)(const std::vector<Input>&, const EmbedOptions&) const) {
  return [embed](const Embedder& self, const std::vector<Input>& inputs, std::int64_t batch_size) {
    std::vector<Coverage> coverage;
    torch::Tensor vectors;
    {
      const py::gil_scoped_release unlocked;
      vectors = (self.*embed)(inputs, {.batch_size = batch_size, .coverage = &coverage});
    }
    py::list described;
    for (const Coverage& c : coverage) described.append(to_dict(c));
    return py::make_tuple(vectors, described);
  };
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
      .def("embed_images", with_coverage(&Embedder::embed_images))
      .def("embed_texts", with_coverage(&Embedder::embed_texts))
      .def("embed_audios", with_coverage(&Embedder::embed_audios))
      .def("describe", &Embedder::describe);
}

}  // namespace trine::python
