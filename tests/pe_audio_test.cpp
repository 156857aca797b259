#include "trine/encoders/pe_audio.h"

#include <stdexcept>

#include "trine/embedder.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::load_pe_audio;

const std::string kSmall = TRINE_TEST_DATA "/golden/pe_audio/small";
const std::string kClip = TRINE_TEST_DATA "/golden/spectrograms/clip.safetensors";

/// The first samples of the clip, as make_pe_audio.py has them.
trine::Audio sound(std::int64_t samples) {
  const trine::Checkpoint file = trine::Checkpoint::open(kClip);
  const Tensor clip = (trine::load_tensor(file, file.names().front()).to(torch::kFloat32) / 32'768).contiguous();
  const float* begin = clip.const_data_ptr<float>();
  return {48'000, {begin, begin + samples}};
}

TEST(PeAudio, ClipsEqualTheReference) {
  const Golden golden(kSmall);
  const trine::AnyEncoder encoder = trine::load_encoder(kSmall);
  ASSERT_TRUE(encoder.audio && encoder.text && !encoder.image && !encoder.similarity);
  EXPECT_EQ(encoder.audio->dim(), 16);
  for (const std::string& length : golden.names("vector.")) {
    const trine::Audio clip = sound(std::stoll(length));
    EXPECT_TRUE(torch::equal(encoder.audio->preprocess(clip), golden.tensor("samples." + length))) << length;
    const Tensor vector = encoder.audio->encode(clip);
    ASSERT_EQ(vector.sizes(), (std::vector<std::int64_t>{1, 16}));
    expect_features(vector[0], golden.tensor("vector." + length), length);
  }
}

TEST(PeAudio, TextsEqualTheReference) {
  const Golden golden(kSmall);
  const auto encoder = load_pe_audio(kSmall).text;
  EXPECT_EQ(encoder->max_tokens(), 32);
  expect_texts(golden, *encoder);
  const auto texts = golden.texts();
  const Tensor all = encoder->encode(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LT(largest_difference(encoder->encode({texts[i]})[0], all[static_cast<std::int64_t>(i)]), 1e-5);
  }
}

TEST(PeAudio, AnEmbedderHasBothModalities) {
  const trine::Embedder model = trine::Embedder::load(kSmall);
  EXPECT_EQ(model.modalities(), (std::vector<trine::Modality>{trine::Modality::text, trine::Modality::audio}));
  EXPECT_NEAR(model.embed_text("a red door").norm().item<float>(), 1, 1e-5);
}

TEST(PeAudio, DescribesItself) {
  const trine::AnyEncoder encoder = load_pe_audio(kSmall);
  const std::string audio = described(encoder.audio->describe());
  EXPECT_NE(audio.find("a step for each 60 samples"), std::string::npos) << audio;
  EXPECT_NE(audio.find("48000 Hz"), std::string::npos) << audio;
}

TEST(PeAudio, LongClipsAreForWindows) {
  const auto encoder = load_pe_audio(kSmall, {.max_seconds = 0.05}).audio;
  EXPECT_THROW(encoder->encode(sound(2'401)), std::invalid_argument);
  EXPECT_EQ(encoder->encode(sound(2'400)).size(1), 16);
  EXPECT_THROW(encoder->encode({48'000, {}}), std::invalid_argument);
  EXPECT_THROW(load_pe_audio(kSmall, {.max_seconds = 0}), std::invalid_argument);
}

TEST(PeAudio, WrongConfigsAreRefusedByKey) {
  const auto load = [](const fs::path& path) { load_pe_audio(path); };
  expect_refusals(kSmall, "config.json",
                  {{"/model_type", "pe_video"},
                   {"/audio_config/hidden_size", 0},
                   {"/audio_config/num_hidden_layers", 3, "layers.2"},
                   {"/audio_config/num_hidden_layers", 1, "layers.1"},
                   {"/audio_config/num_key_value_heads", 3},
                   {"/audio_config/head_dim", 7},
                   {"/audio_config/hidden_act", "snake"},
                   {"/audio_config/rms_norm_eps", 1},
                   {"/audio_config/rope_parameters/rope_type", "yarn"},
                   {"/audio_config/rope_parameters/rope_theta", 0},
                   {"/audio_config/dac_config/downsampling_ratios", Json::array()},
                   {"/audio_config/dac_config/downsampling_ratios", Json::array({3, 4, 65})},
                   {"/audio_config/dac_config/downsampling_ratios", Json::array({3, 4, 7}), "hop_length"},
                   {"/audio_config/dac_config/codebook_dim", 7, "bottleneck"},
                   {"/text_config/model_type", "bert"},
                   {"/text_config/hidden_size", 3}},
                  load);
  expect_refusals(kSmall, "preprocessor_config.json",
                  {{"/hop_length", 61}, {"/feature_extractor_type", "ClapFeatureExtractor"}, {"/sampling_rate", 0}},
                  load);
}

TEST(PeAudio, WrongWeightsAreRefusedByName) {
  const auto load = [](const fs::path& path) { load_pe_audio(path); };
  expect_weight_refusals(kSmall, "audio_encoder.embedder.dac_encoder.block.0.res_unit1.snake1.alpha",
                         "audio_encoder.layers.0.self_attn.scale", load);
  expect_weight_refusals(kSmall, "text_audio_head.proj.weight", "audio_head.proj.bias", load);
}

TEST(PeAudio, WrongSamplesAreRefused) {
  const trine::PeAudioEncoder network(trine::PeAudioConfig::load(kSmall + "/config.json").audio_config);
  for (const Tensor& samples : {torch::zeros({1, 1, 61}), torch::zeros({1, 1, 0}), torch::zeros({1, 2, 60})}) {
    EXPECT_NE(refusal<std::invalid_argument>([&] { network->forward(samples); }).find("a multiple of 60"),
              std::string::npos);
  }
}

}  // namespace
