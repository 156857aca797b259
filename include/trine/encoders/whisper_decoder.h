#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "trine/export.h"
#include "trine/layers.h"

/// The decoder of Whisper, in transformers' layout (keys `model.decoder.*`). Radford et al. (2022). Reference:
/// transformers WhisperDecoder. `Transcriber` is what makes text of it.

namespace trine {

/// The keys of config.json that the decoder uses. `scale_embedding` is not among them: the reference reads it and never
/// scales.
struct TRINE_API WhisperDecoderConfig {
  std::int64_t d_model = 0;
  std::int64_t decoder_layers = 0;
  std::int64_t decoder_attention_heads = 0;
  std::int64_t decoder_ffn_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_target_positions = 448;

  static WhisperDecoderConfig load(const std::filesystem::path& config_json);
};

/// What a decoding has seen so far: the keys and values of each layer.
struct WhisperDecoderState {
  std::vector<torch::Tensor> clip_keys, clip_values;    ///< (1, T, d_model), of the encoder's states
  std::vector<torch::Tensor> token_keys, token_values;  ///< (1, max_target_positions, d_model), the first `tokens` set
  std::int64_t tokens = 0;
};

class WhisperDecoderLayerImpl;

/// Tokens to scores of the next one.
class TRINE_API WhisperDecoderImpl : public torch::nn::Module {
 public:
  explicit WhisperDecoderImpl(const WhisperDecoderConfig& config);

  /// Of what WhisperEncoder makes of one clip, (1, T, d_model).
  WhisperDecoderState start(const torch::Tensor& states) const;

  /// The tokens that come next, all at the start or one by one. ids (1, Q) int64 -> (1, Q, d_model)
  /// Errors: std::invalid_argument where the positions end.
  torch::Tensor forward(const torch::Tensor& ids, WhisperDecoderState& state) const;

  /// Of each token of the vocabulary, with the embeddings as weights. (..., d_model) -> (..., vocab_size)
  torch::Tensor logits(const torch::Tensor& hidden) const;

 private:
  Embedding embed_tokens_{nullptr};
  Embedding embed_positions_{nullptr};
  std::vector<std::shared_ptr<WhisperDecoderLayerImpl>> layers_;
  LayerNorm layer_norm_{nullptr};
};
TORCH_MODULE(WhisperDecoder);

}  // namespace trine
