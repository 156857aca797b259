#include "linear/backend.h"
#include "linear/parallel.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::int64_t kGroup = 2;  ///< inputs that the machine multiplies and adds in one step

class Bf16 : public PackedLinear {
 public:
  Bf16(const Tensor& weight, const Tensor& bias)
      : in_(weight.size(1)),
        padded_((in_ + kGroup - 1) / kGroup * kGroup),
        out_(weight.size(0)),
        weights_(in_blocks(weight.to(torch::kBFloat16), kGroup)),
        bias_(in_blocks_of_bias(bias, out_)) {}

  void forward(const Tensor& x, Function function, const Tensor& residual, Tensor& out) const override {
    const Tensor rounded = round(x);
    const auto finish_tile = [&](std::int64_t first, std::int64_t rows, std::int64_t block, const float* sums) {
      finish(finish_of(rows, block, out_, bias_, tile_of(residual, first, block), function), sums,
             tile_of(out, first, block));
    };
    multiply<float>(rounded.const_data_ptr<at::BFloat16>(), weights_.const_data_ptr<at::BFloat16>(), x.size(0), padded_,
                    out_, finish_tile);
  }

 private:
  /// (M, in) -> (M, padded)
  Tensor round(const Tensor& x) const {
    Tensor rounded = padded_ == in_ ? torch::empty({x.size(0), padded_}, torch::kBFloat16)
                                    : torch::zeros({x.size(0), padded_}, torch::kBFloat16);
    const float* inputs = x.const_data_ptr<float>();
    auto* bits = static_cast<std::uint16_t*>(rounded.data_ptr());
    in_parallel(x.size(0), std::max<std::int64_t>(1, 65'536 / in_), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) round_to_bf16(inputs + row * in_, in_, bits + row * padded_);
    });
    return rounded;
  }

  std::int64_t in_;
  std::int64_t padded_;
  std::int64_t out_;
  Tensor weights_;
  Tensor bias_;
};

}  // namespace

std::unique_ptr<PackedLinear> pack_bf16(const Tensor& weight, const Tensor& bias) {
  return std::make_unique<Bf16>(weight, bias);
}

}  // namespace trine::detail
