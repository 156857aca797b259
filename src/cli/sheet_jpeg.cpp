#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "command.h"
#include "sheet.h"
#include "trine/input/encode_image.h"

namespace trine::cli {

namespace {

// Pixels.
constexpr int kMargin = 24, kGap = 16, kCurveHeight = 120, kColumns = 4;
constexpr int kDigitWidth = 11, kDigitHeight = 21, kStroke = 3, kSpace = 5;
constexpr int kLabelHeight = kDigitHeight + 2 * kSpace;
constexpr int kQuality = 90;

using Color = std::array<std::uint8_t, 3>;
constexpr Color kPaper{255, 255, 255}, kInk{34, 34, 34}, kBlue{0, 114, 178}, kOrange{213, 94, 0}, kTint{248, 226, 208};

class Canvas {
 public:
  Canvas(int width, int height) {
    image_.width = width;
    image_.height = height;
    image_.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
    fill({0, 0, width, height}, kPaper);
  }

  /// What sticks out is cut off.
  void fill(Rectangle part, Color color) {
    const int right = std::min(part.left + part.width, image_.width);
    const int bottom = std::min(part.top + part.height, image_.height);
    for (int y = std::max(part.top, 0); y < bottom; ++y) {
      for (int x = std::max(part.left, 0); x < right; ++x) std::ranges::copy(color, at(x, y));
    }
  }

  void paste(const Image& picture, int left, int top) {
    for (int y = 0; y < picture.height; ++y) {
      std::copy_n(picture.pixels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(picture.width) * 3,
                  static_cast<std::size_t>(picture.width) * 3, at(left, top + y));
    }
  }

  /// Digits, ':', '.', '-' and blanks as a clock shows them. Returns where the next would stand.
  int write(std::string_view text, int left, int top, Color color) {
    for (const char c : text) {
      if (c == '.' || c == ':') {
        fill({left, top + kDigitHeight - kStroke, kStroke, kStroke}, color);
        if (c == ':') fill({left, top + kStroke, kStroke, kStroke}, color);
        left += kStroke + kSpace;
        continue;
      }
      for (std::size_t i = 0; i < kSegments.size(); ++i) {
        if (lit(c) >> i & 1) {
          fill({left + kSegments[i].left, top + kSegments[i].top, kSegments[i].width, kSegments[i].height}, color);
        }
      }
      left += kDigitWidth + kSpace;
    }
    return left;
  }

  const Image& image() const { return image_; }

 private:
  std::uint8_t* at(int x, int y) {
    return image_.pixels.data() +
           (static_cast<std::size_t>(y) * static_cast<std::size_t>(image_.width) + static_cast<std::size_t>(x)) * 3;
  }

  static constexpr int kMiddle = (kDigitHeight - kStroke) / 2, kRight = kDigitWidth - kStroke;
  /// Of a digit: top, upper right, lower right, bottom, lower left, upper left, middle.
  static constexpr std::array<Rectangle, 7> kSegments{{{0, 0, kDigitWidth, kStroke},
                                                       {kRight, 0, kStroke, kMiddle + kStroke},
                                                       {kRight, kMiddle, kStroke, kMiddle + kStroke},
                                                       {0, kDigitHeight - kStroke, kDigitWidth, kStroke},
                                                       {0, kMiddle, kStroke, kMiddle + kStroke},
                                                       {0, 0, kStroke, kMiddle + kStroke},
                                                       {0, kMiddle, kDigitWidth, kStroke}}};
  static constexpr std::array<unsigned, 10> kDigits{0b0111111, 0b0000110, 0b1011011, 0b1001111, 0b1100110,
                                                    0b1101101, 0b1111101, 0b0000111, 0b1111111, 0b1101111};

  /// The segments of a character, from the lowest bit.
  static unsigned lit(char c) {
    if (c >= '0' && c <= '9') return kDigits[static_cast<std::size_t>(c - '0')];
    return c == '-' ? 0b1000000 : 0;
  }

  Image image_;
};

void draw_curve(Canvas& canvas, const WatchedVideo& video, const std::vector<Moment>& moments,
                const torch::Tensor& scores, int width) {
  const int top = kMargin + kLabelHeight, bottom = top + kCurveHeight;
  const double end = std::max(video.seconds, video.times.back() + 1e-3);
  const auto x_of = [&](double time) {
    return kMargin + static_cast<int>(std::lround(std::clamp(time / end, 0.0, 1.0) * width));
  };
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const int left = x_of(moments[i].start), right = std::max(x_of(moments[i].end), left + 2);
    canvas.fill({left, top, right - left, kCurveHeight}, kTint);
    canvas.write(std::to_string(i + 1), left, kMargin, kOrange);
  }
  for (std::size_t i = 0; i < video.times.size(); ++i) {
    const float score = std::clamp(scores[static_cast<std::int64_t>(i)].item<float>(), 0.0f, 1.0f);
    const int left = x_of(video.times[i]), right = std::max(x_of(video.times[i] + video.step), left + 1);
    const int height = static_cast<int>(std::lround(score * kCurveHeight));
    canvas.fill({left, bottom - height, right - left, height}, kBlue);
  }
  canvas.fill({kMargin, bottom, width, 1}, kInk);
  canvas.write(clock_time(0), kMargin, bottom + kSpace, kInk);
  const std::string last = clock_time(end);
  const int length = Canvas(1, 1).write(last, 0, 0, kInk);
  canvas.write(last, kMargin + width - length, bottom + kSpace, kInk);
}

}  // namespace

std::vector<std::byte> contact_sheet_jpeg(const WatchedVideo& video, const std::vector<Moment>& moments,
                                          const torch::Tensor& scores) {
  const Image& first = video.thumbnails.at(0);
  const int width = kColumns * first.width + (kColumns - 1) * kGap;
  const int grid = kMargin + kLabelHeight + kCurveHeight + kLabelHeight + kGap;
  const int cell = first.height + 2 * kLabelHeight + kGap;
  const int rows = static_cast<int>((moments.size() + kColumns - 1) / kColumns);
  Canvas canvas(width + 2 * kMargin, grid + rows * cell + kMargin);
  draw_curve(canvas, video, moments, scores, width);
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const Moment& moment = moments[i];
    const int x = kMargin + static_cast<int>(i % kColumns) * (first.width + kGap);
    const int y = grid + static_cast<int>(i / kColumns) * cell;
    canvas.paste(video.thumbnails.at(static_cast<std::size_t>(moment.frame)), x, y);
    const int times = y + first.height + kSpace;
    const int left = canvas.write(std::to_string(i + 1) + "  ", x, times, kOrange);
    canvas.write(clock_time(moment.start) + "-" + clock_time(moment.end), left, times, kInk);
    const int score = times + kLabelHeight;
    const int bar = canvas.write(fixed(moment.score, 2) + " ", left, score, kInk);
    const int full = x + first.width - bar;
    canvas.fill({bar, score, full, kDigitHeight}, kTint);
    canvas.fill({bar, score, static_cast<int>(std::lround(full * moment.score)), kDigitHeight}, kOrange);
  }
  return encode_jpeg(canvas.image(), kQuality);
}

}  // namespace trine::cli
