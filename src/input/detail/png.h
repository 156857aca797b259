#pragma once

#include "input/detail/byte_reader.h"
#include "trine/input/image.h"

namespace trine::detail {

/// Any PNG, still or the default image of an animated one. The file is checked in full before libpng sees it: chunk
/// lengths and sums, one complete zlib stream of the size the header promises, known row filters.
Image decode_png(Bytes file);

}  // namespace trine::detail
