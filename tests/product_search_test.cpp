#include "trine/apps/product_search.h"

#include "encoder_testing.h"
#include "trine/search/index.h"
#include "trine/search/rerank.h"

namespace {

using trine::Embedder;
using trine::Hit;
using trine::Modality;
using trine::Product;
using trine::ProductSearch;
using trine::testing::Directory;

Embedder tiny() { return Embedder::load(trine::testing::kGolden / "bert"); }

/// The second keyword lies apart from all titles: in a space that was never trained most texts are near each other.
std::vector<Product> catalogue() {
  return {{.id = "1", .title = "hello", .description = "the first", .keywords = {"one", "the first the first"}},
          {.id = "2", .title = "world", .attributes = {{"price", "2.5"}}},
          {.id = "3", .title = "hello world"}};
}

TEST(ProductSearch, FindsAProductByItsTitleAndSaysWhy) {
  const ProductSearch search = ProductSearch::build(tiny(), catalogue());
  EXPECT_EQ(search.size(), 3);
  const std::vector<Hit> hits =
      search.search({{Modality::text, trine::title_vector(search.embedder(), "world")}}, {.k = 2});
  ASSERT_EQ(hits.size(), 2u);
  EXPECT_EQ(hits[0].id, "2");
  EXPECT_NEAR(hits[0].similarity, 1, 1e-5);
  ASSERT_EQ(hits[0].reasons.size(), 1u);
  EXPECT_EQ(hits[0].reasons[0].nearest, "title");
  EXPECT_GE(hits[0].score, hits[1].score);
  EXPECT_EQ(hits[0].product.attributes.at(0).second, "2.5");
  EXPECT_NE(hits[0].sentence().find("The text"), std::string::npos);
}

TEST(ProductSearch, SupportsSumToOneAndTwoModalitiesAreRankedByAgreement) {
  const ProductSearch search = ProductSearch::build(tiny(), catalogue());
  const torch::Tensor a = trine::title_vector(search.embedder(), "world"),
                      b = trine::title_vector(search.embedder(), "hello");
  const std::vector<Hit> hits = search.search({{Modality::text, a}, {Modality::audio, b}});
  ASSERT_EQ(hits.size(), 3u);
  std::map<Modality, float> sum;
  for (const Hit& hit : hits) {
    std::map<Modality, float> support;
    for (const trine::Reason& reason : hit.reasons) {
      sum[reason.modality] += reason.support;
      support[reason.modality] = reason.support;
    }
    EXPECT_FLOAT_EQ(hit.score, trine::rerank_score(hit.similarity, support).score);
  }
  for (const auto& [modality, total] : sum) EXPECT_NEAR(total, 1, 1e-5);
  for (const Hit& hit : search.search({{Modality::text, a}, {Modality::audio, b}}, {.rerank = false})) {
    EXPECT_FLOAT_EQ(hit.score, hit.similarity);
  }
}

TEST(ProductSearch, ASavedIndexFindsTheSame) {
  const Directory folder;
  const ProductSearch built = ProductSearch::build(tiny(), catalogue());
  built.save(folder / "products.trine");
  const ProductSearch loaded(tiny(), folder / "products.trine");
  const std::vector<Hit> a = built.search({.text = "the first the first"}),
                         b = loaded.search({.text = "the first the first"});
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].id, b[i].id);
    EXPECT_EQ(a[i].score, b[i].score);
    EXPECT_EQ(a[i].product.keywords, b[i].product.keywords);
  }
  EXPECT_EQ(a[0].reasons[0].nearest, "keyword: the first the first");
}

TEST(ProductSearch, RefusesBadQueriesAndForeignIndexes) {
  const Directory folder;
  const ProductSearch search = ProductSearch::build(tiny(), catalogue());
  EXPECT_THROW(search.search(trine::Inputs{}), std::invalid_argument);
  EXPECT_THROW(search.search({.text = "hello"}, {.k = 0}), std::invalid_argument);
  EXPECT_THROW(search.search({{Modality::text, torch::ones({3})}}), std::invalid_argument);
  const torch::Tensor v = trine::title_vector(search.embedder(), "hello");
  EXPECT_THROW(search.search({{Modality::text, v}, {Modality::image, -v}}), std::invalid_argument);
  EXPECT_THROW(search.product("4"), std::invalid_argument);

  trine::Index plain(32);
  plain.save(folder / "plain.trine");
  EXPECT_THROW(ProductSearch(tiny(), folder / "plain.trine"), std::runtime_error);
  search.save(folder / "products.trine");
  trine::Index other = trine::Index::load(folder / "products.trine");
  other.metadata()["model"] = "another";
  other.save(folder / "other.trine");
  EXPECT_THROW(ProductSearch(tiny(), folder / "other.trine"), std::runtime_error);
}

TEST(Catalogue, IsReadLineByLineAndRefusedByLine) {
  const Directory folder;
  folder.write("good.jsonl",
               "{\"id\": \"a\", \"title\": \"A\", \"images\": [\"a.jpg\"], \"attributes\": {\"price\": 2.49}}\n\n"
               "{\"id\": \"b\", \"title\": \"B\"}\n");
  const std::vector<Product> products = trine::read_catalogue(folder / "good.jsonl");
  ASSERT_EQ(products.size(), 2u);
  EXPECT_EQ(products[0].images.at(0), folder / "a.jpg");
  EXPECT_EQ(products[0].attributes.at(0), (std::pair<std::string, std::string>{"price", "2.49"}));
  const std::vector<std::pair<std::string, std::string>> bad{
      {"{\"id\": \"a\"}", "title"},
      {"{\"id\": 1, \"title\": \"A\"}", "id"},
      {"[]", "JSON object"},
      {"{\"id\": \"\", \"title\": \"A\"}", "empty"},
      {"{\"id\": \"a\", \"title\": \"A\"}\n{\"id\": \"a\", \"title\": \"B\"}", "twice"},
      {"{\"id\"", "line 1"},
      {"", "no product"}};
  for (const auto& [content, part] : bad) {
    folder.write("bad.jsonl", content);
    const std::string sentence =
        trine::testing::refusal<std::runtime_error>([&] { trine::read_catalogue(folder / "bad.jsonl"); });
    EXPECT_NE(sentence.find(part), std::string::npos) << content << ": " << sentence;
  }
}

TEST(Catalogue, PicturesThatCannotBeReadAreReported) {
  std::vector<Product> products = catalogue();
  products[0].images = {"absent.jpg"};
  trine::IndexReport report;
  ProductSearch::build(tiny(), products, &report);  // a text-only model looks at no picture
  EXPECT_TRUE(report.skipped.empty());
  EXPECT_EQ(report.products, 3);
  EXPECT_EQ(report.vectors, 6);
}

}  // namespace
