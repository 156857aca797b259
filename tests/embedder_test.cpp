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

/// The mean of the vectors of the pieces, weighted by length, at unit length.
template <typename Embed>
Tensor by_hand(const std::vector<trine::Window>& windows, Embed&& embed) {
  Tensor sum;
  for (const trine::Window& window : windows) {
    const Tensor part = (window.last - window.first) * embed(window);
    sum = sum.defined() ? sum + part : part;
  }
  return trine::normalise(sum);
}

TEST_F(EmbedderTest, TakesLongTextsInWindows) {
  const Embedder model = Embedder::load(folder_.path());
  std::string text;
  for (int i = 0; i < 200; ++i) text += i % 7 == 0 ? "uncommonly " : "red ";
  std::vector<trine::Coverage> coverage;
  const Tensor vectors = model.embed_texts({"a", text, "b"}, {.batch_size = 2, .coverage = &coverage});
  EXPECT_EQ(coverage[0].windows.size(), 1u);
  EXPECT_EQ(coverage[1].used, coverage[1].total);
  const std::vector<trine::Window>& windows = coverage[1].windows;
  ASSERT_GT(windows.size(), 4u);
  EXPECT_EQ(windows.front().first, 0);
  EXPECT_EQ(windows.back().last, static_cast<double>(text.size()));
  const auto piece = [&](const trine::Window& window) {
    return text.substr(static_cast<std::size_t>(window.first), static_cast<std::size_t>(window.last - window.first));
  };
  for (std::size_t i = 0; i < windows.size(); ++i) {
    if (i > 0) {
      EXPECT_LT(windows[i].first, windows[i - 1].last);  // they overlap
      EXPECT_GT(windows[i].last, windows[i - 1].last);
    }
    const std::string part = " " + piece(windows[i]) + " ";
    for (const char* half : {" ncommonly", " commonly", "uncommon ", " ed ", " re "})
      EXPECT_EQ(part.find(half), std::string::npos) << part;  // no word is cut
  }
  const Tensor wanted = by_hand(windows, [&](const trine::Window& window) { return model.embed_text(piece(window)); });
  EXPECT_LE((vectors[1] - wanted).abs().max().item<float>(), 1e-5f);
  EXPECT_LE((vectors[0] - model.embed_text("a")).abs().max().item<float>(), 1e-6f);
  EXPECT_LE((vectors[2] - model.embed_text("b")).abs().max().item<float>(), 1e-6f);
}

TEST_F(EmbedderTest, CutsOrRefusesLongTexts) {
  const Embedder model = Embedder::load(folder_.path());
  std::string text = "a ";
  for (int i = 0; i < 2000; ++i) text += "a ";
  std::vector<trine::Coverage> coverage;
  const Tensor cut = model.embed_texts({text}, {.long_input = trine::LongInput::truncate, .coverage = &coverage});
  EXPECT_LT(coverage[0].used, coverage[0].total);
  EXPECT_EQ(coverage[0].total, 2003);
  ASSERT_EQ(coverage[0].windows.size(), 1u);
  const double characters = coverage[0].windows[0].last;
  EXPECT_EQ(characters, 2 * (coverage[0].used - 2) - 1);  // one token a character, a blank between them
  EXPECT_LE((cut[0] - model.embed_text(text.substr(0, static_cast<std::size_t>(characters)))).abs().max().item<float>(),
            1e-6f);
  const trine::EmbedOptions refusing{.long_input = trine::LongInput::error};
  expect_sentence<std::invalid_argument>([&] { model.embed_texts({text}, refusing); },
                                         "has 2003 tokens, the model takes");
  EXPECT_EQ(model.embed_texts({"a"}, refusing).size(0), 1);
  expect_sentence<std::invalid_argument>([&] { model.embed_texts({text}, {.prompt = text}); }, "no room for a text");
  EXPECT_EQ(trine::long_input("truncate"), trine::LongInput::truncate);
  expect_sentence<std::invalid_argument>([] { trine::long_input("cut"); }, "window, truncate or error");
}

