#include "trine/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>

#include "detail/json.h"

namespace {

namespace fs = std::filesystem;
using trine::Checkpoint;
using trine::DType;
using trine::TensorView;

const fs::path kGolden = fs::path(TRINE_TEST_DATA) / "golden/checkpoint";

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte b : bytes) {
    out += "0123456789abcdef"[std::to_integer<unsigned>(b) >> 4];
    out += "0123456789abcdef"[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

/// A directory of its own for each test, removed with it.
class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { fs::create_directories(directory_); }
  ~CheckpointTest() override { fs::remove_all(directory_); }

  fs::path write(const std::string& name, std::string_view content) const {
    std::ofstream(directory_ / name, std::ios::binary) << content;
    return directory_ / name;
  }

  /// A safetensors file of a header, whose length is told truthfully, and data.
  fs::path write_file(std::string_view header, std::string_view data,
                      const std::string& name = "model.safetensors") const {
    const std::uint64_t length = header.size();
    std::string file(reinterpret_cast<const char*>(&length), 8);
    return write(name, file.append(header).append(data));
  }

  static std::string refusal(const fs::path& path) {
    try {
      Checkpoint::open(path);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string refusal_of(std::string_view header, std::string_view data = "") const {
    return refusal(write_file(header, data));
  }

  const fs::path directory_ =
      fs::temp_directory_path() / ("trine_checkpoint_" + std::to_string(::getpid()) + "_" +
                                   testing::UnitTest::GetInstance()->current_test_info()->name());
};

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(CheckpointTest, HoldsWhatTheReferenceWrote) {
  const auto expected = trine::detail::read_json("test", kGolden / "expected.json");
  for (const auto& [file, tensors] : expected.items()) {
    const Checkpoint checkpoint = Checkpoint::open(kGolden / file);
    EXPECT_EQ(checkpoint.names().size(), tensors.size()) << file;
    for (const auto& [name, tensor] : tensors.items()) {
      ASSERT_TRUE(checkpoint.contains(name)) << name;
      const TensorView& view = checkpoint.at(name);
      EXPECT_EQ(to_string(view.dtype), tensor["dtype"].get<std::string>()) << name;
      EXPECT_EQ(view.shape, tensor["shape"].get<std::vector<std::int64_t>>()) << name;
      EXPECT_EQ(hex(view.data), tensor["hex"].get<std::string>()) << name;
      EXPECT_EQ(static_cast<std::size_t>(view.numel()) * size_of(view.dtype), view.data.size()) << name;
    }
  }
}

TEST_F(CheckpointTest, GivesMetadata) {
  const std::map<std::string, std::string> expected = {{"format", "pt"}, {"größe", "a \"quoted\" \t line"}};
  EXPECT_EQ(Checkpoint::open(kGolden / "types.safetensors").metadata(), expected);
  const auto first_shard = Checkpoint::open(kGolden / "sharded").metadata();
  EXPECT_EQ(first_shard, (std::map<std::string, std::string>{{"shard", "1"}}));
}

TEST_F(CheckpointTest, OpensADirectoryAFileOrAnIndex) {
  EXPECT_EQ(Checkpoint::open(kGolden / "sharded").names(),
            Checkpoint::open(kGolden / "sharded/model.safetensors.index.json").names());
  EXPECT_EQ(Checkpoint::open(kGolden / "sharded").path(), kGolden / "sharded");
  fs::copy(kGolden / "sharded", directory_, fs::copy_options::recursive);
  fs::copy(kGolden / "odd.safetensors", directory_ / "model.safetensors");
  EXPECT_TRUE(Checkpoint::open(directory_).contains("scalar"));  // the single file wins
}

TEST_F(CheckpointTest, CopiesOutliveTheOriginal) {
  auto original = std::make_unique<Checkpoint>(Checkpoint::open(kGolden / "types.safetensors"));
  const Checkpoint copy = *original;
  original.reset();
  EXPECT_EQ(copy.at("layer.1.u8").data[1], std::byte{37});
}

TEST_F(CheckpointTest, NamesNearTensors) {
  const Checkpoint checkpoint = Checkpoint::open(kGolden / "sharded");
  const auto sentence = [&](const std::string& name) -> std::string {
    try {
      checkpoint.at(name);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "found";
  };
  EXPECT_CONTAINS(sentence("layer.0.wieght"), "has no tensor \"layer.0.wieght\"; near: \"layer.0.weight\"");
  EXPECT_CONTAINS(sentence("model.layer.0.bias"), "near: \"layer.0.bias\"");
  EXPECT_EQ(sentence("zzzzzzzz").find("near"), std::string::npos);
}

TEST_F(CheckpointTest, RefusesPickledWeightsWithTheCommand) {
  const fs::path file = write("pytorch_model.bin", "PK");
  const std::string command = "run: trine convert " + directory_.string();
  EXPECT_CONTAINS(refusal(directory_), command);
  EXPECT_CONTAINS(refusal(file), command);
  EXPECT_CONTAINS(refusal(write("ViT.pt", "PK")), command);
  EXPECT_CONTAINS(refusal(write("huge.pth", "PK")), command);
}

TEST_F(CheckpointTest, MissingFilesAreFileNotFound) {
  for (const fs::path& path : {directory_, directory_ / "absent.safetensors", directory_ / "absent.bin"}) {
    try {
      Checkpoint::open(path);
      FAIL() << path;
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    }
  }
}

constexpr const char* kOne = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";

std::string one(const std::string& entry) { return "{\"a\":" + entry + "}"; }

TEST_F(CheckpointTest, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(refusal_of("{}"), "accepted");
  EXPECT_EQ(refusal_of(one(kOne), "1234"), "accepted");
  EXPECT_EQ(refusal_of(one(kOne) + " \n\t", "1234"), "accepted");
  EXPECT_EQ(refusal_of(R"({"__metadata__":null})"), "accepted");
  EXPECT_EQ(refusal_of(R"({"a":{"dtype":"F32","shape":[0,9],"data_offsets":[0,0],"note":[]}})"), "accepted");
}

TEST_F(CheckpointTest, RefusesBadLengths) {
  EXPECT_CONTAINS(refusal(write("f.safetensors", "")), "it has 0 bytes");
  EXPECT_CONTAINS(refusal(write("f.safetensors", "1234567")), "it has 7 bytes");
  EXPECT_CONTAINS(refusal(write("f.safetensors", std::string("\x03\0\0\0\0\0\0\0{}", 10))), "3 bytes, 2 are there");
  EXPECT_CONTAINS(refusal(write("f.safetensors", std::string("\x01\xE1\xF5\x05\0\0\0\0{}", 10))), "100000001 bytes");
  EXPECT_CONTAINS(refusal(write("f.safetensors", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}")), "18446744073709551615 bytes");
}

TEST_F(CheckpointTest, RefusesBadHeaders) {
  EXPECT_CONTAINS(refusal_of(""), "does not start with '{'");
  EXPECT_CONTAINS(refusal_of(" {}"), "does not start with '{'");
  EXPECT_CONTAINS(refusal_of("[]"), "does not start with '{'");
  EXPECT_CONTAINS(refusal_of("{\"a\":"), "not valid JSON");
  EXPECT_CONTAINS(refusal_of("{\"\xFF\":1}"), "not valid JSON");
  EXPECT_CONTAINS(refusal_of(std::string("{}\0", 3)), "a zero byte");
  EXPECT_CONTAINS(refusal_of("{\"a\":" + std::string(kOne) + ",\"a\":" + kOne + "}", "1234"), "\"a\" twice");
  EXPECT_CONTAINS(refusal_of("{\"a\":" + std::string(100'000, '[')), "nests deeper");
  EXPECT_CONTAINS(refusal_of(R"({"__metadata__":[]})"), "__metadata__ is not an object");
  EXPECT_CONTAINS(refusal_of(R"({"__metadata__":{"a":1}})"), "holds \"a\", which is not a string");
  EXPECT_CONTAINS(refusal_of(R"({"__metadata__":{"a":"","a":""}})"), "\"a\" twice");
}

TEST_F(CheckpointTest, RefusesBadEntries) {
  const auto entry = [&](const char* type, const char* shape, const char* offsets) {
    return refusal_of(
        one(std::string("{\"dtype\":") + type + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}"), "1234");
  };
  EXPECT_EQ(entry("\"F32\"", "[1]", "[0,4]"), "accepted");
  EXPECT_CONTAINS(refusal_of(one("[\"F32\",[1],[0,4]]"), "1234"), "not described by an object");
  EXPECT_CONTAINS(refusal_of(one(R"({"shape":[1],"data_offsets":[0,4]})"), "1234"), "has no \"dtype\"");
  EXPECT_CONTAINS(refusal_of(one(R"({"dtype":"F32","data_offsets":[0,4]})"), "1234"), "has no \"shape\"");
  EXPECT_CONTAINS(refusal_of(one(R"({"dtype":"F32","shape":[1]})"), "1234"), "has no \"data_offsets\"");
  EXPECT_CONTAINS(entry("\"f32\"", "[1]", "[0,4]"), "type \"f32\", which is not supported");
  EXPECT_CONTAINS(entry("\"F8_E4M3\"", "[4]", "[0,4]"), "type \"F8_E4M3\", which is not supported");
  EXPECT_CONTAINS(entry("7", "[1]", "[0,4]"), "is not a string");
  EXPECT_CONTAINS(entry("\"F32\"", "1", "[0,4]"), "is not an array");
  for (const char* shape : {"[-1]", "[1.0]", "[\"1\"]", "[[1]]", "[null]", "[9223372036854775808]", "[-0]"}) {
    EXPECT_CONTAINS(entry("\"F32\"", shape, "[0,4]"), "not a size") << shape;
  }
  for (const char* offsets : {"4", "[0]", "[0,4,8]", "[0,-4]", "[0.0,4]", "[0,18446744073709551616]"}) {
    EXPECT_CONTAINS(entry("\"F32\"", "[1]", offsets), "not two sizes") << offsets;
  }
  EXPECT_CONTAINS(entry("\"F32\"", "[2]", "[0,4]"), "needs 8 bytes");
  EXPECT_CONTAINS(entry("\"F32\"", "[1]", "[4,0]"), "needs 4 bytes");
  EXPECT_CONTAINS(entry("\"F32\"", "[4611686018427387904,4]", "[0,4]"), "too large");
  EXPECT_CONTAINS(entry("\"F32\"", "[4294967296,4294967296,0]", "[0,0]"), "too large");
  EXPECT_CONTAINS(entry("\"F64\"", "[2305843009213693952]", "[0,0]"), "too large");
}

TEST_F(CheckpointTest, RefusesHolesOverlapsAndRests) {
  const auto two = [&](const char* first, const char* second, std::string_view data) {
    return refusal_of(std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
                          R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                      data);
  };
  EXPECT_EQ(two("[0,4]", "[4,8]", "12345678"), "accepted");
  EXPECT_EQ(two("[4,8]", "[0,4]", "12345678"), "accepted");
  EXPECT_CONTAINS(two("[0,4]", "[5,9]", "123456789"), "tensor \"b\" starts at 5, not at 4");
  EXPECT_CONTAINS(two("[0,4]", "[3,7]", "1234567"), "tensor \"b\" starts at 3, not at 4");
  EXPECT_CONTAINS(two("[0,4]", "[0,4]", "1234"), "starts at 0, not at 4");
  EXPECT_CONTAINS(two("[1,5]", "[5,9]", "123456789"), "starts at 1, not at 0");
  EXPECT_CONTAINS(two("[0,4]", "[4,8]", "1234567"), "its tensors take 8 bytes, the file holds 7");
  EXPECT_CONTAINS(two("[0,4]", "[4,8]", "123456789"), "its tensors take 8 bytes, the file holds 9");
  EXPECT_CONTAINS(two("[0,4]", "[18446744073709551612,18446744073709551615]", "1234"), "needs 4 bytes");
}

TEST_F(CheckpointTest, RefusesBadIndexes) {
  fs::copy(kGolden / "sharded", directory_, fs::copy_options::recursive);
  const std::string index = "model.safetensors.index.json";
  const auto with = [&](const std::string& map) { return refusal(write(index, "{\"weight_map\":" + map + "}")); };
  const std::string head = R"("head.weight":"model-00003-of-00003.safetensors")";
  EXPECT_EQ(with("{" + head + "}"), "accepted");
  EXPECT_EQ(with("{}"), "accepted");
  for (const char* name : {"../m.safetensors", "/etc/m.safetensors", "a/m.safetensors", "a\\\\m.safetensors", "", ".",
                           "..", "model.bin", "..safetensors", "a\\u0000.safetensors"}) {
    EXPECT_CONTAINS(with("{\"x\":\"" + std::string(name) + "\"}"), "not the name of a .safetensors file") << name;
  }
  EXPECT_CONTAINS(with("[]"), "no object \"weight_map\"");
  EXPECT_CONTAINS(refusal(write(index, "[]")), "no object \"weight_map\"");
  EXPECT_CONTAINS(with("{\"x\":1}"), "is not a string");
  EXPECT_CONTAINS(with("{" + head + "," + head + "}"), "twice");
  EXPECT_CONTAINS(with("{" + head + R"(,"y":"model-00003-of-00003.safetensors"})"), "holds \"y\", which it does not");
  EXPECT_CONTAINS(with(R"({"layer.0.bias":"model-00002-of-00003.safetensors"})"),
                  "\"layer.0.weight\", of which the index");
  EXPECT_CONTAINS(with(R"({"x":"absent.safetensors"})"), "no file at");
  std::string many = "{\"a0\":\"0.safetensors\"";
  for (int i = 1; i < 5000; ++i) many += ",\"a" + std::to_string(i) + "\":\"" + std::to_string(i) + ".safetensors\"";
  EXPECT_CONTAINS(with(many + "}"), "names 5000 shards");
}

/// Mutates valid files at random: each is either refused by a sentence or gives tensors inside the file.
TEST_F(CheckpointTest, SurvivesMutatedFiles) {
  std::ifstream in(kGolden / "odd.safetensors", std::ios::binary);
  const std::string valid((std::istreambuf_iterator<char>(in)), {});
  const std::string alphabet = "{}[]\",:0123456789-.eE \\u\xFF\x80" + std::string(1, '\0');
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  std::size_t accepted = 0;
  constexpr int kRounds = 3000;
  for (int round = 0; round < kRounds; ++round) {
    std::string file = valid;
    for (std::size_t edits = 1 + below(3); edits > 0; --edits) {
      const std::size_t at = below(file.size());
      switch (below(4)) {
        case 0:
          file[at] = alphabet[below(alphabet.size())];
          break;
        case 1:
          file.erase(at, 1 + below(4));
          break;
        case 2:
          file.insert(at, 1, alphabet[below(alphabet.size())]);
          break;
        default:
          file[at] = static_cast<char>(file[at] ^ (1 << below(8)));
          break;
      }
    }
    const fs::path path = write("mutant.safetensors", file);
    try {
      const Checkpoint checkpoint = Checkpoint::open(path);
      std::size_t sum = 0;
      for (const std::string& name : checkpoint.names()) {
        for (const std::byte b : checkpoint.at(name).data) sum += std::to_integer<std::size_t>(b);
      }
      accepted += sum < file.size() * 256;
    } catch (const std::runtime_error& error) {
      EXPECT_CONTAINS(std::string(error.what()), "[Checkpoint::open] ");
    }
  }
  EXPECT_GT(accepted, 0u);
  EXPECT_LT(accepted, static_cast<std::size_t>(kRounds) / 2);
}

TEST_F(CheckpointTest, SavesExactlyAsTheReference) {
  const fs::path golden = kGolden / "types.safetensors";
  const Checkpoint checkpoint = Checkpoint::open(golden);
  std::map<std::string, TensorView> tensors;
  for (const std::string& name : checkpoint.names()) tensors.emplace(name, checkpoint.at(name));
  const fs::path copy = directory_ / "copy.safetensors";
  trine::save_safetensors(copy, tensors, checkpoint.metadata());
  const Checkpoint reread = Checkpoint::open(copy);
  for (const std::string& name : checkpoint.names()) {
    EXPECT_EQ(reread.at(name).shape, checkpoint.at(name).shape);
    EXPECT_EQ(hex(reread.at(name).data), hex(checkpoint.at(name).data));
  }
  EXPECT_EQ(reread.metadata(), checkpoint.metadata());

  // The library writes its metadata in the order of a hash table; without it the files are equal byte for byte.
  const auto content = [](const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  };
  const std::string text = content(golden);
  EXPECT_EQ(content(copy).size(), text.size());
  EXPECT_EQ(content(copy).substr(8 + 100), text.substr(8 + 100));
  trine::save_safetensors(copy, {});
  EXPECT_EQ(content(copy), std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
}

TEST_F(CheckpointTest, SaveOverwritesOnlyWhenItSucceeds) {
  const fs::path path = directory_ / "model.safetensors";
  const TensorView four{DType::U8, {4}, bytes_of("1234")};
  trine::save_safetensors(path, {{"a", four}});
  const Checkpoint before = Checkpoint::open(path);
  trine::save_safetensors(path, {{"b", {DType::I16, {2, 1}, bytes_of("1234")}}, {"c", {DType::F64, {0}, {}}}});
  EXPECT_EQ(hex(before.at("a").data), "31323334");  // the mapping of the old file stays whole
  EXPECT_EQ(Checkpoint::open(path).names(), (std::vector<std::string>{"b", "c"}));

  EXPECT_THROW(trine::save_safetensors(path, {{"a", {DType::U8, {5}, bytes_of("1234")}}}), std::invalid_argument);
  EXPECT_THROW(trine::save_safetensors(path, {{"a", {DType::U8, {-4}, bytes_of("1234")}}}), std::invalid_argument);
  EXPECT_THROW(trine::save_safetensors(path, {{"\xFF", four}}), std::invalid_argument);
  EXPECT_THROW(trine::save_safetensors(path, {{"__metadata__", four}}), std::invalid_argument);
  EXPECT_THROW(trine::save_safetensors(path, {{"a", four}}, {{"k", "\xC0"}}), std::invalid_argument);
  EXPECT_THROW(trine::save_safetensors(directory_ / "absent/model.safetensors", {{"a", four}}), std::runtime_error);
  EXPECT_EQ(Checkpoint::open(path).names(), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST(DTypeTest, NamesAndSizes) {
  EXPECT_EQ(trine::to_string(DType::BF16), "BF16");
  EXPECT_EQ(trine::size_of(DType::BF16), 2u);
  EXPECT_EQ(trine::size_of(DType::BOOL), 1u);
  EXPECT_EQ(trine::size_of(DType::U64), 8u);
  EXPECT_THROW(trine::to_string(static_cast<DType>(99)), std::invalid_argument);
}

}  // namespace
