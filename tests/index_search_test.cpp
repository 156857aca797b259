// What an index finds: precisions, batches, threads, instruction sets, graphs, and the files that hold them.

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "search/kernels.h"
#include "trine/search/index.h"

namespace fs = std::filesystem;
using trine::GraphOptions;
using trine::Index;
using trine::IndexForm;
using trine::IndexSearchOptions;
using trine::Match;
using trine::VectorType;

namespace {

constexpr std::optional<VectorType> kNone = std::nullopt;

/// Unit vectors around a few centres, as embeddings are.
struct Collection {
  std::size_t dim, count;
  std::vector<std::string> ids;
  std::vector<float> vectors, queries;

  Collection(std::size_t values, std::size_t records, std::size_t asked = 40, unsigned seed = 1)
      : dim(values), count(records) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> centres(20 * dim);
    for (float& value : centres) value = normal(random);
    const auto draw = [&](std::vector<float>& into) {
      const std::size_t centre = random() % 20, begin = into.size();
      double sum = 0;
      for (std::size_t i = 0; i < dim; ++i) {
        into.push_back(centres[centre * dim + i] + normal(random));
        sum += static_cast<double>(into.back()) * static_cast<double>(into.back());
      }
      for (std::size_t i = begin; i < into.size(); ++i) into[i] /= static_cast<float>(std::sqrt(sum));
    };
    for (std::size_t i = 0; i < count; ++i) {
      ids.push_back("id" + std::to_string(random() % 1000) + "/" + std::to_string(i));
      draw(vectors);
    }
    for (std::size_t i = 0; i < asked; ++i) draw(queries);
  }

  Index index(const IndexForm& options = {}) const {
    Index made(static_cast<std::int64_t>(dim), options);
    made.add(ids, vectors);
    return made;
  }
  std::span<const float> query(std::size_t i) const { return std::span(queries).subspan(i * dim, dim); }
  std::span<const float> vector(std::size_t i) const { return std::span(vectors).subspan(i * dim, dim); }
};

bool same(const std::vector<Match>& a, const std::vector<Match>& b) {
  return std::ranges::equal(a, b, [](const Match& x, const Match& y) {
    return x.id == y.id && std::bit_cast<std::uint32_t>(x.score) == std::bit_cast<std::uint32_t>(y.score);
  });
}

bool same(const std::vector<std::vector<Match>>& a, const std::vector<std::vector<Match>>& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) { return same(x, y); });
}

/// The part of what is in `truth` that was found.
double recall(const std::vector<std::vector<Match>>& truth, const std::vector<std::vector<Match>>& found) {
  std::size_t right = 0, all = 0;
  for (std::size_t q = 0; q < truth.size(); ++q) {
    std::set<std::string> there;
    for (const Match& match : found[q]) there.insert(match.id);
    for (const Match& match : truth[q]) right += there.count(match.id);
    all += truth[q].size();
  }
  return static_cast<double>(right) / static_cast<double>(all);
}

const std::vector<IndexForm>& all_options() {
  static const std::vector<IndexForm> all{{VectorType::fp32, kNone},
                                          {VectorType::fp16, kNone},
                                          {VectorType::fp16, VectorType::fp32},
                                          {VectorType::int8, kNone},
                                          {VectorType::int8, VectorType::fp16},
                                          {VectorType::int8, VectorType::fp32}};
  return all;
}

/// Of the results of everything here, to be compared between processes.
std::uint32_t digest() {
  std::uint32_t sum = 0;
  const auto add = [&](const std::vector<std::vector<Match>>& results) {
    for (const auto& matches : results) {
      for (const Match& match : matches) {
        const std::string text = match.id + " " + std::to_string(std::bit_cast<std::uint32_t>(match.score)) + "\n";
        sum = static_cast<std::uint32_t>(crc32_z(sum, reinterpret_cast<const Bytef*>(text.data()), text.size()));
      }
    }
  };
  for (const std::size_t dim : {std::size_t{7}, std::size_t{100}, std::size_t{384}}) {
    const Collection collection(dim, 1500);
    for (const IndexForm& options : all_options()) {
      Index index = collection.index(options);
      add(index.search_many(collection.queries, 7));
      add({index.search(collection.query(0), 1500)});
      if (options.rescore == VectorType::fp16) continue;  // as the others
      index.build_graph({.m = 6, .ef_construction = 30});
      add(index.search_many(collection.queries, 7));
    }
  }
  return sum;
}

