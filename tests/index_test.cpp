#include "trine/search/index.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

namespace fs = std::filesystem;
using trine::Index;
using trine::Match;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

std::vector<float> random_vector(std::mt19937& random, std::size_t dim) {
  std::normal_distribution<float> normal;
  std::vector<float> vector(dim);
  for (float& value : vector) value = normal(random);
  return vector;
}

/// A folder of its own for each test, removed afterwards.
class IndexFile : public testing::Test {
 protected:
  IndexFile() {
    std::string name = testing::TempDir() + "trine-index-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
  }
  ~IndexFile() override { fs::remove_all(folder_); }

  fs::path path(const char* name = "products.trine") const { return folder_ / name; }

  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

Index small_index() {
  Index index(3);
  index.add("pear", std::vector<float>{1, 0, 0});
  index.add("apple", std::vector<float>{0, 1, 0});
  index.add("b\xc3\xa4nana", std::vector<float>{0.5f, -2, 1e-30f});
  index.metadata()["model"] = "default";
  index.metadata()["catalogue"] = "";
  return index;
}

void expect_equal(const Index& a, const Index& b) {
  ASSERT_EQ(a.dim(), b.dim());
  ASSERT_EQ(a.ids(), b.ids());
  EXPECT_EQ(a.metadata(), b.metadata());
  for (const std::string& id : a.ids()) EXPECT_EQ(a.vector(id), b.vector(id)) << id;
}

template <typename Error, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no exception";
}

// The format as docs/formats.md describes it, written a second time so that the checksums of a broken file can be
// right.

template <typename Unsigned>
std::string little(Unsigned value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

std::string checksum(const std::string& bytes) {
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  return little(static_cast<std::uint32_t>(crc32(0, data, static_cast<uInt>(bytes.size()))));
}

std::string text(const std::string& value) { return little(static_cast<std::uint32_t>(value.size())) + value; }

std::string floats(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) bytes += little(std::bit_cast<std::uint32_t>(value));
  return bytes;
}

/// A file whose fields can be chosen one by one; what is not chosen follows from the sections.
struct Forgery {
  std::string magic = "TRINEIDX";
  std::uint32_t version = 1;
  std::uint32_t dim = 2;
  std::uint64_t records = 2;
  std::string vectors = floats({1, 2, 3, 4});
  std::string ids = text("a") + text("b");
  std::string metadata = text("key") + text("value");
  std::uint64_t vectors_bytes = vectors.size();
  std::uint64_t ids_bytes = ids.size();
  std::uint64_t metadata_bytes = metadata.size();
  std::uint64_t file_bytes = 76 + vectors_bytes + ids_bytes + metadata_bytes;
  std::uint32_t reserved = 0;

  std::string bytes() const {
    const std::string header = magic + little(version) + little(dim) + little(records) + little(file_bytes) +
                               little(vectors_bytes) + little(ids_bytes) + little(metadata_bytes) + little(reserved);
    return header + checksum(header) + vectors + checksum(vectors) + ids + checksum(ids) + metadata +
           checksum(metadata);
  }
};

}  // namespace

TEST(Index, AddsUpdatesAndRemoves) {
  Index index(2);
  EXPECT_EQ(index.dim(), 2);
  EXPECT_EQ(index.size(), 0);
  index.add("a", std::vector<float>{1, 0});
  index.add("b", std::vector<float>{0, 1});
  index.add("c", std::vector<float>{1, 1});
  EXPECT_EQ(index.ids(), (std::vector<std::string>{"a", "b", "c"}));
  index.update("a", std::vector<float>{3, 4});
  EXPECT_EQ(index.vector("a"), (std::vector<float>{3, 4}));
  index.remove("a");
  EXPECT_FALSE(index.contains("a"));
  EXPECT_EQ(index.vector("c"), (std::vector<float>{1, 1}));
  index.remove("c");
  EXPECT_EQ(index.ids(), (std::vector<std::string>{"b"}));
  index.add("c", std::vector<float>{5, 6});
  EXPECT_EQ(index.vector("c"), (std::vector<float>{5, 6}));
  EXPECT_EQ(index.vector("b"), (std::vector<float>{0, 1}));
  index.remove("b");
  index.remove("c");
  EXPECT_EQ(index.size(), 0);
  EXPECT_TRUE(index.search(std::vector<float>{1, 1}, 3).empty());
}

