// The float loops, written once: each kernels_*.cpp includes this with TRINE_TARGET, the attribute that names its
// instruction set, and a struct `Isa` of the operations on its registers.

namespace trine::detail {
namespace {

using Vector = Isa::Vector;
constexpr std::size_t kLanes = Isa::kLanes;
constexpr std::size_t kUnit = 16;  // a panel's width is a multiple of this

template <typename Value>
TRINE_TARGET inline void fetch_ahead(const Value* values) {
  const char* bytes = reinterpret_cast<const char*>(values) + kAhead;
  __builtin_prefetch(bytes, 0, 2);
  if constexpr (kLanes * 4 * sizeof(Value) > 64) __builtin_prefetch(bytes + 64, 0, 2);
  if constexpr (kLanes * 4 * sizeof(Value) > 128) __builtin_prefetch(bytes + 128, 0, 2);
  if constexpr (kLanes * 4 * sizeof(Value) > 192) __builtin_prefetch(bytes + 192, 0, 2);
}

template <typename Value>
TRINE_TARGET void score_rows(const float* query, const Value* rows, std::size_t count, std::size_t dim, float* scores) {
  for (std::size_t row = 0; row < count; ++row) {
    const Value* values = rows + row * dim;
    Vector sums[4] = {Isa::zero(), Isa::zero(), Isa::zero(), Isa::zero()};  // enough to hide the latency of an addition
    std::size_t i = 0;
    for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
      fetch_ahead(values + i);
#pragma GCC unroll 4
      for (std::size_t part = 0; part < 4; ++part) {
        sums[part] = Isa::fma(Isa::load(query + i + part * kLanes), Isa::load(values + i + part * kLanes), sums[part]);
      }
    }
    for (; i + kLanes <= dim; i += kLanes) sums[0] = Isa::fma(Isa::load(query + i), Isa::load(values + i), sums[0]);
    float sum = Isa::sum(Isa::add(Isa::add(sums[0], sums[1]), Isa::add(sums[2], sums[3])));
    for (; i < dim; ++i) sum += query[i] * Isa::load_one(values + i);
    scores[row] = sum;
  }
}

/// kRows rows against kVectors registers of queries: every sum stays in a register.
template <std::size_t kRows, std::size_t kVectors>
TRINE_TARGET void panel_tile(const float* panel, std::size_t width, const float* rows, std::size_t dim,
                             const float* thresholds, float* scores, std::uint32_t* hits) {
  Vector sums[kRows][kVectors];
#pragma GCC unroll 16
  for (std::size_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (std::size_t part = 0; part < kVectors; ++part) sums[row][part] = Isa::zero();
  }
  for (std::size_t i = 0; i < dim; ++i) {
    if (i % 16 == 0) {  // the rows of the next tile
#pragma GCC unroll 16
      for (std::size_t row = 0; row < kRows; ++row) __builtin_prefetch(rows + (kRows + row) * dim + i);
    }
    Vector queries[kVectors];
#pragma GCC unroll 4
    for (std::size_t part = 0; part < kVectors; ++part) queries[part] = Isa::load(panel + i * width + part * kLanes);
#pragma GCC unroll 16
    for (std::size_t row = 0; row < kRows; ++row) {
      const Vector value = Isa::all(rows[row * dim + i]);
#pragma GCC unroll 4
      for (std::size_t part = 0; part < kVectors; ++part) {
        sums[row][part] = Isa::fma(queries[part], value, sums[row][part]);
      }
    }
  }
#pragma GCC unroll 16
  for (std::size_t row = 0; row < kRows; ++row) {
    std::uint32_t bits = 0;
#pragma GCC unroll 4
    for (std::size_t part = 0; part < kVectors; ++part) {
      Isa::store(scores + row * width + part * kLanes, sums[row][part]);
      bits |= Isa::at_least(sums[row][part], Isa::load(thresholds + part * kLanes)) << (part * kLanes);
    }
    hits[row] = bits;
  }
}

template <std::size_t kRows, std::size_t kVectors>
TRINE_TARGET void panel_rows(const float* panel, const float* rows, std::size_t count, std::size_t dim,
                             const float* thresholds, float* scores, std::uint32_t* hits) {
  constexpr std::size_t kWidth = kVectors * kLanes;
  std::size_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    panel_tile<kRows, kVectors>(panel, kWidth, rows + row * dim, dim, thresholds, scores + row * kWidth, hits + row);
  }
  for (; row < count; ++row) {
    panel_tile<1, kVectors>(panel, kWidth, rows + row * dim, dim, thresholds, scores + row * kWidth, hits + row);
  }
}

TRINE_TARGET void panel_floats(const float* panel, std::size_t width, const float* rows, std::size_t count,
                               std::size_t dim, const float* thresholds, float* scores, std::uint32_t* hits) {
  if constexpr (Isa::kPanel > kUnit) {
    if (width == Isa::kPanel) {
      return panel_rows<Isa::kRows, Isa::kPanel / kLanes>(panel, rows, count, dim, thresholds, scores, hits);
    }
  }
  panel_rows<Isa::kRows, kUnit / kLanes>(panel, rows, count, dim, thresholds, scores, hits);
}

TRINE_TARGET void widen(const Half* from, std::size_t count, float* to) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Isa::store(to + i, Isa::load(from + i));
  for (; i < count; ++i) to[i] = Isa::load_one(from + i);
}

}  // namespace
}  // namespace trine::detail
