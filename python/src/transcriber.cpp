#include "trine/encoders/transcriber.h"
#include "trine/device.h"

#include "module.h"

namespace trine::python {
namespace {

SpeechTask speech_task(const std::string& name) {
  if (name == "transcribe") return SpeechTask::transcribe;
  if (name == "translate") return SpeechTask::translate;
  throw std::invalid_argument("[transcribe] a task is transcribe or translate, not '" + name + "'");
}

}  // namespace

void bind_transcriber(py::module_& m) {
  py::class_<Transcript::Segment>(m, "Segment", "A part of a transcript.")
      .def_readonly("start", &Transcript::Segment::start, "Where it begins, in seconds.")
      .def_readonly("end", &Transcript::Segment::end, "Where it ends, in seconds.")
      .def_readonly("text", &Transcript::Segment::text, "What was said.")
      .def("__repr__", [](const Transcript::Segment& self) {
        return py::str("Segment({:.2f}, {:.2f}, {!r})").format(self.start, self.end, self.text);
      });

  py::class_<Transcript>(m, "Transcript", "What was said in a clip.")
      .def_readonly("text", &Transcript::text, "All of it, without blanks at the ends; empty where nothing was said.")
      .def_readonly("segments", &Transcript::segments, "One for a whole clip, unless there are timestamps.")
      .def_readonly("tokens", &Transcript::tokens,
                    "Ids as the decoder gave them, timestamps too, without prompt and end token.")
      .def_readonly("language", &Transcript::language, "Code of a multilingual checkpoint, given or detected; else ''.")
      .def_readonly("confidence", &Transcript::confidence,
                    "exp of the tokens' mean log probability, in 0 to 1; 0 without tokens.")
      .def_readonly("no_speech", &Transcript::no_speech, "The decoder's probability that nothing is said.")
      .def_readonly("repeated", &Transcript::repeated, "Whether a loop of the decoder was cut.")
      .def("__str__", [](const Transcript& self) { return self.text; })
      .def("__repr__", [](const Transcript& self) {
        return py::str("Transcript({!r}, confidence={:.3f})").format(self.text, self.confidence);
      });

  py::class_<Transcriber>(m, "Transcriber")
      .def_static(
          "load",
          [](const std::filesystem::path& directory, const std::string& where) {
            const LoadDevice there(device(where));
            return Transcriber::load(directory);
          },
          py::arg("directory"), py::arg("device") = "cpu", NoGil())
      .def_property_readonly("multilingual", &Transcriber::multilingual)
      .def_property_readonly("languages", &Transcriber::languages)
      .def_property_readonly("window_seconds", &Transcriber::window_seconds)
      .def_property_readonly("directory", &Transcriber::directory)
      .def(
          "transcribe",
          [](const Transcriber& self, const AudioInput& audio, bool timestamps, const std::string& language,
             const std::string& task, bool whole_window, std::int64_t max_tokens) {
            return self.transcribe(audio, {.timestamps = timestamps,
                                           .language = language,
                                           .task = speech_task(task),
                                           .whole_window = whole_window,
                                           .max_tokens = max_tokens});
          },
          NoGil())
      .def("describe", &Transcriber::describe);
}

}  // namespace trine::python
