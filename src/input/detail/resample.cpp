#include "input/detail/resample.h"

#include <algorithm>
#include <array>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "input/detail/pixels.h"

namespace trine::detail {

namespace {

constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);
constexpr int kTaps = 4;       ///< source pixels that are weighted and added in one step,
constexpr int kLanes = 16;     ///< for so many sums side by side:
constexpr int kRows = 4;       ///< along rows in so many of them, for red, green, blue and nothing
constexpr int kTargets = 512;  ///< pixels of a row whose weights are laid out at a time,
constexpr int kTogether = 4;   ///< and that are made before they are spread over the rows

/// The source bytes of one step, in an order of the machine's own.
struct alignas(64) StoredBlock {
  std::uint8_t bytes[kLanes * kTaps];
};

/// The weights of one step: as numbers first, then in the form that a machine multiplies by.
struct Taps {
  std::int32_t of[kTaps];
};

/// What resample_loops.h makes for one kind of machine.
struct Loops {
  Taps (*split)(const Taps& weights);
  void (*pack_row)(const std::uint8_t* in, std::size_t readable, int row, StoredBlock* stored, int blocks);
  void (*make_columns)(const StoredBlock* stored, const int* blocks, int targets, const Taps* steps, int each,
                       std::uint8_t* const* rows);
  void (*make_row)(const std::uint8_t* const* rows, const Taps* steps, std::size_t count, std::size_t bytes,
                   std::uint8_t* out);
};

namespace portable {
struct Block {
  std::uint8_t bytes[kTaps][kLanes];
};
struct Parts {
  std::int32_t sums[kLanes];
};

inline Taps split(const Taps& weights) { return weights; }
inline void add(Parts& parts, const Block& block, const Taps& weights) {
  for (int k = 0; k < kTaps; ++k) {
    if (weights.of[k] == 0) continue;  // outside the window
    for (int i = 0; i < kLanes; ++i) parts.sums[i] += block.bytes[k][i] * weights.of[k];
  }
}
inline void store(const Parts& parts, std::uint8_t* out) {
  for (int i = 0; i < kLanes; ++i) {
    out[i] = static_cast<std::uint8_t>(std::clamp((parts.sums[i] + kHalf) >> kWeightBits, 0, 255));
  }
}
inline void pack_pixels(const std::uint8_t* in, int row, Block& block) {
  for (int k = 0; k < kTaps; ++k) std::memcpy(block.bytes[k] + 4 * row, in + 3 * k, 3);
}
inline void spread(const std::uint8_t* made, std::uint8_t* const* rows, int at) {
  for (int r = 0; r < kRows; ++r) {
    for (int x = 0; x < kTogether; ++x) std::memcpy(rows[r] + at + 3 * x, made + x * kLanes + 4 * r, 3);
  }
}
inline void pack_rows(const std::uint8_t* const* rows, std::size_t at, Block& block) {
  for (int k = 0; k < kTaps; ++k) std::memcpy(block.bytes[k], rows[k] + at, kLanes);
}
#include "input/detail/resample_loops.h"
}  // namespace portable

// GCC turns loops like those above into single bytes also where the machine has an instruction.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TRINE_RESAMPLE_X86 1

/// Two numbers of 16 bits.
inline std::int32_t pair(std::int32_t low, std::int32_t high) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(high) << 16 | (static_cast<std::uint32_t>(low) & 0xFFFF));
}

/// Of weights, which no filter makes larger than 1.5 and which so have 24 bits, the upper 16 and the lower 8, those of
/// the even pixels and of the odd: what pmaddwd multiplies.
inline Taps split_in_pairs(const Taps& weights) {
  const auto [a, b, c, d] = weights.of;
  return {{pair(a >> 8, c >> 8), pair(b >> 8, d >> 8), pair(a & 255, c & 255), pair(b & 255, d & 255)}};
}

#pragma GCC push_options
#pragma GCC target("avx2")
namespace avx2 {
struct Block {
  __m256i halves[2];  ///< 32 bits for each sum: its kTaps pixels
};
struct Parts {
  __m256i upper[2], lower[2];  ///< by the upper and the lower bits of the weights
};

inline __m128i load(const std::uint8_t* in) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(in)); }

