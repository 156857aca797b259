#pragma once

#include <string>

#include "trine/checkpoint.h"

namespace trine::detail {

/// Where PE-AV's encoder of `kind`, "audio" or "video", lies in a checkpoint: transformers ties two places and writes
/// one.
inline std::string pe_encoder_prefix(const Checkpoint& checkpoint, const std::string& kind) {
  const std::string own = kind + "_model." + kind + "_encoder.";
  return checkpoint.contains(own + "norm.weight") ? own : "audio_video_encoder.embedder." + kind + "_encoder.";
}

}  // namespace trine::detail
