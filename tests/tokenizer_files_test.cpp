// Checkpoints without a tokenizer.json: vocab.txt, vocab.json with merges.txt, SentencePiece models.

#include <random>
#include <system_error>

#include "input/detail/precompiled.h"
#include "input/detail/sentencepiece_file.h"
#include "tokenizer_testing.h"

namespace {

using namespace trine::testing;
using trine::Tokenizer;
using trine::detail::decode_base64;
using trine::detail::parse_sentencepiece;

/// The files of a golden case, by name.
std::map<std::string, std::string> files_of(const Json& family) {
  std::map<std::string, std::string> files;
  for (const auto& [name, content] : family["files"].items()) {
    const auto text = content.get<std::string>();
    files[name] = name.ends_with(".model") ? decode_base64("test", text) : text;
  }
  return files;
}

Tokenizer load_files(const std::map<std::string, std::string>& files) {
  const Folder folder;
  for (const auto& [name, content] : files) folder.write(name, content);
  return Tokenizer::load(folder.path());
}

std::string files_refusal(const char* family, const std::function<void(std::map<std::string, std::string>&)>& change) {
  auto files = files_of(golden("older.json")[family]);
  change(files);
  return refusal<std::runtime_error>([&] { load_files(files); });
}

TEST(TokenizerFiles, EqualTheReference) {
  const Json families = golden("older.json");
  EXPECT_GE(families.size(), 12u);
  for (const auto& [name, family] : families.items()) {
    const Tokenizer tokenizer = load_files(files_of(family));
    for (const Json& expected : family["texts"]) {
      expect_case(tokenizer.encode(expected["text"].get<std::string>()), expected, name + ' ' + tokenizer.describe());
    }
    if (!family["pad_id"].is_null()) {
      EXPECT_EQ(tokenizer.pad_id(), family["pad_id"].get<int>()) << name;
    }
  }
}

TEST(TokenizerFiles, SayHowLongATextMayBe) {
  EXPECT_EQ(load_files(files_of(golden("older.json")["older_clip"])).max_length(), 77);
  EXPECT_EQ(load_files(files_of(golden("older.json")["older_roberta"])).max_length(), 0);
  Json file = golden("tokenizer.json");
  file["truncation"] = {{"max_length", 128}};
  EXPECT_EQ(load(file.dump()).max_length(), 128);
}

TEST(TokenizerFiles, TokenizerJsonComesFirst) {
  auto files = files_of(golden("older.json")["older_bert"]);
  files["tokenizer.json"] = golden("families.json")["gpt2"]["file"].dump();
  EXPECT_CONTAINS(load_files(files).describe(), "BPE (");
}

/// Without a tokenizer_class the model_type of config.json says what the files are.
TEST(TokenizerFiles, ConfigNamesTheFamily) {
  auto files = files_of(golden("older.json")["older_xlm_roberta"]);
  const auto expected = load_files(files).encode("the red bicycle").ids;
  files.erase("tokenizer_config.json");
  files["config.json"] = R"({"model_type": "xlm-roberta"})";
  EXPECT_EQ(load_files(files).encode("the red bicycle").ids, expected);
}

TEST(TokenizerFiles, RefuseUnknownFamilies) {
  const auto sentence = files_refusal(
      "older_t5", [](auto& files) { files["tokenizer_config.json"] = R"({"tokenizer_class": "OtherTokenizer"})"; });
  EXPECT_CONTAINS(sentence,
                  "has no tokenizer.json, and the tokenizer class \"OtherTokenizer\" is not supported without");
  EXPECT_THROW(Tokenizer::load(Folder().path()), std::system_error);
}

TEST(TokenizerFiles, RefuseBadTexts) {
  EXPECT_CONTAINS(files_refusal("older_clip", [](auto& files) { files["merges.txt"] = "a b c\n"; }),
                  "merge 0 is \"a b c\", wanted two tokens");
  EXPECT_CONTAINS(files_refusal("older_clip", [](auto& files) { files["vocab.json"] = "[]"; }),
                  "vocab.json is not an object");
  EXPECT_CONTAINS(files_refusal("older_clip", [](auto& files) { files["vocab.json"] = R"({"a": "b"})"; }),
                  "id of token");
  EXPECT_CONTAINS(files_refusal("older_bert", [](auto& files) { files["vocab.txt"] = "\xFF\n"; }), "not valid UTF-8");
  EXPECT_CONTAINS(files_refusal("older_bert", [](auto& files) { files["vocab.txt"] = ""; }), "the vocabulary is empty");
  EXPECT_CONTAINS(files_refusal("older_bert", [](auto& files) { files["tokenizer_config.json"] = "[]"; }),
                  "the tokenizer_config.json is not an object");
  EXPECT_CONTAINS(files_refusal("older_t5",
                                [](auto& files) {
                                  files["tokenizer_config.json"] =
                                      R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 1000000000})";
                                }),
                  "\"extra_ids\" is 1000000000, 0 to 1000 are accepted");
}

