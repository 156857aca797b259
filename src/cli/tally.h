#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace trine::cli {

/// Wilson's 95 % interval of a share.
inline std::pair<double, double> wilson_interval(double found, double count) {
  constexpr double z = 1.959964;
  const double p = found / count;
  const double middle = (p + z * z / (2 * count)) / (1 + z * z / count);
  const double half = z / (1 + z * z / count) * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

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
    return wilson_interval(static_cast<double>(top1), static_cast<double>(count));
  }
};

}  // namespace trine::cli
