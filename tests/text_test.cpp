#include "trine/input/text.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>

#include "input/detail/normalized.h"
#include "input/detail/unicode.h"
#include "tokenizer_testing.h"

namespace {

namespace fs = std::filesystem;
using namespace trine::testing;
using trine::Encoding;
using trine::Tokenizer;

/// The golden tokenizer after some changes to its file.
Tokenizer changed(const std::function<void(Json&)>& change) {
  Json file = golden("tokenizer.json");
  change(file);
  return load(file.dump());
}

std::string load_refusal(const std::function<void(Json&)>& change) {
  return refusal<std::runtime_error>([&] { changed(change); });
}

TEST(Tokenizer, EqualsTheReference) {
  const Json cases = golden("cases.json");
  for (const Json& group : cases["groups"]) {
    const Tokenizer tokenizer = changed([&](Json& file) {
      for (const auto& [key, value] : group["changes"].items()) file[key] = value;
    });
    for (const Json& expected : group["texts"]) {
      expect_case(tokenizer.encode(expected["text"].get<std::string>()), expected, tokenizer.describe());
    }
  }
}

TEST(Tokenizer, TruncatesAsTheReference) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden);
  const Json cases = golden("cases.json");
  for (const Json& expected : cases["truncated"]) {
    const Encoding encoding = tokenizer.encode(expected["text"].get<std::string>(), expected["max_length"].get<int>());
    EXPECT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>()) << expected;
    EXPECT_EQ(encoding.truncated, expected["truncated"].get<bool>()) << expected;
    EXPECT_EQ(encoding.tokens.size(), encoding.ids.size());
    EXPECT_EQ(encoding.offsets.size(), encoding.ids.size());
  }
}

TEST(Tokenizer, RefusesLengthsWithoutRoom) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden);
  for (const std::int64_t length : {-1, 1}) {
    EXPECT_CONTAINS(
        refusal<std::invalid_argument>([&] { tokenizer.encode("a", length); }),
        "max_length has to be 0 or at least 2, the number of special tokens; got " + std::to_string(length));
  }
}

TEST(Tokenizer, SaysWhatItIs) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden / "tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), static_cast<std::int64_t>(golden("tokenizer.json")["model"]["vocab"].size()));
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.describe(),
            "WordPiece (" + std::to_string(tokenizer.vocab_size()) +
                " tokens, [UNK] for unknown words and those over 100 characters, prefix ##), 5 added tokens, "
                "BertNormalizer (clean_text, handle_chinese_chars, strip_accents, lowercase), BertPreTokenizer, "
                "TemplateProcessing ([CLS] $A [SEP])");
  const auto padded = changed([](Json& file) { file["padding"] = {{"pad_id", 4}}; });
  EXPECT_EQ(padded.pad_id(), 4);
}

TEST(Tokenizer, CopiesAndRunsAreEqual) {
  auto tokenizer = std::make_unique<Tokenizer>(Tokenizer::load(kGolden));
  const Tokenizer copy = *tokenizer;
  const auto ids = tokenizer->encode("the red bicycle").ids;
  tokenizer.reset();
  EXPECT_EQ(copy.encode("the red bicycle").ids, ids);
}

/// A quadratic step would take hours, and the runner ends the test before.
TEST(Tokenizer, TimeIsLinear) {
  const Tokenizer plain = Tokenizer::load(kGolden);
  const Tokenizer with_added = changed([](Json& file) {
    int id = static_cast<int>(file["model"]["vocab"].size());
    for (const char* content : {" ", "aaaaaaaab", "[["}) {
      file["added_tokens"].push_back({{"id", id++},
                                      {"content", content},
                                      {"single_word", false},
                                      {"lstrip", true},
                                      {"rstrip", true},
                                      {"normalized", false},
                                      {"special", false}});
    }
  });
  for (const Tokenizer* tokenizer : {&plain, &with_added}) {
    for (const std::string_view part :
         {"a", "\xF0\x9F\x98\x80", " ", "\xCC\x81\xCC\xA3", ".", "\xE7\xBA\xA2", "the ", "[CLS]", "["}) {
      const std::string text = repeated(part, (1u << 20) / part.size());
      const Encoding encoding = tokenizer->encode(text);
      EXPECT_GE(encoding.ids.size(), 2u) << part;
    }
  }
}

