#include "linear/product.h"

#include <ATen/native/CPUBlas.h>

#include "detail/cpu.h"

namespace trine::detail {

namespace {

template <typename Input, typename Sum>
void brgemm(const Tile& tile, const Input* inputs, const auto* weights, Sum* sums, bool in_groups) {
  at::native::cpublas::brgemm(tile.rows, tile.columns, tile.in, tile.inputs_stride, tile.weights_stride,
                              tile.sums_stride, /*add_C=*/false, inputs, weights, sums, /*is_vnni=*/in_groups);
}

/// Null: none for bytes, or slower than AMX, which is brgemm's.
auto loops_of_bytes() {
  static const auto chosen = has_amx() || tile_loops() == nullptr ? nullptr : tile_loops()->bytes;
  return chosen;
}

}  // namespace

void multiply_tile(const Tile& tile, const float* inputs, const float* weights, float* sums) {
  if (tile_loops() != nullptr) return tile_loops()->floats(tile, inputs, weights, sums);
  brgemm(tile, inputs, weights, sums, /*in_groups=*/false);
}

void multiply_tile(const Tile& tile, const std::uint8_t* inputs, const std::int8_t* weights, std::int32_t* sums) {
  if (const auto multiply = loops_of_bytes()) return multiply(tile, inputs, weights, sums);
  brgemm(tile, inputs, weights, sums, /*in_groups=*/true);
}

void multiply_tile(const Tile& tile, const c10::BFloat16* inputs, const c10::BFloat16* weights, float* sums) {
  brgemm(tile, inputs, weights, sums, /*in_groups=*/true);
}

void release_tiles() { at::native::cpublas::brgemm_release(); }

}  // namespace trine::detail
