#include "trine/search/rerank.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trine {

RerankScore rerank_score(float similarity, const std::map<Modality, float>& support) {
  if (support.size() < 2) return {.score = similarity};
  double consistency = 1, smallest = std::numeric_limits<double>::infinity(), largest = -smallest;
  for (const auto& [modality, value] : support) {
    consistency *= std::pow(std::max(static_cast<double>(value), 0.0), 1.0 / static_cast<double>(support.size()));
    smallest = std::min<double>(smallest, value);
    largest = std::max<double>(largest, value);
  }
  const double disagreement = largest - smallest;
  const double score = std::max(static_cast<double>(similarity), 0.0) * (1 + consistency) * (1 - 0.5 * disagreement);
  return {static_cast<float>(score), static_cast<float>(consistency), static_cast<float>(disagreement)};
}

}  // namespace trine
