#include <gtest/gtest.h>
#include <unistd.h>

#include "trine/heads.h"
#include "trine/train/loss.h"
#include "trine/train/trainer.h"

namespace {

using torch::Tensor;
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

}  // namespace
