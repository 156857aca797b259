#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// A PNG whose chunks and rows the caller has checked. Alpha is dropped, 16 bits are cut to 8; of 16-bit grey, which
/// Pillow does not scale, values above 255 become 255.
Image decode_with_libpng(Bytes file);

}  // namespace trine::detail