TEST(Index, RefusesWhatItCannotHold) {
  for (const std::int64_t dim : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{65537},
                                 std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_THROW(Index{dim}, std::invalid_argument) << dim;
  }
  EXPECT_EQ(Index(65536).dim(), 65536);

  Index index(2);
  const std::vector<float> good{1, 2};
  index.add("a", good);
  EXPECT_THROW(index.add("a", good), std::invalid_argument);
  EXPECT_THROW(index.add("", good), std::invalid_argument);
  EXPECT_THROW(index.add(std::string(65537, 'x'), good), std::invalid_argument);
  index.add(std::string(65536, 'x'), good);
  for (const std::vector<float>& bad : {std::vector<float>{}, {1}, {1, 2, 3}, {1, kNaN}, {kInf, 1}, {-kInf, 1}}) {
    EXPECT_THROW(index.add("b", bad), std::invalid_argument);
    EXPECT_THROW(index.update("a", bad), std::invalid_argument);
    EXPECT_THROW(index.search(bad, 1), std::invalid_argument);
  }
  EXPECT_THROW(index.update("b", good), std::invalid_argument);
  EXPECT_THROW(index.remove("b"), std::invalid_argument);
  EXPECT_THROW(index.vector("b"), std::invalid_argument);
  for (const std::int64_t k : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()}) {
    EXPECT_THROW(index.search(good, k), std::invalid_argument) << k;
  }
  EXPECT_EQ(index.size(), 2);
  EXPECT_EQ(index.vector("a"), good);
}

TEST(Index, ErrorsAreSentences) {
  Index index(2);
  EXPECT_EQ(message_of<std::invalid_argument>([&] {
              index.add("a", std::vector<float>{1, 2, 3});
            }),
            "[Index::add] the vector needs 2 values, got 3");
  EXPECT_EQ(message_of<std::invalid_argument>([&] {
              index.search(std::vector<float>{1, kNaN}, 1);
            }),
            "[Index::search] the query must be finite, its value 1 is nan");
  EXPECT_EQ(message_of<std::invalid_argument>([&] { index.remove("one\n\xff"); }),
            "[Index::remove] there is no record with the id \"one\\x0a\\xff\"");
  EXPECT_LT(message_of<std::invalid_argument>([&] { index.remove(std::string(65536, '\n')); }).size(), 500u);
}

TEST(Index, OrdersByScoreThenId) {
  Index index(1);
  for (const char* id : {"d", "b", "e", "a", "c"}) index.add(id, std::vector<float>{1});
  index.add("best", std::vector<float>{2});
  index.add("worst", std::vector<float>{-1});
  const std::vector<float> query{1};
  std::string order;
  for (const Match& match : index.search(query, 4)) order += match.id + " ";
  EXPECT_EQ(order, "best a b c ");
  const std::vector<Match> all = index.search(query, std::numeric_limits<std::int64_t>::max());
  ASSERT_EQ(all.size(), 7u);
  EXPECT_EQ(all.front().score, 2);
  EXPECT_EQ(all.back().id, "worst");
  EXPECT_EQ(all.back().score, -1);
}

