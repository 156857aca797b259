#pragma once

#include <cstddef>
#include <vector>

#include "trine/export.h"
#include "trine/input/image.h"

namespace trine {

/// A picture as the bytes of a JPEG file; `quality` is 1 to 100.
/// Errors: std::invalid_argument for a picture without pixels, with sides over 65,500, or another quality.
TRINE_API std::vector<std::byte> encode_jpeg(const Image& image, int quality = 85);

}  // namespace trine
