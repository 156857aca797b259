#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>

#include "chart.h"
#include "command.h"

namespace trine::cli {

/// How often answers are right that are said to be right with some chance, in ten bins of equal width.
class Reliability {
 public:
  void add(double confidence, bool right) {
    Bin& bin = bins_[std::min(static_cast<std::size_t>(confidence * kBins), bins_.size() - 1)];
    bin.confidence += confidence;
    bin.right += right;
    bin.count += 1;
    count_ += 1;
  }

  /// The expected calibration error: the mean distance between said and found, each bin counting by its answers.
  double error() const {
    double sum = 0;
    for (const Bin& bin : bins_) sum += std::abs(bin.confidence - bin.right);
    return count_ > 0 ? sum / count_ : 0;
  }

  std::int64_t count() const { return static_cast<std::int64_t>(count_); }

  Json json() const {
    Json bins = Json::array();
    for (const Bin& bin : bins_) {
      if (bin.count == 0) continue;
      bins.push_back({{"count", bin.count}, {"said", bin.confidence / bin.count}, {"right", bin.right / bin.count}});
    }
    return {{"count", count()}, {"error", error()}, {"bins", bins}};
  }

  std::string svg() const {
    Series found{.name = "first hits", .points = {}}, ideal{.name = "as said", .points = {{0, 0}, {1, 1}}};
    for (const Bin& bin : bins_) {
      if (bin.count > 0) found.points.emplace_back(bin.confidence / bin.count, bin.right / bin.count);
    }
    const std::string title = "Confidence of " + std::to_string(count()) + " searches, error " + fixed(error(), 3);
    return chart_svg({.title = title, .x_label = "confidence", .y_label = "share right", .series = {found, ideal}});
  }

 private:
  static constexpr std::size_t kBins = 10;

  struct Bin {
    double confidence = 0;  ///< sums over its answers
    double right = 0;
    double count = 0;
  };

  std::array<Bin, kBins> bins_{};
  double count_ = 0;
};

}  // namespace trine::cli