class IndexGraphFile : public testing::Test {
 protected:
  IndexGraphFile() {
    std::string name = testing::TempDir() + "trine-graph-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
  }
  ~IndexGraphFile() override { fs::remove_all(folder_); }
  fs::path path(const char* name = "index.trine") const { return folder_ / name; }
  fs::path folder_;
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

TEST(IndexSearch, ABatchFindsWhatEachQueryFinds) {
  for (const std::size_t dim : {std::size_t{5}, std::size_t{64}, std::size_t{97}}) {
    const Collection collection(dim, 1300, 50);
    for (const IndexForm& options : all_options()) {
      const Index index = collection.index(options);
      std::vector<std::vector<Match>> one_by_one;
      for (std::size_t q = 0; q < 50; ++q) one_by_one.push_back(index.search(collection.query(q), 9));
      for (const std::int64_t threads : {0, 1, 2, 5}) {
        EXPECT_TRUE(same(index.search_many(collection.queries, 9, {.threads = threads}), one_by_one)) << dim;
        for (const std::size_t some :
             {std::size_t{3}, std::size_t{4}, std::size_t{16}, std::size_t{17}, std::size_t{33}}) {
          const auto found =
              index.search_many(std::span(collection.queries).first(some * dim), 9, {.threads = threads});
          ASSERT_EQ(found.size(), some);
          for (std::size_t q = 0; q < some; ++q) EXPECT_TRUE(same(found[q], one_by_one[q])) << dim << " " << some;
        }
      }
    }
  }
}

TEST(IndexSearch, HalvesBesideFloatsFindWhatFloatsFind) {
  const Collection collection(48, 4000);
  const auto expected = collection.index().search_many(collection.queries, 25);
  EXPECT_TRUE(
      same(collection.index({VectorType::fp16, VectorType::fp32}).search_many(collection.queries, 25), expected));
  // Also where many scores lie closer together than halves can tell.
  Index exact(8), halves(8, {VectorType::fp16, VectorType::fp32});
  std::mt19937 random(2);
  for (int i = 0; i < 3000; ++i) {
    std::vector<float> vector(8, 0.5f);
    for (float& value : vector) value += static_cast<float>(random() % 1000) * 1e-7f;
    exact.add(std::to_string(i), vector);
    halves.add(std::to_string(i), vector);
  }
  const std::vector<float> query(8, 0.25f);
  EXPECT_TRUE(same(exact.search(query, 10), halves.search(query, 10)));
}

TEST(IndexSearch, ReducedPrecisionsScoreWhatTheyKeep) {
  const Collection collection(64, 3000);
  const auto expected = collection.index().search_many(collection.queries, 10);
  const std::map<VectorType, double> least{{VectorType::fp16, 0.98}, {VectorType::int8, 0.85}};
  for (const IndexForm& options : all_options()) {
    const Index index = collection.index(options);
    EXPECT_EQ(index.options().precision, options.precision);
    const auto found = index.search_many(collection.queries, 10);
    if (options.rescore == VectorType::fp32) {
      EXPECT_GE(recall(expected, found), 0.999);
    } else if (options.precision != VectorType::fp32) {
      EXPECT_GE(recall(expected, found), least.at(options.rescore.value_or(options.precision)));
    }
    for (const Match& match : found[0]) {  // the score is that of the vector which the index gives back
      const std::vector<float> there = index.vector(match.id);
      double sum = 0;
      for (std::size_t i = 0; i < 64; ++i)
        sum += static_cast<double>(there[i]) * static_cast<double>(collection.query(0)[i]);
      EXPECT_NEAR(match.score, sum, 1e-6);
    }
  }
}

TEST(IndexSearch, TiesGoByIdInEveryPrecision) {
  for (const IndexForm& options : all_options()) {
    Index index(3, options);
    for (int i = 999; i >= 0; --i) index.add(std::to_string(1000 + i), std::vector<float>{1, 2, 3});
    for (const std::int64_t threads : {1, 3}) {
      const auto found = index.search(std::vector<float>{1, 1, 1}, 3, {.threads = threads});
      ASSERT_EQ(found.size(), 3u);
      EXPECT_EQ(found[0].id + found[1].id + found[2].id, "100010011002");
    }
    EXPECT_EQ(index.search(std::vector<float>{0, 0, 0}, 1)[0].id, "1000");
  }
}

TEST(IndexSearch, HugeAndTinyValuesHaveScores) {
  const float largest = std::numeric_limits<float>::max();
  for (const IndexForm& options : all_options()) {
    Index index(2, options);
    const bool halves = options.precision == VectorType::fp16 || options.rescore == VectorType::fp16;
    if (halves) {
      EXPECT_THROW(index.add("a", std::vector<float>{65505, 0}), std::invalid_argument);
      EXPECT_THROW(index.add("a", std::vector<float>{0, -largest}), std::invalid_argument);
      index.add("a", std::vector<float>{65504, -65504});
      EXPECT_THROW(index.update("a", std::vector<float>{1e5f, 0}), std::invalid_argument);
    } else {
      index.add("a", std::vector<float>{largest, -largest});
    }
    index.add("b", std::vector<float>{1e-45f, 0});
    index.add("c", std::vector<float>{-1, 0});
    for (const float size : {1e-45f, 1.0f, largest}) {
      const auto found = index.search_many(std::vector<float>{size, 0, size, 0, size, 0, size, 0, -size, 0}, 3);
      for (const auto& matches : found) {
        ASSERT_EQ(matches.size(), 3u);
        for (const Match& match : matches) EXPECT_TRUE(std::isfinite(match.score));
      }
      if (size != 1.0f) continue;
      EXPECT_EQ(found[0][0].id + found[0][1].id + found[0][2].id, "abc");
      EXPECT_EQ(found[4][0].id, "c");
    }
  }
}

TEST(IndexSearch, AsksTheFilterOnceAndOneAtATime) {
  const Collection collection(32, 6000, 40);
  for (const bool graph : {false, true}) {
    Index index = collection.index();
    if (graph) index.build_graph({.m = 8, .ef_construction = 40});
    std::map<std::string, int> asked;
    std::atomic<int> inside = 0;
    const auto keep = [&](std::string_view id) {
      EXPECT_EQ(++inside, 1);
      ++asked[std::string(id)];
      --inside;
      return id.back() % 2 == 0;
    };
    const auto found = index.search_many(collection.queries, 5, {.keep = keep, .threads = 4});
    for (const auto& matches : found) {
      EXPECT_EQ(matches.size(), 5u);
      for (const Match& match : matches) EXPECT_EQ(match.id.back() % 2, 0);
    }
    for (const auto& [id, times] : asked) EXPECT_EQ(times, 1) << id;
    const auto stop = [](std::string_view) -> bool { throw std::logic_error("stop"); };
    EXPECT_THROW(index.search_many(collection.queries, 5, {.keep = stop, .threads = 2}), std::logic_error);
    const auto none = index.search_many(collection.queries, 5, {.keep = [](std::string_view) { return false; }});
    for (const auto& matches : none) EXPECT_TRUE(matches.empty());
    const std::string only = collection.ids[4321];
    EXPECT_EQ(index.search(collection.query(0), 5, {.keep = [&](std::string_view id) { return id == only; }})[0].id,
              only);
  }
}

TEST(IndexSearch, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Index(3, {VectorType::fp32, VectorType::fp32}), std::invalid_argument);
  EXPECT_THROW(Index(3, {VectorType::fp32, VectorType::int8}), std::invalid_argument);
  EXPECT_THROW(Index(3, {VectorType::fp16, VectorType::fp16}), std::invalid_argument);
  Index index(2);
  const std::vector<float> query{1, 2}, nan{1, NAN, 1, 1};
  EXPECT_TRUE(index.search_many({}, 1).empty());
  EXPECT_EQ(index.search_many(std::vector<float>(4), 1).size(), 2u);
  EXPECT_THROW(index.search_many(nan, 1), std::invalid_argument);
  EXPECT_THROW(index.search_many(std::vector<float>(3), 1), std::invalid_argument);
  EXPECT_THROW(index.search_many(query, 0), std::invalid_argument);
  EXPECT_THROW(index.search(query, 1, {.ef = -1}), std::invalid_argument);
  EXPECT_THROW(index.search(query, 1, {.ef = 65537}), std::invalid_argument);
  EXPECT_THROW(index.search(query, 1, {.threads = -1}), std::invalid_argument);
  for (const GraphOptions& bad : std::vector<GraphOptions>{
           {.m = 1}, {.m = 513}, {.m = -1}, {.ef_construction = 0}, {.ef_construction = 65537}, {.threads = -2}}) {
    EXPECT_THROW(index.build_graph(bad), std::invalid_argument);
  }
  EXPECT_FALSE(index.has_graph());
  const std::vector<std::string> ids{"a", "b"};
  EXPECT_THROW(index.add(ids, std::vector<float>{1, 2, 3}), std::invalid_argument);
  EXPECT_THROW(index.add(ids, std::vector<float>{1, 2, 3, NAN}), std::invalid_argument);
  EXPECT_THROW(index.add(std::vector<std::string>{"a", "a"}, std::vector<float>(4)), std::invalid_argument);
  EXPECT_EQ(index.size(), 0);
  index.add(ids, std::vector<float>{1, 2, 3, 4});
  EXPECT_EQ(index.vector("b"), (std::vector<float>{3, 4}));
}

