#pragma once

#include "trine/input/image.h"

namespace trine::detail {

/// Turns a picture as an EXIF orientation of 1 to 8 asks: 2 and 4 mirror, 3 turns by half, 5 to 8 exchange rows and
/// columns.
Image orient(const Image& image, int orientation);

}  // namespace trine::detail
