#include "trine/search/filter.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "testing.h"

namespace {

using trine::Attributes;
using trine::Filter;

const Attributes kLemon{{"price", "2.49"},           {"category", "\"fruit\""}, {"organic", "true"},
                        {"name", "\"a \\\"b\\\"\""}, {"tags", "[\"sour\", 7]"}, {"unit price", "3"},
                        {"größe", "\"groß\""},       {"origin", "null"},        {"stock", "{\"a\": 1}"}};

TEST(Filter, ComparesNumbersTextsAndTruth) {
  for (const char* yes : {"price < 30",
                          "price <= 2.49",
                          "price >= 2.49",
                          "price > -1e3",
                          "price == 2.49",
                          "price != 2",
                          "price < +3",
                          "price < .3e1",
                          "category == \"fruit\"",
                          "category == 'fruit'",
                          "category != \"milk\"",
                          "category < \"g\"",
                          "organic == true",
                          "organic != false",
                          "price in (1, 2.49, \"x\")",
                          "category in (\"milk\", 'fruit')",
                          "category contains \"rui\"",
                          "tags contains \"sour\"",
                          "tags contains 7",
                          "name == \"a \\\"b\\\"\"",
                          "name == 'a \"b\"'",
                          "`unit price` == 3",
                          "größe == 'groß'"}) {
    EXPECT_TRUE(Filter(yes).matches(kLemon)) << yes;
    EXPECT_FALSE(Filter("not (" + std::string(yes) + ")").matches(kLemon)) << yes;
  }
}

TEST(Filter, WhatIsMissingOrOfAnotherTypeIsFalse) {
  for (const char* no : {"colour == \"red\"", "colour != \"red\"", "colour < 3", "colour in (1)",
                         "colour contains \"r\"", "price == \"2.49\"", "price != \"2.49\"", "price contains \"2\"",
                         "organic == 1", "category < 3", "origin == \"\"", "origin != \"x\"", "tags == \"sour\"",
                         "tags contains \"sou\"", "stock != 1", "stock contains \"a\""}) {
    EXPECT_FALSE(Filter(no).matches(kLemon)) << no;
    EXPECT_TRUE(Filter("not " + std::string(no)).matches(kLemon)) << no;
  }
}

TEST(Filter, AndBindsCloserThanOr) {
  EXPECT_TRUE(Filter("price == 2.49 or price == 1 and price == 2").matches(kLemon));
  EXPECT_FALSE(Filter("(price == 2.49 or price == 1) and price == 2").matches(kLemon));
  EXPECT_TRUE(Filter("not price == 1 and organic == true").matches(kLemon));
  EXPECT_TRUE(Filter("not not organic == true").matches(kLemon));
  EXPECT_EQ(Filter("b == 1 and (a < 2 or not b in (3))").names(), (std::vector<std::string>{"a", "b"}));
}

TEST(Filter, AnEmptyOneMatchesEverything) {
  EXPECT_TRUE(Filter().matches({}));
  EXPECT_TRUE(Filter().empty());
  EXPECT_FALSE(Filter("a == 1").empty());
}

TEST(Filter, SaysWhereAnExpressionIsWrong) {
  const std::vector<std::pair<std::string, std::string>> bad{{"", "column 1: wanted an attribute"},
                                                             {"   ", "column 4"},
                                                             {"price", "column 6: wanted ==, !="},
                                                             {"price = 3", "column 7: wanted =="},
                                                             {"price == ", "column 10: wanted a number"},
                                                             {"price == fruit", "column 10"},
                                                             {"price == 3 4", "column 12: wanted and, or"},
                                                             {"price < 3 and", "column 14"},
                                                             {"(price < 3", "column 11: wanted \")\""},
                                                             {"price < 3)", "column 10"},
                                                             {"price in 3", "column 10: wanted \"(\""},
                                                             {"price in ()", "column 11"},
                                                             {"price in (3", "column 12"},
                                                             {"price in (3,)", "column 13"},
                                                             {"and == 3", "column 1"},
                                                             {"3 < price", "column 1"},
                                                             {"price == \"a", "column 10: wanted a second"},
                                                             {"price == \"\\n\"", "column 12"},
                                                             {"price < 3x", "column 9"},
                                                             {"price < 1e999", "column 9"},
                                                             {"price < nan", "column 9"},
                                                             {"`` == 1", "column 1"},
                                                             {"größe ; 3", "column 7"},
                                                             {std::string("a\0b", 3), "column 2"}};
  for (const auto& [expression, part] : bad) {
    const std::string sentence = trine::testing::refusal<std::invalid_argument>([&, e = expression] { Filter{e}; });
    EXPECT_NE(sentence.find("[Filter] "), std::string::npos) << sentence;
    EXPECT_NE(sentence.find(part), std::string::npos) << expression << ": " << sentence;
  }
}

TEST(Filter, DeepAndLongExpressionsAreBounded) {
  std::string open, nots, wide = "a == 0";
  for (int i = 0; i < 60; ++i) open += '(';
  EXPECT_TRUE(Filter(open + "price < 3" + std::string(60, ')')).matches(kLemon));
  EXPECT_THROW(Filter(std::string(60'000, '(')), std::invalid_argument);
  for (int i = 0; i < 15'000; ++i) nots += "not ";
  EXPECT_THROW(Filter(nots + "a == 1"), std::invalid_argument);
  EXPECT_THROW(Filter(std::string(1 << 20, ' ') + "a == 1"), std::invalid_argument);
  for (int i = 1; i < 5'000; ++i) wide += " or a == 0";
  EXPECT_FALSE(Filter(wide).matches({{"a", "1"}}));
}

}  // namespace
