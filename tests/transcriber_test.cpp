#include "trine/encoders/transcriber.h"

#include <stdexcept>
#include <thread>

#include "encoder_testing.h"
#include "trine/encoders/whisper.h"
#include "trine/encoders/whisper_decoder.h"
#include "trine/input/text.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Audio;
using trine::Checkpoint;
using trine::TranscribeOptions;
using trine::Transcriber;
using trine::Transcript;

const fs::path kTranscripts = fs::path(TRINE_TEST_DATA) / "golden/transcripts";
constexpr std::int64_t kWindow = 19'200;  // samples of the golden checkpoints' windows

Tensor hum(std::int64_t count) {
  const Tensor i = torch::arange(count);
  return ((i * (40 + i.floor_divide(400))).remainder(1600) - 800).to(torch::kFloat32) / 4096;
}

/// The clips of make_transcripts.py.
Audio clip_of(const std::string& name) {
  const std::int64_t many = 2 * kWindow + 4000;
  const Tensor samples = name == "hum"     ? hum(kWindow)
                         : name == "noise" ? noise("noise", {kWindow}) / 4
                         : name == "short" ? hum(kWindow / 2)
                                           : noise("long", {many}) / 8 + hum(many);
  const float* begin = samples.const_data_ptr<float>();
  return {16'000, {begin, begin + samples.numel()}};
}

TranscribeOptions options_of(const Json& json) {
  TranscribeOptions options;
  options.timestamps = json.value("return_timestamps", false);
  options.language = json.value("language", "");
  if (json.value("task", "") == "translate") options.task = trine::SpeechTask::translate;
  return options;
}

std::string load_refusal(const std::function<void(const Directory&)>& change, const char* name = "multilingual") {
  const Directory directory(kTranscripts / name);
  change(directory);
  return refusal<std::runtime_error>([&] { Transcriber::load(directory.path()); });
}

TEST(Transcriber, TokensAndSegmentsEqualTheReference) {
  for (const std::string name : {"english", "multilingual"}) {
    const Transcriber transcriber = Transcriber::load(kTranscripts / name);
    for (const Json& expected : trine::detail::read_json("test", kTranscripts / name / "expected.json")) {
      const std::string about = name + " " + expected["clip"].get<std::string>() + " " + expected["options"].dump();
      const Transcript found = transcriber.transcribe(clip_of(expected["clip"]), options_of(expected["options"]));
      EXPECT_EQ(found.tokens, expected["tokens"].get<std::vector<std::int32_t>>()) << about;
      EXPECT_EQ(found.text, expected["text"].get<std::string>()) << about;
      EXPECT_FALSE(found.repeated) << about;
      EXPECT_GT(found.confidence, 0) << about;
      EXPECT_LT(found.confidence, 1) << about;
      std::size_t i = 0;
      for (const Json& segment : expected["segments"]) {
        if (segment["text"].get<std::string>().empty()) continue;
        ASSERT_LT(i, found.segments.size()) << about;
        EXPECT_EQ(found.segments[i].text, segment["text"].get<std::string>()) << about;
        const double seconds = clip_of(expected["clip"]).seconds();  // the reference goes on into the padding
        EXPECT_NEAR(found.segments[i].start, std::min(segment["start"].get<double>(), seconds), 0.021) << about;
        EXPECT_NEAR(found.segments[i].end, std::min(segment["end"].get<double>(), seconds), 0.021) << about;
        ++i;
      }
      EXPECT_EQ(i, found.segments.size()) << about;
    }
  }
}

/// Token by token with kept keys and values, against the reference all at once.
TEST(Transcriber, ScoresOfEveryStepEqualTheReference) {
  const fs::path directory = kTranscripts / "english";
  const torch::NoGradGuard no_grad;
  trine::WhisperEncoder encoder(trine::WhisperConfig::load(directory / "config.json"));
  trine::WhisperDecoder decoder(trine::WhisperDecoderConfig::load(directory / "config.json"));
  const Checkpoint weights = Checkpoint::open(directory);
  trine::load_weights(*encoder, weights, "model.encoder.");
  trine::load_weights(*decoder, weights, "model.decoder.");
  trine::Spectrogram mel = trine::whisper_mel(clip_of("hum").samples, 20);
  const Tensor states = encoder->forward(torch::from_blob(mel.values.data(), {1, mel.rows, mel.columns}));

  const Checkpoint expected = Checkpoint::open(kTranscripts / "logits.safetensors");
  const Tensor ids = trine::load_tensor(expected, "ids");
  const Tensor wanted = trine::load_tensor(expected, "logits");
  trine::WhisperDecoderState at_once = decoder->start(states);
  const Tensor all = decoder->logits(decoder->forward(ids, at_once))[0];
  trine::WhisperDecoderState stepwise = decoder->start(states);
  for (std::int64_t i = 0; i < ids.size(1); ++i) {
    const Tensor step = decoder->logits(decoder->forward(ids.narrow(1, i, 1), stepwise))[0][0];
    EXPECT_LT(relative_difference(step, all[i]), 1e-5) << i;
    if (i % 4 == 0) {
      EXPECT_LT(relative_difference(step, wanted[i / 4]), 1e-4) << i;
    }
  }
  EXPECT_NE(refusal<std::invalid_argument>([&] { decoder->forward(ids, stepwise); }).find("one at a time"),
            std::string::npos);
  while (stepwise.tokens < 40) decoder->forward(ids.narrow(1, 0, 1), stepwise);
  EXPECT_NE(refusal<std::invalid_argument>([&] { decoder->forward(ids.narrow(1, 0, 1), stepwise); }).find("at most 40"),
            std::string::npos);
}

TEST(Transcriber, DecodesIdsAsTheReference) {
  const trine::Tokenizer tokenizer = trine::Tokenizer::load(kTranscripts / "multilingual");
  std::size_t special = 0;
  for (const Json& expected : trine::detail::read_json("test", kTranscripts / "decode.json")) {
    const auto ids = expected["ids"].get<std::vector<std::int32_t>>();
    EXPECT_EQ(tokenizer.decode(ids), expected["text"].get<std::string>()) << expected;
    EXPECT_EQ(tokenizer.decode(ids, /*skip_special_tokens=*/false), expected["all"].get<std::string>()) << expected;
    special += expected["text"] != expected["all"] ? 1u : 0u;
  }
  EXPECT_GT(special, 5u);
  const std::vector<std::int32_t> outside{-1, 1'000'000};
  EXPECT_EQ(tokenizer.decode(outside), "");
  const trine::Tokenizer words = trine::Tokenizer::load(fs::path(TRINE_TEST_DATA) / "golden/text");
  EXPECT_NE(refusal<std::runtime_error>([&] { words.decode(outside); }).find("wanted ByteLevel"), std::string::npos);
}

TEST(Transcriber, KnowsItsLanguages) {
  const Transcriber english = Transcriber::load(kTranscripts / "english");
  const Transcriber several = Transcriber::load(kTranscripts / "multilingual");
  EXPECT_FALSE(english.multilingual());
  EXPECT_TRUE(english.languages().empty());
  EXPECT_EQ(several.languages(), (std::vector<std::string>{"de", "en", "fr", "haw"}));
  EXPECT_DOUBLE_EQ(several.window_seconds(), 1.2);
  const Audio clip = clip_of("hum");
  EXPECT_EQ(english.transcribe(clip).language, "");
  EXPECT_EQ(several.transcribe(clip, {.language = "fr"}).language, "fr");
  const std::string detected = several.transcribe(clip).language;
  EXPECT_EQ(several.transcribe(clip).tokens, several.transcribe(clip, {.language = detected}).tokens);
}

TEST(Transcriber, AClipOnItsOwnLength) {
  const Transcriber transcriber = Transcriber::load(kTranscripts / "english");
  const Audio full = clip_of("hum"), part = clip_of("short");
  // no room for silence: nothing changes
  EXPECT_EQ(transcriber.transcribe(full, {.whole_window = false}).tokens, transcriber.transcribe(full).tokens);
  EXPECT_FALSE(transcriber.transcribe(part, {.whole_window = false}).tokens.empty());
  EXPECT_EQ(transcriber.transcribe(full, {.max_tokens = 3}).tokens.size(), 3u);
  EXPECT_LE(transcriber.transcribe(part).segments.back().end, part.seconds());
}

TEST(Transcriber, LoopsAreCut) {
  const Directory directory(kTranscripts / "english");
  // All tokens alike but for one: it wins every time.
  directory.change("config.json", [](Json& json) { json["max_target_positions"] = 40; });
  directory.change_weights([](auto& tensors) {
    tensors["model.decoder.layer_norm.weight"].zero_();
    tensors["model.decoder.layer_norm.bias"].fill_(1);
    Tensor& tokens = tensors["model.decoder.embed_tokens.weight"];
    tokens.zero_();
    tokens[40].fill_(1);
  });
  const Transcript found = Transcriber::load(directory.path()).transcribe(clip_of("hum"));
  EXPECT_TRUE(found.repeated);
  EXPECT_EQ(found.tokens, std::vector<std::int32_t>{40});
}

TEST(Transcriber, ClipsWithoutSpeech) {
  const Transcriber transcriber = Transcriber::load(kTranscripts / "english");
  const Transcript silent = transcriber.transcribe(Audio{16'000, std::vector<float>(8'000)});
  EXPECT_EQ(silent.text, "");
  EXPECT_TRUE(silent.segments.empty() && silent.tokens.empty());
  EXPECT_EQ(silent.no_speech, 1);
  EXPECT_EQ(silent.confidence, 0);

  // The decoder is sure that nothing is said, and unsure of what else it might be.
  const Directory directory(kTranscripts / "english");
  const auto nospeech = trine::Tokenizer::load(kTranscripts / "english").encode("<|nospeech|>").ids.at(0);
  directory.change_weights([&](auto& tensors) {
    tensors["model.decoder.layer_norm.weight"].zero_();
    tensors["model.decoder.layer_norm.bias"].fill_(1);
    Tensor& tokens = tensors["model.decoder.embed_tokens.weight"];
    tokens.zero_();
    tokens[nospeech].fill_(1);
  });
  const Transcript unsure = Transcriber::load(directory.path()).transcribe(clip_of("noise"));
  EXPECT_GT(unsure.no_speech, 0.99);
  EXPECT_TRUE(unsure.tokens.empty());
  EXPECT_EQ(unsure.confidence, 0);
}