inline Taps split(const Taps& weights) { return split_in_pairs(weights); }
inline __m256i sum(__m256i even, __m256i odd, std::int32_t evens, std::int32_t odds) {
  return _mm256_add_epi32(_mm256_madd_epi16(even, _mm256_set1_epi32(evens)),
                          _mm256_madd_epi16(odd, _mm256_set1_epi32(odds)));
}
inline void add(Parts& parts, const Block& block, const Taps& weights) {
  for (int half = 0; half < 2; ++half) {
    const __m256i even = _mm256_and_si256(block.halves[half], _mm256_set1_epi16(255));
    const __m256i odd = _mm256_srli_epi16(block.halves[half], 8);
    parts.upper[half] = _mm256_add_epi32(parts.upper[half], sum(even, odd, weights.of[0], weights.of[1]));
    parts.lower[half] = _mm256_add_epi32(parts.lower[half], sum(even, odd, weights.of[2], weights.of[3]));
  }
}
inline void store(const Parts& parts, std::uint8_t* out) {
  __m256i values[2];
  for (int half = 0; half < 2; ++half) {
    const __m256i total = _mm256_add_epi32(_mm256_slli_epi32(parts.upper[half], 8), parts.lower[half]);
    values[half] = _mm256_srai_epi32(_mm256_add_epi32(total, _mm256_set1_epi32(kHalf)), kWeightBits);
  }
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(values[0], values[1]), 0xD8);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
}
/// Reads 16 bytes of a row.
inline __m128i by_colour(const std::uint8_t* in) {
  return _mm_shuffle_epi8(load(in), _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
}
inline void pack_pixels(const std::uint8_t* in, int row, Block& block) {
  _mm_store_si128(reinterpret_cast<__m128i*>(&block) + row, by_colour(in));
}
inline void spread(const std::uint8_t* made, std::uint8_t* const* rows, int at) {
  const __m128i a = load(made), b = load(made + kLanes), c = load(made + 2 * kLanes), d = load(made + 3 * kLanes);
  const __m128i low_ab = _mm_unpacklo_epi32(a, b), low_cd = _mm_unpacklo_epi32(c, d);
  const __m128i high_ab = _mm_unpackhi_epi32(a, b), high_cd = _mm_unpackhi_epi32(c, d);
  const __m128i of[kRows] = {_mm_unpacklo_epi64(low_ab, low_cd), _mm_unpackhi_epi64(low_ab, low_cd),
                             _mm_unpacklo_epi64(high_ab, high_cd), _mm_unpackhi_epi64(high_ab, high_cd)};
  const __m128i order = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
  for (int r = 0; r < kRows; ++r) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(rows[r] + at), _mm_shuffle_epi8(of[r], order));
  }
}
inline void pack_rows(const std::uint8_t* const* rows, std::size_t at, Block& block) {
  const __m128i a = load(rows[0] + at), b = load(rows[1] + at), c = load(rows[2] + at), d = load(rows[3] + at);
  const __m128i low_ab = _mm_unpacklo_epi8(a, b), low_cd = _mm_unpacklo_epi8(c, d);
  const __m128i high_ab = _mm_unpackhi_epi8(a, b), high_cd = _mm_unpackhi_epi8(c, d);
  block.halves[0] = _mm256_set_m128i(_mm_unpackhi_epi16(low_ab, low_cd), _mm_unpacklo_epi16(low_ab, low_cd));
  block.halves[1] = _mm256_set_m128i(_mm_unpackhi_epi16(high_ab, high_cd), _mm_unpacklo_epi16(high_ab, high_cd));
}
#include "input/detail/resample_loops.h"
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx2")
namespace avx512 {
struct Block {
  __m512i bytes;
};
struct Parts {
  __m512i upper, lower;
};

inline Taps split(const Taps& weights) { return split_in_pairs(weights); }
inline __m512i sum(__m512i even, __m512i odd, std::int32_t evens, std::int32_t odds) {
  return _mm512_add_epi32(_mm512_madd_epi16(even, _mm512_set1_epi32(evens)),
                          _mm512_madd_epi16(odd, _mm512_set1_epi32(odds)));
}
inline void add(Parts& parts, const Block& block, const Taps& weights) {
  const __m512i even = _mm512_and_si512(block.bytes, _mm512_set1_epi16(255)), odd = _mm512_srli_epi16(block.bytes, 8);
  parts.upper = _mm512_add_epi32(parts.upper, sum(even, odd, weights.of[0], weights.of[1]));
  parts.lower = _mm512_add_epi32(parts.lower, sum(even, odd, weights.of[2], weights.of[3]));
}
inline void store_total(__m512i total, std::uint8_t* out) {
  constexpr __mmask16 kAll = 0xFFFF;  // without a mask GCC 12 warns of what its own header leaves unset
  const __m512i values = _mm512_maskz_srai_epi32(kAll, _mm512_add_epi32(total, _mm512_set1_epi32(kHalf)), kWeightBits);
  const __m512i positive = _mm512_maskz_max_epi32(kAll, values, _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_maskz_cvtusepi32_epi8(kAll, positive));
}
inline void store(const Parts& parts, std::uint8_t* out) {
  store_total(_mm512_add_epi32(_mm512_maskz_slli_epi32(0xFFFF, parts.upper, 8), parts.lower), out);
}
inline void pack_pixels(const std::uint8_t* in, int row, Block& block) {
  _mm_store_si128(reinterpret_cast<__m128i*>(&block) + row, avx2::by_colour(in));
}
using avx2::spread;
inline void pack_rows(const std::uint8_t* const* rows, std::size_t at, Block& block) {
  const __m256i low = _mm256_set_m128i(avx2::load(rows[1] + at), avx2::load(rows[0] + at));
  const __m256i high = _mm256_set_m128i(avx2::load(rows[3] + at), avx2::load(rows[2] + at));
  const __m512i all = _mm512_maskz_inserti64x4(0xFF, _mm512_castsi256_si512(low), high, 1);
  const __m512i fours = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i order = _mm512_set4_epi32(0x0F0B0703, 0x0E0A0602, 0x0D090501, 0x0C080400);
  block.bytes = _mm512_shuffle_epi8(_mm512_maskz_permutexvar_epi32(0xFFFF, fours, all), order);
}
#include "input/detail/resample_loops.h"
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni,avx2")
namespace avx512_vnni {
using avx2::spread;
using avx512::Block;
using avx512::pack_pixels;
using avx512::pack_rows;
struct Parts {
  __m512i high, middle, low;  ///< by the three bytes of the weights
};

/// Of weights their three bytes, all of them signed.
inline Taps split(const Taps& weights) {
  std::uint32_t bytes[3] = {};
  for (int k = 0; k < kTaps; ++k) {
    std::int32_t left = weights.of[k];
    for (std::uint32_t& part : bytes) {
      const auto byte = static_cast<std::int8_t>(left);
      part |= std::uint32_t{static_cast<std::uint8_t>(byte)} << 8 * k;
      left = (left - byte) >> 8;
    }
  }
  const auto signed_bytes = [&](int part) { return static_cast<std::int32_t>(bytes[part]); };
  return {{signed_bytes(2), signed_bytes(1), signed_bytes(0), 0}};
}
inline void add(Parts& parts, const Block& block, const Taps& weights) {
  parts.high = _mm512_dpbusd_epi32(parts.high, block.bytes, _mm512_set1_epi32(weights.of[0]));
  parts.middle = _mm512_dpbusd_epi32(parts.middle, block.bytes, _mm512_set1_epi32(weights.of[1]));
  parts.low = _mm512_dpbusd_epi32(parts.low, block.bytes, _mm512_set1_epi32(weights.of[2]));
}
inline void store(const Parts& parts, std::uint8_t* out) {
  const __m512i upper = _mm512_add_epi32(_mm512_maskz_slli_epi32(0xFFFF, parts.high, 8), parts.middle);
  avx512::store_total(_mm512_add_epi32(_mm512_maskz_slli_epi32(0xFFFF, upper, 8), parts.low), out);
}
#include "input/detail/resample_loops.h"
}  // namespace avx512_vnni
#pragma GCC pop_options
#endif

const Loops& loops_of([[maybe_unused]] Instructions with) {
#ifdef TRINE_RESAMPLE_X86
  if (with >= Instructions::avx512_vnni) return avx512_vnni::kLoops;
  if (with == Instructions::avx512) return avx512::kLoops;
  if (with == Instructions::avx2) return avx2::kLoops;
#endif
  return portable::kLoops;
}

/// Appends the `each` steps of one target. The first begins `before` pixels ahead of the window; weights there are
/// zero.
void append_steps(const Loops& loops, const std::int32_t* weights, int count, int before, int each,
                  std::vector<Taps>& steps) {
  for (int first = -before; first < each * kTaps - before; first += kTaps) {
    Taps taps{};
    for (int k = std::max(first, 0); k < std::min(first + kTaps, count); ++k) taps.of[k - first] = weights[k];
    steps.push_back(loops.split(taps));
  }
}

int steps_for(int pixels) { return (pixels + kTaps - 1) / kTaps; }

/// Some columns that follow each other.
struct Part {
  int first = 0;            ///< column
  int left = 0, width = 0;  ///< the source pixels that they need
  int each = 0;             ///< steps of a column
  std::vector<Taps> steps;
  std::vector<int> blocks;  ///< of each column the first
};

Part make_part(const Coefficients& columns, int first, int count, const Loops& loops) {
  const auto begin = static_cast<std::size_t>(first), end = begin + static_cast<std::size_t>(count);
  Part part{.first = first, .left = columns.windows[begin].first, .steps = {}, .blocks = {}};
  for (std::size_t x = begin; x < end; ++x) {
    const int from = columns.windows[x].first - part.left, pixels = columns.windows[x].count;
    part.width = std::max(part.width, from + pixels);
    part.each = std::max(part.each, steps_for(from % kTaps + pixels));
  }
  for (std::size_t x = begin; x < end; ++x) {
    const int from = columns.windows[x].first - part.left;
    append_steps(loops, columns.of(x), columns.windows[x].count, from % kTaps, part.each, part.steps);
    part.blocks.push_back(from / kTaps);
  }
  return part;
}

}  // namespace

