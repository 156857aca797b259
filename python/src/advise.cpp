#include "trine/train/advise.h"

#include "module.h"

namespace trine::python {
namespace {

using namespace trine::train;

py::dict to_dict(const Advice& advice) {
  py::list subsets, comparisons, worst, learning;
  for (const SubsetResult& r : advice.subsets) {
    subsets.append(py::dict(py::arg("modalities") = r.modalities, py::arg("right") = r.right,
                            py::arg("accuracy") = r.accuracy, py::arg("interval") = r.interval,
                            py::arg("macro_f1") = r.macro_f1, py::arg("covered") = r.covered,
                            py::arg("milliseconds") = r.milliseconds));
  }
  for (const Comparison& c : advice.comparisons) {
    comparisons.append(py::dict(py::arg("without") = c.without, py::arg("added") = c.added, py::arg("gain") = c.gain,
                                py::arg("interval") = c.interval, py::arg("p_value") = c.p_value,
                                py::arg("won") = c.won, py::arg("lost") = c.lost,
                                py::arg("milliseconds") = c.milliseconds,
                                py::arg("verdict") = std::string(to_string(c.verdict))));
  }
  for (const ClassResult& c : advice.worst) {
    worst.append(py::dict(py::arg("label") = c.label, py::arg("count") = c.count, py::arg("wrong") = c.wrong,
                          py::arg("taken_for") = c.taken_for));
  }
  for (const LearningPoint& p : advice.learning) {
    learning.append(
        py::dict(py::arg("share") = p.share, py::arg("samples") = p.samples, py::arg("accuracy") = p.accuracy));
  }
  return py::dict(py::arg("samples") = advice.samples, py::arg("classes") = advice.classes,
                  py::arg("chance") = advice.chance, py::arg("subsets") = subsets, py::arg("comparisons") = comparisons,
                  py::arg("recommended") = advice.recommended, py::arg("worst") = worst,
                  py::arg("missing") = advice.missing, py::arg("learning") = learning,
                  py::arg("more_data") = advice.more_data, py::arg("sentences") = advice.sentences);
}

}  // namespace

void bind_advise(py::module_& m) {
  m.def("advise", [](const Features& features, const Features& masks, const std::vector<std::string>& labels,
                     const std::vector<std::string>& ids, std::int64_t folds, std::uint64_t seed, double worth,
                     const std::map<std::string, double>& milliseconds) {
    Advice advice;
    {
      const py::gil_scoped_release unlocked;
      advice = train::advise(
          features, masks, labels,
          {.folds = folds, .seed = seed, .worth = worth, .ids = ids, .milliseconds = milliseconds, .progress = {}});
    }
    return to_dict(advice);
  });
}

}  // namespace trine::python
