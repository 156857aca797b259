#include "trine/apps/hearing.h"

#include "module.h"

namespace trine::python {

void bind_hearing(py::module_& m) {
  py::class_<Heard>(m, "Heard", "A spoken clip by two paths.")
      .def_readonly("transcript", &Heard::transcript, "What was said, a Transcript.")
      .def_readonly("direct", &Heard::direct, "Vector of the speech tower.")
      .def_property_readonly(
          "written",
          [](const Heard& self) { return self.written.defined() ? std::optional(self.written) : std::nullopt; },
          "Vector of the transcript through the text tower; None where nothing was said.")
      .def_readonly("trust", &Heard::trust, "Weight of the transcript, in [0, 1].")
      .def_readonly("vector", &Heard::vector, "Both, weighted by trust, of unit length.")
      .def("__str__", [](const Heard& self) { return self.transcript.text; })
      .def("__repr__", [](const Heard& self) {
        return py::str("Heard({!r}, trust={:.3f})").format(self.transcript.text, self.trust);
      });

  py::class_<Hearing>(m, "Hearing")
      .def_static("load", py::overload_cast<const Embedder&>(&Hearing::load), NoGil())
      .def_static("available", &Hearing::available)
      .def("hear", &Hearing::hear, NoGil())
      .def("describe", &Hearing::describe);
}

}  // namespace trine::python
