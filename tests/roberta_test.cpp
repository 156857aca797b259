#include "trine/encoders/roberta.h"

#include <stdexcept>

#include "text_testing.h"

namespace {

using namespace trine::testing;

TEST(Roberta, HiddenStatesEqualTheReference) {
  expect_hidden_states<trine::Roberta, trine::RobertaConfig>("roberta", "roberta.");
  expect_hidden_states<trine::Roberta, trine::RobertaConfig>("xlm-roberta", "roberta.");
}

TEST(Roberta, VectorsEqualTheReference) {
  expect_vectors("roberta", "roberta.");
  expect_vectors("xlm-roberta", "roberta.");
}

TEST(Roberta, VectorsDoNotDependOnTheBatch) {
  for (const char* name : {"roberta", "xlm-roberta"}) {
    const TextDirectory directory(name);
    const auto encoder = trine::load_roberta(directory.path());
    expect_no_batch_effect([&](const auto& texts) { return encoder->encode(texts); });
  }
}

TEST(Roberta, PositionsEndBeforeThoseOfTheTable) {
  const TextDirectory directory("roberta");
  directory.change("sentence_bert_config.json", [](Json& json) { json["max_seq_length"] = 40; });
  const auto encoder = trine::load_roberta(directory.path());
  EXPECT_EQ(encoder->max_tokens(), 38);
  EXPECT_EQ(encoder->encode({std::string(200, '!')}).size(0), 1);
  trine::Roberta network(trine::RobertaConfig::load(directory / "config.json"));
  const torch::Tensor ids = torch::full({1, 39}, 5, torch::kInt64);
  const std::string sentence = refusal<std::invalid_argument>([&] {
    network->forward(ids, torch::ones({1, 39}, torch::kBool));
  });
  EXPECT_NE(sentence.find("39 tokens, at most 38"), std::string::npos) << sentence;
}

TEST(Roberta, DescribesItself) {
  const TextDirectory directory("xlm-roberta");
  const std::string all = described(trine::load_roberta(directory.path())->describe());
  for (const char* part : {"model_type: xlm-roberta", "max_tokens: 24", "tanh approximation", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

TEST(Roberta, WrongFilesAreRefused) {
  const auto load = [](const fs::path& path) { trine::load_encoder(path); };
  expect_refusals<TextDirectory>("roberta", "config.json",
                                 {{"/pad_token_id", -1},
                                  {"/pad_token_id", 37},
                                  {"/pad_token_id", 1.5},
                                  {"/hidden_act", "mish"},
                                  {"/hidden_size", nullptr},
                                  {"/num_attention_heads", 5},
                                  {"/max_position_embeddings", 2},
                                  {"/layer_norm_eps", 0},
                                  {"/is_decoder", true}},
                                 load);
  expect_weight_refusals<TextDirectory>("roberta", "roberta.encoder.layer.0.output.dense.weight", "", load);
}

}  // namespace
