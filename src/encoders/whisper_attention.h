#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "linear/attention.h"
#include "linear/linear.h"
#include "trine/layers.h"

namespace trine {

/// Attention under Whisper's keys; k_proj has no bias. All (N, T, dim).
class WhisperAttentionImpl : public torch::nn::Module {
 public:
  WhisperAttentionImpl(std::int64_t dim, std::int64_t heads) : heads_(heads) {
    const Linear key = register_module("k_proj", Linear(dim, dim, /*with_bias=*/false));
    const Linear value = register_module("v_proj", Linear(dim, dim));
    const Linear query = register_module("q_proj", Linear(dim, dim));
    qkv_ = detail::InferenceLinear({query, key, value});
    query_ = detail::InferenceLinear({query});
    key_value_ = detail::InferenceLinear({key, value});
    out_ = detail::InferenceLinear({register_module("out_proj", Linear(dim, dim))});
  }

  /// Queries, keys and values of what `norm` makes of `x`.
  std::vector<torch::Tensor> parts(const LayerNorm& norm, const torch::Tensor& x) const {
    return qkv_.forward_normed(norm, x).chunk(3, -1);
  }
  torch::Tensor query(const torch::Tensor& x) const { return query_.forward(x); }
  std::vector<torch::Tensor> keys_and_values(const torch::Tensor& x) const {
    return key_value_.forward(x).chunk(2, -1);
  }

  /// `input` plus the attention of `queries` to the steps that `keys` and `values` are of, those that are real in
  /// `mask` (N, T).
  torch::Tensor add_to(const torch::Tensor& input, const torch::Tensor& queries, const torch::Tensor& keys,
                       const torch::Tensor& values, const torch::Tensor& mask = {}, bool causal = false) const {
    return out_.forward_add(detail::attention_after(qkv_.precision(), queries, keys, values, heads_, mask, causal),
                            input);
  }

 private:
  std::int64_t heads_;
  detail::InferenceLinear qkv_, query_, key_value_, out_;  ///< each packed where it is used
};
TORCH_MODULE(WhisperAttention);

}  // namespace trine
