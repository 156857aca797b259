#include "trine/train/advise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <set>

#include "chances.h"
#include "detail/error.h"
#include "detail/names.h"
#include "tensor_check.h"
#include "trine/train/statistics.h"

namespace trine::train {

using torch::Tensor;

namespace {

constexpr const char* kWho = "advise";
constexpr std::size_t kMostModalities = 6;  ///< the subsets double with each
constexpr std::size_t kMostWorst = 10;
constexpr int kResamples = 2000;
constexpr std::array kShares{0.25, 0.5, 1.0};  ///< of the training samples in the learning curve

constexpr detail::Names<Verdict, 3> kVerdicts{
    {{Verdict::pays, "pays"}, {Verdict::does_not_pay, "does not pay"}, {Verdict::undecided, "undecided"}}};

using Names = std::vector<std::string>;

/// One modality of all samples.
struct Column {
  std::string name;
  Tensor x;            ///< (N, D) doubles, zeros where it is missing
  Tensor has;          ///< (N) bool
  double cost = 0;     ///< milliseconds
  double missing = 0;  ///< share
};

std::vector<Column> columns_of(const Features& features, const Features& masks, std::int64_t count,
                               const AdviseOptions& options) {
  if (features.empty()) detail::bad_argument(kWho, "features of at least one modality are wanted, there are none");
  if (features.size() > kMostModalities) {
    detail::bad_argument(kWho, "at most ", kMostModalities, " modalities are compared, got ", features.size());
  }
  for (const auto& [name, mask] : masks) {
    if (!features.contains(name)) detail::bad_argument(kWho, "there is a mask of '", name, "' and no features");
  }
  std::vector<Column> columns;
  for (const auto& [name, given] : features) {
    const bool steps = detail::is_floats(given, {count, -1, -1});
    if (!steps && !detail::is_floats(given, {count, -1})) {
      detail::bad_argument(kWho, "the features of '", name, "' must be floats (", count, ", T, D) or (", count,
                           ", D), one row for each label; got ", detail::shown(given));
    }
    const Tensor x = (steps ? given : given.unsqueeze(1)).detach().to(torch::kFloat64);
    const auto found = masks.find(name);
    const Tensor given_mask = found == masks.end() ? Tensor() : found->second;
    Tensor mask = detail::mask_or_ones(kWho, "the mask of '" + name + "'", given_mask,
                                       steps ? x.sizes().slice(0, 2) : x.sizes().slice(0, 1), x);
    if (!steps) mask = mask.unsqueeze(1);
    const Tensor kept = x.masked_fill(mask.logical_not().unsqueeze(2), 0);
    const Tensor finite = kept.isfinite().flatten(1).all(1);
    if (!finite.all().item<bool>()) {
      detail::bad_argument(kWho, "the features of '", name, "' of sample ",
                           finite.logical_not().nonzero()[0].item<std::int64_t>(), " are not finite");
    }
    const Tensor has = mask.any(1);
    const auto cost = options.milliseconds.find(name);
    columns.push_back({.name = name,
                       .x = kept.sum(1) / mask.sum(1, true).clamp_min(1),
                       .has = has,
                       .cost = cost == options.milliseconds.end() ? 0 : cost->second,
                       .missing = 1 - has.to(torch::kFloat64).mean().item<double>()});
  }
  Tensor some = columns[0].has;
  for (const Column& column : columns) some = some.logical_or(column.has);
  if (!some.all().item<bool>()) {
    detail::bad_argument(kWho, "sample ", some.logical_not().nonzero()[0].item<std::int64_t>(), " has no modality");
  }
  return columns;
}

/// The fold of each sample: the things of each class are shuffled and dealt out in turn.
std::vector<std::int64_t> folds_of(const std::vector<std::int64_t>& right, const std::vector<std::size_t>& thing,
                                   std::size_t things, const AdviseOptions& options) {
  std::map<std::int64_t, std::vector<std::size_t>> by_class;
  std::vector<bool> seen(things);
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (!seen[thing[i]]) by_class[right[i]].push_back(thing[i]);
    seen[thing[i]] = true;
  }
  std::mt19937_64 random(options.seed);
  std::vector<std::int64_t> fold_of_thing(things);
  std::int64_t next = 0;
  for (auto& [label, members] : by_class) {
    for (std::size_t i = members.size(); i > 1; --i) std::swap(members[i - 1], members[random() % i]);
    for (const std::size_t member : members) fold_of_thing[member] = next++ % options.folds;
  }
  std::vector<std::int64_t> folds;
  for (const std::size_t t : thing) folds.push_back(fold_of_thing[t]);
  return folds;
}

/// A linear head of one modality. Leaving samples out of a ridge regression needs no second fit: their residuals are
/// those of the fit, solved by 1 minus their block of the hat matrix. All samples of a thing are left out together, or
/// its copies would tell its class.
struct Head {
  Tensor mean;     ///< (D)
  Tensor weights;  ///< (D, C)
  Tensor bias;     ///< (C)
  Chances chances;

