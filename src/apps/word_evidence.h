#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "trine/export.h"

namespace trine::detail {

/// Token ids of a sentence.
using Tokens = std::vector<std::int32_t>;

/// What the tokens of a sentence, and its pairs of neighbours, say of each class: how much more often the class's
/// sentences have them than all sentences do (naive Bayes). What was never seen says nothing, and what was seen seldom
/// little.
class TRINE_API WordEvidence {
 public:
  WordEvidence() = default;
  /// classes: (N) int64, the class of each sentence, below `count`
  WordEvidence(const std::vector<Tokens>& sentences, const torch::Tensor& classes, std::int64_t count);

  /// Log odds against chance, summed. -> (N, count)
  torch::Tensor of(const std::vector<Tokens>& sentences) const;

 private:
  std::int64_t count_ = 0;
  std::unordered_map<std::uint64_t, std::int64_t> rows_;  ///< of each token and pair in the table
  torch::Tensor table_;                                   ///< (V, count)
};

}  // namespace trine::detail
