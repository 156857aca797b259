#include "trine/encoders/whisper.h"

#include <stdexcept>
#include <thread>

#include "encoder_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::Audio;
using trine::Checkpoint;
using trine::load_whisper;

const fs::path kWhisper = kGolden / "whisper";

Audio clip_of(const Tensor& samples, int rate = 16'000) {
  const Tensor flat = samples.contiguous();
  const float* begin = flat.const_data_ptr<float>();
  return {rate, {begin, begin + flat.numel()}};
}

std::string load_refusal(const std::function<void(const Directory&)>& change) {
  const Directory directory(kWhisper);
  change(directory);
  return refusal<std::runtime_error>([&] { load_whisper(directory.path()); });
}

TEST(Whisper, StatesEqualTheReference) {
  const Checkpoint expected = Checkpoint::open(kWhisper / "expected.safetensors");
  const auto encoder = load_whisper(kWhisper);
  EXPECT_EQ(encoder->dim(), 16);
  EXPECT_EQ(encoder->sample_rate(), 16'000);
  EXPECT_DOUBLE_EQ(encoder->max_seconds(), 1.2);
  for (const std::string name : {"full", "short", "odd", "shortest"}) {
    const Tensor states = encoder->encode(clip_of(trine::load_tensor(expected, name + ".samples")));
    const Tensor wanted = trine::load_tensor(expected, name + ".states");
    EXPECT_LT(relative_difference(states, wanted), 1e-4) << name;
    EXPECT_FALSE(states.requires_grad());
  }
}

TEST(Whisper, KeysWithoutModelAreRead) {
  const Directory directory(kWhisper);
  directory.change_weights([](auto& tensors) {
    std::map<std::string, Tensor> renamed;
    for (const auto& [name, tensor] : tensors) {
      if (name.starts_with("model.")) renamed[name.substr(6)] = tensor;
    }
    tensors = renamed;
  });
  const Audio clip = clip_of(trine::load_tensor(Checkpoint::open(kWhisper / "expected.safetensors"), "short.samples"));
  EXPECT_EQ(largest_difference(load_whisper(directory.path())->encode(clip), load_whisper(kWhisper)->encode(clip)), 0);
}

TEST(Whisper, OtherRatesAreResampled) {
  const auto encoder = load_whisper(kWhisper);
  const Audio clip = clip_of(noise("clip", {9600}) / 4, 48'000);
  const Tensor states = encoder->encode(clip);
  EXPECT_EQ(states.sizes(), (std::vector<std::int64_t>{10, 16}));
  const Audio resampled{16'000, trine::resample(clip.samples, 48'000, 16'000)};
  EXPECT_EQ(largest_difference(states, encoder->encode(resampled)), 0);
  EXPECT_EQ(encoder->encode(clip_of(noise("clip", {52'920}) / 4, 44'100)).size(0), 60);  // max_seconds exactly
}

TEST(Whisper, StatesDoNotDependOnThreads) {
  const auto encoder = load_whisper(kWhisper);
  const Audio clip = clip_of(noise("clip", {19'200}) / 4);
  const auto [one, two] = with_one_and_two_threads([&] { return encoder->encode(clip); });
  EXPECT_LT(largest_difference(one, two), 1e-5);
  std::vector<Tensor> found(4);
  std::vector<std::thread> threads;
  for (Tensor& tensor : found) threads.emplace_back([&] { tensor = encoder->encode(clip); });
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& tensor : found) EXPECT_LT(largest_difference(tensor, one), 1e-5);
}

TEST(Whisper, BatchOfMelsEqualsSingleMels) {
  trine::WhisperEncoder network(trine::WhisperConfig::load(kWhisper / "config.json"));
  trine::load_weights(*network, Checkpoint::open(kWhisper), "model.encoder.");
  const torch::NoGradGuard no_grad;
  const Tensor mels = noise("mels", {7, 80, 120});
  const Tensor all = network->forward(mels);
  for (std::int64_t i = 0; i < 7; ++i) {
    EXPECT_LT(largest_difference(network->forward(mels.slice(0, i, i + 1))[0], all[i]), 1e-5);
  }
  EXPECT_NE(refusal<std::invalid_argument>([&] {
              network->forward(noise("mels", {1, 80, 121}));
            }).find("121 mel frames"),
            std::string::npos);
}

TEST(Whisper, TwoPartsAreTheWhole) {
  trine::WhisperEncoder network(trine::WhisperConfig::load(kWhisper / "config.json"));
  trine::load_weights(*network, Checkpoint::open(kWhisper), "model.encoder.");
  const torch::NoGradGuard no_grad;
  const Tensor mel = noise("mel", {1, 80, 60});
  const Tensor whole = network->forward(mel);
  for (const std::int64_t blocks : {0, 1, 2}) {
    const Tensor steps = network->begin(mel, blocks);
    EXPECT_EQ(largest_difference(network->finish(steps, blocks), whole), 0) << blocks;
    // beside a longer clip, with what padding holds made visible
    const Tensor longer = torch::cat({steps, torch::full({1, 7, 16}, 100.0)}, 1);
    const Tensor mask = torch::arange(37).unsqueeze(0) < 30;
    EXPECT_LT(largest_difference(network->finish(longer, blocks, mask).slice(1, 0, 30), whole), 1e-5) << blocks;
  }
}

TEST(Whisper, FrozenBlocksGetNoGradients) {
  trine::WhisperEncoder network(trine::WhisperConfig::load(kWhisper / "config.json"));
  trine::copy_weights(*network, Checkpoint::open(kWhisper), "model.encoder.");
  network->freeze_blocks(1);
  network->forward(noise("mel", {1, 80, 60})).square().sum().backward();
  for (const auto& item : network->named_parameters()) {
    const bool trained = item.key().starts_with("layers.1.") || item.key().starts_with("layer_norm.");
    EXPECT_EQ(item.value().grad().defined(), trained) << item.key();
  }
}

TEST(Whisper, TunedWeightsReplaceTheCheckpoints) {
  const Directory directory(kWhisper);
  trine::WhisperEncoder network(trine::WhisperConfig::load(kWhisper / "config.json"));
  trine::copy_weights(*network, Checkpoint::open(kWhisper), "model.encoder.");
  const std::string name = "layers.1.fc1.weight";
  const Tensor changed = trine::state_dict(*network).at(name) * 2;
  trine::save_tensors(directory / "tuned.safetensors", {{"encoder." + name, changed}});
  trine::save_tensors(directory / "wrong.safetensors", {{"encoder." + name, changed.t()}});
  const Audio clip = clip_of(noise("clip", {9600}) / 4);
  const Tensor tuned = load_whisper(kWhisper, directory / "tuned.safetensors")->encode(clip);
  EXPECT_GT(largest_difference(tuned, load_whisper(kWhisper)->encode(clip)), 1e-3);
  directory.change_weights([&](auto& tensors) { tensors["model.encoder." + name] = changed; });
  EXPECT_EQ(largest_difference(tuned, load_whisper(directory.path())->encode(clip)), 0);
  EXPECT_NE(refusal<std::runtime_error>([&] { load_whisper(kWhisper, directory / "wrong.safetensors"); }).find(name),
            std::string::npos);
}

TEST(Whisper, ClipsThatDoNotFitAreRefused) {
  const auto encoder = load_whisper(kWhisper);
  const auto sentence = [&](std::int64_t samples, int rate = 16'000) {
    return refusal<std::invalid_argument>([&] { encoder->encode(clip_of(torch::zeros({samples}), rate)); });
  };
  EXPECT_NE(sentence(0).find("at least 320"), std::string::npos) << sentence(0);
  EXPECT_NE(sentence(319).find("319 samples"), std::string::npos) << sentence(319);
  EXPECT_EQ(sentence(320), "accepted");
  EXPECT_EQ(sentence(19'200), "accepted");
  EXPECT_NE(sentence(19'360).find("1.2 s"), std::string::npos) << sentence(19'360);
  EXPECT_NE(sentence(16'000, 0).find("rate"), std::string::npos) << sentence(16'000, 0);
  EXPECT_NE(refusal<std::invalid_argument>([&] { encoder->encode(clip_of(torch::full({800}, NAN))); }).find("finite"),
            std::string::npos);
}

TEST(Whisper, DescribesItself) {
  std::string all;
  for (const auto& [key, value] : load_whisper(kWhisper)->describe()) all += key + ": " + value + "\n";
  for (const char* part : {"model_type: whisper", "16000 Hz", "80 slaney", "1.2 s"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << " in " << all;
  }
}

TEST(Whisper, WrongConfigIsRefusedByKey) {
  const std::vector<std::pair<const char*, Json>> cases = {{"d_model", nullptr},
                                                           {"encoder_layers", nullptr},
                                                           {"encoder_attention_heads", 3},
                                                           {"d_model", 1 << 20},
                                                           {"d_model", -1},
                                                           {"encoder_layers", 1.5},
                                                           {"encoder_ffn_dim", 0},
                                                           {"num_mel_bins", 1000},
                                                           {"max_source_positions", 0},
                                                           {"max_source_positions", "60"},
                                                           {"activation_function", "gelu_new"},
                                                           {"encoder_layers", std::uint64_t{1} << 63}};
  for (const auto& [key, value] : cases) {
    const std::string sentence = load_refusal([key = key, &value = value](const Directory& d) {
      d.change("config.json", [&](Json& json) {
        if (value.is_null())
          json.erase(key);
        else
          json[key] = value;
      });
    });
    EXPECT_NE(sentence.find(key), std::string::npos) << key << " " << value << ": " << sentence;
  }
}

TEST(Whisper, WrongWeightsAreRefusedByName) {
  const std::string key = "model.encoder.layers.1.self_attn.k_proj.weight";
  const std::string missing =
      load_refusal([&](const Directory& d) { d.change_weights([&](auto& tensors) { tensors.erase(key); }); });
  EXPECT_NE(missing.find(key), std::string::npos) << missing;
  const std::string shape = load_refusal(
      [](const Directory& d) { d.change("config.json", [](Json& json) { json["max_source_positions"] = 61; }); });
  EXPECT_NE(shape.find("embed_positions.weight of shape [60, 16], wanted [61, 16]"), std::string::npos) << shape;
}

TEST(Whisper, RealStatesEqualTheReference) {
  const fs::path directory = cached("whisper-tiny.en");
  TRINE_NEEDS_CACHED(directory);
  const Checkpoint expected = Checkpoint::open(kGolden / "real_whisper-tiny.en.safetensors");
  const auto encoder = load_whisper(directory);
  EXPECT_DOUBLE_EQ(encoder->max_seconds(), 30);
  const double on_two_seconds = relative_difference(encoder->encode(clip_of(trine::load_tensor(expected, "samples"))),
                                                    trine::load_tensor(expected, "states"));
  const Tensor full = encoder->encode(clip_of(noise("clip", {480'000}) / 8));
  const double on_thirty =
      relative_difference(full.slice(0, 0, std::nullopt, 100), trine::load_tensor(expected, "full"));
  RecordProperty("on_two_seconds", std::to_string(on_two_seconds));
  RecordProperty("on_thirty_seconds", std::to_string(on_thirty));
  EXPECT_LT(on_two_seconds, 1e-4);
  EXPECT_LT(on_thirty, 1e-4);
}

}  // namespace
