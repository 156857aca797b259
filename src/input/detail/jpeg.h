#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// Any JPEG of one, three or four components with libjpeg-turbo. `scale` is 1, or 2, 4 or 8 for a picture so many times
/// smaller, which saves most of the work.
Image decode_jpeg(Bytes file, int scale = 1);

/// The caller has checked size and quality, from 1 to 100.
std::vector<std::byte> encode_jpeg(const char* who, const Image& image, int quality);

}  // namespace trine::detail
