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

/// The same within 8e-5 of its value.
inline float roughly_power_of_two(float x) {
  const float shifted = x + 12582912.0f;
  const float f = x - (shifted - 12582912.0f);
  const float power = 0.99992807f + f * (0.69326103f + f * (0.24261121f + f * 0.05517138f));
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

/// The same within 3e-5, for what is rounded to bytes next.
inline float roughly_gelu(float x) {
  float a = x < 0 ? -x : x;
  a = a > 7.75f ? 7.75f : a;
  const float q = 1.14956582f + a * (0.464933813f + a * (0.0457325466f + a * -0.00416092109f));
  const float tail = 0.5f * roughly_power_of_two(-(a * q));
  return x * (x < 0 ? tail : 1.0f - tail);
}

/// Zero for next to nothing: the next layer would multiply subnormal numbers, which takes many times as long.
inline float flushed(float x) { return x > -1e-30f && x < 1e-30f ? 0.0f : x; }

template <Function kFunction, bool kRoughly = false>
inline float apply(float x) {
  if constexpr (kFunction == Function::gelu) return kRoughly ? roughly_gelu(x) : gelu(x);
  if constexpr (kFunction == Function::gelu_tanh) return flushed(x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x)));
  if constexpr (kFunction == Function::quick_gelu) return flushed(x * sigmoid(1.702f * x));
  if constexpr (kFunction == Function::silu) return flushed(x * sigmoid(x));
  if constexpr (kFunction == Function::relu || kFunction == Function::relu6) x = x < 0 ? 0 : x;
  if constexpr (kFunction == Function::relu6) x = x > 6 ? 6 : x;
  return x;
}

/// `columns` of each row; known to the compiler where a tile is full, which spares much.
template <Function kFunction, bool kRoughly, typename Sum>
inline __attribute__((always_inline)) void finish_columns(const Finish& how, std::int64_t columns, Sum sum,
                                                          float* out) {
  const float* __restrict bias = how.bias;
  for (std::int64_t row = 0; row < how.rows; ++row) {
    float* __restrict to = out + row * how.stride;
    if (how.residual == nullptr) {
      for (std::int64_t column = 0; column < columns; ++column) {
        to[column] = apply<kFunction, kRoughly>(sum(row, column) + bias[column]);
      }
    } else {
      const float* __restrict residual = how.residual + row * how.stride;
      for (std::int64_t column = 0; column < columns; ++column) {
        to[column] = apply<kFunction, kRoughly>(sum(row, column) + bias[column]) + residual[column];
      }
    }
  }
}

template <Function kFunction, bool kRoughly, typename Sum>
inline void finish_as(const Finish& how, Sum sum, float* out) {
  if (how.columns == kFullTile) return finish_columns<kFunction, kRoughly>(how, kFullTile, sum, out);
  finish_columns<kFunction, kRoughly>(how, how.columns, sum, out);
}

template <bool kRoughly, typename Sum>
inline void finish_any(const Finish& how, Sum sum, float* out) {
  switch (how.function) {
    case Function::identity:
      return finish_as<Function::identity, kRoughly>(how, sum, out);
    case Function::gelu:
      return finish_as<Function::gelu, kRoughly>(how, sum, out);
    case Function::gelu_tanh:
      return finish_as<Function::gelu_tanh, kRoughly>(how, sum, out);
    case Function::quick_gelu:
      return finish_as<Function::quick_gelu, kRoughly>(how, sum, out);
    case Function::relu:
      return finish_as<Function::relu, kRoughly>(how, sum, out);
    case Function::relu6:
      return finish_as<Function::relu6, kRoughly>(how, sum, out);
    case Function::silu:
      return finish_as<Function::silu, kRoughly>(how, sum, out);
  }
}

void finish_sums(const Finish& how, const float* sums, float* out) {
  finish_any<false>(
      how, [=, stride = how.sums_stride](std::int64_t row, std::int64_t column) { return sums[row * stride + column]; },
      out);
}

