#include "trine/encoders/classifier.h"

#include <stdexcept>

#include "text_testing.h"
#include "waves_testing.h"

namespace {

using namespace trine::testing;
using trine::Classifier;
using trine::ScoreFunction;

const std::map<std::string, ScoreFunction> kTextFamilies = {
    {"bert", ScoreFunction::sigmoid},         {"roberta", ScoreFunction::softmax},
    {"xlm-roberta", ScoreFunction::sigmoid},  {"mpnet", ScoreFunction::softmax},
    {"distilbert", ScoreFunction::softmax},   {"modernbert", ScoreFunction::softmax},
    {"modernbert_other", ScoreFunction::none}};

TEST(Classifier, ScoresEqualTheReference) {
  for (const auto& [name, function] : kTextFamilies) {
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
  for (const auto& [name, function] : kTextFamilies) {
    const TextDirectory directory(name);
    const Classifier model = Classifier::load(directory.path());
    expect_no_batch_effect([&](const auto& texts) { return model.scores(texts); });
  }
}

/// Pictures of the golden case, and what the reference's head gives of them.
struct Pictures {
  explicit Pictures(const Golden& golden) {
    for (const std::string& name : golden.names("logits.")) {
      images.push_back(picture(name));
      logits.push_back(golden.tensor("logits." + name));
    }
  }
  std::vector<trine::ImageInput> images;
  std::vector<torch::Tensor> logits;
};

TEST(Classifier, PicturesEqualTheReference) {
  for (const char* name : {"vit_classifier", "dinov2_classifier"}) {
    const Golden golden(name);
    const Pictures pictures(golden);
    ASSERT_EQ(pictures.images.size(), 3U);
    const torch::Tensor wanted = torch::stack(pictures.logits);
    const Classifier model = Classifier::load(golden.directory);
    EXPECT_EQ(model.modality(), trine::Modality::image);
    EXPECT_EQ(model.function(), ScoreFunction::softmax);
    EXPECT_LT(relative_difference(model.image_logits(pictures.images), wanted), 1e-4) << name;
    EXPECT_LT(largest_difference(model.image_scores(pictures.images), wanted.softmax(-1)), 1e-5) << name;
    const auto rows = model.predict_images(pictures.images);
    EXPECT_NEAR(rows.at(1).at("LABEL_1"), wanted.softmax(-1)[1][1].item<float>(), 1e-5) << name;
    EXPECT_EQ(model.image_logits({}).sizes(), (std::vector<std::int64_t>{0, std::ssize(model.labels())}));
    // more pictures than go through the network together, in any order
    std::vector<trine::ImageInput> many;
    for (int i = 0; i < 41; ++i) many.push_back(pictures.images[static_cast<std::size_t>(i * i % 3)]);
    const torch::Tensor scores = model.image_scores(many);
    for (int i = 0; i < 41; ++i) {
      EXPECT_LT(largest_difference(scores[i], wanted.softmax(-1)[i * i % 3]), 1e-5) << name << i;
    }
  }
}

const std::map<std::string, ScoreFunction> kAudioFamilies = {{"waves/wav2vec2_classifier", ScoreFunction::softmax},
                                                             {"waves/hubert_classifier", ScoreFunction::softmax},
                                                             {"waves/wavlm_classifier", ScoreFunction::sigmoid},
                                                             {"spectrograms/ast_classifier", ScoreFunction::softmax}};

TEST(Classifier, ClipsEqualTheReference) {
  for (const auto& [name, function] : kAudioFamilies) {
    const Golden golden(TRINE_TEST_DATA "/golden/" + name);
    const Classifier model = Classifier::load(golden.directory);
    EXPECT_EQ(model.modality(), trine::Modality::audio);
    EXPECT_EQ(model.function(), function) << name;
    std::vector<trine::AudioInput> clips;
    std::vector<torch::Tensor> logits;
    for (const std::string& length : golden.names("logits.")) {
      clips.push_back(clip_of(std::stoll(length), 16'000));
      logits.push_back(golden.tensor("logits." + length));
    }
    ASSERT_EQ(clips.size(), 4U) << name;
    const torch::Tensor wanted = torch::stack(logits);
    EXPECT_LT(relative_difference(model.audio_logits(clips), wanted), 1e-4) << name;
    const torch::Tensor scores = function == ScoreFunction::softmax ? wanted.softmax(-1) : wanted.sigmoid();
    EXPECT_LT(largest_difference(model.audio_scores(clips), scores), 1e-5) << name;
    EXPECT_NEAR(model.predict_audios({clips[2]})[0].at(model.labels()[1]), scores[2][1].item<float>(), 1e-5) << name;
    EXPECT_TRUE(model.predict_audios({}).empty());
    const auto [one, two] = with_one_and_two_threads([&] { return model.audio_scores(clips); });
    EXPECT_LT(largest_difference(one, two), 1e-5) << name;
    EXPECT_FALSE(one.requires_grad());
  }
}

TEST(Classifier, ClipsThatDoNotFitAreRefused) {
  const Classifier model = Classifier::load(kWaves / "wavlm_classifier");
  const auto sentence = [&](std::size_t samples, float value = 0) {
    return refusal<std::invalid_argument>([&] {
      model.predict_audios({trine::Audio{16'000, std::vector<float>(samples, value)}});
    });
  };
  EXPECT_NE(sentence(104).find("at least 105"), std::string::npos) << sentence(104);
  EXPECT_EQ(sentence(105), "accepted");
  EXPECT_NE(sentence(960'001).find("at most 60 s"), std::string::npos);
  EXPECT_NE(sentence(1'000, NAN).find("finite"), std::string::npos);
}

TEST(Classifier, AnotherModalityIsRefused) {
  const TextDirectory bert("bert");
  const Classifier text = Classifier::load(bert.path()), image = Classifier::load(kVision / "vit_classifier"),
                   audio = Classifier::load(kWaves / "hubert_classifier");
  const auto sentence = [](auto&& action) { return refusal<std::invalid_argument>(action); };
  EXPECT_NE(sentence([&] { text.predict_images({}); }).find("takes text, not image"), std::string::npos);
  EXPECT_NE(sentence([&] { text.audio_scores({}); }).find("takes text, not audio"), std::string::npos);
  EXPECT_NE(sentence([&] { image.predict({"a"}); }).find("takes image, not text"), std::string::npos);
  EXPECT_NE(sentence([&] { image.audio_logits({}); }).find("takes image, not audio"), std::string::npos);
  EXPECT_NE(sentence([&] { audio.scores({"a"}); }).find("takes audio, not text"), std::string::npos);
  EXPECT_NE(sentence([&] { audio.image_scores({}); }).find("takes audio, not image"), std::string::npos);
  EXPECT_NE(sentence([&] { audio.max_tokens(); }).find("takes audio, not text"), std::string::npos);
  EXPECT_NE(sentence([&] { image.count_tokens("a"); }).find("takes image, not text"), std::string::npos);
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

TEST(Classifier, HeadsOfPicturesAndClipsDescribeThemselves) {
  const auto describe = [](const fs::path& path) { return described(Classifier::load(path).describe()); };
  const std::string weighted = describe(kWaves / "wav2vec2_classifier");
  for (const char* part : {"model_type: wav2vec2", "weighted sum of all layers, linear, mean, linear",
                           "scores: softmax", "labels: calm, happy, cross", "parameters: "}) {
    EXPECT_NE(weighted.find(part), std::string::npos) << part << " in " << weighted;
  }
  EXPECT_NE(describe(kWaves / "wavlm_classifier").find("the last layer, linear, mean, linear"), std::string::npos);
  EXPECT_NE(describe(kVision / "vit_classifier").find("the class token, linear"), std::string::npos);
}

TEST(Classifier, WrongHeadsOfPicturesAndClipsAreRefused) {
  const auto load = [](const fs::path& path) { Classifier::load(path); };
  expect_refusals(kWaves / "wav2vec2_classifier", "config.json",
                  {{"/architectures/0", "Wav2Vec2ForCTC", "architectures"},
                   {"/classifier_proj_size", 0},
                   {"/classifier_proj_size", 1 << 20},
                   {"/classifier_proj_size", 11, "projector.weight"},
                   {"/use_weighted_layer_sum", "yes"},
                   {"/id2label/3", "sad", "classifier.weight"},
                   {"/hidden_size", 0}},
                  load);
  expect_refusals(kWaves / "wavlm_classifier", "config.json", {{"/use_weighted_layer_sum", true, "layer_weights"}},
                  load);
  expect_refusals(kWaves / "wavlm", "config.json", {{"/hidden_act", "gelu", "architectures"}}, load);
  expect_refusals(kVision / "vit_classifier", "config.json",
                  {{"/architectures/0", "ViTModel", "architectures"}, {"/id2label/3", "x", "classifier.weight"}}, load);
  expect_refusals(kVision / "dinov2_classifier", "config.json", {{"/num_labels", 5, "classifier.weight"}}, load);
  expect_weight_refusals(kWaves / "wav2vec2_classifier", "layer_weights", "wav2vec2.encoder.scale", load);
  expect_weight_refusals(kWaves / "wavlm_classifier", "projector.bias", "", load);
  expect_weight_refusals(kVision / "vit_classifier", "classifier.bias", "classifier.scale", load);
  expect_weight_refusals(kVision / "dinov2_classifier", "classifier.weight", "dinov2.scale", load);
  expect_weight_refusals(TRINE_TEST_DATA "/golden/spectrograms/ast_classifier", "classifier.dense.weight",
                         "classifier.scale", load);
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
