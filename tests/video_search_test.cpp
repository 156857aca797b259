#include "trine/apps/video_search.h"

#include "encoder_testing.h"
#include "trine/heads.h"
#include "trine/search/query.h"

namespace {

namespace fs = std::filesystem;
using torch::Tensor;
using trine::Embedder;
using trine::Modality;
using trine::Moment;
using trine::VideoSearch;
using trine::VideoUnderstanding;
using trine::WatchedVideo;
using trine::testing::Directory;

const fs::path kVideos = fs::path(TRINE_TEST_DATA) / "golden/video";
const fs::path kClip = fs::path(TRINE_TEST_DATA) / "golden/vision/clip";
constexpr std::int64_t kDim = 24;

VideoUnderstanding network(std::int64_t dim = kDim) {
  torch::manual_seed(3);
  return VideoUnderstanding(trine::VideoUnderstandingOptions{
      .frame_dim = dim, .audio_dim = dim, .text_dim = dim, .hidden_dim = 8, .out_dim = dim, .num_heads = 2});
}

/// A model of ours with tiny towers for pictures, texts and clips, none of which was trained.
class VideoSearchTest : public testing::Test {
 protected:
  VideoSearchTest() {
    fs::copy(kClip, folder_ / "clip");
    fs::copy(trine::testing::kGolden / "whisper", folder_ / "whisper", fs::copy_options::recursive);
    torch::manual_seed(4);
    trine::SpeechHead head(
        trine::SpeechHeadOptions{.feature_dim = 16, .width = 24, .num_heads = 4, .hidden = 40, .out_dim = kDim});
    trine::reset_parameters(*head);
    trine::save_tensors(folder_ / "audio.safetensors", trine::state_dict(*head));
    folder_.write("config.json", R"({"model_type": "trine", "name": "tiny", "dim": 24, "image": {"encoder": "clip"},
        "text": {"encoder": "clip"}, "audio": {"encoder": "whisper", "weights": "audio.safetensors",
        "head": {"width": 24, "num_heads": 4, "hidden": 40}}})");
  }

  Embedder model() const { return Embedder::load(folder_.path()); }

  Directory folder_;
};

void expect_near(const Tensor& a, const Tensor& b) { EXPECT_LT((a - b).abs().max().item<float>(), 1e-5); }

TEST_F(VideoSearchTest, WatchesWhatIsSeenHeardAndWritten) {
  const Embedder embedder = model();
  const VideoSearch search(embedder, nullptr);
  const WatchedVideo video =
      search.watch(kVideos / "h264_aac_text.mp4", {.frames_per_second = 5, .thumbnail_width = 24});
  ASSERT_EQ(video.times.size(), 5u);
  EXPECT_DOUBLE_EQ(video.step, 0.2);
  const trine::Video decoded = trine::read_video(kVideos / "h264_aac_text.mp4", {.frames_per_second = 5});
  for (std::size_t i = 0; i < 5; ++i) {
    expect_near(video.frames[static_cast<std::int64_t>(i)], embedder.embed_image(decoded.frames[i].image));
  }
  EXPECT_TRUE(video.sound.norm(2, 1).gt(0.99).all().item<bool>());
  ASSERT_EQ(video.subtitles.size(), 2u);
  expect_near(video.written, embedder.embed_texts({"A red apple", "Milk & honey for two"}));
  const auto unit = [](const Tensor& rows) { return trine::normalise(rows.mean(0)); };
  expect_near(video.vector, trine::combine_query({{Modality::image, unit(video.frames)},
                                                  {Modality::audio, unit(video.sound)},
                                                  {Modality::text, unit(video.written)}}));
  EXPECT_NEAR(video.importance.sum().item<float>(), 1, 1e-5);
  EXPECT_FALSE(video.context.defined());
  ASSERT_EQ(video.thumbnails.size(), 5u);
  EXPECT_EQ(video.thumbnails[0].width, 24);
  EXPECT_EQ(video.thumbnails[0].height, 16);
}

TEST_F(VideoSearchTest, TheTemporalModelSeesTheSameVectors) {
  const torch::NoGradGuard no_grad;
  VideoUnderstanding temporal = network();
  const VideoSearch search(model(), temporal.ptr());
  EXPECT_TRUE(search.has_temporal());
  const WatchedVideo video = search.watch(kVideos / "h264_aac_text.mp4", {.frames_per_second = 10});
  const trine::UnderstoodVideo wanted = temporal->forward({.frames = video.frames.unsqueeze(0),
                                                           .audio = video.sound.unsqueeze(0),
                                                           .transcript = video.written.unsqueeze(0)});
  expect_near(video.vector, wanted.video[0]);
  expect_near(video.importance, wanted.importance[0]);
  ASSERT_EQ(video.context.sizes(), (std::vector<std::int64_t>{10, kDim}));
  // Around 0.8 s: frames 6 to 9, and the second subtitle only.
  const trine::UnderstoodVideo around = temporal->forward({.frames = video.frames.slice(0, 6, 10).unsqueeze(0),
                                                           .audio = video.sound.slice(0, 6, 10).unsqueeze(0),
                                                           .transcript = video.written.slice(0, 1, 2).unsqueeze(0)});
  expect_near(video.context[8], around.video[0]);
  // Long videos go through in pieces.
  const WatchedVideo longer = search.watch(kVideos / "h264_aac_text.mp4", {.frames = 40});
  EXPECT_NEAR(longer.importance.sum().item<float>(), 1, 1e-5);
  EXPECT_NEAR(longer.vector.norm().item<float>(), 1, 1e-5);
}

TEST_F(VideoSearchTest, TheModelsOwnTemporalModelIsTaken) {
  EXPECT_FALSE(VideoSearch(model()).has_temporal());
  network()->save(folder_ / "video");
  EXPECT_TRUE(VideoSearch(model()).has_temporal());
}

