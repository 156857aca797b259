#include "trine/apps/hearing.h"

#include <cmath>

#include "encoder_testing.h"
#include "trine/heads.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Audio;
using trine::Embedder;
using trine::Heard;
using trine::Hearing;
using trine::Transcriber;

constexpr const char* kWeights =
    R"({"bias": 0.25, "confidence": 0.5, "no_speech": -1, "repeated": -2, "agreement": 3, "words": 0.125})";

/// A model of ours with the tiny text encoder, the tiny Whisper that has a decoder, and a head that was never trained.
class HearingTest : public testing::Test {
 protected:
  HearingTest() {
    fs::copy(kGolden / "bert", folder_ / "bert", fs::copy_options::recursive);
    fs::copy(fs::path(TRINE_TEST_DATA) / "golden/transcripts/english", folder_ / "whisper",
             fs::copy_options::recursive);
    torch::manual_seed(4);
    trine::SpeechHead head(
        trine::SpeechHeadOptions{.feature_dim = 12, .width = 24, .num_heads = 4, .hidden = 40, .out_dim = 32});
    trine::reset_parameters(*head);
    trine::save_tensors(folder_ / "audio.safetensors", trine::state_dict(*head));
    write_config(kWeights);
  }

  void write_config(const std::string& hearing) const {
    folder_.write("config.json", R"({"model_type": "trine", "name": "tiny", "dim": 32, "text": {"encoder": "bert"},
        "audio": {"encoder": "whisper", "weights": "audio.safetensors",
        "head": {"width": 24, "num_heads": 4, "hidden": 40})" +
                                     (hearing.empty() ? "" : ", \"hearing\": " + hearing) + "}}");
  }

  Embedder model() const { return Embedder::load(folder_.path()); }

  static Audio hum(double seconds) {
    Audio clip{16'000, std::vector<float>(static_cast<std::size_t>(seconds * 16'000))};
    for (std::size_t i = 0; i < clip.samples.size(); ++i) {
      clip.samples[i] = 0.3f * std::sin(0.05f * static_cast<float>(i)) + 0.1f * std::sin(0.31f * static_cast<float>(i));
    }
    return clip;
  }

  Directory folder_;
};

TEST_F(HearingTest, MixesBothPathsByTrust) {
  const Embedder embedder = model();
  const Hearing hearing = Hearing::load(embedder);
  const Audio clip = hum(0.7);
  const Heard heard = hearing.hear(clip);

  EXPECT_TRUE(heard.direct.equal(embedder.embed_audio(clip)));
  Audio filled = clip;
  filled.samples.resize(static_cast<std::size_t>(hearing.transcriber().window_seconds() * 16'000));
  EXPECT_EQ(heard.transcript.tokens, hearing.transcriber().transcribe(filled).tokens);
  ASSERT_FALSE(heard.transcript.text.empty());
  EXPECT_TRUE(heard.written.equal(embedder.embed_text(heard.transcript.text)));

  std::istringstream text(heard.transcript.text);
  const auto words = std::distance(std::istream_iterator<std::string>(text), {});
  const double confidence = heard.transcript.confidence;
  const double sum = 0.25 + 0.5 * std::log(confidence / (1 - confidence)) - heard.transcript.no_speech -
                     2 * heard.transcript.repeated + 3 * heard.direct.dot(heard.written).item<double>() +
                     0.125 * std::log(static_cast<double>(words + 1));
  EXPECT_NEAR(heard.trust, 1 / (1 + std::exp(-sum)), 1e-5);
  const Tensor wanted = trine::normalise(heard.trust * heard.written + (1 - heard.trust) * heard.direct);
  EXPECT_LT((heard.vector - wanted).abs().max().item<float>(), 1e-6f);
  EXPECT_NEAR(heard.vector.norm().item<float>(), 1, 1e-6);
}

TEST_F(HearingTest, NothingSaidIsTheDirectPath) {
  const Directory& folder = folder_;
  Embedder embedder = model();
  // A decoder that is sure of silence
  const auto nospeech = trine::Tokenizer::load(folder / "whisper").encode("<|nospeech|>").ids.at(0);
  const Directory silent(folder / "whisper");
  silent.change_weights([&](auto& tensors) {
    tensors["model.decoder.layer_norm.weight"].zero_();
    tensors["model.decoder.layer_norm.bias"].fill_(1);
    Tensor& tokens = tensors["model.decoder.embed_tokens.weight"];
    tokens.zero_();
    tokens[nospeech].fill_(1);
  });
  const Heard heard = Hearing(embedder, Transcriber::load(silent.path())).hear(hum(0.7));
  EXPECT_EQ(heard.transcript.text, "");
  EXPECT_FALSE(heard.written.defined());
  EXPECT_EQ(heard.trust, 0);
  EXPECT_TRUE(heard.vector.equal(heard.direct));
}

TEST_F(HearingTest, DescribesTheTrust) {
  const trine::Description lines = Hearing::load(model()).describe();
  const auto found = std::find_if(lines.begin(), lines.end(), [](const auto& line) { return line.first == "trust"; });
  ASSERT_NE(found, lines.end());
  EXPECT_EQ(found->second, "sigmoid of 0.25 + 0.5 confidence - 1 no_speech - 2 repeated + 3 agreement + 0.125 words");
}

TEST_F(HearingTest, ModelsWithoutWhatItNeedsAreRefused) {
  EXPECT_TRUE(Hearing::available(model()));
  write_config("");
  EXPECT_FALSE(Hearing::available(model()));
  EXPECT_NE(refusal<std::invalid_argument>([&] { Hearing::load(model()); }).find("audio.hearing"), std::string::npos);
  write_config(R"({"bias": 0})");
  EXPECT_NE(refusal<std::runtime_error>([&] { Hearing::load(model()); }).find("confidence"), std::string::npos);
  write_config(R"({"bias": "much"})");
  EXPECT_NE(refusal<std::runtime_error>([&] { Hearing::load(model()); }).find("bias"), std::string::npos);

  const Embedder text = Embedder::load(folder_ / "bert");
  EXPECT_FALSE(Hearing::available(text));
  EXPECT_NE(refusal<std::invalid_argument>([&] {
              Hearing(text, Transcriber::load(folder_ / "whisper"));
            }).find("a tower of audio"),
            std::string::npos);
}

TEST_F(HearingTest, ClipsThatDoNotFitAreRefused) {
  const Hearing hearing = Hearing::load(model());
  EXPECT_NE(refusal<std::runtime_error>([&] { hearing.hear(Audio{16'000, std::vector<float>(8'000)}); }).find("silent"),
            std::string::npos);
  EXPECT_NE(refusal<std::runtime_error>([&] { hearing.hear(Audio{16'000, {0.5f}}); }).find("at least 0.1 s"),
            std::string::npos);
  Audio broken = hum(0.5);
  broken.samples[7] = INFINITY;
  EXPECT_NE(refusal<std::invalid_argument>([&] { hearing.hear(broken); }), "accepted");
  EXPECT_THROW(hearing.hear("missing.wav"), std::system_error);
}

}  // namespace
