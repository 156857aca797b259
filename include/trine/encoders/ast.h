#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"
#include "trine/layers.h"

/// The Audio Spectrogram Transformer in transformers' layout: config.json with `model_type`
/// "audio-spectrogram-transformer", model.safetensors, preprocessor_config.json. Gong, Chung, Glass (2021). Reference:
/// transformers ASTModel.

namespace trine {

/// Log-mel features over Kaldi's filter bank; fields are the JSON keys. Reference: transformers ASTFeatureExtractor.
struct TRINE_API AstFeatureExtractor {
  int sampling_rate = 16'000;  ///< Hz; only here the reference's two ways to frame a clip are one
  int num_mel_bins = 128;
  int max_length = 1'024;  ///< frames
  bool do_normalize = true;
  double mean = -4.2677393;
  double std = 4.5689974;

  /// From the "feature_extractor" of processor_config.json, else from preprocessor_config.json. Errors:
  /// std::runtime_error naming the key, wanted and got.
  static AstFeatureExtractor load(const std::filesystem::path& directory);

  /// (n), at least min_samples() -> (max_length, num_mel_bins): frames behind the clip's end are zero before the
  /// scaling, frames beyond max_length are left out.
  torch::Tensor operator()(std::span<const float> samples) const;

  std::int64_t min_samples() const;  ///< of one frame
  std::int64_t max_samples() const;  ///< of max_length frames
  Description describe() const;
};

/// The keys of config.json, with transformers' defaults.
struct TRINE_API AstConfig {
  TransformerConfig transformer;
  std::int64_t patch_size = 16;
  std::int64_t frequency_stride = 10;
  std::int64_t time_stride = 10;
  std::int64_t max_length = 1'024;
  std::int64_t num_mel_bins = 128;

  std::int64_t patches() const;  ///< of one clip
  static AstConfig load(const std::filesystem::path& config_json);
};

/// (N, max_length, num_mel_bins) -> (N, hidden_size): the mean of the class and the distillation token after the last
/// norm.
class TRINE_API AstImpl : public torch::nn::Module {
 public:
  explicit AstImpl(const AstConfig& config);
  torch::Tensor forward(const torch::Tensor& features) const;

 private:
  AstConfig config_;
  torch::Tensor class_token_;
  torch::Tensor distillation_token_;
  torch::Tensor positions_;  ///< of both tokens and the patches, (1, 2 + P, hidden_size)
  Conv2d patches_{nullptr};
  Transformer encoder_{nullptr};
  LayerNorm norm_{nullptr};
};
TORCH_MODULE(Ast);

/// The encoder of a directory, ASTModel's or ASTForAudioClassification's (whose classifier is left out): one vector a
/// clip. `encode` refuses clips under 25 ms or over `max_seconds` with std::invalid_argument.
TRINE_API std::unique_ptr<AudioEncoder> load_ast(const std::filesystem::path& directory);

}  // namespace trine