TEST_F(VideoSearchTest, MomentsAreStretchesThatFit) {
  const Embedder embedder = model();
  const VideoSearch search(embedder, nullptr);
  // Six seconds that are what the text says at 1, 2 and 5, and something else otherwise.
  const Tensor wanted = embedder.embed_text("a ripe banana");
  const Tensor other =
      trine::normalise(embedder.embed_text("food") - 2 * wanted * embedder.embed_text("food").dot(wanted));
  WatchedVideo video{.name = "made", .seconds = 6, .step = 1, .times = {0, 1, 2, 3, 4, 5}};
  video.frames = torch::stack({other, wanted, wanted, other, other, wanted});
  video.sound = torch::zeros_like(video.frames);
  video.subtitles = {{4.5, 5.5, "a ripe banana"}};
  video.written = torch::stack({wanted});
  const std::vector<Moment> moments = search.find(video, "a ripe banana", {.min_score = 1e-3f});
  ASSERT_GE(moments.size(), 2u);
  EXPECT_EQ(moments[0].frame, 5);  // seen and read
  EXPECT_DOUBLE_EQ(moments[0].start, 4);
  EXPECT_DOUBLE_EQ(moments[0].end, 6);
  EXPECT_EQ(moments[0].subtitle, "a ripe banana");
  EXPECT_GT(moments[0].read, 0);
  EXPECT_DOUBLE_EQ(moments[1].start, 1);
  EXPECT_DOUBLE_EQ(moments[1].end, 3);
  EXPECT_EQ(moments[1].heard, 0);
  EXPECT_GT(moments[0].score, moments[1].score);
  EXPECT_EQ(search.find(video, "a ripe banana", {.k = 1}).size(), 1u);
  EXPECT_TRUE(search.find(video, "a ripe banana", {.min_score = 1.0f}).empty());
  const Tensor scores = search.scores(video, "a ripe banana");
  EXPECT_EQ(scores.size(0), 6);
  EXPECT_TRUE(((scores >= 0) & (scores <= 1)).all().item<bool>());
}

TEST(Moment, SaysWhatFits) {
  Moment moment;
  moment.seen = 0.934f, moment.heard = 0.01f, moment.read = 0.41f;
  EXPECT_EQ(moment.reasons(), "seen 0.93, read 0.41");
  EXPECT_EQ(Moment{}.reasons(), "");
}

TEST_F(VideoSearchTest, WhatIsMissingIsNormal) {
  const VideoSearch search(model(), network().ptr());
  const WatchedVideo silent = search.watch(kVideos / "h264_709.mp4", {.frames = 3});
  EXPECT_EQ(silent.notes, std::vector<std::string>{"it has no sound"});
  EXPECT_EQ(silent.sound.abs().max().item<float>(), 0);
  EXPECT_EQ(silent.written.size(0), 0);
  EXPECT_NO_THROW(search.find(silent, "hello"));
  // A model of pictures and texts alone.
  const VideoSearch deaf{Embedder::load(kClip)};
  const WatchedVideo video = deaf.watch(kVideos / "h264_aac_text.mp4");
  EXPECT_EQ(video.notes, std::vector<std::string>{"its sound was left out: the model has no audio"});
  EXPECT_EQ(video.subtitles.size(), 2u);
}

TEST_F(VideoSearchTest, SubtitlesBesideTheVideo) {
  fs::copy(kVideos / "h264_709.mp4", folder_ / "clip.mp4");
  const VideoSearch search(model(), nullptr);
  EXPECT_TRUE(search.watch(folder_ / "clip.mp4").subtitles.empty());
  folder_.write("clip.srt", "1\n00:00:00,100 --> 00:00:00,900\nbeside\n");
  EXPECT_EQ(search.watch(folder_ / "clip.mp4").subtitles.at(0).text, "beside");
  folder_.write("other.vtt", "WEBVTT\n\n00:00.100 --> 00:00.900\nother\n");
  EXPECT_EQ(search.watch(folder_ / "clip.mp4", {.subtitles = folder_ / "other.vtt"}).subtitles.at(0).text, "other");
}

TEST_F(VideoSearchTest, RefusesWhatDoesNotFit) {
  const auto refusal = [](auto&& action) { return trine::testing::refusal<std::invalid_argument>(action); };
  EXPECT_NE(refusal([] { VideoSearch{Embedder::load(trine::testing::kGolden / "bert")}; }).find("has no images"),
            std::string::npos);
  EXPECT_NE(refusal([&] { VideoSearch(model(), network(16).ptr()); }).find("widths 16"), std::string::npos);
  const VideoSearch search(model(), nullptr);
  EXPECT_NE(refusal([&] { search.watch(kVideos / "h264_709.mp4", {.batch_size = 0}); }).find("batch_size"),
            std::string::npos);
  EXPECT_NE(refusal([&] { search.watch(kVideos / "h264_709.mp4", {.thumbnail_width = -1}); }).find("thumbnail_width"),
            std::string::npos);
  EXPECT_NE(refusal([&] { search.find({}, "hello"); }).find("must be vectors"), std::string::npos);
  const WatchedVideo video = search.watch(kVideos / "h264_709.mp4");
  EXPECT_NE(refusal([&] { search.find(video, "hello", {.k = 0}); }).find("k must be"), std::string::npos);
  EXPECT_THROW(search.find(video, "\xff"), std::invalid_argument);
  EXPECT_THROW(search.watch(kVideos / "sound_only.m4a"), std::runtime_error);
  EXPECT_THROW(search.watch(kVideos / "clips.txt"), std::runtime_error);
}

}  // namespace
