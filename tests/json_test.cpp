#include "detail/json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

namespace {

using trine::detail::get;
using trine::detail::get_or;
using trine::detail::Json;
using trine::detail::JsonLimits;
using trine::detail::parse_json;

Json parse(std::string_view text, const JsonLimits& limits = {}) {
  return parse_json("test", text, "config.json", limits);
}

/// The sentence with which a text is refused.
std::string refusal(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse(text, limits);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "accepted";
}

std::string repeated(std::string_view part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += part;
  return out;
}

TEST(ParseJson, ReadsEveryKindOfValue) {
  const Json value =
      parse(R"( {"a": [1, -2, 3.5, true, false, null, "x\u00e9\ud83d\ude00"], "b": {"c": {}}, "d": []} )");
  EXPECT_EQ(value.dump(), R"({"a":[1,-2,3.5,true,false,null,"xé😀"],"b":{"c":{}},"d":[]})");
  EXPECT_EQ(parse("7").get<int>(), 7);
  EXPECT_EQ(parse("18446744073709551615").get<std::uint64_t>(), 18446744073709551615u);
}

TEST(ParseJson, KeepsTheOrderOfTheKeys) { EXPECT_EQ(parse(R"({"z":1,"a":2,"m":3})").dump(), R"({"z":1,"a":2,"m":3})"); }

TEST(ParseJson, LastOfEqualKeysHolds) {
  EXPECT_EQ(parse(R"({"a":1,"b":2,"a":[3],"c":4,"b":5,"a":6})").dump(), R"({"a":6,"b":5,"c":4})");
}

TEST(ParseJson, RefusesEqualKeysWhenAsked) {
  const JsonLimits unique{.unique_keys = true};
  EXPECT_EQ(refusal(R"({"a":1,"b":{"a":2}})", unique), "accepted");
  EXPECT_EQ(refusal(R"({"x":{"a":1,"b":2,"\u0061":3}})", unique),
            "[test] config.json names the key \"a\" twice in one object");
}

TEST(ParseJson, RefusesDeepNestingAtTheByteThatIsTooDeep) {
  const JsonLimits limits{.max_depth = 8};
  EXPECT_EQ(parse(repeated("[", 8) + repeated("]", 8), limits).size(), 1u);
  EXPECT_EQ(refusal(repeated("[", 9) + repeated("]", 9), limits),
            "[test] config.json nests deeper than 8 objects and arrays");
  for (const std::string_view open : {"[", "{\"a\":", "[{\"a\":["}) {
    EXPECT_NE(refusal(repeated(open, 1'000'000)).find("nests deeper than 64"), std::string::npos);
  }
}

TEST(ParseJson, RefusesTooManyBytesAndValues) {
  EXPECT_EQ(refusal("[1,2,3]", {.max_bytes = 6}), "[test] config.json has 7 bytes of JSON, at most 6 are accepted");
  EXPECT_EQ(refusal("[1,2]", {.max_values = 3}), "accepted");
  EXPECT_EQ(refusal("[1,2,3]", {.max_values = 3}), "[test] config.json holds more than 3 values");
  EXPECT_NE(refusal("[" + repeated("[],", 5'000'000) + "1]").find("holds more than 4000000 values"), std::string::npos);
}

TEST(ParseJson, LargeObjectsTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 500'000; ++i) text += "\"word" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  EXPECT_EQ(parse(text, {.unique_keys = true}).size(), 500'000u);
}

TEST(ParseJson, RefusesWhatIsNotJson) {
  for (const std::string_view text :
       {"",   " ", "{",     "}",   "[1,]",    "{\"a\":1,}", "{a:1}", "'a'",   "[1 2]",   "nul",   "01",
        "1.", "-", "1e999", "NaN", "\"\\x\"", "\"a",        "[1]x",  "{} {}", "// c\n1", "\"\n\""}) {
    EXPECT_NE(refusal(text).find("[test] config.json is not valid JSON at byte "), std::string::npos) << text;
  }
  EXPECT_EQ(refusal("[1,\n x]"),
            "[test] config.json is not valid JSON at byte 5: syntax error while parsing value - invalid literal");
}

