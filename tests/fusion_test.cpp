#include "trine/fusion.h"

#include "module_testing.h"

namespace {

using namespace trine::testing;
using trine::Features;
using trine::Fused;
using trine::Fusion;
using trine::FusionOptions;
using trine::FusionType;
using trine::make_fusion;

constexpr FusionType kTypes[] = {FusionType::early, FusionType::late, FusionType::hybrid, FusionType::attention};
constexpr std::int64_t kDim = 16;

FusionType type_of(const std::string& module) {
  return module.starts_with("Early")    ? FusionType::early
         : module.starts_with("Late")   ? FusionType::late
         : module.starts_with("Hybrid") ? FusionType::hybrid
                                        : FusionType::attention;
}

Fusion fusion_of(const ReferenceCase& wanted) {
  const auto size = [&](const char* key) { return trine::detail::get_or<std::int64_t>("test", wanted.config, key, 1); };
  Fusion fusion = make_fusion(type_of(wanted.checkpoint.metadata().at("module")),
                              {.modalities = wanted.config.at("modalities").get<std::vector<std::string>>(),
                               .hidden_dim = size("hidden_dim"),
                               .num_heads = size("num_heads"),
                               .num_layers = size("num_layers"),
                               .num_self_layers = size("num_self_layers"),
                               .num_cross_layers = size("num_cross_layers"),
                               .ff_dim = size("ff_dim")});
  take_weights(*fusion, wanted);
  return fusion;
}

Features part(const Tensors& inputs, const std::string& prefix) {
  Features found;
  for (const auto& [name, tensor] : inputs) {
    if (name.starts_with(prefix)) found[name.substr(prefix.size())] = tensor;
  }
  return found;
}

FusionOptions small_options() {
  return {.modalities = {"image", "text"}, .hidden_dim = kDim, .num_heads = 4, .ff_dim = 24};
}

Tensor mask(std::initializer_list<std::initializer_list<int>> rows) {
  std::vector<Tensor> stacked;
  for (const auto& row : rows) stacked.push_back(torch::tensor(std::vector<std::int64_t>(row.begin(), row.end())));
  return torch::stack(stacked).to(torch::kBool);
}

/// Two modalities and three samples: with both, without text, without image.
struct Batch {
  Features features{{"image", torch::randn({3, 4, kDim})}, {"text", torch::randn({3, 5, kDim})}};
  Features masks{{"image", mask({{1, 1, 0, 1}, {1, 1, 1, 1}, {0, 0, 0, 0}})},
                 {"text", mask({{1, 1, 1, 0, 0}, {0, 0, 0, 0, 0}, {1, 0, 0, 0, 0}})}};
};

class FusionTest : public ::testing::Test {
 protected:
  FusionTest() { torch::manual_seed(0); }
};

TEST_F(FusionTest, CasesOfTheReference) {
  for (const char* module : {"EarlyFusion", "LateFusion", "HybridFusion", "AttentionFusion"}) {
    for (const ReferenceCase& wanted : reference_cases(module)) {
      SCOPED_TRACE(wanted.name);
      const torch::NoGradGuard no_grad;
      const Fused fused = fusion_of(wanted)->forward(wanted.below("in.features."), wanted.below("in.masks."));
      expect_close(fused.vector, wanted.at("out.fused"));
      const Tensors weights = wanted.below("out.weights.");
      EXPECT_EQ(fused.weights.size(), weights.size());
      for (const auto& [name, tensor] : weights) expect_close(fused.weights.at(name), tensor);
    }
  }
}

TEST_F(FusionTest, GradientsOfTheReference) {
  for (const char* module : {"EarlyFusion", "LateFusion", "HybridFusion", "AttentionFusion"}) {
    const ReferenceCase wanted = reference_cases(std::string("gradient-") + module).front();
    SCOPED_TRACE(wanted.name);
    Fusion fusion = fusion_of(wanted);
    expect_gradients(fusion.get(), wanted, [&](const Tensors& inputs) {
      const Fused fused = fusion->forward(part(inputs, "features."), part(inputs, "masks."));
      Tensors outputs{{"fused", fused.vector}};
      for (const auto& [name, tensor] : fused.weights) outputs["weights." + name] = tensor;
      return outputs;
    });
  }
}

TEST_F(FusionTest, GradientsAreFiniteDifferences) {
  for (const FusionType type : kTypes) {
    SCOPED_TRACE(trine::to_string(type));
    Fusion fusion = make_fusion(type, small_options());
    fusion->to(torch::kFloat64);
    fusion->eval();
    Batch batch;
    Tensors tensors = trine::state_dict(*fusion);
    for (auto& [name, x] : batch.features) tensors["in." + name] = x = x.to(torch::kFloat64).requires_grad_();
    const Tensor probe = torch::randn({3, kDim}, torch::kFloat64);
    expect_finite_differences(tensors, [&] {
      const Fused fused = fusion->forward(batch.features, batch.masks);
      return (fused.vector * probe).sum() + (fused.weights.at("image") * probe.select(1, 0)).sum();
    });
  }
}

TEST_F(FusionTest, WeightsSumToOneOverWhatASampleHas) {
  const torch::NoGradGuard no_grad;
  for (const FusionType type : kTypes) {
    SCOPED_TRACE(trine::to_string(type));
    Fusion fusion = make_fusion(type, small_options());
    const Batch batch;
    for (const bool training : {false, true}) {
      fusion->train(training);
      const Fused fused = fusion->forward(batch.features, batch.masks);
      EXPECT_TRUE(fused.vector.isfinite().all().item<bool>());
      const Tensor &image = fused.weights.at("image"), &text = fused.weights.at("text");
      expect_close(image + text, torch::ones({3}), 1e-6);
      EXPECT_EQ(text[1].item<float>(), 0);
      EXPECT_EQ(image[2].item<float>(), 0);
    }
  }
}

TEST_F(FusionTest, ExtremeGatesAndScoresStayNumbers) {
  const torch::NoGradGuard no_grad;
  const Batch batch;
  for (const FusionType type : {FusionType::late, FusionType::attention}) {
    Fusion fusion = make_fusion(type, small_options());
    fusion->eval();
    for (auto& [name, tensor] : trine::state_dict(*fusion)) {
      if (name.starts_with("gates.") && name.ends_with("bias")) Tensor(tensor).fill_(-1e3);
      if (name.starts_with("scores.")) Tensor(tensor).fill_(1e3);
    }
    const Fused fused = fusion->forward(batch.features, batch.masks);
    expect_close(fused.weights.at("image") + fused.weights.at("text"), torch::ones({3}), 1e-6);
  }
}

TEST_F(FusionTest, WhatPaddingHoldsDoesNotMatter) {
  const torch::NoGradGuard no_grad;
  for (const FusionType type : kTypes) {
    SCOPED_TRACE(trine::to_string(type));
    Fusion fusion = make_fusion(type, small_options());
    fusion->eval();
    Batch batch;
    const Fused before = fusion->forward(batch.features, batch.masks);
    for (auto& [name, x] : batch.features) x = x.masked_fill(~batch.masks.at(name).unsqueeze(-1), NAN);
    const Tensor nothing = torch::full({3, 2, kDim}, INFINITY);
    batch.features["text"] = torch::cat({batch.features["text"], nothing}, 1);
    batch.masks["text"] = torch::cat({batch.masks["text"], torch::zeros({3, 2}, torch::kBool)}, 1);
    expect_close(fusion->forward(batch.features, batch.masks).vector, before.vector);
  }
}

TEST_F(FusionTest, AStepThatIsNotFiniteStaysInItsSample) {
  const torch::NoGradGuard no_grad;
  for (const FusionType type : kTypes) {
    SCOPED_TRACE(trine::to_string(type));
    Fusion fusion = make_fusion(type, small_options());
    fusion->eval();
    Batch batch;
    const Tensor wanted = fusion->forward(batch.features, batch.masks).vector;
    batch.features.at("image")[0][1][0] = NAN;
    const Tensor found = fusion->forward(batch.features, batch.masks).vector;
    EXPECT_FALSE(found[0].isfinite().all().item<bool>());
    expect_close(found.slice(0, 1), wanted.slice(0, 1));
  }
}

TEST_F(FusionTest, AModalityOfNobodyAndABatchOfNone) {
  const torch::NoGradGuard no_grad;
  const Tensor image = torch::randn({2, 4, kDim});
  for (const FusionType type : kTypes) {
    SCOPED_TRACE(trine::to_string(type));
    Fusion fusion = make_fusion(type, small_options());
    fusion->eval();
    const Fused alone = fusion->forward({{"image", image}}, {{"text", torch::zeros({2, 3}, torch::kBool)}});
    const Fused empty = fusion->forward({{"image", image}, {"text", torch::zeros({2, 0, kDim})}});
    expect_close(empty.vector, alone.vector);
    EXPECT_FALSE(alone.weights.contains("text"));
    EXPECT_EQ(empty.weights.at("text").abs().max().item<float>(), 0);
    const Fused none = fusion->forward({{"image", torch::zeros({0, 4, kDim})}, {"text", torch::zeros({0, 2, kDim})}});
    EXPECT_EQ(none.vector.sizes(), (std::vector<std::int64_t>{0, kDim}));
  }
}

TEST_F(FusionTest, DropoutIsForTrainingOnly) {
  Fusion fusion = make_fusion(FusionType::attention, small_options());
  const Batch batch;
  const auto run = [&] { return fusion->forward(batch.features, batch.masks).vector.detach(); };
  EXPECT_GT(largest_difference(run(), run()), 1e-4);
  fusion->eval();
  EXPECT_EQ(largest_difference(run(), run()), 0);
}

TEST_F(FusionTest, IsSavedAndLoaded) {
  const torch::NoGradGuard no_grad;
  const Batch batch;
  for (const FusionType type : kTypes) {
    SCOPED_TRACE(trine::to_string(type));
    const Directory directory;
    FusionOptions options = small_options();
    (type == FusionType::attention ? options.num_cross_layers : options.num_layers) = 2;
    Fusion fusion = make_fusion(type, options);
    fusion->eval();
    fusion->save(directory / "made/fusion");
    Fusion loaded = trine::FusionImpl::load(directory / "made/fusion");
    EXPECT_TRUE(loaded->is_training());
    loaded->eval();
    EXPECT_EQ(loaded->type(), type);
    EXPECT_EQ(largest_difference(loaded->forward(batch.features, batch.masks).vector,
                                 fusion->forward(batch.features, batch.masks).vector),
              0);
    for (auto& parameter : loaded->parameters()) parameter.add_(1);  // would fault on the mapped file
  }
}

TEST_F(FusionTest, DamagedFoldersAreRefused) {
  const Directory directory;
  const auto refused = [&] { return refusal<std::runtime_error>([&] { trine::FusionImpl::load(directory.path()); }); };
  EXPECT_NE(refused().find("config.json"), std::string::npos);
  make_fusion(FusionType::late, small_options())->save(directory.path());
  directory.change("config.json", [](Json& json) { json["num_heads"] = 2; });
  EXPECT_NE(refused().find("not saved together"), std::string::npos) << refused();
  directory.change("config.json", [](Json& json) { json["num_heads"] = 3; });
  EXPECT_NE(refused().find("hidden_dim 16 is not a multiple of num_heads 3"), std::string::npos) << refused();
  directory.change("config.json", [](Json& json) { json["hidden_dim"] = 60'000, json["ff_dim"] = 60'000; });
  EXPECT_NE(refused().find("weights"), std::string::npos) << refused();
  directory.change("config.json", [](Json& json) { json["model_type"] = "bert"; });
  EXPECT_NE(refused().find("\"bert\", wanted \"fusion\""), std::string::npos) << refused();
  make_fusion(FusionType::late, small_options())->save(directory.path());
  directory.change_weights([](auto& tensors) { tensors.erase("scores.text"); });
  EXPECT_NE(refused().find("scores.text"), std::string::npos) << refused();
}

TEST_F(FusionTest, WrongArgumentsAreSentences) {
  const auto refused = [](FusionType type, const std::function<void(FusionOptions&)>& change) {
    FusionOptions options = small_options();
    change(options);
    return refusal<std::invalid_argument>([&] { make_fusion(type, options); });
  };
  EXPECT_EQ(refused(FusionType::late, [](auto& o) { o.modalities.clear(); }),
            "[LateFusion] wanted the names of the modalities, got none");
  EXPECT_EQ(refused(FusionType::late,
                    [](auto& o) {
                      o.modalities = {"text", "text"};
                    }),
            "[LateFusion] the modality 'text' comes twice");
  EXPECT_NE(refused(FusionType::late, [](auto& o) { o.modalities = {"a.b"}; }).find("'a.b'"), std::string::npos);
  EXPECT_EQ(refused(FusionType::hybrid, [](auto& o) { o.num_heads = 5; }),
            "[HybridFusion] hidden_dim 16 is not a multiple of num_heads 5");
  EXPECT_NE(refused(FusionType::early, [](auto& o) { o.ff_dim = 0; }).find("ff_dim"), std::string::npos);
  EXPECT_NE(refused(FusionType::early, [](auto& o) { o.num_self_layers = 2; }).find("set by num_layers"),
            std::string::npos);
  EXPECT_NE(refused(FusionType::attention, [](auto& o) { o.num_layers = 2; }).find("set by num_self_layers"),
            std::string::npos);
  EXPECT_EQ(refusal<std::invalid_argument>([] { trine::fusion_type("middle"); }),
            "[Fusion] a type is early, late, hybrid or attention, not 'middle'");
  for (const FusionType type : kTypes) EXPECT_EQ(trine::fusion_type(trine::to_string(type)), type);
}

TEST_F(FusionTest, WrongInputsAreSentences) {
  Fusion fusion = make_fusion(FusionType::attention, small_options());
  const Batch batch;
  const auto refused = [&](const std::function<void(Features&, Features&)>& change) {
    Features features = batch.features, masks = batch.masks;
    change(features, masks);
    return refusal<std::invalid_argument>([&] { fusion->forward(features, masks); });
  };
  EXPECT_EQ(refused([](auto&, auto& masks) {
              masks["text"] = torch::zeros({3, 5}, torch::kBool);
            }),
            "[AttentionFusion] sample 2 has no modality");
  EXPECT_EQ(refused([](auto& features, auto&) { features.clear(); }),
            "[AttentionFusion] wanted features of at least one modality (image, text), got none");
  EXPECT_EQ(refused([](auto& features, auto&) {
              features["video"] = torch::ones({3, 1, kDim});
            }),
            "[AttentionFusion] there is no modality 'video': wanted image, text");
  EXPECT_NE(refused([](auto&, auto& masks) {
              masks["video"] = torch::ones({3, 1}, torch::kBool);
            }).find("'video'"),
            std::string::npos);
  EXPECT_EQ(refused([](auto& features, auto&) {
              features["image"] = torch::ones({3, 4, 8});
            }),
            "[AttentionFusion] the features of 'image' must be floats (B, T, 16); got Float [3, 4, 8]");
  EXPECT_EQ(refused([](auto& features, auto&) {
              features["text"] = torch::ones({2, 5, kDim});
            }),
            "[AttentionFusion] the features of 'text' must be floats (3, T, 16); got Float [2, 5, 16]");
  EXPECT_NE(refused([](auto& features, auto&) { features["image"] = Tensor(); }).find("no tensor"), std::string::npos);
  EXPECT_NE(refused([](auto& features, auto&) {
              features["image"] = torch::ones({3, 4, kDim}, torch::kInt64);
            }).find("Long [3, 4, 16]"),
            std::string::npos);
  EXPECT_EQ(refused([](auto&, auto& masks) {
              masks["text"] = torch::ones({3, 4}, torch::kBool);
            }),
            "[AttentionFusion] the mask of 'text' must be Bool [3, 5], true for what is there; got Bool [3, 4]");
  EXPECT_NE(refused([](auto&, auto& masks) {
              masks["text"] = torch::ones({3, 5});
            }).find("got Float [3, 5]"),
            std::string::npos);
}

// --- CrossModalAttention
// ----------------------------------------------------------------------------------------------

trine::CrossModalAttention attention_of(const ReferenceCase& wanted) {
  trine::CrossModalAttention attention(wanted.config.at("dim").get<std::int64_t>(),
                                       wanted.config.at("num_heads").get<std::int64_t>());
  take_weights(*attention, wanted);
  return attention;
}

TEST_F(FusionTest, CrossModalAttentionHasTheCasesAndGradientsOfTheReference) {
  for (const ReferenceCase& wanted : reference_cases("CrossModalAttention")) {
    SCOPED_TRACE(wanted.name);
    const auto attended =
        attention_of(wanted)->forward(wanted.at("in.query"), wanted.at("in.key"), {}, wanted.at("in.key_mask"));
    expect_close(attended.output, wanted.at("out.output"));
    expect_close(attended.weights, wanted.at("out.weights"));
  }
  const ReferenceCase wanted = reference_cases("gradient-CrossModalAttention").front();
  trine::CrossModalAttention attention = attention_of(wanted);
  expect_gradients(attention.get(), wanted, [&](const Tensors& inputs) {
    const auto attended =
        attention->forward(inputs.at("query"), inputs.at("key"), inputs.at("value"), inputs.at("key_mask"));
    return Tensors{{"output", attended.output}, {"weights", attended.weights}};
  });
}

TEST_F(FusionTest, CrossModalAttentionWithoutKeysIsZero) {
  trine::CrossModalAttention attention(kDim, 4);
  const Tensor query = torch::randn({2, 3, kDim});
  const auto attended =
      attention->forward(query, torch::full({2, 4, kDim}, NAN), {}, mask({{0, 0, 0, 0}, {0, 0, 0, 0}}));
  EXPECT_EQ(attended.output.abs().max().item<float>(), 0);
  EXPECT_EQ(attended.weights.abs().max().item<float>(), 0);
  const auto empty = attention->forward(query, torch::zeros({2, 0, kDim}));
  EXPECT_EQ(empty.output.abs().max().item<float>(), 0);
  EXPECT_EQ(empty.weights.sizes(), (std::vector<std::int64_t>{2, 4, 3, 0}));
}

TEST_F(FusionTest, CrossModalAttentionIsSavedAndRefuses) {
  const Directory directory;
  trine::CrossModalAttention attention(kDim, 4);
  attention->save(directory.path());
  trine::CrossModalAttention loaded = trine::CrossModalAttentionImpl::load(directory.path());
  const Tensor query = torch::randn({2, 3, kDim});
  EXPECT_EQ(largest_difference(loaded->forward(query, query).output, attention->forward(query, query).output), 0);
  EXPECT_EQ(refusal<std::invalid_argument>([] { trine::CrossModalAttention(16, 5); }),
            "[CrossModalAttention] dim 16 is not a multiple of num_heads 5");
  EXPECT_EQ(refusal<std::invalid_argument>([&] {
              attention->forward(query, torch::ones({3, 3, kDim}));
            }),
            "[CrossModalAttention] wanted a query (B, Tq, 16) and a key and value (B, Tk, 16); got Float [2, 3, 16], "
            "Float [3, 3, 16] and Float [3, 3, 16]");
  EXPECT_NE(refusal<std::invalid_argument>([&] {
              attention->forward(query, query, {}, mask({{1}, {1}}));
            }).find("key_mask must be Bool [2, 3]"),
            std::string::npos);
}

}  // namespace
