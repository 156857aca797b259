#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

#include "trine/embedder.h"
#include "trine/encoders/video.h"

namespace trine::detail {

/// Some frames of a video, in their order.
using TakeFrames = std::function<void(const std::vector<ImageInput>& frames)>;

/// Gives the frames of a video to `take`, batch_size or fewer at a time: those of a file that the options say, or
/// `chooser`, or neither: one a second; of frames given those that `chooser` says, or all. A frame that is wanted twice
/// is given once: the result has the place of each wanted one among those given. -> (T) int64
torch::Tensor take_frames(const char* who, const VideoInput& video, const VideoEmbedOptions& options,
                          const VideoEncoder* chooser, const TakeFrames& take);

}  // namespace trine::detail
