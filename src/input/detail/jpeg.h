#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// Any JPEG of one, three or four components with libjpeg-turbo. OpenCV uses the same library and gives the same pixels
/// for grey and RGB, but converts CMYK otherwise than Pillow, fills what a cut-off file lacks and lets warnings be
/// printed.
Image decode_jpeg(Bytes file);

}  // namespace trine::detail
