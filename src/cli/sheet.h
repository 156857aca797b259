#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "trine/apps/video_search.h"

namespace trine::cli {

/// A contact sheet as SVG: how well a text fits over the time of a video, and a picture of each moment with its time,
/// score and reasons. The video was watched with thumbnails.
std::string contact_sheet_svg(const WatchedVideo& video, const std::string& text, const std::vector<Moment>& moments,
                              const torch::Tensor& scores);

/// The same as a JPEG file, with times and scores but without words.
std::vector<std::byte> contact_sheet_jpeg(const WatchedVideo& video, const std::vector<Moment>& moments,
                                          const torch::Tensor& scores);

/// "1:02:03.5"
std::string clock_time(double seconds);

}  // namespace trine::cli
