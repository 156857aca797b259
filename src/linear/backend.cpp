#include "linear/backend.h"

#include "detail/error.h"
#include "linear/memory.h"

namespace trine::detail {

using torch::Tensor;

namespace {

std::int64_t filled_up(std::int64_t size, std::int64_t step) { return (size + step - 1) / step * step; }

/// Largest and smallest inputs: where a machine adds bytes in 16 bits, the sums are wrong.
bool sums_are_right(Precision precision) {
  try {
    const torch::NoGradGuard no_grad;
    constexpr std::int64_t kIn = 128;
    const Tensor rows = torch::arange(kTileRows + 3, torch::kFloat32).unsqueeze(1);
    const Tensor pairs = torch::arange(kIn).div(2, "floor");  // neighbours are large together
    const Tensor x = (rows + pairs).fmod(2).mul(255);
    const Tensor weight = torch::arange(kTileColumns + 2).unsqueeze(1).fmod(2).mul(254).sub(127).expand({-1, kIn});
    const Tensor wanted = x.mm(weight.to(torch::kFloat32).t());
    Tensor found = torch::empty_like(wanted);
    pack(precision, weight.to(torch::kFloat32), {})->forward(x, Function::identity, {}, found);
    return (found - wanted).abs().max().item<float>() <= 1e-2f * wanted.abs().max().item<float>();
  } catch (const c10::Error&) {
    return false;
  }
}

}  // namespace

Tensor in_blocks(const Tensor& weight, std::int64_t group) {
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const Tensor filled =
      torch::constant_pad_nd(weight, {0, filled_up(in, group) - in, 0, filled_up(out, kTileColumns) - out});
  return in_large_pages(filled.view({-1, kTileColumns, filled_up(in, group) / group, group}).permute({0, 2, 1, 3}));
}

Tensor in_blocks_of_bias(const Tensor& bias, std::int64_t out) {
  const Tensor values = bias.defined() ? bias : torch::zeros({out});
  return torch::constant_pad_nd(values, {0, filled_up(out, kTileColumns) - out}).contiguous();
}

std::unique_ptr<PackedLinear> pack(Precision precision, const Tensor& weight, const Tensor& bias) {
  switch (precision) {
    case Precision::bf16:
      return pack_bf16(weight, bias);
    case Precision::int8:
      return pack_int8(weight, bias);
    case Precision::fp32:
      return pack_fp32(weight, bias);
    case Precision::automatic:
    case Precision::fp16:
      break;
  }
  bad_argument("pack", "there are no packed layers in ", to_string(precision));
}

bool has_kernel(Precision precision) {
  static const bool fp32 = sums_are_right(Precision::fp32);
  static const bool bf16 = fp32 && sums_are_right(Precision::bf16);
  static const bool int8 = fp32 && sums_are_right(Precision::int8);
  return precision == Precision::int8 ? int8 : precision == Precision::bf16 ? bf16 : fp32;
}

}  // namespace trine::detail
