#include "linear/norm.h"

#include <algorithm>

#include "linear/memory.h"
#include "linear/ours.h"
#include "linear/parallel.h"
#include "linear/rows.h"

namespace trine::detail {

using torch::Tensor;

bool can_normalise(const Tensor& x, const Tensor& weight) {
  return is_ours(x) && weight.scalar_type() == torch::kFloat32 && weight.is_contiguous() && x.dim() > 0 &&
         x.size(-1) == weight.size(0);
}

Tensor normalise(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const std::int64_t n = weight.size(0), rows = x.numel() / n;
  Tensor out = reused(x.sizes());
  const RowNorm norm{.weight = weight.const_data_ptr<float>(),
                     .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                     .eps = static_cast<float>(eps)};
  const Tensor together = x.contiguous();  // whatever the layout: it is another for a batch of one
  const float* inputs = together.const_data_ptr<float>();
  float* outputs = out.mutable_data_ptr<float>();
  in_parallel(rows, std::max<std::int64_t>(1, 65'536 / n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) normalise_row(inputs + row * n, norm, n, outputs + row * n);
  });
  return out;
}

}  // namespace trine::detail
