#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// The first frame of a GIF on its canvas of `width` x `height` pixels, with giflib.
Image decode_gif(Bytes file, int width, int height);

}  // namespace trine::detail
