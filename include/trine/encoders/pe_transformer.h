#pragma once

#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "trine/encoders/transformer.h"
#include "trine/export.h"
#include "trine/layers.h"

/// What Meta's Perception Encoders of sounds, of videos and of both share once their inputs are a sequence of steps.
/// Reference: transformers PeAudioVideoEncoder, from which the others derive.

namespace trine {

/// The keys of config.json, with transformers' defaults.
struct PeTransformerConfig {
  std::int64_t hidden_size = 1792;
  std::int64_t intermediate_size = 4800;
  std::int64_t num_hidden_layers = 6;
  std::int64_t num_attention_heads = 14;
  std::int64_t num_key_value_heads = 14;  ///< where it is not written, num_attention_heads
  std::int64_t head_dim = 128;
  Activation hidden_act = Activation::silu;
  double rms_norm_eps = 1e-5;
  double rope_theta = 20'000;
  bool attention_bias = false;
};

class PeLayerImpl;

/// A class token before the steps, two convolutions with a residual, and blocks of attention with rotary positions.
class TRINE_API PeTransformerImpl : public torch::nn::Module {
 public:
  explicit PeTransformerImpl(const PeTransformerConfig& config);

  /// Steps to states, the first of which is the class token's. (N, T, hidden_size) -> (N, 1 + T, hidden_size)
  torch::Tensor states_of(const torch::Tensor& steps) const;

 private:
  PeTransformerConfig config_;
  torch::Tensor class_embedding_;
  std::array<LayerNorm, 2> group_norms_{nullptr, nullptr};  ///< each over all steps and channels of an input
  std::array<Conv1d, 2> convolutions_{nullptr, nullptr};
  std::vector<std::shared_ptr<PeLayerImpl>> layers_;
  torch::Tensor norm_;
  Linear output_{nullptr};
};

/// What makes a pooled state a vector of the shared space: a norm and a linear layer without bias.
class TRINE_API PeHeadImpl : public torch::nn::Module {
 public:
  PeHeadImpl(std::int64_t in, std::int64_t out);
  torch::Tensor forward(const torch::Tensor& x) const;  ///< (..., in) -> (..., out)

  LayerNorm layer_norm{nullptr};
  Linear proj{nullptr};
};
TORCH_MODULE(PeHead);

}  // namespace trine
