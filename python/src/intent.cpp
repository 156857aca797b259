#include "trine/apps/intent.h"

#include "module.h"

namespace trine::python {

void bind_intent(py::module_& m) {
  py::class_<Intent>(m, "Intent", "What a text is meant to bring about.")
      .def_readonly("scores", &Intent::scores, "A Score of every intent, likeliest first; they sum to 1.")
      .def_property_readonly(
          "label", [](const Intent& self) { return self.scores.front().label; }, "The likeliest intent.")
      .def_readonly("in_scope", &Intent::in_scope, "Whether the text is about any of the intents at all.")
      .def("__repr__", [](const Intent& self) {
        const Score& best = self.scores.front();
        return py::str("Intent({!r}, {:.3f}, in_scope={})").format(best.label, best.probability, self.in_scope);
      });

  py::class_<IntentClassifier>(m, "IntentClassifier")
      .def_static("load", &IntentClassifier::load, NoGil())
      .def_static(
          "fit",
          [](const Embedder& embedder, const std::map<std::string, std::vector<std::string>>& examples,
             std::int64_t folds,
             double kept) { return IntentClassifier::fit(embedder, examples, {.folds = folds, .kept = kept}); },
          NoGil())
      .def("understand_texts",
           py::overload_cast<const std::vector<std::string>&>(&IntentClassifier::understand, py::const_), NoGil())
      .def("understand_vector", py::overload_cast<const torch::Tensor&>(&IntentClassifier::understand, py::const_),
           NoGil())
      .def_property_readonly("labels", &IntentClassifier::labels)
      .def("describe", &IntentClassifier::describe);
}

}  // namespace trine::python
