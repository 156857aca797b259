#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"

/// CLIP (OpenAI, LAION, DataComp ...) in transformers' layout: config.json with `model_type` "clip", or
/// "clip_vision_model" or "clip_text_model" for one tower alone, model.safetensors, preprocessor_config.json,
/// tokenizer. Radford et al. (2021). Reference: transformers CLIPModel, CLIPVisionModelWithProjection,
/// CLIPTextModelWithProjection.

namespace trine {

/// The keys of config.json's "vision_config", with transformers' defaults.
struct TRINE_API ClipVisionConfig {
  TransformerConfig transformer{.hidden_act = Activation::quick_gelu, .layer_norm_eps = 1e-5};
  std::int64_t image_size = 224;
  std::int64_t patch_size = 32;
};

/// The keys of config.json's "text_config", with transformers' defaults.
struct TRINE_API ClipTextConfig {
  TransformerConfig transformer{.hidden_size = 512,
                                .intermediate_size = 2048,
                                .num_attention_heads = 8,
                                .hidden_act = Activation::quick_gelu,
                                .layer_norm_eps = 1e-5};
  std::int64_t vocab_size = 49'408;
  std::int64_t max_position_embeddings = 77;
  std::int64_t eos_token_id = 49'407;
};

struct TRINE_API ClipConfig {
  ClipVisionConfig vision_config;
  ClipTextConfig text_config;
  std::int64_t projection_dim = 512;

  /// A directory of one tower alone fills that tower's part.
  static ClipConfig load(const std::filesystem::path& config_json);
};

/// (N, 3, image_size, image_size) -> (N, hidden_size): the class token after the last norm.
class TRINE_API ClipVisionImpl : public torch::nn::Module {
 public:
  explicit ClipVisionImpl(const ClipVisionConfig& config);
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  std::int64_t image_size_;
  torch::Tensor class_embedding_;
  PatchEmbedding patches_{nullptr};
  Embedding positions_{nullptr};
  LayerNorm pre_norm_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm post_norm_{nullptr};
};
TORCH_MODULE(ClipVision);

/// ids (N, T) int64 -> (N, hidden_size): the end token, which is the first `eos_token_id`; in configs from before that
/// key was right, where it is 2, the highest id.
class TRINE_API ClipTextImpl : public torch::nn::Module {
 public:
  explicit ClipTextImpl(const ClipTextConfig& config);
  torch::Tensor forward(const torch::Tensor& ids) const;

 private:
  std::int64_t eos_token_id_;
  TokenEmbedding embeddings_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm final_norm_{nullptr};
};
TORCH_MODULE(ClipText);

/// The towers of a directory and their similarity. They give the projected features, not normalised; a tower alone
/// without a projection gives its pooled state.
TRINE_API AnyEncoder load_clip(const std::filesystem::path& directory);

}  // namespace trine
