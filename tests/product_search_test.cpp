#include "trine/apps/product_search.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "encoder_testing.h"
#include "trine/search/index.h"
#include "trine/search/rerank.h"

namespace {

namespace fs = std::filesystem;
using trine::Embedder;
using trine::Hit;
using trine::IndexReport;
using trine::Modality;
using trine::Product;
using trine::ProductSearch;
using trine::SearchResult;
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
  const SearchResult hits =
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
  const SearchResult hits = search.search({{Modality::text, a}, {Modality::audio, b}});
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
  const SearchResult a = built.search({.text = "the first the first"}),
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
  EXPECT_THROW(search.search({{Modality::text, torch::full({32}, NAN)}}), std::invalid_argument);
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

/// The bytes of the index that a search would save.
std::string saved(const ProductSearch& search) {
  const Directory folder;
  search.save(folder / "saved.trine");
  std::ifstream file(folder / "saved.trine", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ProductIndex, PicturesThatTheModelDoesNotLookAtAreNotMissed) {
  std::vector<Product> products = catalogue();
  products[0].images = {"absent.jpg"};
  IndexReport report;
  ProductSearch::build(tiny(), products, &report);
  EXPECT_TRUE(report.skipped.empty());
  EXPECT_EQ(report.products, 3);
  EXPECT_EQ(report.vectors, 6);
  EXPECT_EQ(report.embedded, 3);
}

TEST(ProductIndex, OnlyNewAndChangedProductsAreEmbedded) {
  std::vector<Product> products = catalogue();
  ProductSearch search = ProductSearch::build(tiny(), {products[0], products[1]});
  IndexReport report = search.add({products[2]});
  EXPECT_EQ(report.embedded, 1);
  EXPECT_EQ(report.products, 3);
  EXPECT_EQ(saved(search), saved(ProductSearch::build(tiny(), products)));

  products[1].attributes = {{"price", "3"}};  // no vector depends on it
  products[2].description = "goodbye";
  report = search.update(products);
  EXPECT_EQ(report.embedded, 1);
  EXPECT_EQ(report.vectors, 7);
  EXPECT_EQ(search.product("2").attributes[0].second, "3");
  EXPECT_EQ(saved(search), saved(ProductSearch::build(tiny(), products)));
  EXPECT_EQ(search.update(products).embedded, 0);

  search.remove({"1", "3"});
  EXPECT_EQ(search.size(), 1);
  EXPECT_EQ(search.search({.text = "hello"})[0].id, "2");
  EXPECT_EQ(saved(search), saved(ProductSearch::build(tiny(), {products[1]})));
}

TEST(ProductIndex, AnUpdateThatIsRefusedChangesNothing) {
  ProductSearch search = ProductSearch::build(tiny(), catalogue());
  const std::string before = saved(search);
  EXPECT_THROW(search.add({{.id = "4", .title = "four"}, {.id = "2", .title = "again"}}), std::invalid_argument);
  EXPECT_THROW(search.update({{.id = "4", .title = "four"}, {.id = "4", .title = "again"}}), std::invalid_argument);
  EXPECT_THROW(search.update({{.id = "4", .title = ""}}), std::invalid_argument);
  EXPECT_THROW(search.update({{.id = "4\n", .title = "four"}}), std::invalid_argument);
  EXPECT_THROW(search.update({{.id = "4", .title = "four"}, {.id = "5", .title = "\xff"}}), std::invalid_argument);
  EXPECT_THROW(search.update({{.id = "4", .title = "four"}}, {.progress = [](auto, auto) { throw 7; }}), int);
  EXPECT_THROW(search.remove({"1", "4"}), std::invalid_argument);
  EXPECT_EQ(saved(search), before);
}

TEST(ProductIndex, WorkThatEndedEarlyGoesOnFromItsPartialFile) {
  const Directory folder;
  const std::string whole = saved(ProductSearch::build(tiny(), catalogue()));
  const auto stop = [](std::int64_t done, std::int64_t) {
    if (done == 2) throw std::runtime_error("killed");
  };
  EXPECT_THROW(ProductSearch::build(tiny(), catalogue(), nullptr, {.progress = stop, .partial = folder / "part"}),
               std::runtime_error);
  IndexReport report;
  const ProductSearch search = ProductSearch::build(tiny(), catalogue(), &report, {.partial = folder / "part"});
  EXPECT_EQ(report.embedded, 1);
  EXPECT_EQ(saved(search), whole);

  std::vector<Product> changed = catalogue();  // what has changed meanwhile is embedded anew
  changed[0].title = "goodbye";
  const ProductSearch other = ProductSearch::build(tiny(), changed, &report, {.partial = folder / "part"});
  EXPECT_EQ(saved(other), saved(ProductSearch::build(tiny(), changed)));
  folder.write("part", "no index");
  EXPECT_THROW(ProductSearch::build(tiny(), catalogue(), nullptr, {.partial = folder / "part"}), std::runtime_error);
}

TEST(ProductIndex, AModelWhoseFilesChangedIsRefused) {
  const Directory folder, model(trine::testing::kGolden / "bert");
  ProductSearch::build(Embedder::load(model.path()), catalogue()).save(folder / "products.trine");
  model.change("config.json", [](auto& json) { json["layer_norm_eps"] = 1e-3; });
  ProductSearch search(Embedder::load(model.path()), folder / "products.trine");
  EXPECT_THROW(search.update(catalogue()), std::runtime_error);
}

/// So many that a walk along the graph sees a part of them.
std::vector<Product> many(std::size_t count) {
  const std::vector<std::string> words{"apples", "backpack", "battery", "bicycle", "camera", "cat",
                                       "door",   "jacket",   "kettle",  "lamp",    "milk",   "money"};
  std::vector<Product> products;
  for (std::size_t i = 0; i < count; ++i) {
    products.push_back({.id = std::to_string(i), .title = words[i % 12] + " " + words[i / 12 % 12]});
    products.back().attributes = {{"even", i % 2 == 0 ? "true" : "false"}};
  }
  return products;
}

std::vector<std::string> ids_of(const SearchResult& found) {
  std::vector<std::string> ids;
  for (const Hit& hit : found) ids.push_back(hit.id);
  return ids;
}

/// Of a walk that is as broad as the index, in which everything is found.
void expect_the_same_as_exact(const ProductSearch& search, const std::string& text, const std::string& filter = "") {
  const trine::Filter wanted = filter.empty() ? trine::Filter() : trine::Filter(filter);
  const SearchResult along = search.search({.text = text}, {.k = 5, .filter = wanted, .ef = 400}),
                     exact = search.search({.text = text}, {.k = 5, .filter = wanted, .exact = true});
  EXPECT_EQ(ids_of(along), ids_of(exact)) << text;
  ASSERT_EQ(along.size(), exact.size());
  for (std::size_t i = 0; i < along.size(); ++i) {
    EXPECT_FLOAT_EQ(along[i].similarity, exact[i].similarity);
    EXPECT_EQ(along[i].reasons.at(0).nearest, exact[i].reasons.at(0).nearest);
  }
}

TEST(ProductSearch, FindsTheSameAlongAGraph) {
  ProductSearch search = ProductSearch::build(tiny(), many(120));
  EXPECT_FALSE(search.graph().has_value());
  search.build_graph({.m = 8, .ef_construction = 100});
  ASSERT_TRUE(search.graph().has_value());
  EXPECT_EQ(search.graph()->m, 8);
  EXPECT_EQ(search.graph()->ef_construction, 100);
  for (const char* text : {"camera", "milk door", "the first"}) expect_the_same_as_exact(search, text);
  expect_the_same_as_exact(search, "milk door", "even == true");

  const SearchResult few = search.search({.text = "hello"}, {.k = 3, .candidates = 4, .ef = 5});
  ASSERT_EQ(few.size(), 3u);
  float sum = 0;  // of the products that were looked at
  for (const Hit& hit : search.search({.text = "hello"}, {.k = 120, .candidates = 5, .ef = 5})) {
    sum += hit.reasons.at(0).support;
  }
  EXPECT_NEAR(sum, 1, 1e-4);
  EXPECT_EQ(search.search({.text = "hello"}, {.k = 500}).size(), 120u);
  EXPECT_EQ(search.search({.text = "hello"}, {.k = 3, .without = {"world"}}).size(), 3u);
  EXPECT_EQ(search.search({.text = "hello"}, {.filter = "id == \"17\""}).size(), 1u);
  EXPECT_THROW(search.search({.text = "hello"}, {.ef = -1}), std::invalid_argument);
  EXPECT_THROW(search.build_graph({.m = 1}), std::invalid_argument);
  EXPECT_TRUE(search.graph().has_value());
  search.drop_graph();
  EXPECT_FALSE(search.graph().has_value());
}

TEST(ProductSearch, KeepsTheGraphRightWhenProductsComeAndGo) {
  const Directory folder;
  std::vector<Product> products = many(100);
  ProductSearch search = ProductSearch::build(tiny(), products);
  search.build_graph();
  std::vector<std::string> gone;
  for (int i = 0; i < 60; i += 2) gone.push_back(std::to_string(i));
  search.remove(gone);
  for (const char* text : {"camera", "milk door"}) expect_the_same_as_exact(search, text);

  products[1].title = "one and only";
  products[1].keywords = {"the first the first"};
  search.update({products[1], products[2], {.id = "new", .title = "goodbye"}});
  expect_the_same_as_exact(search, "one and only");
  expect_the_same_as_exact(search, "goodbye");
  EXPECT_EQ(ids_of(search.search({.text = "goodbye"}, {.k = 1})), std::vector<std::string>{"new"});

  search.save(folder / "products.trine");
  ProductSearch loaded(tiny(), folder / "products.trine");
  ASSERT_TRUE(loaded.graph().has_value());
  expect_the_same_as_exact(loaded, "one and only");
  loaded.remove({"new"});
  products[1].keywords.clear();
  loaded.update({products[1]});
  expect_the_same_as_exact(loaded, "goodbye");
  loaded.save(folder / "products.trine");
  const trine::Index index = trine::Index::load(folder / "products.trine");
  EXPECT_TRUE(index.has_graph());
  EXPECT_EQ(index.size(), 100 - 30 + 1);
  EXPECT_FALSE(index.contains("1\nkeyword: the first the first"));
  EXPECT_TRUE(index.contains("1\ntitle"));
  EXPECT_FALSE(index.contains("new\ntitle"));
}

TEST(ProductSearch, FindsPicturesAndWordsTogetherAlongAGraph) {
  ProductSearch search = ProductSearch::build(tiny(), many(80));
  search.build_graph();
  const torch::Tensor a = trine::title_vector(search.embedder(), "milk door"),
                      b = trine::title_vector(search.embedder(), "the first");
  for (const trine::Mixing mixing : {trine::Mixing::early, trine::Mixing::late}) {
    const trine::SearchOptions how{.k = 4, .mixing = mixing, .ef = 300};
    trine::SearchOptions all = how;
    all.exact = true;
    EXPECT_EQ(ids_of(search.search({{Modality::text, a}, {Modality::image, b}}, how)),
              ids_of(search.search({{Modality::text, a}, {Modality::image, b}}, all)));
  }
}

TEST(DescribeIndex, TellsWhatAFileHolds) {
  const Directory folder;
  ProductSearch search = ProductSearch::build(tiny(), catalogue());
  search.save(folder / "products.trine");
  trine::IndexSummary told = trine::describe_index(folder / "products.trine");
  EXPECT_EQ(told.records, 6);
  EXPECT_EQ(told.dim, 32);
  EXPECT_EQ(told.products, 3);
  EXPECT_EQ(told.bytes, fs::file_size(folder / "products.trine"));
  EXPECT_FALSE(told.graph.has_value());
  EXPECT_FALSE(told.draft);
  EXPECT_EQ(told.model, search.embedder().name());
  EXPECT_EQ(told.fingerprint, search.embedder().fingerprint());
  EXPECT_EQ(told.shows, (std::map<std::string, std::int64_t>{{"description", 1}, {"keyword", 2}, {"title", 3}}));
  EXPECT_GT(told.metadata.at("catalogue"), 0u);

  search.build_graph({.m = 4});
  search.save(folder / "products.trine");
  EXPECT_EQ(trine::describe_index(folder / "products.trine").graph->m, 4);

  trine::Index plain(5, {.precision = trine::VectorType::fp16, .rescore = trine::VectorType::fp32});
  plain.metadata()["note"] = "mine";
  plain.save(folder / "plain.trine");
  told = trine::describe_index(folder / "plain.trine");
  EXPECT_EQ(told.products, -1);
  EXPECT_EQ(told.form.precision, trine::VectorType::fp16);
  EXPECT_EQ(told.form.rescore, trine::VectorType::fp32);
  EXPECT_EQ(told.metadata, (std::map<std::string, std::uint64_t>{{"note", 4}}));
  folder.write("text.trine", "no index");
  EXPECT_THROW(trine::describe_index(folder / "text.trine"), std::runtime_error);
  EXPECT_THROW(trine::describe_index(folder / "absent.trine"), std::system_error);
}

TEST(ProductSearch, FiltersByAttributesIdAndTitle) {
  const ProductSearch search = ProductSearch::build(tiny(), catalogue());
  const auto found = [&](const char* filter) {
    std::string ids;
    for (const Hit& hit : search.search({.text = "hello"}, {.rerank = false, .filter = filter})) ids += hit.id;
    std::ranges::sort(ids);
    return ids;
  };
  EXPECT_EQ(found("price < 3"), "2");
  EXPECT_EQ(found("not price < 3"), "13");
  EXPECT_EQ(found("title contains \"world\""), "23");
  EXPECT_EQ(found("id in (\"1\", \"4\") or description contains \"first\""), "1");
  EXPECT_EQ(found("price > 3"), "");
  const SearchResult only = search.search({.text = "hello"}, {.filter = "price == 2.5"});
  EXPECT_FLOAT_EQ(only[0].reasons[0].support, 1);  // of what the filter leaves
  EXPECT_THROW(found("price ="), std::invalid_argument);
}

TEST(ProductSearch, SeveralInputsOfAModalityAreTheirMean) {
  const ProductSearch search = ProductSearch::build(tiny(), catalogue());
  const torch::Tensor rows = search.embedder().embed_texts({"hello", "world"});
  const auto [vectors, coverage, heard] = search.embed({.texts = {"hello", "world"}});
  EXPECT_LE(trine::testing::largest_difference(vectors.at(Modality::text), trine::normalise(rows.mean(0))), 1e-6);
  EXPECT_EQ(coverage.size(), 2u);
  EXPECT_TRUE(heard.empty());
  const SearchResult a = search.search(trine::Query{.texts = {"hello", "world"}}), b = search.search(vectors);
  EXPECT_EQ(a[0].score, b[0].score);
  EXPECT_THROW(search.search(trine::Query{}), std::invalid_argument);
}

/// Products "a", "b", "c" whose only vectors are those of the axes, in an index that the tiny model reads.
void write_axes(const Directory& folder, const std::string& spread = "") {
  trine::Index index(32);
  trine::testing::Json products = trine::testing::Json::array();
  for (int i = 0; i < 3; ++i) {
    std::vector<float> axis(32);
    axis[static_cast<std::size_t>(i)] = 1;
    const std::string id(1, static_cast<char>('a' + i));
    index.add(id + "\ntitle", axis);
    products.push_back({{"id", id}, {"title", id}});
  }
  index.metadata() = {{"catalogue", products.dump()}, {"model", "bert"}};
  if (!spread.empty()) index.metadata()["spread"] = spread;
  index.save(folder / "axes.trine");
}

torch::Tensor axis(std::int64_t i) { return torch::eye(32)[i]; }

TEST(ProductSearch, ReasonsSayWhatSpeaksForAndAgainst) {
  const Directory folder;
  write_axes(folder);
  const ProductSearch search(tiny(), folder / "axes.trine");
  const SearchResult found = search.search({{Modality::text, axis(0)}, {Modality::audio, axis(1)}});
  ASSERT_EQ(found[0].id, "a");
  EXPECT_EQ(found[0].reasons[0].verdict, trine::Verdict::supports);
  EXPECT_EQ(found[0].reasons[1].verdict, trine::Verdict::contradicts);
  EXPECT_EQ(found[0].sentence(), "The text points to it (1.00) and the spoken words point elsewhere (0.00).");
  const torch::Tensor unsure = (axis(0) + axis(1) + axis(2)) / std::sqrt(3.0);
  const SearchResult flat = search.search({{Modality::image, unsure}});
  for (const Hit& hit : flat) EXPECT_EQ(hit.reasons[0].verdict, trine::Verdict::neutral);
  EXPECT_EQ(trine::to_string(trine::Verdict::contradicts), "contradicts");
  EXPECT_NEAR(flat.confidence, 1.0 / 3, 1e-3);
  EXPECT_FALSE(flat.nothing_matches);
}

TEST(ProductSearch, WeightsAreRelativeToTheSpread) {
  const Directory folder;
  const std::map<Modality, torch::Tensor> query{{Modality::text, axis(0)}, {Modality::audio, axis(1)}};
  write_axes(folder);
  const ProductSearch usual(tiny(), folder / "axes.trine");
  EXPECT_EQ(usual.spread(Modality::text), 0);  // all others are equally far
  for (const trine::Mixing mixing : {trine::Mixing::early, trine::Mixing::late}) {
    const SearchResult found = usual.search(query, {.rerank = false, .mixing = mixing});
    EXPECT_NEAR(found[0].score, 1 / std::sqrt(1.25), 1e-6);
    EXPECT_NEAR(found[1].score, 0.5 / std::sqrt(1.25), 1e-6);
  }
  write_axes(folder, "{\"image\": 0.08, \"text\": 0.16, \"audio\": 0.08}");
  const ProductSearch wide(tiny(), folder / "axes.trine");
  const SearchResult found = wide.search(query, {.rerank = false});
  EXPECT_NEAR(found[0].score, found[1].score, 1e-6);
  EXPECT_NEAR(wide.search(query, {.rerank = false, .calibrate = false})[0].score, 1 / std::sqrt(1.25), 1e-6);
}

TEST(ProductSearch, SaysHowSureItIsAsTheModelWasCalibrated) {
  const Directory folder, model(trine::testing::kGolden / "bert");
  write_axes(folder);
  const auto calibrate = [&](const trine::testing::Json& below) {
    model.change("config.json", [&](auto& json) {
      json["calibration"]["text"]["known"] = {{"offset", 0}, {"similarity", 10}, {"odds", 0}, {"nothing_below", below}};
      json["calibration"]["confidence"] = {{"offset", 1}, {"odds", 0}, {"known", 0.5}};
    });
    fs::remove_all(folder / "bert");  // the index was made by a model of this name
    fs::copy(model.path(), folder / "bert", fs::copy_options::recursive);
    return ProductSearch(Embedder::load(folder / "bert"), folder / "axes.trine");
  };
  const ProductSearch search = calibrate(5);
  const SearchResult near = search.search({{Modality::text, axis(0)}}),
                     far = search.search({{Modality::text, axis(9)}});
  EXPECT_FALSE(near.nothing_matches);
  EXPECT_NEAR(near.confidence, 1 / (1 + std::exp(-6.0)), 1e-6);
  EXPECT_TRUE(far.nothing_matches);
  EXPECT_NEAR(far.confidence, 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_FALSE(search.search({{Modality::text, axis(9)}, {Modality::image, axis(9)}}).nothing_matches);  // not fitted
  EXPECT_TRUE(search.search({{Modality::text, axis(0)}}, {.filter = "id == \"z\""}).nothing_matches);
  EXPECT_THROW(calibrate("low"), std::runtime_error);
}

TEST(ProductSearch, KeepsAwayFromWhatIsNotWanted) {
  const ProductSearch search = ProductSearch::build(tiny(), catalogue());
  const auto of = [](const SearchResult& result, const std::string& id) {
    return *std::ranges::find(result.hits, id, &Hit::id);
  };
  const SearchResult plain = search.search({.text = "world"}),
                     found = search.search({.text = "world"}, {.without = {"goodbye", "world"}});
  EXPECT_EQ(of(plain, "2").avoided, 0);
  EXPECT_GT(of(found, "2").avoided, 0);
  EXPECT_LE(of(found, "2").avoided, 1);
  for (const Hit& hit : found) EXPECT_GE(of(found, "2").avoided, hit.avoided);
  EXPECT_NEAR(of(found, "2").score, of(plain, "2").score - std::max(of(found, "2").avoided - 0.2f, 0.0f), 1e-5);
  const SearchResult away = search.search({.text = "world"}, {.weights = {.text = -1}});
  EXPECT_TRUE(away[0].reasons.empty());
  EXPECT_EQ(away[0].sentence(), "Nothing speaks for it.");
}

}  // namespace
