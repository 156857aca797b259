#pragma once

#include "linear/rows.h"

/// Loops of rows.h for machines with AVX-512.

namespace trine::detail {

RowScale quantise_avx512(const float* x, std::int64_t n, std::uint8_t* bytes);
SignedRow quantise_signed_avx512(const float* x, std::int64_t n, std::int8_t* bytes);
RowSoftmax soften_avx512(float* scores, std::int64_t n, std::int64_t room);
RowSoftmax soften_bytes_avx512(const std::int32_t* sums, const RowScale& query, const float* key_scales,
                               const float* key_sums, std::int64_t n, std::int64_t room, std::uint8_t* shares);

}  // namespace trine::detail
