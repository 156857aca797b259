#pragma once

#include <c10/util/BFloat16.h>

#include "linear/tile.h"

/// A tile's product by the fastest that there is: our own loops, or LibTorch's brgemm (oneDNN's kernel, made for the
/// machine when it runs), which throws c10::Error where it has none.

namespace trine::detail {

void multiply_tile(const Tile& tile, const float* inputs, const float* weights, float* sums);
void multiply_tile(const Tile& tile, const std::uint8_t* inputs, const std::int8_t* weights, std::int32_t* sums);
/// Two inputs of a column side by side: weights (in / 2, columns, 2), their stride counts twos.
void multiply_tile(const Tile& tile, const c10::BFloat16* inputs, const c10::BFloat16* weights, float* sums);

/// Gives back what brgemm keeps for a thread between its products: the tiles of a machine with AMX.
void release_tiles();

}  // namespace trine::detail
