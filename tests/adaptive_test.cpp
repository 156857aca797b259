#include "trine/adaptive.h"

#include <random>

#include "encoder_testing.h"
#include "trine/search/index.h"

namespace {

using torch::Tensor;
using trine::AdaptiveAnswer;
using trine::AdaptiveCurve;
using trine::AdaptiveInference;
using trine::AdaptivePolicy;
using trine::LabelledQuery;
using trine::Modality;
using trine::OperatingPoint;
using trine::ProductSearch;
using trine::Route;
using trine::testing::Directory;
using trine::testing::refusal;

constexpr std::int64_t kDim = 32, kProducts = 12;

std::string id_of(std::int64_t product) { return "p" + std::to_string(product); }

/// Products along the axes of the space.
std::shared_ptr<const ProductSearch> catalogue() {
  static const auto search = [] {
    const Directory folder;
    trine::Index index(kDim);
    trine::testing::Json products = trine::testing::Json::array();
    for (std::int64_t i = 0; i < kProducts; ++i) {
      std::vector<float> vector(kDim, 0.0f);
      vector[static_cast<std::size_t>(i)] = 1;
      index.add(id_of(i) + "\ntitle", vector);
      products.push_back({{"id", id_of(i)}, {"title", "product " + std::to_string(i)}});
    }
    trine::Embedder model = trine::Embedder::load(trine::testing::kGolden / "bert");
    index.metadata()["catalogue"] = products.dump();
    index.metadata()["model"] = model.name();
    index.save(folder / "axes.trine");
    return std::make_shared<const ProductSearch>(std::move(model), folder / "axes.trine");
  }();
  return search;
}

class Sampler {
 public:
  explicit Sampler(std::uint64_t seed) : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)), random_(seed) {}

  std::int64_t product() { return static_cast<std::int64_t>(random_() % kProducts); }
  bool chance(double p) { return static_cast<double>(random_() % 1'000'000) < p * 1e6; }

  /// Near a product; the noise has about this length.
  Tensor near(std::int64_t product, double noise) {
    const Tensor vector = torch::zeros({kDim}) + noise / std::sqrt(double{kDim}) * torch::randn({kDim}, generator_);
    vector[product] += 1;
    return trine::normalise(vector);
  }

  /// The picture often fails, the text seldom, the clip hardly ever.
  LabelledQuery query(bool with_audio = true) {
    const std::int64_t wanted = product();
    LabelledQuery query{.id = id_of(wanted),
                        .vectors = {{Modality::text, near(wanted, chance(0.5) ? 0.3 : 3.0)},
                                    {Modality::image, near(wanted, chance(0.7) ? 0.3 : 2.0)}},
                        .milliseconds = {{Modality::text, 5}, {Modality::image, 40}}};
    if (with_audio) {
      query.vectors[Modality::audio] = near(wanted, chance(0.9) ? 0.3 : 2.0);
      query.milliseconds[Modality::audio] = 60;
    }
    return query;
  }

  std::vector<LabelledQuery> sample(int count) {
    std::vector<LabelledQuery> queries;
    for (int i = 0; i < count; ++i) queries.push_back(query());
    return queries;
  }

 private:
  torch::Generator generator_;
  std::mt19937_64 random_;
};

/// Towers that say which of them ran.
trine::Towers counted(const LabelledQuery& query, std::vector<Modality>& ran) {
  trine::Towers towers;
  for (const auto& [modality, vector] : query.vectors) {
    towers[modality] = [&ran, m = modality, v = vector] {
      ran.push_back(m);
      return v;
    };
  }
  return towers;
}

LabelledQuery clear_query(std::int64_t text, std::int64_t image) {
  return {.id = id_of(text),
          .vectors = {{Modality::text, torch::eye(kDim)[text]}, {Modality::image, torch::eye(kDim)[image]}}};
}

