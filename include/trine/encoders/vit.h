#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"

/// ViT in transformers' layout: config.json with `model_type` "vit", model.safetensors, preprocessor_config.json.
/// Dosovitskiy et al. (2020). Reference: transformers ViTModel.

namespace trine {

/// The keys of config.json, with transformers' defaults.
struct TRINE_API VitConfig {
  TransformerConfig transformer;
  std::int64_t image_size = 224;
  std::int64_t patch_size = 16;
  std::int64_t pooler_output_size = 768;  ///< where it is not written, hidden_size
  Activation pooler_act = Activation::tanh;

  static VitConfig load(const std::filesystem::path& config_json);
};

/// (N, 3, image_size, image_size) -> (N, hidden_size): the class token after the last norm. With a pooler a linear
/// layer and an activation follow -> (N, pooler_output_size).
class TRINE_API VitImpl : public torch::nn::Module {
 public:
  VitImpl(const VitConfig& config, bool with_pooler);
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  VitConfig config_;
  torch::Tensor class_token_;
  torch::Tensor positions_;  ///< of the class token and the patches, (1, 1 + P, hidden_size)
  PatchEmbedding patches_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm norm_{nullptr};
  Linear pooler_{nullptr};
};
TORCH_MODULE(Vit);

/// The encoder of a directory, ViTModel's or ViTForImageClassification's (whose classifier is left out): the pooler's
/// output where the checkpoint has a pooler, else the class token.
TRINE_API std::unique_ptr<ImageEncoder> load_vit(const std::filesystem::path& directory);

}  // namespace trine
