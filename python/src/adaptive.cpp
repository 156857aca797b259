#include "trine/adaptive.h"

#include "module.h"

namespace trine::python {
namespace {

Inputs inputs_of(std::optional<ImageInput> image, std::optional<std::string> text, std::optional<AudioInput> audio) {
  return {.image = std::move(image), .text = std::move(text), .audio = std::move(audio)};
}

py::dict milliseconds(const AdaptiveAnswer& answer) {
  py::dict result;
  for (const auto& [stage, passed] : answer.milliseconds) result[py::str(stage)] = passed;
  return result;
}

py::dict to_dict(const AdaptiveAnswer& answer) {
  py::list hits;
  for (const Hit& hit : answer.hits) hits.append(py::cast(hit).attr("to_dict")());
  py::dict result;
  result["route"] = std::string(to_string(answer.route));
  result["confidence"] = answer.confidence;
  result["agreement"] = answer.agreement;
  result["computed"] = answer.computed;
  result["skipped"] = answer.skipped;
  result["milliseconds"] = milliseconds(answer);
  result["hits"] = hits;
  return result;
}

py::dict to_dict(const OperatingPoint& point) {
  return py::dict(py::arg("confidence") = point.confidence, py::arg("agreement") = point.agreement,
                  py::arg("right") = point.right, py::arg("quality") = point.quality,
                  py::arg("milliseconds") = point.milliseconds, py::arg("towers") = point.towers,
                  py::arg("simple") = point.simple, py::arg("moderate") = point.moderate,
                  py::arg("complex") = point.complex);
}

py::list to_list(const std::vector<OperatingPoint>& points) {
  py::list result;
  for (const OperatingPoint& point : points) result.append(to_dict(point));
  return result;
}

py::dict to_dict(const AdaptiveCurve& curve) {
  return py::dict(py::arg("points") = to_list(curve.points), py::arg("always_simple") = to_dict(curve.always_simple),
                  py::arg("always_complex") = to_dict(curve.always_complex), py::arg("chosen") = to_dict(curve.chosen),
                  py::arg("count") = curve.count);
}

py::dict to_dict(const AdaptivePolicy& policy) {
  py::dict towers, searches, chances;
  for (const auto& [modality, cost] : policy.towers) towers[py::cast(modality)] = cost;
  for (const auto& [route, cost] : policy.searches) searches[py::str(std::string(to_string(route)))] = cost;
  for (const auto& [modality, fitted] : policy.chances) {
    chances[py::cast(modality)] =
        py::dict(py::arg("temperature") = fitted.temperature, py::arg("doubt") = fitted.doubt);
  }
  return py::dict(py::arg("confidence") = policy.confidence, py::arg("agreement") = policy.agreement,
                  py::arg("order") = policy.order, py::arg("towers") = towers, py::arg("searches") = searches,
                  py::arg("chances") = chances, py::arg("fusion_share") = policy.fusion_share);
}

}  // namespace

void bind_adaptive(py::module_& m) {
  py::class_<AdaptiveAnswer>(m, "AdaptiveAnswer", "The hits of a query, and what was computed for them.")
      .def_readonly("hits", &AdaptiveAnswer::hits, "Best first.")
      .def_property_readonly(
          "route", [](const AdaptiveAnswer& answer) { return std::string(to_string(answer.route)); },
          "'simple', 'moderate' or 'complex'.")
      .def_readonly("confidence", &AdaptiveAnswer::confidence, "The chance that the first hit is right.")
      .def_readonly("agreement", &AdaptiveAnswer::agreement,
                    "The chance that the modalities mean one product; None with a single one.")
      .def_readonly("computed", &AdaptiveAnswer::computed, "The modalities whose towers ran, in this order.")
      .def_readonly("skipped", &AdaptiveAnswer::skipped, "Those of the query whose towers did not.")
      .def_property_readonly("milliseconds", &milliseconds, "What each stage took.")
      .def(
          "to_dict", [](const AdaptiveAnswer& answer) { return to_dict(answer); },
          "All of it as a dict that json.dumps takes.")
      .def("__repr__", [](const AdaptiveAnswer& answer) {
        return py::str("AdaptiveAnswer(route={!r}, confidence={:.3f}, hits={})")
            .format(std::string(to_string(answer.route)), answer.confidence, answer.hits.size());
      });

  py::class_<LabelledQuery>(m, "LabelledQuery")
      .def(py::init([](std::string id, std::map<Modality, torch::Tensor> vectors,
                       std::map<Modality, double> milliseconds, std::string set) {
        return LabelledQuery{std::move(id), std::move(vectors), std::move(milliseconds), std::move(set)};
      }))
      .def_readwrite("set", &LabelledQuery::set);

  py::class_<AdaptiveInference>(m, "AdaptiveInference")
      .def(py::init([](std::shared_ptr<ProductSearch> search, const std::shared_ptr<FusionImpl>& fusion) {
        return AdaptiveInference(std::move(search), {}, fusion ? Fusion(fusion) : Fusion(nullptr));
      }))
      .def_static(
          "load",
          [](std::shared_ptr<ProductSearch> search, const std::filesystem::path& directory) {
            return AdaptiveInference::load(std::move(search), directory);
          },
          NoGil())
      .def("save", &AdaptiveInference::save, NoGil())
      .def(
          "search",
          [](const AdaptiveInference& self, std::optional<ImageInput> image, std::optional<std::string> text,
             std::optional<AudioInput> audio, std::int64_t k, std::int64_t candidates, std::int64_t wide_candidates) {
            return self.search(inputs_of(std::move(image), std::move(text), std::move(audio)),
                               {.k = k, .candidates = candidates, .wide_candidates = wide_candidates});
          },
          NoGil())
      .def(
          "embed",
          [](const AdaptiveInference& self, const std::string& id, std::optional<ImageInput> image,
             std::optional<std::string> text, std::optional<AudioInput> audio) {
            return self.embed(id, inputs_of(std::move(image), std::move(text), std::move(audio)));
          },
          NoGil())
      .def("fit",
           [](AdaptiveInference& self, const std::vector<LabelledQuery>& sample, double wanted, double assurance,
              std::uint64_t seed) {
             AdaptiveCurve curve;
             {
               const py::gil_scoped_release unlocked;
               curve = self.fit(sample, {.wanted = wanted, .assurance = assurance, .seed = seed});
             }
             return to_dict(curve);
           })
      .def("curve",
           [](const AdaptiveInference& self, const std::vector<LabelledQuery>& sample) {
             AdaptiveCurve curve;
             {
               const py::gil_scoped_release unlocked;
               curve = self.curve(sample);
             }
             return to_dict(curve);
           })
      .def("measure",
           [](const AdaptiveInference& self, const std::vector<LabelledQuery>& sample,
              const std::vector<std::pair<double, double>>& thresholds) {
             std::vector<OperatingPoint> points;
             {
               const py::gil_scoped_release unlocked;
               points = self.measure(sample, thresholds);
             }
             return to_list(points);
           })
      .def_property_readonly("policy", [](const AdaptiveInference& self) { return to_dict(self.policy()); });
}

}  // namespace trine::python
