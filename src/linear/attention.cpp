#include "linear/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "linear/backend.h"
#include "linear/memory.h"
#include "linear/ours.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::int64_t kQueries = 64;       ///< of a tile
constexpr std::int64_t kKeys = 256;         ///< of a tile: its scores take 64 KiB
constexpr std::int64_t kStep = 16;          ///< keys are filled up to a multiple of it, so that kernels are few
constexpr std::int64_t kRowStep = 4;        ///< queries
constexpr std::int64_t kFewestQueries = 4;  ///< below, torch's own does less work
constexpr std::int64_t kLargestHead = 256;
constexpr float kLog2OfE = 1.44269504f;

std::int64_t filled_up(std::int64_t size, std::int64_t step) { return (size + step - 1) / step * step; }

/// One head of one sequence: the first number of a row, and how far the next row lies.
struct Rows {
  const float* first;
  std::int64_t stride;
  const float* operator[](std::int64_t row) const { return first + row * stride; }
};

Rows rows_of(const Tensor& x, std::int64_t sequence, std::int64_t channel) {
  return {x.const_data_ptr<float>() + sequence * x.stride(0) + channel, x.stride(1)};
}

/// A thread's room for one head.
class Head {
 public:
  Head(std::int64_t width, std::int64_t keys)
      : width_(width),
        keys_(keys),
        keys_by_channel_(static_cast<std::size_t>(filled_up(keys, kStep) * width)),
        values_(keys_by_channel_.size()),
        queries_(static_cast<std::size_t>(kQueries * width)),
        scores_(static_cast<std::size_t>(kQueries * std::min(kKeys, filled_up(keys, kStep)))),
        sums_(queries_.size()) {}

  /// Keys by channel and values by key, each block of kKeys by itself; zeros where the last is filled up.
  void lay_out(Rows keys, Rows values) {
    for (std::int64_t first = 0; first < keys_; first += kKeys) {
      const std::int64_t count = std::min(kKeys, keys_ - first);
      transpose(keys[first], keys.stride, count, width_, keys_by_channel_.data() + first * width_, room_of(first));
      for (std::int64_t key = first; key < first + count; ++key) {
        std::copy_n(values[key], width_, values_.data() + key * width_);
      }
    }
  }

  /// Of the queries from `first` on, at most kQueries.
  void attend(Rows queries, std::int64_t first, std::int64_t count, bool causal, float* out, std::int64_t out_stride) {
    const float scale = kLog2OfE / std::sqrt(static_cast<float>(width_));
    for (std::int64_t row = 0; row < count; ++row) {
      std::transform(queries[first + row], queries[first + row] + width_, queries_.data() + row * width_,
                     [&](float value) { return value * scale; });
    }
    const std::int64_t rows = filled_up(count, kRowStep);  // those filled up are computed and left
    std::fill_n(largest_, kQueries, -std::numeric_limits<float>::infinity());
    std::fill_n(totals_, kQueries, 0.0f);
    const std::int64_t end = causal ? std::min(keys_, first + count) : keys_;
    for (std::int64_t key = 0; key < end; key += kKeys) {
      const std::int64_t room = room_of(key);
      at::native::cpublas::brgemm(rows, room, width_, width_, room, room, /*add_C=*/false, queries_.data(),
                                  keys_by_channel_.data() + key * width_, scores_.data(), /*is_vnni=*/false);
      for (std::int64_t row = 0; row < count; ++row) {
        const std::int64_t real = std::min(kKeys, keys_ - key);
        weigh(row, causal ? std::clamp<std::int64_t>(first + row + 1 - key, 0, real) : real, room);
      }
      at::native::cpublas::brgemm(rows, width_, room, room, width_, width_, /*add_C=*/key > 0, scores_.data(),
                                  values_.data() + key * width_, sums_.data(), /*is_vnni=*/false);
    }
    for (std::int64_t row = 0; row < count; ++row) {
      const float* sums = sums_.data() + row * width_;
      std::transform(sums, sums + width_, out + row * out_stride,
                     [whole = 1.0f / totals_[row]](float value) { return value * whole; });
    }
  }

 private:
  std::int64_t room_of(std::int64_t key) const { return std::min(kKeys, filled_up(keys_ - key, kStep)); }

  /// Scores of a row become shares; what was summed with a smaller largest score shrinks.
  void weigh(std::int64_t row, std::int64_t keys, std::int64_t room) {
    const RowSoftmax found = soften_row(scores_.data() + row * room, keys, room, largest_[row]);
    if (largest_[row] < found.largest) {
      const float shrunk = std::exp2(largest_[row] - found.largest);
      totals_[row] *= shrunk;
      float* sums = sums_.data() + row * width_;
      std::transform(sums, sums + width_, sums, [&](float value) { return value * shrunk; });
    }
    totals_[row] += found.sum;
    largest_[row] = found.largest;
  }

  std::int64_t width_;
  std::int64_t keys_;
  std::vector<float> keys_by_channel_, values_, queries_, scores_, sums_;
  float largest_[kQueries];
  float totals_[kQueries];
};

}  // namespace

bool can_attend(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads) {
  if (!has_kernel(Precision::fp32)) return false;
  for (const Tensor* x : {&q, &k, &v}) {
    if (!is_ours(*x) || x->dim() != 3 || x->stride(2) != 1) return false;
  }
  return q.size(1) >= kFewestQueries && k.size(1) > 0 && q.size(2) % heads == 0 && q.size(2) / heads <= kLargestHead;
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal) {
  const std::int64_t steps = q.size(1), dim = q.size(2), width = dim / heads;
  Tensor out = reused({q.size(0), steps, dim});
  float* outputs = out.mutable_data_ptr<float>();
  const double work = static_cast<double>(steps * k.size(1) * width);
  const auto grain = std::max<std::int64_t>(1, static_cast<std::int64_t>((1 << 19) / work));
  at::parallel_for(0, q.size(0) * heads, grain, [&](std::int64_t begin, std::int64_t end) {
    Head head(width, k.size(1));
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t sequence = i / heads, channel = i % heads * width;
      head.lay_out(rows_of(k, sequence, channel), rows_of(v, sequence, channel));
      for (std::int64_t first = 0; first < steps; first += kQueries) {
        head.attend(rows_of(q, sequence, channel), first, std::min(kQueries, steps - first), causal,
                    outputs + (sequence * steps + first) * dim + channel, dim);
      }
    }
    at::native::cpublas::brgemm_release();
  });
  return out;
}

}  // namespace trine::detail
