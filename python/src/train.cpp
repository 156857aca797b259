#include "trine/train/loss.h"
#include "trine/train/sampler.h"

#include "module.h"

namespace trine::python {
namespace {

using namespace trine::train;
using Pairs = std::vector<std::tuple<std::string, std::string, double>>;

std::vector<ContrastivePair> pairs_from(const Pairs& given) {
  std::vector<ContrastivePair> pairs;
  for (const auto& [first, second, weight] : given) pairs.push_back({first, second, weight});
  return pairs;
}

/// The default pairs as the dict that Python shows: {(first, second): weight}
py::dict to_dict(const std::vector<ContrastivePair>& pairs) {
  py::dict result;
  for (const auto& [first, second, weight] : pairs) result[py::make_tuple(first, second)] = weight;
  return result;
}

void bind_loss(py::module_& m) {
  m.attr("CONTRASTIVE_PAIRS") = to_dict(ContrastiveLossOptions().pairs);
  m.def(
      "contrastive_loss",
      [](const Features& embeddings, const std::variant<double, torch::Tensor>& temperature,
         const std::optional<torch::Tensor>& ids, const Features& present, const Pairs& pairs) {
        return contrastive_loss(embeddings, {.temperature = temperature,
                                             .ids = ids.value_or(torch::Tensor()),
                                             .present = present,
                                             .pairs = pairs_from(pairs)});
      },
      NoGil());

  bind_learned<ContrastiveLossImpl>(m, "ContrastiveLoss")
      .def(py::init([](double temperature, bool learnable, const Pairs& pairs) {
        return std::make_shared<ContrastiveLossImpl>(temperature, learnable, pairs_from(pairs));
      }))
      .def_property_readonly("options",
                             [](const ContrastiveLossImpl& self) {
                               return py::dict(py::arg("temperature") = self.temperature(),
                                               py::arg("learnable") = self.learnable(),
                                               py::arg("pairs") = to_dict(self.pairs()));
                             })
      .def_property_readonly("temperature", &ContrastiveLossImpl::temperature)
      .def(
          "forward",
          [](ContrastiveLossImpl& self, const Features& embeddings, const std::optional<torch::Tensor>& ids,
             const Features& present) { return self.forward(embeddings, ids.value_or(torch::Tensor()), present); },
          NoGil());
}

void bind_sampler(py::module_& m) {
  py::class_<ModalityDropoutImpl, std::shared_ptr<ModalityDropoutImpl>>(m, "ModalityDropout")
      .def(py::init<double, std::uint64_t>())
      .def_property_readonly("probability", &ModalityDropoutImpl::probability)
      .def("train", [](ModalityDropoutImpl& self, bool on) { self.train(on); })
      .def("seed", &ModalityDropoutImpl::seed)
      .def("forward", [](ModalityDropoutImpl& self, const Features& features, const Features& masks) {
        const py::gil_scoped_release unlocked;
        ModalityBatch batch = self.forward(features, masks);
        return std::pair(std::move(batch.features), std::move(batch.masks));
      });

  m.def("groups_of", &groups_of, NoGil());
  py::class_<BalancedSampler>(m, "BalancedSampler")
      .def(py::init([](const std::vector<std::int64_t>& groups, const std::string& sampling, std::uint64_t seed) {
        if (sampling != "up" && sampling != "down") {
          throw std::invalid_argument("[BalancedSampler] sampling is up or down, not '" + sampling + "'");
        }
        return BalancedSampler(groups, sampling == "up" ? Sampling::up : Sampling::down, seed);
      }))
      .def("__len__", &BalancedSampler::size)
      .def("indices", &BalancedSampler::indices, NoGil());
}

}  // namespace

void bind_train(py::module_& m) {
  bind_loss(m);
  bind_sampler(m);
}

}  // namespace trine::python
