// The loops of rows.cpp, which includes this once for each kind of machine: no include guard, no namespace of its own.

/// 2^x within 2e-7 of its value, x from -126 to 127.
inline float power_of_two(float x) {
  const float shifted = x + 12582912.0f;  // 1.5 * 2^23: the nearest integer stands in the low bits
  const float f = x - (shifted - 12582912.0f);
  const float power =
      1.0f +
      f * (0.69314718f +
           f * (0.24022651f + f * (0.055503588f + f * (0.0096183735f + f * (0.0013399859f + f * 0.00015350879f)))));
  const auto exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(power) + exponent);
}

/// exp(x), x cut to what has an exponential that is a normal number.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  return power_of_two(x * 1.44269504f);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

/// x times the normal distribution up to x. Its tail beyond a is 0.5 * 2^-(a q(a)), q a polynomial fitted for the least
/// error of the product: within 5e-8 below 0, within the rounding of x above. From 7.75 on the tail stays at 1e-14.
inline float gelu(float x) {
  float a = x < 0 ? -x : x;
  a = a > 7.75f ? 7.75f : a;
  const float q =
      1.15111108f +
      a * (0.459162025f +
           a * (0.0526278718f +
                a * (-0.00724574175f +
                     a * (0.000272288136f + a * (0.000131395888f + a * (-2.80424743e-05f + a * 1.90098375e-06f))))));
  const float tail = 0.5f * power_of_two(-(a * q));
  return x * (x < 0 ? tail : 1.0f - tail);
}

/// Zero for next to nothing: the next layer would multiply subnormal numbers, which takes many times as long.
inline float flushed(float x) { return x > -1e-30f && x < 1e-30f ? 0.0f : x; }

template <Function kFunction>
inline float apply(float x) {
  if constexpr (kFunction == Function::gelu) return gelu(x);
  if constexpr (kFunction == Function::gelu_tanh) return flushed(x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x)));
  if constexpr (kFunction == Function::quick_gelu) return flushed(x * sigmoid(1.702f * x));
  if constexpr (kFunction == Function::silu) return flushed(x * sigmoid(x));
  if constexpr (kFunction == Function::relu || kFunction == Function::relu6) x = x < 0 ? 0 : x;
  if constexpr (kFunction == Function::relu6) x = x > 6 ? 6 : x;
  return x;
}

/// `columns` of each row; known to the compiler where a tile is full, which spares much.
template <Function kFunction, typename Sum>
inline __attribute__((always_inline)) void finish_columns(const Finish& how, std::int64_t columns, Sum sum,
                                                          float* out) {
  const float* __restrict bias = how.bias;
  for (std::int64_t row = 0; row < how.rows; ++row) {
    float* __restrict to = out + row * how.stride;
    if (how.residual == nullptr) {
      for (std::int64_t column = 0; column < columns; ++column) {
        to[column] = apply<kFunction>(sum(row, column) + bias[column]);
      }
    } else {
      const float* __restrict residual = how.residual + row * how.stride;
      for (std::int64_t column = 0; column < columns; ++column) {
        to[column] = apply<kFunction>(sum(row, column) + bias[column]) + residual[column];
      }
    }
  }
}

template <Function kFunction, typename Sum>
inline void finish_as(const Finish& how, Sum sum, float* out) {
  if (how.columns == kFullTile) return finish_columns<kFunction>(how, kFullTile, sum, out);
  finish_columns<kFunction>(how, how.columns, sum, out);
}

template <typename Sum>
inline void finish_any(const Finish& how, Sum sum, float* out) {
  switch (how.function) {
    case Function::identity:
      return finish_as<Function::identity>(how, sum, out);
    case Function::gelu:
      return finish_as<Function::gelu>(how, sum, out);
    case Function::gelu_tanh:
      return finish_as<Function::gelu_tanh>(how, sum, out);
    case Function::quick_gelu:
      return finish_as<Function::quick_gelu>(how, sum, out);
    case Function::relu:
      return finish_as<Function::relu>(how, sum, out);
    case Function::relu6:
      return finish_as<Function::relu6>(how, sum, out);
    case Function::silu:
      return finish_as<Function::silu>(how, sum, out);
  }
}

