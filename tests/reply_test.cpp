#include "trine/apps/reply.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>

#include "testing.h"

namespace {

using trine::Fact;
using trine::Finding;
using trine::Modality;
using trine::Reply;
using trine::ReplyTemplates;
using trine::testing::Folder;
using trine::testing::Json;
using trine::testing::refusal;

const std::filesystem::path kReplies = std::filesystem::path(TRINE_TEST_DATA) / "../models/default/replies.json";

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The sentence with which the default file is refused after a change.
std::string refused(const std::function<void(Json&)>& change) {
  const Folder folder;
  Json json = Json::parse(read(kReplies));
  change(json);
  folder.write("replies.json", json.dump());
  return refusal<std::runtime_error>([&] { ReplyTemplates::load(folder / "replies.json"); });
}

/// What may be found beside an intent.
const std::vector<Finding> kMore{
    {.fact = Fact::emotion, .value = "anger", .probability = 0.9f},
    {.fact = Fact::heard, .value = "it is late", .source = Modality::audio},
    {.fact = Fact::order_number, .value = "10293"},
    {.fact = Fact::product, .value = "6", .source = Modality::image, .note = "Banana"},
    {.fact = Fact::price, .value = "1.99 EUR/kg"},
    {.fact = Fact::damage, .value = "damaged", .source = Modality::image},
    {.fact = Fact::damage_type, .value = "tear", .source = Modality::image},
    {.fact = Fact::severity, .value = "light", .source = Modality::image},
};

TEST(ReplyTemplates, SaysOnlyWhatWasFoundInEveryCombination) {
  const ReplyTemplates templates = ReplyTemplates::load(kReplies);
  const Json json = Json::parse(read(kReplies));
  EXPECT_EQ(templates.languages(), (std::vector<std::string>{"de", "en"}));
  const std::vector<std::pair<std::string, std::size_t>> traces{
      {"late\"", 1}, {"late“", 1}, {"10293", 2}, {"Banana", 3}, {"1.99", 4}};
  for (const std::string& language : templates.languages()) {
    for (const auto& [intent, rule] : json["intents"].items()) {
      for (unsigned chosen = 0; chosen < 1u << kMore.size(); ++chosen) {
        Reply reply{.language = language, .findings = {{.fact = Fact::intent, .value = intent}}};
        for (std::size_t i = 0; i < kMore.size(); ++i) {
          if (chosen >> i & 1) reply.findings.push_back(kMore[i]);
        }
        const std::string text = templates.write(reply);
        ASSERT_FALSE(text.empty());
        ASSERT_EQ(text.find_first_of("{}"), std::string::npos) << text;
        ASSERT_EQ(text.find("  "), std::string::npos) << text;
        for (const auto& [trace, index] : traces) {
          if (text.find(trace) == std::string::npos) continue;
          ASSERT_TRUE(chosen >> index & 1) << intent << ": " << text;
        }
        const bool damage =
            text.find("I see damage") != std::string::npos || text.find("sehe ich einen Schaden") != std::string::npos;
        ASSERT_EQ(damage, (chosen >> 5 & 1) != 0) << text;
      }
    }
  }
}

TEST(ReplyTemplates, TakesTheFirstTextWhosePlaceholdersAreKnown) {
  const ReplyTemplates templates = ReplyTemplates::load(kReplies);
  Reply reply{.findings = {{.fact = Fact::intent, .value = "price"}}};
  EXPECT_EQ(templates.write(reply),
            "I did not find a product of our catalogue in your question. Which one do you mean?");
  reply.findings.push_back({.fact = Fact::product, .value = "6", .note = "Banana {price}"});
  EXPECT_EQ(templates.write(reply),
            "Banana {price} is in our catalogue, but without a price; a colleague will tell you.");
  reply.findings.push_back({.fact = Fact::price, .value = "1.99 EUR/kg"});
  EXPECT_EQ(templates.write(reply), "Banana {price} costs 1.99 EUR/kg.");  // a title is not a template
  reply.language = "de";
  EXPECT_EQ(templates.write(reply), "Banana {price}: 1.99 EUR/kg.");
  reply.language = "fr";
  EXPECT_NE(refusal<std::invalid_argument>([&] { templates.write(reply); }).find("it has de, en"), std::string::npos);
}

TEST(ReplyTemplates, WhatWasHeardIsQuotedAndALongQuoteIsCutBetweenCharacters) {
  const ReplyTemplates templates = ReplyTemplates::load(kReplies);
  std::string said;
  for (int i = 0; i < 500; ++i) said += "ü";
  const Reply reply{.findings = {{.fact = Fact::intent, .value = "other"}, {.fact = Fact::heard, .value = said}}};
  const std::string text = templates.write(reply);
  EXPECT_NE(text.find("üü ...\""), std::string::npos) << text;
  EXPECT_LT(text.size(), 500u);
}

TEST(ReplyTemplates, PhrasesAreWholeWordsAndTheirDenialsCount) {
  const ReplyTemplates templates = ReplyTemplates::load(kReplies);
  for (const char* text :
       {"This is URGENT!", "I need it as soon  as\npossible.", "Bitte sofort!", "It's not urgent? It is urgent."}) {
    EXPECT_TRUE(templates.urgent_phrase(text)) << text;
  }
  for (const char* text :
       {"", "insurgent", "It's not urgent.", "There is no rush", "as soon as", "Das ist nicht dringend."}) {
    EXPECT_FALSE(templates.urgent_phrase(text)) << text;
  }
  EXPECT_EQ(templates.calm_phrase("There’s no rush."), "no rush");
  EXPECT_FALSE(templates.calm_phrase("Hurry!"));
}

TEST(ReplyTemplates, ABadFileIsRefusedWithThePlace) {
  const std::vector<std::pair<std::function<void(Json&)>, std::string>> cases{
      {[](Json& j) { j = Json::array(); }, "wanted an object, got array"},
      {[](Json& j) { j.erase("urgent"); }, "there is no \"urgent\""},
      {[](Json& j) { j["colours"] = 1; }, "\"colours\" is unknown, wanted intents, urgent, not_urgent, languages"},
      {[](Json& j) { j["intents"] = 3; }, ": intents: wanted an object"},
      {[](Json& j) { j["intents"].erase("other"); }, ": intents: there is no \"other\""},
      {[](Json& j) { j["intents"]["late"] = true; }, ": intents.late: wanted an object"},
      {[](Json& j) { j["intents"]["late"]["need"] = 1; }, ": intents.late: \"need\" is unknown"},
      {[](Json& j) { j["intents"]["late"]["needs"] = "photo"; }, ": intents.late.needs: wanted a list"},
      {[](Json& j) { j["intents"]["late"]["needs"] = {"time"}; }, "wanted order_number, photo, product, got \"time\""},
      {[](Json& j) { j["intents"]["late"]["urgency"] = "top"; }, "wanted low, normal, high"},
      {[](Json& j) { j["intents"]["late"]["claim"] = 7; },
       "wanted nothing, damage, other_product, all_well, got \"7\""},
      {[](Json& j) { j["intents"]["late"]["problem"] = "yes"; }, ": intents.late.problem: wanted true or false"},
      {[](Json& j) { j["intents"]["lost"] = Json::object(); }, ": languages.en.intents: there is no \"lost\""},
      {[](Json& j) { j["languages"]["de"]["intents"].erase("late"); }, ": languages.de.intents: there is no \"late\""},
      {[](Json& j) { j["languages"]["de"]["intents"]["gone"] = "x"; }, ": languages.de.intents: \"gone\" is unknown"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = "Your {thing}."; },
       ": languages.en.intents.late: the placeholder \"thing\" is unknown, wanted product, price"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = "Your {product."; }, "a brace is not closed"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = "Your }."; }, "a brace is not closed or not opened"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = "Your {{product}}."; }, "a brace is not closed"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = ""; }, "must say something"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = Json::array(); }, "must say something"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = {"Late: {product}."}; }, "without any placeholder"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = {1}; }, "wanted a text, got number"},
      {[](Json& j) { j["languages"]["en"]["intents"]["late"] = std::string(5'000, 'x'); }, "at most 2000"},
      {[](Json& j) { j["languages"]["en"]["asks"]["photo"] = ""; }, ": languages.en.asks.photo: "},
      {[](Json& j) { j["languages"]["en"]["no_words"] = ""; }, ": languages.en.no_words: "},
      {[](Json& j) { j["languages"]["en"].erase("heard"); }, ": languages.en: there is no \"heard\""},
      {[](Json& j) { j["languages"]["en"]["words"] = {1}; }, "wanted an object"},
      {[](Json& j) { j["languages"]["en"]["words"]["tear"] = {1}; }, ": languages.en.words.tear: wanted a text"},
      {[](Json& j) { j["languages"] = Json::object(); }, "there is no language"},
      {[](Json& j) { j["languages"]["en"] = "hello"; }, ": languages.en: wanted an object"},
      {[](Json& j) { j["urgent"] = "now"; }, ": urgent: wanted a list"},
      {[](Json& j) { j["urgent"] = {"!"}; }, ": urgent: a phrase has no word"},
  };
  for (const auto& [change, part] : cases) {
    const std::string sentence = refused(change);
    EXPECT_TRUE(sentence.starts_with("[ReplyTemplates] ")) << sentence;
    EXPECT_NE(sentence.find("replies.json: "), std::string::npos) << sentence;
    EXPECT_NE(sentence.find(part), std::string::npos) << part << "\n  " << sentence;
  }
  const Folder folder;
  for (const std::string& content : {std::string(), std::string("{"), std::string("\xff"), std::string(2 << 20, ' '),
                                     std::string(100'000, '['), std::string("{\"intents\": {}, \"intents\": {}}")}) {
    folder.write("bad.json", content);
    EXPECT_NE(refusal<std::runtime_error>([&] { ReplyTemplates::load(folder / "bad.json"); }), "accepted");
  }
  EXPECT_THROW(ReplyTemplates::load(folder / "absent.json"), std::system_error);
}

TEST(ReplyTemplates, KnowsWhichIntentsItLacks) {
  const ReplyTemplates templates = ReplyTemplates::load(kReplies);
  templates.check_intents({"damaged", "late"});
  EXPECT_NE(refusal<std::runtime_error>([&] {
              templates.check_intents({"late", "lost"});
            }).find("no reply to the intent \"lost\""),
            std::string::npos);
}

TEST(Reply, IsOneLineOfJsonWhateverItHolds) {
  const Reply reply{.text = "a\n\xff\"",
                    .findings = {{.fact = Fact::product, .value = "6", .probability = 0.93f, .note = "Banana"}},
                    .contradictions = {{"two_requests", {}, {}}},
                    .unread = {{Modality::image, "broken"}},
                    .not_looked_at = {{Fact::damage, "no head"}},
                    .missing = {trine::Need::photo}};
  const Json json = Json::parse(reply.json());
  EXPECT_EQ(reply.json().find('\n'), std::string::npos);
  EXPECT_EQ(json["findings"][0], Json::parse(R"({"fact": "product", "value": "6", "probability": 0.93, "source": "text",
                                                 "turn": 1, "note": "Banana"})"));
  EXPECT_EQ(json["contradictions"][0]["name"], "two_requests");
  EXPECT_EQ(json["unread"][0]["why"], "broken");
  EXPECT_EQ(json["not_looked_at"][0]["fact"], "damage");
  EXPECT_EQ(json["missing"], Json::parse(R"(["photo"])"));
  EXPECT_FALSE(json.contains("fallback"));
}

}  // namespace
