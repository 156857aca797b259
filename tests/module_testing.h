#pragma once

#include "encoder_testing.h"

/// What the tests of learned modules share: the cases that tests/golden/make_fusion.py made with the reference.

namespace trine::testing {

using torch::Tensor;
using Tensors = std::map<std::string, Tensor>;

struct ReferenceCase {
  explicit ReferenceCase(const fs::path& file)
      : name(file.stem().string()),
        checkpoint(Checkpoint::open(file)),
        config(detail::parse_json("test", checkpoint.metadata().at("config"), name)) {}

  bool has(const std::string& key) const { return checkpoint.contains(key); }
  /// The tensor, or an undefined one where there is none.
  Tensor at(const std::string& key) const { return has(key) ? load_tensor(checkpoint, key).clone() : Tensor(); }
  /// All tensors below a prefix, by the rest of their names.
  Tensors below(const std::string& prefix) const {
    Tensors found;
    for (const std::string& key : checkpoint.names()) {
      if (key.starts_with(prefix)) found[key.substr(prefix.size())] = at(key);
    }
    return found;
  }

  std::string name;
  Checkpoint checkpoint;
  detail::Json config;
};

/// The cases of a module of the reference; its gradients are the cases "gradient-MODULE".
inline std::vector<ReferenceCase> reference_cases(const std::string& module) {
  std::vector<ReferenceCase> cases;
  for (const auto& file : fs::directory_iterator(fs::path(TRINE_TEST_DATA) / "golden/fusion")) {
    if (file.path().stem().string().starts_with(module)) cases.emplace_back(file.path());
  }
  EXPECT_FALSE(cases.empty()) << module;
  return cases;
}

/// Within `tolerance` of the largest magnitude wanted, at least 1.
inline void expect_close(const Tensor& found, const Tensor& wanted, double tolerance = 1e-5) {
  ASSERT_TRUE(found.defined() && wanted.defined());
  const double scale = wanted.numel() == 0 ? 1.0 : std::max(1.0, wanted.abs().max().item<double>());
  EXPECT_LE(largest_difference(found.detach(), wanted), tolerance * scale);
}

/// A module with the weights of a case, which must have the module's very keys.
inline void take_weights(torch::nn::Module& module, const ReferenceCase& wanted) {
  std::vector<std::string> keys, found;
  for (const auto& [key, tensor] : wanted.below("weight.")) keys.push_back(key);
  for (const auto& [key, tensor] : state_dict(module)) found.push_back(key);
  EXPECT_EQ(found, keys);
  copy_weights(module, wanted.checkpoint, "weight.");
  module.eval();
}

/// Runs a gradient case: `run` makes outputs by name of the inputs by name.
template <typename Run>
void expect_gradients(torch::nn::Module* module, const ReferenceCase& wanted, const Run& run) {
  Tensors inputs = wanted.below("in.");
  for (auto& [name, tensor] : inputs) {
    if (tensor.is_floating_point()) tensor.requires_grad_();
  }
  Tensor sum = torch::zeros({});
  for (const auto& [name, output] : run(inputs)) {
    expect_close(output, wanted.at("out." + name));
    sum = sum + (output * wanted.at("probe." + name)).sum();
  }
  sum.backward();
  for (const auto& [name, gradient] : wanted.below("grad.in.")) {
    SCOPED_TRACE(name);
    expect_close(inputs.at(name).grad(), gradient, 1e-4);
  }
  if (module == nullptr) return;
  for (const auto& [name, tensor] : state_dict(*module)) {
    SCOPED_TRACE(name);
    if (wanted.has("grad.weight." + name)) expect_close(tensor.grad(), wanted.at("grad.weight." + name), 1e-4);
  }
}

/// Central differences in double of a few entries of each tensor against autograd. `loss` takes nothing.
template <typename Loss>
void expect_finite_differences(const Tensors& tensors, const Loss& loss) {
  constexpr double kStep = 1e-6;
  for (const auto& [name, tensor] : tensors) tensor.mutable_grad() = Tensor();
  loss().backward();
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    const Tensor gradient = tensor.grad().defined() ? tensor.grad().flatten() : torch::zeros_like(tensor).flatten();
    const torch::NoGradGuard no_grad;
    const Tensor values = tensor.detach().view(-1);  // the same memory
    for (std::int64_t i = 0; i < values.numel(); i += std::max<std::int64_t>(1, values.numel() / 5)) {
      const double before = values[i].item<double>();
      values[i] = before + kStep;
      const double above = loss().template item<double>();
      values[i] = before - kStep;
      const double below = loss().template item<double>();
      values[i] = before;
      EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2 * kStep), 1e-5) << i;
    }
  }
}

}  // namespace trine::testing