TEST_F(EmbedderTest, TakesLongClipsInWindows) {
  const Embedder model = Embedder::load(folder_ / "whisper");  // hears 1.2 s at a time
  Audio clip = tone(4.5);
  for (std::size_t i = 0; i < clip.samples.size(); ++i) clip.samples[i] *= static_cast<float>(i % 16'000) / 16'000;
  std::vector<trine::Coverage> coverage;
  const Tensor found = model.embed_audios({tone(0.5), clip}, {.coverage = &coverage})[1];
  EXPECT_EQ(coverage[0].windows.size(), 1u);
  EXPECT_DOUBLE_EQ(coverage[1].used, 4.5);
  const std::vector<trine::Window>& windows = coverage[1].windows;
  ASSERT_EQ(windows.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_NEAR(windows[i].first, 0.6 * static_cast<double>(i), 1e-9);
    EXPECT_NEAR(windows[i].last, std::min(0.6 * static_cast<double>(i) + 1.2, 4.5), 1e-9);
  }
  const auto piece = [&](const trine::Window& window) {
    const auto at = [&](double seconds) { return clip.samples.begin() + std::lround(seconds * 16'000); };
    return Audio{16'000, {at(window.first), at(window.last)}};
  };
  const Tensor wanted = by_hand(windows, [&](const trine::Window& window) { return model.embed_audio(piece(window)); });
  EXPECT_LE((found - wanted).abs().max().item<float>(), 1e-5f);

  const Tensor cut = model.embed_audios({clip}, {.long_input = trine::LongInput::truncate, .coverage = &coverage})[0];
  EXPECT_DOUBLE_EQ(coverage[0].used, 1.2);
  EXPECT_LE((cut - model.embed_audio(piece({0, 1.2}))).abs().max().item<float>(), 1e-6f);
  expect_sentence<std::invalid_argument>([&] { model.embed_audios({clip}, {.long_input = trine::LongInput::error}); },
                                         "has 4.5 s of sound, the model takes 1.2");
}

TEST_F(EmbedderTest, WindowsOfAModelOfOursHoldTheSilenceToo) {
  const Embedder model = Embedder::load(folder_.path());
  Audio clip = tone(3);
  clip.samples.insert(clip.samples.begin(), 16'000, 0.0f);
  clip.samples.insert(clip.samples.end(), 16'000, 0.0f);
  std::vector<trine::Coverage> coverage;
  const Tensor found = model.embed_audios({clip}, {.coverage = &coverage})[0];
  const std::vector<trine::Window>& windows = coverage[0].windows;
  EXPECT_DOUBLE_EQ(coverage[0].used, 5);
  ASSERT_EQ(windows.size(), 5u);  // 3 s of sound, 0.06 s of silence at both ends
  EXPECT_EQ(windows.front().first, 0);
  EXPECT_DOUBLE_EQ(windows.back().last, 5);
  EXPECT_NEAR(windows[1].first, 0.94 + 0.6, 0.02);
  for (std::size_t i = 1; i < windows.size(); ++i) EXPECT_LT(windows[i].first, windows[i - 1].last);
  EXPECT_NEAR(found.norm().item<float>(), 1, 1e-6);
}

TEST_F(EmbedderTest, ScoresByTheCalibrationOrNotAtAll) {
  write_config(32, R"("calibration": {"audio": {"temperature": 0.25, "gain": 1}},)");
  const Embedder model = Embedder::load(folder_.path());
  const Tensor clip = model.embed_audio(tone(0.6)), texts = model.embed_texts({"a", "red", "hello"});
  const Tensor found = model.probabilities(Modality::audio, clip, texts);
  EXPECT_EQ(found.sizes(), (torch::IntArrayRef{1, 3}));
  EXPECT_LE((found[0] - (texts.mv(clip) / 0.25).softmax(0)).abs().max().item<float>(), 1e-6f);
  for (const Modality modality : {Modality::image, Modality::text}) {
    expect_sentence<std::invalid_argument>([&] { model.scoring(modality); }, "similarity() gives the cosines");
  }
  write_config(32);
  expect_sentence<std::invalid_argument>([&] { Embedder::load(folder_.path()).scoring(Modality::audio); },
                                         "audio is not calibrated: similarity()");
  expect_sentence<std::invalid_argument>([&] { model.similarity(clip, texts.slice(1, 0, 5)); }, "(N, D) and (M, D)");
}

TEST_F(EmbedderTest, ShowsWhatEntersTheNetworks) {
  const Embedder model = Embedder::load(folder_ / "whisper");
  EXPECT_EQ(model.preprocess_audio(tone(0.6, 48'000)).sizes(), (torch::IntArrayRef{80, 60}));
  expect_sentence<std::invalid_argument>([&] { model.preprocess_audio(tone(2)); }, "at most 1.2 s");
  const Embedder ours = Embedder::load(folder_.path());
  const std::vector<std::int32_t> ids = ours.tokenize("hello");
  EXPECT_EQ(ids.front(), 2);
  EXPECT_EQ(ids.back(), 3);
  expect_sentence<std::invalid_argument>([&] { ours.preprocess_image("photo.jpg"); }, "has no image tower");
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
  for (const char* key :
       {"text.tokenizer", "text.pooling", "text.windows", "audio.mel", "audio.level", "audio.windows", "audio.head"})
    EXPECT_TRUE(lines.contains(key)) << key;
}

}  // namespace
