#pragma once

#include <cstddef>
#include <cstdint>

#include "trine/input/image.h"

namespace trine::detail {

/// a * b / 255, rounded, as Pillow's MULDIV255 computes it.
inline int multiply_255(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// One pixel of four inks (0 is no ink) to RGB with Pillow's formula, which knows no colour profile. `rgb` may be
/// `cmyk`.
inline void cmyk_to_rgb(const std::uint8_t* cmyk, std::uint8_t* rgb) {
  const int paper = 255 - cmyk[3];
  for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(paper - multiply_255(cmyk[c], paper));
}

/// The size of three bytes per pixel.
inline std::size_t rgb_bytes(std::int64_t width, std::int64_t height) {
  return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
}

/// Whether it has a size, and as many bytes as that takes: a caller may have made it.
inline bool has_its_pixels(const Image& image) {
  return image.width >= 1 && image.height >= 1 && image.pixels.size() == rgb_bytes(image.width, image.height);
}

}  // namespace trine::detail
