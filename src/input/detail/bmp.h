#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// BMP with OpenCV: palettes of 1, 4 and 8 bits, plain or run-length coded, 24 bits, and 32 bits in the usual order.
/// Refused: 16 bits and other orders of 32 (OpenCV's colours differ from Pillow's there), embedded JPEG and PNG,
/// missing rows.
Image decode_bmp(Bytes file, int width, int height);

}  // namespace trine::detail
