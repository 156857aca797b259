#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"

/// SigLIP and SigLIP 2 in transformers' layout: config.json with `model_type` "siglip" (also SigLIP 2 at a fixed size)
/// or "siglip2" (naflex: any shape, up to a number of patches), or their "..._vision_model" and "..._text_model" for
/// one tower alone, model.safetensors, preprocessor_config.json, tokenizer. Zhai et al. (2023), Tschannen et al.
/// (2025). Reference: transformers SiglipModel, Siglip2Model.

namespace trine {

/// The keys of config.json's "vision_config", with transformers' defaults.
struct TRINE_API SiglipVisionConfig {
  TransformerConfig transformer{.hidden_act = Activation::gelu_tanh, .layer_norm_eps = 1e-6};
  std::int64_t image_size = 224;  ///< of the fixed size
  std::int64_t patch_size = 16;
  std::int64_t num_patches = 0;  ///< naflex: of the table of positions, a square; 0: fixed size
};

/// The keys of config.json's "text_config", with transformers' defaults.
struct TRINE_API SiglipTextConfig {
  TransformerConfig transformer{.hidden_act = Activation::gelu_tanh, .layer_norm_eps = 1e-6};
  std::int64_t vocab_size = 32'000;
  std::int64_t max_position_embeddings = 64;
  std::int64_t projection_size = 768;  ///< where it is not written, hidden_size
};

struct TRINE_API SiglipConfig {
  SiglipVisionConfig vision_config;
  SiglipTextConfig text_config;

  /// A directory of one tower alone fills that tower's part.
  static SiglipConfig load(const std::filesystem::path& config_json);
};

namespace detail {
class SiglipFlatPatches;
struct AttentionPool;
}  // namespace detail

/// (N, 3, image_size, image_size), for naflex (N, 3, H, W) in whole patches -> (N, hidden_size)
class TRINE_API SiglipVisionImpl : public torch::nn::Module {
 public:
  explicit SiglipVisionImpl(const SiglipVisionConfig& config);
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  torch::Tensor embed(const torch::Tensor& pixels) const;

  SiglipVisionConfig config_;
  PatchEmbedding patches_{nullptr};                          ///< of the fixed size
  std::shared_ptr<detail::SiglipFlatPatches> flat_patches_;  ///< of naflex
  Embedding positions_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm post_norm_{nullptr};
  std::shared_ptr<detail::AttentionPool> head_;
};
TORCH_MODULE(SiglipVision);

/// ids (N, T) int64, padded to max_position_embeddings as in training -> (N, projection_size): the last position, which
/// sees all others, padding included.
class TRINE_API SiglipTextImpl : public torch::nn::Module {
 public:
  explicit SiglipTextImpl(const SiglipTextConfig& config);
  torch::Tensor forward(const torch::Tensor& ids) const;

 private:
  TokenEmbedding embeddings_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm final_norm_{nullptr};
  Linear head_{nullptr};
};
TORCH_MODULE(SiglipText);

/// The towers of a directory and their similarity; features are not normalised.
TRINE_API AnyEncoder load_siglip(const std::filesystem::path& directory);

}  // namespace trine
