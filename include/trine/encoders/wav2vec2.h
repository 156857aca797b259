#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/encoders/transformer.h"
#include "trine/export.h"
#include "trine/layers.h"

/// wav2vec 2.0, HuBERT and WavLM in transformers' layout: config.json with `model_type` "wav2vec2", "hubert" or
/// "wavlm", model.safetensors, preprocessor_config.json. Baevski et al. (2020), Hsu et al. (2021), Chen et al. (2021).
/// Reference: transformers Wav2Vec2Model, HubertModel, WavLMModel.

namespace trine {

enum class ConvolutionNorm {
  group,  ///< of each channel over time, after the first convolution
  layer   ///< of the channels, after every convolution
};

/// The keys of config.json, with transformers' defaults.
struct TRINE_API Wav2Vec2Config {
  std::string model_type = "wav2vec2";
  TransformerConfig transformer{.layer_norm_eps = 1e-5};
  ConvolutionNorm feat_extract_norm = ConvolutionNorm::group;
  Activation feat_extract_activation = Activation::gelu;
  std::vector<std::int64_t> conv_dim = {512, 512, 512, 512, 512, 512, 512};
  std::vector<std::int64_t> conv_stride = {5, 2, 2, 2, 2, 2, 2};
  std::vector<std::int64_t> conv_kernel = {10, 3, 3, 3, 3, 2, 2};
  bool conv_bias = false;
  bool feat_proj_layer_norm = true;  ///< false in some HuBERTs
  std::int64_t num_conv_pos_embeddings = 128;
  std::int64_t num_conv_pos_embedding_groups = 16;
  bool conv_pos_batch_norm = false;   ///< instead of the weight norm, in some HuBERTs
  bool do_stable_layer_norm = false;  ///< norms before each part instead of behind
  std::int64_t num_buckets = 320;     ///< WavLM's relative positions
  std::int64_t max_bucket_distance = 800;

  std::int64_t min_samples() const;  ///< of one step
  static Wav2Vec2Config load(const std::filesystem::path& config_json);
};

/// How a checkpoint keeps the weight of the positional convolution.
enum class PositionWeight {
  plain,         ///< weight
  weight_norm,   ///< weight_g and weight_v
  parametrized,  ///< parametrizations.weight.original0 and original1
};

class Wav2Vec2LayerImpl;

/// Samples to hidden states, one for every 20 ms at the usual strides. Samples that were padded would be heard: clips
/// of different length do not go together.
class TRINE_API Wav2Vec2Impl : public torch::nn::Module {
 public:
  explicit Wav2Vec2Impl(const Wav2Vec2Config& config, PositionWeight position_weight = PositionWeight::parametrized);
  torch::Tensor forward(const torch::Tensor& samples) const;  ///< (N, samples) -> (N, T, hidden_size)
  /// Computes once, when the weights are in, what does not depend on the samples.
  void prepare();
  /// Forgets it again: the weights are going to change.
  void unprepare();
  /// What enters the first layer and what leaves each one, the last as `forward` gives it.
  std::vector<torch::Tensor> states(const torch::Tensor& samples) const;

 private:
  torch::Tensor extract(const torch::Tensor& samples) const;   ///< (N, samples) -> (N, T, conv_dim.back())
  torch::Tensor position_kernel() const;                       ///< with its norm where it has one
  torch::Tensor positions(const torch::Tensor& states) const;  ///< (N, T, hidden_size), added to what it is of

  Wav2Vec2Config config_;
  struct Convolution {
    torch::Tensor weight, bias, norm_weight, norm_bias;  ///< undefined where there is none
  };
  std::vector<Convolution> convolutions_;
  LayerNorm projection_norm_{nullptr};
  Linear projection_{nullptr};
  torch::Tensor position_weight_, position_scale_, position_bias_;
  torch::Tensor prepared_kernel_;  ///< undefined before prepare()
  torch::Tensor batch_weight_, batch_bias_, batch_mean_, batch_var_;
  LayerNorm norm_{nullptr};
  std::vector<std::shared_ptr<Wav2Vec2LayerImpl>> layers_;
};
TORCH_MODULE(Wav2Vec2);

/// The encoder of a directory: 16 kHz mono (other rates are resampled), normalised as preprocessor_config.json says.
/// `encode` refuses clips under one step (25 ms at the usual strides) or over 60 s with std::invalid_argument.
TRINE_API std::unique_ptr<AudioEncoder> load_wav2vec2(const std::filesystem::path& directory);

}  // namespace trine