// Run by FindsTheSameOnEveryInstructionSet in processes of its own.
TEST(IndexSearch, DISABLED_Digest) { std::printf("digest %s %u\n", trine::detail::kernels().name, digest()); }

TEST(IndexSearch, FindsTheSameOnEveryInstructionSet) {
  const std::string expected = std::to_string(digest());
  for (const std::string name : {"portable", "avx2", "avx512"}) {
    if (trine::detail::kernels_named(name.c_str()) == nullptr) {
      std::printf("left out: this processor has no %s\n", name.c_str());
      continue;
    }
    const std::string self = fs::read_symlink("/proc/self/exe").string();
    FILE* child = ::popen(("TRINE_SEARCH_KERNELS=" + name + " '" + self +
                           "' --gtest_also_run_disabled_tests --gtest_filter=IndexSearch.DISABLED_Digest")
                              .c_str(),
                          "r");
    ASSERT_NE(child, nullptr);
    std::string said;
    for (char buffer[256]; std::fgets(buffer, sizeof(buffer), child) != nullptr;) said += buffer;
    EXPECT_EQ(::pclose(child), 0);
    EXPECT_NE(said.find("digest " + name + " " + expected + "\n"), std::string::npos) << said;
  }
}

// --- graphs ----------------------------------------------------------------------------------------------------------

