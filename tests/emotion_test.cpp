#include "trine/apps/emotion.h"

#include <cmath>

#include "encoder_testing.h"
#include "trine/apps/sound.h"
#include "trine/encoders/bert.h"
#include "trine/encoders/whisper.h"
#include "trine/heads.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Audio;
using trine::Embedder;
using trine::EmotionRecognizer;
using trine::Modality;
using trine::Score;
using trine::SoundRecognizer;
using Tensors = std::map<std::string, Tensor>;

/// A model of ours with tiny encoders and heads that were never trained.
class EmotionTest : public testing::Test {
 protected:
  EmotionTest() {
    for (const char* encoder : {"bert", "whisper"}) {
      fs::copy(kGolden / encoder, folder_ / encoder, fs::copy_options::recursive);
    }
    torch::manual_seed(4);
    trine::SpeechHead head(
        trine::SpeechHeadOptions{.feature_dim = 16, .width = 24, .num_heads = 4, .hidden = 40, .out_dim = 32});
    trine::reset_parameters(*head);
    trine::save_tensors(folder_ / "audio.safetensors", trine::state_dict(*head));
    const std::int64_t inner = trine::BertConfig::load(folder_ / "bert/config.json").intermediate_size;
    text_ = {{"encoder.encoder.layer.1.output.dense.weight", torch::randn({32, inner})},
             {"encoder.encoder.layer.1.output.dense.bias", torch::randn({32})},
             {"pooling.scores.weight", torch::randn({4, 32})},
             {"pooling.scores.bias", torch::randn({4})},
             {"pooling.values.weight", torch::randn({32, 32})},
             {"pooling.values.bias", torch::randn({32})},
             {"words.weight", torch::randn({502, 5})},
             {"out.weight", torch::randn({5, 32})},
             {"out.bias", torch::randn({5})}};
    trine::save_tensors(folder_ / "text.safetensors", text_);
    voice_ = {{"weight", torch::randn({2, 32})}, {"bias", torch::randn({2})}};
    trine::save_tensors(folder_ / "voice.safetensors", voice_);
    folder_.write("config.json", R"({"model_type": "trine", "name": "tiny", "dim": 32, "text": {"encoder": "bert"},
        "audio": {"encoder": "whisper", "weights": "audio.safetensors",
                  "head": {"width": 24, "num_heads": 4, "hidden": 40}},
        "emotion": {
          "text": {"weights": "text.safetensors", "labels": ["joy", "rage", "calm"], "groups": ["good", "bad"],
                   "num_heads": 4, "max_tokens": 20, "trained_on": "nothing"},
          "voice": {"weights": "voice.safetensors", "labels": ["loud", "soft"], "block": 1, "trained_on": "nothing"}},
        "sound": {"weights": "voice.safetensors", "labels": ["rain", "rooster"], "block": 2, "trained_on": "nothing"}})");
  }

  Embedder model() const { return Embedder::load(folder_.path()); }
  EmotionRecognizer emotion() const { return EmotionRecognizer::load(model()); }

  static Audio hum(double seconds) {
    Audio clip{16'000, std::vector<float>(static_cast<std::size_t>(seconds * 16'000))};
    for (std::size_t i = 0; i < clip.samples.size(); ++i) {
      clip.samples[i] = 0.3f * std::sin(0.05f * static_cast<float>(i)) + 0.1f * std::sin(0.31f * static_cast<float>(i));
    }
    return clip;
  }

  std::string load_refusal(const std::function<void(Json&)>& change) const {
    folder_.change("config.json", change);
    return refusal<std::runtime_error>([&] { emotion(); });
  }

  Directory folder_;
  Tensors text_, voice_;
};

void expect_scores(const std::vector<Score>& scores, const std::vector<std::string>& labels, const Tensor& wanted) {
  ASSERT_EQ(scores.size(), labels.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto label = std::find(labels.begin(), labels.end(), scores[i].label) - labels.begin();
    EXPECT_NEAR(scores[i].probability, wanted[label].item<float>(), 1e-5) << scores[i].label;
    if (i > 0) {
      EXPECT_LE(scores[i].probability, scores[i - 1].probability);
    }
  }
}