TEST(Index, FiltersById) {
  std::mt19937 random(1);
  Index index(5);
  for (int i = 0; i < 1000; ++i) index.add(std::to_string(i), random_vector(random, 5));
  const std::vector<float> query = random_vector(random, 5);
  const auto even = [](std::string_view id) { return (id.back() - '0') % 2 == 0; };
  std::vector<Match> expected = index.search(query, 1000);
  std::erase_if(expected, [&](const Match& match) { return !even(match.id); });
  for (const std::size_t k : {std::size_t{1}, std::size_t{20}, std::size_t{499}, std::size_t{1000}}) {
    const std::vector<Match> found = index.search(query, static_cast<std::int64_t>(k), even);
    ASSERT_EQ(found.size(), std::min(k, expected.size()));
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].id, expected[i].id);
  }
  EXPECT_TRUE(index.search(query, 3, [](std::string_view) { return false; }).empty());
  EXPECT_THROW(index.search(query, 3, [](std::string_view) -> bool { throw std::logic_error("stop"); }),
               std::logic_error);
}

TEST(Index, AgreesWithBruteForce) {
  std::mt19937 random(2);
  for (const std::size_t dim : std::vector<std::size_t>{1, 2, 7, 15, 16, 17, 31, 33, 100, 384, 1000}) {
    Index index(static_cast<std::int64_t>(dim));
    std::vector<std::vector<float>> vectors;
    for (std::size_t i = 0; i < 700; ++i) {
      vectors.push_back(random_vector(random, dim));
      index.add("id" + std::to_string(i), vectors.back());
    }
    for (int round = 0; round < 5; ++round) {
      const std::vector<float> query = random_vector(random, dim);
      std::vector<std::pair<double, std::string>> oracle;
      for (std::size_t i = 0; i < vectors.size(); ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < dim; ++j) sum += static_cast<double>(query[j]) * static_cast<double>(vectors[i][j]);
        oracle.emplace_back(-sum, "id" + std::to_string(i));
      }
      std::ranges::sort(oracle);
      const std::vector<Match> found = index.search(query, 50);
      ASSERT_EQ(found.size(), 50u);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const double score = -oracle[i].first;
        const double scale = std::max(1.0, std::abs(score));
        EXPECT_NEAR(found[i].score, score, 1e-6 * scale) << dim;
        const bool clear = (i == 0 || oracle[i].first - oracle[i - 1].first > 1e-6 * scale) &&
                           oracle[i + 1].first - oracle[i].first > 1e-6 * scale;
        EXPECT_TRUE(!clear || found[i].id == oracle[i].second) << dim << ": " << found[i].id;
      }
    }
  }
}

TEST(Index, FollowsAModelThroughRandomChanges) {
  std::mt19937 random(3);
  Index index(4);
  std::map<std::string, std::vector<float>> model;
  for (int step = 0; step < 20000; ++step) {
    const std::string id = "id" + std::to_string(random() % 300);
    const std::vector<float> vector = random_vector(random, 4);
    if (!model.contains(id)) {
      index.add(id, vector);
      model[id] = vector;
    } else if (random() % 2 == 0) {
      index.update(id, vector);
      model[id] = vector;
    } else {
      index.remove(id);
      model.erase(id);
    }
    if (step % 1000 != 0) continue;
    ASSERT_EQ(static_cast<std::size_t>(index.size()), model.size());
    for (const Match& match : index.search(vector, 1000)) {
      const std::vector<float>& there = model.at(match.id);
      EXPECT_EQ(index.vector(match.id), there);
      EXPECT_NEAR(match.score, std::inner_product(there.begin(), there.end(), vector.begin(), 0.0), 1e-5);
    }
  }
}

TEST(Index, ScoresDependOnQueryAndVectorOnly) {
  std::mt19937 random(4);
  for (const std::size_t dim : std::vector<std::size_t>{3, 64, 384, 517}) {
    std::vector<std::pair<std::string, std::vector<float>>> records;
    for (int i = 0; i < 600; ++i) records.emplace_back("id" + std::to_string(i), random_vector(random, dim));
    const std::vector<float> query = random_vector(random, dim);
    std::map<std::string, float> alone;
    for (const auto& [id, vector] : records) {
      Index index(static_cast<std::int64_t>(dim));
      index.add(id, vector);
      alone[id] = index.search(query, 1)[0].score;
    }
    for (int round = 0; round < 4; ++round) {
      std::ranges::shuffle(records, random);
      Index index(static_cast<std::int64_t>(dim));
      index.add("passing", query);
      for (const auto& [id, vector] : records) index.add(id, vector);
      index.remove("passing");
      const std::vector<Match> found = index.search(query, 600);
      ASSERT_EQ(found.size(), records.size());
      for (const Match& match : found) {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(match.score), std::bit_cast<std::uint32_t>(alone[match.id]));
      }
    }
  }
}

