#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <optional>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/encoders/vit_pe.h"
#include "trine/export.h"

/// Image and text towers in OpenCLIP's layout: open_clip_config.json, open_clip_model.safetensors and a tokenizer.
/// Known are CLIP's own vision transformer and timm's Perception Encoder (PE-Core) for images, and CLIP's transformer
/// for texts. Ilharco et al. (2021), Bolya et al. (2025). Reference: open_clip CLIP, CustomTextCLIP.

namespace trine {

/// The keys of "vision_cfg" without a `timm_model_name`.
struct TRINE_API OpenClipVisionConfig {
  TransformerConfig transformer{.layer_norm_eps = 1e-5};  ///< width, layers, width / head_width, mlp_ratio times width
  std::int64_t image_size = 224;
  std::int64_t patch_size = 16;
};

/// The keys of "text_cfg".
struct TRINE_API OpenClipTextConfig {
  TransformerConfig transformer{.layer_norm_eps = 1e-5};  ///< width, layers, heads, mlp_ratio times width
  std::int64_t context_length = 77;
  std::int64_t vocab_size = 49'408;
};

/// The keys of "model_cfg".
struct TRINE_API OpenClipConfig {
  std::int64_t embed_dim = 512;
  OpenClipVisionConfig vision_cfg;
  std::optional<VitPeConfig> timm;  ///< of the `timm_model_name`, which vision_cfg then is not
  OpenClipTextConfig text_cfg;

  static OpenClipConfig load(const std::filesystem::path& open_clip_config_json);
};

/// (N, 3, image_size, image_size) -> (N, embed_dim): the class token after the last norm, projected.
class TRINE_API OpenClipVisionImpl : public torch::nn::Module {
 public:
  OpenClipVisionImpl(const OpenClipVisionConfig& config, std::int64_t embed_dim);
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  std::int64_t image_size_;
  torch::Tensor class_embedding_;
  torch::Tensor positions_;  ///< of the class token and the patches
  PatchEmbedding patches_{nullptr};
  LayerNorm pre_norm_{nullptr};
  Transformer transformer_{nullptr};
  LayerNorm post_norm_{nullptr};
  torch::Tensor projection_;  ///< (width, embed_dim)
};
TORCH_MODULE(OpenClipVision);

/// ids (N, T) int64 -> (N, embed_dim): the first token of the highest id, which is the end token, projected.
class TRINE_API OpenClipTextImpl : public torch::nn::Module {
 public:
  OpenClipTextImpl(const OpenClipTextConfig& config, std::int64_t embed_dim);
  torch::Tensor forward(const torch::Tensor& ids) const;

 private:
  Embedding tokens_{nullptr};
  torch::Tensor positions_;
  Transformer transformer_{nullptr};
  LayerNorm final_norm_{nullptr};
  torch::Tensor projection_;  ///< (width, embed_dim)
};
TORCH_MODULE(OpenClipText);

/// Whether a directory is to be read as OpenCLIP's: it has open_clip_config.json, and no config.json or, beside
/// open_clip_model.safetensors, no weights in transformers' layout.
TRINE_API bool is_open_clip(const std::filesystem::path& directory);

/// Both towers and their similarity; features are not normalised.
TRINE_API AnyEncoder load_open_clip(const std::filesystem::path& directory);

}  // namespace trine
