#include "apps/word_evidence.h"

#include <gtest/gtest.h>

namespace trine::detail {
namespace {

TEST(WordEvidence, IsTheLogOfAShareOverTheShareInAll) {
  // tokens 1, 2 and the pair 1 2 in class 0; token 1 alone in class 1: four sightings of three terms
  const WordEvidence words({{1, 2}, {1}}, torch::tensor({0, 1}, torch::kInt64), 2);
  const double pull = 0.3 * 3;
  const auto of = [&](double seen, double of_class, double share) {
    return std::log((seen + pull * share) / (of_class + pull) / share);
  };
  const torch::Tensor one = words.of({{1}})[0], pair = words.of({{1, 2}})[0];
  EXPECT_NEAR(one[0].item<double>(), of(1, 3, 0.5), 1e-5);
  EXPECT_NEAR(one[1].item<double>(), of(1, 1, 0.5), 1e-5);
  EXPECT_NEAR(pair[0].item<double>(), of(1, 3, 0.5) + 2 * of(1, 3, 0.25), 1e-5);
  EXPECT_NEAR(pair[1].item<double>(), of(1, 1, 0.5) + 2 * of(0, 1, 0.25), 1e-5);
}

TEST(WordEvidence, CountsATermOnceAndKnowsOrder) {
  const WordEvidence words({{1, 2}, {2, 1}}, torch::tensor({0, 1}, torch::kInt64), 2);
  EXPECT_TRUE(torch::equal(words.of({{1}}), words.of({{1, 1, 1}})));  // the pair 1 1 was never seen
  const torch::Tensor forward = words.of({{1, 2}})[0], backward = words.of({{2, 1}})[0];
  EXPECT_GT(forward[0].item<float>(), forward[1].item<float>());
  EXPECT_LT(backward[0].item<float>(), backward[1].item<float>());
}

TEST(WordEvidence, WhatWasNeverSeenSaysNothing) {
  const WordEvidence words({{1, 2}, {3}}, torch::tensor({0, 1}, torch::kInt64), 2);
  EXPECT_TRUE(torch::equal(words.of({{7, 8}, {}}), torch::zeros({2, 2})));
}

}  // namespace
}  // namespace trine::detail
