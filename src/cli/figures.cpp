#include "figures.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "reliability.h"
#include "trine/train/statistics.h"

namespace trine::cli {

using torch::Tensor;

namespace {

constexpr int kDraws = 1'000;
constexpr utf8proc_int32_t kTypographicApostrophe = 0x2019;

/// Of each label, by its column. found and truth (N, L) bool -> (L) double
Tensor f1_of(const Tensor& found, const Tensor& truth) {
  const Tensor both = (found & truth).sum(0).to(torch::kFloat64);
  return 2 * both / (found.sum(0) + truth.sum(0)).clamp_min(1).to(torch::kFloat64);
}

/// The share that is right of the cases of each label, on the mean over the labels that occur.
double mean_recall(const Tensor& right, const Tensor& truth) {
  const Tensor cases = truth.sum(0).to(torch::kFloat64);
  const Tensor hits = (truth & right.unsqueeze(1)).sum(0).to(torch::kFloat64);
  const Tensor occur = cases > 0;
  return (hits.masked_select(occur) / cases.masked_select(occur)).mean().item<double>();
}

/// Whether the likeliest label holds. -> (N) bool
Tensor likeliest_is_right(const Judged& judged) {
  return judged.truth.gather(1, judged.scores.argmax(1, /*keepdim=*/true)).squeeze(1);
}

/// Of all scores, whichever label they are of.
double calibration_error(const Judged& judged) {
  const Tensor scores = judged.scores.contiguous(), truth = judged.truth.contiguous();
  Reliability reliability;
  for (std::int64_t i = 0; i < scores.numel(); ++i) {
    reliability.add(scores.const_data_ptr<float>()[i], truth.const_data_ptr<bool>()[i]);
  }
  return reliability.error();
}

/// Words put in, left out or changed: the edit distance.
std::int64_t word_errors(const std::vector<std::string>& said, const std::vector<std::string>& heard) {
  std::vector<std::int64_t> row(heard.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = static_cast<std::int64_t>(j);
  for (std::size_t i = 0; i < said.size(); ++i) {
    std::int64_t diagonal = row[0];
    row[0] = static_cast<std::int64_t>(i) + 1;
    for (std::size_t j = 0; j < heard.size(); ++j) {
      const std::int64_t changed = diagonal + (said[i] != heard[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// Letters with their marks, digits and the underscore; not what is no Unicode.
bool is_of_a_word(utf8proc_int32_t code) {
  if (code < 0) return false;
  const utf8proc_category_t category = utf8proc_category(code);
  return code == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO);
}

std::string bounds(const Figure& figure, int decimals) {
  if (!figure.interval) return "";
  return fixed(figure.interval->first, decimals) + " to " + fixed(figure.interval->second, decimals);
}

}  // namespace

Figure share(const std::string& name, std::int64_t right, std::int64_t count, std::optional<double> chance) {
  const double value = count > 0 ? static_cast<double>(right) / static_cast<double>(count) : 0;
  Figure figure{.name = name, .count = count, .value = value, .chance = chance};
  if (count > 0) figure.interval = train::wilson_interval(value, static_cast<double>(count));
  return figure;
}

Figure resampled(const std::string& name, std::int64_t count, const std::function<double(const Tensor& rows)>& value,
                 std::optional<double> chance) {
  auto generator = torch::make_generator<at::CPUGeneratorImpl>(1);
  std::vector<double> draws;
  for (int i = 0; i < kDraws; ++i) draws.push_back(value(torch::randint(count, {count}, generator, torch::kInt64)));
  std::ranges::sort(draws);
  const std::pair interval{draws[kDraws * 25 / 1000], draws[kDraws * 975 / 1000 - 1]};
  return {.name = name, .count = count, .value = value(torch::arange(count)), .interval = interval, .chance = chance};
}

std::vector<Figure> one_label_figures(const Judged& judged) {
  const Tensor right = likeliest_is_right(judged);
  const double chance = 1.0 / static_cast<double>(judged.labels.size());
  const auto recall = [&](const Tensor& rows) {
    return mean_recall(right.index_select(0, rows), judged.truth.index_select(0, rows));
  };
  return {share("accuracy", right.sum().item<std::int64_t>(), right.size(0), chance),
          resampled("mean recall of the labels (UAR)", right.size(0), recall, chance)};
}

std::vector<Figure> many_label_figures(const Judged& judged, const Tensor& thresholds) {
  const Tensor found = judged.scores >= thresholds, right = likeliest_is_right(judged);
  const Tensor shares = judged.truth.to(torch::kFloat64).mean(0);
  const auto macro_f1 = [&](const Tensor& rows) {
    return f1_of(found.index_select(0, rows), judged.truth.index_select(0, rows)).mean().item<double>();
  };
  const double every_label = (2 * shares / (shares + 1)).mean().item<double>();
  return {resampled("macro-F1", right.size(0), macro_f1, every_label),
          share("the likeliest is right", right.sum().item<std::int64_t>(), right.size(0), shares.max().item<double>()),
          {.name = "calibration error of the scores (10 bins)",
           .count = judged.scores.numel(),
           .value = calibration_error(judged)}};
}

Tensor label_f1(const Judged& judged, const Tensor& thresholds) {
  return f1_of(judged.scores >= thresholds, judged.truth);
}

Tensor best_thresholds(const Judged& judged) {
  std::vector<Tensor> best;
  for (std::int64_t label = 0; label < judged.scores.size(1); ++label) {
    const auto [scores, order] =
        torch::sort(judged.scores.select(1, label), /*stable=*/true, /*dim=*/0, /*descending=*/true);
    const Tensor truth = judged.truth.select(1, label).index_select(0, order).to(torch::kFloat64);
    const Tensor found = torch::arange(1, truth.size(0) + 1);
    const Tensor f1 = 2 * truth.cumsum(0) / (found + truth.sum());
    best.push_back(scores[f1.argmax().item<std::int64_t>()]);
  }
  return torch::stack(best);
}

std::vector<std::string> compared_words(const std::string& text) {
  std::vector<std::string> words(1);
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (utf8proc_ssize_t at = 0; at < std::ssize(text);) {
    utf8proc_int32_t code = -1;
    at += std::max<utf8proc_ssize_t>(utf8proc_iterate(bytes + at, std::ssize(text) - at, &code), 1);
    if (code == '\'' || code == kTypographicApostrophe) continue;
    if (is_of_a_word(code)) {
      std::array<utf8proc_uint8_t, 4> lower{};
      const auto length = utf8proc_encode_char(utf8proc_tolower(code), lower.data());
      words.back().append(lower.begin(), lower.begin() + length);
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

std::vector<Figure> word_figures(const std::vector<std::string>& said, const std::vector<std::string>& heard) {
  const auto count = static_cast<std::int64_t>(said.size());
  const Tensor errors = torch::empty({count}, torch::kFloat64), words = torch::empty({count}, torch::kFloat64);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::vector<std::string> wanted = compared_words(said[static_cast<std::size_t>(i)]);
    errors[i] = word_errors(wanted, compared_words(heard[static_cast<std::size_t>(i)]));
    words[i] = static_cast<std::int64_t>(wanted.size());
  }
  const auto rate = [&](const Tensor& rows) {
    return (errors.index_select(0, rows).sum() / words.index_select(0, rows).sum().clamp_min(1)).item<double>();
  };
  Figure wrong = resampled("word error rate", count, rate);
  wrong.count = words.sum().item<std::int64_t>();
  return {wrong, share("without a wrong word", (errors == 0).sum().item<std::int64_t>(), count)};
}

double correlation(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(torch::kFloat64) - a.to(torch::kFloat64).mean();
  const Tensor y = b.to(torch::kFloat64) - b.to(torch::kFloat64).mean();
  const double size = std::sqrt(x.dot(x).item<double>() * y.dot(y).item<double>());
  return size > 0 ? x.dot(y).item<double>() / size : 0;
}

Json json_of(const std::vector<Figure>& figures) {
  Json list = Json::array();
  for (const Figure& figure : figures) {
    Json json{{"figure", figure.name}, {"count", figure.count}, {"value", figure.value}};
    if (figure.interval) json["interval"] = {figure.interval->first, figure.interval->second};
    if (figure.chance) json["chance"] = *figure.chance;
    list.push_back(json);
  }
  return list;
}

std::string table_of(const std::vector<Figure>& figures) {
  std::vector<std::vector<std::string>> rows{{"figure", "count", "value", "95 % interval", "chance"}};
  for (const Figure& figure : figures) {
    rows.push_back({figure.name, std::to_string(figure.count), fixed(figure.value, 3), bounds(figure, 3),
                    figure.chance ? fixed(*figure.chance, 3) : ""});
  }
  std::string text;
  for (const std::string& line : aligned(rows)) text += line + "\n";
  return text;
}

}  // namespace trine::cli
