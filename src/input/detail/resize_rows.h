#pragma once

#include <cstdint>
#include <functional>

#include "trine/input/image.h"

namespace trine::detail {

/// `resize` of a picture of this size whose rows come one after the other: `next` is given the place of each, three
/// bytes for a pixel, from the top to the last one.
Image resize_rows(int width, int height, const Resizing& to, const std::function<void(std::uint8_t* row)>& next);

}  // namespace trine::detail
