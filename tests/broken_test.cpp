// Files to refuse: damaged and malicious checkpoints, JSON and tokenizers, made here, each with its sentence. The rules
// of one format are tested where its reader is; this is the list of attacks, and `make asan` runs it too.

#include <functional>
#include <vector>

#include "input/detail/precompiled.h"
#include "tokenizer_testing.h"
#include "trine/checkpoint.h"

namespace {

using namespace trine::testing;

std::string little_endian(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 0xFF);
  return out;
}

std::string safetensors(const std::string& header, const std::string& data = "") {
  return little_endian(header.size(), 8) + header + data;
}

/// A field of a protocol buffer with a length.
std::string field(int number, const std::string& content) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  std::size_t length = content.size();
  for (; length >= 0x80; length >>= 7) out += static_cast<char>((length & 0x7F) | 0x80);
  out += static_cast<char>(length);
  return out + content;
}

std::string piece(const std::string& text) { return field(1, field(1, text) + std::string("\x15\x00\x00\x80\xBF", 5)); }

/// A tokenizer.json of the golden cases with one change.
std::string tokenizer(const std::function<void(Json&)>& change) {
  Json file = golden("tokenizer.json");
  change(file);
  return file.dump();
}

struct Broken {
  const char* name;
  const char* file;  ///< what it is called, which says who reads it
  std::function<std::string()> content;
  const char* sentence;  ///< a part of what refuses it
};

const std::vector<Broken>& checkpoints() {
  static const std::vector<Broken> list = {
      {"an empty file", "model.safetensors", [] { return ""; }, "it has 0 bytes"},
      {"a pickle under another name", "model.safetensors", [] { return std::string("PK\x03\x04\x14\0\0\0\0\0", 10); },
       "its header would have"},
      {"a header of the largest length", "model.safetensors", [] { return std::string(8, '\xFF') + "{}"; },
       "its header would have 18446744073709551615 bytes, at most 100000000"},
      {"a header just over the limit", "model.safetensors", [] { return little_endian(100'000'001, 8) + "{}"; },
       "100000001 bytes, at most 100000000"},
      {"a header that is cut off", "model.safetensors", [] { return little_endian(1000, 8) + "{}"; }, "2 are there"},
      {"a header of a million brackets", "model.safetensors",
       [] { return safetensors("{\"a\":" + std::string(1'000'000, '[')); }, "nests deeper than 64"},
      {"a header with a zero byte", "model.safetensors", [] { return safetensors(std::string("{}\0", 3)); },
       "a zero byte"},
      {"a tensor that is there twice", "model.safetensors",
       [] {
         const std::string one = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
         return safetensors("{" + one + "," + one + "}", "x");
       },
       "the key \"a\" twice"},
      // as many tensors as one likes of the same bytes: a small file that becomes much memory
      {"thousands of tensors over the same bytes", "model.safetensors",
       [] {
         std::string header = "{";
         for (int i = 0; i < 5000; ++i) {
           header +=
               (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[64],"data_offsets":[0,64]})";
         }
         return safetensors(header + "}", std::string(64, 'x'));
       },
       "starts at 0, not at 64"},
      {"a shape whose product overflows to the right size", "model.safetensors",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"); },
       "is too large"},
      {"a shape that overflows behind a zero", "model.safetensors",
       [] {
         return safetensors(
             R"({"a":{"dtype":"F64","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]}})");
       },
       "is too large"},
      {"a negative dimension", "model.safetensors",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}})", "x"); }, "not a size"},
      {"data behind the end of the file", "model.safetensors",
       [] { return safetensors(R"({"a":{"dtype":"F32","shape":[1024],"data_offsets":[0,4096]}})", "x"); },
       "its tensors take 4096 bytes, the file holds 1"},
      {"offsets that wrap around", "model.safetensors",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[18446744073709551615,1]}})", "xx"); },
       "needs 2 bytes"},
      {"another file behind the tensors", "model.safetensors",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xPK\x03\x04 a zip"); },
       "its tensors take 1 bytes, the file holds"},
      {"a hole to hide something in", "model.safetensors",
       [] { return safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[7,8]}})", "hidden.x"); },
       "starts at 7, not at 0"},
      {"code in the metadata's place", "model.safetensors",
       [] { return safetensors(R"({"__metadata__":{"a":{"b":["c"]}}})"); }, "which is not a string"},
      {"an index that names another folder", "model.safetensors.index.json",
       [] { return R"({"weight_map":{"a":"../../secret.safetensors"}})"; }, "is not the name of a .safetensors file"},
      {"an index that names a device", "model.safetensors.index.json",
       [] { return R"({"weight_map":{"a":"/dev/zero"}})"; }, "is not the name of a .safetensors file"},
      {"an index that names a pickle", "model.safetensors.index.json",
       [] { return R"({"weight_map":{"a":"pytorch_model.bin"}})"; }, "is not the name of a .safetensors file"},
      {"an index with a name cut by a zero", "model.safetensors.index.json",
       [] { return R"({"weight_map":{"a":"pytorch_model.bin\u0000.safetensors"}})"; }, "is not the name of"},
      {"a pickle alone", "pytorch_model.bin", [] { return "cos\nsystem\n(S'true'\ntR."; }, "run: trine convert "},
      {"a program alone", "model.pt", [] { return std::string("PK\x03\x04", 4); }, "run: trine convert "},
      {"a trainer's checkpoint alone", "last.ckpt", [] { return std::string("PK\x03\x04", 4); }, "run: trine convert "},
  };
  return list;
}

