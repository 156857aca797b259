#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"

/// DINOv2 in transformers' layout: config.json with `model_type` "dinov2" or "dinov2_with_registers",
/// model.safetensors, preprocessor_config.json. Oquab et al. (2023), Darcet et al. (2023). Reference: transformers
/// Dinov2Model, Dinov2WithRegistersModel.

namespace trine {

/// The keys of config.json, with transformers' defaults.
struct TRINE_API Dinov2Config {
  TransformerConfig transformer{.layer_norm_eps = 1e-6};  ///< intermediate_size follows from `mlp_ratio`
  std::int64_t mlp_ratio = 4;
  std::int64_t image_size = 224;
  std::int64_t patch_size = 14;
  std::int64_t num_register_tokens = 0;

  static Dinov2Config load(const std::filesystem::path& config_json);
};

/// (N, 3, H, W) of any size from one patch on -> (N, hidden_size): the class token after the last norm, or with the
/// mean of the patches' tokens behind it -> (N, 2 * hidden_size). Positions are interpolated from the grid of
/// `image_size`.
class TRINE_API Dinov2Impl : public torch::nn::Module {
 public:
  explicit Dinov2Impl(const Dinov2Config& config);
  torch::Tensor forward(const torch::Tensor& pixels, bool with_patches = false) const;

 private:
  torch::Tensor positions_for(std::int64_t height, std::int64_t width) const;

  Dinov2Config config_;
  torch::Tensor class_token_;
  torch::Tensor registers_;  ///< (1, num_register_tokens, hidden_size); undefined without
  torch::Tensor positions_;  ///< of the class token and the patches, (1, 1 + P, hidden_size)
  PatchEmbedding patches_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm norm_{nullptr};
};
TORCH_MODULE(Dinov2);

/// The encoder of a directory, Dinov2Model's or Dinov2ForImageClassification's (whose classifier is left out).
TRINE_API std::unique_ptr<ImageEncoder> load_dinov2(const std::filesystem::path& directory);

}  // namespace trine
