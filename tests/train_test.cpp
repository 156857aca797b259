#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "module_testing.h"
#include "trine/heads.h"
#include "trine/train/loss.h"
#include "trine/train/sampler.h"
#include "trine/train/trainer.h"

namespace {

using namespace trine::testing;
using trine::Features;
using trine::train::BalancedSampler;
using trine::train::contrastive_loss;
using trine::train::ContrastiveLoss;
using trine::train::ModalityBatch;
using trine::train::ModalityDropout;
using trine::train::Sampling;
using trine::train::Trainer;
using trine::train::TrainerOptions;

TEST(AnchorLoss, EqualsCrossEntropyPlusCosine) {
  torch::manual_seed(1);
  const Tensor vectors = torch::randn({5, 6}), anchors = trine::normalise(torch::randn({4, 6}));
  const Tensor labels = torch::tensor({0, 3, 1, 2, 0});
  const Tensor targets = torch::one_hot(labels, 4).to(torch::kFloat32);
  const Tensor cosine = trine::normalise(vectors).matmul(anchors.t());
  namespace F = torch::nn::functional;
  const Tensor wanted = F::cross_entropy(cosine / 0.1, labels, F::CrossEntropyFuncOptions().label_smoothing(0.1)) +
                        2.0 * (1 - cosine.gather(1, labels.unsqueeze(1))).mean();
  const Tensor loss = trine::train::anchor_loss(vectors, anchors, targets,
                                                {.temperature = 0.1, .label_smoothing = 0.1, .cosine_weight = 2.0});
  EXPECT_NEAR(loss.item<double>(), wanted.item<double>(), 1e-5);
  EXPECT_THROW(trine::train::anchor_loss(vectors, anchors, targets.slice(0, 0, 4)), std::invalid_argument);
}

TEST(SpeechHead, AClipIsTheSameAloneAndBesideALongerOne) {
  torch::manual_seed(2);
  trine::SpeechHead head(
      trine::SpeechHeadOptions{.feature_dim = 16, .width = 24, .num_heads = 4, .hidden = 20, .out_dim = 8});
  trine::reset_parameters(*head);
  head->eval();
  const Tensor clip = torch::randn({1, 7, 16});
  Tensor batch = torch::randn({2, 12, 16});
  batch[0].slice(0, 0, 7).copy_(clip[0]);
  Tensor mask = torch::ones({2, 12}, torch::kBool);
  mask[0].slice(0, 7).fill_(false);
  const Tensor alone = head->forward(clip, torch::ones({1, 7}, torch::kBool))[0];
  EXPECT_LE((alone - head->forward(batch, mask)[0]).abs().max().item<float>(), 1e-5f);
}

TEST(MeanOfPairs, KeepsAnOddLastStep) {
  const Tensor steps = torch::arange(5, torch::kFloat32).unsqueeze(1);
  EXPECT_TRUE(trine::mean_of_pairs(steps).squeeze(1).equal(torch::tensor({0.5f, 2.5f, 4.0f})));
}

/// A small regression whose batches depend on the step alone.
std::map<std::string, Tensor> trained(const TrainerOptions& options, std::int64_t stop, std::int64_t save_at) {
  torch::manual_seed(3);
  trine::Linear model(4, 2);
  trine::reset_parameters(*model);
  Trainer trainer(model.ptr(), {{model->parameters(), 0.05}}, options);
  trainer.resume();
  while (trainer.step_count() < stop) {
    torch::manual_seed(100 + static_cast<std::uint64_t>(trainer.step_count()));
    const Tensor x = torch::randn({8, 4});
    trainer.step((model->forward(x) - x.slice(1, 0, 2)).pow(2).mean());
    if (trainer.step_count() == save_at) trainer.save();
  }
  return trainer.result();
}

TEST(Trainer, GoesOnAfterAKillWithTheSameResult) {
  const auto folder = std::filesystem::temp_directory_path() / ("trine-trainer-" + std::to_string(getpid()));
  const TrainerOptions options{.steps = 30, .averaging = 0.9, .folder = folder};
  TrainerOptions alone = options;
  alone.folder.clear();
  const auto wanted = trained(alone, 30, -1);
  trained(options, 20, 12);  // killed after step 20, last checkpoint at 12
  const auto resumed = trained(options, 30, -1);
  for (const auto& [name, tensor] : wanted) EXPECT_TRUE(tensor.equal(resumed.at(name))) << name;

  TrainerOptions other = options;
  other.steps = 31;
  EXPECT_THROW(trained(other, 31, -1), std::runtime_error);
  std::filesystem::remove_all(folder);
}

TEST(Trainer, LearnsAndRefusesALossThatIsNotFinite) {
  const auto weights = trained({.steps = 300}, 300, -1);
  EXPECT_LE((weights.at("weight") - torch::eye(4).slice(0, 0, 2)).abs().max().item<float>(), 0.05f);
  trine::Linear model(2, 2);
  trine::reset_parameters(*model);
  Trainer trainer(model.ptr(), {{model->parameters(), 0.05}}, {.steps = 2});
  EXPECT_THROW(trainer.step(model->forward(torch::full({1, 2}, NAN)).sum()), std::runtime_error);
}

// --- contrastive loss
// -------------------------------------------------------------------------------------------------

Features below(const Tensors& inputs, const std::string& prefix) {
  Features found;
  for (const auto& [name, tensor] : inputs) {
    if (name.starts_with(prefix)) found[name.substr(prefix.size())] = tensor;
  }
  return found;
}

Features three_modalities(std::int64_t batch = 6) {
  return {{"image", torch::randn({batch, 8})}, {"text", torch::randn({batch, 8})}, {"audio", torch::randn({batch, 8})}};
}

TEST(ContrastiveLoss, CasesAndGradientsOfTheReference) {
  for (const ReferenceCase& wanted : reference_cases("contrastive_loss")) {
    SCOPED_TRACE(wanted.name);
    const Tensor loss =
        contrastive_loss(wanted.below("in.embeddings."), {.temperature = wanted.config.at("temperature").get<double>(),
                                                          .ids = wanted.at("in.ids"),
                                                          .present = wanted.below("in.present.")});
    expect_close(loss, wanted.at("out.loss"));
  }
  expect_gradients(nullptr, reference_cases("gradient-contrastive_loss").front(), [](const Tensors& inputs) {
    return Tensors{{"loss", contrastive_loss(below(inputs, "embeddings."), {.temperature = inputs.at("temperature"),
                                                                            .ids = inputs.at("ids"),
                                                                            .present = below(inputs, "present.")})}};
  });
}

TEST(ContrastiveLoss, GradientsAreFiniteDifferences) {
  torch::manual_seed(4);
  Features embeddings = three_modalities(4);
  Tensors tensors{{"temperature", torch::full({}, 0.3, torch::kFloat64).requires_grad_()}};
  for (auto& [name, x] : embeddings) tensors[name] = x = x.to(torch::kFloat64).requires_grad_();
  expect_finite_differences(tensors, [&] {
    return contrastive_loss(embeddings, {.temperature = tensors.at("temperature"), .ids = torch::tensor({7, 7, 1, 2})});
  });
}

TEST(ContrastiveLoss, AMissingSampleDoesNotMatterAndGetsNoGradient) {
  torch::manual_seed(5);
  Features embeddings = three_modalities();
  const Tensor has_audio = torch::tensor({1, 1, 0, 1, 0, 1}).to(torch::kBool);
  const Features present{{"audio", has_audio}};
  const Tensor wanted = contrastive_loss(embeddings, {.present = present});
  Tensor audio = embeddings.at("audio").clone();
  audio[2].fill_(NAN);
  audio[4].zero_();
  embeddings.at("audio") = audio.requires_grad_();
  const Tensor loss = contrastive_loss(embeddings, {.present = present});
  expect_close(loss, wanted, 1e-7);
  loss.backward();
  EXPECT_EQ(audio.grad()[2].abs().max().item<float>(), 0);
  EXPECT_EQ(audio.grad()[4].abs().max().item<float>(), 0);
  EXPECT_GT(audio.grad()[0].abs().max().item<float>(), 0);
}

TEST(ContrastiveLoss, LearnsItsTemperatureUpToAScaleOf100) {
  torch::manual_seed(6);
  ContrastiveLoss fixed(0.1), learned(0.1, true);
  const Features embeddings = three_modalities();
  expect_close(learned->forward(embeddings), fixed->forward(embeddings));
  EXPECT_TRUE(fixed->parameters().empty());
  learned->forward(embeddings).backward();
  EXPECT_NE(learned->parameters()[0].grad().item<float>(), 0);
  {
    const torch::NoGradGuard no_grad;
    learned->parameters()[0].fill_(50);
  }
  const Tensor loss = learned->forward(embeddings);
  expect_close(loss, contrastive_loss(embeddings, {.temperature = 0.01}), 1e-4);
  EXPECT_NEAR(learned->temperature(), 0.01, 1e-6);
  learned->parameters()[0].mutable_grad() = Tensor();
  loss.backward();
  EXPECT_NE(learned->parameters()[0].grad().item<float>(), 0);  // there is a way back
}

TEST(ContrastiveLoss, IsSavedAndLoaded) {
  torch::manual_seed(7);
  for (const bool learnable : {false, true}) {
    const Directory directory;
    ContrastiveLoss loss(0.2, learnable, std::vector<trine::train::ContrastivePair>{{"image", "audio", 2.0}});
    loss->save(directory.path());
    ContrastiveLoss loaded = trine::train::ContrastiveLossImpl::load(directory.path());
    const Features embeddings = three_modalities();
    EXPECT_EQ(largest_difference(loaded->forward(embeddings), loss->forward(embeddings)), 0);
    EXPECT_EQ(loaded->learnable(), learnable);
  }
}

TEST(ContrastiveLoss, WrongArgumentsAreSentences) {
  const Features embeddings{{"image", torch::ones({3, 4})}, {"text", torch::ones({3, 4})}};
  const auto refused = [&](const Features& given, const trine::train::ContrastiveLossOptions& options) {
    return refusal<std::invalid_argument>([&] { contrastive_loss(given, options); });
  };
  EXPECT_EQ(refused({{"image", torch::ones({3, 4})}}, {}),
            "[contrastive_loss] no pair of modalities has two samples in common");
  const Tensor one = torch::tensor({1, 0, 0}).to(torch::kBool);
  EXPECT_EQ(refused(embeddings, {.present = {{"text", one}}}),
            "[contrastive_loss] no pair of modalities has two samples in common");
  EXPECT_NE(refused(embeddings, {.temperature = 0.0}).find("above 0, got 0.0"), std::string::npos);
  EXPECT_NE(refused(embeddings, {.ids = torch::ones({3})}).find("ids must be integers (3), got Float [3]"),
            std::string::npos);
  EXPECT_NE(refused(embeddings, {.present = {{"text", torch::ones({3})}}}).find("present of 'text'"),
            std::string::npos);
  EXPECT_NE(refused({{"image", torch::ones({3, 4})}, {"text", torch::ones({2, 4})}}, {}).find("Float [2, 4]"),
            std::string::npos);
  EXPECT_NE(refused({}, {}).find("got none"), std::string::npos);
  EXPECT_NE(refused(embeddings, {.pairs = {{"text", "text", 1.0}}}).find("twice 'text'"), std::string::npos);
  EXPECT_NE(refused(embeddings, {.pairs = {{"image", "text", -1.0}}}).find("got -1"), std::string::npos);
  EXPECT_EQ(refusal<std::invalid_argument>([] { ContrastiveLoss(0.001); }),
            "[ContrastiveLoss] the temperature must be at least 0.01, got 0.001");
}

// --- ModalityDropout
// --------------------------------------------------------------------------------------------------

TEST(ModalityDropout, DropsAtItsRateAndNeverAll) {
  constexpr std::int64_t kBatch = 20'000;
  constexpr double kRate = 0.4;
  ModalityDropout dropout(kRate, 3);
  Features masks{{"text", torch::ones({kBatch, 2}, torch::kBool)}};
  masks["text"].slice(0, kBatch / 2).fill_(false);  // the second half has two modalities
  const Features features{{"image", torch::ones({kBatch, 3, 2})},
                          {"text", torch::ones({kBatch, 2, 2})},
                          {"audio", torch::ones({kBatch, 1, 2})}};
  const ModalityBatch batch = dropout->forward(features, masks);
  Tensor kept = torch::zeros({kBatch}, torch::kInt64);
  for (const auto& [name, mask] : batch.masks) {
    const Tensor there = mask.any(1);
    kept = kept + there.to(torch::kInt64);
    if (name == "text") continue;
    const Tensor& x = batch.features.at(name);
    EXPECT_TRUE(x.equal(mask.unsqueeze(-1).expand_as(x).to(torch::kFloat32)));
    const auto lost = [&](std::int64_t from, std::int64_t to) {
      return 1 - there.slice(0, from, to).to(torch::kFloat64).mean().item<double>();
    };
    EXPECT_NEAR(lost(0, kBatch / 2), kRate - std::pow(kRate, 3) / 3, 0.02) << name;
    EXPECT_NEAR(lost(kBatch / 2, kBatch), kRate - std::pow(kRate, 2) / 2, 0.02) << name;
  }
  EXPECT_GE(kept.min().item<std::int64_t>(), 1);
}

TEST(ModalityDropout, FollowsItsSeedAndRestsAfterTraining) {
  const Features features{{"image", torch::ones({64, 4})}, {"text", torch::ones({64, 4})}};
  ModalityDropout dropout(0.5, 1), other(0.5, 1);
  const auto image = [&](ModalityDropout& d) { return d->forward(features).masks.at("image"); };
  const Tensor first = image(dropout), second = image(dropout);
  EXPECT_TRUE(first.equal(image(other)));
  EXPECT_FALSE(first.equal(second));
  dropout->seed(1);
  EXPECT_TRUE(first.equal(image(dropout)));
  dropout->eval();
  EXPECT_TRUE(image(dropout).all().item<bool>());
  ModalityDropout all(1.0);
  const ModalityBatch batch = all->forward(features);
  EXPECT_TRUE(batch.masks.at("image").logical_xor(batch.masks.at("text")).all().item<bool>());
}

TEST(ModalityDropout, WrongArgumentsAreSentences) {
  EXPECT_NE(refusal<std::invalid_argument>([] { ModalityDropout(1.5); }).find("0 to 1, got 1.5"), std::string::npos);
  ModalityDropout dropout(0.5);
  const Tensor x = torch::ones({2, 3, 4});
  const auto refused = [&](const Features& features, const Features& masks) {
    return refusal<std::invalid_argument>([&] { dropout->forward(features, masks); });
  };
  Tensor mask = torch::ones({2, 3}, torch::kBool);
  mask[1].fill_(false);
  EXPECT_EQ(refused({{"image", x}}, {{"image", mask}}), "[ModalityDropout] sample 1 has no modality");
  EXPECT_NE(refused({{"image", x}}, {{"text", mask}}).find("a mask of 'text', but no features"), std::string::npos);
  EXPECT_NE(refused({{"image", x}, {"text", torch::ones({3, 4})}}, {}).find("'text'"), std::string::npos);
  EXPECT_NE(refused({}, {}).find("got none"), std::string::npos);
}

// --- BalancedSampler
// --------------------------------------------------------------------------------------------------

TEST(BalancedSampler, EveryGroupCountsTheSame) {
  std::vector<std::int64_t> groups(100, 5);
  std::fill(groups.begin(), groups.begin() + 7, -3);
  std::fill(groups.begin() + 50, groups.begin() + 80, 1'000'000'000'000);
  for (const auto& [sampling, draws] : {std::pair{Sampling::up, 63}, {Sampling::down, 7}}) {
    const BalancedSampler sampler(groups, sampling, 9);
    ASSERT_EQ(sampler.size(), 3 * draws);
    const auto indices = sampler.indices(2);
    ASSERT_EQ(std::ssize(indices), 3 * draws);
    std::map<std::int64_t, std::map<std::int64_t, int>> times;  // by group, by sample
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const auto group_at = [&](std::size_t at) { return groups[static_cast<std::size_t>(indices[at])]; };
      ++times[group_at(i)][indices[i]];
      if (i % 3 != 2) continue;
      EXPECT_EQ((std::set{group_at(i - 2), group_at(i - 1), group_at(i)}.size()), 3u);
    }
    for (const auto& [group, counts] : times) {
      int total = 0, fewest = draws, most = 0;
      for (const auto& [index, count] : counts) {
        total += count, fewest = std::min(fewest, count), most = std::max(most, count);
      }
      EXPECT_EQ(total, draws) << group;
      if (sampling == Sampling::down) fewest = 0;  // a sample is drawn once or not at all
      EXPECT_LE(most - fewest, 1) << group;
    }
  }
}