  /// `things`: the rows of each thing.
  static Head fit(const Tensor& x, const Tensor& right, std::int64_t classes, const std::vector<Tensor>& things) {
    const auto count = static_cast<double>(x.size(0));
    Head head;
    head.mean = x.mean(0);
    const Tensor centred = x - head.mean;
    const Tensor y = torch::one_hot(right, classes).to(torch::kFloat64);
    head.bias = y.mean(0);
    const auto [u, s, vh] = torch::linalg_svd(centred, /*full_matrices=*/false);
    const Tensor uy = u.t().matmul(y - head.bias), squares = s * s;
    const double scale = squares.mean().item<double>();
    double least = INFINITY;
    for (const double penalty : {1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0}) {
      const Tensor shrink = squares / (squares + penalty * scale + 1e-12);
      const Tensor fitted = u.matmul(shrink.unsqueeze(1) * uy) + head.bias;
      const Tensor left_out = torch::empty_like(y);
      for (const Tensor& rows : things) {
        const Tensor mine = u.index({rows});
        const Tensor hat = (mine * shrink).matmul(mine.t()) + 1 / count;
        const Tensor rest = (1 + 1e-6) * torch::eye(rows.size(0), hat.options()) - hat;
        left_out.index_put_({rows}, y.index({rows}) - torch::linalg_solve(rest, (y - fitted).index({rows})));
      }
      const Chances chances = detail::most_likely(left_out, right);
      const double loss = torch::nll_loss(detail::log_chances(left_out, chances), right).item<double>();
      if (loss >= least) continue;
      least = loss;
      head.chances = chances;
      head.weights = vh.t().matmul((s / (squares + penalty * scale + 1e-12)).unsqueeze(1) * uy);
    }
    return head;
  }

