#include "linear/depthwise.h"

#include <algorithm>

#include "detail/error.h"
#include "linear/memory.h"
#include "linear/parallel.h"
#include "linear/rows.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::int64_t kWork = 1 << 16;  ///< numbers of a result worth a thread

std::int64_t steps(std::int64_t size, std::int64_t stride) { return (size - 1) / stride + 1; }

}  // namespace

DepthwiseRelu6::DepthwiseRelu6(const Tensor& weight, const Tensor& bias, std::int64_t stride)
    : weights_(weight.flatten(1).t().contiguous()), bias_(bias.contiguous()), kernel_(weight.size(2)), stride_(stride) {
  if (kernel_ != 3 && kernel_ != 5) bad_argument("DepthwiseRelu6", "kernels of ", kernel_, ", wanted 3 or 5");
}

Tensor DepthwiseRelu6::forward(const Tensor& x) const {
  const std::int64_t rows = x.size(1), columns = x.size(2), channels = x.size(3);
  const std::int64_t out_rows = steps(rows, stride_), out_columns = steps(columns, stride_);
  Tensor out = reused({x.size(0), out_rows, out_columns, channels});
  const Depthwise how{.channels = channels,
                      .kernel = kernel_,
                      .stride = stride_,
                      .rows = rows,
                      .columns = columns,
                      .out_columns = out_columns,
                      .top = missing(rows, kernel_, stride_) / 2,
                      .left = missing(columns, kernel_, stride_) / 2,
                      .weights = weights_.const_data_ptr<float>(),
                      .bias = bias_.const_data_ptr<float>()};
  const float* inputs = x.const_data_ptr<float>();
  float* outputs = out.mutable_data_ptr<float>();
  const std::int64_t grain = std::max<std::int64_t>(1, kWork / (out_columns * channels));
  in_parallel(x.size(0) * out_rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      convolve_row(how, i % out_rows, inputs + i / out_rows * rows * columns * channels,
                   outputs + i * out_columns * channels);
    }
  });
  return out;
}

Tensor places_of(const Tensor& x, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t rows = x.size(1), columns = x.size(2), channels = x.size(3);
  const std::int64_t out_rows = steps(rows, stride), out_columns = steps(columns, stride);
  const std::int64_t top = missing(rows, kernel, stride) / 2, left = missing(columns, kernel, stride) / 2;
  const std::int64_t side = kernel * channels;
  Tensor out = reused({x.size(0), out_rows, out_columns, kernel * side});
  const float* inputs = x.const_data_ptr<float>();
  float* outputs = out.mutable_data_ptr<float>();
  const std::int64_t grain = std::max<std::int64_t>(1, kWork / (out_columns * kernel * side));
  in_parallel(x.size(0) * out_rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* picture = inputs + i / out_rows * rows * columns * channels;
      float* to = outputs + i * out_columns * kernel * side;
      for (std::int64_t place = 0; place < out_columns; ++place) {
        const std::int64_t column = place * stride - left;
        const std::int64_t before = std::max<std::int64_t>(0, -column);
        const std::int64_t after = std::max<std::int64_t>(0, column + kernel - columns);
        for (std::int64_t k = 0; k < kernel; ++k, to += side) {
          const std::int64_t row = i % out_rows * stride - top + k;
          if (row < 0 || row >= rows) {
            std::fill_n(to, side, 0.0f);
            continue;
          }
          std::fill_n(to, before * channels, 0.0f);
          std::copy_n(picture + (row * columns + column + before) * channels, side - (before + after) * channels,
                      to + before * channels);
          std::fill_n(to + side - after * channels, after * channels, 0.0f);
        }
      }
    }
  });
  return out;
}

}  // namespace trine::detail
