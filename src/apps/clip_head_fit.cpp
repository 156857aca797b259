#include "apps/clip_head_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>
#include <utility>

#include "apps/clip_features.h"
#include "apps/model_heads.h"

namespace trine::detail {

using torch::Tensor;
namespace F = torch::nn::functional;

namespace {

constexpr std::array kPenalties{0.003, 0.03, 0.3};
constexpr int kScales = 100;  ///< that are tried, from 0.1 to 10

std::vector<std::int64_t> without(std::vector<std::int64_t> groups, std::int64_t group) {
  std::erase(groups, group);
  return groups;
}

/// The distinct texts, sorted.
std::vector<std::string> distinct(const std::vector<ClipLabel>& clips, std::string ClipLabel::* text) {
  std::set<std::string> all;
  for (const ClipLabel& clip : clips) all.insert(clip.*text);
  return {all.begin(), all.end()};
}

std::int64_t place_of(const std::vector<std::string>& sorted, const std::string& text) {
  return std::ranges::lower_bound(sorted, text) - sorted.begin();
}

/// On the mean over the labels that occur.
double mean_recall(const Tensor& logits, const Tensor& truth) {
  const Tensor right = (logits.argmax(1) == truth).to(torch::kFloat64);
  const Tensor of_label = F::one_hot(truth, logits.size(1)).to(torch::kFloat64);  // (M, L)
  const Tensor cases = of_label.sum(0), hits = of_label.t().mv(right), occur = cases > 0;
  return (hits.masked_select(occur) / cases.masked_select(occur)).mean().item<double>();
}

}  // namespace

ClipLesson lesson_of(const char* who, const Embedder& embedder, const std::vector<ClipLabel>& clips,
                     const std::function<void(std::int64_t)>& progress) {
  const torch::NoGradGuard no_grad;
  const ClipFeatures features(who, encoder_folder(who, embedder, Modality::audio, "whisper"));
  const std::vector<std::string> groups = distinct(clips, &ClipLabel::group);
  ClipLesson lesson{.labels = distinct(clips, &ClipLabel::label), .features = {}, .truth = {}, .groups = {}};
  std::vector<std::int64_t> truth, group;
  std::vector<std::vector<Tensor>> rows(static_cast<std::size_t>(features.blocks()));
  for (const ClipLabel& clip : clips) {
    truth.push_back(place_of(lesson.labels, clip.label));
    group.push_back(place_of(groups, clip.group));
    for (std::size_t block = 0; block < rows.size(); ++block) {
      rows[block].push_back(features.of(clip.clip, static_cast<std::int64_t>(block) + 1));
    }
    if (progress) progress(std::ssize(truth));
  }
  for (const std::vector<Tensor>& block : rows) lesson.features.push_back(torch::stack(block));
  lesson.truth = torch::tensor(truth);
  lesson.groups = torch::tensor(group);
  return lesson;
}

std::vector<std::int64_t> groups_of(const ClipLesson& lesson) {
  std::vector<std::int64_t> groups(static_cast<std::size_t>(lesson.groups.max().item<std::int64_t>()) + 1);
  std::iota(groups.begin(), groups.end(), 0);
  return groups;
}

Tensor rows_of(const ClipLesson& lesson, const std::vector<std::int64_t>& groups) {
  return torch::isin(lesson.groups, torch::tensor(groups)).nonzero().squeeze(1);
}

FittedClipHead fit_clip_head(const ClipLesson& lesson, ClipChoice choice, const std::vector<std::int64_t>& groups) {
  const torch::AutoGradMode gradients(true);
  const Tensor rows = rows_of(lesson, groups), truth = lesson.truth.index_select(0, rows);
  const Tensor features = lesson.features.at(static_cast<std::size_t>(choice.block - 1)).index_select(0, rows);
  const Tensor mean = features.mean(0), deviation = features.std(0, /*unbiased=*/false).clamp_min(1e-6);
  const Tensor x = (features - mean) / deviation;
  Tensor weight = torch::zeros({std::ssize(lesson.labels), x.size(1)}, torch::requires_grad());
  Tensor bias = torch::zeros({std::ssize(lesson.labels)}, torch::requires_grad());
  torch::optim::LBFGS optimiser({weight, bias},
                                torch::optim::LBFGSOptions(1).max_iter(40).line_search_fn("strong_wolfe"));
  optimiser.step([&] {
    optimiser.zero_grad();
    const Tensor loss =
        F::cross_entropy(torch::addmm(bias, x, weight.t()), truth) + choice.penalty / 2 * weight.square().sum();
    loss.backward();
    return loss;
  });
  const Tensor scaled = weight.detach() / deviation;
  return {scaled, bias.detach() - scaled.mv(mean)};
}

Tensor clip_logits(const ClipLesson& lesson, ClipChoice choice, const std::vector<std::int64_t>& learned,
                   const std::vector<std::int64_t>& judged) {
  const FittedClipHead head = fit_clip_head(lesson, choice, learned);
  const Tensor& features = lesson.features.at(static_cast<std::size_t>(choice.block - 1));
  return torch::addmm(head.bias, features.index_select(0, rows_of(lesson, judged)), head.weight.t());
}

Tensor held_out_logits(const ClipLesson& lesson, ClipChoice choice, const std::vector<std::int64_t>& groups) {
  Tensor logits = torch::zeros({lesson.truth.size(0), std::ssize(lesson.labels)});
  for (const std::int64_t group : groups) {
    logits.index_copy_(0, rows_of(lesson, {group}), clip_logits(lesson, choice, without(groups, group), {group}));
  }
  return logits.index_select(0, rows_of(lesson, groups));
}

ClipChoice best_choice(const ClipLesson& lesson, const Tensor& truth,
                       const std::function<Tensor(ClipChoice)>& logits_of) {
  ClipChoice best;
  std::pair best_quality{-1.0, 0.0};
  for (std::size_t block = 0; block < lesson.features.size(); ++block) {
    for (const double penalty : kPenalties) {
      const ClipChoice choice{static_cast<std::int64_t>(block) + 1, penalty};
      const Tensor logits = logits_of(choice);
      const std::pair quality{std::round(mean_recall(logits, truth) * 1e6),
                              -F::cross_entropy(logits, truth).item<double>()};
      if (quality > best_quality) std::tie(best, best_quality) = std::pair(choice, quality);
    }
  }
  return best;
}

Tensor nested_logits(const ClipLesson& lesson, const std::function<void(std::int64_t)>& progress) {
  const std::vector<std::int64_t> groups = groups_of(lesson);
  Tensor logits = torch::zeros({lesson.truth.size(0), std::ssize(lesson.labels)});
  for (const std::int64_t group : groups) {
    const std::vector<std::int64_t> others = without(groups, group);
    const ClipChoice choice = best_choice(lesson, lesson.truth.index_select(0, rows_of(lesson, others)),
                                          [&](ClipChoice tried) { return held_out_logits(lesson, tried, others); });
    logits.index_copy_(0, rows_of(lesson, {group}), clip_logits(lesson, choice, others, {group}));
    if (progress) progress(group + 1);
  }
  return logits;
}

double best_scale(const Tensor& logits, const Tensor& truth) {
  const Tensor scales = torch::logspace(-1, 1, kScales);
  std::vector<double> losses;
  for (int i = 0; i < kScales; ++i) losses.push_back(F::cross_entropy(scales[i] * logits, truth).item<double>());
  return scales[std::ranges::min_element(losses) - losses.begin()].item<double>();
}

}  // namespace trine::detail
