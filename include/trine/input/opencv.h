#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <stdexcept>

#include "trine/input/image.h"

/// Pictures of OpenCV in and out, for programs that use it (4.x): only this header needs it, the library does not.
///
///     cv::Mat frame;
///     camera.read(frame);
///     model.embed_image(trine::from_opencv(frame));

namespace trine {

/// 8-bit grey, BGR or BGRA, which is how OpenCV reads and films; alpha is dropped. Rows may be padded (a part of a
/// picture). Errors: std::invalid_argument for an empty matrix and for any other type.
inline Image from_opencv(const cv::Mat& mat) {
  const int channels = mat.channels();
  if (mat.empty() || mat.dims != 2 || mat.depth() != CV_8U || (channels != 1 && channels != 3 && channels != 4)) {
    throw std::invalid_argument("[from_opencv] wanted 8-bit grey, BGR or BGRA pixels, got " +
                                (mat.empty() ? "an empty matrix" : cv::typeToString(mat.type())));
  }
  Image image{.width = mat.cols, .height = mat.rows, .pixels = {}};
  image.pixels.reserve(static_cast<std::size_t>(mat.cols) * static_cast<std::size_t>(mat.rows) * 3);
  for (int y = 0; y < mat.rows; ++y) {
    const std::uint8_t* pixel = mat.ptr<std::uint8_t>(y);
    for (int x = 0; x < mat.cols; ++x, pixel += channels) {
      const std::uint8_t blue = pixel[0];
      const std::uint8_t green = channels == 1 ? blue : pixel[1], red = channels == 1 ? blue : pixel[2];
      image.pixels.insert(image.pixels.end(), {red, green, blue});
    }
  }
  return image;
}

/// BGR, as OpenCV shows and writes it.
inline cv::Mat to_opencv(const Image& image) {
  cv::Mat mat(image.height, image.width, CV_8UC3);
  const std::uint8_t* pixel = image.pixels.data();
  for (int y = 0; y < mat.rows; ++y) {
    for (int x = 0; x < mat.cols; ++x, pixel += 3) mat.at<cv::Vec3b>(y, x) = {pixel[2], pixel[1], pixel[0]};
  }
  return mat;
}

}  // namespace trine
