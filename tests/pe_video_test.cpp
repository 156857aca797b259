// PE's towers for videos, and PE-AV: tests/golden/make_pe_video.py.

#include "trine/encoders/pe_video.h"

#include <stdexcept>

#include "trine/embedder.h"
#include "trine/encoders/pe_audio_video.h"
#include "trine/encoders/video.h"
#include "vision_testing.h"

namespace {

using namespace trine::testing;
using torch::Tensor;
using trine::PeAudioVideo;
using trine::PeEmbeddings;
using trine::PePair;

const std::string kSmall = TRINE_TEST_DATA "/golden/pe_video/small";
const std::string kBoth = TRINE_TEST_DATA "/golden/pe_video/both";
const std::string kSounds = TRINE_TEST_DATA "/golden/pe_audio/small";

std::vector<trine::Image> frames(const Golden& golden, std::int64_t count) {
  std::vector<trine::Image> video;
  for (const Tensor& frame : golden.tensor("frames").slice(0, 0, count).unbind()) video.push_back(to_image(frame));
  return video;
}

/// The clip of make_pe_video.py.
trine::Audio sound(std::int64_t samples = 500) {
  const trine::Checkpoint file = trine::Checkpoint::open(TRINE_TEST_DATA "/golden/spectrograms/clip.safetensors");
  const Tensor clip = (trine::load_tensor(file, file.names().front()).to(torch::kFloat32) / 32'768).contiguous();
  const float* begin = clip.const_data_ptr<float>();
  return {48'000, {begin, begin + samples}};
}

Tensor pixels_of(const trine::ImageEncoder& encoder, const std::vector<trine::Image>& video) {
  std::vector<Tensor> pixels;
  for (const trine::Image& frame : video) pixels.push_back(encoder.preprocess(frame));
  return torch::stack(pixels);
}

TEST(PeVideo, VideosEqualTheReference) {
  const Golden golden(kSmall);
  const trine::AnyEncoder encoder = trine::load_encoder(kSmall);
  ASSERT_TRUE(encoder.image && encoder.text && !encoder.audio && !encoder.similarity);
  const auto* video = dynamic_cast<const trine::VideoEncoder*>(encoder.image.get());
  ASSERT_NE(video, nullptr);
  EXPECT_EQ(video->dim(), 16);
  for (const std::string& count : golden.names("video.")) {
    const Tensor pixels = pixels_of(*video, frames(golden, std::stoll(count)));
    expect_features(video->encode_video(pixels), golden.tensor("video." + count), count);
  }
  // the reference resizes by torch: a byte may be 1 off
  EXPECT_LT(largest_difference(video->preprocess(frames(golden, 1)[0]), golden.tensor("pixels")), 2.1 / 255);
  expect_features(video->encode(pixels_of(*video, frames(golden, 1)))[0], golden.tensor("video.1"), "a picture");
  expect_texts(golden, *encoder.text);
  expect_no_batch_effect(*video, {"photo", "tall", "small"});
}

TEST(PeVideo, ScoresOfVideosAndTextsEqualTheReference) {
  const Golden golden(kSmall);
  const PeAudioVideo model = PeAudioVideo::load(kSmall);
  EXPECT_EQ(model.pairs(), std::vector<PePair>{PePair::video_text});
  const PeEmbeddings found = model.embed({.video = frames(golden, 5), .text = golden.texts()});
  EXPECT_FALSE(found.audio.defined() || found.audio_video.defined() || found.text_audio.defined());
  expect_features(model.logits(PePair::video_text, found.video, found.text_video),
                  golden.tensor("logits_video_text"), "logits");
}

TEST(PeAudioVideo, EveryVectorEqualsTheReference) {
  const Golden golden(kBoth);
  const PeAudioVideo model = PeAudioVideo::load(kBoth);
  const PeEmbeddings found = model.embed({.audio = sound(), .video = frames(golden, 5), .text = golden.texts()});
  const auto same = [&](const Tensor& vectors, const std::string& name) {
    ASSERT_TRUE(vectors.defined()) << name;
    const Tensor wanted = golden.tensor(name + "_embeds");
    expect_features(vectors.dim() == 1 ? vectors.expand_as(wanted) : vectors, wanted, name);
  };
  same(found.audio, "audio");
  same(found.video, "video");
  same(found.audio_video, "audio_video");
  same(found.text_audio, "text_audio");
  same(found.text_video, "text_video");
  same(found.text_audio_video, "text_audio_video");
  same(found.audio_plus_text, "audio_plus_text");
  same(found.video_plus_text, "video_plus_text");
  const auto scores = [&](PePair pair, const Tensor& a, const Tensor& b) {
    const Tensor wanted = golden.tensor("logits_" + std::string(to_string(pair)));  // of each text's row
    expect_features(model.logits(pair, a, b).reshape(-1).expand({wanted.size(0)}), wanted.flatten(),
                    std::string(to_string(pair)));
  };
  scores(PePair::audio_text, found.audio, found.text_audio);
  scores(PePair::video_text, found.video, found.text_video);
  scores(PePair::audio_video, found.audio, found.video);
  scores(PePair::audio_video_text, found.audio_video, found.text_audio_video);
  scores(PePair::audio_plus_text_video, found.audio_plus_text, found.video);
  scores(PePair::video_plus_text_audio, found.video_plus_text, found.audio);
}

TEST(PeAudioVideo, AnySubsetGivesWhatFollowsFromIt) {
  const Golden golden(kBoth);
  const PeAudioVideo model = PeAudioVideo::load(kBoth);
  EXPECT_EQ(model.pairs().size(), 6u);
  const PeEmbeddings all = model.embed({.audio = sound(), .video = frames(golden, 5), .text = {{"a red door"}}});
  const PeEmbeddings heard = model.embed({.audio = sound(), .text = {{"a red door"}}});
  EXPECT_FALSE(heard.video.defined() || heard.audio_video.defined() || heard.video_plus_text.defined());
  EXPECT_LT(largest_difference(heard.audio, all.audio), 1e-5);
  EXPECT_LT(largest_difference(heard.audio_plus_text, all.audio_plus_text), 1e-5);
  const PeEmbeddings seen = model.embed({.video = frames(golden, 5)});
  EXPECT_LT(largest_difference(seen.video, all.video), 1e-5);
  EXPECT_FALSE(seen.text_video.defined());
  EXPECT_EQ(model.embed({.text = std::vector<std::string>{}}).text_audio.sizes(), (std::vector<std::int64_t>{0, 16}));
}

TEST(PeAudioVideo, WhatItLacksIsRefused) {
  const Golden golden(kBoth);
  const PeAudioVideo both = PeAudioVideo::load(kBoth), sounds = PeAudioVideo::load(kSounds, {.max_seconds = 0.01});
  const auto why = [](const auto& call) { return refusal<std::invalid_argument>(call); };
  EXPECT_NE(why([&] { both.embed({}); }).find("there is none"), std::string::npos);
  EXPECT_NE(why([&] { both.embed({.video = std::vector<trine::Image>{}}); }).find("no frames"), std::string::npos);
  EXPECT_NE(why([&] { sounds.embed({.video = frames(golden, 1)}); }).find("audio, text"), std::string::npos);
  EXPECT_NE(why([&] { sounds.embed({.audio = sound(481)}); }).find("at most 0.01"), std::string::npos);
  EXPECT_NE(why([&] { sounds.embed({.audio = trine::Audio{48'000, {}}}); }).find("above 0"), std::string::npos);
  EXPECT_NE(why([&] { sounds.logits(PePair::audio_video, torch::zeros(16), torch::zeros(16)); }).find("no scores"),
            std::string::npos);
  EXPECT_NE(why([&] { both.logits(PePair::audio_text, torch::zeros(3), torch::zeros(16)); }).find("(N, 16)"),
            std::string::npos);
  EXPECT_NE(why([&] { both.logits(PePair::audio_text, {}, torch::zeros(16)); }).find("nothing"), std::string::npos);
  EXPECT_NE(why([] { trine::pe_pair("text_text"); }).find("audio_video_text"), std::string::npos);
  EXPECT_NE(refusal<std::runtime_error>([] { PeAudioVideo::load(kVision / "clip"); }).find("pe_audio_video"),
            std::string::npos);
}

TEST(PeAudioVideo, AnEmbedderHasAllThree) {
  const Golden golden(kBoth);
  const trine::Embedder model = trine::Embedder::load(kBoth);
  EXPECT_EQ(model.modalities().size(), 3u);
  const PeEmbeddings wanted = PeAudioVideo::load(kBoth).embed({.audio = sound(4'900), .text = {{"a red door"}}});
  EXPECT_GT(smallest_cosine(model.embed_text("a red door"), wanted.text_video[0]), 0.999999);
  EXPECT_GT(smallest_cosine(model.embed_audio(sound(4'900)), wanted.audio), 0.999999);
  EXPECT_GT(smallest_cosine(model.embed_image(frames(golden, 1)[0]), golden.tensor("image")), 0.999999);
}

TEST(PeAudioVideo, DescribesItself) {
  const std::string both = described(PeAudioVideo::load(kBoth).describe());
  for (const char* fact : {"video.frames", "3, evenly from the first to the last", "audio.codec", "48000 Hz",
                           "audio_plus_text_video.similarity", "sigmoid of"}) {
    EXPECT_NE(both.find(fact), std::string::npos) << fact << '\n' << both;
  }
}

TEST(PeVideo, WrongConfigsAreRefusedByKey) {
  const auto load = [](const fs::path& path) { trine::load_encoder(path); };
  expect_refusals(kSmall, "config.json",
                  {{"/video_config/hidden_size", 0},
                   {"/video_config/head_dim", 7},
                   {"/video_config/num_hidden_layers", 1, "layers.1"},
                   {"/video_config/rope_parameters/rope_theta", 0},
                   {"/video_config/vision_config/architecture", "resnet50"},
                   {"/video_config/vision_config/num_classes", 0},
                   {"/video_config/vision_config/num_classes", 11, "head"},
                   {"/video_config/vision_config/model_args/img_size", 32, "image_size"},
                   {"/text_config/model_type", "bert"}},
                  load);
  expect_refusals(kSmall, "video_preprocessor_config.json",
                  {{"/size", nullptr},
                   {"/size/height", 17, "image_size"},
                   {"/video_processor_type", "LlavaOnevisionVideoProcessor"},
                   {"/image_std", 0}},
                  load);
  expect_refusals(kBoth, "config.json",
                  {{"/audio_video_config/video_config/hidden_size", 16},
                   {"/audio_video_config/hidden_size", 15, "concat_modality_proj"},
                   {"/audio_video_config/audio_config/dac_config/codebook_dim", 7, "bottleneck"}},
                  load);
  expect_refusals(kBoth, "processor_config.json",
                  {{"/video_processor/num_frames", 1}, {"/video_processor/num_frames", 0},
                   {"/feature_extractor/hop_length", 61}},
                  load);
}

TEST(PeVideo, WrongWeightsAreRefusedByName) {
  const auto load = [](const fs::path& path) { trine::load_encoder(path); };
  expect_weight_refusals(kSmall, "video_encoder.embedder.vision_model.timm_model.cls_token",
                         "video_encoder.embedder.vision_model.timm_model.fc_norm.weight", load);
  expect_weight_refusals(kBoth, "video_plus_text_head.proj.weight", "audio_video_encoder.embedder.gate", load);
  expect_weight_refusals(kBoth, "audio_video_logit_bias", "audio_model.audio_encoder.scale", load);
}

TEST(PeVideo, WrongPixelsAreRefused) {
  const auto encoder = trine::load_encoder(kSmall).image;
  const auto& video = dynamic_cast<const trine::VideoEncoder&>(*encoder);
  EXPECT_THROW(video.encode_video(torch::zeros({0, 3, 16, 16})), std::invalid_argument);
  EXPECT_THROW(video.encode_video(torch::zeros({2, 3, 16, 17})), std::invalid_argument);
  EXPECT_THROW(video.encode_video(torch::zeros({3, 16, 16})), std::invalid_argument);
}

}  // namespace
