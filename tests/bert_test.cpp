#include "trine/encoders/bert.h"

#include <stdexcept>
#include <thread>

#include "text_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::load_bert;

const fs::path kBert = kGolden / "bert";

std::string load_refusal(const std::function<void(const Directory&)>& change) {
  const Directory directory(kBert);
  change(directory);
  return refusal<std::runtime_error>([&] { load_bert(directory.path()); });
}

TEST(Bert, VectorsEqualTheReference) {
  const Expected expected(kBert / "expected.safetensors");
  const auto encoder = load_bert(kBert);
  EXPECT_EQ(encoder->dim(), 32);
  EXPECT_EQ(encoder->max_tokens(), 24);
  EXPECT_LT(largest_difference(encoder->encode(expected.texts), expected.at("mean")), 1e-5);
}

TEST(Bert, PoolingIsWhatTheDirectorySays) {
  const Expected expected(kBert / "expected.safetensors");
  for (const std::string name : {"mean", "cls", "max"}) {
    const Directory directory(kBert);
    directory.change("1_Pooling/config.json", [&](Json& json) {
      json["pooling_mode_mean_tokens"] = false;
      json[name == "cls" ? "pooling_mode_cls_token" : "pooling_mode_" + name + "_tokens"] = true;
    });
    const auto encoder = load_bert(directory.path());
    EXPECT_LT(largest_difference(encoder->encode(expected.texts), expected.at(name)), 1e-5) << name;
  }
}

TEST(Bert, HiddenStatesEqualTheReference) { expect_hidden_states<trine::Bert, trine::BertConfig>("bert", "bert."); }

TEST(Bert, PrefixIsAcceptedAndLeftOut) { expect_vectors("bert", "bert."); }

TEST(Bert, ActivationIsWhatTheConfigSays) {
  const Expected expected(kBert / "expected.safetensors");
  const Directory directory(kBert);
  directory.change("config.json", [](Json& json) { json["hidden_act"] = "relu"; });
  const Tensor vectors = load_bert(directory.path())->encode(expected.texts);
  EXPECT_LT(largest_difference(vectors, expected.at("mean_relu")), 1e-5);
  EXPECT_GT(largest_difference(vectors, expected.at("mean")), 1e-2);
}

TEST(Bert, BareDirectoryTakesTheMeanAndAllPositions) {
  const Directory directory(kBert);
  fs::remove(directory / "modules.json");
  fs::remove(directory / "sentence_bert_config.json");
  const auto encoder = load_bert(directory.path());
  EXPECT_EQ(encoder->max_tokens(), 40);
  const Expected expected(kBert / "expected.safetensors");
  EXPECT_LT(largest_difference(encoder->encode({expected.texts[0]})[0], expected.at("mean")[0]), 1e-5);
}

TEST(Bert, VectorsDoNotDependOnTheBatch) {
  const auto encoder = load_bert(kBert);
  expect_no_batch_effect([&](const auto& texts) { return encoder->encode(texts); });
}

TEST(Bert, CallsFromSeveralThreadsAreSafe) {
  const auto encoder = load_bert(kBert);
  const std::vector<std::string> texts = many_texts(64);
  const Tensor one = encoder->encode(texts);
  std::vector<Tensor> found(4);
  std::vector<std::thread> threads;
  for (Tensor& tensor : found) threads.emplace_back([&] { tensor = encoder->encode(texts); });
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& tensor : found) EXPECT_LT(largest_difference(tensor, one), 1e-5);
}

TEST(Bert, EdgesOfTheInput) {
  const auto encoder = load_bert(kBert);
  EXPECT_EQ(encoder->encode({}).sizes(), (std::vector<std::int64_t>{0, 32}));
  EXPECT_EQ(encoder->count_tokens(""), 2);
  const std::string words =
      "red red red red red red red red red red red red red red red red red red red red red red red";
  EXPECT_EQ(encoder->count_tokens(words), 25);
  EXPECT_EQ(largest_difference(encoder->encode({words}), encoder->encode({words + " lamp lamp"})), 0);
  EXPECT_FALSE(encoder->encode({"red"}).requires_grad());
  EXPECT_NE(refusal<std::invalid_argument>([&] { encoder->encode({"red", "\xff"}); }), "accepted");
}

TEST(Bert, DescribesItself) {
  const std::string all = described(load_bert(kBert)->describe());
  for (const char* part : {"model_type: bert", "24", "gelu", "mean", "parameters: "})
    EXPECT_NE(all.find(part), std::string::npos) << part;
}

