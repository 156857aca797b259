#include "trine/apps/emotion.h"

#include "module.h"
#include "trine/apps/sound.h"

namespace trine::python {

void bind_emotion(py::module_& m) {
  py::class_<Score>(m, "Score", "A label and how likely it is.")
      .def_readonly("label", &Score::label, "Its name.")
      .def_readonly("probability", &Score::probability, "In 0 to 1.")
      .def("__repr__",
           [](const Score& self) { return py::str("Score({!r}, {:.3f})").format(self.label, self.probability); });

  py::class_<EmotionRecognizer>(m, "EmotionRecognizer")
      .def_static("load", &EmotionRecognizer::load, NoGil())
      .def("text", &EmotionRecognizer::text, NoGil())
      .def("text_labels", &EmotionRecognizer::text_labels, NoGil())
      .def("voice", &EmotionRecognizer::voice, NoGil())
      .def("supports", &EmotionRecognizer::supports)
      .def("describe", &EmotionRecognizer::describe);

  py::class_<SoundRecognizer>(m, "SoundRecognizer")
      .def_static("load", &SoundRecognizer::load, NoGil())
      .def("recognize", &SoundRecognizer::recognize, NoGil())
      .def("describe", &SoundRecognizer::describe);
}

}  // namespace trine::python