TEST(IndexGraph, FindsMostOfTheBestAndMoreWithBreadth) {
  const Collection collection(64, 8000, 100);
  for (const IndexForm& options : all_options()) {
    Index index = collection.index(options);
    const auto exact = index.search_many(collection.queries, 10);
    index.build_graph({.m = 8, .ef_construction = 60});
    EXPECT_TRUE(index.has_graph());
    const double narrow = recall(exact, index.search_many(collection.queries, 10, {.ef = 10}));
    const double wide = recall(exact, index.search_many(collection.queries, 10, {.ef = 200}));
    EXPECT_GT(wide, 0.97);
    EXPECT_GT(wide, narrow);
    EXPECT_TRUE(same(index.search_many(collection.queries, 10, {.exact = true}), exact));
    for (const auto& matches : index.search_many(collection.queries, 10)) {
      ASSERT_EQ(matches.size(), 10u);
      EXPECT_TRUE(std::ranges::is_sorted(matches, std::greater(), &Match::score));
    }
    index.drop_graph();
    EXPECT_TRUE(same(index.search_many(collection.queries, 10), exact));
  }
}

TEST(IndexGraph, NeighboursThatComeTogetherFindEachOther) {  // as the vectors of a product do
  Index index(32);
  const Collection centres(32, 1500);
  std::mt19937 random(3);
  std::normal_distribution<float> noise(0, 0.01f);
  std::vector<std::string> ids;
  std::vector<float> vectors;
  for (std::size_t i = 0; i < 1500; ++i) {
    for (int j = 0; j < 5; ++j) {
      ids.push_back(std::to_string(i) + "/" + std::to_string(j));
      for (const float value : centres.vector(i)) vectors.push_back(value + noise(random));
    }
  }
  index.add(ids, vectors);
  const auto exact = index.search_many(centres.vectors, 5);
  index.build_graph({.m = 8, .ef_construction = 60});
  EXPECT_GT(recall(exact, index.search_many(centres.vectors, 5)), 0.99);
}

TEST_F(IndexGraphFile, IsTheSameForAnyNumberOfThreads) {
  const Collection collection(24, 3000);
  std::string bytes;
  for (const std::int64_t threads : {1, 2, 7}) {
    Index index = collection.index({VectorType::int8, kNone});
    index.build_graph({.m = 6, .ef_construction = 30, .threads = threads});
    index.save(path());
    if (threads == 1) bytes = read(path());
    EXPECT_EQ(read(path()), bytes) << threads;
  }
}

