#include "trine/apps/intent.h"

#include "encoder_testing.h"
#include "trine/layers.h"

namespace {

using trine::Embedder;
using trine::Intent;
using trine::IntentClassifier;
using trine::testing::Directory;
using trine::testing::refusal;

Embedder tiny() { return Embedder::load(trine::testing::kGolden / "bert"); }

using Examples = std::map<std::string, std::vector<std::string>>;

/// Of a tokenizer that knows few words; the model's weights are random, but words that come again stay the same.
Examples examples() {
  return {{"greet", {"hello", "hello hello", "hello world", "hello the world"}},
          {"order", {"the first", "first the first", "the first first", "the first the"}}};
}

TEST(IntentClassifier, KnowsItsExamplesAndSumsToOne) {
  const IntentClassifier intents = IntentClassifier::fit(tiny(), examples());
  EXPECT_EQ(intents.labels(), (std::vector<std::string>{"greet", "order"}));
  for (const auto& [label, sentences] : examples()) {
    for (const Intent& intent : intents.understand(sentences)) {
      ASSERT_EQ(intent.scores.size(), 2u);
      EXPECT_EQ(intent.scores[0].label, label);
      EXPECT_GE(intent.scores[0].probability, intent.scores[1].probability);
      EXPECT_NEAR(intent.scores[0].probability + intent.scores[1].probability, 1, 1e-5);
    }
  }
}

TEST(IntentClassifier, AVectorSaysWhatItsTextSaysWhateverItsLength) {
  const Embedder model = tiny();
  const IntentClassifier intents = IntentClassifier::fit(model, examples());
  const torch::Tensor vector = model.embed_text("hello the world hello");
  const Intent text = intents.understand("hello the world hello"), one = intents.understand(vector),
               three = intents.understand(3 * vector);
  EXPECT_EQ(text.scores[0].label, one.scores[0].label);
  EXPECT_NEAR(one.scores[0].probability, three.scores[0].probability, 1e-5);
  EXPECT_EQ(one.in_scope, three.in_scope);
}

TEST(IntentClassifier, TheSameExamplesGiveTheSameHead) {
  const IntentClassifier one = IntentClassifier::fit(tiny(), examples()),
                         two = IntentClassifier::fit(tiny(), examples());
  EXPECT_EQ(one.describe(), two.describe());
  EXPECT_EQ(one.understand("world").scores[0].probability, two.understand("world").scores[0].probability);
}

TEST(IntentClassifier, OutOfScopeIsNoLabelAndCountsAgainstTheOthers) {
  const Examples known = examples();
  Examples all = known;
  all["out_of_scope"] = {"world world", "world", "world world world", "world world world world"};
  const IntentClassifier intents = IntentClassifier::fit(tiny(), all);
  EXPECT_EQ(intents.labels().size(), 2u);
  EXPECT_FALSE(intents.understand("world world").in_scope);
  EXPECT_TRUE(intents.understand("the first").in_scope);
  // all that is kept is what the threshold says
  const IntentClassifier keen = IntentClassifier::fit(tiny(), all, {.kept = 1.0});
  for (const std::string& sentence : known.at("greet")) EXPECT_TRUE(keen.understand(sentence).in_scope);
}

TEST(IntentClassifier, RefusesExamplesThatDoNotDo) {
  const auto fit = [](const Examples& given, const trine::IntentOptions& options = {}) {
    return refusal<std::invalid_argument>([&] { IntentClassifier::fit(tiny(), given, options); });
  };
  EXPECT_EQ(fit({}), "[IntentClassifier] wanted examples of two intents at least, got 0");
  EXPECT_EQ(fit({{"a", {"hello", "world"}}, {"out_of_scope", {"the", "first"}}}),
            "[IntentClassifier] wanted examples of two intents at least, got 1");
  EXPECT_EQ(fit({{"a", {"hello"}}, {"b", {"the", "first"}}}),
            "[IntentClassifier] wanted two examples of \"a\" at least, got 1");
  EXPECT_EQ(fit({{"a", {"hello", " \n"}}, {"b", {"the", "first"}}}), "[IntentClassifier] an example of \"a\" is empty");
  EXPECT_EQ(fit({{"", {"hello", "x"}}, {"b", {"the", "first"}}}),
            "[IntentClassifier] the name of an intent must not be empty");
  EXPECT_EQ(fit(examples(), {.folds = 1}), "[IntentClassifier] folds must be at least 2, got 1");
  EXPECT_EQ(fit(examples(), {.kept = 0}), "[IntentClassifier] kept must be above 0 and at most 1, got 0");
  EXPECT_NE(fit({{"a", {"hello", "\xff"}}, {"b", {"the", "first"}}}), "accepted");
}

TEST(IntentClassifier, RefusesVectorsItCannotRead) {
  const Embedder model = tiny();
  const IntentClassifier intents = IntentClassifier::fit(model, examples());
  const auto given = [&](const torch::Tensor& vector) {
    return refusal<std::invalid_argument>([&] { intents.understand(vector); });
  };
  EXPECT_NE(given(torch::zeros({3})), "accepted");
  EXPECT_NE(given(torch::zeros({1, model.dim()})), "accepted");
  EXPECT_NE(given(torch::full({model.dim()}, NAN)), "accepted");
  EXPECT_NE(given(torch::Tensor()), "accepted");
}

TEST(IntentClassifier, ReadsAFileAndRefusesABrokenOne) {
  const Directory folder;
  const auto write = [&](const std::string& text) { std::ofstream(folder / "intents.json") << text; };
  write(R"({"greet": ["hello", "hello world"], "order": ["the first", "first"]})");
  EXPECT_EQ(IntentClassifier::load(tiny(), folder / "intents.json").understand("hello").scores[0].label, "greet");
  for (const char* text : {"", "[]", R"({"a": "hello", "b": ["x", "y"]})", R"({"a": ["hello", 3], "b": ["x", "y"]})",
                           R"({"a": ["hello"], "b": ["x", "y"]})", R"({"a": ["x", "y"], "a": ["x", "y"]})"}) {
    write(text);
    EXPECT_THROW(IntentClassifier::load(tiny(), folder / "intents.json"), std::runtime_error) << text;
  }
  EXPECT_THROW(IntentClassifier::load(tiny(), folder / "nowhere.json"), std::exception);
}

}  // namespace
