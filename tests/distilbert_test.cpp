#include "trine/encoders/distilbert.h"

#include <stdexcept>

#include "text_testing.h"

namespace {

using namespace trine::testing;

TEST(DistilBert, HiddenStatesEqualTheReference) {
  expect_hidden_states<trine::DistilBert, trine::DistilBertConfig>("distilbert", "distilbert.");
}

TEST(DistilBert, VectorsEqualTheReference) { expect_vectors("distilbert", "distilbert."); }

TEST(DistilBert, VectorsDoNotDependOnTheBatch) {
  const TextDirectory directory("distilbert");
  const auto encoder = trine::load_distilbert(directory.path());
  expect_no_batch_effect([&](const auto& texts) { return encoder->encode(texts); });
}

TEST(DistilBert, DescribesItself) {
  const TextDirectory directory("distilbert");
  const std::string all = described(trine::load_distilbert(directory.path())->describe());
  for (const char* part : {"model_type: distilbert", "max_tokens: 24", "relu", "mean", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

TEST(DistilBert, WrongFilesAreRefused) {
  const auto load = [](const fs::path& path) { trine::load_encoder(path); };
  expect_refusals<TextDirectory>("distilbert", "config.json",
                                 {{"/dim", nullptr},
                                  {"/dim", 31},
                                  {"/n_heads", 5},
                                  {"/n_layers", 0},
                                  {"/hidden_dim", 1 << 20},
                                  {"/activation", "mish"},
                                  {"/activation", 3}},
                                 load);
  expect_weight_refusals<TextDirectory>("distilbert", "distilbert.transformer.layer.1.sa_layer_norm.weight", "", load);
}

}  // namespace
