// Every family of tokenizers that checkpoints come with, in small: tests/golden/make_tokenizers.py trained them.

#include <thread>

#include "tokenizer_testing.h"

namespace {

using namespace trine::testing;
using trine::Encoding;
using trine::Tokenizer;

TEST(TokenizerFamilies, EqualTheReference) {
  const Json families = golden("families.json");
  EXPECT_GE(families.size(), 15u);
  for (const auto& [name, family] : families.items()) {
    const Tokenizer tokenizer = load(family["file"].dump());
    for (const Json& expected : family["texts"]) {
      expect_case(tokenizer.encode(expected["text"].get<std::string>()), expected, name + ' ' + tokenizer.describe());
    }
  }
}

/// Long text with as few ends of words as can be: a quadratic step would take hours, and the runner ends the test
/// before.
TEST(TokenizerFamilies, TimeIsLinear) {
  const Json families = golden("families.json");
  for (const auto& [name, family] : families.items()) {
    const Tokenizer tokenizer = load(family["file"].dump());
    for (const std::string_view part : {"a", "\xF0\x9F\x98\x80", " ", "\xCC\x81", ".", "\n", "ab", "0", "<"}) {
      const Encoding encoding = tokenizer.encode(repeated(part, (1u << 18) / part.size()));
      EXPECT_EQ(encoding.ids.size(), encoding.offsets.size()) << name << ' ' << part;
    }
  }
}

TEST(TokenizerFamilies, TruncationKeepsTheLastToken) {
  const Json families = golden("families.json");
  for (const auto& [name, family] : families.items()) {
    const Tokenizer tokenizer = load(family["file"].dump());
    const Encoding whole = tokenizer.encode("the red bicycle with a small lamp");
    const Encoding cut = tokenizer.encode("the red bicycle with a small lamp", 4);
    EXPECT_EQ(cut.ids.size(), 4u) << name;
    EXPECT_TRUE(cut.truncated) << name;
    EXPECT_EQ(cut.ids.front(), whole.ids.front()) << name;
    const bool has_end = whole.offsets.back() == std::pair(0, 0);
    if (has_end) {
      EXPECT_EQ(cut.ids.back(), whole.ids.back()) << name;
    }
  }
}

/// Words that have been seen are kept; that changes nothing, whatever the order and the number of threads.
TEST(TokenizerFamilies, ThreadsGetTheSameTokens) {
  for (const char* name : {"clip", "t5"}) {
    const Tokenizer tokenizer = load(golden("families.json")[name]["file"].dump());
    std::vector<std::string> texts;
    for (int i = 0; i < 300; ++i)
      texts.push_back("word" + std::to_string(i % 50) + " the red bicycle" + std::to_string(i));
    std::vector<std::vector<std::int32_t>> first(texts.size()), second(texts.size());
    const auto run = [&](std::vector<std::vector<std::int32_t>>& out, std::size_t step) {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t at = i * step % texts.size();
        out[at] = tokenizer.encode(texts[at]).ids;
      }
    };
    std::thread other([&] { run(first, 7); });
    run(second, 1);
    other.join();
    EXPECT_EQ(first, second) << name;
  }
}

std::string family_refusal(const char* name, const std::function<void(Json&)>& change) {
  Json file = golden("families.json")[name]["file"];
  change(file);
  return refusal<std::runtime_error>([&] { load(file.dump()); });
}

TEST(TokenizerFamilies, RefuseBadModels) {
  const auto bpe = [](const char* key, const Json& value) {
    return family_refusal("gpt2", [&](Json& file) { file["model"][key] = value; });
  };
  EXPECT_CONTAINS(bpe("merges", 1), "the model has no array \"merges\"");
  EXPECT_CONTAINS(bpe("merges", {"a b c"}), "merge 0 is \"a b c\", wanted two tokens and a space between");
  EXPECT_CONTAINS(bpe("merges", {5}), "merge 0 is neither a text nor a list of two");
  EXPECT_CONTAINS(bpe("merges", Json::array({Json::array({"a", "\u4e00"})})), "of merge 0 is not in the vocabulary");
  EXPECT_CONTAINS(bpe("dropout", 0.1), "the model drops merges at random");
  const auto unigram = [](const char* key, const Json& value) {
    return family_refusal("t5", [&](Json& file) { file["model"][key] = value; });
  };
  EXPECT_CONTAINS(unigram("vocab", Json::array()), "the vocabulary is empty");
  EXPECT_CONTAINS(unigram("vocab", {1}), "token 0 of the vocabulary is not a text and its score");
  EXPECT_CONTAINS(unigram("unk_id", 1 << 20), "the unk_id is 1048576, ids end at ");
  EXPECT_CONTAINS(family_refusal("t5", [](Json& file) { file["model"]["vocab"][2][0] = repeated("a", 600); }),
                  "has more than 512 characters");
}

TEST(TokenizerFamilies, RefuseBadParts) {
  const auto normalizer = [](const Json& part) {
    return family_refusal("gpt2", [&](Json& file) { file["normalizer"] = part; });
  };
  const auto replace = [&](const Json& pattern, const std::string& content = "") {
    return normalizer({{"type", "Replace"}, {"pattern", pattern}, {"content", content}});
  };
  EXPECT_CONTAINS(replace({{"Regex", "(a|b)*c"}}), "the pattern \"(a|b)*c\" is not supported; wanted one class");
  for (const char* regex :
       {"", "a*", "[a", "[]", "[a[b]]", "\\", "a{", "a{0,}", "a{2}", "\\p{Lu}", "[a-", "a|b", "^a"}) {
    EXPECT_CONTAINS(replace({{"Regex", regex}}), "is not supported");
  }
  EXPECT_CONTAINS(replace({{"String", ""}}), "a pattern has 0 characters");
  EXPECT_CONTAINS(replace({{"String", "a"}}, repeated("a", 65)), "at most 64 are accepted");
  EXPECT_CONTAINS(normalizer({{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}),
                  "the precompiled_charsmap has 3");
  EXPECT_CONTAINS(normalizer({{"type", "Precompiled"}, {"precompiled_charsmap", "A*AA"}}), "none of its digits");
  EXPECT_CONTAINS(normalizer({{"type", "Sequence"}}), "a Sequence has no array \"normalizers\"");
  Json many = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 101; ++i) many["normalizers"].push_back({{"type", "NFC"}});
  EXPECT_CONTAINS(normalizer(many), "the normalizer has more than 100 steps");

  const auto pre_tokenizer = [](const Json& part) {
    return family_refusal("gpt2", [&](Json& file) { file["pre_tokenizer"] = part; });
  };
  EXPECT_CONTAINS(pre_tokenizer({{"type", "Metaspace"}, {"replacement", "ab"}}), "is not one character but 2");
  EXPECT_CONTAINS(pre_tokenizer({{"type", "Punctuation"}, {"behavior", "Other"}}), "the behavior \"Other\" is not");
  EXPECT_CONTAINS(pre_tokenizer({{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "x"}}),
                  "the prepend_scheme \"x\" is not supported");
}

/// A file cannot make a text as large as it likes.
TEST(TokenizerFamilies, GrowthIsBounded) {
  Json file = golden("families.json")["gpt2"]["file"];
  Json steps = Json::array();
  for (int i = 0; i < 60; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  }
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const Tokenizer tokenizer = load(file.dump());
  EXPECT_CONTAINS(refusal<std::runtime_error>([&] { tokenizer.encode("aaaa"); }), "at most 64 for each are accepted");
}

}  // namespace