  /// (N, D) -> log of the chances (N, C)
  Tensor predict(const Tensor& x) const { return detail::log_chances((x - mean).matmul(weights) + bias, chances); }
};

/// Log of the chances by each modality alone, without the samples' own folds; zeros where a sample lacks it.
/// `share` of the training samples are used. -> (N, C) by modality; `trained`: their mean number
std::vector<Tensor> cross_validated(const std::vector<Column>& columns, const Tensor& right, std::int64_t classes,
                                    const std::vector<std::int64_t>& folds, const std::vector<std::size_t>& thing,
                                    const AdviseOptions& options, double share, const std::function<void()>& fitted,
                                    std::int64_t* trained) {
  std::mt19937_64 random(options.seed + 1);
  std::vector<std::int64_t> order(folds.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  std::vector<Tensor> result;
  for (const Column& column : columns) {
    result.push_back(torch::zeros({column.x.size(0), classes}, torch::kFloat64));
  }
  std::int64_t total = 0;
  for (std::int64_t fold = 0; fold < options.folds; ++fold) {
    std::vector<std::int64_t> train, test;
    for (const std::int64_t i : order) (folds[static_cast<std::size_t>(i)] == fold ? test : train).push_back(i);
    train.resize(static_cast<std::size_t>(std::ceil(share * static_cast<double>(train.size()))));
    total += std::ssize(train);
    const Tensor train_rows = torch::tensor(train, torch::kInt64), test_rows = torch::tensor(test, torch::kInt64);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const Column& column = columns[c];
      const Tensor known = train_rows.index({column.has.index({train_rows})});
      const Tensor asked = test_rows.index({column.has.index({test_rows})});
      if (known.size(0) > 1 && asked.size(0) > 0) {
        std::map<std::size_t, std::vector<std::int64_t>> rows;
        for (std::int64_t i = 0; i < known.size(0); ++i) {
          rows[thing[static_cast<std::size_t>(known[i].item<std::int64_t>())]].push_back(i);
        }
        std::vector<Tensor> things;
        for (const auto& [number, mine] : rows) things.push_back(torch::tensor(mine, torch::kInt64));
        const Head head = Head::fit(column.x.index({known}), right.index({known}), classes, things);
        result[c].index_put_({asked}, head.predict(column.x.index({asked})));
      }
      fitted();
    }
  }
  *trained = total / options.folds;
  return result;
}

/// The class of each sample by a subset of the modalities; the commonest class for those that have none of it.
/// -> (N) int64
Tensor judged(const std::vector<Column>& columns, const std::vector<Tensor>& chances, std::size_t subset,
              std::int64_t commonest) {
  Tensor sum = torch::zeros_like(chances[0]), has = torch::zeros_like(columns[0].has);
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if ((subset >> c & 1) == 0) continue;
    sum = sum + chances[c];
    has = has.logical_or(columns[c].has);
  }
  return torch::where(has, sum.argmax(1), torch::full_like(sum.argmax(1), commonest));
}

/// The 2.5th and 97.5th percentile of the mean of `values` when things are drawn anew.
std::pair<double, double> bootstrap(const std::vector<double>& values, const std::vector<std::size_t>& thing,
                                    std::size_t things, std::uint64_t seed) {
  std::vector<double> sums(things);
  std::vector<double> counts(things);
  for (std::size_t i = 0; i < values.size(); ++i) {
    sums[thing[i]] += values[i];
    counts[thing[i]] += 1;
  }
  std::mt19937_64 random(seed);
  std::vector<double> means;
  for (int r = 0; r < kResamples; ++r) {
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < things; ++i) {
      const std::size_t drawn = random() % things;
      sum += sums[drawn];
      count += counts[drawn];
    }
    means.push_back(sum / count);
  }
  std::ranges::sort(means);
  return {means[kResamples / 40], means[kResamples - 1 - kResamples / 40]};
}

/// McNemar's exact test: how likely so uneven a split of the differing samples is, if both sets are equally good.
double mcnemar(std::int64_t won, std::int64_t lost) {
  const std::int64_t differing = won + lost;
  double tail = 0;
  for (std::int64_t k = 0; k <= std::min(won, lost); ++k) {
    const auto n = static_cast<double>(differing), i = static_cast<double>(k);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) - n * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

std::string joined(const Names& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += " + ";
    text += name;
  }
  return text;
}

std::string points(double share, bool sign = true) {
  char digits[32];
  std::snprintf(digits, sizeof digits, sign ? "%+.1f" : "%.1f", 100 * share);
  return digits;
}

std::string share_of(double share) { return points(share, false) + " %"; }

const SubsetResult& result_of(const Advice& advice, const Names& modalities) {
  return *std::ranges::find(advice.subsets, modalities, &SubsetResult::modalities);
}

