#pragma once

#include <torch/torch.h>

#include "trine/adaptive.h"

/// Scores of classes or products as chances that mean what they say.

namespace trine::detail {

/// log of the chances. scores (..., P) -> (..., P) doubles
torch::Tensor log_chances(const torch::Tensor& scores, const Chances& chances);

/// The temperature and doubt that make the right ones most likely, as if one case more had told the right one and one
/// more had not. scores (N, P), right (N) int64
Chances most_likely(const torch::Tensor& scores, const torch::Tensor& right);

}  // namespace trine::detail