/// The text head step by step from its parts.
TEST_F(EmotionTest, TextsByTheTunedNetwork) {
  const torch::NoGradGuard no_grad;
  const std::string text = "hello there, this is fine";
  trine::Bert network(trine::BertConfig::load(folder_ / "bert/config.json"));
  trine::copy_weights(*network, trine::Checkpoint::open(folder_ / "bert"));
  std::map<std::string, Tensor> state = trine::state_dict(*network);
  const std::string dense = "encoder.layer.1.output.dense.";
  state.at(dense + "weight").copy_(text_.at("encoder." + dense + "weight"));
  state.at(dense + "bias").copy_(text_.at("encoder." + dense + "bias"));
  const auto tokens = trine::Tokenizer::load(folder_ / "bert").encode(text, 20).ids;
  const Tensor ids = torch::tensor(std::vector<std::int64_t>(tokens.begin(), tokens.end())).unsqueeze(0);
  const Tensor steps = network->forward(ids, torch::ones_like(ids, torch::kBool))[0];  // (T, 32)
  const Tensor shares =
      torch::linear(steps, text_.at("pooling.scores.weight"), text_.at("pooling.scores.bias")).softmax(0);
  const Tensor values = torch::linear(steps, text_.at("pooling.values.weight"), text_.at("pooling.values.bias"));
  const Tensor pooled = (shares.unsqueeze(2) * values.unflatten(1, {4, 8})).sum(0).flatten();
  const Tensor wanted = (text_.at("out.weight").mv(pooled) + text_.at("out.bias") +
                         text_.at("words.weight").index_select(0, ids[0]).sum(0))
                            .sigmoid();
  expect_scores(emotion().text_labels(text), {"joy", "rage", "calm"}, wanted.slice(0, 0, 3));
  expect_scores(emotion().text(text), {"good", "bad"}, wanted.slice(0, 3));
  EXPECT_EQ(emotion().text(std::string(3'000, 'a')).size(), 2u);  // cut at max_tokens
}

TEST_F(EmotionTest, VoicesAndSoundsByHiddenStates) {
  const torch::NoGradGuard no_grad;
  trine::WhisperEncoder encoder(trine::WhisperConfig::load(folder_ / "whisper/config.json"));
  trine::load_weights(*encoder, trine::Checkpoint::open(folder_ / "whisper"), "model.encoder.");
  const Audio clip = hum(0.9);
  trine::Spectrogram mel = trine::whisper_mel(clip.samples, 80);
  const auto wanted = [&](std::int64_t block) {
    const Tensor steps = encoder->begin(torch::from_blob(mel.values.data(), {1, mel.rows, mel.columns}), block)[0];
    const Tensor features = torch::cat({steps.mean(0), steps.std(0, /*unbiased=*/false)});
    return (voice_.at("weight").mv(features) + voice_.at("bias")).softmax(0);
  };
  expect_scores(emotion().voice(clip), {"loud", "soft"}, wanted(1));
  expect_scores(SoundRecognizer::load(model()).recognize(clip), {"rain", "rooster"}, wanted(2));
  // two and a half windows of the tiny encoder, 1.2 s each
  EXPECT_EQ(emotion().voice(hum(3)).size(), 2u);
}

TEST_F(EmotionTest, BadInputsAreRefused) {
  const EmotionRecognizer recognizer = emotion();
  EXPECT_NE(refusal<std::invalid_argument>([&] { recognizer.text(" \n"); }).find("wanted"), std::string::npos);
  EXPECT_NE(refusal<std::invalid_argument>([&] { recognizer.text("\xff"); }), "accepted");
  EXPECT_NE(refusal<std::runtime_error>([&] { recognizer.voice(Audio{16'000, {0.5f}}); }).find("at least 0.1 s"),
            std::string::npos);
  EXPECT_NE(
      refusal<std::runtime_error>([&] { recognizer.voice(Audio{16'000, std::vector<float>(8'000)}); }).find("silent"),
      std::string::npos);
  EXPECT_THROW(recognizer.voice("missing.wav"), std::system_error);
  Audio broken = hum(0.5);
  broken.samples[7] = NAN;
  EXPECT_NE(refusal<std::invalid_argument>([&] { recognizer.voice(broken); }), "accepted");
}

TEST_F(EmotionTest, ModelsMayLackHeads) {
  folder_.change("config.json", [](Json& json) { json["emotion"].erase("voice"); });
  EXPECT_TRUE(emotion().supports(Modality::text));
  EXPECT_FALSE(emotion().supports(Modality::audio));
  EXPECT_FALSE(emotion().supports(Modality::image));
  EXPECT_NE(refusal<std::invalid_argument>([&] { emotion().voice(hum(0.5)); }).find("no emotion head for clips"),
            std::string::npos);
  EXPECT_NE(load_refusal([](Json& json) { json.erase("emotion"); }).find("config.json: emotion"), std::string::npos);
  folder_.change("config.json", [](Json& json) { json.erase("sound"); });
  EXPECT_NE(refusal<std::runtime_error>([&] { SoundRecognizer::load(model()); }).find("config.json: sound"),
            std::string::npos);
  EXPECT_NE(refusal<std::runtime_error>([&] { EmotionRecognizer::load(Embedder::load(folder_ / "bert")); }),
            "accepted");
}

TEST_F(EmotionTest, DamagedHeadsAreRefused) {
  const auto set = [&](const char* pointer, const Json& value) {
    return load_refusal([&](Json& json) { json[Json::json_pointer(pointer)] = value; });
  };
  EXPECT_NE(set("/emotion/voice/block", 3).find("wanted 1 to 2"), std::string::npos);
  EXPECT_NE(set("/emotion/voice",
                {{"weights", "voice.safetensors"}, {"labels", {"a", "b", "c"}}, {"block", 1}, {"trained_on", ""}})
                .find("weight"),
            std::string::npos);
  EXPECT_NE(set("/emotion/text/num_heads", 5).find("does not divide"), std::string::npos);
  EXPECT_NE(set("/emotion/text/num_heads", 4).find("weight"), std::string::npos);  // the voice head is still wrong
  EXPECT_NE(set("/emotion/text/max_tokens", 4'000).find("max_tokens"), std::string::npos);
  EXPECT_NE(set("/emotion/text/weights", "missing.safetensors"), "accepted");
  set("/emotion/text/weights", "text.safetensors");
  set("/emotion/text/max_tokens", 20);
  text_["encoder.encoder.layer.1.output.dense.weight"] = torch::randn({2, 3});
  trine::save_tensors(folder_ / "text.safetensors", text_);
  EXPECT_NE(refusal<std::runtime_error>([&] { emotion(); }).find("encoder.layer.1.output.dense.weight"),
            std::string::npos);
}

}  // namespace
