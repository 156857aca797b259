#include "trine/input/opencv.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <opencv2/imgcodecs.hpp>
#include <vector>

namespace trine {
namespace {

cv::Mat two_by_two() {
  return (cv::Mat_<cv::Vec3b>(2, 2) << cv::Vec3b(1, 2, 3), cv::Vec3b(4, 5, 6), cv::Vec3b(7, 8, 9),
          cv::Vec3b(10, 11, 12));
}

TEST(OpenCv, TurnsBgrAround) {
  const Image image = from_opencv(two_by_two());
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.pixels, (std::vector<std::uint8_t>{3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10}));
  EXPECT_EQ(cv::norm(to_opencv(image), two_by_two(), cv::NORM_INF), 0);
}

TEST(OpenCv, TakesGreyAlphaAndParts) {
  EXPECT_EQ(from_opencv(cv::Mat(1, 2, CV_8UC1, cv::Scalar(7))).pixels, std::vector<std::uint8_t>(6, 7));
  EXPECT_EQ(from_opencv(cv::Mat(1, 1, CV_8UC4, cv::Scalar(1, 2, 3, 4))).pixels, (std::vector<std::uint8_t>{3, 2, 1}));
  EXPECT_EQ(from_opencv(two_by_two().col(1)).pixels, (std::vector<std::uint8_t>{6, 5, 4, 12, 11, 10}));
}

TEST(OpenCv, RefusesOtherTypes) {
  for (const cv::Mat& mat : {cv::Mat(), cv::Mat(2, 2, CV_32FC3), cv::Mat(2, 2, CV_8UC2)}) {
    EXPECT_THROW(from_opencv(mat), std::invalid_argument);
  }
}

/// What OpenCV decodes is what the library decodes.
TEST(OpenCv, ReadsTheSameFromFiles) {
  const std::filesystem::path folder = std::filesystem::path(TRINE_TEST_DATA) / "golden/image";
  for (const char* name : {"420_baseline.jpg", "422_progressive.jpg", "444_baseline.jpg", "grey.jpg", "grey.bmp"}) {
    EXPECT_EQ(from_opencv(cv::imread((folder / name).string())).pixels, read_image(folder / name).pixels) << name;
  }
}

}  // namespace
}  // namespace trine
