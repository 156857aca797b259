#include "trine/input/encode_image.h"

#include "detail/error.h"
#include "input/detail/jpeg.h"
#include "input/detail/pixels.h"

namespace trine {

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  constexpr const char* kWho = "encode_jpeg";
  constexpr int kMaxSide = 65'500;  // libjpeg's
  if (image.width > kMaxSide || image.height > kMaxSide || !detail::has_its_pixels(image)) {
    detail::bad_argument(kWho, "a picture of 1 to ", kMaxSide,
                         " pixels a side and its three bytes per pixel are wanted, it is ", image.width, " x ",
                         image.height, " with ", image.pixels.size(), " bytes");
  }
  if (quality < 1 || quality > 100) detail::bad_argument(kWho, "a quality of 1 to 100 is wanted, it is ", quality);
  return detail::encode_jpeg(kWho, image, quality);
}

}  // namespace trine
