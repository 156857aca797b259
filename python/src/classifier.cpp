#include "trine/encoders/classifier.h"
#include "trine/device.h"
#include "trine/precision.h"

#include "module.h"

namespace trine::python {

void bind_classifier(py::module_& m) {
  py::class_<Classifier>(m, "Classifier")
      .def_static(
          "load",
          [](const std::filesystem::path& directory, const std::string& name, double accuracy,
             const std::string& where) {
            const LoadDevice there(device(where));
            const LoadPrecision scope(precision(name), accuracy);
            return Classifier::load(directory);
          },
          py::arg("directory"), py::arg("precision") = "fp32", py::arg("accuracy") = 0.999, py::arg("device") = "cpu",
          NoGil())
      .def_property_readonly("modality", &Classifier::modality)
      .def_property_readonly("labels", &Classifier::labels)
      .def_property_readonly("function", [](const Classifier& self) { return to_string(self.function()); })
      .def_property_readonly("max_tokens", &Classifier::max_tokens)
      .def_property_readonly("directory", &Classifier::directory)
      .def("count_tokens", &Classifier::count_tokens, NoGil())
      .def("text_scores", &Classifier::scores, NoGil())
      .def("image_scores", &Classifier::image_scores, NoGil())
      .def("audio_scores", &Classifier::audio_scores, NoGil())
      .def("text_logits", &Classifier::logits, NoGil())
      .def("image_logits", &Classifier::image_logits, NoGil())
      .def("audio_logits", &Classifier::audio_logits, NoGil())
      .def("describe", &Classifier::describe);
}

}  // namespace trine::python
