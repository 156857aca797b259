#pragma once

#include <torch/torch.h>

#include <cstdint>

/// Attention as encoders compute it where nothing records gradients: a head's keys and values are laid out once, and
/// the scores of 64 queries and 256 keys live in the cache, whatever the length.

namespace trine::detail {

/// Whether `attend` computes these: fp32 on the CPU, no gradients, enough queries to lay out keys for.
bool can_attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, std::int64_t heads);

/// q (N, Q, dim), k and v (N, T, dim), parts of a fused layer's result as they are; causal: Q = T, no step sees a later
/// one -> (N, Q, dim)
torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, std::int64_t heads,
                     bool causal);

}  // namespace trine::detail
