#include "linear/backend.h"

namespace trine::detail {

using torch::Tensor;

namespace {

class Fp32 : public PackedLinear {
 public:
  Fp32(const Tensor& weight, const Tensor& bias)
      : in_(weight.size(1)),
        out_(weight.size(0)),
        weights_(in_blocks(weight, 1)),
        bias_(in_blocks_of_bias(bias, out_)) {}

  void forward(const Tensor& x, Function function, const Tensor& residual, Tensor& out) const override {
    const auto finish_tile = [&](std::int64_t first, std::int64_t rows, std::int64_t block, const float* sums) {
      finish(finish_of(rows, block, out_, bias_, tile_of(residual, first, block), function), sums,
             tile_of(out, first, block));
    };
    multiply<float>(x.const_data_ptr<float>(), weights_.const_data_ptr<float>(), x.size(0), in_, out_, finish_tile);
  }

 private:
  std::int64_t in_;
  std::int64_t out_;
  Tensor weights_;
  Tensor bias_;
};

}  // namespace

std::unique_ptr<PackedLinear> pack_fp32(const Tensor& weight, const Tensor& bias) {
  return std::make_unique<Fp32>(weight, bias);
}

}  // namespace trine::detail
