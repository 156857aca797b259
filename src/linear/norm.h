#pragma once

#include <torch/torch.h>

/// Layer norms where nothing records gradients: one pass over a row while it is in the cache.

namespace trine::detail {

/// Whether `normalise` computes it: contiguous fp32 on the CPU, no gradients.
bool can_normalise(const torch::Tensor& x, const torch::Tensor& weight);

/// (..., n), weight (n), bias (n) or undefined -> (..., n)
torch::Tensor normalise(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, double eps);

}  // namespace trine::detail