TEST(ParseJson, RefusesBadUtf8) {
  for (const std::string_view bytes :
       {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"}) {
    EXPECT_NE(refusal('"' + std::string(bytes) + '"').find("not valid JSON"), std::string::npos);
  }
  EXPECT_NE(refusal(R"("\ud800")").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refusal(R"("\udc00")").find("not valid JSON"), std::string::npos);
}

TEST(ParseJson, RefusesZeroBytes) {
  EXPECT_EQ(refusal(std::string_view("[1]\0[", 5)), "[test] config.json is not valid JSON at byte 3: a zero byte");
}

TEST(ParseJson, ItsSentencesStayShort) {
  EXPECT_LT(refusal("\"" + repeated("a", 1'000'000)).size(), 300u);
  EXPECT_LT(
      refusal("{\"" + repeated("a", 100'000) + "\":1,\"" + repeated("a", 100'000) + "\":1}", {.unique_keys = true})
          .size(),
      300u);
}

TEST(Get, ReadsAndNamesWhatIsMissingOrOfAnotherType) {
  const Json config = parse(R"({"n": 3, "x": 0.5, "s": "gelu", "v": [1, 2], "o": {}, "nil": null})");
  EXPECT_EQ(get<int>("f", config, "n"), 3);
  EXPECT_EQ(get<double>("f", config, "n"), 3.0);
  EXPECT_EQ(get<std::string>("f", config, "s"), "gelu");
  EXPECT_EQ(get<std::vector<int>>("f", config, "v"), (std::vector<int>{1, 2}));
  EXPECT_EQ(get_or<int>("f", config, "nil", 9), 9);
  EXPECT_EQ(get_or<int>("f", config, "absent", 9), 9);

  const auto sentence = [&](auto&& read) -> std::string {
    try {
      read();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(sentence([&] { get<int>("f", config, "absent"); }), "[f] no \"absent\" in the JSON object");
  EXPECT_EQ(sentence([&] { get<int>("f", config, "s"); }), "[f] \"s\" has an unexpected value: \"gelu\"");
  EXPECT_EQ(sentence([&] { get<std::string>("f", config, "o"); }), "[f] \"o\" has an unexpected value: an object");
  EXPECT_EQ(sentence([&] { get<int>("f", Json::array(), "n"); }), "[f] no \"n\" in the JSON object");
}

TEST(Get, LosesNothingOfANumber) {
  const Json config =
      parse(R"({"half": 1.5, "big": 4294967296, "minus": -1, "yes": true, "v": [1, 2.5], "whole": 2.0})");
  EXPECT_THROW(get<int>("f", config, "half"), std::runtime_error);
  EXPECT_THROW(get<int>("f", config, "big"), std::runtime_error);
  EXPECT_THROW(get<unsigned>("f", config, "minus"), std::runtime_error);
  EXPECT_THROW(get<int>("f", config, "yes"), std::runtime_error);
  EXPECT_THROW(get<double>("f", config, "yes"), std::runtime_error);
  EXPECT_THROW(get<bool>("f", config, "minus"), std::runtime_error);
  EXPECT_THROW(get<std::vector<int>>("f", config, "v"), std::runtime_error);
  EXPECT_EQ(get<std::int64_t>("f", config, "big"), 4294967296);
  EXPECT_EQ(get<double>("f", config, "whole"), 2.0);
}

TEST(Shown, ShortensAndCleans) {
  using trine::detail::shown;
  EXPECT_EQ(shown("plain"), "\"plain\"");
  EXPECT_EQ(shown("a\x1b[31m\n"), "\"a?[31m?\"");
  EXPECT_EQ(shown(repeated("é", 200)), "\"" + repeated("é", 50) + "...\"");
  EXPECT_EQ(shown("x" + repeated("é", 200)), "\"x" + repeated("é", 49) + "...\"");
}

TEST(ReadJson, ReadsAFileAndNamesIt) {
  const auto path = std::filesystem::temp_directory_path() / ("trine_json_" + std::to_string(::getpid()) + ".json");
  std::ofstream(path) << "{\"a\": 1}";
  EXPECT_EQ(trine::detail::read_json("test", path).dump(), "{\"a\":1}");
  EXPECT_THROW(trine::detail::read_json("test", path, {.max_bytes = 7}), std::runtime_error);
  std::ofstream(path) << "{\"a\": 1";
  try {
    trine::detail::read_json("test", path);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(path.string() + " is not valid JSON"), std::string::npos) << error.what();
  }
  std::filesystem::remove(path);
  EXPECT_THROW(trine::detail::read_json("test", path), std::system_error);
}

}  // namespace