TEST(AdaptiveInference, OneModalityIsSimpleWhateverTheThresholds) {
  const AdaptiveInference adaptive(catalogue(), {.confidence = 1, .agreement = 1});
  const AdaptiveAnswer answer = adaptive.search(trine::Towers{{Modality::image, [] { return torch::eye(kDim)[3]; }}});
  EXPECT_EQ(answer.route, Route::simple);
  EXPECT_EQ(answer.hits.at(0).id, "p3");
  EXPECT_FALSE(answer.agreement.has_value());
  EXPECT_TRUE(answer.skipped.empty());
  ASSERT_EQ(answer.milliseconds.size(), 2u);
  EXPECT_EQ(answer.milliseconds[0].first, "image");
  EXPECT_EQ(answer.milliseconds[1].first, "search");
}

TEST(AdaptiveInference, ComputesTheCheapestTowerFirstAndNoOtherThanItNeeds) {
  const LabelledQuery query = clear_query(2, 2);
  std::vector<Modality> ran;
  const AdaptiveInference eager(catalogue(), {.confidence = 0.5});
  AdaptiveAnswer answer = eager.search(counted(query, ran));
  EXPECT_EQ(ran, std::vector{Modality::text});
  EXPECT_EQ(answer.route, Route::simple);
  EXPECT_EQ(answer.computed, std::vector{Modality::text});
  EXPECT_EQ(answer.skipped, std::vector{Modality::image});

  ran.clear();
  const AdaptiveInference other_costs(catalogue(),
                                      {.confidence = 0.5, .towers = {{Modality::text, 50}, {Modality::image, 10}}});
  EXPECT_EQ(other_costs.search(counted(query, ran)).route, Route::simple);
  EXPECT_EQ(ran, std::vector{Modality::image});

  ran.clear();
  const AdaptiveInference careful(catalogue(), {.confidence = 1});
  answer = careful.search(counted(query, ran));
  EXPECT_EQ(ran, (std::vector{Modality::text, Modality::image}));
  EXPECT_EQ(answer.route, Route::moderate);
  EXPECT_GT(*answer.agreement, 0.99);
  EXPECT_TRUE(answer.skipped.empty());
}

TEST(AdaptiveInference, AThirdTowerIsComputedOnlyWhereTheFirstTwoDisagree) {
  const AdaptivePolicy policy{.confidence = 0.9, .agreement = 0.5, .chances = {{Modality::text, {0.5, 0.3}}}};
  const AdaptiveInference adaptive(catalogue(), policy);  // the text is never sure
  for (const std::int64_t image : {2, 4}) {
    LabelledQuery query = clear_query(2, image);
    query.vectors[Modality::audio] = torch::eye(kDim)[image];
    std::vector<Modality> ran;
    const AdaptiveAnswer answer = adaptive.search(counted(query, ran));
    EXPECT_EQ(ran.size(), image == 2 ? 2u : 3u);
    EXPECT_EQ(answer.route, image == 2 ? Route::moderate : Route::complex);
    EXPECT_EQ(answer.skipped.size(), image == 2 ? 1u : 0u);
    EXPECT_EQ(*answer.agreement < 0.5, image == 4);
    EXPECT_EQ(answer.hits.at(0).id, id_of(image));
  }
}

TEST(AdaptiveInference, ModalitiesThatContradictEachOtherAreComplex) {
  const AdaptiveInference adaptive(catalogue(), {.confidence = 1, .agreement = 0.5});
  const LabelledQuery query = clear_query(2, 7);
  std::vector<Modality> ran;
  const AdaptiveAnswer answer = adaptive.search(counted(query, ran), {.k = 2});
  EXPECT_EQ(answer.route, Route::complex);
  EXPECT_LT(*answer.agreement, 0.1);
  ASSERT_EQ(answer.hits.size(), 2u);
  EXPECT_LT(answer.confidence, 0.7);  // one of two
  EXPECT_EQ(std::set({answer.hits[0].id, answer.hits[1].id}), (std::set<std::string>{"p2", "p7"}));
  EXPECT_EQ(answer.hits[0].reasons.size(), 2u);
}

