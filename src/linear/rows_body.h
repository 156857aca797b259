// The loops of rows.cpp, which includes this once for each kind of machine: no include guard, no namespace of its own.

/// exp(x) within 2e-7 of its value, for what activations give it.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float turns = x * 1.44269504f;
  const float shifted = turns + 12582912.0f;  // 1.5 * 2^23: the nearest integer stands in the low bits
  const float f = turns - (shifted - 12582912.0f);
  const float power =
      1.0f +
      f * (0.69314718f +
           f * (0.24022651f + f * (0.055503588f + f * (0.0096183735f + f * (0.0013399859f + f * 0.00015350879f)))));
  const auto exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(power) + exponent);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

/// x times the normal distribution up to x; Abramowitz and Stegun 7.1.26, within 1.5e-7.
inline float gelu(float x) {
  const float z = x * 0.70710678f;
  const float a = z < 0 ? -z : z;
  const float t = 1.0f / (1.0f + 0.3275911f * a);
  const float tail =
      t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f)))) *
      exponential(-a * a);
  return x * (z < 0 ? 0.5f * tail : 1.0f - 0.5f * tail);
}

/// Zero for next to nothing: the next layer would multiply subnormal numbers, which takes many times as long.
inline float flushed(float x) { return x > -1e-30f && x < 1e-30f ? 0.0f : x; }

template <Function kFunction>
inline float apply(float x) {
  if constexpr (kFunction == Function::gelu) return flushed(gelu(x));
  if constexpr (kFunction == Function::gelu_tanh) return flushed(x * sigmoid(1.5957691f * (x + 0.044715f * x * x * x)));
  if constexpr (kFunction == Function::quick_gelu) return flushed(x * sigmoid(1.702f * x));
  if constexpr (kFunction == Function::silu) return flushed(x * sigmoid(x));
  if constexpr (kFunction == Function::relu || kFunction == Function::relu6) x = x < 0 ? 0 : x;
  if constexpr (kFunction == Function::relu6) x = x > 6 ? 6 : x;
  return x;
}

template <Function kFunction, typename Sum>
inline void finish_as(const Finish& how, Sum sum, float* out) {
  for (std::int64_t row = 0; row < how.rows; ++row) {
    float* __restrict to = out + row * how.stride;
    for (std::int64_t column = 0; column < how.columns; ++column) {
      to[column] = apply<kFunction>(sum(row, column) + how.bias[column]);
    }
    if (how.residual == nullptr) continue;
    const float* __restrict residual = how.residual + row * how.stride;
    for (std::int64_t column = 0; column < how.columns; ++column) to[column] += residual[column];
  }
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
                  const std::int32_t* weight_sums, float* out) {
  finish_any(
      how,
      [=, stride = how.sums_stride](std::int64_t row, std::int64_t column) {
        return static_cast<float>(sums[row * stride + column] - scales[row].zero * weight_sums[column]) *
               (scales[row].scale * weight_scales[column]);
      },
      out);
}

RowScale quantise(const float* __restrict x, std::int64_t n, std::uint8_t* __restrict bytes) {
  constexpr std::int64_t kLanes = 32;
  float low[kLanes] = {}, high[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  }
  for (; i < n; ++i) {
    low[0] = x[i] < low[0] ? x[i] : low[0];
    high[0] = x[i] > high[0] ? x[i] : high[0];
  }
  for (std::int64_t lane = 1; lane < kLanes; ++lane) {
    low[0] = low[lane] < low[0] ? low[lane] : low[0];
    high[0] = high[lane] > high[0] ? high[lane] : high[0];
  }
  const float range = (high[0] - low[0]) / 255.0f;
  const float scale = range > 1e-30f && range < 1e30f ? range : 1.0f;  // a row of zeros; what is not finite
  const float steps = 1.0f / scale;
  const float zero = static_cast<float>(static_cast<std::int32_t>(std::min(-low[0] * steps, 255.0f) + 0.5f));
  for (std::int64_t j = 0; j < n; ++j) {
    float value = x[j] * steps + (zero + 0.5f);
    value = value < 0 ? 0 : value;
    value = value > 255.0f ? 255.0f : value;
    bytes[j] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value));
  }
  return {scale, static_cast<std::int32_t>(zero)};
}

void to_bf16(const float* __restrict x, std::int64_t n, std::uint16_t* __restrict bits) {
  for (std::int64_t i = 0; i < n; ++i) {
    const auto whole = std::bit_cast<std::uint32_t>(x[i]);
    bits[i] = static_cast<std::uint16_t>((whole + 0x7fffu + ((whole >> 16) & 1u)) >> 16);
  }
}
