#include <vector>

#include "linear/backend.h"
#include "linear/memory.h"
#include "linear/parallel.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::int64_t kGroup = 4;  ///< inputs that the machine multiplies and adds in one step

/// One scale for an output's weights, -127 to 127; one scale and zero for a token's inputs, 0 to 255. The sums of bytes
/// are exact, so a token's outputs depend on nothing but the token.
class Int8 : public PackedLinear {
 public:
  Int8(const Tensor& weight, const Tensor& bias)
      : in_(weight.size(1)),
        padded_((in_ + kGroup - 1) / kGroup * kGroup),
        out_(weight.size(0)),
        bias_(in_blocks_of_bias(bias, out_)) {
    const Tensor scales = weight.abs().amax(1).div(127).clamp_min(1e-30);
    const Tensor bytes = (weight / scales.unsqueeze(1)).round();
    weights_ = in_blocks(bytes.to(torch::kInt8), kGroup);
    weight_scales_ = in_blocks_of_bias(scales, out_);
    weight_sums_ = in_blocks_of_bias(bytes.sum(1) * scales, out_);
  }

  void forward(const Tensor& x, Function function, const Tensor& residual, Tensor& out) const override {
    const std::int64_t count = x.size(0);
    Tensor bytes = reused({count, padded_}, torch::kUInt8);  // weights are 0 where it is filled up
    std::vector<RowScale> scales(static_cast<std::size_t>(count));
    const float* inputs = x.const_data_ptr<float>();
    auto* quantised = bytes.mutable_data_ptr<std::uint8_t>();
    in_parallel(count, std::max<std::int64_t>(1, 65'536 / in_), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        scales[static_cast<std::size_t>(row)] = quantise_row(inputs + row * in_, in_, quantised + row * padded_);
      }
    });
    const auto finish_tile = [&](std::int64_t first, std::int64_t rows, std::int64_t block, const std::int32_t* sums) {
      const std::int64_t column = block * kTileColumns;
      finish(finish_of(rows, block, out_, bias_, tile_of(residual, first, block), function), sums,
             scales.data() + first, weight_scales_.const_data_ptr<float>() + column,
             weight_sums_.const_data_ptr<float>() + column, tile_of(out, first, block));
    };
    multiply<std::int32_t>(bytes.const_data_ptr<std::uint8_t>(), weights_.const_data_ptr<std::int8_t>(), count, padded_,
                           out_, finish_tile);
  }

 private:
  std::int64_t in_;
  std::int64_t padded_;
  std::int64_t out_;
  Tensor weights_;
  Tensor bias_;
  Tensor weight_scales_;  ///< value = scale * byte
  Tensor weight_sums_;    ///< of an output's weights as bytes have them: what a token's low counts
};

}  // namespace

std::unique_ptr<PackedLinear> pack_int8(const Tensor& weight, const Tensor& bias) {
  return std::make_unique<Int8>(weight, bias);
}

}  // namespace trine::detail