TEST(Index, HugeValuesGiveFiniteScores) {
  Index index(4);
  index.add("plus", std::vector<float>{kLargest, kLargest, kLargest, kLargest});
  index.add("minus", std::vector<float>{-kLargest, -kLargest, -kLargest, -kLargest});
  index.add("mixed", std::vector<float>{kLargest, -kLargest, kLargest, -kLargest});
  const std::vector<Match> found = index.search(std::vector<float>{kLargest, kLargest, kLargest, kLargest}, 3);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].id, "plus");
  EXPECT_EQ(found[0].score, kLargest);
  EXPECT_EQ(found[1].score, 0);
  EXPECT_EQ(found[2].score, -kLargest);
}

TEST(Index, MovesAndServesSeveralReaders) {
  std::mt19937 random(5);
  Index made(16);
  for (int i = 0; i < 2000; ++i) made.add(std::to_string(i), random_vector(random, 16));
  Index index = std::move(made);
  const std::vector<float> query = random_vector(random, 16);
  const std::vector<Match> expected = index.search(query, 10);
  std::vector<std::thread> readers;
  std::vector<int> same(4, 0);
  for (int& count : same) {
    readers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) count += index.search(query, 10)[9].id == expected[9].id;
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(same, std::vector<int>(4, 50));
}

TEST_F(IndexFile, ComesBack) {
  const Index index = small_index();
  index.save(path());
  Index loaded = Index::load(path());
  expect_equal(index, loaded);
  loaded.remove("apple");
  loaded.add("cherry", std::vector<float>{7, 8, 9});
  loaded.save(path());
  expect_equal(loaded, Index::load(path()));
  EXPECT_EQ(files(), 1u);
}

TEST_F(IndexFile, ComesBackAtTheLimits) {
  Index empty(65536);
  empty.save(path());
  expect_equal(empty, Index::load(path()));

  Index index(40000);  // a row that fills no chunk evenly
  std::mt19937 random(6);
  for (int i = 0; i < 7; ++i) index.add(std::string(65536, static_cast<char>('a' + i)), random_vector(random, 40000));
  index.add(std::string("\0\xff", 2), std::vector<float>(40000, -0.0f));
  index.metadata()[""] = std::string(1 << 20, '\0');
  index.save(path());
  expect_equal(index, Index::load(path()));
}

TEST_F(IndexFile, HasTheSameBytesWhateverTheOrder) {
  std::mt19937 random(7);
  std::vector<std::pair<std::string, std::vector<float>>> records;
  for (int i = 0; i < 300; ++i) records.emplace_back(std::to_string(i), random_vector(random, 9));
  std::string bytes;
  for (int round = 0; round < 5; ++round) {
    std::ranges::shuffle(records, random);
    Index index(9);
    index.add("passing", records[0].second);
    for (const auto& [id, vector] : records) index.add(id, vector);
    index.remove("passing");
    index.save(path());
    if (round == 0) bytes = read(path());
    EXPECT_EQ(read(path()), bytes);
  }
  Index::load(path()).save(path("again"));
  EXPECT_EQ(read(path("again")), bytes);
}

TEST_F(IndexFile, HasTheDocumentedBytes) {
  Index index(2);
  index.add("b", std::vector<float>{3, 4});
  index.add("a", std::vector<float>{1, 2});
  index.metadata()["key"] = "value";
  index.save(path());
  EXPECT_EQ(read(path()), Forgery().bytes());
}

