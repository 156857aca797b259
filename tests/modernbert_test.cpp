#include "trine/encoders/modernbert.h"

#include <stdexcept>

#include "text_testing.h"

namespace {

using namespace trine::testing;

TEST(ModernBert, HiddenStatesEqualTheReference) {
  expect_hidden_states<trine::ModernBert, trine::ModernBertConfig>("modernbert", "model.");
  expect_hidden_states<trine::ModernBert, trine::ModernBertConfig>("modernbert_other", "model.");
}

TEST(ModernBert, VectorsEqualTheReference) {
  expect_vectors("modernbert", "model.");
  expect_vectors("modernbert_other", "model.");
}

TEST(ModernBert, VectorsDoNotDependOnTheBatch) {
  for (const char* name : {"modernbert", "modernbert_other"}) {
    const TextDirectory directory(name);
    const auto encoder = trine::load_modernbert(directory.path());
    expect_no_batch_effect([&](const auto& texts) { return encoder->encode(texts); });
  }
}

TEST(ModernBert, PaddingBeyondTheWindowIsHarmless) {
  const torch::NoGradGuard no_grad;
  trine::ModernBert network(trine::ModernBertConfig::load(kTexts / "modernbert/config.json"));
  load_weights(*network, trine::Checkpoint::open(kTexts / "modernbert"), "model.");
  const torch::Tensor ids = torch::arange(5, 35).unsqueeze(0);
  const torch::Tensor alone = network->forward(ids.slice(1, 0, 6), torch::ones({1, 6}, torch::kBool));
  const torch::Tensor padded = network->forward(ids, torch::arange(30).unsqueeze(0) < 6);
  EXPECT_TRUE(padded.isfinite().all().item<bool>());
  EXPECT_LT(largest_difference(padded.slice(1, 0, 6), alone), 1e-5);
}

TEST(ModernBert, BothFormsOfTheConfigAreRead) {
  const trine::ModernBertConfig newer = trine::ModernBertConfig::load(kTexts / "modernbert/config.json");
  EXPECT_EQ(newer.global_rope_theta, 160'000.0);
  EXPECT_EQ(newer.local_rope_theta, 10'000.0);
  const std::string full = "full_attention", sliding = "sliding_attention";
  EXPECT_EQ(newer.layer_types, (std::vector{full, sliding, sliding}));
  const trine::ModernBertConfig older = trine::ModernBertConfig::load(kTexts / "modernbert_other/config.json");
  EXPECT_EQ(older.global_rope_theta, 500.0);
  EXPECT_EQ(older.local_rope_theta, 100.0);
  EXPECT_EQ(older.layer_types, (std::vector{full, sliding, full}));
}

TEST(ModernBert, DescribesItself) {
  const TextDirectory directory("modernbert");
  const std::string all = described(trine::load_modernbert(directory.path())->describe());
  for (const char* part : {"model_type: modernbert", "max_tokens: 24", "gelu (exact)", "mean", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

TEST(ModernBert, WrongFilesAreRefused) {
  const auto load = [](const fs::path& path) { trine::load_encoder(path); };
  const Json yarn = {{"full_attention", {{"rope_type", "yarn"}, {"rope_theta", 10.0}}}};
  expect_refusals<TextDirectory>("modernbert_other", "config.json",
                                 {{"/global_attn_every_n_layers", 0},
                                  {"/layer_types", {"full_attention"}},
                                  {"/layer_types", {"full_attention", "chunked", "full_attention"}},
                                  {"/local_attention", 0},
                                  {"/global_rope_theta", -1},
                                  {"/hidden_activation", "mish"},
                                  {"/classifier_pooling", "max"},
                                  {"/classifier_activation", "mish"},
                                  {"/norm_eps", 1},
                                  {"/num_attention_heads", 32},
                                  {"/num_attention_heads", 5},
                                  {"/norm_bias", "yes"}},
                                 load);
  const TextDirectory directory("modernbert");
  directory.set("rope_parameters", yarn);
  const std::string sentence = refusal<std::runtime_error>([&] { trine::load_modernbert(directory.path()); });
  EXPECT_NE(sentence.find("\"rope_type\" is \"yarn\""), std::string::npos) << sentence;
  expect_weight_refusals<TextDirectory>("modernbert_other", "model.layers.1.attn_norm.weight", "", load);
  expect_weight_refusals<TextDirectory>("modernbert_other", "model.layers.1.mlp.Wi.bias", "", load);
}

}  // namespace