const std::vector<Broken>& configs() {
  static const std::vector<Broken> list = {
      {"an empty file", "config.json", [] { return ""; }, "is not valid JSON at byte 0"},
      {"a million brackets", "config.json", [] { return std::string(1'000'000, '['); }, "nests deeper than 64"},
      {"a million objects", "config.json", [] { return repeated("{\"a\":", 1'000'000); }, "nests deeper than 64"},
      {"more values than memory should hold", "config.json", [] { return "[" + repeated("0,", 4'000'001) + "0]"; },
       "holds more than 4000000 values"},
      {"more bytes than any config", "config.json", [] { return std::string((64u << 20) + 1, ' '); },
       "at most 67108864"},
      {"a number that is none", "config.json", [] { return R"({"hidden_size": NaN})"; }, "is not valid JSON"},
      {"a number without an end", "config.json", [] { return R"({"hidden_size": 1e999})"; }, "is not valid JSON"},
      {"half a surrogate", "config.json", [] { return R"({"model_type": "\ud800"})"; }, "is not valid JSON"},
      {"bytes that are no text", "config.json", [] { return "{\"model_type\": \"\xC0\xAF\"}"; }, "is not valid JSON"},
      {"two values", "config.json", [] { return "{}{}"; }, "is not valid JSON at byte 2"},
      {"something behind a zero byte", "config.json", [] { return std::string("{}\0{", 4); }, "a zero byte"},
  };
  return list;
}