TEST_F(IndexFile, EveryCutIsAnError) {
  small_index().save(path());
  const std::string bytes = read(path());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    write(path("cut"), bytes.substr(0, length));
    EXPECT_THROW(Index::load(path("cut")), std::runtime_error) << length;
  }
  write(path("grown"), bytes + '\0');
  EXPECT_THROW(Index::load(path("grown")), std::runtime_error);
}

TEST_F(IndexFile, EveryChangedByteIsAnError) {
  small_index().save(path());
  const std::string bytes = read(path());
  const int file = ::open(path().c_str(), O_WRONLY);
  ASSERT_GE(file, 0);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int change = 1; change < 256; ++change) {  // all 255 other values, every single-bit flip among them
      const char byte = static_cast<char>(bytes[at] ^ change);
      ASSERT_EQ(::pwrite(file, &byte, 1, static_cast<off_t>(at)), 1);
      EXPECT_THROW(Index::load(path()), std::runtime_error) << "byte " << at << " xor " << change;
    }
    ASSERT_EQ(::pwrite(file, &bytes[at], 1, static_cast<off_t>(at)), 1);
  }
  ::close(file);
  expect_equal(small_index(), Index::load(path()));
}

TEST_F(IndexFile, RefusesForgeriesWithRightChecksums) {
  write(path(), Forgery().bytes());
  EXPECT_EQ(Index::load(path()).vector("b"), (std::vector<float>{3, 4}));

  const std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  const std::vector<std::pair<const char*, Forgery>> forgeries{
      {"another magic", {.magic = "TRINEIDY"}},
      {"version 0", {.version = 0}},
      {"version 2", {.version = 2}},
      {"dimension 0", {.dim = 0, .vectors = ""}},
      {"dimension 65537", {.dim = 65537, .records = 0, .vectors = "", .ids = ""}},
      {"huge dimension", {.dim = 0xffffffff}},
      {"one record more", {.records = 3}},
      {"one record less", {.records = 1}},
      {"huge count", {.records = huge}},
      {"a count whose bytes overflow to 0", {.records = std::uint64_t{1} << 61, .vectors = ""}},
      {"a count that fits the dimension's overflow", {.dim = 65536, .records = std::uint64_t{1} << 46, .vectors = ""}},
      {"many records", {.records = std::uint64_t{1} << 32, .vectors_bytes = std::uint64_t{1} << 35}},
      {"huge vectors", {.vectors_bytes = huge}},
      {"huge ids", {.ids_bytes = huge}},
      {"huge metadata", {.metadata_bytes = huge}},
      {"metadata over the cap", {.metadata_bytes = (1u << 28) + 1}},
      {"sections that sum up by overflow", {.ids_bytes = huge - 7, .metadata_bytes = 8 + 26}},
      {"huge file", {.file_bytes = huge}},
      {"reserved bytes", {.reserved = 1}},
      {"NaN", {.vectors = floats({1, 2, kNaN, 4})}},
      {"Inf", {.vectors = floats({1, 2, 3, -kInf})}},
      {"an id twice", {.ids = text("a") + text("a")}},
      {"ids out of order", {.ids = text("b") + text("a")}},
      {"an empty id", {.ids = text("") + text("ab")}},
      {"an id too long", {.ids = text("a") + text(std::string(65537, 'b'))}},
      {"an id beyond its section", {.ids = text("a") + little(std::uint32_t{2}) + "b"}},
      {"an id of 4 GiB", {.ids = text("a") + little(std::uint32_t{0xffffffff}) + "b"}},
      {"bytes after the ids", {.ids = text("a") + text("b") + "c"}},
      {"a key twice", {.metadata = text("a") + text("") + text("a") + text("")}},
      {"keys out of order", {.metadata = text("b") + text("") + text("a") + text("")}},
      {"a key without a value", {.metadata = text("key")}},
      {"half a length", {.metadata = text("key") + text("value") + "ab"}},
      {"a value beyond the file", {.metadata = text("key") + little(std::uint32_t{0x7fffffff})}},
  };
  for (const auto& [name, forgery] : forgeries) {
    write(path(), forgery.bytes());
    const std::string message = message_of<std::runtime_error>([&] { Index::load(path()); });
    EXPECT_TRUE(message.starts_with("[Index::load] ")) << name << ": " << message;
  }
  write(path(), Forgery{.version = 3}.bytes());
  EXPECT_NE(message_of<std::runtime_error>([&] { Index::load(path()); }).find("use a newer Trine"), std::string::npos);
}

