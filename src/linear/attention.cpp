#include "linear/attention.h"

#include <algorithm>
#include <memory>

#include "linear/backend.h"
#include "linear/head.h"
#include "linear/memory.h"
#include "linear/ours.h"
#include "linear/parallel.h"
#include "trine/layers.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::int64_t kFewestQueries = 4;  ///< below, torch's own does less work
constexpr std::int64_t kFewestKeys = 128;   ///< in int8: below, rounding gains too little
constexpr std::int64_t kLargestHead = 256;
constexpr double kWork = 1 << 19;  ///< multiplications worth a thread

/// A sequence's first head; the others lie beside it.
struct Sequence {
  Rows q, k, v;
  std::int64_t queries, keys;
  float* out;
};

/// All heads of all sequences; rows of the result lie `stride` apart.
void attend_all(const std::vector<Sequence>& sequences, std::int64_t heads, std::int64_t width, std::int64_t stride,
                bool causal, Precision precision) {
  std::int64_t longest = 0, longest_in_bytes = 0;
  double work = 0;
  const auto in_bytes = [&](std::int64_t keys) { return precision == Precision::int8 && keys >= kFewestKeys; };
  for (const Sequence& sequence : sequences) {
    std::int64_t& most = in_bytes(sequence.keys) ? longest_in_bytes : longest;
    most = std::max(most, sequence.keys);
    work += static_cast<double>(sequence.queries * sequence.keys * width) / static_cast<double>(sequences.size());
  }
  if (work == 0) return;
  const auto grain = std::max<std::int64_t>(1, static_cast<std::int64_t>(kWork / work));
  in_parallel(std::ssize(sequences) * heads, grain, [&](std::int64_t begin, std::int64_t end) {
    const auto plain = longest > 0 ? fp32_head(width, longest) : nullptr;
    const auto bytes = longest_in_bytes > 0 ? int8_head(width, longest_in_bytes) : nullptr;
    for (std::int64_t i = begin; i < end; ++i) {
      const Sequence& sequence = sequences[static_cast<std::size_t>(i / heads)];
      const std::int64_t channel = i % heads * width;
      const auto beside = [&](Rows rows) { return Rows{rows.first + channel, rows.stride}; };
      Head& head = in_bytes(sequence.keys) ? *bytes : *plain;
      head.lay_out(beside(sequence.k), beside(sequence.v), sequence.keys);
      for (std::int64_t first = 0; first < sequence.queries; first += Head::kQueries) {
        head.attend(beside(sequence.q), first, std::min(Head::kQueries, sequence.queries - first), causal,
                    sequence.out + first * stride + channel, stride);
      }
    }
    release_tiles();
  });
}

}  // namespace

bool can_attend(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads) {
  if (!has_kernel(Precision::fp32)) return false;
  for (const Tensor* x : {&q, &k, &v}) {
    if (!is_ours(*x) || x->dim() != 3 || x->stride(2) != 1) return false;
  }
  return q.size(1) >= kFewestQueries && k.size(1) > 0 && q.size(2) % heads == 0 && q.size(2) / heads <= kLargestHead;
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal, Precision precision) {
  const std::int64_t steps = q.size(1), dim = q.size(2);
  Tensor out = reused({q.size(0), steps, dim});
  std::vector<Sequence> sequences;
  for (std::int64_t i = 0; i < q.size(0); ++i) {
    const auto rows = [&](const Tensor& x) { return Rows{x.const_data_ptr<float>() + i * x.stride(0), x.stride(1)}; };
    sequences.push_back({rows(q), rows(k), rows(v), steps, k.size(1), out.mutable_data_ptr<float>() + i * steps * dim});
  }
  attend_all(sequences, heads, dim / heads, dim, causal, precision);
  return out;
}

Tensor attend_texts(const Tensor& qkv, const std::vector<std::int64_t>& lengths, std::int64_t heads,
                    Precision precision) {
  const std::int64_t dim = qkv.size(1) / 3;
  Tensor out = reused({qkv.size(0), dim});
  if (!has_kernel(Precision::fp32) || dim / heads > kLargestHead) {
    std::int64_t first = 0;
    for (const std::int64_t length : lengths) {
      const auto parts = qkv.narrow(0, first, length).unsqueeze(0).chunk(3, -1);
      out.narrow(0, first, length).copy_(self_attention(parts[0], parts[1], parts[2], heads).squeeze(0));
      first += length;
    }
    return out;
  }
  std::vector<Sequence> sequences;
  const float* from = qkv.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  for (const std::int64_t length : lengths) {
    const auto rows = [&](std::int64_t part) { return Rows{from + part * dim, 3 * dim}; };
    sequences.push_back({rows(0), rows(1), rows(2), length, length, to});
    from += length * 3 * dim;
    to += length * dim;
  }
  attend_all(sequences, heads, dim / heads, dim, /*causal=*/false, precision);
  return out;
}

Tensor attention_after(Precision precision, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads,
                       const Tensor& mask, bool causal) {
  if (!mask.defined() && can_attend(q, k, v, heads)) return attend(q, k, v, heads, causal, precision);
  return self_attention(q, k, v, heads, mask, causal);
}

}  // namespace trine::detail
