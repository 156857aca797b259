// PE's towers for videos, and PE-AV: tests/golden/make_pe_video.py.

#include "trine/encoders/pe_video.h"

#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>

#include "trine/embedder.h"
#include "trine/encoders/pe_audio_video.h"
#include "trine/encoders/video.h"
#include "trine/input/video.h"
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

const fs::path kClip = TRINE_TEST_DATA "/golden/video/h264_709.mp4";  // ten frames in a second

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
  expect_features(model.logits(PePair::video_text, found.video, found.text_video), golden.tensor("logits_video_text"),
                  "logits");
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

TEST(PeVideo, AnEmbedderTakesVideosInAnyForm) {
  const Golden golden(kSmall);
  const trine::Embedder model = trine::Embedder::load(kSmall);
  const Tensor wanted = golden.tensor("video.5");
  EXPECT_GT(smallest_cosine(model.embed_video(golden.tensor("frames").slice(0, 0, 5)), wanted), 0.999999);
  EXPECT_GT(smallest_cosine(model.embed_video(frames(golden, 5)), wanted), 0.999999);
  const Tensor every = model.embed_videos({frames(golden, 5), frames(golden, 1)}, {.batch_size = 2});
  EXPECT_EQ(every.sizes(), (std::vector<std::int64_t>{2, 16}));
  EXPECT_GT(smallest_cosine(every[0], wanted), 0.999999);
  EXPECT_GT(smallest_cosine(every[1], golden.tensor("video.1")), 0.999999);
  EXPECT_EQ(model.embed_videos({}, {.truncate_dim = 3}).sizes(), (std::vector<std::int64_t>{0, 3}));
}

TEST(PeVideo, FramesOfAFileAreThoseThatTheProcessorTakes) {
  std::vector<trine::Image> every;
  for (trine::VideoFrame& frame : trine::read_video(kClip, {.frames_per_second = 10}).frames) {
    every.push_back(std::move(frame.image));
  }
  ASSERT_EQ(every.size(), 10u);
  const trine::Embedder all = trine::Embedder::load(kSmall), three = trine::Embedder::load(kBoth);
  EXPECT_LT(largest_difference(all.embed_video(kClip), all.embed_video(every)), 1e-5);
  EXPECT_LT(
      largest_difference(three.embed_video(kClip), three.embed_video({std::vector{every[0], every[4], every[9]}})),
      1e-5);
  std::ifstream file(kClip, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(content));
  EXPECT_TRUE(torch::equal(three.embed_video(std::vector(bytes.begin(), bytes.end())), three.embed_video(kClip)));
  // what is asked for is taken in place of the processor's choice, all of it
  const auto encoder = trine::load_encoder(kBoth).image;
  const auto& tower = dynamic_cast<const trine::VideoEncoder&>(*encoder);
  std::vector<trine::Image> four;
  for (trine::VideoFrame& frame : trine::read_video(kClip, {.frames = 4}).frames)
    four.push_back(std::move(frame.image));
  EXPECT_GT(
      smallest_cosine(three.embed_videos({kClip}, {.frames = 4})[0], tower.join(tower.look(pixels_of(tower, four)))),
      0.999999);
  EXPECT_EQ(tower.choose(10, 1), (std::vector<std::int64_t>{0, 4, 9}));
  EXPECT_EQ(tower.choose(1, 1), (std::vector<std::int64_t>{0, 0, 0}));
}

TEST(PeVideo, WithoutSuchATowerAVideoIsTheMeanOfItsFrames) {
  const Golden golden(kBoth);
  const trine::Embedder model = trine::Embedder::load(kVision / "clip");
  std::vector<trine::ImageInput> pictures;
  for (trine::Image& frame : frames(golden, 5)) pictures.emplace_back(std::move(frame));
  const Tensor wanted = trine::normalise(model.embed_images(pictures).mean(0));
  EXPECT_LT(largest_difference(model.embed_videos({golden.tensor("frames")}, {.batch_size = 2})[0], wanted), 1e-5);
  const trine::Video read = trine::read_video(kClip, {.frames_per_second = 1});
  ASSERT_EQ(read.frames.size(), 1u);
  EXPECT_LT(largest_difference(model.embed_video(kClip), model.embed_image(read.frames[0].image)), 1e-5);
  EXPECT_LT(largest_difference(model.video_probabilities({kClip}, {"a red door", "a lamp"}),
                               model.image_probabilities({read.frames[0].image}, {"a red door", "a lamp"})),
            1e-5);
}