TEST(AdaptiveInference, TheSameQueryGetsTheSameAnswer) {
  Sampler sampler(5);
  AdaptiveInference adaptive(catalogue());
  adaptive.fit(sampler.sample(100));
  for (int i = 0; i < 20; ++i) {
    const LabelledQuery query = sampler.query();
    std::vector<Modality> ran;
    const AdaptiveAnswer a = adaptive.search(counted(query, ran)), b = adaptive.search(counted(query, ran));
    EXPECT_EQ(a.route, b.route);
    EXPECT_EQ(a.confidence, b.confidence);
    EXPECT_EQ(a.agreement, b.agreement);
    ASSERT_EQ(a.hits.size(), b.hits.size());
    for (std::size_t j = 0; j < a.hits.size(); ++j) EXPECT_EQ(a.hits[j].score, b.hits[j].score);
  }
}

TEST(AdaptiveInference, TheFitKeepsTheWantedQualityOnUnseenQueriesAndSaves) {
  Sampler sampler(1);
  AdaptiveInference adaptive(catalogue());
  const AdaptiveCurve fitted = adaptive.fit(sampler.sample(600), {.wanted = 0.97});
  EXPECT_EQ(fitted.chosen.confidence, adaptive.policy().confidence);
  EXPECT_GE(fitted.chosen.quality, 0.97 * fitted.always_complex.quality);
  const AdaptiveCurve unseen = adaptive.curve(sampler.sample(600));
  EXPECT_GE(unseen.chosen.quality, 0.97 * unseen.always_complex.quality);
  EXPECT_LT(unseen.chosen.milliseconds, 0.8 * unseen.always_complex.milliseconds);
  EXPECT_LT(unseen.chosen.towers, 0.8);
}

/// One query in five is of a set whose text names the wrong product now and then.
TEST(AdaptiveInference, TheFitKeepsTheWantedQualityInEachSet) {
  Sampler sampler(21);
  const auto sample_of = [&](int count) {
    std::vector<LabelledQuery> sample;
    for (int i = 0; i < count; ++i) {
      const std::int64_t wanted = sampler.product();
      const bool misheard = i % 5 == 0 && sampler.chance(0.1);
      sample.push_back({.id = id_of(wanted),
                        .vectors = {{Modality::text, sampler.near((wanted + misheard) % kProducts, 0.3)},
                                    {Modality::image, sampler.near(wanted, 0.3)}},
                        .milliseconds = {{Modality::text, 5}, {Modality::image, 40}},
                        .set = i % 5 == 0 ? "noisy" : "quiet"});
    }
    return sample;
  };
  std::vector<LabelledQuery> sample = sample_of(600), unseen = sample_of(600);
  std::erase_if(unseen, [](const LabelledQuery& query) { return query.set == "quiet"; });
  AdaptiveInference adaptive(catalogue());
  adaptive.fit(sample, {.wanted = 0.95});
  AdaptiveCurve noisy = adaptive.curve(unseen);
  EXPECT_GE(noisy.chosen.quality, 0.95 * noisy.always_complex.quality);
  for (LabelledQuery& query : sample) query.set = "";
  adaptive.fit(sample, {.wanted = 0.95});  // of the whole, which the noisy set hardly shows in
  noisy = adaptive.curve(unseen);
  EXPECT_LT(noisy.chosen.quality, 0.95 * noisy.always_complex.quality);
}

