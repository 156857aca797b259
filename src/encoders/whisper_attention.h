#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

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
  }

  torch::Tensor key(const torch::Tensor& x) const { return key_->forward(x); }
  torch::Tensor value(const torch::Tensor& x) const { return value_->forward(x); }

  /// Of `x` to the steps that `keys` and `values` are of, those that are real in `mask` (N, T).
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& keys, const torch::Tensor& values,
                        const torch::Tensor& mask = {}, bool causal = false) const {
    return out_->forward(self_attention(query_->forward(x), keys, values, heads_, mask, causal));
  }

 private:
  std::int64_t heads_;
  Linear key_{nullptr}, value_{nullptr}, query_{nullptr}, out_{nullptr};
};
TORCH_MODULE(WhisperAttention);

}  // namespace trine
