#include <map>

#include "detail/error.h"
#include "detail/json.h"
#include "evaluate.h"
#include "trine/apps/damage.h"
#include "trine/train/trainer.h"

namespace trine::cli {

namespace {

using torch::Tensor;

constexpr const char* kIntact = "intact";
constexpr float kSure = 0.7f;  ///< the probability above which DamageDetector tells what it is

/// A photo, what it shows, and what was found in it.
struct Case {
  std::filesystem::path photo;
  std::string label;
  std::optional<double> severity;
  std::string set;
  Damage found = {};

  bool damaged() const { return label != kIntact; }
  bool alarm() const { return found.probability > kSure; }
};

std::vector<Case> read_cases(const std::filesystem::path& manifest) {
  std::vector<Case> cases;
  read_lines(manifest, [&](const Json& line) {
    Case one{.photo = manifest.parent_path() / detail::get<std::string>(kWho, line, "image"),
             .label = detail::get<std::string>(kWho, line, "label"),
             .severity = {},
             .set = detail::get_or<std::string>(kWho, line, "set", "")};
    if (line.contains("severity")) {
      one.severity = detail::get<double>(kWho, line, "severity");
      if (!(*one.severity >= 0 && *one.severity <= 1)) detail::failure(kWho, "a severity must be 0 to 1");
    }
    cases.push_back(std::move(one));
  });
  return cases;
}

/// The chance that a damaged photo scores above an intact one. scores (N), damaged (N) bool
double area_under_curve(const Tensor& scores, const Tensor& damaged) {
  const Tensor intact = std::get<0>(scores.masked_select(~damaged).sort()), wanted = scores.masked_select(damaged);
  const Tensor below = torch::searchsorted(intact, wanted, /*out_int32=*/false, /*right=*/false);
  const Tensor not_above = torch::searchsorted(intact, wanted, /*out_int32=*/false, /*right=*/true);  // a tie is half
  return (below + not_above).to(torch::kFloat64).mean().item<double>() / (2 * static_cast<double>(intact.numel()));
}

}  // namespace

Found evaluate_damage(const Embedder& model, const TaskEvaluation& task) {
  std::vector<Case> cases = read_cases(task.manifest);
  const DamageDetector detector = DamageDetector::load(model, task.head);
  train::ProgressBar bar("evaluate", std::ssize(cases));
  std::int64_t damaged = 0, found = 0, left_alone = 0, told = 0, typed = 0, done = 0;
  std::vector<float> scores, severity, told_severity;
  std::vector<std::uint8_t> truth;
  std::map<std::pair<std::string, std::string>, std::pair<std::int64_t, std::int64_t>> by_set;  // alarms, photos
  for (Case& one : cases) {
    one.found = detector.inspect(one.photo);
    scores.push_back(one.found.probability);
    truth.push_back(one.damaged());
    auto& [alarms, photos] = by_set[{one.label, one.set}];
    alarms += one.alarm();
    ++photos;
    damaged += one.damaged();
    found += one.damaged() && one.alarm();
    left_alone += !one.damaged() && !one.alarm();
    if (one.damaged() && one.alarm()) {
      ++told;
      typed += one.found.types.front().label == one.label;
      if (one.severity) {
        severity.push_back(static_cast<float>(*one.severity));
        told_severity.push_back(one.found.severity);
      }
    }
    bar.show(++done);
  }
  const std::int64_t count = std::ssize(cases), intact = count - damaged;
  Found result{.labels = detector.types()};
  if (damaged > 0 && intact > 0) {
    const Tensor all = torch::tensor(scores), which = torch::tensor(truth).to(torch::kBool);
    result.figures.push_back(resampled(
        "area under the ROC curve", count,
        [&](const Tensor& rows) { return area_under_curve(all.index_select(0, rows), which.index_select(0, rows)); },
        0.5));
  }
  result.figures.push_back(share("right at 0.7", found + left_alone, count, 0.5));
  if (damaged > 0) result.figures.push_back(share("damage found at 0.7", found, damaged));
  if (intact > 0) result.figures.push_back(share("intact left alone at 0.7", left_alone, intact));
  if (told > 0) {
    const double chance = 1.0 / static_cast<double>(detector.types().size());
    result.figures.push_back(share("kind, of damage found", typed, told, chance));
  }
  if (severity.size() > 1) {
    const Tensor wanted = torch::tensor(severity), given = torch::tensor(told_severity);
    result.figures.push_back(resampled(
        "severity, correlation, of damage found", std::ssize(severity),
        [&](const Tensor& rows) { return correlation(wanted.index_select(0, rows), given.index_select(0, rows)); }, 0));
  }
  Json sets = Json::array();
  for (const auto& [key, counts] : by_set) {
    sets.push_back({{"label", key.first}, {"set", key.second}, {"count", counts.second}, {"alarms", counts.first}});
  }
  result.more = {{"sets", sets}};
  return result;
}

}  // namespace trine::cli