void finish_sums(const Finish& how, const float* sums, float* out) {
  finish_any(
      how, [=, stride = how.sums_stride](std::int64_t row, std::int64_t column) { return sums[row * stride + column]; },
      out);
}

void finish_bytes(const Finish& how, const std::int32_t* sums, const RowScale* scales, const float* weight_scales,
                  const float* weight_sums, float* out) {
  finish_any(
      how,
      [=, stride = how.sums_stride](std::int64_t row, std::int64_t column) {
        return static_cast<float>(sums[row * stride + column]) * (scales[row].scale * weight_scales[column]) -
               scales[row].low * weight_sums[column];
      },
      out);
}

constexpr std::int64_t kLanes = 32;  ///< numbers that a pass over a row takes at once

/// Of kCount numbers, always in one order.
template <std::int64_t kCount = kLanes, typename Both>
inline float together(float* lanes, Both both) {
  for (std::int64_t half = kCount / 2; half > 0; half /= 2) {
    for (std::int64_t lane = 0; lane < half; ++lane) lanes[lane] = both(lanes[lane], lanes[lane + half]);
  }
  return lanes[0];
}

inline float smaller(float a, float b) { return a < b ? a : b; }
inline float larger(float a, float b) { return a > b ? a : b; }
inline float sum(float a, float b) { return a + b; }

RowScale quantise(const float* __restrict x, std::int64_t n, std::uint8_t* __restrict bytes) {
  float lows[kLanes] = {}, highs[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lows[lane] = smaller(x[i + lane], lows[lane]);
      highs[lane] = larger(x[i + lane], highs[lane]);
    }
  }
  for (; i < n; ++i) {
    lows[0] = smaller(x[i], lows[0]);
    highs[0] = larger(x[i], highs[0]);
  }
  const float low = together(lows, smaller), high = together(highs, larger);
  const float range = (high - low) / 255.0f;
  const float scale = range > 1e-30f && range < 1e30f ? range : 1.0f;  // a row of zeros; what is not finite
  const float steps = 1.0f / scale;
  const float zero = static_cast<float>(static_cast<std::int32_t>(smaller(-low * steps, 255.0f) + 0.5f));
  for (std::int64_t j = 0; j < n; ++j) {
    std::int32_t value = static_cast<std::int32_t>(x[j] * steps + (zero + 0.5f));
    value = value > 255 ? 255 : value;
    value = value < 0 ? 0 : value;
    bytes[j] = static_cast<std::uint8_t>(value);
  }
  return {scale, scale * zero};
}

