#include "module.h"

#include <system_error>

namespace trine::python {
namespace {

/// Beyond pybind11's own table (std::invalid_argument: ValueError, std::runtime_error: RuntimeError).
void translate(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& error) {
    const bool missing = error.code() == std::errc::no_such_file_or_directory;
    py::set_error(missing ? PyExc_FileNotFoundError : PyExc_RuntimeError, error.what());
  } catch (const c10::Error& error) {
    py::set_error(PyExc_RuntimeError, error.what_without_backtrace());
  }
}

}  // namespace

PYBIND11_MODULE(_trine, m) {
  m.doc() = "The C++ library as the package `trine` uses it: strict types, no conveniences.";
  m.attr("__version__") = TRINE_VERSION;
  py::register_local_exception_translator(translate);
  bind_input(m);
  bind_encoders(m);
  bind_classifier(m);
  bind_transcriber(m);
  bind_embedder(m);
  bind_fusion(m);
  bind_search(m);
  bind_apps(m);
  bind_hearing(m);
  bind_emotion(m);
  bind_support(m);
  bind_adaptive(m);
  bind_train(m);
  bind_advise(m);
  bind_intent(m);
  bind_damage(m);
}

}  // namespace trine::python