/// The clip costs a little more than the others and is nearly always right.
TEST(AdaptiveInference, TheFitBeginsWithTheTowerThatSettlesMost) {
  Sampler sampler(12);
  std::vector<LabelledQuery> sample;
  for (int i = 0; i < 400; ++i) {
    const std::int64_t wanted = sampler.product();
    const auto every_other_time = [&] { return sampler.near(wanted, sampler.chance(0.5) ? 0.3 : 30.0); };
    sample.push_back({.id = id_of(wanted),
                      .vectors = {{Modality::text, every_other_time()},
                                  {Modality::image, every_other_time()},
                                  {Modality::audio, sampler.near(wanted, 0.3)}},
                      .milliseconds = {{Modality::text, 40}, {Modality::image, 42}, {Modality::audio, 45}}});
  }
  AdaptiveInference adaptive(catalogue());
  adaptive.fit(sample, {.wanted = 0.95});
  EXPECT_EQ(adaptive.policy().order.at(0), Modality::audio);
  std::vector<Modality> ran;
  adaptive.search(counted(sample[0], ran));
  EXPECT_EQ(ran.at(0), Modality::audio);
}

TEST(AdaptiveInference, MoreQualityWantedCostsMore) {
  Sampler sampler(2);
  const std::vector<LabelledQuery> sample = sampler.sample(300);
  AdaptiveInference adaptive(catalogue());
  double last = 0;
  for (const double wanted : {0.7, 0.9, 1.0}) {
    adaptive.fit(sample, {.wanted = wanted});
    const double cost = adaptive.curve(sample).chosen.milliseconds;
    EXPECT_GE(cost, last - 2) << wanted;  // searches are timed anew by each fit, and take part of a millisecond
    last = cost;
  }
  EXPECT_EQ(adaptive.policy().confidence, 1);  // no answer may be lost
}

TEST(AdaptiveInference, TheCurveRisesFromAlwaysSimpleAndEndsWhereNothingIsBetter) {
  Sampler sampler(3);
  AdaptiveInference adaptive(catalogue());
  const std::vector<LabelledQuery> sample = sampler.sample(300);
  const AdaptiveCurve curve = adaptive.fit(sample);
  EXPECT_EQ(curve.count, 300);
  ASSERT_GE(curve.points.size(), 3u);
  for (std::size_t i = 1; i < curve.points.size(); ++i) {
    EXPECT_GT(curve.points[i].right, curve.points[i - 1].right);
    EXPECT_GT(curve.points[i].milliseconds, curve.points[i - 1].milliseconds);
  }
  EXPECT_EQ(curve.points.front().milliseconds, curve.always_simple.milliseconds);
  EXPECT_EQ(curve.points.front().quality, curve.always_simple.quality);
  EXPECT_EQ(curve.always_simple.simple, 1);
  EXPECT_NEAR(curve.always_simple.towers, 1.0 / 3, 1e-12);
  EXPECT_EQ(adaptive.policy().order.size(), 3u);
  EXPECT_EQ(curve.always_complex.complex, 1);
  EXPECT_EQ(curve.always_complex.towers, 1);
  EXPECT_GE(curve.points.back().right, curve.always_complex.right);
  const double towers = 5 + 40 + 60;
  EXPECT_NEAR(curve.always_complex.milliseconds, towers + adaptive.policy().searches.at(Route::complex), 1e-9);

  const std::vector<OperatingPoint> ends = adaptive.measure(sample, {{0, 0}, {1, 1}, {1, 0}});
  EXPECT_EQ(ends[0].right, curve.always_simple.right);
  EXPECT_EQ(ends[1].right, curve.always_complex.right);
  EXPECT_EQ(ends[2].moderate, 1);
}

TEST(AdaptiveInference, WhatIsMeasuredIsWhatIsAnswered) {
  Sampler sampler(4);
  AdaptiveInference adaptive(catalogue());
  adaptive.fit(sampler.sample(300), {.wanted = 0.9});
  const std::vector<LabelledQuery> sample = sampler.sample(200);
  std::int64_t right = 0;
  std::size_t computed = 0;
  std::map<Route, double> routes;
  for (const LabelledQuery& query : sample) {
    std::vector<Modality> ran;
    const AdaptiveAnswer answer = adaptive.search(counted(query, ran), {.k = 1});
    right += answer.hits[0].id == query.id;
    computed += ran.size();
    routes[answer.route] += 1.0 / 200;
  }
  const OperatingPoint chosen = adaptive.curve(sample).chosen;
  EXPECT_EQ(chosen.right, right);
  EXPECT_NEAR(chosen.towers, static_cast<double>(computed) / 600, 1e-12);
  EXPECT_NEAR(chosen.simple, routes[Route::simple], 1e-9);
  EXPECT_NEAR(chosen.complex, routes[Route::complex], 1e-9);
}