void normalise(const float* __restrict x, const RowNorm& norm, std::int64_t n, float* __restrict out) {
  float sums[kLanes] = {}, squares[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane];
  }
  for (; i < n; ++i) sums[0] += x[i];
  const float mean = together(sums, sum) / static_cast<float>(n);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      squares[lane] += (x[i + lane] - mean) * (x[i + lane] - mean);
    }
  }
  for (; i < n; ++i) squares[0] += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / std::sqrt(together(squares, sum) / static_cast<float>(n) + norm.eps);
  const float* __restrict weight = norm.weight;
  if (norm.bias == nullptr) {
    for (i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * weight[i];
    return;
  }
  const float* __restrict bias = norm.bias;
  for (i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

RowSoftmax soften(float* __restrict scores, std::int64_t n, std::int64_t room, float largest) {
  constexpr std::int64_t kWidth = kLanes / 2;
  float highs[kWidth], sums[kWidth] = {};
  for (float& high : highs) high = largest;
  for (std::int64_t i = n; i < room; ++i) scores[i] = -INFINITY;
  for (std::int64_t i = 0; i < room; i += kWidth) {
    for (std::int64_t lane = 0; lane < kWidth; ++lane) highs[lane] = larger(scores[i + lane], highs[lane]);
  }
  const float high = together<kWidth>(highs, larger);
  for (std::int64_t i = 0; i < room; i += kWidth) {
    for (std::int64_t lane = 0; lane < kWidth; ++lane) {
      const float x = scores[i + lane] - high;
      const float share = power_of_two(x < -126.0f ? -126.0f : x);
      scores[i + lane] = x < -100.0f ? 0.0f : share;
      sums[lane] += scores[i + lane];
    }
  }
  return {high, together<kWidth>(sums, sum)};
}

/// kCount columns of the result at once: a weight is read once for them all. `from` is where the first column's kernel
/// begins.
template <std::int64_t kKernel, std::int64_t kCount, std::int64_t kWidth>
inline __attribute__((always_inline)) void convolve_columns(const Depthwise& how, std::int64_t first_row,
                                                            std::int64_t last_row, std::int64_t first_column,
                                                            std::int64_t last_column, const float* __restrict from,
                                                            float* __restrict to) {
  float sums[kCount][kWidth];
  for (std::int64_t i = 0; i < kCount; ++i) {
    for (std::int64_t lane = 0; lane < kWidth; ++lane) sums[i][lane] = how.bias[lane];
  }
  for (std::int64_t row = first_row; row < last_row; ++row) {
    for (std::int64_t column = first_column; column < last_column; ++column) {
      const float* weights = how.weights + (row * kKernel + column) * how.channels;
      const float* values = from + (row * how.columns + column) * how.channels;
      for (std::int64_t i = 0; i < kCount; ++i) {
        for (std::int64_t lane = 0; lane < kWidth; ++lane) {
          sums[i][lane] += weights[lane] * values[i * how.stride * how.channels + lane];
        }
      }
    }
  }
  for (std::int64_t i = 0; i < kCount; ++i) {
    for (std::int64_t lane = 0; lane < kWidth; ++lane) {
      to[i * how.channels + lane] = apply<Function::relu6>(sums[i][lane]);
    }
  }
}

/// The same of all channels.
template <std::int64_t kKernel, std::int64_t kCount>
inline void convolve_channels(Depthwise how, std::int64_t first_row, std::int64_t last_row, std::int64_t first_column,
                              std::int64_t last_column, const float* from, float* to) {
  constexpr std::int64_t kWidth = 16;
  std::int64_t channel = 0;
  const auto next = [&](std::int64_t width) {
    channel += width, how.weights += width, how.bias += width, from += width, to += width;
  };
  while (channel + kWidth <= how.channels) {
    convolve_columns<kKernel, kCount, kWidth>(how, first_row, last_row, first_column, last_column, from, to);
    next(kWidth);
  }
  while (channel < how.channels) {
    convolve_columns<kKernel, kCount, 1>(how, first_row, last_row, first_column, last_column, from, to);
    next(1);
  }
}

template <std::int64_t kKernel>
inline void convolve_as(const Depthwise& how, std::int64_t row, const float* x, float* out) {
  constexpr std::int64_t kColumns = 4;
  const std::int64_t top = row * how.stride - how.top;
  const std::int64_t first_row = std::max<std::int64_t>(0, -top), last_row = std::min(kKernel, how.rows - top);
  for (std::int64_t column = 0; column < how.out_columns;) {
    const std::int64_t left = column * how.stride - how.left;
    const float* from = x + (top * how.columns + left) * how.channels;
    float* to = out + column * how.channels;
    if (left >= 0 && column + kColumns <= how.out_columns &&
        left + (kColumns - 1) * how.stride + kKernel <= how.columns) {
      convolve_channels<kKernel, kColumns>(how, first_row, last_row, 0, kKernel, from, to);
      column += kColumns;
    } else {
      convolve_channels<kKernel, 1>(how, first_row, last_row, std::max<std::int64_t>(0, -left),
                                    std::min(kKernel, how.columns - left), from, to);
      ++column;
    }
  }
}

void convolve(const Depthwise& how, std::int64_t row, const float* x, float* out) {
  how.kernel == 3 ? convolve_as<3>(how, row, x, out) : convolve_as<5>(how, row, x, out);
}

void turn_round(const float* __restrict x, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                float* __restrict out, std::int64_t out_stride) {
  constexpr std::int64_t kSide = 16;
  for (std::int64_t row = 0; row < rows; row += kSide) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const float* __restrict from = x + row * stride + column;
      float* __restrict to = out + column * out_stride + row;
      const std::int64_t n = rows - row < kSide ? rows - row : kSide;
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    }
  }
}

void to_bf16(const float* __restrict x, std::int64_t n, std::uint16_t* __restrict bits) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto whole = std::bit_cast<std::uint32_t>(x[i]);
    bits[i] = static_cast<std::uint16_t>((whole + 0x7fffu + ((whole >> 16) & 1u)) >> 16);
  }
}
