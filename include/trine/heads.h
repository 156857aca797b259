#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "trine/export.h"
#include "trine/layers.h"

/// The trained heads that take an encoder's features into the shared space.

namespace trine {

struct SpeechHeadOptions {
  std::int64_t feature_dim = 384;  ///< the encoder's
  std::int64_t width = 320;
  std::int64_t num_heads = 8;  ///< of the attention pooling
  std::int64_t hidden = 768;
  std::int64_t out_dim = 384;  ///< the shared space's
};

/// Speech features of a clip, averaged in pairs, to one vector: layer norm, linear, convolution over five steps with a
/// residual, attention pooling, layer norm, two linear layers. pairs (N, T, feature_dim), mask (N, T) bool ->
/// (N, out_dim), not normalised. A sample needs one real step.
class TRINE_API SpeechHeadImpl : public torch::nn::Module {
 public:
  explicit SpeechHeadImpl(const SpeechHeadOptions& options);
  torch::Tensor forward(const torch::Tensor& pairs, const torch::Tensor& mask);

  double dropout = 0.0;  ///< share of activations dropped in training

 private:
  LayerNorm norm_{nullptr};
  Linear input_{nullptr};
  Conv1d convolution_{nullptr};
  AttentionPooling pooling_{nullptr};
  LayerNorm pooled_norm_{nullptr};
  Linear hidden_{nullptr};
  Linear output_{nullptr};
};
TORCH_MODULE(SpeechHead);

/// Means of neighbouring steps; an odd last step stays alone. (T, D) -> (ceil(T / 2), D)
TRINE_API torch::Tensor mean_of_pairs(const torch::Tensor& steps);

}  // namespace trine