TEST(Transcriber, ClipsThatDoNotFitAreRefused) {
  const Transcriber transcriber = Transcriber::load(kTranscripts / "english");
  const auto short_clip = refusal<std::runtime_error>([&] { transcriber.transcribe(Audio{16'000, {0.5f}}); });
  EXPECT_NE(short_clip.find("at least 0.1 s"), std::string::npos) << short_clip;
  Audio broken = clip_of("hum");
  broken.samples[100] = NAN;
  const auto nan = refusal<std::invalid_argument>([&] { transcriber.transcribe(broken); });
  EXPECT_NE(nan.find("NaN"), std::string::npos) << nan;
  EXPECT_EQ(refusal<std::runtime_error>([&] { transcriber.transcribe("missing.wav"); }).find("accepted"),
            std::string::npos);
}

TEST(Transcriber, OptionsThatTheCheckpointLacksAreRefused) {
  const Transcriber english = Transcriber::load(kTranscripts / "english");
  const Transcriber several = Transcriber::load(kTranscripts / "multilingual");
  const auto sentence = [](const Transcriber& transcriber, const TranscribeOptions& options) {
    return refusal<std::invalid_argument>([&] { transcriber.transcribe(clip_of("short"), options); });
  };
  EXPECT_NE(sentence(english, {.language = "de"}).find("one language"), std::string::npos);
  EXPECT_NE(sentence(english, {.task = trine::SpeechTask::translate}).find("does not translate"), std::string::npos);
  EXPECT_NE(sentence(several, {.language = "xx"}).find("it has de, en, fr, haw"), std::string::npos);
  EXPECT_NE(sentence(several, {.max_tokens = -1}).find("max_tokens"), std::string::npos);
}

TEST(Transcriber, WithoutTimestampsAClipIsOneWindow) {
  const Directory directory(kTranscripts / "english");
  fs::remove(directory / "generation_config.json");  // config.json names no token for them
  const Transcriber transcriber = Transcriber::load(directory.path());
  EXPECT_FALSE(transcriber.transcribe(clip_of("hum")).tokens.empty());
  EXPECT_EQ(transcriber.transcribe(clip_of("hum")).no_speech, 0);
  const auto sentence = [&](const std::string& clip, bool timestamps) {
    return refusal<std::invalid_argument>([&] { transcriber.transcribe(clip_of(clip), {.timestamps = timestamps}); });
  };
  EXPECT_NE(sentence("hum", true).find("no_timestamps_token_id"), std::string::npos);
  EXPECT_NE(sentence("long", false).find("at most 1.2"), std::string::npos) << sentence("long", false);
}

TEST(Transcriber, BrokenCheckpointsAreRefused) {
  const auto without = [](const char* part) {
    return [part](const Directory& directory) {
      directory.change_weights([part](auto& tensors) {
        std::erase_if(tensors, [part](const auto& item) { return item.first.starts_with(part); });
      });
    };
  };
  const auto set = [](const char* file, const char* key, const Json& value) {
    return [=](const Directory& directory) { directory.change(file, [&](Json& json) { json[key] = value; }); };
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {load_refusal(without("model.decoder.")), "holds no decoder"},
      {load_refusal(without("model.decoder.layers.1.fc1")), "model.decoder.layers.1.fc1"},
      {load_refusal([](const Directory& d) { fs::remove(d / "tokenizer.json"); }), "tokenizer"},
      {load_refusal(set("config.json", "model_type", "bert")), "wanted whisper"},
      {load_refusal(set("config.json", "vocab_size", 100)), "wanted 0 to 99"},
      {load_refusal(set("config.json", "decoder_layers", 0)), "decoder_layers"},
      {load_refusal(set("config.json", "decoder_attention_heads", 5)), "does not divide"},
      {load_refusal(set("config.json", "tie_word_embeddings", false)), "tie_word_embeddings"},
      {load_refusal(set("generation_config.json", "eos_token_id", 1'000'000)), "eos_token_id"},
      {load_refusal(set("generation_config.json", "decoder_start_token_id", -1)), "decoder_start_token_id"},
      {load_refusal(set("generation_config.json", "no_timestamps_token_id", 5000)), "no_timestamps_token_id"},
      {load_refusal(set("generation_config.json", "lang_to_id", {{"<|de|>", 5000}})), "lang_to_id.<|de|>"},
      {load_refusal(set("generation_config.json", "lang_to_id", 3)), "lang_to_id"},
      {load_refusal(set("generation_config.json", "suppress_tokens", "all")), "suppress_tokens"},
      {load_refusal(set("generation_config.json", "forced_decoder_ids", {{2, 3}})), "forced_decoder_ids"},
      {load_refusal(set("generation_config.json", "max_initial_timestamp_index", -2)), "max_initial_timestamp_index"},
  };
  for (const auto& [sentence, part] : cases) EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
  EXPECT_THROW(Transcriber::load("missing"), std::system_error);
}

TEST(Transcriber, TokensDoNotDependOnThreads) {
  const Transcriber transcriber = Transcriber::load(kTranscripts / "multilingual");
  const Audio clip = clip_of("long");
  const std::vector<std::int32_t> wanted = transcriber.transcribe(clip).tokens;
  std::vector<std::vector<std::int32_t>> found(3);
  std::vector<std::thread> threads;
  for (auto& tokens : found) threads.emplace_back([&] { tokens = transcriber.transcribe(clip).tokens; });
  for (std::thread& thread : threads) thread.join();
  for (const auto& tokens : found) EXPECT_EQ(tokens, wanted);
}

TEST(Transcriber, SaysWhatItDoes) {
  const std::string text = described(Transcriber::load(kTranscripts / "multilingual").describe());
  for (const char* part : {"20 slaney bands", "one of 1.2 s", "greedy", "4, detected", "0.02 s"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace
