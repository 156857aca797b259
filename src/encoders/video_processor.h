#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "detail/json.h"
#include "trine/encoders/preprocess.h"

namespace trine::detail {

/// What a directory says of a processor: `part` of processor_config.json, else the file `older` whole.
Json read_part_or_file(const char* who, const std::filesystem::path& directory, const char* part, const char* older);

/// What becomes of the frames of a video, and which of them are used.
struct VideoProcessor {
  ImageProcessor frame;
  std::int64_t num_frames = 0;  ///< evenly from the first to the last, 2 or more; 0: all of them, or by `fps`
  double fps = 0;               ///< frames a second of a video whose length is known; 0: all of them

  /// The numbers of the frames it takes of `count`, which last so many seconds together; 0: not known.
  std::vector<std::int64_t> choose(std::int64_t count, double seconds) const;
};

/// From the "video_processor" of processor_config.json, else from video_preprocessor_config.json. Reference:
/// transformers PeVideoVideoProcessor; it resizes by torch, which may give a byte 1 more or less than Pillow.
VideoProcessor read_video_processor(const std::filesystem::path& directory);

}  // namespace trine::detail
