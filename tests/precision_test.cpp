#include "trine/precision.h"

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "encoder_testing.h"
#include "trine/encoders/bert.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/transformer.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::LoadPrecision;
using trine::Precision;

constexpr trine::TransformerKeys kKeys{.blocks = "layers",
                                       .attention_norm = "norm1",
                                       .query = "attention.q",
                                       .key = "attention.k",
                                       .value = "attention.v",
                                       .attention_out = "attention.out",
                                       .attention_scale = nullptr,
                                       .feed_forward_norm = "norm2",
                                       .expand = "fc1",
                                       .contract = "fc2",
                                       .feed_forward_scale = nullptr};

/// Sizes that fill no tile: 2 heads of 35 channels, 150 inside.
trine::Transformer network(Precision precision, trine::Activation activation = trine::Activation::gelu) {
  const LoadPrecision scope(precision);
  trine::Transformer made(trine::TransformerConfig{.hidden_size = 70,
                                                   .intermediate_size = 150,
                                                   .num_hidden_layers = 3,
                                                   .num_attention_heads = 2,
                                                   .hidden_act = activation},
                          kKeys);
  torch::manual_seed(3);
  trine::reset_parameters(*made);
  made->eval();
  return made;
}

Tensor inputs(std::int64_t rows, std::int64_t steps = 5) {
  torch::manual_seed(4);
  return torch::randn({rows, steps, 70});
}

Tensor infer(const trine::Transformer& made, const Tensor& x) {
  const torch::NoGradGuard no_grad;
  return made->forward(x);
}

double least_cosine(const Tensor& a, const Tensor& b) {
  return torch::cosine_similarity(a, b, -1).min().item<double>();
}

class EachPrecision : public testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!trine::supports(GetParam())) {
      GTEST_SKIP() << "this machine does not compute in " << trine::to_string(GetParam());
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Precision, EachPrecision, testing::Values(Precision::fp32, Precision::bf16, Precision::int8),
                         [](const auto& one) { return std::string(trine::to_string(one.param)); });

TEST_P(EachPrecision, ActivationsAreThoseOfTorch) {
  const double bar = GetParam() == Precision::fp32 ? 1 - 1e-6 : GetParam() == Precision::bf16 ? 0.9999 : 0.999;
  for (const auto activation :
       {trine::Activation::gelu, trine::Activation::gelu_tanh, trine::Activation::quick_gelu, trine::Activation::relu,
        trine::Activation::silu, trine::Activation::tanh, trine::Activation::sigmoid}) {
    const trine::Transformer made = network(GetParam(), activation);
    const Tensor x = inputs(70);
    const Tensor plain = made->forward(x).detach();  // with gradients: torch's own layers
    const Tensor found = infer(made, x);
    EXPECT_GE(least_cosine(found, plain), bar) << trine::to_string(activation);
    const bool rounded = largest_difference(found, plain) > 1e-5;
    EXPECT_EQ(rounded, GetParam() != Precision::fp32) << trine::to_string(activation);
  }
}

TEST_P(EachPrecision, ARowDoesNotDependOnItsBatchOrTheThreads) {
  const trine::Transformer made = network(GetParam());
  const Tensor x = inputs(64);
  const Tensor all = infer(made, x);
  for (const std::int64_t rows : {1, 7, 20}) {
    EXPECT_TRUE(infer(made, x.slice(0, 0, rows)).equal(all.slice(0, 0, rows))) << rows << " rows";
  }
  at::set_num_threads(2);
  const Tensor with_two = infer(made, x);
  at::set_num_threads(1);
  EXPECT_TRUE(with_two.equal(all));
}

TEST_P(EachPrecision, LargeAndEmptyInputsAreAsInTorch) {
  const trine::Transformer made = network(GetParam());
  EXPECT_EQ(infer(made, inputs(0)).sizes(), (std::vector<std::int64_t>{0, 5, 70}));
  for (const float scale : {1e-6f, 1e6f}) {
    const Tensor x = inputs(3) * scale;
    EXPECT_GE(least_cosine(infer(made, x), made->forward(x).detach()), 0.99) << scale;
  }
  EXPECT_TRUE(infer(made, torch::zeros({2, 5, 70})).isfinite().all().item<bool>());
}

TEST_P(EachPrecision, ChangedWeightsCount) {
  const trine::Transformer made = network(GetParam());
  const Tensor x = inputs(2);
  const Tensor before = infer(made, x);
  {
    const torch::NoGradGuard no_grad;
    for (Tensor& weight : made->parameters()) weight.mul_(0.5);  // as an optimiser does
  }
  EXPECT_GT(largest_difference(infer(made, x), before), 1e-2);
  EXPECT_GE(least_cosine(infer(made, x), made->forward(x).detach()), 0.999);
  for (Tensor& weight : made->parameters()) weight.set_data(weight.detach() * 2);  // as loading does
  EXPECT_TRUE(infer(made, x).equal(before));
}

/// A batch of one is contiguous where a larger one is not: the first step of each sequence.
TEST(Precision, ANormDoesNotDependOnTheLayout) {
  trine::LayerNorm norm(70);
  trine::reset_parameters(*norm);
  const torch::NoGradGuard no_grad;
  const Tensor x = inputs(3).select(1, 0);
  EXPECT_TRUE(norm->forward(x).equal(norm->forward(x.contiguous())));
}

