#include "trine/layers.h"

#include <cmath>
#include <stdexcept>

#include "encoder_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Checkpoint;

/// A module with what a checkpoint may hold: a matrix, a vector, buffers.
struct SmallImpl : torch::nn::Module {
  SmallImpl() {
    linear = register_module("linear", trine::Linear(3, 2));
    norm = register_module("norm", trine::LayerNorm(2));
    running_mean = register_buffer("running_mean", torch::empty({2}));
    running_var = register_buffer("running_var", torch::empty({2}));
  }
  trine::Linear linear{nullptr};
  trine::LayerNorm norm{nullptr};
  Tensor running_mean, running_var;
};
TORCH_MODULE(Small);

class LayersTest : public ::testing::Test {
 protected:
  LayersTest() { torch::manual_seed(0); }
  torch::NoGradGuard no_grad_;
};

TEST_F(LayersTest, LayersEqualTheOperators) {
  trine::Linear linear(5, 3), plain(5, 3, false);
  trine::LayerNorm norm(5, 1e-3);
  trine::Embedding embedding(7, 5);
  trine::Conv1d convolution(5, 4, 3, 2, 1);
  for (torch::nn::Module* m :
       std::initializer_list<torch::nn::Module*>{&*linear, &*plain, &*norm, &*embedding, &*convolution}) {
    trine::reset_parameters(*m);
  }
  norm->weight.uniform_();
  norm->bias.uniform_();
  const Tensor x = torch::randn({2, 6, 5});
  EXPECT_LT(largest_difference(linear->forward(x), x.matmul(linear->weight.t()) + linear->bias), 1e-6);
  EXPECT_LT(largest_difference(plain->forward(x), x.matmul(plain->weight.t())), 1e-6);
  EXPECT_EQ(plain->parameters().size(), 1u);
  const Tensor centred = x - x.mean(-1, true);
  const Tensor wanted = centred / (centred.square().mean(-1, true) + 1e-3).sqrt() * norm->weight + norm->bias;
  EXPECT_LT(largest_difference(norm->forward(x), wanted), 1e-5);
  const Tensor ids = torch::tensor({{0, 6}, {3, 3}});
  EXPECT_EQ(largest_difference(embedding->forward(ids)[1][0], embedding->weight[3]), 0);
  EXPECT_EQ(convolution->forward(x.transpose(1, 2)).sizes(), (std::vector<std::int64_t>{2, 4, 3}));
}

TEST_F(LayersTest, SelfAttentionIsTheSoftmaxOverRealSteps) {
  const Tensor q = torch::randn({2, 5, 8}), k = torch::randn({2, 5, 8}), v = torch::randn({2, 5, 8});
  const Tensor mask = torch::tensor({{1, 1, 1, 1, 1}, {1, 1, 0, 0, 0}}, torch::kInt64).to(torch::kBool);
  const auto explicitly = [&](const Tensor& allowed) {
    std::vector<Tensor> heads;
    for (std::int64_t h = 0; h < 2; ++h) {
      const auto part = [&](const Tensor& x) { return x.slice(2, h * 4, h * 4 + 4); };
      Tensor scores = part(q).matmul(part(k).transpose(1, 2)) / 2;
      if (allowed.defined()) scores = scores.masked_fill(~allowed.unsqueeze(1), -INFINITY);
      heads.push_back(scores.softmax(-1).matmul(part(v)));
    }
    return torch::cat(heads, 2);
  };
  EXPECT_LT(largest_difference(trine::self_attention(q, k, v, 2), explicitly({})), 1e-5);
  EXPECT_LT(largest_difference(trine::self_attention(q, k, v, 2, mask), explicitly(mask)), 1e-5);
}

TEST_F(LayersTest, AttentionPoolingSeesRealStepsOnly) {
  trine::AttentionPooling pooling(8, 2);
  trine::reset_parameters(*pooling);
  const Tensor x = torch::randn({1, 4, 8});
  const Tensor all = torch::ones({1, 4}, torch::kBool);
  const Tensor padded = torch::cat({x, torch::full({1, 3, 8}, 1e4)}, 1);
  const Tensor mask = torch::cat({all, torch::zeros({1, 3}, torch::kBool)}, 1);
  EXPECT_LT(largest_difference(pooling->forward(padded, mask), pooling->forward(x, all)), 1e-6);
  const Tensor weights = pooling->scores->forward(x).softmax(1);
  const Tensor values = pooling->values->forward(x);
  const Tensor second = (weights.select(2, 1).unsqueeze(-1) * values.slice(2, 4, 8)).sum(1);
  EXPECT_LT(largest_difference(pooling->forward(x, all).slice(1, 4, 8), second), 1e-6);
  EXPECT_NE(refusal<std::invalid_argument>([] { trine::AttentionPooling(8, 3); }).find("num_heads 3"),
            std::string::npos);
}