/// Mutations of a good file, half of them with repaired checksums: an error or an index that makes sense.
TEST_F(IndexFile, SurvivesRandomMutations) {
  std::mt19937 random(8);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  const auto mutate = [&](std::string& bytes) {
    for (std::size_t i = below(3); i > 0; --i) {
      if (bytes.empty()) return;
      const std::size_t at = below(bytes.size());
      switch (below(4)) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + below(8));
          break;
        case 2:
          bytes.insert(at, 1 + below(8), static_cast<char>(random()));
          break;
        default:
          bytes.replace(at, 4, little(static_cast<std::uint32_t>(random()) >> below(32)));
          break;
      }
    }
  };
  int loaded = 0;
  for (int round = 0; round < 10000; ++round) {
    Forgery forgery;
    mutate(forgery.vectors);
    mutate(forgery.ids);
    mutate(forgery.metadata);
    if (below(2) == 0) forgery = {.vectors = forgery.vectors, .ids = forgery.ids, .metadata = forgery.metadata};
    if (below(4) == 0) forgery.dim = static_cast<std::uint32_t>(below(5));
    if (below(4) == 0) forgery.records = below(5);
    std::string bytes = forgery.bytes();
    if (below(4) == 0) mutate(bytes);
    write(path(), bytes);
    try {
      const Index index = Index::load(path());
      ++loaded;
      const std::vector<std::string> ids = index.ids();
      ASSERT_EQ(ids.size(), static_cast<std::size_t>(index.size()));
      const std::vector<Match> found = index.search(std::vector<float>(static_cast<std::size_t>(index.dim()), 1), 100);
      ASSERT_EQ(found.size(), ids.size());
      for (const Match& match : found) ASSERT_TRUE(std::isfinite(match.score) && index.contains(match.id));
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_GT(loaded, 250);  // the mutations reach beyond the checksums
}

TEST_F(IndexFile, RefusesGarbageAndWhatIsNoFile) {
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 0) bytes.insert(0, std::string("TRINEIDX\1\0\0\0", 12));
    write(path(), bytes);
    EXPECT_THROW(Index::load(path()), std::runtime_error);
  }
  EXPECT_THROW(Index::load(path("missing")), std::runtime_error);
  EXPECT_THROW(Index::load(folder_), std::runtime_error);
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_THROW(Index::load(path("pipe")), std::runtime_error);
}

TEST_F(IndexFile, RefusesMetadataBeyondTheFormat) {
  Index index(1);
  index.metadata()["key"] = std::string((std::size_t{1} << 28) - 10, 'x');
  EXPECT_THROW(index.save(path()), std::invalid_argument);
  EXPECT_EQ(files(), 0u);
}

