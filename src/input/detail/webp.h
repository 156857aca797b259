#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// A still WebP, or the first frame of an animated one on its canvas of `width` x `height` pixels.
Image decode_webp(Bytes file, int width, int height);

}  // namespace trine::detail