/// The mean of what was predicted against the share that happened, in bins.
void expect_calibrated(const std::vector<std::pair<double, bool>>& predicted, double tolerance) {
  constexpr int kBins = 5;
  std::array<double, kBins> sum{}, happened{};
  std::array<int, kBins> count{};
  for (const auto& [chance, event] : predicted) {
    const auto bin = static_cast<std::size_t>(std::min(kBins - 1, static_cast<int>(chance * kBins)));
    sum[bin] += chance;
    happened[bin] += event;
    ++count[bin];
  }
  int checked = 0;
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    if (count[bin] < 30) continue;
    ++checked;
    const double chance = sum[bin] / count[bin];
    const double error = std::sqrt(chance * (1 - chance) / count[bin]);  // of a share of so few
    EXPECT_NEAR(chance, happened[bin] / count[bin], tolerance + 2 * error) << "bin " << bin << " of " << count[bin];
  }
  EXPECT_GE(checked, 1);
}

TEST(AdaptiveInference, ConfidenceAndAgreementAreChances) {
  Sampler sampler(6);
  AdaptiveInference adaptive(catalogue());
  std::vector<LabelledQuery> sample;
  for (int i = 0; i < 600; ++i) sample.push_back(sampler.query(/*with_audio=*/false));
  adaptive.fit(sample);
  AdaptivePolicy policy = adaptive.policy();
  policy.confidence = 0;  // the text alone
  const AdaptiveInference alone(catalogue(), policy);
  policy.confidence = 1;  // both towers always
  const AdaptiveInference both(catalogue(), policy);
  std::vector<std::pair<double, bool>> right, same;
  for (int i = 0; i < 800; ++i) {
    LabelledQuery query = sampler.query(false), other = sampler.query(false);
    std::vector<Modality> ran;
    const AdaptiveAnswer answer = alone.search(counted(query, ran), {.k = 1});
    right.emplace_back(answer.confidence, answer.hits[0].id == query.id);
    same.emplace_back(*both.search(counted(query, ran), {.k = 1}).agreement, true);
    if (other.id == query.id) continue;
    query.vectors[Modality::text] = other.vectors[Modality::text];
    same.emplace_back(*both.search(counted(query, ran), {.k = 1}).agreement, false);
  }
  expect_calibrated(right, 0.15);  // three deviations of the smallest bins
  expect_calibrated(same, 0.15);
}

TEST(AdaptiveInference, SamplesMayLackModalities) {
  Sampler sampler(7);
  std::vector<LabelledQuery> sample = sampler.sample(300);
  for (std::size_t i = 0; i < sample.size(); ++i) {
    if (i % 3 == 0) sample[i].vectors.erase(Modality::text);
    if (i % 5 == 0) sample[i].vectors.erase(Modality::audio);
    if (i % 7 == 0) sample[i].vectors = {*sample[i].vectors.begin()};
  }
  AdaptiveInference adaptive(catalogue());
  const AdaptiveCurve curve = adaptive.fit(sample);
  EXPECT_GT(curve.always_complex.simple, 0);  // queries of one modality stay simple
  EXPECT_GT(curve.always_complex.complex, 0);
  EXPECT_EQ(curve.always_complex.towers, 1);
  EXPECT_GE(curve.chosen.quality, 0.95 * curve.always_complex.quality);
}

TEST(AdaptiveInference, ASampleTooSmallToProveAnythingSavesNothing) {
  Sampler sampler(8);
  AdaptiveInference adaptive(catalogue());
  adaptive.fit(sampler.sample(20));
  EXPECT_EQ(adaptive.policy().confidence, 1);
  EXPECT_EQ(adaptive.policy().agreement, 1);
}

