#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "command.h"

/// Measured numbers, each with its count, its 95 % interval and what a blind guess would reach.

namespace trine::cli {

struct Figure {
  std::string name;
  std::int64_t count = 0;  ///< cases
  double value = 0;
  std::optional<std::pair<double, double>> interval = {};
  std::optional<double> chance = {};
};

/// `right` of `count`, with Wilson's interval.
Figure share(const std::string& name, std::int64_t right, std::int64_t count, std::optional<double> chance = {});

/// `value` of all cases, with the interval of 1,000 draws of as many cases. value: rows (M) int64 -> number
Figure resampled(const std::string& name, std::int64_t count,
                 const std::function<double(const torch::Tensor& rows)>& value, std::optional<double> chance = {});

/// Predictions of a head: scores (N, L) float, and which labels hold (N, L) bool.
struct Judged {
  std::vector<std::string> labels;
  torch::Tensor scores;
  torch::Tensor truth;
};

/// One label each: how often the likeliest is right, and the mean of that over the labels that occur.
std::vector<Figure> one_label_figures(const Judged& judged);

/// Several labels at once: macro-F1 where a score reaches the label's threshold (L), how often the likeliest is one of
/// the right ones, and how far the scores are from shares.
std::vector<Figure> many_label_figures(const Judged& judged, const torch::Tensor& thresholds);

/// F1 of each label. -> (L) double
torch::Tensor label_f1(const Judged& judged, const torch::Tensor& thresholds);

/// Of each label the threshold with the best F1. -> (L)
torch::Tensor best_thresholds(const Judged& judged);

/// Words left out, put in or changed per word said, in lower case without punctuation, and clips without any.
std::vector<Figure> word_figures(const std::vector<std::string>& said, const std::vector<std::string>& heard);

/// The words that `word_figures` compares.
std::vector<std::string> compared_words(const std::string& text);

/// How far two rows of N numbers rise together, -1 to 1; 0 where one of them is constant.
double correlation(const torch::Tensor& a, const torch::Tensor& b);

/// What was found of one task.
struct Found {
  std::vector<std::string> labels = {};
  std::vector<Figure> figures = {};
  Json more = Json::object();  ///< for --json
};

Json json_of(const std::vector<Figure>& figures);
/// A table with a head.
std::string table_of(const std::vector<Figure>& figures);

}  // namespace trine::cli