TEST(Tokenizer, AnyTextGivesIdsInRange) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden);
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::u32string text;
    for (int i = std::uniform_int_distribution<int>(0, 30)(random); i > 0; --i) {
      const auto c = std::uniform_int_distribution<char32_t>(0, random() % 4 == 0 ? 0x10FFFF : 0x3FF)(random);
      text += c >= 0xD800 && c <= 0xDFFF ? U'x' : c;
    }
    const Encoding encoding = tokenizer.encode(trine::detail::encode_utf8(text));
    const auto length = static_cast<std::int32_t>(text.size());
    for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
      EXPECT_TRUE(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer.vocab_size());
      const auto [begin, end] = encoding.offsets[i];
      EXPECT_TRUE(0 <= begin && begin <= end && end <= length);
    }
  }
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden);
  EXPECT_EQ(refusal<std::invalid_argument>([&] { tokenizer.encode("the \xFF"); }),
            "[Tokenizer::encode] the text is not valid UTF-8 at byte 4 of 5");
}

TEST(Tokenizer, RefusesUnknownPartsByName) {
  const auto type = [](const char* part) { return load_refusal([&](Json& file) { file[part]["type"] = "Other"; }); };
  EXPECT_EQ(type("model"),
            "[Tokenizer::load] the model \"Other\" is not supported; wanted BPE, WordPiece, Unigram or WordLevel");
  EXPECT_CONTAINS(type("normalizer"), "the normalizer \"Other\" is not supported; wanted BertNormalizer, NFC, NFD");
  EXPECT_CONTAINS(type("pre_tokenizer"), "the pre-tokenizer \"Other\" is not supported; wanted BertPreTokenizer");
  EXPECT_CONTAINS(type("post_processor"), "the post-processor \"Other\" is not supported; wanted TemplateProcessing");
  EXPECT_CONTAINS(load_refusal([&](Json& file) { file.erase("model"); }), "the file has no model with a type");
  EXPECT_CONTAINS(load_refusal([](Json& file) { file["version"] = "2.0"; }), "the version is \"2.0\"");
}

TEST(Tokenizer, RefusesBadFiles) {
  EXPECT_THROW(Tokenizer::load(kGolden / "absent"), std::system_error);
  EXPECT_THROW(Tokenizer::load(Folder().path()), std::system_error);
  for (const char* content : {"", "{", "[]", "null", "{}", "{\"model\":{}}", "{\"model\":[]}"}) {
    EXPECT_CONTAINS(refusal<std::runtime_error>([&] { load(content); }), "[Tokenizer::load] ");
  }
  EXPECT_CONTAINS(refusal<std::runtime_error>([] { load(repeated("{\"model\":", 100)); }), "nests deeper");
  EXPECT_CONTAINS(refusal<std::runtime_error>([] { load("{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}"); }),
                  "\"a\" twice");
}

TEST(Tokenizer, RefusesBadVocabularies) {
  const auto vocab = [](const char* token, const Json& id) {
    return load_refusal([&](Json& file) { file["model"]["vocab"][token] = id; });
  };
  EXPECT_EQ(load_refusal([](Json&) {}), "accepted");
  EXPECT_CONTAINS(vocab("new", -1), "the id of token \"new\" is not a number from 0");
  EXPECT_CONTAINS(vocab("new", 1.5), "the id of token \"new\" is not a number from 0");
  EXPECT_CONTAINS(vocab("new", "1"), "the id of token \"new\" is not a number from 0");
  EXPECT_CONTAINS(vocab("new", 4294967296), "the id of token \"new\" is not a number from 0");
  EXPECT_CONTAINS(vocab("new", 2147483647), "token \"new\" has the id 2147483647, but there are only ");
  EXPECT_CONTAINS(vocab("new", 7), "the id 7 of token \"new\" is that of another token");
  const auto model = [](const char* key, const Json& value) {
    return load_refusal([&](Json& file) { file["model"][key] = value; });
  };
  EXPECT_CONTAINS(model("vocab", Json::object()), "the vocabulary is empty");
  EXPECT_CONTAINS(model("vocab", Json::array()), "no object \"vocab\"");
  EXPECT_CONTAINS(model("unk_token", "[NONE]"), "the unk_token \"[NONE]\" is not in the vocabulary");
  EXPECT_CONTAINS(model("unk_token", 1), "\"unk_token\" has an unexpected value");
  EXPECT_CONTAINS(model("max_input_chars_per_word", 1'000'000), "max_input_chars_per_word is 1000000");
  EXPECT_CONTAINS(model("max_input_chars_per_word", -1), "max_input_chars_per_word is -1");
}