TEST(PeVideo, WrongVideosAreRefused) {
  const trine::Embedder model = trine::Embedder::load(kSmall);
  const auto why = [&](const trine::VideoInput& video, const trine::VideoEmbedOptions& options = {}) {
    return refusal<std::invalid_argument>([&] { model.embed_videos({video}, options); });
  };
  for (const Tensor& wrong : {Tensor(), torch::zeros({2, 8, 8, 3}), torch::zeros({8, 8, 3}, torch::kUInt8),
                              torch::zeros({2, 3, 8, 8}, torch::kUInt8)}) {
    EXPECT_NE(why(wrong).find("(T, H, W, 3) of Byte"), std::string::npos) << why(wrong);
  }
  EXPECT_NE(why(torch::zeros({0, 8, 8, 3}, torch::kUInt8)).find("no frames"), std::string::npos);
  EXPECT_NE(why(std::vector<trine::Image>{}).find("no frames"), std::string::npos);
  EXPECT_NE(why(std::vector{trine::Image{4, 4, {1, 2, 3}}}).find("width * height * 3"), std::string::npos);
  EXPECT_NE(why(torch::zeros({10'001, 1, 1, 3}, torch::kUInt8)).find("10001 frames"), std::string::npos);
  EXPECT_NE(why(kClip, {.frames_per_second = -1}).find("frames_per_second is -1"), std::string::npos);
  EXPECT_NE(why(kClip, {.frames = -1}).find("frames must not be below 0"), std::string::npos);
  EXPECT_NE(why(kClip, {.batch_size = 0}).find("batch_size"), std::string::npos);
  EXPECT_NE(why(kClip, {.truncate_dim = 17}).find("truncate_dim"), std::string::npos);
  EXPECT_THROW(model.embed_video(fs::path(kSmall) / "missing.mp4"), std::system_error);
  EXPECT_NE(refusal<std::runtime_error>([&] { model.embed_video(fs::path(kSmall) / "config.json"); }).find("no video"),
            std::string::npos);
  EXPECT_NE(refusal<std::runtime_error>([&] { model.embed_video(std::vector<std::byte>{}); }).find("empty"),
            std::string::npos);
  EXPECT_THROW(trine::Embedder::load(kVision / "clip_text").embed_video(kClip), std::invalid_argument);
}

TEST(PeAudioVideo, ProbabilitiesAreOfFeaturesWithALength) {
  const Golden golden(kBoth);
  const trine::Embedder model = trine::Embedder::load(kBoth);
  const std::vector<std::string> texts{"a red door", "the old wooden lamp"};
  const PeAudioVideo parts = PeAudioVideo::load(kBoth);
  const PeEmbeddings found = parts.embed({.audio = sound(4'900), .video = frames(golden, 5), .text = texts});
  EXPECT_LT(largest_difference(model.audio_probabilities({sound(4'900)}, texts),
                               parts.logits(PePair::audio_text, found.audio, found.text_audio).sigmoid()),
            1e-5);
  EXPECT_LT(largest_difference(model.video_probabilities({frames(golden, 5)}, texts),
                               parts.logits(PePair::video_text, found.video, found.text_video).sigmoid()),
            1e-5);
  EXPECT_LT(largest_difference(model.image_probabilities({frames(golden, 1)[0]}, texts),
                               parts.logits(PePair::video_text, golden.tensor("image"), found.text_video).sigmoid()),
            1e-5);
  EXPECT_EQ(model.scoring_kind(trine::Modality::audio), trine::SimilarityKind::sigmoid);
  EXPECT_EQ(model.image_probabilities({}, texts).sizes(), (std::vector<std::int64_t>{0, 2}));
  std::string long_text;
  for (int i = 0; i < 200; ++i) long_text += "red ";
  const auto why = [](const auto& call) { return refusal<std::invalid_argument>(call); };
  EXPECT_NE(why([&] { model.scoring(trine::Modality::audio); }).find("whose length counts"), std::string::npos);
  EXPECT_NE(why([&] {
              model.image_probabilities({frames(golden, 1)[0]}, {long_text});
            }).find("tokens, the model scores at most"),
            std::string::npos);
  EXPECT_NE(why([&] {
              model.audio_probabilities({trine::Audio{48'000, std::vector<float>(48'000 * 31, 0.1f)}}, texts);
            }).find("s of sound, the model scores at most 30"),
            std::string::npos);
  EXPECT_NE(
      why([&] { model.video_probabilities({frames(golden, 1)}, texts, {.truncate_dim = 3}); }).find("whole features"),
      std::string::npos);
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
                   {"/audio_video_config/hidden_size", 15, "class_embedding"},
                   {"/audio_video_config/audio_config/dac_config/codebook_dim", 7, "bottleneck"}},
                  load);
  expect_refusals(
      kBoth, "processor_config.json",
      {{"/video_processor/num_frames", 1}, {"/video_processor/num_frames", 0}, {"/feature_extractor/hop_length", 61}},
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