const std::vector<Broken>& tokenizers() {
  static const std::vector<Broken> list = {
      {"a million brackets", "tokenizer.json", [] { return "{\"model\":" + std::string(1'000'000, '['); },
       "nests deeper"},
      {"a word with two ids", "tokenizer.json", [] { return R"({"model":{"vocab":{"a":0,"a":1}}})"; }, "twice"},
      {"an id beyond the words", "tokenizer.json",
       [] { return tokenizer([](Json& file) { file["model"]["vocab"]["zebra"] = 2'000'000'000; }); },
       "\"zebra\" has the id 2000000000"},
      {"an id below the words", "tokenizer.json",
       [] { return tokenizer([](Json& file) { file["model"]["vocab"]["zebra"] = -1; }); }, "is not a number from 0"},
      {"one id for two words", "tokenizer.json",
       [] { return tokenizer([](Json& file) { file["model"]["vocab"]["zebra"] = 0; }); }, "is that of another token"},
      {"no words", "tokenizer.json",
       [] { return tokenizer([](Json& file) { file["model"]["vocab"] = Json::object(); }); },
       "the vocabulary is empty"},
      {"a part of the future", "tokenizer.json",
       [] { return tokenizer([](Json& file) {
              file["pre_tokenizer"] = {{"type", "Script"}};
            }); }, "Script"},
      {"an expression that never ends", "tokenizer.json",
       [] {
         return tokenizer([](Json& file) {
           file["pre_tokenizer"] = {
               {"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}, {"invert", false}};
         });
       },
       "the pattern \"(a+)+$\""},
      {"padding with an id beyond the words", "tokenizer.json",
       [] { return tokenizer([](Json& file) {
              file["padding"] = {{"pad_id", 1 << 30}};
            }); },
       "the pad_id is 1073741824"},
      {"a normaliser with a table from elsewhere", "tokenizer.json",
       [] {
         return tokenizer([](Json& file) {
           file["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "////fw=="}};
         });
       },
       "the precompiled_charsmap has 4 bytes"},
      {"a table in no base64", "tokenizer.json",
       [] {
         return tokenizer([](Json& file) {
           file["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "<script>"}};
         });
       },
       "base64"},
      {"words that are no text", "vocab.txt", [] { return "[UNK]\n\xFF\xFE\n"; }, "is not valid UTF-8"},
      {"an empty list of words", "vocab.txt", [] { return ""; }, "the vocabulary is empty"},
  };
  return list;
}

/// Made of fields of a protocol buffer; some of them ended readers that trust the file.
const std::vector<Broken>& models() {
  static const std::vector<Broken> list = {
      {"an empty model", "", [] { return ""; }, "it has no pieces"},
      {"a piece of 200 kB", "", [] { return piece(std::string(200'000, 'a')); }, "piece 0 has 200000 bytes"},
      {"an empty piece", "", [] { return piece(""); }, "piece 0 has 0 bytes"},
      {"a piece that is no text", "", [] { return piece("\xED\xA0\x80"); }, "piece 0 is not valid UTF-8"},
      {"a score that is no number", "", [] { return field(1, field(1, "a") + std::string("\x15\0\0\xC0\x7F", 5)); },
       "is not finite"},
      {"a length beyond the file", "", [] { return "\x0A" + std::string(9, '\xFF') + "\x01"; },
       "bytes more, there are 0"},
      {"a length without an end", "", [] { return "\x0A" + std::string(64, '\xFF'); }, "more than ten bytes"},
      {"a group, which nests", "", [] { return std::string(100'000, '\x0B'); }, "unknown wire type 3"},
      {"a field without a number", "", [] { return std::string("\x02\0", 2); }, "a field has the number 0"},
      {"text in place of a model", "", [] { return "<html><body>404</body></html>"; },
       "the file is not a SentencePiece model"},
  };
  return list;
}

/// One line, not long, with the name of the function first.
void expect_sentence(const std::string& said, const char* wanted, const char* name) {
  EXPECT_EQ(said.find('['), 0u) << name << ": " << said;
  EXPECT_EQ(said.find_first_of("\n\r\x1b"), std::string::npos) << name << ": " << said;
  EXPECT_LT(said.size(), 600u) << name << ": " << said;
  EXPECT_NE(said.find(wanted), std::string::npos) << name << ": " << said;
}

TEST(BrokenFiles, CheckpointsAreRefused) {
  for (const Broken& broken : checkpoints()) {
    const Folder folder;
    folder.write(broken.file, broken.content());
    expect_sentence(refusal<std::runtime_error>([&] { trine::Checkpoint::open(folder.path()); }), broken.sentence,
                    broken.name);
  }
}

TEST(BrokenFiles, ThingsThatAreNoFilesAreRefused) {
  const Folder folder;
  fs::create_directory(folder / "model.safetensors");
  expect_sentence(refusal<std::runtime_error>([&] { trine::Checkpoint::open(folder.path()); }), "is not a regular file",
                  "a folder");
  fs::remove(folder / "model.safetensors");
  fs::create_symlink("/dev/zero", folder / "model.safetensors");
  expect_sentence(refusal<std::runtime_error>([&] { trine::Checkpoint::open(folder.path()); }), "is not a regular file",
                  "a device");
  fs::create_symlink("/dev/zero", folder / "config.json");
  expect_sentence(refusal<std::runtime_error>([&] { trine::detail::read_json("test", folder / "config.json"); }),
                  "is not a regular file", "a device");
}

TEST(BrokenFiles, ConfigsAreRefused) {
  for (const Broken& broken : configs()) {
    const Folder folder;
    folder.write(broken.file, broken.content());
    expect_sentence(refusal<std::runtime_error>([&] { trine::detail::read_json("test", folder / broken.file); }),
                    broken.sentence, broken.name);
  }
}

TEST(BrokenFiles, TokenizersAreRefused) {
  for (const Broken& broken : tokenizers()) {
    const Folder folder;
    folder.write(broken.file, broken.content());
    folder.write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
    expect_sentence(refusal<std::runtime_error>([&] { trine::Tokenizer::load(folder.path()); }), broken.sentence,
                    broken.name);
  }
}

TEST(BrokenFiles, SentencePieceModelsAreRefused) {
  for (const Broken& broken : models()) {
    const Folder folder;
    folder.write("spiece.model", broken.content());
    folder.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})");
    expect_sentence(refusal<std::runtime_error>([&] { trine::Tokenizer::load(folder.path()); }), broken.sentence,
                    broken.name);
  }
}

/// A model that names no rules for unknown characters, and tables that end other readers: with one they are refused or
/// do nothing, and texts of any bytes come back as ids in range.
TEST(BrokenFiles, TablesOfRulesCannotHurt) {
  const Json files = golden("older.json")["older_t5"]["files"];
  const std::string whole = trine::detail::decode_base64("test", files["spiece.model"].get<std::string>());
  const std::vector<std::string> tries = {std::string(1024, '\0'), std::string(1024, '\xFF'),
                                          std::string("\xFF\xFF\xFF\x7F", 4)};
  for (const std::string& trie : tries) {
    const Folder folder;
    for (const auto& [name, content] : files.items()) {
      if (!name.ends_with(".model")) folder.write(name, content.get<std::string>());
    }
    // fields that come again replace the earlier ones: rules with a table of our own
    folder.write("spiece.model", whole + field(3, field(2, little_endian(trie.size(), 4) + trie + "x")));
    const trine::Tokenizer loaded = trine::Tokenizer::load(folder.path());
    for (const std::int32_t id : loaded.encode("the red \u3000 caf\u00e9 \u4e00 </s>").ids) {
      EXPECT_TRUE(id >= 0 && id < loaded.vocab_size());
    }
  }
}

}  // namespace
