#include "input/detail/opencv.h"

#include <algorithm>
#include <limits>
#include <opencv2/imgcodecs.hpp>

#include "input/detail/pixels.h"

namespace trine::detail {
namespace {

/// Rows may be padded; a matrix of another type than wanted is as bad as none.
cv::Mat decode(Bytes file, int flags, int wanted_type) {
  if (file.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    bad_image("the file is larger than 2 GiB");
  cv::Mat decoded;
  try {
    const cv::Mat encoded(1, static_cast<int>(file.size()), CV_8U, const_cast<std::byte*>(file.data()));
    decoded = cv::imdecode(encoded, flags | cv::IMREAD_IGNORE_ORIENTATION);
  } catch (const cv::Exception& error) {
    bad_image("OpenCV cannot decode the file: ", error.err);
  }
  if (decoded.empty() || decoded.type() != wanted_type) bad_image("the file is damaged: OpenCV cannot decode it");
  return decoded;
}

Image image_like(const cv::Mat& mat) {
  return {mat.cols, mat.rows, std::vector<std::uint8_t>(rgb_bytes(mat.cols, mat.rows))};
}

}  // namespace

Image decode_with_opencv(Bytes file) {
  const cv::Mat bgr = decode(file, cv::IMREAD_COLOR, CV_8UC3);
  Image image = image_like(bgr);
  std::uint8_t* out = image.pixels.data();
  for (int y = 0; y < bgr.rows; ++y) {
    const std::uint8_t* in = bgr.ptr(y);
    for (int x = 0; x < bgr.cols; ++x, in += 3, out += 3) {
      out[0] = in[2];
      out[1] = in[1];
      out[2] = in[0];
    }
  }
  return image;
}

Image decode_grey16_with_opencv(Bytes file) {
  const cv::Mat grey = decode(file, cv::IMREAD_ANYDEPTH, CV_16UC1);
  Image image = image_like(grey);
  std::uint8_t* out = image.pixels.data();
  for (int y = 0; y < grey.rows; ++y) {
    const std::uint16_t* in = grey.ptr<std::uint16_t>(y);
    for (int x = 0; x < grey.cols; ++x, out += 3) {
      std::fill_n(out, 3, static_cast<std::uint8_t>(std::min<int>(in[x], 255)));
    }
  }
  return image;
}

std::vector<std::byte> encode_jpeg_with_opencv(const Image& image, int quality) {
  cv::Mat bgr(image.height, image.width, CV_8UC3);
  const std::uint8_t* in = image.pixels.data();
  for (int y = 0; y < bgr.rows; ++y) {
    std::uint8_t* out = bgr.ptr(y);
    for (int x = 0; x < bgr.cols; ++x, in += 3, out += 3) {
      out[0] = in[2];
      out[1] = in[1];
      out[2] = in[0];
    }
  }
  std::vector<std::uint8_t> encoded;
  try {
    if (!cv::imencode(".jpg", bgr, encoded, {cv::IMWRITE_JPEG_QUALITY, quality})) encoded.clear();
  } catch (const cv::Exception& error) {
    failure("encode_jpeg", "OpenCV cannot encode the picture: ", error.err);
  }
  if (encoded.empty()) failure("encode_jpeg", "OpenCV cannot encode the picture");
  const auto bytes = std::as_bytes(std::span(encoded));
  return {bytes.begin(), bytes.end()};
}

}  // namespace trine::detail
