#include "trine/encoders/classifier.h"

#include <stdexcept>

#include "text_testing.h"

namespace {

using namespace trine::testing;
using trine::Classifier;
using trine::ScoreFunction;

const std::map<std::string, ScoreFunction> kFamilies = {
    {"bert", ScoreFunction::sigmoid},         {"roberta", ScoreFunction::softmax},
    {"xlm-roberta", ScoreFunction::sigmoid},  {"mpnet", ScoreFunction::softmax},
    {"distilbert", ScoreFunction::softmax},   {"modernbert", ScoreFunction::softmax},
    {"modernbert_other", ScoreFunction::none}};

TEST(Classifier, ScoresEqualTheReference) {
  for (const auto& [name, function] : kFamilies) {
    const Expected expected(kTexts / name / "expected.safetensors");
    const TextDirectory directory(name);
    const Classifier model = Classifier::load(directory.path());
    EXPECT_EQ(model.function(), function) << name;
    EXPECT_LT(relative_difference(model.logits(expected.texts), expected.at("logits")), 1e-4) << name;
    EXPECT_LT(relative_difference(model.scores(expected.texts), expected.at("scores")), 1e-4) << name;
  }
}

TEST(Classifier, PredictsByLabel) {
  const Expected expected(kTexts / "roberta/expected.safetensors");
  const TextDirectory directory("roberta");
  const Classifier model = Classifier::load(directory.path());
  EXPECT_EQ(model.labels(), (std::vector<std::string>{"joy", "anger", "grief"}));
  EXPECT_EQ(model.max_tokens(), 24);
  EXPECT_EQ(model.count_tokens("the red"), 4);
  const auto found = model.predict(expected.texts);
  ASSERT_EQ(found.size(), expected.texts.size());
  EXPECT_NEAR(found[0].at("grief"), expected.at("scores")[0][2].item<float>(), 1e-4);
  EXPECT_NEAR(found[0].at("joy") + found[0].at("anger") + found[0].at("grief"), 1, 1e-5);
  EXPECT_TRUE(model.predict({}).empty());
  EXPECT_NE(refusal<std::invalid_argument>([&] { model.predict({"\xff"}); }), "accepted");
}

TEST(Classifier, ScoresDoNotDependOnTheBatch) {
  for (const auto& [name, function] : kFamilies) {
    const TextDirectory directory(name);
    const Classifier model = Classifier::load(directory.path());
    expect_no_batch_effect([&](const auto& texts) { return model.scores(texts); });
  }
}

TEST(Classifier, TheConfigDecidesTheFunctionAndTheLabels) {
  const auto load = [](const std::string& name, const std::vector<std::pair<std::string, Json>>& values) {
    const TextDirectory directory(name);
    for (const auto& [key, value] : values) directory.set(key, value);
    return Classifier::load(directory.path());
  };
  EXPECT_EQ(load("bert", {{"problem_type", nullptr}}).function(), ScoreFunction::softmax);
  EXPECT_EQ(load("bert", {{"problem_type", "regression"}}).function(), ScoreFunction::none);
  EXPECT_EQ(load("roberta", {{"problem_type", "multi_label_classification"}}).function(), ScoreFunction::sigmoid);
  EXPECT_EQ(load("xlm-roberta", {}).labels(), std::vector<std::string>{"LABEL_0"});
  EXPECT_EQ(load("modernbert_other", {}).labels(), (std::vector<std::string>{"LABEL_0", "LABEL_1"}));
  EXPECT_EQ(load("bert", {{"id2label", nullptr}, {"num_labels", 3}}).labels().back(), "LABEL_2");
  EXPECT_EQ(load("bert", {{"id2label", {{"0", "joy"}, {"1", "grief"}, {"2", "joy"}}}}).labels(),
            (std::vector<std::string>{"joy", "grief", "joy (2)"}));
}

TEST(Classifier, DescribesItself) {
  const TextDirectory directory("distilbert");
  const std::string all = described(Classifier::load(directory.path()).describe());
  for (const char* part : {"model_type: distilbert", "the first token, linear, relu, linear", "scores: softmax",
                           "labels: joy, anger, grief", "parameters: "}) {
    EXPECT_NE(all.find(part), std::string::npos) << all;
  }
}

TEST(Classifier, WrongFilesAreRefused) {
  const auto sentence = [](const std::string& name, const std::string& key, const Json& value) {
    const TextDirectory directory(name);
    directory.set(key, value);
    return refusal<std::runtime_error>([&] { Classifier::load(directory.path()); });
  };
  const std::vector<std::tuple<std::string, std::string, Json>> cases = {
      {"bert", "model_type", "gpt2"},
      {"bert", "model_type", nullptr},
      {"bert", "architectures", {"BertForTokenClassification"}},
      {"bert", "architectures", 3},
      {"bert", "problem_type", "ranking"},
      {"xlm-roberta", "problem_type", "single_label_classification"},
      {"bert", "id2label", {"joy", "anger", "grief"}},
      {"bert", "id2label", Json::object()},
      {"bert", "id2label", {{"0", "joy"}, {"2", "anger"}}},
      {"bert", "id2label", {{"0", "joy"}, {"x", "anger"}}},
      {"bert", "id2label", {{"0", "joy"}, {"1", "joy (2)"}, {"2", "joy"}}},
      {"bert", "id2label", {{"0", "joy"}, {"1", 2}, {"2", "grief"}}}};
  for (const auto& [name, key, value] : cases) {
    EXPECT_NE(sentence(name, key, value).find(key), std::string::npos) << value << ": " << sentence(name, key, value);
  }
  const std::string fewer = sentence("bert", "id2label", {{"0", "joy"}, {"1", "anger"}});
  EXPECT_NE(fewer.find("classifier.weight of shape [3, 32], wanted [2, 32]"), std::string::npos) << fewer;
  const TextDirectory headless("bert");
  headless.change_weights([](auto& tensors) { tensors.erase("bert.pooler.dense.bias"); });
  const std::string missing = refusal<std::runtime_error>([&] { Classifier::load(headless.path()); });
  EXPECT_NE(missing.find("bert.pooler.dense.bias"), std::string::npos) << missing;
  const Directory empty;
  EXPECT_NE(refusal<std::system_error>([&] { Classifier::load(empty.path()); }).find("config.json"), std::string::npos);
}

}  // namespace
