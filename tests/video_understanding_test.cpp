#include "trine/apps/video_understanding.h"

#include "module_testing.h"

namespace {

using namespace trine::testing;
using trine::UnderstoodVideo;
using trine::VideoSteps;
using trine::VideoUnderstanding;
using trine::VideoUnderstandingOptions;

constexpr VideoUnderstandingOptions kSmall{
    .frame_dim = 5, .audio_dim = 3, .text_dim = 4, .hidden_dim = 4, .out_dim = 6, .num_heads = 2};

VideoUnderstanding network_of(const ReferenceCase& wanted) {
  const auto size = [&](const char* key) { return wanted.config.at(key).get<std::int64_t>(); };
  VideoUnderstanding network(VideoUnderstandingOptions{.frame_dim = size("frame_dim"),
                                                       .audio_dim = size("audio_dim"),
                                                       .text_dim = size("text_dim"),
                                                       .hidden_dim = size("hidden_dim"),
                                                       .out_dim = size("out_dim"),
                                                       .num_layers = size("num_layers"),
                                                       .num_heads = size("num_heads")});
  take_weights(*network, wanted);
  return network;
}

TEST(VideoUnderstanding, CasesOfTheReference) {
  const torch::NoGradGuard no_grad;
  for (const ReferenceCase& wanted : reference_cases("VideoUnderstanding")) {
    SCOPED_TRACE(wanted.name);
    const UnderstoodVideo found = network_of(wanted)->forward({.frames = wanted.at("in.frames"),
                                                               .audio = wanted.at("in.audio"),
                                                               .mask = wanted.at("in.mask"),
                                                               .transcript = wanted.at("in.transcript"),
                                                               .transcript_mask = wanted.at("in.transcript_mask")});
    expect_close(found.video, wanted.at("out.video"));
    expect_close(found.importance, wanted.at("out.importance"));
  }
}

TEST(VideoUnderstanding, GradientsOfTheReference) {
  const ReferenceCase wanted = reference_cases("gradient-VideoUnderstanding").front();
  VideoUnderstanding network = network_of(wanted);
  expect_gradients(network.get(), wanted, [&](const Tensors& inputs) {
    const UnderstoodVideo found = network->forward({.frames = inputs.at("frames"),
                                                    .audio = inputs.at("audio"),
                                                    .mask = inputs.at("mask"),
                                                    .transcript = inputs.at("transcript"),
                                                    .transcript_mask = inputs.at("transcript_mask")});
    return Tensors{{"video", found.video}, {"importance", found.importance}};
  });
}

TEST(VideoUnderstanding, AVideoIsTheSameAloneAndBesideALongerOne) {
  torch::manual_seed(1);
  const torch::NoGradGuard no_grad;
  VideoUnderstanding network(kSmall);
  const Tensor frames = torch::randn({2, 7, 5});
  frames[0].slice(0, 3).fill_(NAN);  // padding
  Tensor mask = torch::ones({2, 7}, torch::kBool);
  mask[0].slice(0, 3).fill_(false);
  const UnderstoodVideo both = network->forward({.frames = frames, .mask = mask});
  const UnderstoodVideo alone = network->forward({.frames = frames.slice(0, 0, 1).slice(1, 0, 3)});
  expect_close(both.video.slice(0, 0, 1), alone.video);
  expect_close(both.importance.sum(1), torch::ones({2}), 1e-6);
  expect_close(both.video.norm(2, -1), torch::ones({2}), 1e-6);
}

TEST(VideoUnderstanding, IsSavedAndLoaded) {
  torch::manual_seed(2);
  const torch::NoGradGuard no_grad;
  const Directory directory;
  VideoUnderstanding network(kSmall);
  network->save(directory.path());
  VideoUnderstanding loaded = trine::VideoUnderstandingImpl::load(directory.path());
  const Tensor frames = torch::randn({1, 7, 5});
  EXPECT_EQ(largest_difference(loaded->forward({.frames = frames}).video, network->forward({.frames = frames}).video),
            0);
}

TEST(VideoUnderstanding, WrongInputsAreSentences) {
  VideoUnderstanding network(kSmall);
  const auto refused = [&](const std::function<void(VideoSteps&)>& change) {
    VideoSteps steps{.frames = torch::randn({2, 3, 5})};
    change(steps);
    return refusal<std::invalid_argument>([&] { network->forward(steps); });
  };
  const auto bools = [](std::vector<std::int64_t> values) {
    return torch::tensor(values).to(torch::kBool).view({2, -1});
  };
  EXPECT_EQ(refused([&](VideoSteps& s) {
              s.mask = bools({1, 0, 0, 0, 0, 0});
            }),
            "[VideoUnderstanding] video 1 has no frame");
  EXPECT_EQ(refused([&](VideoSteps& s) {
              s.mask = bools({1, 0, 0, 1, 0, 1});
            }),
            "[VideoUnderstanding] the real frames of a video come first; in video 1 one stands behind padding");
  EXPECT_EQ(refused([](VideoSteps& s) {
              s.frames = torch::ones({2, 3, 4});
            }),
            "[VideoUnderstanding] frames must be floats (B, T, 5); got Float [2, 3, 4]");
  EXPECT_EQ(refused([](VideoSteps& s) {
              s.audio = torch::ones({2, 4, 3});
            }),
            "[VideoUnderstanding] audio must be floats (2, 3, 3); got Float [2, 4, 3]");
  EXPECT_NE(refused([](VideoSteps& s) {
              s.transcript = torch::ones({1, 4, 4});
            }).find("a transcript must be"),
            std::string::npos);
  EXPECT_NE(refused([&](VideoSteps& s) {
              s.transcript_mask = bools({1, 1});
            }).find("needs a transcript"),
            std::string::npos);
  VideoUnderstandingOptions options = kSmall;
  options.num_heads = 3;
  EXPECT_EQ(refusal<std::invalid_argument>([&] { VideoUnderstanding{options}; }),
            "[VideoUnderstanding] twice hidden_dim 4 is not a multiple of num_heads 3");
}

}  // namespace
