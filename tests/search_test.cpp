#include <gtest/gtest.h>

#include "detail/json.h"
#include "trine/search/query.h"
#include "trine/search/rerank.h"

namespace {

using torch::Tensor;
using trine::Modality;
using trine::detail::Json;

const Json& golden() {
  static const Json json =
      trine::detail::read_json("test", std::filesystem::path(TRINE_TEST_DATA) / "golden/search.json");
  return json;
}

Tensor matrix(const Json& rows) {
  std::vector<Tensor> result;
  for (const Json& row : rows) result.push_back(torch::tensor(row.get<std::vector<double>>()).to(torch::kFloat32));
  return torch::stack(result);
}

TEST(CombineQuery, EqualsTheReference) {
  for (const Json& entry : golden().at("combine_query")) {
    const Json& w = entry.at("weights");
    std::map<Modality, Tensor> vectors;
    for (const auto& [name, rows] : entry.at("vectors").items()) vectors[trine::modality(name)] = matrix(rows);
    const Tensor combined =
        trine::combine_query(vectors, {.image = w.at("image"), .text = w.at("text"), .audio = w.at("audio")});
    EXPECT_LE((combined - matrix(entry.at("expected"))).abs().max().item<float>(), 1e-5f);
  }
}

TEST(CombineQuery, RefusesWhatHasNoDirection) {
  const Tensor v = torch::eye(4)[0];
  EXPECT_THROW(trine::combine_query({}), std::invalid_argument);
  EXPECT_THROW(trine::combine_query({{Modality::image, v}, {Modality::text, -v}}), std::invalid_argument);
  EXPECT_THROW(trine::combine_query({{Modality::image, v}, {Modality::text, torch::eye(3)[0]}}), std::invalid_argument);
}

TEST(RerankScore, EqualsTheReference) {
  for (const Json& entry : golden().at("rerank_score")) {
    std::map<Modality, float> support;
    for (const auto& [name, value] : entry.at("support").items()) support[trine::modality(name)] = value;
    const trine::RerankScore score = trine::rerank_score(entry.at("similarity"), support);
    EXPECT_NEAR(score.score, entry.at("expected").at(0).get<float>(), 1e-5f);
    EXPECT_NEAR(score.consistency, entry.at("expected").at(1).get<float>(), 1e-5f);
    EXPECT_NEAR(score.disagreement, entry.at("expected").at(2).get<float>(), 1e-5f);
  }
}

TEST(Modality, NamesRoundTrip) {
  for (const Modality m : trine::kModalities) EXPECT_EQ(trine::modality(to_string(m)), m);
  EXPECT_THROW(trine::modality("video"), std::invalid_argument);
}

}  // namespace
