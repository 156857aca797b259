#include "input/detail/orient.h"

#include "input/detail/pixels.h"

namespace trine::detail {

Image orient(const Image& image, int orientation) {
  const bool transposed = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image result{transposed ? image.height : image.width, transposed ? image.width : image.height, {}};
  result.pixels.resize(image.pixels.size());
  std::uint8_t* out = result.pixels.data();
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      const int column = transposed ? y : x;
      const int row = transposed ? x : y;
      const std::size_t from = rgb_bytes(image.width, from_bottom ? image.height - 1 - row : row) +
                               rgb_bytes(from_right ? image.width - 1 - column : column, 1);
      for (std::size_t c = 0; c < 3; ++c) *out++ = image.pixels[from + c];
    }
  }
  return result;
}

}  // namespace trine::detail
