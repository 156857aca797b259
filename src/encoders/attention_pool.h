#pragma once

#include <torch/torch.h>

#include "linear/attention.h"
#include "linear/linear.h"
#include "trine/encoders/transformer.h"

namespace trine::detail {

/// A learned query over all steps, then a feed-forward part with its residual: how SigLIP and the Perception Encoder
/// pool. Their networks register it and its parts under their checkpoints' keys. (N, T, dim) -> (N, dim)
struct AttentionPool : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& states) const {
    const torch::Tensor q = query.forward(latent).expand({states.size(0), 1, -1});
    const auto rest = key_value.forward(states).chunk(2, -1);
    const torch::Tensor seen = attention_after(key_value.precision(), q, rest[0], rest[1], heads);
    const torch::Tensor x = out.forward(seen.squeeze(1));
    return feed_forward(norm, expand, activation, contract, x);
  }

  std::int64_t heads = 1;
  Activation activation = Activation::gelu;
  torch::Tensor latent;  ///< (1, 1, dim)
  InferenceLinear query, key_value, out, expand, contract;
  LayerNorm norm{nullptr};
};

}  // namespace trine::detail
