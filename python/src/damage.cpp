#include "trine/apps/damage.h"

#include "module.h"

namespace trine::python {

void bind_damage(py::module_& m) {
  py::class_<Damage>(m, "Damage", "What a photo shows of damage.")
      .def_readonly("probability", &Damage::probability, "That anything is damaged, in 0 to 1.")
      .def_readonly("types", &Damage::types, "A Score of each kind, likeliest first; empty at or below 0.7.")
      .def_readonly("severity", &Damage::severity, "0 to 1; 0 at or below 0.7.")
      .def_readonly("severity_name", &Damage::severity_name, "light, moderate or severe; empty at or below 0.7.")
      .def_readonly("trained_on", &Damage::trained_on, "What the detector knows damage from.")
      .def("__repr__", [](const Damage& self) {
        if (self.types.empty()) return py::str("Damage({:.3f})").format(self.probability);
        return py::str("Damage({:.3f}, {}, {})").format(self.probability, self.types[0].label, self.severity_name);
      });

  py::class_<DamageDetector>(m, "DamageDetector")
      .def_static("load", &DamageDetector::load, NoGil())
      .def_static("fit",
                  [](const Embedder& embedder, const std::vector<ImageInput>& photos,
                     const std::vector<std::pair<std::string, std::optional<float>>>& labels, std::int64_t epochs,
                     std::uint64_t seed, const std::string& trained_on, const py::object& progress) {
                    DamageOptions options{.epochs = epochs, .seed = seed, .trained_on = trained_on};
                    options.progress = reporter(progress);
                    std::vector<DamageLabel> given;
                    for (const auto& [type, severity] : labels) given.push_back({type, severity});
                    const py::gil_scoped_release unlocked;
                    return DamageDetector::fit(embedder, photos, given, options);
                  })
      .def("inspect", &DamageDetector::inspect, NoGil())
      .def("save", &DamageDetector::save, NoGil())
      .def_property_readonly("types", &DamageDetector::types)
      .def("describe", &DamageDetector::describe);
}

}  // namespace trine::python