TEST(Tokenizer, RefusesBadAddedTokens) {
  const auto with = [](const char* key, const Json& value) {
    return load_refusal([&](Json& file) { file["added_tokens"][4][key] = value; });
  };
  EXPECT_CONTAINS(with("id", 17), "the added token \"[MASK]\" has the id 17, the vocabulary asks for 4");
  EXPECT_CONTAINS(with("content", ""), "an added token is empty");
  EXPECT_CONTAINS(with("content", "[CLS]"), "has the id 4, the vocabulary asks for 2");
  EXPECT_CONTAINS(with("lstrip", 1), "\"lstrip\" has an unexpected value: 1");
  EXPECT_CONTAINS(with("content", std::string(300, 'x')), "has the id 4");
  EXPECT_CONTAINS(load_refusal([](Json& file) { file["added_tokens"].push_back(file["added_tokens"][0]); }),
                  "is added twice");
  EXPECT_CONTAINS(load_refusal([](Json& file) { file["added_tokens"] = 1; }), "\"added_tokens\" is not an array");
  const auto extra = [](const std::string& content, bool normalized) {
    return load_refusal([&](Json& file) {
      Json token = file["added_tokens"][0];
      token["id"] = file["model"]["vocab"].size();
      token["content"] = content;
      token["normalized"] = normalized;
      file["added_tokens"].push_back(token);
    });
  };
  EXPECT_EQ(extra("\u0301", false), "accepted");
  EXPECT_CONTAINS(extra("\u0301", true), "nothing is left of the added token");
  EXPECT_CONTAINS(extra(std::string(300, 'x'), false), "has more than 256 characters");
}

TEST(Tokenizer, RefusesBadTemplates) {
  const auto with = [](const std::function<void(Json&)>& change) {
    return load_refusal([&](Json& file) { change(file["post_processor"]); });
  };
  EXPECT_CONTAINS(with([](Json& p) { p["single"] = Json::array(); }), "has no sequence A");
  EXPECT_CONTAINS(with([](Json& p) { p["single"] = 1; }), "is not an array");
  EXPECT_CONTAINS(with([](Json& p) { p["single"][1]["Sequence"]["id"] = "B"; }), "another sequence than one A");
  EXPECT_CONTAINS(with([](Json& p) { p["single"].push_back(p["single"][1]); }), "another sequence than one A");
  EXPECT_CONTAINS(with([](Json& p) { p["single"].push_back(5); }), "no \"SpecialToken\"");
  EXPECT_CONTAINS(with([](Json& p) { p["single"][0]["SpecialToken"]["id"] = "[X]"; }), "no \"[X]\"");
  EXPECT_CONTAINS(with([](Json& p) { p["special_tokens"]["[CLS]"]["ids"] = {1, 2}; }), "has 2 ids and 1 tokens");
  EXPECT_CONTAINS(with([](Json& p) { p["special_tokens"]["[CLS]"]["ids"] = {-1}; }), "has the id -1");
  EXPECT_CONTAINS(with([](Json& p) { p["special_tokens"]["[CLS]"]["ids"] = {99999}; }), "has the id 99999");
  EXPECT_CONTAINS(load_refusal([](Json& file) {
                    file["post_processor"] = {{"type", "BertProcessing"}, {"cls", {"[CLS]"}}};
                  }),
                  "\"cls\" of BertProcessing is not a token and its id");
  EXPECT_CONTAINS(load_refusal([](Json& file) { file["padding"] = {{"pad_id", 1 << 20}}; }), "the pad_id is 1048576");
}

/// Random damage to the file gives a sentence or a tokenizer that works.
TEST(Tokenizer, SurvivesMutatedFiles) {
  Json small = golden("tokenizer.json");
  Json vocab = Json::object();
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "the"})
    vocab[token] = vocab.size();
  small["model"]["vocab"] = vocab;
  const std::string valid = small.dump();
  std::mt19937 random(5);
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  const std::string alphabet = "{}[]\",:0123456789-truefalsn \xFF";
  std::size_t accepted = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string file = valid;
    const std::size_t at = below(file.size());
    if (below(2) == 0) {
      file[at] = alphabet[below(alphabet.size())];
    } else {
      file.erase(at, 1 + below(3));
    }
    try {
      const Tokenizer tokenizer = load(file);
      for (const std::int32_t id : tokenizer.encode("the aaa [MASK] [x]").ids) {
        EXPECT_TRUE(id >= 0 && id < tokenizer.vocab_size());
      }
      ++accepted;
    } catch (const std::runtime_error& error) {
      EXPECT_CONTAINS(std::string(error.what()), "[Tokenizer::load] ");
    }
  }
  EXPECT_GT(accepted, 0u);
}

