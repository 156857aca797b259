#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>

#include "place.h"
#include "trine/encoders/whisper.h"

namespace trine::detail {

/// What a clip sounds like rather than what is said in it: mean and standard deviation over time of what leaves a block
/// of Whisper's encoder as it was published. It lies where this thread loads to.
class ClipFeatures {
 public:
  /// `whisper`: a checkpoint directory.
  ClipFeatures(const char* who, const std::filesystem::path& whisper);

  /// -> (dim()); blocks count from 1. Clips of more than 30 s go through in pieces of that length.
  torch::Tensor of(const AudioInput& audio, std::int64_t block) const;
  std::int64_t blocks() const { return config_.encoder_layers; }
  std::int64_t dim() const { return 2 * config_.d_model; }

 private:
  const char* who_;
  WhisperConfig config_;
  Place place_;
  WhisperEncoder encoder_{nullptr};
};

}  // namespace trine::detail
