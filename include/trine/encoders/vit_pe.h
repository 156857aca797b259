#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"

/// Meta's Perception Encoder in timm's layout: config.json with `architecture` "vit_pe_core_base_patch16_224" and its
/// like (also vit_pe_lang_..., vit_pe_spatial_...), model.safetensors. Bolya et al. (2025). Reference: timm.models.eva,
/// also through transformers' TimmWrapper (`model_type` "timm_wrapper").

namespace trine {

/// timm's names of the parts: an architecture's own sizes, and what "model_args" of the config.json changes.
struct TRINE_API VitPeConfig {
  std::string architecture;
  TransformerConfig transformer{.layer_norm_eps =
                                    1e-5};  ///< embed_dim, depth, num_heads, and mlp_ratio times embed_dim
  std::int64_t img_size = 224;
  std::int64_t patch_size = 16;
  bool class_token = true;
  bool layer_scale = false;           ///< timm's init_values is a number
  bool post_transformer_norm = true;  ///< of "core"
  std::string global_pool = "map";    ///< "map", a learned query, of "core"; else "avg" of the patches or "token"
  std::int64_t attn_pool_num_heads = 8;
  std::int64_t attn_pool_hidden = 0;  ///< attn_pool_mlp_ratio times embed_dim
  std::int64_t ref_feat_shape = 0;    ///< patches a side that angles are counted in
  double rope_grid_offset = 1;        ///< of the first patch
  double rope_temperature = 10'000;
  std::int64_t num_classes = 0;  ///< length of what the last linear layer gives; 0: there is none

  static VitPeConfig load(const std::filesystem::path& config_json);
  /// What `timm.create_model(architecture, num_classes=num_classes)` makes.
  static VitPeConfig of(const std::string& architecture, std::int64_t num_classes);

  std::int64_t dim() const { return num_classes != 0 ? num_classes : transformer.hidden_size; }
};

namespace detail {
struct AttentionPool;
}

/// Learned positions, and angles of rows and columns. (N, 3, img_size, img_size) -> (N, dim)
class TRINE_API VitPeImpl : public torch::nn::Module {
 public:
  explicit VitPeImpl(const VitPeConfig& config);
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  VitPeConfig config_;
  Rotation rotation_;  ///< the class token is not turned
  torch::Tensor class_token_;
  torch::Tensor positions_;  ///< of the class token and the patches
  PatchEmbedding patches_{nullptr};
  LayerNorm pre_norm_{nullptr};
  Transformer blocks_{nullptr};
  LayerNorm norm_{nullptr};
  std::shared_ptr<detail::AttentionPool> pool_;
  Linear head_{nullptr};
};
TORCH_MODULE(VitPe);

/// The encoder of a directory. Where the config has classes, which for "core" is the width of the space shared with
/// texts, it gives what the last layer gives, as timm's model does.
TRINE_API std::unique_ptr<ImageEncoder> load_vit_pe(const std::filesystem::path& directory);

/// Whether timm has a Perception Encoder of this name.
TRINE_API bool is_vit_pe(const std::string& architecture);

}  // namespace trine
