#pragma once

#include <cstdint>

/// Products of small matrices whose sums stay in registers: what linear layers and attention are made of.

namespace trine::detail {

/// sums (rows, columns) = inputs (rows, in) times weights (in, columns). Strides are elements from a row to the next;
/// of bytes, four inputs of a column lie side by side: weights (in / 4, columns, 4), and their stride counts fours.
struct Tile {
  std::int64_t rows;
  std::int64_t columns;  ///< a multiple of 16
  std::int64_t in;       ///< of bytes a multiple of 4
  std::int64_t inputs_stride;
  std::int64_t weights_stride;
  std::int64_t sums_stride;
  bool ahead;  ///< what lies behind the weights is wanted next: the memory is asked for it meanwhile
};

/// Of matrices whose rows lie side by side; nothing is wanted next.
constexpr Tile dense_tile(std::int64_t rows, std::int64_t columns, std::int64_t in) {
  return {rows, columns, in, in, columns, columns, false};
}

/// One kind of machine's. A sum runs over the inputs in one order, whatever rows are beside it; those of bytes are
/// exact.
struct TileLoops {
  const char* name;
  void (*floats)(const Tile&, const float* inputs, const float* weights, float* sums);
  void (*bytes)(const Tile&, const std::uint8_t* inputs, const std::int8_t* weights, std::int32_t* sums);  ///< or null
};

extern const TileLoops kAvx2Tiles, kAvxVnniTiles, kAvx512Tiles, kAvx512VnniTiles;

/// "avx2", "avxvnni", "avx512" or "avx512vnni"; null where this machine does not have it.
const TileLoops* tile_loops_named(const char* name);

/// The machine's fastest, or what TRINE_LINEAR_KERNELS names; asked once. Null: it has none of them.
const TileLoops* tile_loops();

}  // namespace trine::detail
