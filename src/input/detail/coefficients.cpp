#include "input/detail/coefficients.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "detail/error.h"

namespace trine::detail {

namespace {

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double hamming(double x) {
  x = std::fabs(x);
  if (x >= 1.0) return 0.0;
  return sinc(x) * (0.54f + 0.46f * std::cos(x * std::numbers::pi));  // Pillow's constants are single precision
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
  double (*weight)(double);
  double support;  // where it becomes zero
};

Kernel kernel_of(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::nearest:
      break;  // has no kernel
    case ResizeFilter::box:
      return {box, 0.5};
    case ResizeFilter::bilinear:
      return {bilinear, 1.0};
    case ResizeFilter::hamming:
      return {hamming, 1.0};
    case ResizeFilter::bicubic:
      return {bicubic, 2.0};
    case ResizeFilter::lanczos:
      return {lanczos, 3.0};
  }
  bad_argument("resize", "unknown filter ", static_cast<int>(filter));
}

}  // namespace

Span Coefficients::needed() const {
  int end = 0;
  for (const Span& window : windows) end = std::max(end, window.first + window.count);
  return {windows.front().first, end - windows.front().first};
}

void Coefficients::begin_later(int pixels) {
  for (Span& window : windows) window.first -= pixels;
}

Coefficients coefficients(int source, int target, ResizeFilter filter, Span part) {
  const Kernel kernel = kernel_of(filter);
  const double scale = static_cast<double>(source) / target;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kernel.support * filter_scale;
  const double inverse = 1.0 / filter_scale;

  Coefficients result;
  result.stride = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  result.windows.resize(static_cast<std::size_t>(part.count));
  result.values.resize(result.windows.size() * result.stride);
  std::vector<double> weights(result.stride);
  for (std::size_t i = 0; i < result.windows.size(); ++i) {
    const double centre = (part.first + static_cast<double>(i) + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int count = std::min(static_cast<int>(centre + support + 0.5), source) - first;
    result.windows[i] = {first, count};
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      const double weight = kernel.weight((k + first - centre + 0.5) * inverse);
      weights[static_cast<std::size_t>(k)] = weight;
      sum += weight;
    }
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      const double weight = (sum == 0.0 ? weights[k] : weights[k] / sum) * (1 << kWeightBits);
      result.values[i * result.stride + k] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return result;
}

}  // namespace trine::detail