/// All of the advice in plain words.
Names in_words(const Advice& advice, const AdviseOptions& options, std::size_t things) {
  Names words;
  const SubsetResult& best = result_of(advice, {advice.recommended[0]});
  words.push_back("Best alone: " + advice.recommended[0] + ", right in " + share_of(best.accuracy) + " of " +
                  std::to_string(advice.samples) + " samples (95 %: " + points(best.interval.first, false) + " to " +
                  points(best.interval.second, false) + "); always the commonest class: " + share_of(advice.chance) +
                  ".");
  Names have{advice.recommended[0]};
  const auto say = [&](const Comparison& c) {
    std::string text = c.added + " beside " + joined(c.without);
    text += c.verdict == Verdict::pays           ? " pays: "
            : c.verdict == Verdict::does_not_pay ? " does not pay: "
                                                 : " may pay, the sample cannot tell: ";
    text += points(c.gain) + " points (95 %: " + points(c.interval.first) + " to " + points(c.interval.second) + ", " +
            std::to_string(c.won) + " samples won, " + std::to_string(c.lost) + " lost)";
    if (c.milliseconds > 0) text += " for " + points(c.milliseconds / 100, false) + " ms more a query";
    if (c.verdict == Verdict::undecided) {
      // the width of the interval falls with the root of the number of things
      const double half = (c.interval.second - c.interval.first) / 2;
      const double wanted = std::max(std::abs(c.gain), options.worth / 2);
      const double more = static_cast<double>(things) * half * half / (wanted * wanted);
      text += "; about " + std::to_string(std::llround(std::max(more, 1.2 * static_cast<double>(things)))) +
              " would tell, if the gain is as it looks";
    }
    words.push_back(text + ".");
  };
  for (std::size_t size = 1; size <= advice.recommended.size(); ++size) {
    have.assign(advice.recommended.begin(), advice.recommended.begin() + static_cast<std::ptrdiff_t>(size));
    Names sorted = have;
    std::ranges::sort(sorted);
    const bool last = size == advice.recommended.size();
    for (const Comparison& c : advice.comparisons) {
      if (c.without == sorted && (last || c.added == advice.recommended[size])) say(c);
    }
  }
  Names recommended = advice.recommended;
  std::ranges::sort(recommended);
  const SubsetResult& chosen = result_of(advice, recommended);
  words.push_back("Use " + joined(advice.recommended) + ": right in " + share_of(chosen.accuracy) + " (95 %: " +
                  points(chosen.interval.first, false) + " to " + points(chosen.interval.second, false) + ")" +
                  (chosen.milliseconds > 0 ? ", " + points(chosen.milliseconds / 100, false) + " ms a query." : "."));
  const auto [low, high] = advice.more_data;
  const std::string brought = "the second half of the training data brought " +
                              points(advice.learning.back().accuracy - advice.learning[1].accuracy) +
                              " points (95 %: " + points(low) + " to " + points(high) + ").";
  words.push_back(low > 0                ? "More samples help: " + brought
                  : high < options.worth ? "More samples of the same kind hardly help: " + brought
                                         : "Whether more samples help cannot be told: " + brought);
  std::string collect;
  for (const ClassResult& c : advice.worst) {
    if (c.wrong == 0 || std::ranges::count(collect, ';') == 4) break;
    collect += (collect.empty() ? "" : "; ") + c.label + " (" + std::to_string(c.wrong) + " of " +
               std::to_string(c.count) + " wrong, most often taken for " + c.taken_for + ")";
  }
  if (!collect.empty()) words.push_back("Collect next: " + collect + ".");
  const auto most = std::ranges::max_element(advice.missing, {}, [](const auto& entry) { return entry.second; });
  if (most->second > 0) {
    words.push_back("Most often missing: " + most->first + ", in " + share_of(most->second) + " of the samples.");
  }
  return words;
}

}  // namespace

std::string_view to_string(Verdict verdict) { return detail::name_of(kVerdicts, verdict); }

