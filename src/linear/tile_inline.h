// The loops of tile_avx512.cpp and tile_avx2.cpp, for their TRINE_TARGET and their Kinds of numbers: no include guard.
//
// A Kind has Step (four bytes of an input: one float, or four bytes), Sum, Vector, kLanes sums in a Vector,
// kMostVectors side by side, kRegisters, and zero, load, store, spread (a Step to all lanes) and add (sums, inputs,
// weights).

namespace trine::detail {
namespace {

constexpr std::int64_t kStepsAtOnce = 768;  ///< 192 KiB of 64 columns: they and the next ones fit a second-level cache
constexpr std::int64_t kUnrolled = 4;       ///< steps between two looks ahead
constexpr std::int64_t kLine = 64;          ///< bytes of the cache that come at once

/// As many rows as fit the registers beside some vectors of weights and an input.
template <typename Kind>
constexpr int rows_beside(int vectors) {
  return std::min(12, (Kind::kRegisters - vectors - 2) / vectors);
}

/// Rows and columns whose sums are in registers.
template <typename Kind>
struct Part {
  const typename Kind::Step* inputs;
  const typename Kind::Step* weights;
  typename Kind::Sum* sums;
  std::int64_t inputs_stride, weights_stride, sums_stride;
  std::int64_t steps;
  bool more;                 ///< the sums of the steps before are there
  const char* ahead;         ///< what to ask for
  std::int64_t lines_ahead;  ///< of it, with every kUnrolled steps
};

template <typename Kind, int kRows, int kVectors>
TRINE_INLINE void add_step(const Part<Kind>& part, std::int64_t step, typename Kind::Vector (&sums)[kRows][kVectors]) {
  typename Kind::Vector weights[kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    weights[i] = Kind::load(part.weights + step * part.weights_stride + i * Kind::kLanes);
  }
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
    const typename Kind::Vector inputs = Kind::spread(part.inputs + row * part.inputs_stride + step);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) sums[row][i] = Kind::add(sums[row][i], inputs, weights[i]);
  }
}

template <typename Kind, int kRows, int kVectors>
TRINE_TARGET void add_part(const Part<Kind>& part) {
  typename Kind::Vector sums[kRows][kVectors];
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      sums[row][i] = part.more ? Kind::load(part.sums + row * part.sums_stride + i * Kind::kLanes) : Kind::zero();
    }
  }
  const char* ahead = part.ahead;
  std::int64_t step = 0;
  for (; step + kUnrolled <= part.steps; step += kUnrolled) {
    for (std::int64_t line = 0; line < part.lines_ahead; ++line, ahead += kLine) __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < kUnrolled; ++i) add_step<Kind, kRows, kVectors>(part, step + i, sums);
  }
  for (; step < part.steps; ++step) add_step<Kind, kRows, kVectors>(part, step, sums);
#pragma GCC unroll 12
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      Kind::store(part.sums + row * part.sums_stride + i * Kind::kLanes, sums[row][i]);
    }
  }
}

template <typename Kind, int kVectors>
TRINE_TARGET void add_rows(std::int64_t rows, const Part<Kind>& part) {
  static constexpr auto kParts = []<int... kBefore>(std::integer_sequence<int, kBefore...>) {
    return std::array{&add_part<Kind, kBefore + 1, kVectors>...};
  }(std::make_integer_sequence<int, rows_beside<Kind>(kVectors)>{});
  kParts[static_cast<std::size_t>(rows - 1)](part);
}

template <typename Kind>
TRINE_TARGET void add_rows(std::int64_t rows, std::int64_t vectors, const Part<Kind>& part) {
  static constexpr auto kWidths = []<int... kBefore>(std::integer_sequence<int, kBefore...>) {
    return std::array{&add_rows<Kind, kBefore + 1>...};
  }(std::make_integer_sequence<int, Kind::kMostVectors>{});
  kWidths[static_cast<std::size_t>(vectors - 1)](rows, part);
}

/// A row of weights is read once for some rows of inputs; meanwhile what comes behind the weights is asked for, spread
/// evenly over the work, so that the memory and the arithmetic never wait for each other.
template <typename Kind, typename Input, typename Weight>
TRINE_TARGET void multiply(const Tile& tile, const Input* inputs, const Weight* weights, typename Kind::Sum* sums) {
  using Step = typename Kind::Step;
  constexpr std::int64_t kInputs = sizeof(Step) / sizeof(Input);
  const auto* from = reinterpret_cast<const Step*>(inputs);
  const auto* by = reinterpret_cast<const Step*>(weights);
  const std::int64_t all_steps = tile.in / kInputs, all_vectors = tile.columns / Kind::kLanes;
  const std::int64_t widths = (all_vectors + Kind::kMostVectors - 1) / Kind::kMostVectors;
  const std::int64_t bytes = kUnrolled * tile.weights_stride * static_cast<std::int64_t>(sizeof(Step));
  for (std::int64_t step = 0; step < all_steps; step += kStepsAtOnce) {
    const std::int64_t steps = std::min(kStepsAtOnce, all_steps - step);
    const char* ahead = reinterpret_cast<const char*>(by + (step + steps) * tile.weights_stride);
    for (std::int64_t vector = 0; vector < all_vectors; vector += Kind::kMostVectors) {
      const std::int64_t vectors = std::min<std::int64_t>(Kind::kMostVectors, all_vectors - vector);
      const std::int64_t most = rows_beside<Kind>(static_cast<int>(vectors)), groups = (tile.rows + most - 1) / most;
      const std::int64_t lines = tile.ahead ? (bytes / kLine + widths * groups - 1) / (widths * groups) : 0;
      for (std::int64_t row = 0, group = 0; group < groups; ++group) {
        const std::int64_t rows = (tile.rows - row + groups - group - 1) / (groups - group);
        add_rows<Kind>(rows, vectors,
                       {.inputs = from + row * (tile.inputs_stride / kInputs) + step,
                        .weights = by + step * tile.weights_stride + vector * Kind::kLanes,
                        .sums = sums + row * tile.sums_stride + vector * Kind::kLanes,
                        .inputs_stride = tile.inputs_stride / kInputs,
                        .weights_stride = tile.weights_stride,
                        .sums_stride = tile.sums_stride,
                        .steps = steps,
                        .more = step > 0,
                        .ahead = ahead,
                        .lines_ahead = lines});
        row += rows;
        ahead += steps / kUnrolled * lines * kLine;
      }
    }
  }
}

}  // namespace
}  // namespace trine::detail
