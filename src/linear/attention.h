#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "trine/precision.h"

/// Attention as encoders compute it where nothing records gradients.

namespace trine::detail {

/// Whether `attend` computes these: fp32 on the CPU, no gradients, enough queries to lay out keys for.
bool can_attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, std::int64_t heads);

/// q (N, Q, dim), k and v (N, T, dim), parts of a fused layer's result as they are; causal: Q = T, no step sees a later
/// one. `precision` is what made them: after int8, long sequences are attended to in int8 -> (N, Q, dim)
torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v, std::int64_t heads,
                     bool causal, Precision precision = Precision::fp32);

/// Each text to itself, texts one after the other: a fused layer's result (tokens of all, 3 dim) and the tokens of each
/// -> (tokens of all, dim)
torch::Tensor attend_texts(const torch::Tensor& qkv, const std::vector<std::int64_t>& lengths, std::int64_t heads,
                           Precision precision);

/// `self_attention` of trine/layers.h after a layer in `precision`.
torch::Tensor attention_after(Precision precision, const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, std::int64_t heads, const torch::Tensor& mask = {},
                              bool causal = false);

}  // namespace trine::detail
