#include "trine/encoders/classifier.h"

#include "module.h"

namespace trine::python {

void bind_classifier(py::module_& m) {
  py::class_<Classifier>(m, "Classifier")
      .def_static("load", &Classifier::load, NoGil())
      .def_property_readonly("labels", &Classifier::labels)
      .def_property_readonly("function", [](const Classifier& self) { return to_string(self.function()); })
      .def_property_readonly("max_tokens", &Classifier::max_tokens)
      .def_property_readonly("directory", &Classifier::directory)
      .def("count_tokens", &Classifier::count_tokens, NoGil())
      .def("scores", &Classifier::scores, NoGil())
      .def("logits", &Classifier::logits, NoGil())
      .def("describe", &Classifier::describe);
}

}  // namespace trine::python
