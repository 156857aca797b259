#include "trine/train/advise.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "encoder_testing.h"

namespace {

using torch::Tensor;
using trine::Features;
using trine::testing::refusal;
using trine::train::Advice;
using trine::train::advise;
using trine::train::AdviseOptions;
using trine::train::Comparison;
using trine::train::Verdict;

constexpr std::int64_t kClasses = 4, kDim = 12;

struct Made {
  Features features;
  Features masks;
  std::vector<std::string> labels;
};

Tensor noise(torch::Generator& random, std::int64_t rows) { return torch::randn({rows, kDim}, random); }

/// Samples of four classes. "image" tells the class with noise of this strength; "text" tells it as well as `text` says
/// (0: not at all).
Made made(std::int64_t count, double image_noise, double text, std::uint64_t seed = 1) {
  torch::Generator random = at::make_generator<at::CPUGeneratorImpl>(seed);
  const Tensor label = torch::arange(count) % kClasses;
  const Tensor centres = torch::eye(kDim).slice(0, 0, kClasses).index({label});
  Made sample{.features = {{"image", centres + image_noise * noise(random, count)},
                           {"text", text * centres + noise(random, count) * (text > 0 ? image_noise : 1.0)}},
              .masks = {},
              .labels = {}};
  for (std::int64_t i = 0; i < count; ++i) sample.labels.push_back(std::string("c").append(std::to_string(i % kClasses)));
  return sample;
}

const Comparison& comparison(const Advice& advice, const std::string& without, const std::string& added) {
  return *std::ranges::find_if(
      advice.comparisons, [&](const Comparison& c) { return c.without == std::vector{without} && c.added == added; });
}

bool says(const Advice& advice, const std::string& part) {
  return std::ranges::any_of(advice.sentences, [&](const std::string& s) { return s.find(part) != std::string::npos; });
}

TEST(Advise, PureNoiseDoesNotPay) {
  const Made sample = made(600, 0.3, 0);
  const Advice advice = advise(sample.features, {}, sample.labels);
  EXPECT_EQ(advice.samples, 600);
  EXPECT_EQ(advice.classes, kClasses);
  EXPECT_NEAR(advice.chance, 0.25, 1e-12);
  const Comparison& text = comparison(advice, "image", "text");
  EXPECT_EQ(text.verdict, Verdict::does_not_pay);
  EXPECT_LT(std::abs(text.gain), 0.01);
  EXPECT_EQ(advice.recommended, std::vector<std::string>{"image"});
  EXPECT_TRUE(says(advice, "text beside image does not pay")) << advice.sentences[1];
  EXPECT_EQ(comparison(advice, "text", "image").verdict, Verdict::pays);
  EXPECT_LT(advice.subsets[1].accuracy, 0.35);  // of the noise alone: chance
}

TEST(Advise, AnInformativeSecondModalityPays) {
  Made sample = made(600, 0.5, 1);
  AdviseOptions options;
  options.milliseconds = {{"image", 40}, {"text", 5}};
  const Advice advice = advise(sample.features, {}, sample.labels, options);
  const Comparison& text = comparison(advice, "image", "text");
  EXPECT_EQ(text.verdict, Verdict::pays);
  EXPECT_GT(text.interval.first, 0);
  EXPECT_LT(text.p_value, 0.01);
  EXPECT_EQ(text.gain, static_cast<double>(text.won - text.lost) / 600);
  EXPECT_EQ(text.milliseconds, 5);
  ASSERT_EQ(advice.recommended.size(), 2u);
  EXPECT_TRUE(says(advice, " pays: ") && says(advice, " ms more a query"));
  EXPECT_EQ(advice.subsets.back().modalities, (std::vector<std::string>{"image", "text"}));
  EXPECT_EQ(advice.subsets.back().milliseconds, 45);
  EXPECT_LE(advice.subsets.back().interval.first, advice.subsets.back().accuracy);
  EXPECT_GE(advice.subsets.back().interval.second, advice.subsets.back().accuracy);
}

TEST(Advise, ASmallSampleCannotTell) {
  const Made sample = made(24, 0.45, 1, 3);
  const Advice advice = advise(sample.features, {}, sample.labels);
  EXPECT_TRUE(
      std::ranges::any_of(advice.comparisons, [](const Comparison& c) { return c.verdict == Verdict::undecided; }));
}

TEST(Advise, LabelsThatNothingTellsAreAtChance) {
  torch::Generator random = at::make_generator<at::CPUGeneratorImpl>(4);
  Made sample = made(400, 0.5, 1);
  for (auto& [name, x] : sample.features) x = noise(random, 400);
  const Advice advice = advise(sample.features, {}, sample.labels);
  for (const auto& subset : advice.subsets) EXPECT_NEAR(subset.accuracy, 0.25, 0.08);
}

TEST(Advise, FollowsFromTheSeedAlone) {
  const Made sample = made(120, 0.6, 1);
  const Advice a = advise(sample.features, {}, sample.labels), b = advise(sample.features, {}, sample.labels);
  EXPECT_EQ(a.sentences, b.sentences);
  for (std::size_t i = 0; i < a.subsets.size(); ++i) EXPECT_EQ(a.subsets[i].right, b.subsets[i].right);
}

TEST(Advise, MissingModalitiesAreCountedAndHarmNobody) {
  Made sample = made(400, 0.3, 1);
  Tensor has = torch::ones({400}, torch::kBool);
  has.slice(0, 0, 100).fill_(false);
  sample.masks["text"] = has;
  sample.features["text"].slice(0, 0, 100).fill_(NAN);  // what a padded step holds does not matter
  const Advice advice = advise(sample.features, sample.masks, sample.labels);
  EXPECT_EQ(advice.missing.at("text"), 0.25);
  EXPECT_EQ(advice.missing.at("image"), 0);
  EXPECT_EQ(advice.subsets[1].covered, 0.75);
  EXPECT_EQ(advice.subsets[2].covered, 1);
  EXPECT_GE(advice.subsets[2].accuracy, advice.subsets[0].accuracy - 0.01);
  EXPECT_TRUE(says(advice, "Most often missing: text, in 25.0 %"));
}

TEST(Advise, StepsAreAveraged) {
  const Made sample = made(200, 0.5, 1);
  Features steps;
  Features masks;
  for (const auto& [name, x] : sample.features) {
    steps[name] = torch::stack({x + 1, x - 1, torch::full_like(x, 7)}, 1);
    masks[name] = torch::tensor({true, true, false}).expand({200, 3});
  }
  const Advice plain = advise(sample.features, {}, sample.labels), stepped = advise(steps, masks, sample.labels);
  for (std::size_t i = 0; i < plain.subsets.size(); ++i) EXPECT_EQ(plain.subsets[i].right, stepped.subsets[i].right);
}

/// Copies of one thing in another fold would be recognised, whatever their label says.
TEST(Advise, CopiesOfOneThingStayInOneFold) {
  torch::Generator random = at::make_generator<at::CPUGeneratorImpl>(5);
  constexpr std::int64_t kThings = 60, kCopies = 5;
  const Tensor things = torch::randn({kThings, 200}, random);
  Features features{{"image", things.repeat({kCopies, 1})}};
  std::vector<std::string> labels;
  AdviseOptions options;
  for (std::int64_t i = 0; i < kThings * kCopies; ++i) {
    labels.push_back(i % kThings % 7 % 2 == 0 ? "a" : "b");
    options.ids.push_back(std::to_string(i % kThings));
  }
  EXPECT_GT(advise(features, {}, labels).subsets[0].accuracy, 0.95);
  EXPECT_LT(advise(features, {}, labels, options).subsets[0].accuracy, 0.75);
}

/// A head that was calibrated with copies of a thing at hand would be far too sure, and outvote a better one.
TEST(Advise, CopiesDoNotMakeAHeadTooSure) {
  torch::Generator random = at::make_generator<at::CPUGeneratorImpl>(6);
  constexpr std::int64_t kThings = 120, kCopies = 4, kWide = 200;
  const Tensor label = torch::arange(kThings) % kClasses;
  const Tensor weak =
      0.6 * torch::eye(kWide).slice(0, 0, kClasses).index({label}) + 0.3 * torch::randn({kThings, kWide}, random);
  const Tensor strong = torch::eye(kWide).slice(0, 0, kClasses).index({label.repeat({kCopies})}) +
                        0.3 * torch::randn({kThings * kCopies, kWide}, random);
  std::vector<std::string> labels;
  AdviseOptions options;
  for (std::int64_t i = 0; i < kThings * kCopies; ++i) {
    labels.push_back(std::string("c").append(std::to_string(i % kThings % kClasses)));
    options.ids.push_back(std::to_string(i % kThings));
  }
  const Advice advice = advise({{"strong", strong}, {"weak", weak.repeat({kCopies, 1})}}, {}, labels, options);
  EXPECT_LT(advice.subsets[1].accuracy, advice.subsets[0].accuracy - 0.05);
  EXPECT_GE(advice.subsets[2].accuracy, advice.subsets[0].accuracy - 0.01);
}

TEST(Advise, SaysWhatToCollectNext) {
  Made sample = made(400, 0.2, 1);
  for (std::size_t i = 0; i < 400; i += 4) {
    sample.features["image"][static_cast<std::int64_t>(i)] = sample.features["image"][static_cast<std::int64_t>(i) + 1];
    sample.features["text"][static_cast<std::int64_t>(i)] = sample.features["text"][static_cast<std::int64_t>(i) + 1];
  }
  const Advice advice = advise(sample.features, {}, sample.labels);
  const std::set<std::string> worst{advice.worst[0].label, advice.worst[1].label};
  EXPECT_EQ(worst, (std::set<std::string>{"c0", "c1"}));  // these two look the same
  EXPECT_GT(advice.worst[0].wrong + advice.worst[1].wrong, 60);
  EXPECT_EQ(advice.worst[2].wrong, 0);
  EXPECT_TRUE(says(advice, "Collect next: "));
  ASSERT_EQ(advice.learning.size(), 3u);
  EXPECT_EQ(advice.learning.back().samples, 320);
  EXPECT_EQ(advice.learning[1].samples, 160);
}

TEST(Advise, RefusesWhatCannotBeLearnt) {
  const Made sample = made(40, 0.5, 1);
  const auto refused = [](const Features& features, const Features& masks, const std::vector<std::string>& labels,
                          const std::string& part, const AdviseOptions& options = {}) {
    const std::string sentence = refusal<std::invalid_argument>([&] { advise(features, masks, labels, options); });
    EXPECT_NE(sentence.find(part), std::string::npos) << part << ": " << sentence;
  };
  refused({}, {}, sample.labels, "at least one modality");
  refused(sample.features, {}, {}, "empty");
  refused(sample.features, {}, std::vector<std::string>(40, "same"), "two are wanted");
  refused(sample.features, {}, std::vector<std::string>(39, "a"), "one row for each label");
  std::vector<std::string> labels = sample.labels;
  labels[7] = "";
  refused(sample.features, {}, labels, "sample 7 has no label");
  refused(sample.features, {}, sample.labels, "40 samples for 41 folds", {.folds = 41});
  refused(sample.features, {}, sample.labels, "folds", {.folds = 1});
  refused(sample.features, {}, sample.labels, "worth", {.worth = NAN});
  refused(sample.features, {}, sample.labels, "1 samples of different ids", {.ids = std::vector<std::string>(40, "x")});
  refused(sample.features, {}, sample.labels, "ids", {.ids = {"x"}});
  Features broken = sample.features;
  broken["text"] = broken["text"].clone();
  broken["text"][5][2] = NAN;
  refused(broken, {}, sample.labels, "sample 5");
  Features masks{{"image", torch::ones({40}, torch::kBool)}, {"text", torch::ones({40}, torch::kBool)}};
  masks["image"][3] = masks["text"][3] = false;
  refused(sample.features, masks, sample.labels, "sample 3 has no modality");
  refused(sample.features, {{"audio", masks["image"]}}, sample.labels, "no features");
}

}  // namespace