TEST(CheckUtf8, AcceptsWhatIsValid) {
  for (const std::string_view text : {"", "plain", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                      "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_NO_THROW(trine::check_utf8(text));
  }
  EXPECT_NO_THROW(trine::check_utf8(std::string_view("\0", 1)));
}

TEST(CheckUtf8, NamesTheFirstBadByte) {
  const auto refused_at = [](std::string_view text, std::size_t at) {
    const std::string sentence = refusal<std::invalid_argument>([&] { trine::check_utf8(text); });
    EXPECT_EQ(sentence, "[check_utf8] the text is not valid UTF-8 at byte " + std::to_string(at) + " of " +
                            std::to_string(text.size()));
  };
  for (const std::string_view bad : {"\x80",
                                     "\xBF",
                                     "\xC0\x80",
                                     "\xC1\xBF",
                                     "\xE0\x80\x80",
                                     "\xE0\x9F\xBF",
                                     "\xF0\x80\x80\x80",
                                     "\xF0\x8F\xBF\xBF",
                                     "\xED\xA0\x80",
                                     "\xED\xBF\xBF",
                                     "\xF4\x90\x80\x80",
                                     "\xF5\x80\x80\x80",
                                     "\xFE",
                                     "\xFF",
                                     "\xC2",
                                     "\xE2\x82",
                                     "\xF0\x9F\x98",
                                     "\xC2 ",
                                     "\xE2\x82x",
                                     "\xF0\x9F\x98x"}) {
    refused_at(bad, 0);
    refused_at("é" + std::string(bad), 2);
    refused_at("ok 😀" + std::string(bad) + "more", 7);
  }
}

bool contains(const std::vector<char32_t>& ranges, char32_t c) {
  for (std::size_t i = 0; i < ranges.size(); i += 2) {
    if (c <= ranges[i + 1]) return c >= ranges[i];
  }
  return false;
}

/// `property` holds for exactly the code points that `name` lists in golden/text/unicode.json, where `asked` is true.
void expect_property(
    const char* name, const std::function<bool(char32_t)>& property,
    const std::function<bool(char32_t)>& asked = [](char32_t) { return true; }) {
  const auto ranges = golden("unicode.json")[name].get<std::vector<char32_t>>();
  std::size_t wrong = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if ((c >= 0xD800 && c <= 0xDFFF) || !asked(c) || property(c) == contains(ranges, c)) continue;
    if (++wrong <= 10) ADD_FAILURE() << name << " differs at U+" << std::hex << static_cast<unsigned>(c);
  }
}

bool is_whole(char32_t c) {
  const auto parts = trine::detail::decompose(c);
  return *parts.begin() == c;
}

TEST(Unicode, EqualsTheReferenceForEveryCodePoint) {
  using namespace trine::detail;
  expect_property("removed",
                  [](char32_t c) { return (is_other(c) && c != '\t' && c != '\n' && c != '\r') || c == 0xFFFD; });
  expect_property("whitespace", is_whitespace);
  expect_property("punctuation", is_punctuation);
  expect_property("word", is_word);
  expect_property("letter", is_letter);
  expect_property("number", is_number);
  expect_property("numeric", is_numeric);
  expect_property("mark", is_mark);
  expect_property("nonspacing", is_nonspacing_mark, is_whole);
  // The probe of the reference is U+0345, of class 240: no class is above it.
  expect_property(
      "combining", [](char32_t c) { return combining_class(c) != 0; }, is_whole);
}

/// FNV-1a of what a function makes of each code point of a block of 4096.
std::string block_hash(char32_t block, const std::function<std::u32string(char32_t)>& function) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (char32_t c = block; c < block + 0x1000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    for (const char byte : trine::detail::encode_utf8(function(c))) {
      hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
    }
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

TEST(Unicode, MappingsEqualTheReference) {
  using namespace trine::detail;
  const auto form = [](bool composed, bool compatible) {
    return [=](char32_t c) {
      Normalized text({&c, 1}, 0);
      normal_form(text, {.composed = composed, .compatible = compatible});
      return text.chars;
    };
  };
  const auto lower = [](char32_t c) {
    const Parts parts = to_lower(c);
    return std::u32string(parts.begin(), parts.end());
  };
  const std::map<std::string, std::function<std::u32string(char32_t)>> mappings = {{"lower", lower},
                                                                                   {"decomposed", form(false, false)},
                                                                                   {"compatible", form(false, true)},
                                                                                   {"composed", form(true, false)}};
  const Json expected = golden("unicode.json");
  for (const auto& [name, mapping] : mappings) {
    for (std::size_t block = 0; block < 0x110; ++block) {
      EXPECT_EQ(block_hash(static_cast<char32_t>(block * 0x1000), mapping), expected[name][block].get<std::string>())
          << name << ' ' << block;
    }
  }
}

}  // namespace
