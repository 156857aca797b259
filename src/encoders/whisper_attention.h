#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "linear/linear.h"
#include "trine/layers.h"

namespace trine {

/// Attention under Whisper's keys; k_proj has no bias. All (N, T, dim).
class WhisperAttentionImpl : public torch::nn::Module {
 public:
  WhisperAttentionImpl(std::int64_t dim, std::int64_t heads) : heads_(heads) {
    key_ = register_module("k_proj", Linear(dim, dim, /*with_bias=*/false));
    value_ = register_module("v_proj", Linear(dim, dim));
    query_ = register_module("q_proj", Linear(dim, dim));
    out_ = register_module("out_proj", Linear(dim, dim));
    qkv_ = detail::InferenceLinear({query_, key_, value_});
    fused_out_ = detail::InferenceLinear({out_});
  }

  torch::Tensor key(const torch::Tensor& x) const { return key_->forward(x); }
  torch::Tensor value(const torch::Tensor& x) const { return value_->forward(x); }

  /// Of `x` to the steps that `keys` and `values` are of, those that are real in `mask` (N, T).
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& keys, const torch::Tensor& values,
                        const torch::Tensor& mask = {}, bool causal = false) const {
    return out_->forward(self_attention(query_->forward(x), keys, values, heads_, mask, causal));
  }

  /// `input` plus the attention of `x` to itself.
  torch::Tensor add_to(const torch::Tensor& input, const torch::Tensor& x, const torch::Tensor& mask) const {
    const auto qkv = qkv_.forward(x).chunk(3, -1);
    return fused_out_.forward_add(self_attention(qkv[0], qkv[1], qkv[2], heads_, mask), input);
  }

 private:
  std::int64_t heads_;
  Linear key_{nullptr}, value_{nullptr}, query_{nullptr}, out_{nullptr};
  detail::InferenceLinear qkv_, fused_out_;
};
TORCH_MODULE(WhisperAttention);

}  // namespace trine