TEST(AdaptiveInference, ASavedOneRoutesTheSame) {
  const Directory folder;
  Sampler sampler(9);
  const std::vector<LabelledQuery> sample = sampler.sample(200);
  torch::manual_seed(1);
  AdaptiveInference adaptive(
      catalogue(), {},
      trine::make_fusion(trine::FusionType::attention,
                         {.modalities = {"audio", "image", "text"}, .hidden_dim = kDim, .num_heads = 4, .ff_dim = 32}));
  const AdaptiveCurve before = adaptive.fit(sample, {.wanted = 0.9});
  adaptive.save(folder / "adaptive");
  const AdaptiveInference loaded = AdaptiveInference::load(catalogue(), folder / "adaptive");
  EXPECT_TRUE(loaded.fusion());
  EXPECT_EQ(loaded.policy().confidence, adaptive.policy().confidence);
  EXPECT_EQ(loaded.policy().agreement, adaptive.policy().agreement);
  EXPECT_EQ(loaded.policy().order, adaptive.policy().order);
  EXPECT_EQ(loaded.policy().towers, adaptive.policy().towers);
  EXPECT_EQ(loaded.policy().searches, adaptive.policy().searches);
  EXPECT_EQ(loaded.policy().fusion_share, adaptive.policy().fusion_share);
  const AdaptiveCurve after = loaded.curve(sample);
  EXPECT_EQ(after.chosen.right, before.chosen.right);
  EXPECT_EQ(after.chosen.milliseconds, before.chosen.milliseconds);
  EXPECT_EQ(after.always_complex.right, before.always_complex.right);

  AdaptiveInference(catalogue()).save(folder / "plain");
  EXPECT_FALSE(AdaptiveInference::load(catalogue(), folder / "plain").fusion());
}

/// A fusion that knows nothing gets no say beside modalities that do.
TEST(AdaptiveInference, AFusionThatKnowsNothingIsGivenNoShare) {
  Sampler sampler(10);
  torch::manual_seed(2);
  trine::Fusion fusion =
      trine::make_fusion(trine::FusionType::attention,
                         {.modalities = {"audio", "image", "text"}, .hidden_dim = kDim, .num_heads = 4, .ff_dim = 32});
  {
    const torch::NoGradGuard no_grad;  // one that is only untrained would still pass on a mean of its inputs
    for (auto& item : fusion->named_parameters()) item.value().normal_();
  }
  const std::vector<LabelledQuery> sample = sampler.sample(300);
  AdaptiveInference with(catalogue(), {}, fusion), without(catalogue());
  const AdaptiveCurve a = with.fit(sample), b = without.fit(sample);
  EXPECT_LE(with.policy().fusion_share, 0.5);
  EXPECT_GE(a.always_complex.right, b.always_complex.right - 3);
}

