#include "trine/embedder.h"

#include <cmath>
#include <numbers>

#include "encoder_testing.h"
#include "trine/heads.h"

namespace {

using torch::Tensor;
using trine::Audio;
using trine::Embedder;
using trine::Modality;
using trine::testing::Directory;

/// A model of ours with the tiny text and speech encoders and a head that was never trained.
class EmbedderTest : public testing::Test {
 protected:
  EmbedderTest() {
    namespace fs = std::filesystem;
    for (const char* encoder : {"bert", "whisper"}) {
      fs::copy(trine::testing::kGolden / encoder, folder_ / encoder, fs::copy_options::recursive);
    }
    torch::manual_seed(4);
    trine::SpeechHead head(
        trine::SpeechHeadOptions{.feature_dim = 16, .width = 24, .num_heads = 4, .hidden = 40, .out_dim = 32});
    trine::reset_parameters(*head);
    trine::save_tensors(folder_ / "audio.safetensors", trine::state_dict(*head));
    write_config(32, R"("calibration": {"text": {"temperature": 0.07, "gain": 2}},)");
  }

  void write_config(int dim, const std::string& more = "") const {
    folder_.write("config.json", R"({"model_type": "trine", "name": "tiny", "dim": )" + std::to_string(dim) + "," +
                                     more +
                                     R"("text": {"encoder": "bert"}, "audio": {"encoder": "whisper",
        "weights": "audio.safetensors", "head": {"width": 24, "num_heads": 4, "hidden": 40}}})");
  }

  /// A tone of `seconds`, at full level or scaled.
  static Audio tone(double seconds, int rate = 16'000, float level = 0.5f) {
    Audio clip{rate, std::vector<float>(static_cast<std::size_t>(seconds * rate))};
    for (std::size_t i = 0; i < clip.samples.size(); ++i) {
      clip.samples[i] =
          level * static_cast<float>(std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) / rate));
    }
    return clip;
  }

  Directory folder_;
};

template <typename Error, typename Action>
void expect_sentence(Action&& action, const std::string& part) {
  const std::string sentence = trine::testing::refusal<Error>(action);
  EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
}

TEST_F(EmbedderTest, GivesUnitVectorsOfWhatItHas) {
  const Embedder model = Embedder::load(folder_.path());
  EXPECT_EQ(model.dim(), 32);
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_EQ(model.modalities(), (std::vector<Modality>{Modality::text, Modality::audio}));
  EXPECT_FALSE(model.supports(Modality::image));
  EXPECT_NEAR(model.embed_text("hello").norm().item<float>(), 1, 1e-6);
  EXPECT_NEAR(model.embed_audio(tone(0.6)).norm().item<float>(), 1, 1e-6);
  EXPECT_EQ(model.embed_texts({}).sizes(), (torch::IntArrayRef{0, 32}));
  EXPECT_FLOAT_EQ(model.calibration(Modality::text).gain, 2);
  EXPECT_FLOAT_EQ(model.calibration(Modality::audio).gain, 1);
  expect_sentence<std::invalid_argument>([&] { model.embed_image("photo.jpg"); },
                                         "has no image tower, it has text, audio");
}

TEST_F(EmbedderTest, CombinesWhatIsThere) {
  const Embedder model = Embedder::load(folder_.path());
  const Tensor text = model.embed_text("hello"), audio = model.embed_audio(tone(0.6));
  const Tensor wanted = trine::normalise(text + 0.5 * audio);
  EXPECT_LE((model.embed({.text = "hello", .audio = tone(0.6)}) - wanted).abs().max().item<float>(), 1e-6f);
  EXPECT_LE((model.embed({.text = "hello"}) - text).abs().max().item<float>(), 1e-6f);
  expect_sentence<std::invalid_argument>([&] { model.embed({}); }, "there is none");
}

TEST_F(EmbedderTest, DoesNotDependOnTheBatch) {
  const Embedder model = Embedder::load(folder_.path());
  std::vector<std::string> texts;
  for (int i = 0; i < 64; ++i) texts.push_back(std::string(static_cast<std::size_t>(i % 9 + 1), 'a') + " hello");
  const Tensor whole = model.embed_texts(texts, {.batch_size = 64});
  for (const std::int64_t size : {1, 7}) {
    EXPECT_LE((model.embed_texts(texts, {.batch_size = size}) - whole).abs().max().item<float>(), 1e-5f) << size;
  }
}