TEST(Bert, WrongConfigIsRefusedByKey) {
  const auto sentence = [](const char* key, const Json& value) {
    return load_refusal([&](const Directory& d) {
      d.change("config.json", [&](Json& json) {
        if (value.is_null())
          json.erase(key);
        else
          json[key] = value;
      });
    });
  };
  const std::vector<std::pair<const char*, Json>> cases = {{"vocab_size", nullptr},
                                                           {"hidden_size", nullptr},
                                                           {"hidden_size", 0},
                                                           {"hidden_size", -32},
                                                           {"hidden_size", 32.5},
                                                           {"hidden_size", "32"},
                                                           {"hidden_size", 16385},
                                                           {"num_hidden_layers", 1000},
                                                           {"num_attention_heads", 5},
                                                           {"intermediate_size", 1 << 20},
                                                           {"layer_norm_eps", 0},
                                                           {"layer_norm_eps", "x"},
                                                           {"hidden_act", "mish"},
                                                           {"hidden_act", 3},
                                                           {"position_embedding_type", "relative_key"},
                                                           {"is_decoder", true},
                                                           {"max_position_embeddings", 0},
                                                           {"type_vocab_size", 0},
                                                           {"vocab_size", 3},
                                                           {"max_position_embeddings", 20},
                                                           {"vocab_size", std::uint64_t{1} << 63}};
  for (const auto& [key, value] : cases) {
    EXPECT_NE(sentence(key, value).find(key), std::string::npos) << key << " " << value << ": " << sentence(key, value);
  }
  const std::string vast = load_refusal([](const Directory& d) {
    d.change("config.json", [](Json& json) {
      json["hidden_size"] = 16384;
      json["num_hidden_layers"] = 256;
      json["intermediate_size"] = 65536;
    });
    d.change("1_Pooling/config.json", [](Json& json) { json["word_embedding_dimension"] = 16384; });
  });
  EXPECT_NE(vast.find("weights"), std::string::npos) << vast;
}

TEST(Bert, WrongWeightsAreRefusedByName) {
  const std::string key = "encoder.layer.1.attention.self.query.weight";
  const std::string missing =
      load_refusal([&](const Directory& d) { d.change_weights([&](auto& tensors) { tensors.erase(key); }); });
  EXPECT_NE(missing.find(key), std::string::npos) << missing;
  const std::string shape = load_refusal([&](const Directory& d) {
    d.change_weights([&](auto& tensors) { tensors[key] = torch::ones({32, 31}); });
  });
  EXPECT_NE(shape.find(key + " of shape [32, 31], wanted [32, 32]"), std::string::npos) << shape;
}

TEST(Bert, WrongModulesAreRefusedByKey) {
  const std::string width = load_refusal([](const Directory& d) {
    d.change("1_Pooling/config.json", [](Json& json) { json["word_embedding_dimension"] = 64; });
  });
  EXPECT_NE(width.find("word_embedding_dimension"), std::string::npos) << width;
  for (const std::int64_t length : {2, 41}) {
    const std::string longest = load_refusal([&](const Directory& d) {
      d.change("sentence_bert_config.json", [&](Json& json) { json["max_seq_length"] = length; });
    });
    EXPECT_NE(longest.find("max_seq_length"), std::string::npos) << longest;
  }
}

TEST(Bert, LowerCaseIsTheTokenizersAffair) {
  const auto lower = [](const Directory& d) {
    d.change("sentence_bert_config.json", [](Json& json) { json["do_lower_case"] = true; });
  };
  EXPECT_EQ(load_refusal(lower), "accepted");
  const std::string cased = load_refusal([&](const Directory& d) {
    lower(d);
    d.change("tokenizer.json", [](Json& json) { json["normalizer"]["lowercase"] = false; });
  });
  EXPECT_NE(cased.find("do_lower_case"), std::string::npos) << cased;
}

TEST(Bert, RealSentencesEqualTheReference) {
  const fs::path directory = cached("all-MiniLM-L6-v2");
  TRINE_NEEDS_CACHED(directory);
  const Expected expected(kGolden / "real_all-MiniLM-L6-v2.safetensors");
  const auto encoder = load_bert(directory);
  EXPECT_EQ(encoder->max_tokens(), 256);
  const Tensor vectors = encoder->encode(expected.texts);
  const Tensor wanted = expected.at("mean");
  RecordProperty("largest_difference", std::to_string(largest_difference(vectors, wanted)));
  EXPECT_GT(smallest_cosine(vectors, wanted), 0.99999);
  EXPECT_LT(relative_difference(vectors, wanted), 1e-4);
  for (std::size_t i = 0; i < expected.texts.size(); ++i) {
    EXPECT_LT(largest_difference(encoder->encode({expected.texts[i]})[0], vectors[static_cast<std::int64_t>(i)]), 1e-5);
  }
  const auto [one, two] = with_one_and_two_threads([&] { return encoder->encode(expected.texts); });
  EXPECT_LT(largest_difference(one, two), 1e-5);
}

}  // namespace