TEST(IndexGraph, FollowsChanges) {
  const Collection collection(32, 4000, 60), others(32, 4000, 1, 9);
  Index index(32), exact(32);
  index.build_graph({.m = 8, .ef_construction = 60});
  std::mt19937 random(4);
  const std::span<const float> all = collection.vectors;
  for (std::size_t i = 0; i < 4000; i += 500) {
    index.add(std::span(collection.ids).subspan(i, 500), all.subspan(i * 32, 500 * 32));
    exact.add(std::span(collection.ids).subspan(i, 500), all.subspan(i * 32, 500 * 32));
  }
  for (std::size_t i = 0; i < 4000; ++i) {
    const auto fate = random() % 5;
    if (fate == 0) {
      index.update(collection.ids[i], others.vector(i));
      exact.update(collection.ids[i], others.vector(i));
    } else if (fate <= 2) {
      index.remove(collection.ids[i]);
      exact.remove(collection.ids[i]);
    }
    if (i % 800 != 799) continue;
    ASSERT_EQ(index.ids(), exact.ids());
    const auto truth = exact.search_many(collection.queries, 10),
               found = index.search_many(collection.queries, 10, {.ef = 100});
    EXPECT_GT(recall(truth, found), 0.97) << i;
    EXPECT_TRUE(same(index.search_many(collection.queries, 10, {.exact = true}), truth));
    for (const Match& match : found[0]) EXPECT_EQ(index.vector(match.id), exact.vector(match.id));
  }
  for (const std::string& id : exact.ids()) index.remove(id);
  EXPECT_EQ(index.size(), 0);
  EXPECT_TRUE(index.search(collection.query(0), 3).empty());
  index.add("again", collection.vector(0));
  EXPECT_EQ(index.search(collection.query(0), 3)[0].id, "again");
}

TEST(IndexGraph, FiltersInsideTheWalk) {
  const Collection collection(32, 6000, 50);
  Index index = collection.index();
  index.build_graph({.m = 8, .ef_construction = 60});
  for (const int every : {2, 10, 100, 1000}) {
    const auto keep = [&](std::string_view id) {
      return std::stoi(std::string(id.substr(id.find('/') + 1))) % every == 0;
    };
    const auto truth = index.search_many(collection.queries, 5, {.keep = keep, .exact = true});
    const auto found = index.search_many(collection.queries, 5, {.keep = keep, .ef = 100});
    EXPECT_GT(recall(truth, found), 0.97) << every;
    for (const auto& matches : found) EXPECT_EQ(matches.size(), 5u);
  }
}