/// Whole tiles of queries and keys, parts of them, and one more than a tile.
TEST(Precision, SequencesOfAnyLengthAreAsInTorch) {
  const trine::Transformer made = network(Precision::fp32);
  for (const std::int64_t steps : {1, 3, 4, 17, 64, 65, 256, 257, 600}) {
    const Tensor x = inputs(2, steps);
    for (const bool causal : {false, true}) {
      const Tensor plain = made->forward(x, causal).detach();
      const torch::NoGradGuard no_grad;
      EXPECT_LE(largest_difference(made->forward(x, causal), plain), 1e-5) << steps << " steps, causal " << causal;
    }
  }
}

/// Long sequences, which after int8 layers are attended to in int8: whole tiles of keys, parts of them, one more.
TEST_P(EachPrecision, LongSequencesAreAsInTorchAndByThemselves) {
  const double bar = GetParam() == Precision::fp32 ? 1 - 1e-6 : GetParam() == Precision::bf16 ? 0.9999 : 0.999;
  const trine::Transformer made = network(GetParam());
  for (const std::int64_t steps : {127, 128, 130, 256, 257, 600}) {
    const Tensor x = inputs(3, steps);
    for (const bool causal : {false, true}) {
      const Tensor plain = made->forward(x, causal).detach();
      const torch::NoGradGuard no_grad;
      const Tensor found = made->forward(x, causal);
      EXPECT_GE(least_cosine(found, plain), bar) << steps << " steps, causal " << causal;
      EXPECT_TRUE(made->forward(x.slice(0, 1, 2), causal).equal(found.slice(0, 1, 2))) << steps << " steps";
      at::set_num_threads(2);
      const Tensor with_two = made->forward(x, causal);
      at::set_num_threads(1);
      EXPECT_TRUE(with_two.equal(found)) << steps << " steps";
    }
  }
}

/// What is not a number stays in its sequence.
TEST_P(EachPrecision, ASequenceDoesNotSpoilItsNeighbours) {
  const trine::Transformer made = network(GetParam());
  for (const std::int64_t steps : {20, 300}) {
    Tensor x = inputs(3, steps);
    const Tensor before = infer(made, x);
    x[1][steps / 2][7] = std::nan("");
    const Tensor found = infer(made, x);
    EXPECT_TRUE(found[0].equal(before[0]) && found[2].equal(before[2])) << steps << " steps";
  }
}

/// Numbers next to nothing would be subnormal, and what multiplies them takes many times as long.
TEST(Precision, ActivationsEndInZeroOrANormalNumber) {
  for (const auto activation : {trine::Activation::gelu, trine::Activation::gelu_tanh, trine::Activation::quick_gelu,
                                trine::Activation::relu, trine::Activation::silu}) {
    const trine::Transformer made = network(Precision::fp32, activation);
    const Tensor before = torch::cat({torch::linspace(-110, 5, 70), torch::zeros({80})});
    {
      const torch::NoGradGuard no_grad;
      for (const auto& parameter : made->named_parameters()) Tensor(parameter.value()).zero_();
      for (const auto& parameter : made->named_parameters()) {  // the first 70 numbers inside come out, block by block
        if (parameter.key() == "layers.0.fc1.bias") Tensor(parameter.value()).copy_(before);
        if (parameter.key() == "layers.0.fc2.weight") Tensor(parameter.value()).copy_(torch::eye(70, 150));
      }
    }
    const Tensor found = infer(made, torch::zeros({1, 2, 70})).flatten(0, 1)[0];
    const Tensor wanted = trine::activate(before.slice(0, 0, 70), activation);
    EXPECT_LE(largest_difference(found, wanted), 1e-6) << trine::to_string(activation);
    EXPECT_TRUE((found.eq(0) | found.abs().ge(std::numeric_limits<float>::min())).all().item<bool>())
        << trine::to_string(activation);
    EXPECT_TRUE(found.isfinite().all().item<bool>()) << trine::to_string(activation);
  }
}

TEST(Precision, NamesAreReadAndWritten) {
  for (const Precision each :
       {Precision::automatic, Precision::fp32, Precision::bf16, Precision::int8, Precision::fp16}) {
    EXPECT_EQ(trine::precision(trine::to_string(each)), each);
  }
  EXPECT_EQ(refusal<std::invalid_argument>([] { trine::precision("fp64"); }),
            "[LoadPrecision] precision is \"fp64\", wanted auto, fp32, bf16, int8 or fp16");
  for (const double accuracy : {-0.1, 1.1, std::nan("")}) {
    EXPECT_NE(refusal<std::invalid_argument>([&] { LoadPrecision(Precision::automatic, accuracy); }).find("accuracy"),
              std::string::npos);
  }
}

TEST(Precision, TheInnermostScopeHoldsAndEnds) {
  if (!trine::supports(Precision::int8)) GTEST_SKIP() << "this machine does not compute in int8";
  const Tensor x = inputs(4), exact = infer(network(Precision::fp32), x);
  const LoadPrecision outer(Precision::int8);
  EXPECT_TRUE(infer(network(Precision::fp32), x).equal(exact));
  trine::Transformer made(
      trine::TransformerConfig{
          .hidden_size = 70, .intermediate_size = 150, .num_hidden_layers = 3, .num_attention_heads = 2},
      kKeys);
  torch::manual_seed(3);
  trine::reset_parameters(*made);
  EXPECT_GT(largest_difference(infer(made, x), exact), 1e-4);
}

}  // namespace