TEST_F(EmbedderTest, TellsWhatWasCutAndHowManyWindows) {
  const Embedder model = Embedder::load(folder_.path());
  std::vector<trine::Coverage> coverage;
  std::string longer;
  for (int i = 0; i < 2000; ++i) longer += "a ";
  model.embed_texts({"a", longer}, {.coverage = &coverage});
  ASSERT_EQ(coverage.size(), 2u);
  EXPECT_EQ(coverage[0].used, coverage[0].total);
  EXPECT_LT(coverage[1].used, coverage[1].total);
  EXPECT_EQ(coverage[1].total, 2002);

  const Audio clip = tone(5);  // the tiny encoder hears little at a time
  model.embed_audios({tone(0.5), clip}, {.coverage = &coverage});
  EXPECT_EQ(coverage[0].windows, 1);
  EXPECT_GT(coverage[1].windows, 1);
  EXPECT_DOUBLE_EQ(coverage[1].used, 5);
}

TEST_F(EmbedderTest, HearsAnyLevelRateAndPause) {
  const Embedder model = Embedder::load(folder_.path());
  const Tensor wanted = model.embed_audio(tone(0.6));
  EXPECT_LE((model.embed_audio(tone(0.6, 16'000, 0.01f)) - wanted).abs().max().item<float>(), 1e-4f);
  EXPECT_GT(model.embed_audio(tone(0.6, 48'000)).dot(wanted).item<float>(), 0.99f);
}

TEST_F(EmbedderTest, RefusesSilenceShortAndDamagedSound) {
  const Embedder model = Embedder::load(folder_.path());
  expect_sentence<std::runtime_error>(
      [&] {
        model.embed_audio(Audio{16'000, std::vector<float>(16'000)});
      },
      "is silent");
  expect_sentence<std::runtime_error>([&] { model.embed_audio(Audio{16'000, {0.5f}}); }, "at least 0.1 s");
  EXPECT_THROW(model.embed_audio(Audio{16'000, {}}), std::invalid_argument);
  Audio broken = tone(0.5);
  broken.samples[100] = std::nanf("");
  expect_sentence<std::invalid_argument>([&] { model.embed_audio(broken); }, "NaN");
  expect_sentence<std::system_error>([&] { model.embed_audio(std::filesystem::path("no such clip.wav")); },
                                     "no such clip.wav");
  expect_sentence<std::invalid_argument>([&] { model.embed_text("\xff"); }, "UTF-8");
}

TEST_F(EmbedderTest, RefusesModelsThatDoNotFit) {
  write_config(31);
  expect_sentence<std::runtime_error>([&] { Embedder::load(folder_.path()); }, "gives 32 dimensions, wanted 31");
  write_config(32, R"("image": {"encoder": "tf_efficientnet_absent"},)");
  expect_sentence<std::runtime_error>([&] { Embedder::load(folder_.path()); }, "trine.fetch");
  write_config(32, R"("calibration": {"audio": {"temperature": 0, "gain": 1}},)");
  expect_sentence<std::runtime_error>([&] { Embedder::load(folder_.path()); }, "calibration.audio.temperature and");
  std::filesystem::remove(folder_ / "audio.safetensors");
  write_config(32);
  expect_sentence<std::system_error>([&] { Embedder::load(folder_.path()); }, "audio.safetensors");
  expect_sentence<std::system_error>([&] { Embedder::load(folder_ / "nothing"); }, "no such model folder");
}

TEST_F(EmbedderTest, LoadsTheDirectoryOfOneEncoder) {
  const Embedder model = Embedder::load(folder_ / "bert");
  EXPECT_EQ(model.modalities(), std::vector<Modality>{Modality::text});
  EXPECT_EQ(Embedder::load(folder_ / "whisper").dim(), 16);
}

TEST_F(EmbedderTest, DescribesEachTower) {
  std::map<std::string, std::string> lines;
  for (const auto& [key, value] : Embedder::load(folder_.path()).describe()) lines[key] = value;
  EXPECT_EQ(lines.at("model"), "tiny");
  for (const char* key : {"text.tokenizer", "text.pooling", "audio.mel", "audio.windows", "audio.head"})
    EXPECT_TRUE(lines.contains(key)) << key;
}

}  // namespace