TEST(IndexGraph, ServesSeveralReaders) {
  const Collection collection(16, 2000);
  Index index = collection.index();
  index.build_graph({.m = 6, .ef_construction = 40});
  const auto expected = index.search_many(collection.queries, 5);
  std::vector<std::thread> readers;
  std::vector<int> right(4, 0);
  for (int& count : right) {
    readers.emplace_back([&] {
      for (int i = 0; i < 20; ++i) count += same(index.search_many(collection.queries, 5), expected);
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(right, std::vector<int>(4, 20));
}

TEST(IndexGraph, SmallAndDegenerateOnesWork) {
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{5}}) {
    Index index(2);
    index.build_graph({.m = 2, .ef_construction = 1});
    for (std::size_t i = 0; i < count; ++i) index.add(std::to_string(i), std::vector<float>{1, static_cast<float>(i)});
    EXPECT_EQ(index.search(std::vector<float>{0, 1}, 100).size(), count);
  }
  Index same_vectors(4);
  std::vector<std::string> ids;
  for (int i = 0; i < 2000; ++i) ids.push_back(std::to_string(i));
  same_vectors.add(ids, std::vector<float>(8000, 0.5f));
  same_vectors.build_graph();
  EXPECT_EQ(same_vectors.search(std::vector<float>(4, 1), 10).size(), 10u);
  Index zeros(4);
  zeros.add(ids, std::vector<float>(8000, 0.0f));
  zeros.build_graph();
  EXPECT_EQ(zeros.search(std::vector<float>(4, 1), 10).size(), 10u);
}

// --- files -----------------------------------------------------------------------------------------------------------

TEST_F(IndexGraphFile, ComesBackReadAndMapped) {
  const Collection collection(40, 700);
  for (const IndexForm& options : all_options()) {
    for (const bool graph : {false, true}) {
      Index index = collection.index(options);
      index.metadata()["model"] = "m";
      if (graph) index.build_graph({.m = 5, .ef_construction = 40});
      index.remove(collection.ids[3]);
      index.save(path());
      const std::string bytes = read(path());
      for (const bool mapped : {false, true}) {
        Index loaded = Index::load(path(), mapped);
        EXPECT_EQ(loaded.options().precision, options.precision);
        EXPECT_EQ(loaded.options().rescore, options.rescore);
        EXPECT_EQ(loaded.has_graph(), graph);
        EXPECT_EQ(loaded.ids(), index.ids());
        EXPECT_EQ(loaded.metadata(), index.metadata());
        const IndexSearchOptions exact{.exact = true};
        EXPECT_TRUE(
            same(loaded.search_many(collection.queries, 6, exact), index.search_many(collection.queries, 6, exact)));
        EXPECT_GT(recall(index.search_many(collection.queries, 6), loaded.search_many(collection.queries, 6)), 0.95);
        loaded.save(path("again"));
        EXPECT_EQ(read(path("again")), bytes);
        loaded.add("new", collection.query(0));
        loaded.update(collection.ids[9], collection.query(1));
        loaded.remove(collection.ids[10]);
        EXPECT_EQ(loaded.search(collection.query(0), 1)[0].id, "new");
        EXPECT_EQ(loaded.search(collection.query(1), 1)[0].id, collection.ids[9]);
        EXPECT_EQ(read(path()), bytes);  // a mapped file never changes
      }
    }
  }
}

TEST_F(IndexGraphFile, EveryCutAndEveryChangedByteIsAnError) {
  Index index(3, {VectorType::int8, VectorType::fp16});
  const Collection collection(3, 5);
  index.add(collection.ids, collection.vectors);
  index.metadata()["key"] = "value";
  index.build_graph({.m = 2, .ef_construction = 10});
  index.save(path());
  const std::string bytes = read(path());
  for (const bool mapped : {false, true}) {
    for (std::size_t length = 0; length < bytes.size(); length += length < 200 ? 1 : 7) {
      write(path(), bytes.substr(0, length));
      EXPECT_THROW(Index::load(path(), mapped), std::runtime_error) << length;
    }
    write(path(), bytes + '\0');
    EXPECT_THROW(Index::load(path(), mapped), std::runtime_error);
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      std::string changed = bytes;
      changed[at] ^= static_cast<char>(1 << at % 8);
      write(path(), changed);
      EXPECT_THROW(Index::load(path(), mapped), std::runtime_error) << at;
    }
  }
  write(path(), bytes);
  EXPECT_EQ(Index::load(path()).size(), 5);
}

/// Random changes with repaired checksums: an error or an index that can be searched.
TEST_F(IndexGraphFile, SurvivesForgeriesWithRightChecksums) {
  const Collection collection(3, 12);
  Index index = collection.index({VectorType::int8, VectorType::fp32});
  index.build_graph({.m = 2, .ef_construction = 10});
  index.save(path());
  const std::string bytes = read(path());
  const auto number = [&](std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) value |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
    return value;
  };
  // floats, codes, scales, ids, metadata, levels, base links, upper links, as docs/formats.md has them
  const std::vector<std::uint64_t> sizes{12 * 3 * 4, 12 * 64, 12 * 4,     number(48),
                                         number(56), 12,      12 * 5 * 4, number(64)};
  std::vector<std::pair<std::size_t, std::size_t>> sections{{0, 124}};
  std::size_t at = 128;
  for (const std::uint64_t size : sizes) {
    sections.emplace_back(at, size);
    at += (size + 4 + 63) / 64 * 64;
  }
  ASSERT_EQ(at, bytes.size());
  std::mt19937 random(5);
  int loaded = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string forged = bytes;
    for (int change = 0; change < 1 + round % 3; ++change) {
      const auto& [begin, size] = sections[random() % sections.size()];
      if (size != 0) forged[begin + random() % size] = static_cast<char>(random() % 2 == 0 ? random() % 16 : random());
    }
    for (const auto& [begin, size] : sections) {
      const auto sum = static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(&forged[begin]), size));
      for (std::size_t i = 0; i < 4; ++i) forged[begin + size + i] = static_cast<char>(sum >> (8 * i));
    }
    write(path(), forged);
    try {
      Index found = Index::load(path(), round % 2 == 0);
      ++loaded;
      for (const Match& match : found.search(std::vector<float>(3, 1), 100)) {
        ASSERT_TRUE(std::isfinite(match.score) && found.contains(match.id));
      }
      found.add("new", std::vector<float>(3, 1));
      found.save(path("again"));
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_GT(loaded, 100);
  EXPECT_LT(loaded, 2900);
}