TEST_F(LayersTest, MaskedMeanAndNormalise) {
  const Tensor x = torch::randn({2, 3, 4});
  const Tensor mask = torch::tensor({{1, 1, 0}, {0, 0, 0}}, torch::kInt64).to(torch::kBool);
  const Tensor mean = trine::masked_mean(x, mask);
  EXPECT_LT(largest_difference(mean[0], x[0].slice(0, 0, 2).mean(0)), 1e-6);
  EXPECT_EQ(mean[1].abs().max().item<float>(), 0);
  EXPECT_LT(largest_difference(trine::normalise(x).norm(2, -1), torch::ones({2, 3})), 1e-6);
}

TEST_F(LayersTest, ResetStartsEveryTensor) {
  Small small;
  for (const auto& [name, tensor] : trine::state_dict(*small)) Tensor(tensor).fill_(NAN);
  trine::reset_parameters(*small);
  EXPECT_LE(small->linear->weight.abs().max().item<double>(), 1 / std::sqrt(3.0));
  EXPECT_LE(small->linear->bias.abs().max().item<double>(), 1 / std::sqrt(3.0));
  EXPECT_EQ(largest_difference(small->norm->weight, torch::ones({2})), 0);
  EXPECT_EQ(largest_difference(small->norm->bias, torch::zeros({2})), 0);
  EXPECT_EQ(largest_difference(small->running_mean, torch::zeros({2})), 0);
  EXPECT_EQ(largest_difference(small->running_var, torch::ones({2})), 0);
}

TEST_F(LayersTest, WeightsMakeTheRoundTrip) {
  const Directory directory;
  Small written, read;
  trine::reset_parameters(*written);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : trine::state_dict(*written)) tensors["part." + name] = tensor;
  tensors["stranger"] = torch::ones({5}, torch::kInt64);
  trine::save_tensors(directory / "model.safetensors", tensors, {{"by", "test"}});
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint.metadata().at("by"), "test");
  trine::load_weights(*read, checkpoint, "part.");
  for (const auto& [name, tensor] : trine::state_dict(*read)) {
    EXPECT_EQ(largest_difference(tensor, trine::state_dict(*written).at(name)), 0) << name;
  }
  EXPECT_EQ(trine::load_tensor(checkpoint, "stranger").scalar_type(), torch::kInt64);
}

TEST_F(LayersTest, HalfIsForMatricesOnly) {
  const Directory directory;
  const Tensor matrix = torch::randn({3, 4}), vector = torch::randn({4});
  trine::save_tensors(directory / "model.safetensors", {{"matrix", matrix.t()}, {"vector", vector}}, {}, /*half=*/true);
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  EXPECT_EQ(checkpoint.at("matrix").dtype, trine::DType::F16);
  EXPECT_EQ(checkpoint.at("vector").dtype, trine::DType::F32);
  EXPECT_EQ(
      largest_difference(trine::load_tensor(checkpoint, "matrix"), matrix.t().to(torch::kFloat16).to(torch::kFloat32)),
      0);
  EXPECT_EQ(largest_difference(trine::load_tensor(checkpoint, "vector"), vector), 0);
  EXPECT_NE(refusal<std::invalid_argument>([&] {
              trine::save_tensors(directory / "x", {{"a", torch::ones({1}, torch::kBool)}});
            }).find("Bool"),
            std::string::npos);
}

TEST_F(LayersTest, CopiedWeightsCanBeTrained) {
  const Directory directory;
  trine::save_tensors(directory / "model.safetensors",
                      {{"linear.weight", torch::ones({2, 3})}, {"other", torch::ones({9})}});
  Small small;
  trine::reset_parameters(*small);
  const Tensor bias = small->linear->bias.clone();
  {
    const Checkpoint checkpoint = Checkpoint::open(directory.path());
    trine::copy_weights(*small, checkpoint);
  }
  EXPECT_EQ(largest_difference(small->linear->weight, torch::ones({2, 3})), 0);
  EXPECT_EQ(largest_difference(small->linear->bias, bias), 0);
  small->linear->weight.add_(1);  // would fault on the mapped file
  EXPECT_TRUE(small->linear->weight.requires_grad());
}

TEST_F(LayersTest, RefusalsNameTheTensor) {
  const Directory directory;
  const auto sentence = [&](const std::map<std::string, Tensor>& changes) {
    Small small;
    trine::reset_parameters(*small);
    auto tensors = trine::state_dict(*small);
    for (const auto& [name, tensor] : changes) tensors[name] = tensor;
    if (changes.empty()) tensors.erase("norm.bias");
    trine::save_tensors(directory / "model.safetensors", tensors);
    return refusal<std::runtime_error>([&] { trine::load_weights(*small, Checkpoint::open(directory.path())); });
  };
  EXPECT_NE(sentence({}).find("norm.bias"), std::string::npos);
  const std::string shape = sentence({{"linear.weight", torch::ones({3, 2})}});
  EXPECT_NE(shape.find("linear.weight"), std::string::npos) << shape;
  EXPECT_NE(shape.find("[3, 2], wanted [2, 3]"), std::string::npos) << shape;
  const std::string type = sentence({{"linear.bias", torch::ones({2}, torch::kInt64)}});
  EXPECT_NE(type.find("linear.bias as Long, wanted Float"), std::string::npos) << type;
}

}  // namespace
