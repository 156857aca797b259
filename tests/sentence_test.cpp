#include <set>
#include <stdexcept>

#include "text_testing.h"
#include "trine/embedder.h"

/// What directories of sentence-transformers say beside their network: modules, settings, prompts.

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Embedder;
using trine::EmbedOptions;
using trine::load_encoder;

/// The directory of a case: `bert` with the files that the case has of its own.
class CaseDirectory : public TextDirectory {
 public:
  explicit CaseDirectory(const std::string& name)
      : TextDirectory("bert"), expected(kTexts / "sentence" / name / "expected.safetensors") {
    fs::copy(kTexts / "sentence" / name, path(), fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    const Json removed = expected.metadata("removed");
    for (const Json& file : removed) fs::remove(path() / file.get<std::string>());
  }

  EmbedOptions arguments() const {
    const Json given = expected.metadata("arguments");
    EmbedOptions options;
    options.long_input = trine::LongInput::truncate;  // as the reference does
    if (given.contains("prompt")) options.prompt = given.at("prompt").get<std::string>();
    if (given.contains("prompt_name")) options.prompt_name = given.at("prompt_name").get<std::string>();
    return options;
  }

  Expected expected;
};

std::string load_refusal(const std::string& name, const std::function<void(const Directory&)>& change) {
  const CaseDirectory directory(name);
  change(directory);
  return refusal<std::runtime_error>([&] { load_encoder(directory.path()); });
}

std::string config_refusal(const std::string& name, const std::string& file, const std::string& key,
                           const Json& value) {
  return load_refusal(name, [&](const Directory& d) { d.change(file, [&](Json& json) { json[key] = value; }); });
}

TEST(Sentence, VectorsEqualTheReference) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(kTexts / "sentence")) names.insert(entry.path().filename());
  EXPECT_EQ(names.size(), 20);
  for (const std::string& name : names) {
    const CaseDirectory directory(name);
    const Tensor wanted = directory.expected.at("vectors");
    const Embedder model = Embedder::load(directory.path());
    const Tensor vectors = model.embed_texts(directory.expected.texts, directory.arguments());
    EXPECT_EQ(vectors.size(1), wanted.size(1)) << name;
    EXPECT_GT(smallest_cosine(vectors, wanted), 0.99999) << name;
    EXPECT_LT(largest_difference(vectors, trine::normalise(wanted)), 1e-4) << name;
  }
}

TEST(Sentence, EncodersGiveVectorsOfTheReferencesLength) {
  for (const char* name : {"max", "mean_sqrt_len_tokens", "weightedmean", "several_flags", "residual", "normed"}) {
    const CaseDirectory directory(name);
    const Tensor vectors = load_encoder(directory.path()).text->encode(directory.expected.texts);
    EXPECT_LT(relative_difference(vectors, directory.expected.at("vectors")), 1e-4) << name;
  }
}

TEST(Sentence, VectorsDoNotDependOnTheBatch) {
  for (const char* name : {"left_out_named", "projected", "several_flags"}) {
    const CaseDirectory directory(name);
    const Embedder model = Embedder::load(directory.path());
    expect_no_batch_effect([&](const auto& texts) { return model.embed_texts(texts, directory.arguments()); });
  }
}

TEST(Sentence, PromptsAreNamedGivenOrTheDefault) {
  const CaseDirectory directory("default_prompt");
  const Embedder model = Embedder::load(directory.path());
  const auto embed = [&](const EmbedOptions& options) { return model.embed_texts({"red"}, options); };
  EXPECT_EQ(largest_difference(embed({}), embed({.prompt_name = "passage"})), 0);
  EXPECT_EQ(largest_difference(embed({}), embed({.prompt = "the text is "})), 0);
  EXPECT_EQ(largest_difference(embed({.prompt_name = "query", .prompt = ""}), embed({.prompt_name = "document"})), 0);
  EXPECT_GT(largest_difference(embed({}), embed({.prompt = ""})), 1e-2);
  std::vector<trine::Coverage> coverage;
  model.embed_texts({"red"}, {.coverage = &coverage});
  EXPECT_EQ(coverage[0].total, 9);
  const std::string unknown = refusal<std::invalid_argument>([&] { embed({.prompt_name = "title"}); });
  EXPECT_NE(unknown.find("\"title\", it has document, passage, query"), std::string::npos) << unknown;
}

TEST(Sentence, VectorsAreCutToTheWantedLength) {
  const CaseDirectory directory("truncated");
  const Embedder model = Embedder::load(directory.path());
  EXPECT_EQ(model.dim(), 7);
  const Tensor three =
      model.embed_texts(directory.expected.texts, {.long_input = trine::LongInput::truncate, .truncate_dim = 3});
  const Tensor wanted = trine::normalise(directory.expected.at("vectors").slice(1, 0, 3));
  EXPECT_LT(largest_difference(three, wanted), 1e-4);
  for (const std::int64_t dim : {-1, 8}) {
    const std::string sentence =
        refusal<std::invalid_argument>([&] { model.embed_texts({"red"}, {.truncate_dim = dim}); });
    EXPECT_NE(sentence.find("truncate_dim"), std::string::npos) << sentence;
  }
}