Advice advise(const Features& features, const Features& masks, const std::vector<std::string>& labels,
              const AdviseOptions& options) {
  const torch::NoGradGuard no_grad;
  const std::size_t count = labels.size();
  if (options.folds < 2) detail::bad_argument(kWho, "at least 2 folds are wanted, got ", options.folds);
  if (!(options.worth >= 0 && options.worth < 1)) {
    detail::bad_argument(kWho, "worth must lie in [0, 1), got ", options.worth);
  }
  if (count == 0) detail::bad_argument(kWho, "the sample is empty");
  if (!options.ids.empty() && options.ids.size() != count) {
    detail::bad_argument(kWho, "there are ", options.ids.size(), " ids and ", count, " labels");
  }
  const std::vector<Column> columns = columns_of(features, masks, static_cast<std::int64_t>(count), options);

  std::map<std::string, std::int64_t> classes, counts;
  for (std::size_t i = 0; i < count; ++i) {
    if (labels[i].empty()) detail::bad_argument(kWho, "sample ", i, " has no label");
    ++counts[labels[i]];
  }
  Names names;
  for (const auto& [label, n] : counts) {
    classes[label] = std::ssize(names);
    names.push_back(label);
  }
  if (names.size() < 2) detail::bad_argument(kWho, "all samples are of the class ", names[0], ": two are wanted");
  std::vector<std::int64_t> numbers;
  std::vector<std::size_t> thing(count);
  std::map<std::string, std::size_t> thing_of;
  std::size_t things = 0;
  for (std::size_t i = 0; i < count; ++i) {
    numbers.push_back(classes.at(labels[i]));
    const bool alone = options.ids.empty() || options.ids[i].empty();
    thing[i] = alone ? things : thing_of.emplace(options.ids[i], things).first->second;
    things += thing[i] == things;
  }
  if (static_cast<std::int64_t>(things) < options.folds) {
    detail::bad_argument(kWho, "there are ", things, " samples", options.ids.empty() ? "" : " of different ids",
                         " for ", options.folds, " folds");
  }
  const std::vector<std::int64_t> folds = folds_of(numbers, thing, things, options);
  const Tensor right = torch::tensor(numbers, torch::kInt64);
  const auto class_count = std::ssize(names);
  const auto largest = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
  const std::int64_t commonest = classes.at(largest->first);

  Advice advice{.samples = static_cast<std::int64_t>(count),
                .classes = class_count,
                .chance = static_cast<double>(largest->second) / static_cast<double>(count)};
  for (const Column& column : columns) advice.missing[column.name] = column.missing;

  const auto fits = static_cast<std::int64_t>(kShares.size() * columns.size()) * options.folds;
  std::int64_t done = 0;
  const auto fitted = [&] {
    if (options.progress) options.progress(++done, fits);
  };
  std::int64_t trained = 0;
  const std::vector<Tensor> chances =
      cross_validated(columns, right, class_count, folds, thing, options, 1.0, fitted, &trained);

  const std::size_t whole = (std::size_t{1} << columns.size()) - 1;
  std::vector<Tensor> found(whole + 1);
  std::vector<std::size_t> order;
  for (std::size_t subset = 1; subset <= whole; ++subset) order.push_back(subset);
  std::ranges::stable_sort(order, {}, [](std::size_t subset) { return __builtin_popcountll(subset); });
  const auto names_of = [&](std::size_t subset) {
    Names result;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (subset >> c & 1) result.push_back(columns[c].name);
    }
    return result;
  };
  for (const std::size_t subset : order) {
    found[subset] = judged(columns, chances, subset, commonest);
    SubsetResult result{.modalities = names_of(subset), .right = found[subset].eq(right).sum().item<std::int64_t>()};
    result.accuracy = static_cast<double>(result.right) / static_cast<double>(count);
    result.interval = wilson_interval(result.accuracy, static_cast<double>(things));
    result.macro_f1 = macro_f1(found[subset], right, class_count);
    Tensor has = torch::zeros_like(columns[0].has);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if ((subset >> c & 1) == 0) continue;
      has = has.logical_or(columns[c].has);
      result.milliseconds += columns[c].cost * (1 - columns[c].missing);
    }
    result.covered = has.to(torch::kFloat64).mean().item<double>();
    advice.subsets.push_back(std::move(result));
  }

  for (const std::size_t subset : order) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::size_t without = subset & ~(std::size_t{1} << c);
      if (without == subset || without == 0) continue;
      Comparison comparison{.without = names_of(without), .added = columns[c].name};
      std::vector<double> differences;
      for (std::size_t i = 0; i < count; ++i) {
        const auto row = static_cast<std::int64_t>(i);
        const bool with = found[subset][row].item<std::int64_t>() == numbers[i];
        const bool before = found[without][row].item<std::int64_t>() == numbers[i];
        differences.push_back(static_cast<double>(with) - static_cast<double>(before));
        comparison.won += with && !before;
        comparison.lost += before && !with;
      }
      comparison.gain = static_cast<double>(comparison.won - comparison.lost) / static_cast<double>(count);
      comparison.interval = bootstrap(differences, thing, things, options.seed + 2);
      comparison.p_value = mcnemar(comparison.won, comparison.lost);
      comparison.milliseconds = columns[c].cost * (1 - columns[c].missing);
      comparison.verdict = comparison.interval.first > 0                ? Verdict::pays
                           : comparison.interval.second < options.worth ? Verdict::does_not_pay
                                                                        : Verdict::undecided;
      advice.comparisons.push_back(std::move(comparison));
    }
  }

  // the best single one, then in turn what brings most on top, as long as it pays
  std::size_t chosen = 0;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const auto of = [&](std::size_t subset) { return found[subset].eq(right).sum().item<std::int64_t>(); };
    if (chosen == 0 || of(std::size_t{1} << c) > of(chosen)) chosen = std::size_t{1} << c;
  }
  advice.recommended = names_of(chosen);
  for (bool more = true; more;) {
    more = false;
    const Comparison* best = nullptr;
    for (const Comparison& comparison : advice.comparisons) {
      if (comparison.without != names_of(chosen) || comparison.verdict != Verdict::pays) continue;
      if (best == nullptr || comparison.gain > best->gain) best = &comparison;
    }
    if (best == nullptr) break;
    advice.recommended.push_back(best->added);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (columns[c].name == best->added) chosen |= std::size_t{1} << c;
    }
    more = true;
  }

  for (std::int64_t c = 0; c < class_count; ++c) {
    const Tensor mine = found[chosen].index({right.eq(c)}), wrong = mine.index({mine.ne(c)});
    ClassResult result{.label = names[static_cast<std::size_t>(c)], .count = mine.size(0), .wrong = wrong.size(0)};
    if (result.wrong > 0) {
      const Tensor times = torch::bincount(wrong, {}, class_count);
      result.taken_for = names[static_cast<std::size_t>(times.argmax().item<std::int64_t>())];
    }
    advice.worst.push_back(std::move(result));
  }
  std::ranges::stable_sort(advice.worst, [](const ClassResult& a, const ClassResult& b) {
    return a.wrong != b.wrong ? a.wrong > b.wrong : a.wrong * b.count > b.wrong * a.count;
  });
  if (advice.worst.size() > kMostWorst) advice.worst.resize(kMostWorst);

  std::vector<double> gained;
  for (const double share : kShares) {
    LearningPoint point{.share = share};
    const std::vector<Tensor> learned =
        share < 1 ? cross_validated(columns, right, class_count, folds, thing, options, share, fitted, &point.samples)
                  : chances;
    if (share == 1) point.samples = trained;
    const Tensor hits = judged(columns, learned, chosen, commonest).eq(right).to(torch::kFloat64);
    point.accuracy = hits.mean().item<double>();
    const std::vector<double> values(hits.const_data_ptr<double>(), hits.const_data_ptr<double>() + hits.numel());
    if (gained.empty()) gained.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (share == 0.5) gained[i] -= values[i];
      if (share == 1.0) gained[i] += values[i];
    }
    advice.learning.push_back(point);
  }
  advice.more_data = bootstrap(gained, thing, things, options.seed + 3);
  advice.sentences = in_words(advice, options, things);
  return advice;
}

}  // namespace trine::train
