#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"
#include "trine/layers.h"

/// The encoder of Whisper, in transformers' layout (config.json with `model_type` "whisper", model.safetensors with
/// keys `model.encoder.*`). Radford et al. (2022). Reference: transformers WhisperEncoder.

namespace trine {

/// The keys of config.json that the encoder uses.
struct TRINE_API WhisperConfig {
  std::int64_t d_model = 0;
  std::int64_t encoder_layers = 0;
  std::int64_t encoder_attention_heads = 0;
  std::int64_t encoder_ffn_dim = 0;
  std::int64_t num_mel_bins = 80;
  std::int64_t max_source_positions = 1500;

  static WhisperConfig load(const std::filesystem::path& config_json);
};

class WhisperLayerImpl;

/// Log-mel to hidden states. (N, mels, frames), frames at most 2 * max_source_positions -> (N, ceil(frames / 2),
/// d_model). A clip shorter than 30 s uses the first positions only; with 30 s the result equals the reference's.
class TRINE_API WhisperEncoderImpl : public torch::nn::Module {
 public:
  explicit WhisperEncoderImpl(const WhisperConfig& config);
  torch::Tensor forward(const torch::Tensor& mel) const;

  /// The same in two parts, for training the last blocks alone: what enters block `blocks` (counted from 0)
  torch::Tensor begin(const torch::Tensor& mel, std::int64_t blocks) const;
  /// and the blocks from there on. steps (N, T, d_model), mask (N, T) bool or undefined -> (N, T, d_model)
  torch::Tensor finish(const torch::Tensor& steps, std::int64_t blocks, const torch::Tensor& mask = {}) const;
  /// Leaves gradients to the blocks from `blocks` on and to the last norm.
  void freeze_blocks(std::int64_t blocks);

 private:
  struct Stem;
  torch::Tensor after_stem(const torch::Tensor& mel) const;

  Conv1d conv1_{nullptr};
  Conv1d conv2_{nullptr};
  std::shared_ptr<const Stem> stem_;  ///< both as packed layers
  Embedding embed_positions_{nullptr};
  std::vector<std::shared_ptr<WhisperLayerImpl>> layers_;
  LayerNorm layer_norm_{nullptr};
};
TORCH_MODULE(WhisperEncoder);

/// The encoder of a checkpoint directory: 16 kHz mono (other rates are resampled), on the clip's own length, 50 vectors
/// a second. `encode` refuses clips under 20 ms or over `max_seconds` with std::invalid_argument. Tensors `encoder.*`
/// of the file `tuned` replace the checkpoint's.
TRINE_API std::unique_ptr<AudioEncoder> load_whisper(const std::filesystem::path& directory,
                                                     const std::optional<std::filesystem::path>& tuned = {});

}  // namespace trine
