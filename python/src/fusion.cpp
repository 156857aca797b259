#include "trine/fusion.h"

#include "module.h"

namespace trine::python {
namespace {

/// The constructor's arguments, as the Python class of this type names them.
py::dict options(const FusionImpl& fusion) {
  const FusionOptions& o = fusion.options();
  py::dict result(py::arg("modalities") = o.modalities, py::arg("hidden_dim") = o.hidden_dim,
                  py::arg("num_heads") = o.num_heads, py::arg("ff_dim") = o.ff_dim);
  if (fusion.type() == FusionType::attention) {
    result["num_self_layers"] = o.num_self_layers;
    result["num_cross_layers"] = o.num_cross_layers;
  } else {
    result["num_layers"] = o.num_layers;
  }
  return result;
}

}  // namespace

void bind_fusion(py::module_& m) {
  bind_learned<CrossModalAttentionImpl>(m, "CrossModalAttention")
      .def(py::init<std::int64_t, std::int64_t>())
      .def_property_readonly("options",
                             [](const CrossModalAttentionImpl& self) {
                               return py::dict(py::arg("dim") = self.dim(), py::arg("num_heads") = self.num_heads());
                             })
      .def("forward", [](const CrossModalAttentionImpl& self, const torch::Tensor& query, const torch::Tensor& key,
                         const std::optional<torch::Tensor>& value, const std::optional<torch::Tensor>& key_mask) {
        const py::gil_scoped_release unlocked;
        const Attended attended =
            self.forward(query, key, value.value_or(torch::Tensor()), key_mask.value_or(torch::Tensor()));
        return std::pair(attended.output, attended.weights);
      });

  bind_learned<FusionImpl>(m, "Fusion")
      .def(py::init([](const std::string& type, const std::vector<std::string>& modalities, std::int64_t hidden_dim,
                       std::int64_t num_heads, std::int64_t num_layers, std::int64_t num_self_layers,
                       std::int64_t num_cross_layers, std::int64_t ff_dim) {
             return make_fusion(fusion_type(type), {.modalities = modalities,
                                                    .hidden_dim = hidden_dim,
                                                    .num_heads = num_heads,
                                                    .num_layers = num_layers,
                                                    .num_self_layers = num_self_layers,
                                                    .num_cross_layers = num_cross_layers,
                                                    .ff_dim = ff_dim})
                 .ptr();
           }),
           py::arg("type"), py::arg("modalities"), py::arg("hidden_dim"), py::arg("num_heads"), py::kw_only(),
           py::arg("num_layers") = 1, py::arg("num_self_layers") = 1, py::arg("num_cross_layers") = 1,
           py::arg("ff_dim"))
      .def_property_readonly("type", [](const FusionImpl& self) { return std::string(to_string(self.type())); })
      .def_property_readonly("options", &options)
      .def("forward", [](const FusionImpl& self, const Features& features, const Features& masks) {
        const py::gil_scoped_release unlocked;
        const Fused fused = self.forward(features, masks);
        return std::pair(fused.vector, fused.weights);
      });
}

}  // namespace trine::python