void finish_bytes(const Finish& how, const std::int32_t* sums, const RowScale* scales, const float* weight_scales,
                  const float* weight_sums, float* out) {
  finish_any<true>(
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

/// -127 to 127; any of them for what is not finite.
inline std::int32_t nearest_signed(float x) {
  std::int32_t value = static_cast<std::int32_t>(x + (x < 0 ? -0.5f : 0.5f));
  value = value > 127 ? 127 : value;
  return value < -127 ? -127 : value;
}

SignedRow quantise_signed(const float* __restrict x, std::int64_t n, std::int8_t* __restrict bytes) {
  float highs[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) highs[lane] = larger(std::fabs(x[i + lane]), highs[lane]);
  }
  for (; i < n; ++i) highs[0] = larger(std::fabs(x[i]), highs[0]);
  const float range = together(highs, larger) / 127.0f;
  const float scale = range > 1e-30f && range < 1e30f ? range : 1.0f;
  const float steps = 1.0f / scale;
  std::int32_t total = 0;
  for (i = 0; i < n; ++i) {
    const std::int32_t value = nearest_signed(x[i] * steps);
    total += value;
    bytes[i] = static_cast<std::int8_t>(value);
  }
  return {scale, scale * static_cast<float>(total)};
}

void quantise_columns(const float* __restrict x, std::int64_t stride, std::int64_t rows, std::int64_t n,
                      std::int64_t room, std::int8_t* __restrict bytes, float* __restrict scales) {
  float steps[kMostColumns];
  for (std::int64_t i = 0; i < n; ++i) scales[i] = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < n; ++i) scales[i] = larger(std::fabs(x[row * stride + i]), scales[i]);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const float range = scales[i] / 127.0f;
    scales[i] = range > 1e-30f && range < 1e30f ? range : 1.0f;
    steps[i] = 1.0f / scales[i];
  }
  for (std::int64_t row = 0; row < rows; row += 4, bytes += 4 * room) {
    std::uint32_t fours[kMostColumns] = {};
    for (std::int64_t k = 0; k < 4 && row + k < rows; ++k) {
      const float* __restrict from = x + (row + k) * stride;
      for (std::int64_t i = 0; i < n; ++i) {
        fours[i] |= (static_cast<std::uint32_t>(nearest_signed(from[i] * steps[i])) & 255u) << (8 * k);
      }
    }
    std::memcpy(bytes, fours, static_cast<std::size_t>(4 * room));
  }
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

constexpr std::int64_t kScores = 16;  ///< that a pass over scores takes at once

/// Those from n on become -infinity, and so does the largest where there is none.
inline float largest_score(float* __restrict scores, std::int64_t n, std::int64_t room) {
  float highs[kScores];
  for (float& high : highs) high = -INFINITY;
  for (std::int64_t i = n; i < room; ++i) scores[i] = -INFINITY;
  for (std::int64_t i = 0; i < room; i += kScores) {
#pragma GCC unroll 1
    for (std::int64_t lane = 0; lane < kScores; ++lane) highs[lane] = larger(scores[i + lane], highs[lane]);
  }
  return together<kScores>(highs, larger);
}

RowSoftmax soften(float* __restrict scores, std::int64_t n, std::int64_t room) {
  float sums[kScores] = {};
  const float high = largest_score(scores, n, room);
  const float base = n > 0 ? high : 0.0f;
  for (std::int64_t i = 0; i < room; i += kScores) {
#pragma GCC unroll 1
    for (std::int64_t lane = 0; lane < kScores; ++lane) {
      const float x = scores[i + lane] - base;
      const float share = power_of_two(larger(x, -126.0f));
      scores[i + lane] = x < -100.0f ? 0.0f : share;
      sums[lane] += scores[i + lane];
    }
  }
  return {high, together<kScores>(sums, sum)};
}

RowSoftmax soften_bytes(const std::int32_t* __restrict byte_sums, const RowScale& query,
                        const float* __restrict key_scales, const float* __restrict key_sums, std::int64_t n,
                        std::int64_t room, std::uint8_t* __restrict shares) {
  constexpr float kLog2Of255 = 7.99435344f;
  alignas(64) float scores[kMostKeys];
  const float scale = query.scale, low = query.low;
  for (std::int64_t i = 0; i < room; ++i) {
    scores[i] = static_cast<float>(byte_sums[i]) * (scale * key_scales[i]) - low * key_sums[i];
  }
  const float high = largest_score(scores, n, room);
  const float base = n > 0 ? high - kLog2Of255 : 0.0f;
  std::uint32_t total = 0;
  for (std::int64_t i = 0; i < room; ++i) {
    const float x = scores[i] - base;
    const auto share = static_cast<std::int32_t>(roughly_power_of_two(larger(x, -20.0f)) + 0.5f);
    total += static_cast<std::uint32_t>(share);
    shares[i] = static_cast<std::uint8_t>(share);
  }
  return {high, static_cast<float>(total) / 255.0f};
}

