#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/encoders/modernbert.h"
#include "trine/encoders/pe_transformer.h"
#include "trine/export.h"
#include "trine/layers.h"

/// The towers of Meta's Perception Encoder for sounds and texts: config.json with `model_type` "pe_audio",
/// model.safetensors, preprocessor_config.json, tokenizer. A clip goes through the encoder of the DAC codec, then
/// through a transformer; a text through ModernBERT. Reference: transformers PeAudioModel.

namespace trine {

/// The keys of config.json's "audio_config", with transformers' defaults.
struct TRINE_API PeAudioEncoderConfig : PeTransformerConfig {
  // of "dac_config"
  std::int64_t encoder_hidden_size = 64;                        ///< channels of the codec's first layer
  std::vector<std::int64_t> downsampling_ratios{2, 8, 10, 12};  ///< each doubles the channels
  std::int64_t codebook_dim = 128;

  std::int64_t hop_length() const;      ///< samples of a step
  std::int64_t codec_channels() const;  ///< of the codec's last layer
};

struct TRINE_API PeAudioConfig {
  PeAudioEncoderConfig audio_config;
  ModernBertConfig text_config;

  static PeAudioConfig load(const std::filesystem::path& config_json);
};

class PeAudioCodecImpl;

/// Samples to states: the first is of the class token, the others of steps of `hop_length` samples.
/// (N, 1, steps * hop_length) -> (N, 1 + steps, hidden_size)
class TRINE_API PeAudioEncoderImpl : public PeTransformerImpl {
 public:
  explicit PeAudioEncoderImpl(const PeAudioEncoderConfig& config);
  torch::Tensor forward(const torch::Tensor& samples) const;

 private:
  std::int64_t hop_length_;
  std::shared_ptr<PeAudioCodecImpl> codec_;
  Conv1d bottleneck_{nullptr};
  Linear data_projection_{nullptr};
};
TORCH_MODULE(PeAudioEncoder);

struct PeAudioOptions {
  double max_seconds = 30;  ///< longest clip of one call; 1 s takes about 50 MB
};

/// Both towers. Features are not normalised; a clip gives the class token's. There is no similarity of
/// vectors: the reference scores products of features that are not normalised, see `Embedder::audio_probabilities`.
TRINE_API AnyEncoder load_pe_audio(const std::filesystem::path& directory, const PeAudioOptions& options = {});

}  // namespace trine
