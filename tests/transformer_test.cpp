#include "trine/encoders/transformer.h"

#include <cmath>
#include <stdexcept>

#include "encoder_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Activation;

TEST(Transformer, Activations) {
  const Tensor x = noise("activation", {100}) * 4;
  const Tensor tanh_gelu = 0.5 * x * (1 + torch::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x.pow(3))));
  const Tensor exact = 0.5 * x * (1 + torch::erf(x / std::sqrt(2.0)));
  EXPECT_LT(largest_difference(trine::activate(x, Activation::gelu), exact), 1e-6);
  EXPECT_LT(largest_difference(trine::activate(x, Activation::gelu_tanh), tanh_gelu), 1e-6);
  EXPECT_LT(largest_difference(trine::activate(x, Activation::quick_gelu), x / (1 + torch::exp(-1.702 * x))), 1e-6);
  EXPECT_LT(largest_difference(trine::activate(x, Activation::silu), x / (1 + torch::exp(-x))), 1e-6);
  EXPECT_LT(largest_difference(trine::activate(x, Activation::relu), x.clamp_min(0)), 1e-6);
  EXPECT_THROW(trine::activate(x, static_cast<Activation>(9)), std::invalid_argument);
}

TEST(Transformer, CausalStepsSeeNothingLater) {
  const Tensor x = noise("x", {1, 5, 8}), later = torch::cat({x.slice(1, 0, 3), noise("y", {1, 2, 8})}, 1);
  const Tensor whole = trine::self_attention(x, x, x, 2, {}, /*causal=*/true);
  const Tensor other = trine::self_attention(later, later, later, 2, {}, /*causal=*/true);
  EXPECT_LT(largest_difference(whole.slice(1, 0, 3), other.slice(1, 0, 3)), 1e-6);
  EXPECT_GT(largest_difference(whole.slice(1, 3), other.slice(1, 3)), 1e-2);
  EXPECT_LT(largest_difference(whole.slice(1, 4), trine::self_attention(x.slice(1, 4), x, x, 2)), 1e-6);
}

TEST(Transformer, PathsWithDotsBecomeModules) {
  torch::nn::Module root;
  trine::register_at(root, "a.b.c", trine::Linear(2, 3).ptr());
  trine::register_at(root, "a.b.d", trine::Linear(2, 3, false).ptr());
  trine::register_at(root, "e", trine::Linear(2, 3, false).ptr());
  std::vector<std::string> names;
  for (const auto& [name, tensor] : trine::state_dict(root)) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"a.b.c.bias", "a.b.c.weight", "a.b.d.weight", "e.weight"}));
}

TEST(Transformer, PositionsOfTheSameGridStay) {
  const Tensor table = noise("positions", {25, 6});
  for (const auto how : {trine::PositionResize::bicubic, trine::PositionResize::antialiased_bicubic,
                         trine::PositionResize::antialiased_bilinear}) {
    EXPECT_LT(largest_difference(trine::resize_positions(table, 5, 5, how), table), 1e-6);
    EXPECT_EQ(trine::resize_positions(table, 3, 7, how).sizes(), (std::vector<std::int64_t>{21, 6}));
  }
}

}  // namespace