/// A field of a protocol buffer with a length.
std::string field(int number, const std::string& content) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  std::size_t length = content.size();
  for (; length >= 0x80; length >>= 7) out += static_cast<char>((length & 0x7F) | 0x80);
  out += static_cast<char>(length);
  return out + content;
}

std::string model_refusal(const std::string& bytes) {
  return refusal<std::runtime_error>([&] { parse_sentencepiece("test", bytes); });
}

TEST(TokenizerFiles, RefuseBadModels) {
  const std::string score("\x15\x00\x00\x80\xBF", 5);
  const std::string piece = field(1, field(1, "a") + score);
  EXPECT_EQ(model_refusal(piece), "accepted");
  EXPECT_CONTAINS(model_refusal(""), "it has no pieces");
  EXPECT_CONTAINS(model_refusal("\x0A"), "wanted 1 bytes more, there are 0");
  EXPECT_CONTAINS(model_refusal("\x0A\x05x"), "wanted 5 bytes more, there are 1");
  EXPECT_CONTAINS(model_refusal(std::string(11, '\xFF')), "a number has more than ten bytes");
  EXPECT_CONTAINS(model_refusal(std::string("\x00\x00", 2)), "a field has the number 0");
  EXPECT_CONTAINS(model_refusal("\x0B"), "unknown wire type 3");
  EXPECT_CONTAINS(model_refusal("\x08\x01"), "field 1 has another type");
  EXPECT_CONTAINS(model_refusal(field(1, "")), "piece 0 has 0 bytes");
  EXPECT_CONTAINS(model_refusal(field(1, field(1, std::string(200'000, 'a')))), "piece 0 has 200000 bytes");
  EXPECT_CONTAINS(model_refusal(field(1, field(1, "\xFF"))), "piece 0 is not valid UTF-8");
  EXPECT_CONTAINS(model_refusal(field(1, field(1, "a") + std::string("\x15\x00\x00\xC0\x7F", 5))), "is not finite");
  EXPECT_CONTAINS(model_refusal(field(1, field(1, "a") + "\x18\x07")), "piece 0 has the unknown type 7");
}

/// Tables that end other readers are refused or find nothing.
TEST(TokenizerFiles, BadNormalizationRulesAreHarmless) {
  using trine::detail::Normalized;
  using trine::detail::Precompiled;
  const auto normalized = [](const std::string& table, const std::string& texts) {
    std::string bytes;
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(table.size() >> 8 * i & 0xFF);
    const Precompiled rules("test", bytes + table + texts, Precompiled::Matching::kLongest);
    Normalized text(U"aé\u4E00", 0);
    rules(text);
    return text.chars;
  };
  EXPECT_EQ(normalized(std::string(1024, '\0'), ""), U"aé\u4E00");
  EXPECT_EQ(normalized(std::string(1024, '\xFF'), ""), U"aé\u4E00");
  EXPECT_EQ(normalized(std::string("\xFF\xFF\xFF\x7F", 4), "x"), U"aé\u4E00");
  for (const std::string bytes : {"", "abc", "\x05\x00\x00\x00xxxxxxxx", "\xF0\xFF\xFF\xFFxxxx"}) {
    EXPECT_CONTAINS(refusal<std::runtime_error>([&] { Precompiled("test", bytes, Precompiled::Matching::kLongest); }),
                    "the precompiled_charsmap has ");
  }
}

/// Random damage gives a sentence or a tokenizer that works.
TEST(TokenizerFiles, SurviveDamagedModels) {
  std::mt19937 random(7);
  std::size_t accepted = 0;
  for (const char* family : {"older_t5", "older_siglip", "older_gemma"}) {
    const auto files = files_of(golden("older.json")[family]);
    for (int round = 0; round < 200; ++round) {
      auto damaged = files;
      for (auto& [name, content] : damaged) {
        if (!name.ends_with(".model")) continue;
        for (int i = 0; i < 3; ++i) content[random() % content.size()] = static_cast<char>(random());
        if (round % 4 == 0) content.resize(random() % content.size());
      }
      try {
        const Tokenizer tokenizer = load_files(damaged);
        for (const std::int32_t id : tokenizer.encode("the red \u3000 caf\u00e9 \u4e00 </s>").ids) {
          EXPECT_TRUE(id >= 0 && id < tokenizer.vocab_size());
        }
        ++accepted;
      } catch (const std::runtime_error& error) {
        EXPECT_CONTAINS(std::string(error.what()), "[Tokenizer::load] ");
      }
    }
  }
  EXPECT_GT(accepted, 0u);
}

}  // namespace
