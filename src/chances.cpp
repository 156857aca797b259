#include "chances.h"

#include <array>
#include <cmath>

namespace trine::detail {

using torch::Tensor;

Tensor log_chances(const Tensor& scores, const Chances& chances) {
  const Tensor sure = (scores.to(torch::kFloat64) / chances.temperature).softmax(-1);
  return ((1 - chances.doubt) * sure + chances.doubt / static_cast<double>(scores.size(-1))).log();
}

Chances most_likely(const Tensor& scores, const Tensor& right) {
  constexpr std::array kDoubts{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97};
  const auto count = static_cast<double>(scores.size(1));
  Chances best;
  double least = INFINITY;
  for (double temperature = 0.002; temperature < 1; temperature *= 1.08) {
    const Tensor sure = (scores.to(torch::kFloat64) / temperature).softmax(1).gather(1, right.unsqueeze(1));
    for (const double doubt : kDoubts) {
      const double loss =
          -((1 - doubt) * sure + doubt / count).log().sum().item<double>() - std::log(doubt) - std::log1p(-doubt);
      if (loss >= least) continue;
      least = loss;
      best = {.temperature = temperature, .doubt = doubt};
    }
  }
  return best;
}

}  // namespace trine::detail
