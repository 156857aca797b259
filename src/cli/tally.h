#pragma once

#include <cstdint>
#include <utility>

#include "trine/train/statistics.h"

namespace trine::cli {

/// How often the right answer came at which rank.
struct Tally {
  std::int64_t count = 0;
  std::int64_t top1 = 0;
  std::int64_t top5 = 0;
  std::int64_t top10 = 0;
  double reciprocal = 0;  ///< sum of 1 / rank

  /// `rank` counts from 1; 0: not found.
  void add(std::int64_t rank) {
    ++count;
    if (rank == 0) return;
    top1 += rank <= 1;
    top5 += rank <= 5;
    top10 += rank <= 10;
    reciprocal += 1.0 / static_cast<double>(rank);
  }

  double share(double found) const { return found / static_cast<double>(count); }

  /// Of top-1.
  std::pair<double, double> interval() const {
    return train::wilson_interval(share(static_cast<double>(top1)), static_cast<double>(count));
  }
};

}  // namespace trine::cli