struct ColumnResampler::Impl {
  const Loops& loops;
  int width;
  std::vector<Part> parts;
  std::vector<StoredBlock> packed;
  std::vector<std::uint8_t> beyond;  ///< what is made of rows after the last
};

ColumnResampler::ColumnResampler(const Coefficients& columns, Instructions with)
    : impl_(new Impl{loops_of(with), static_cast<int>(columns.windows.size()), {}, {}, {}}) {
  std::size_t blocks = 0;
  for (int first = 0; first < impl_->width; first += kTargets) {
    impl_->parts.push_back(make_part(columns, first, std::min(kTargets, impl_->width - first), impl_->loops));
    const Part& part = impl_->parts.back();
    blocks =
        std::max(blocks, static_cast<std::size_t>(part.blocks.back() + std::max(part.each, steps_for(part.width))));
  }
  impl_->packed.resize(blocks);
  impl_->beyond.resize(rgb_bytes(kTargets, 1));
}

ColumnResampler::~ColumnResampler() = default;

void ColumnResampler::resample(const Image& image, Span rows, std::uint8_t* out) {
  auto& [loops, width, parts, packed, beyond] = *impl_;
  for (const Part& part : parts) {
    for (int y = 0; y < rows.count; y += kRows) {
      std::array<std::uint8_t*, kRows> to;
      to.fill(beyond.data());
      for (int r = 0; r < std::min(kRows, rows.count - y); ++r) {
        const std::size_t at = rgb_bytes(image.width, rows.first + y + r) + rgb_bytes(part.left, 1);
        loops.pack_row(image.pixels.data() + at, image.pixels.size() - at, r, packed.data(), steps_for(part.width));
        to[static_cast<std::size_t>(r)] = out + rgb_bytes(width, y + r) + rgb_bytes(part.first, 1);
      }
      loops.make_columns(packed.data(), part.blocks.data(), static_cast<int>(part.blocks.size()), part.steps.data(),
                         part.each, to.data());
    }
  }
}

