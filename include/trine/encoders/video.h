#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "trine/encoders/encoder.h"
#include "trine/export.h"

namespace trine {

/// An image encoder that also takes the frames of a video together, in their order. A picture is a video of one frame.
class TRINE_API VideoEncoder : public ImageEncoder {
 public:
  /// Frames as `preprocess` gives them, of which the model's processor takes some, (T, 3, H, W) with T >= 1
  /// -> (dim), not normalised. It is `join(look(the chosen ones))`.
  virtual torch::Tensor encode_video(const torch::Tensor& pixels) const = 0;

  /// Which of `count` frames the processor takes, from 0, in their order; one may come twice. `seconds`: that they last
  /// together; 0: not known
  virtual std::vector<std::int64_t> choose(std::int64_t count, double seconds) const = 0;
  virtual torch::Tensor look(const torch::Tensor& pixels) const = 0;  ///< each frame alone, (T, 3, H, W) -> (T, K)
  virtual torch::Tensor join(const torch::Tensor& looks) const = 0;   ///< (T, K) -> (dim), not normalised
  virtual std::int64_t max_frames() const = 0;                        ///< that `join` takes
};

}  // namespace trine
