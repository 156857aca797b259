#include "trine/apps/support_agent.h"

#include "encoder_testing.h"
#include "http_server.h"

namespace {

using trine::Conversation;
using trine::Embedder;
using trine::Fact;
using trine::Finding;
using trine::Intent;
using trine::Modality;
using trine::Need;
using trine::Observed;
using trine::Product;
using trine::ProductSearch;
using trine::Reply;
using trine::Score;
using trine::SupportAgent;
using trine::SupportOptions;
using trine::SupportParts;
using trine::testing::chat_body;
using trine::testing::HttpServer;
using trine::testing::refusal;

Embedder tiny() { return Embedder::load(trine::testing::kGolden / "bert"); }

/// An agent without any part; what parts would see is given to `answer`.
SupportAgent agent(SupportOptions options = {}, SupportParts parts = {}) {
  options.replies = std::filesystem::path(TRINE_TEST_DATA) / "../models/default/replies.json";
  return SupportAgent(tiny(), std::move(parts), options);
}

Intent intent(const std::string& label, float probability = 0.9f) {
  return {.scores = {{label, probability}}, .in_scope = true};
}

Observed writes(const std::string& text, const std::string& label, float probability = 0.9f) {
  return {.text = text, .intents = {{Modality::text, intent(label, probability)}}};
}

trine::Damage damage(float probability) {
  if (probability <= 0.7f) return {probability, {}, 0, "", "synthetic damage"};
  return {probability, {{"tear", 0.8f}, {"dent", 0.2f}}, 0.5f, "moderate", "synthetic damage"};
}

Observed shows(float probability) { return {.damage = damage(probability), .photo = true}; }

Finding product(const std::string& id, const std::string& title, Modality source) {
  return {.fact = Fact::product, .value = id, .probability = 0.95f, .source = source, .note = title};
}

std::string value(const Reply& reply, Fact fact) {
  const Finding* finding = reply.find(fact);
  return finding == nullptr ? "none" : finding->value;
}

Reply answer(const Observed& seen) {
  Conversation conversation;
  return agent().answer(seen, conversation);
}

std::vector<std::string> contradictions(const Reply& reply) {
  std::vector<std::string> names;
  for (const trine::Contradiction& contradiction : reply.contradictions) names.push_back(contradiction.name);
  return names;
}

TEST(SupportAgent, UnderstandsAComplaintAndAsksForWhatIsMissing) {
  Observed seen = writes("My order #A-10293 arrived broken!", "damaged");
  seen.emotions = {{Modality::text, {{"anger", 0.8f}, {"joy", 0.1f}}}};
  const Reply reply = answer(seen);
  EXPECT_EQ(value(reply, Fact::intent), "damaged");
  EXPECT_EQ(value(reply, Fact::emotion), "anger");
  EXPECT_EQ(value(reply, Fact::urgency), "high");  // a problem, and anger
  EXPECT_EQ(reply.find(Fact::urgency)->note, "anger");
  EXPECT_EQ(value(reply, Fact::order_number), "A-10293");
  EXPECT_EQ(reply.missing, std::vector{Need::photo});
  EXPECT_EQ(reply.author, trine::Author::templates);
  EXPECT_NE(reply.text.find("annoying"), std::string::npos) << reply.text;
  EXPECT_NE(reply.text.find("send me a photo"), std::string::npos) << reply.text;
  EXPECT_EQ(reply.text.find("number of your order"), std::string::npos) << reply.text;
}

TEST(SupportAgent, ALaterPhotoCompletesAnEarlierComplaint) {
  const SupportAgent support = agent();
  Conversation conversation;
  const Reply first = support.answer(writes("Everything came broken.", "damaged"), conversation);
  EXPECT_EQ(first.missing, (std::vector{Need::order_number, Need::photo}));
  EXPECT_FALSE(first.continues);

  const Reply second = support.answer(writes("The number is 10293", "order_status"), conversation);
  EXPECT_TRUE(second.continues);
  EXPECT_EQ(value(second, Fact::intent), "damaged");
  EXPECT_EQ(second.missing, std::vector{Need::photo});
  EXPECT_NE(second.text.find("Thank you for the order number 10293."), std::string::npos) << second.text;

  const Reply thanks = support.answer(writes("You are very kind.", "praise"), conversation);
  EXPECT_EQ(value(thanks, Fact::intent), "praise");
  EXPECT_EQ(thanks.missing, std::vector{Need::photo});  // is still asked for

  const Reply last = support.answer(shows(0.9f), conversation);
  EXPECT_TRUE(last.continues);
  EXPECT_TRUE(last.missing.empty());
  EXPECT_EQ(last.turn, 4u);
  EXPECT_EQ(value(last, Fact::intent), "damaged");
  EXPECT_EQ(last.find(Fact::intent)->turn, 1u);
  EXPECT_EQ(last.find(Fact::damage)->turn, 4u);
  EXPECT_EQ(value(last, Fact::order_number), "10293");
  EXPECT_NE(last.text.find("(tear, moderate)"), std::string::npos) << last.text;
  EXPECT_NE(last.text.find("all we need"), std::string::npos) << last.text;
  EXPECT_FALSE(conversation.open);
  EXPECT_EQ(conversation.turns.size(), 4u);

  const Reply after = support.answer(shows(0.1f), conversation);
  EXPECT_FALSE(after.continues);  // the request is dealt with: no words, no intent
  EXPECT_EQ(after.find(Fact::intent), nullptr);
}

TEST(SupportAgent, AnotherRequestIsNotSwallowedByAnOpenOne) {
  const SupportAgent support = agent();
  Conversation conversation;
  support.answer(writes("Everything came broken.", "damaged"), conversation);
  const Reply reply =
      support.answer(writes("By the way I would like to cancel my other order 45678 please", "cancel"), conversation);
  EXPECT_FALSE(reply.continues);
  EXPECT_EQ(value(reply, Fact::intent), "cancel");
  EXPECT_EQ(value(reply, Fact::order_number), "45678");
}

TEST(SupportAgent, OrderNumbersAreFoundAndNothingElseIsTakenForOne) {
  const SupportAgent support = agent();
  const auto number = [&](const std::string& text, bool asked) {
    Conversation conversation;
    if (asked) conversation.asked = {Need::order_number};
    return value(support.answer(writes(text, "late"), conversation), Fact::order_number);
  };
  const std::vector<std::pair<std::string, std::string>> texts{{"order 12345 is late", "12345"},
                                                               {"My order number is A-10293.", "A-10293"},
                                                               {"Order: 2024/118", "2024/118"},
                                                               {"ORDER NO. 778899!", "778899"},
                                                               {"Bestellung Nr. 4711", "4711"},
                                                               {"it is (#9921)", "9921"},
                                                               {"order#5512", "5512"},
                                                               {"I ordered 12 bananas for 2.49", "none"},
                                                               {"my order of 2500 bananas", "none"},
                                                               {"call me at 0301234567", "none"},
                                                               {"order number", "none"},
                                                               {"order 12", "none"},
                                                               {"order " + std::string(60, '1'), "none"}};
  for (const auto& [text, wanted] : texts) EXPECT_EQ(number(text, false), wanted) << text;
  EXPECT_EQ(number("it's 10293", true), "10293");
  EXPECT_EQ(number("it's 10293", false), "none");
  EXPECT_EQ(number("twelve or 123", true), "none");
}

TEST(SupportAgent, UrgencyIsByWordsThenByFeelingThenByIntent) {
  const auto urgency = [](const std::string& text, const std::string& label, std::vector<Score> emotion = {}) {
    Observed seen = writes(text, label);
    if (!emotion.empty()) seen.emotions = {{Modality::text, std::move(emotion)}};
    return value(answer(seen), Fact::urgency);
  };
  EXPECT_EQ(urgency("It is late.", "late"), "normal");
  EXPECT_EQ(urgency("I need it right now, it is late.", "late"), "high");
  EXPECT_EQ(urgency("It is late but there is no rush.", "late", {{"anger", 0.9f}}), "low");
  EXPECT_EQ(urgency("It is late.", "late", {{"fear", 0.6f}}), "high");
  EXPECT_EQ(urgency("It is late.", "late", {{"anger", 0.4f}}), "normal");
  EXPECT_EQ(urgency("What does it cost?", "price", {{"anger", 0.9f}}), "low");
}

TEST(SupportAgent, DamageIsSaidAboveItsThresholdOnly) {
  for (const auto& [probability, state] : std::vector<std::pair<float, std::string>>{
           {0.9f, "damaged"}, {0.7f, "unclear"}, {0.5f, "unclear"}, {0.3f, "intact"}, {0.0f, "intact"}}) {
    Observed seen = shows(probability);
    seen.text = "It came broken.";
    seen.intents = {{Modality::text, intent("damaged")}};
    const Reply reply = answer(seen);
    EXPECT_EQ(value(reply, Fact::damage), state);
    EXPECT_EQ(reply.find(Fact::damage)->source, Modality::image);
    EXPECT_NE(reply.find(Fact::damage)->note.find("synthetic damage"), std::string::npos);
    EXPECT_EQ(value(reply, Fact::damage_type), probability > 0.7f ? "tear" : "none");
    EXPECT_EQ(value(reply, Fact::severity), probability > 0.7f ? "moderate" : "none");
    EXPECT_EQ(reply.text.find("I see damage") != std::string::npos, probability > 0.7f) << reply.text;
  }
}

TEST(SupportAgent, ContradictionsBetweenModalitiesAreSaid) {
  Observed intact = shows(0.1f);
  intact.text = "It came broken.";
  intact.intents = {{Modality::text, intent("damaged")}};
  Reply reply = answer(intact);
  EXPECT_EQ(contradictions(reply), std::vector<std::string>{"intact_photo"});
  EXPECT_EQ(reply.contradictions[0].first.source, Modality::text);
  EXPECT_EQ(reply.contradictions[0].second.source, Modality::image);
  EXPECT_NE(reply.text.find("looks intact"), std::string::npos) << reply.text;

  Observed damaged = shows(0.9f);
  damaged.text = "All is perfect!";
  damaged.intents = {{Modality::text, intent("praise")}};
  EXPECT_EQ(contradictions(answer(damaged)), std::vector<std::string>{"damaged_photo"});

  Observed other = writes("My Banana is broken", "damaged");
  other.photo = true;
  other.named = {{Modality::text, {product("6", "Banana", Modality::text)}}};
  other.products = {product("6", "Banana", Modality::text), product("8", "Lemon", Modality::image)};
  reply = answer(other);
  EXPECT_EQ(contradictions(reply), std::vector<std::string>{"other_product"});
  EXPECT_NE(reply.text.find("You mention Banana, but the photo looks like Lemon"), std::string::npos) << reply.text;
  other.intents = {{Modality::text, intent("wrong_item")}};  // then it is what is claimed
  EXPECT_TRUE(answer(other).contradictions.empty());
  other.intents = {{Modality::text, intent("damaged")}};
  other.named[Modality::text].push_back(product("8", "Lemon", Modality::text));
  EXPECT_TRUE(answer(other).contradictions.empty());

  Observed two = writes("Where is it?", "late");
  two.heard = Finding{.fact = Fact::heard, .value = "cancel it", .probability = 0.9f, .source = Modality::audio};
  two.intents[Modality::audio] = intent("cancel", 0.95f);
  reply = answer(two);
  EXPECT_EQ(contradictions(reply), std::vector<std::string>{"two_requests"});
  EXPECT_EQ(value(reply, Fact::intent), "cancel");  // the likelier one
  EXPECT_NE(reply.text.find("\"cancel it\""), std::string::npos) << reply.text;
  two.intents[Modality::audio] = intent("cancel", 0.4f);
  reply = answer(two);
  EXPECT_TRUE(reply.contradictions.empty());
  EXPECT_EQ(value(reply, Fact::intent), "late");

  Observed feelings = writes("Great, thanks a lot", "praise");
  feelings.emotions = {{Modality::text, {{"joy", 0.9f}}}, {Modality::audio, {{"angry", 0.8f}}}};
  reply = answer(feelings);
  EXPECT_EQ(contradictions(reply), std::vector<std::string>{"two_feelings"});
  EXPECT_EQ(value(reply, Fact::emotion), "anger");  // the voice's goes first
  EXPECT_EQ(reply.find(Fact::emotion)->source, Modality::audio);
  EXPECT_NE(reply.find(Fact::emotion)->note.find("German acted speech"), std::string::npos);
}

TEST(SupportAgent, APhotoThatShowsNothingDoesNotUndoOneThatDid) {
  const SupportAgent support = agent();
  Conversation conversation;
  support.answer(writes("It came broken.", "damaged"), conversation);
  support.answer(shows(0.9f), conversation);
  const Reply reply = support.answer(shows(0.1f), conversation);
  EXPECT_TRUE(reply.contradictions.empty());
  EXPECT_EQ(value(reply, Fact::damage_type), "tear");
}

TEST(SupportAgent, WhatIsOutOfScopeIsNotGuessed) {
  Observed seen = writes("Who is the president?", "late", 0.4f);
  seen.intents[Modality::text].in_scope = false;
  const Reply reply = answer(seen);
  EXPECT_EQ(value(reply, Fact::intent), "other");
  EXPECT_TRUE(reply.missing.empty());
  EXPECT_NE(reply.text.find("not sure that I understood"), std::string::npos);
}

TEST(SupportAgent, WorksWithoutAnyPartAndSaysWhatWasNotLookedAt) {
  const Reply reply = agent().handle({.text = "My order is late."});
  EXPECT_FALSE(reply.text.empty());
  ASSERT_FALSE(reply.not_looked_at.empty());
  EXPECT_EQ(reply.not_looked_at[0].fact, Fact::intent);
  EXPECT_EQ(reply.find(Fact::intent), nullptr);
  SupportParts parts;
  parts.lacking[Fact::intent] = "[IntentClassifier] nothing there";
  EXPECT_EQ(agent({}, parts).handle({.text = "Late."}).not_looked_at[0].why, "[IntentClassifier] nothing there");
  for (const auto& [key, fact] : agent({}, parts).describe()) EXPECT_FALSE(fact.empty()) << key;
}

TEST(SupportAgent, NamesProductsOfTheCatalogueByTheirTitles) {
  SupportParts parts;
  parts.products = std::make_shared<ProductSearch>(ProductSearch::build(
      tiny(),
      {{.id = "1", .title = "Orange", .attributes = {{"price", "2.5"}, {"currency", "\"EUR\""}, {"unit", "\"kg\""}}},
       {.id = "2", .title = "Orange Juice"},
       {.id = "3", .title = "Berry"},
       {.id = "4", .title = "Carrots"}}));
  const SupportAgent support = agent({}, parts);
  const auto named = [&](const std::string& text) {
    std::string ids;
    const Observed seen = support.look({.text = text});
    const auto found = seen.named.find(Modality::text);
    if (found != seen.named.end()) {
      for (const Finding& finding : found->second) ids += finding.value;
    }
    return ids;
  };
  EXPECT_EQ(named("my ORANGES, please"), "1");
  EXPECT_EQ(named("the orange juice leaked"), "2");
  EXPECT_EQ(named("an orange and orange juice"), "21");
  EXPECT_EQ(named("berries and a carrot"), "43");
  EXPECT_EQ(named("orangeade, carrotsy"), "");
  const Reply reply = support.handle({.text = "my oranges"});
  EXPECT_EQ(value(reply, Fact::product), "1");
  EXPECT_EQ(value(reply, Fact::price), "2.5 EUR/kg");
}

TEST(SupportAgent, WhatCannotBeReadIsSaidAndTheRestIsUsed) {
  const trine::testing::Directory folder;
  folder.write("broken.jpg", "\xff\xd8\xff not a picture");
  folder.write("empty.wav", "");
  const SupportAgent support = agent();
  const Reply reply = support.handle(
      {.image = folder / "broken.jpg", .text = "My order 10293 is late.", .audio = folder / "empty.wav"});
  ASSERT_EQ(reply.unread.size(), 2u);
  EXPECT_EQ(reply.unread[0].modality, Modality::audio);
  EXPECT_EQ(reply.unread[1].modality, Modality::image);
  for (const auto& [modality, why] : reply.unread) EXPECT_EQ(why[0], '[') << why;
  EXPECT_EQ(value(reply, Fact::order_number), "10293");
  EXPECT_NE(reply.text.find("could not read the photo"), std::string::npos) << reply.text;
  EXPECT_NE(reply.text.find("could not understand the recording"), std::string::npos) << reply.text;

  EXPECT_EQ(support.handle({.image = folder / "absent.jpg"}).unread.size(), 1u);
  EXPECT_EQ(support.handle({.image = trine::Image{2, 2, {1}}, .text = "late"}).unread.size(), 1u);
  EXPECT_EQ(support.handle({.audio = trine::Audio{16'000, {0.1f, NAN}}}).unread.size(), 1u);
  EXPECT_EQ(support.handle({.audio = trine::Audio{0, {}}}).unread.size(), 1u);
  const Reply invalid = support.handle({.text = "late \xff"});
  ASSERT_EQ(invalid.unread.size(), 1u);
  EXPECT_NE(invalid.unread[0].why.find("UTF-8"), std::string::npos);

  std::string endless;
  while (endless.size() < 3'000'000) endless += "ü ";
  const Reply cut = support.handle({.text = endless});
  ASSERT_EQ(cut.unread.size(), 1u);
  EXPECT_NE(cut.unread[0].why.find("only the first 20000 of 3000000 bytes"), std::string::npos) << cut.unread[0].why;

  for (const char* nothing : {"", " \n\t "}) {
    const std::string sentence = refusal<std::invalid_argument>([&] { support.handle({.text = nothing}); });
    EXPECT_NE(sentence.find("got nothing"), std::string::npos) << sentence;
  }
  EXPECT_THROW(support.handle({}), std::invalid_argument);
}

TEST(SupportAgent, BadOptionsAreRefused) {
  EXPECT_NE(refusal<std::invalid_argument>([] { agent({.language = "fr"}); }).find("no language \"fr\""),
            std::string::npos);
  EXPECT_THROW(agent({.chat = trine::ChatEndpoint{.url = "ftp://x"}}), std::invalid_argument);
  EXPECT_THROW(SupportAgent(tiny(), SupportParts{}), std::system_error);  // a model without replies.json
}

TEST(SupportAgent, AnEndpointWritesTheReplyFromWhatWasFound) {
  std::string request;
  const HttpServer server([&request](const std::string& seen, int) {
    request = seen;
    return HttpServer::response(chat_body("So sorry about order 10293! Could you send a photo?"));
  });
  const SupportAgent support = agent({.chat = trine::ChatEndpoint{.url = server.url()}});
  Conversation conversation;
  conversation.turns = {{"Hello", "Hello! What can I do for you?"}};
  Observed seen = writes("My order 10293 came broken", "damaged");
  seen.unread = {{Modality::image, "[read_image] /secret/path.jpg is no picture"}};
  const Reply reply = support.answer(seen, conversation);
  EXPECT_EQ(reply.author, trine::Author::endpoint);
  EXPECT_EQ(reply.text, "So sorry about order 10293! Could you send a photo?");
  EXPECT_TRUE(reply.fallback.empty());
  EXPECT_EQ(conversation.turns.back().answered, reply.text);
  const auto messages = trine::testing::Json::parse(request.substr(request.find("\r\n\r\n")))["messages"];
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[1]["content"], "Hello");
  const auto context = trine::testing::Json::parse(messages[3]["content"].get<std::string>());
  EXPECT_EQ(context["written"], "My order 10293 came broken");
  EXPECT_EQ(context["findings"][0]["value"], "damaged");
  EXPECT_NE(context["draft"].get<std::string>().find("photo"), std::string::npos);
  EXPECT_EQ(request.find("/secret"), std::string::npos);
}

TEST(SupportAgent, AnEndpointThatFailsOrInventsLeavesItToTheTemplates) {
  SupportParts parts;
  parts.products =
      std::make_shared<ProductSearch>(ProductSearch::build(tiny(), {{.id = "1", .title = "Orange Juice"}}));
  const auto write = [&parts](const std::string& bytes) {
    const HttpServer server([&bytes](const std::string&, int) { return bytes; });
    Conversation conversation;
    return agent({.chat = trine::ChatEndpoint{.url = server.url()}}, parts)
        .answer(writes("My order 10293 is late.", "late"), conversation);
  };
  const std::string wanted = answer(writes("My order 10293 is late.", "late")).text;
  const std::vector<std::pair<std::string, std::string>> cases{
      {HttpServer::response("down", "500 Internal Server Error"), "status 500"},
      {HttpServer::response(chat_body("We refund you 50 EUR.")), "made up the number \"50\""},
      {HttpServer::response(chat_body("Look at https://evil.example/pay now.")), "made up the link"},
      {HttpServer::response(chat_body("Write to help@evil.example please.")), "made up the link"},
      {HttpServer::response(chat_body("Your orange juice is on its way.")), "made up \"orange juice\""},
      {HttpServer::response(chat_body("I see the tear in your photo.")), "made up \"tear\""},
      {HttpServer::response(chat_body(std::string(5'000, 'a'))), "5000 bytes"},
  };
  for (const auto& [bytes, why] : cases) {
    const Reply reply = write(bytes);
    EXPECT_EQ(reply.author, trine::Author::templates);
    EXPECT_EQ(reply.text, wanted);
    EXPECT_NE(reply.fallback.find(why), std::string::npos) << reply.fallback;
  }
  EXPECT_EQ(write(HttpServer::response(chat_body("Order 10293 is on our list."))).author, trine::Author::endpoint);
}

}  // namespace