TEST(BalancedSampler, DependsOnSeedAndEpochAlone) {
  const std::vector<std::int64_t> groups{0, 0, 0, 0, 1, 1, 0, 0};
  const BalancedSampler sampler(groups, Sampling::up, 1);
  EXPECT_EQ(sampler.indices(0), sampler.indices(0));
  EXPECT_EQ(sampler.indices(3), BalancedSampler(groups, Sampling::up, 1).indices(3));
  EXPECT_NE(sampler.indices(0), sampler.indices(1));
  EXPECT_NE(sampler.indices(0), BalancedSampler(groups, Sampling::up, 2).indices(0));
}

TEST(BalancedSampler, GroupsAreCombinationsOfModalities) {
  const auto bools = [](std::vector<std::int64_t> values) { return torch::tensor(values).to(torch::kBool); };
  const auto groups = trine::train::groups_of({{"image", bools({1, 0, 1, 1})}, {"text", bools({0, 1, 1, 0})}});
  EXPECT_EQ(groups[0], groups[3]);
  EXPECT_EQ((std::set<std::int64_t>(groups.begin(), groups.end()).size()), 3u);
}

TEST(BalancedSampler, WrongArgumentsAreSentences) {
  EXPECT_EQ(refusal<std::invalid_argument>([] { BalancedSampler(std::vector<std::int64_t>()); }),
            "[BalancedSampler] wanted the group of each sample, got no samples");
  EXPECT_NE(
      refusal<std::invalid_argument>([] { BalancedSampler(std::vector<std::int64_t>{1}).indices(-1); }).find("got -1"),
      std::string::npos);
  EXPECT_NE(refusal<std::invalid_argument>([] {
              trine::train::groups_of({{"image", torch::ones({2})}});
            }).find("Float [2] for 'image'"),
            std::string::npos);
}

}  // namespace
