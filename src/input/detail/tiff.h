#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// The first page of a TIFF with libtiff, as stored (before its orientation). Read: grey of 1, 2, 4, 8 and 16
/// bits, palettes, RGB, RGBA and CMYK of 8 and 16 bits, JPEG inside; strips and tiles; every compression libtiff was
/// built with. Refused: signed and floating samples, Lab, YCbCr without JPEG, planes of 16 bits.
Image decode_tiff(Bytes file, int width, int height);

}  // namespace trine::detail
