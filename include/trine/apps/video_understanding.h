#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "trine/attention.h"
#include "trine/export.h"
#include "trine/layers.h"

namespace trine {

struct VideoUnderstandingOptions {
  std::int64_t frame_dim = 0;
  std::int64_t audio_dim = 0;
  std::int64_t text_dim = 0;    ///< of the transcript's features
  std::int64_t hidden_dim = 0;  ///< of each direction of the LSTM
  std::int64_t out_dim = 0;
  std::int64_t num_layers = 1;  ///< of the LSTM
  std::int64_t num_heads = 8;   ///< of the attention to the transcript
};

/// B videos. Masks are bool, true = a real step; what padded steps hold does not matter.
struct VideoSteps {
  torch::Tensor frames;                ///< (B, T, frame_dim)
  torch::Tensor audio = {};            ///< (B, T, audio_dim), around each frame; zeros without it
  torch::Tensor mask = {};             ///< (B, T): real frames come first, one at least. Default: all are real
  torch::Tensor transcript = {};       ///< (B, S, text_dim)
  torch::Tensor transcript_mask = {};  ///< (B, S); a row may be all false
};

struct UnderstoodVideo {
  torch::Tensor video;       ///< (B, out_dim), of unit length
  torch::Tensor importance;  ///< (B, T), summing to 1 over the real frames
};

/// Frames and the sound around each of them through a bidirectional LSTM; a transcript by attention to it; the mean of
/// the frames, weighed by their importance.
///
/// New modules hold random weights, ready to be trained. Keys of the state_dict are those of the PyTorch reference, see
/// tests/golden/make_fusion.py.
/// Errors: std::invalid_argument for shapes and types that do not fit and for a video without a frame, named by its
/// index; std::runtime_error for files.
class TRINE_API VideoUnderstandingImpl : public torch::nn::Module {
 public:
  explicit VideoUnderstandingImpl(const VideoUnderstandingOptions& options);
  UnderstoodVideo forward(const VideoSteps& steps);

  const VideoUnderstandingOptions& options() const { return options_; }
  void save(const std::filesystem::path& directory) const;  ///< config.json and model.safetensors
  static std::shared_ptr<VideoUnderstandingImpl> load(const std::filesystem::path& directory);

 private:
  VideoUnderstandingOptions options_;
  torch::nn::LSTM temporal_encoder_{nullptr};
  Linear transcript_proj_{nullptr};
  CrossModalAttention transcript_attention_{nullptr};
  LayerNorm norm_{nullptr};
  Linear importance_{nullptr};
  Linear out_proj_{nullptr};
};
TORCH_MODULE(VideoUnderstanding);

}  // namespace trine
