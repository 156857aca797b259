#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// BMP with palettes of 1, 4 and 8 bits, plain or run-length coded, with 24 bits, and with 32 in the usual order.
/// Refused: 16 bits, other orders of 32, embedded JPEG and PNG, missing rows.
Image decode_bmp(Bytes file, int width, int height);

}  // namespace trine::detail
