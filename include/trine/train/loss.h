#pragma once

#include <torch/torch.h>

#include "trine/export.h"

namespace trine::train {

struct AnchorLossOptions {
  double temperature = 0.05;
  double label_smoothing = 0.0;  ///< share of the target spread over all anchors
  double cosine_weight = 1.0;    ///< of the second term
};

/// Pulls vectors to fixed targets in a shared space: cross-entropy of softmax(cosine / temperature) over all anchors,
/// plus cosine_weight * (1 - cosine to the target). vectors (N, D), not normalised; anchors (K, D), unit; targets (N,
/// K), each row a distribution over the anchors -> scalar
TRINE_API torch::Tensor anchor_loss(const torch::Tensor& vectors, const torch::Tensor& anchors,
                                    const torch::Tensor& targets, const AnchorLossOptions& options = {});

}  // namespace trine::train