TEST_F(IndexFile, FailedSavesKeepTheOldFile) {
  const Index index = small_index();
  EXPECT_THROW(index.save(folder_ / "missing" / "products.trine"), std::runtime_error);
  EXPECT_THROW(index.save(folder_), std::runtime_error);
  EXPECT_THROW(index.save(""), std::runtime_error);
  EXPECT_THROW(index.save("/dev/null"), std::runtime_error);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  index.save(path());
  EXPECT_THROW(index.save(path() / "below"), std::runtime_error);

  // A folder that may not be written; root may write everywhere, so the child gives that up.
  fs::permissions(folder_,
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    const std::string message = message_of<std::runtime_error>([&] { Index(3).save(path()); });
    ::_exit(message.starts_with("[Index::save] cannot write in ") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  fs::permissions(folder_, fs::perms::owner_all);
  expect_equal(index, Index::load(path()));
  EXPECT_EQ(files(), 1u);
}

TEST_F(IndexFile, AFullDiskKeepsTheOldFile) {
  const Index index = small_index();
  index.save(path());
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1}, rlim_t{63}, rlim_t{64}, rlim_t{65537}, rlim_t{399999}}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Index big(1000);
      for (int i = 0; i < 100; ++i) big.add(std::to_string(i), std::vector<float>(1000, 1));
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit size{limit, limit};
      if (::setrlimit(RLIMIT_FSIZE, &size) != 0) ::_exit(2);
      const std::string message = message_of<std::runtime_error>([&] { big.save(path()); });
      ::_exit(message.ends_with(std::strerror(EFBIG)) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << limit << ": " << status;
    expect_equal(index, Index::load(path()));
    EXPECT_EQ(files(), 1u) << limit;
  }
}

TEST_F(IndexFile, KeepsThePermissionsOfTheOldFile) {
  small_index().save(path());
  fs::permissions(path(), fs::perms::owner_read | fs::perms::owner_write);
  small_index().save(path());
  EXPECT_EQ(fs::status(path()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(IndexFile, SeveralWritersLeaveOneWholeFile) {
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([this, writer] {
      Index index(500);
      for (int i = 0; i < 100; ++i) index.add(std::to_string(i), std::vector<float>(500, static_cast<float>(writer)));
      for (int i = 0; i < 20; ++i) index.save(path());
    });
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(!fs::exists(path()) || Index::load(path()).size() == 100);
  }
  for (std::thread& writer : writers) writer.join();
  const Index index = Index::load(path());
  EXPECT_EQ(index.vector("0"), index.vector("99"));
  EXPECT_EQ(files(), 1u);
}

TEST_F(IndexFile, SurvivesKillAtAnyMoment) {
  constexpr int kRecords = 150;
  constexpr std::size_t kDim = 200;
  const auto generation = [&](int number) {
    Index index(kDim);
    for (int i = 0; i < kRecords + number % 7; ++i) {
      index.add(std::to_string(i), std::vector<float>(kDim, static_cast<float>(number)));
    }
    index.metadata()["generation"] = std::to_string(number);
    return index;
  };
  const Index first = generation(0);
  auto fastest = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    first.save(path());
    fastest = std::min(fastest, std::chrono::steady_clock::now() - start);
  }
  const auto longest = std::chrono::duration_cast<std::chrono::microseconds>(fastest).count() * 3 / 2 + 200;

  std::mt19937 random(10);
  int current = 0;
  int died = 0;
  for (int round = 0; round < 200; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const Index next = generation(current + 1);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        next.save(path());
        const ssize_t acknowledged = ::write(pipe[1], "y", 1);
        ::_exit(acknowledged == 1 ? 0 : 1);
      } catch (...) {
        ::_exit(1);
      }
    }
    ::close(pipe[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % static_cast<unsigned>(longest)));
    if (round % 10 != 9) ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    char answer = 0;
    const bool acknowledged = ::read(pipe[0], &answer, 1) == 1;
    ::close(pipe[0]);
    died += WIFSIGNALED(status);

    const Index found = Index::load(path());
    const int number = std::stoi(found.metadata().at("generation"));
    ASSERT_TRUE(number == current + 1 || (number == current && !acknowledged)) << number << " after " << current;
    expect_equal(found, generation(number));
    current = number;
  }
  EXPECT_GT(died, 0);
  EXPECT_GE(current, 20);  // every tenth save was left alone
  RecordProperty("killed", died);
  RecordProperty("saved", current);
}