Image resample_columns(const Image& image, const Coefficients& columns, Span rows, Instructions with) {
  Image result{static_cast<int>(columns.windows.size()), rows.count, {}};
  result.pixels.resize(rgb_bytes(result.width, result.height));
  ColumnResampler(columns, with).resample(image, rows, result.pixels.data());
  return result;
}

Image resample_rows(const Image& image, const Coefficients& rows, Span columns, Instructions with) {
  const Loops& loops = loops_of(with);
  Image result{columns.count, static_cast<int>(rows.windows.size()), {}};
  const std::size_t bytes = rgb_bytes(columns.count, 1);
  result.pixels.resize(bytes * rows.windows.size());
  const std::size_t whole = bytes / kLanes * kLanes, rest = bytes - whole;
  std::vector<Taps> steps;
  std::vector<const std::uint8_t*> lines;        // kTaps for each step
  std::vector<std::uint8_t> last, made(kLanes);  // the bytes of each row that fill no vector
  for (std::size_t y = 0; y < rows.windows.size(); ++y) {
    const auto [first, count] = rows.windows[y];
    steps.clear();
    append_steps(loops, rows.of(y), count, 0, steps_for(count), steps);
    lines.clear();
    for (int k = 0; k < steps_for(count) * kTaps; ++k) {
      const int row = first + std::min(k, count - 1);  // the last again, where weights are zero
      lines.push_back(image.pixels.data() + rgb_bytes(image.width, row) + rgb_bytes(columns.first, 1));
    }
    std::uint8_t* out = result.pixels.data() + y * bytes;
    loops.make_row(lines.data(), steps.data(), steps.size(), whole, out);
    if (rest == 0) continue;
    last.assign(lines.size() * kLanes, 0);
    for (std::size_t k = 0; k < lines.size(); ++k) {
      std::uint8_t* copy = last.data() + k * kLanes;
      std::memcpy(copy, lines[k] + whole, rest);
      lines[k] = copy;
    }
    loops.make_row(lines.data(), steps.data(), steps.size(), kLanes, made.data());
    std::memcpy(out + whole, made.data(), rest);
  }
  return result;
}

}  // namespace trine::detail
