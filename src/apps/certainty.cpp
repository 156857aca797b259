#include "apps/certainty.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>

#include "detail/error.h"
#include "detail/json.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr const char* kWho = "ProductSearch";
constexpr double kMostOdds = 13.8;
constexpr double kDoubt = 0.02;  ///< how often a modality says nothing of the product: what bounds its veto

}  // namespace

SearchCalibration search_calibration(const Embedder& model) {
  SearchCalibration result;
  const std::filesystem::path file = model.directory() / "config.json";
  if (!std::filesystem::exists(file)) return result;
  const Json config = read_json(kWho, file);
  const auto calibration = config.find("calibration");
  if (calibration == config.end() || !calibration->is_object()) return result;
  for (const Modality modality : kModalities) {
    const auto entry = calibration->find(std::string(to_string(modality)));
    if (entry == calibration->end()) continue;
    if (entry->contains("spread")) result.spread[modality] = get<float>(kWho, *entry, "spread");
    if (entry->contains("known")) {
      const Json& known = entry->at("known");
      result.known[modality] = {get<double>(kWho, known, "offset"), get<double>(kWho, known, "similarity"),
                                get<double>(kWho, known, "odds"), get<double>(kWho, known, "nothing_below")};
    }
  }
  if (calibration->contains("mixing")) {
    const auto name = get<std::string>(kWho, *calibration, "mixing");
    if (name != "early" && name != "late")
      failure(kWho, "calibration.mixing is ", shown(name), ", wanted early or late");
    result.mixing = name == "early" ? Mixing::early : Mixing::late;
  }
  if (calibration->contains("confidence")) {
    const Json& confidence = calibration->at("confidence");
    result.confidence = {get<double>(kWho, confidence, "offset"), get<double>(kWho, confidence, "odds"),
                         get<double>(kWho, confidence, "known")};
  }
  return result;
}

double log_odds(double chance) { return std::clamp(std::log(chance) - std::log1p(-chance), -kMostOdds, kMostOdds); }

Nearness nearness_of(const Tensor& similarities, const Tensor& supports) {
  return {.similarity = similarities.max().item<double>(), .odds = log_odds(supports.max().item<double>())};
}

double known_odds(const Known& known, const Nearness& nearness) {
  return known.offset + known.similarity * nearness.similarity + known.odds * nearness.odds;
}

double chance_odds(const std::vector<Tensor>& supports, std::int64_t product) {
  Tensor sum = torch::zeros({supports.at(0).size(0)}, torch::kFloat64);
  for (const Tensor& support : supports) {
    sum += ((1 - kDoubt) * support.to(torch::kFloat64) + kDoubt / static_cast<double>(sum.size(0))).log();
  }
  return log_odds(sum.softmax(0)[product].item<double>());
}

}  // namespace trine::detail
