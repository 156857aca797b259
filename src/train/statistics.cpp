#include "trine/train/statistics.h"

#include <algorithm>
#include <cmath>

namespace trine::train {

using torch::Tensor;

std::pair<double, double> wilson_interval(double share, double count) {
  constexpr double z = 1.959964;
  const double middle = (share + z * z / (2 * count)) / (1 + z * z / count);
  const double half = z / (1 + z * z / count) * std::sqrt(share * (1 - share) / count + z * z / (4 * count * count));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

double macro_f1(const Tensor& found, const Tensor& wanted, std::int64_t labels) {
  const auto count = [&](const Tensor& numbers) { return torch::bincount(numbers, {}, labels).to(torch::kFloat64); };
  const Tensor both = count(found.masked_select(found == wanted));
  const Tensor of_label = count(wanted);
  const Tensor f1 = 2 * both / (count(found) + of_label).clamp_min(1);
  return f1.masked_select(of_label > 0).mean().item<double>();
}

}  // namespace trine::train
