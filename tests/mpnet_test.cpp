#include "trine/encoders/mpnet.h"

#include <stdexcept>

#include "text_testing.h"

namespace {

using namespace trine::testing;

TEST(MPNet, HiddenStatesEqualTheReference) {
  expect_hidden_states<trine::MPNet, trine::MPNetConfig>("mpnet", "mpnet.");
}

TEST(MPNet, VectorsEqualTheReference) { expect_vectors("mpnet", "mpnet."); }

TEST(MPNet, VectorsDoNotDependOnTheBatch) {
  const TextDirectory directory("mpnet");
  const auto encoder = trine::load_mpnet(directory.path());
  expect_no_batch_effect([&](const auto& texts) { return encoder->encode(texts); });
}

TEST(MPNet, DistancesAreSeenFarBeyondTheExactOnes) {
  trine::MPNetConfig config = trine::MPNetConfig::load(kTexts / "mpnet/config.json");
  config.max_position_embeddings = 302;
  const torch::NoGradGuard no_grad;
  trine::MPNet network(config);
  trine::reset_parameters(*network);
  const torch::Tensor mask = torch::ones({1, 300}, torch::kBool);
  EXPECT_TRUE(network->forward(torch::arange(300).unsqueeze(0) % 90, mask).isfinite().all().item<bool>());
}

TEST(MPNet, DescribesItself) {
  const TextDirectory directory("mpnet");
  const std::string all = described(trine::load_mpnet(directory.path())->describe());
  for (const char* part : {"model_type: mpnet", "max_tokens: 24", "silu", "mean", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

TEST(MPNet, WrongFilesAreRefused) {
  const auto load = [](const fs::path& path) { trine::load_encoder(path); };
  expect_refusals<TextDirectory>("mpnet", "config.json",
                                 {{"/relative_attention_num_buckets", 31},
                                  {"/relative_attention_num_buckets", "32"},
                                  {"/max_position_embeddings", 4},
                                  {"/hidden_act", "mish"},
                                  {"/vocab_size", nullptr},
                                  {"/num_attention_heads", 3}},
                                 load);
  expect_weight_refusals<TextDirectory>("mpnet", "mpnet.encoder.relative_attention_bias.weight", "", load);
  expect_weight_refusals<TextDirectory>("mpnet", "mpnet.encoder.layer.1.attention.attn.o.weight", "", load);
}

}  // namespace
