#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <memory>

#include "trine/encoders/encoder.h"
#include "trine/export.h"

namespace trine {

/// An image encoder that also takes the frames of a video together, in their order. A picture is a video of one frame.
class TRINE_API VideoEncoder : public ImageEncoder {
 public:
  /// Frames as `preprocess` gives them, (T, 3, H, W) with T >= 1 -> (dim), not normalised
  virtual torch::Tensor encode_video(const torch::Tensor& pixels) const = 0;
};

/// That of a "pe_video" or "pe_audio_video" directory, without its other towers; of any other directory nothing.
TRINE_API std::unique_ptr<VideoEncoder> load_video_encoder(const std::filesystem::path& directory);

}  // namespace trine