void scale_by(const float* __restrict x, std::int64_t n, float factor, float* __restrict out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] * factor;
}

void add_sums(const float* __restrict part, std::int64_t n, float shrink, float factor, float* __restrict sums) {
  if (shrink == 0) return scale_by(part, n, factor, sums);
  for (std::int64_t i = 0; i < n; ++i) sums[i] = sums[i] * shrink + part[i] * factor;
}

void add_bytes(const std::int32_t* __restrict part, const float* __restrict scales, std::int64_t n, float shrink,
               float factor, float* __restrict sums) {
  if (shrink == 0) {
    for (std::int64_t i = 0; i < n; ++i) sums[i] = static_cast<float>(part[i]) * (scales[i] * factor);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    sums[i] = sums[i] * shrink + static_cast<float>(part[i]) * (scales[i] * factor);
  }
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

/// The same of all channels: kWidth of them at once, what is left in sixteens and singly.
template <std::int64_t kKernel, std::int64_t kCount, std::int64_t kWidth>
inline void convolve_channels(Depthwise how, std::int64_t first_row, std::int64_t last_row, std::int64_t first_column,
                              std::int64_t last_column, const float* from, float* to) {
  std::int64_t left = how.channels;
  const auto convolve_next = [&]<std::int64_t kNext>() {
    for (; left >= kNext; left -= kNext) {
      convolve_columns<kKernel, kCount, kNext>(how, first_row, last_row, first_column, last_column, from, to);
      how.weights += kNext;
      how.bias += kNext;
      from += kNext;
      to += kNext;
    }
  };
  convolve_next.template operator()<kWidth>();
  convolve_next.template operator()<16>();
  convolve_next.template operator()<1>();
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
      convolve_channels<kKernel, kColumns, 32>(how, first_row, last_row, 0, kKernel, from, to);
      column += kColumns;
    } else {
      convolve_channels<kKernel, 1, 64>(how, first_row, last_row, std::max<std::int64_t>(0, -left),
                                        std::min(kKernel, how.columns - left), from, to);
      ++column;
    }
  }
}

void convolve(const Depthwise& how, std::int64_t row, const float* x, float* out) {
  how.kernel == 3 ? convolve_as<3>(how, row, x, out) : convolve_as<5>(how, row, x, out);
}

template <typename Element>
inline void turn_round_any(const Element* __restrict x, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                           Element* __restrict out, std::int64_t out_stride) {
  constexpr std::int64_t kSide = 16;
  for (std::int64_t row = 0; row < rows; row += kSide) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const Element* __restrict from = x + row * stride + column;
      Element* __restrict to = out + column * out_stride + row;
      const std::int64_t n = rows - row < kSide ? rows - row : kSide;
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    }
  }
}

void turn_round(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t columns, float* out,
                std::int64_t out_stride) {
  turn_round_any(x, stride, rows, columns, out, out_stride);
}

struct Four {
  std::int8_t bytes[4];
};

void turn_round_fours(const std::int8_t* x, std::int64_t stride, std::int64_t rows, std::int64_t columns,
                      std::int8_t* out, std::int64_t out_stride) {
  turn_round_any(reinterpret_cast<const Four*>(x), stride, rows, columns, reinterpret_cast<Four*>(out), out_stride);
}

void to_bf16(const float* __restrict x, std::int64_t n, std::uint16_t* __restrict bits) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto whole = std::bit_cast<std::uint32_t>(x[i]);
    bits[i] = static_cast<std::uint16_t>((whole + 0x7fffu + ((whole >> 16) & 1u)) >> 16);
  }
}

constexpr Loops kLoops{.quantise = quantise,
                       .quantise_signed = quantise_signed,
                       .quantise_columns = quantise_columns,
                       .to_bf16 = to_bf16,
                       .finish_sums = finish_sums,
                       .finish_bytes = finish_bytes,
                       .normalise = normalise,
                       .convolve = convolve,
                       .soften = soften,
                       .soften_bytes = soften_bytes,
                       .scale = scale_by,
                       .add_sums = add_sums,
                       .add_bytes = add_bytes,
                       .turn_round = turn_round,
                       .turn_round_fours = turn_round_fours};