TEST(AdaptiveInference, RefusesBadQueriesSamplesAndPolicies) {
  const AdaptiveInference adaptive(catalogue());
  EXPECT_THROW(adaptive.search(trine::Inputs{}), std::invalid_argument);
  EXPECT_THROW(adaptive.search(trine::Towers{}), std::invalid_argument);
  const Tensor broken = torch::full({kDim}, NAN);
  EXPECT_THROW(adaptive.search(trine::Towers{{Modality::image, [&] { return broken; }}}), std::invalid_argument);
  EXPECT_THROW(adaptive.search(trine::Towers{{Modality::image, [&] { return torch::ones({3}); }}}),
               std::invalid_argument);
  EXPECT_THROW(adaptive.search(trine::Towers{{Modality::text, [] { return torch::eye(kDim)[0]; }}}, {.k = 0}),
               std::invalid_argument);

  Sampler sampler(11);
  AdaptiveInference fitted(catalogue());
  std::vector<LabelledQuery> sample = sampler.sample(10);
  const auto refused = [&](const std::vector<LabelledQuery>& bad, const std::string& part,
                           const trine::AdaptiveFitOptions& options = {}) {
    const std::string sentence = refusal<std::invalid_argument>([&] { fitted.fit(bad, options); });
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
  };
  refused({}, "no query");
  refused(sample, "wanted", {.wanted = 1.5});
  refused(sample, "assurance", {.assurance = 1});
  std::vector<LabelledQuery> bad = sample;
  bad[4].id = "elsewhere";
  refused(bad, "query 4");
  bad = sample;
  bad[2].vectors.clear();
  refused(bad, "query 2");
  bad = sample;
  bad[3].vectors[Modality::image] = broken;
  refused(bad, "finite");
  bad.assign(5, clear_query(1, 1));
  refused(bad, "at least two products");
  EXPECT_TRUE(fitted.policy().chances.empty());  // nothing was changed by what was refused
  EXPECT_THROW(fitted.measure(sample, {{0.5, 2}}), std::invalid_argument);

  EXPECT_THROW(AdaptiveInference(nullptr), std::invalid_argument);
  EXPECT_THROW(AdaptiveInference(catalogue(), {.confidence = 1.5}), std::invalid_argument);
  EXPECT_THROW(AdaptiveInference(catalogue(), {.agreement = NAN}), std::invalid_argument);
  EXPECT_THROW(AdaptiveInference(catalogue(), {.towers = {{Modality::image, -1}}}), std::invalid_argument);
  EXPECT_THROW(AdaptiveInference(catalogue(), {.chances = {{Modality::image, {0, 0.1}}}}), std::invalid_argument);
  trine::FusionOptions options{.modalities = {"image", "text"}, .hidden_dim = 16, .num_heads = 4};
  EXPECT_THROW(AdaptiveInference(catalogue(), {}, trine::make_fusion(trine::FusionType::attention, options)),
               std::invalid_argument);
  options = {.modalities = {"image", "smell"}, .hidden_dim = kDim, .num_heads = 4};
  EXPECT_THROW(AdaptiveInference(catalogue(), {}, trine::make_fusion(trine::FusionType::attention, options)),
               std::invalid_argument);
}

TEST(AdaptiveInference, RefusesDamagedFolders) {
  const Directory folder;
  AdaptiveInference(catalogue()).save(folder.path());
  const std::vector<std::pair<std::function<void(trine::testing::Json&)>, std::string>> damage{
      {[](auto& json) { json["model_type"] = "fusion"; }, "fusion"},
      {[](auto& json) { json["model"] = "another"; }, "another"},
      {[](auto& json) { json["thresholds"]["confidence"] = 7; }, "[0, 1]"},
      {[](auto& json) { json["thresholds"].erase("agreement"); }, "agreement"},
      {[](auto& json) { json["milliseconds"]["towers"]["smell"] = 1; }, "smell"},
      {[](auto& json) { json["milliseconds"]["towers"]["image"] = "cheap"; }, "image"},
      {[](auto& json) {
         json["chances"]["text"] = {{"temperature", -1}, {"doubt", 0}};
       },
       "temperature"},
      {[](auto& json) {
         json["confidences"]["text+"] = {{"offset", 0}, {"slope", 1}};
       },
       "no modality"},
      {[](auto& json) { json["order"] = {"smell"}; }, "no modality"},
      {[](auto& json) { json.erase("agreements"); }, "agreements"}};
  for (const auto& [how, part] : damage) {
    const Directory broken(folder.path());
    broken.change("config.json", how);
    const std::string sentence =
        refusal<std::runtime_error>([&] { AdaptiveInference::load(catalogue(), broken.path()); });
    EXPECT_NE(sentence.find(part), std::string::npos) << part << ": " << sentence;
  }
  EXPECT_THROW(AdaptiveInference::load(catalogue(), folder / "absent"), std::exception);
}

}  // namespace