TEST(Sentence, TheTokenizersLimitHoldsWithoutAnother) {
  const TextDirectory directory("bert");
  directory.write("sentence_bert_config.json", "{}");
  EXPECT_EQ(load_encoder(directory.path()).text->max_tokens(), 24);
  directory.change("tokenizer_config.json", [](Json& json) { json["model_max_length"] = 1e30; });
  EXPECT_EQ(load_encoder(directory.path()).text->max_tokens(), 40);
  directory.change("tokenizer_config.json", [](Json& json) { json["model_max_length"] = 2; });
  const std::string sentence = refusal<std::runtime_error>([&] { load_encoder(directory.path()); });
  EXPECT_NE(sentence.find("model_max_length"), std::string::npos) << sentence;
}

TEST(Sentence, DescribesItself) {
  const std::string prompts = described(load_encoder(CaseDirectory("left_out_default").path()).text->describe());
  for (const char* part : {"the first token; maximum", "without the prompt's tokens", "passage \"the text is \"",
                           "query \"search for the red one: \"; by default passage"}) {
    EXPECT_NE(prompts.find(part), std::string::npos) << prompts;
  }
  const std::string projected = described(load_encoder(CaseDirectory("projected").path()).text->describe());
  EXPECT_NE(projected.find("linear to 48, activation tanh; linear to 16, activation gelu (exact)"), std::string::npos)
      << projected;
  EXPECT_NE(described(load_encoder(CaseDirectory("truncated").path()).text->describe()).find("the first 7 values"),
            std::string::npos);
}

TEST(Sentence, WrongModulesAreRefused) {
  const std::vector<std::tuple<std::string, std::string, std::string, Json>> cases = {
      {"cls", "1_Pooling/config.json", "pooling_mode", "median"},
      {"cls", "1_Pooling/config.json", "pooling_mode", Json::array()},
      {"cls", "1_Pooling/config.json", "pooling_mode", {"cls", 3}},
      {"cls", "1_Pooling/config.json", "pooling_mode", {"cls", "cls", "cls", "cls", "cls", "cls", "cls"}},
      {"cls", "1_Pooling/config.json", "embedding_dimension", 31},
      {"cls", "1_Pooling/config.json", "include_prompt", "no"},
      {"projected", "2_Dense/config.json", "in_features", 63},
      {"projected", "2_Dense/config.json", "out_features", 0},
      {"projected", "2_Dense/config.json", "out_features", 1 << 20},
      {"projected", "2_Dense/config.json", "activation_function", "torch.nn.modules.activation.Softmax"},
      {"projected", "2_Dense/config.json", "activation_function", "elsewhere.Tanh"},
      {"projected", "2_Dense/config.json", "module_input_name", "token_embeddings"},
      {"projected", "5_Normalize/config.json", "module_output_name", "other"},
      {"normed", "2_LayerNorm/config.json", "dimension", 31},
      {"newest", "sentence_bert_config.json", "transformer_task", "fill-mask"},
      {"newest", "sentence_bert_config.json", "module_output_name", "sentence_embedding"},
      {"newest", "sentence_bert_config.json", "query_length", 32},
      {"newest", "config_sentence_transformers.json", "model_type", "CrossEncoder"},
      {"default_prompt", "config_sentence_transformers.json", "default_prompt_name", "title"},
      {"default_prompt", "config_sentence_transformers.json", "prompts", {"query: "}},
      {"truncated", "config_sentence_transformers.json", "truncate_dim", 0}};
  for (const auto& [name, file, key, value] : cases) {
    const std::string sentence = config_refusal(name, file, key, value);
    EXPECT_NE(sentence.find(key), std::string::npos) << value << ": " << sentence;
  }
  const auto type = [](std::size_t module, const char* name) {
    return load_refusal("projected", [&](const Directory& d) {
      d.change("modules.json", [&](Json& json) { json[module]["type"] = name; });
    });
  };
  for (const char* name : {"sentence_transformers.models.CNN", "sentence_transformers.models.Pooling"}) {
    EXPECT_NE(type(2, name).find(name), std::string::npos) << type(2, name);
  }
  EXPECT_NE(type(1, "Dense").find("a module of \"type\" \"Dense\""), std::string::npos) << type(1, "Dense");
  const std::string none =
      load_refusal("cls", [](const Directory& d) { d.change("modules.json", [](Json& json) { json.erase(1); }); });
  EXPECT_NE(none.find("no Pooling"), std::string::npos) << none;
  for (const char* folder : {"../2_Dense", "..", ".", "2_Dense/../2_Dense"}) {
    const std::string outside = load_refusal("projected", [&](const Directory& d) {
      d.change("modules.json", [&](Json& json) { json[2]["path"] = folder; });
    });
    EXPECT_NE(outside.find("path"), std::string::npos) << outside;
  }
}

TEST(Sentence, WrongWeightsOfAModuleAreRefused) {
  const std::string shape = config_refusal("projected", "2_Dense/config.json", "out_features", 47);
  EXPECT_NE(shape.find("linear.weight of shape [48, 64], wanted [47, 64]"), std::string::npos) << shape;
  const std::string missing =
      load_refusal("projected", [](const Directory& d) { fs::remove(d / "2_Dense/model.safetensors"); });
  EXPECT_NE(missing.find("2_Dense"), std::string::npos) << missing;
  const std::string residual = config_refusal("projected", "2_Dense/config.json", "use_residual", true);
  EXPECT_NE(residual.find("residual.weight"), std::string::npos) << residual;
}

}  // namespace
