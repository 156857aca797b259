#include "trine/apps/reply.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "apps/words.h"
#include "detail/error.h"
#include "detail/json.h"
#include "detail/names.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;

namespace {

constexpr const char* kWho = "ReplyTemplates";
constexpr const char* kOther = "other";       ///< the intent of what fits no other
constexpr float kSure = 0.5f;                 ///< of a feeling that is answered to
constexpr std::size_t kMostBytes = 1u << 20;  ///< of a file of templates
constexpr std::size_t kLongestText = 2'000;   ///< bytes of a template
constexpr std::size_t kLongestQuote = 200;    ///< bytes of what was heard

constexpr detail::Names<Fact, 10> kFacts{{{Fact::intent, "intent"},
                                          {Fact::emotion, "emotion"},
                                          {Fact::urgency, "urgency"},
                                          {Fact::heard, "heard"},
                                          {Fact::order_number, "order_number"},
                                          {Fact::product, "product"},
                                          {Fact::price, "price"},
                                          {Fact::damage, "damage"},
                                          {Fact::damage_type, "damage_type"},
                                          {Fact::severity, "severity"}}};
constexpr detail::Names<Need, 3> kNeeds{
    {{Need::order_number, "order_number"}, {Need::photo, "photo"}, {Need::product, "product"}}};
constexpr detail::Names<Author, 2> kAuthors{{{Author::templates, "templates"}, {Author::endpoint, "endpoint"}}};
constexpr detail::Names<Urgency, 3> kUrgencies{
    {{Urgency::low, "low"}, {Urgency::normal, "normal"}, {Urgency::high, "high"}}};
constexpr detail::Names<Claim, 4> kClaims{{{Claim::nothing, "nothing"},
                                           {Claim::damage, "damage"},
                                           {Claim::other_product, "other_product"},
                                           {Claim::all_well, "all_well"}}};

using Keys = std::vector<std::string>;
const Keys kFeelings{"anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"};
const Keys kPhoto{"damaged", "unclear", "intact", "product"};
const Keys kContradictions{"intact_photo", "damaged_photo", "other_product", "two_requests", "two_feelings"};
const Keys kSingle{"heard", "no_words", "go_on", "have_all", "closing"};
const Keys kPlaceholders{"product", "price", "order_number", "damage", "severity", "heard", "named", "pictured"};

template <typename Enum, std::size_t kCount>
Keys keys_of(const detail::Names<Enum, kCount>& names) {
  Keys keys;
  for (const auto& [value, name] : names) keys.emplace_back(name);
  return keys;
}

std::string listed(const Keys& keys) {
  std::string list;
  for (const std::string& key : keys) list += (list.empty() ? "" : ", ") + key;
  return list;
}

/// The texts of an entry, the most specific first.
using Entry = std::vector<std::string>;
using Section = std::map<std::string, Entry>;

struct Language {
  std::map<std::string, Section> sections;
  Section single;
  std::map<std::string, std::string> words;
};

// --- reading -------------------------------------------------------------------------------------------------------

/// Where one is in the file, for messages: "replies.json: languages.en.asks".
class Place {
 public:
  explicit Place(std::string file, std::string key = {}) : file_(std::move(file)), key_(std::move(key)) {}
  Place in(const std::string& key) const { return Place(file_, key_.empty() ? key : key_ + "." + key); }

  template <typename... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    detail::failure(kWho, file_, key_.empty() ? "" : ": ", key_, ": ", parts...);
  }

  const Json& object(const Json& parent, const std::string& key) const {
    if (!parent.contains(key)) refuse("there is no ", detail::shown(key));
    if (!parent[key].is_object()) in(key).refuse("wanted an object, got ", parent[key].type_name());
    return parent[key];
  }

  /// An object must have these keys, and may have `others`.
  void check_keys(const Json& json, const Keys& wanted, const Keys& others = {}) const {
    for (const std::string& key : wanted) {
      if (!json.contains(key)) refuse("there is no ", detail::shown(key));
    }
    for (const auto& [key, value] : json.items()) {
      const bool known =
          std::ranges::find(wanted, key) != wanted.end() || std::ranges::find(others, key) != others.end();
      if (!known) {
        Keys all = wanted;
        all.insert(all.end(), others.begin(), others.end());
        refuse(detail::shown(key), " is unknown, wanted ", listed(all));
      }
    }
  }

  std::string text(const Json& json) const {
    if (!json.is_string()) refuse("wanted a text, got ", json.type_name());
    const auto& text = json.get_ref<const std::string&>();
    if (text.size() > kLongestText)
      refuse("the text has ", text.size(), " bytes, at most ", kLongestText, " are taken");
    return text;
  }

  template <typename Enum, std::size_t kCount>
  Enum named(const Json& json, const detail::Names<Enum, kCount>& names) const {
    const std::string name = json.is_string() ? json.get<std::string>() : json.dump();
    const auto value = detail::value_of(names, name);
    if (!value) refuse("wanted ", listed(keys_of(names)), ", got ", detail::shown(name));
    return *value;
  }

 private:
  std::string file_;
  std::string key_;
};

/// Calls `take` with the pieces of a template: (text, placeholder), either empty. False if a brace is alone.
template <typename Take>
bool pieces(std::string_view text, const Take& take) {
  while (!text.empty()) {
    const std::size_t open = text.find_first_of("{}");
    if (open == std::string_view::npos) {
      take(text, std::string_view());
      return true;
    }
    const std::size_t close = text.find_first_of("{}", open + 1);
    if (text[open] != '{' || close == std::string_view::npos || text[close] != '}') return false;
    take(text.substr(0, open), text.substr(open + 1, close - open - 1));
    text.remove_prefix(close + 1);
  }
  return true;
}

Entry read_entry(const Place& place, const Json& json) {
  Entry entry;
  if (json.is_array()) {
    for (const Json& text : json) entry.push_back(place.text(text));
  } else {
    entry.push_back(place.text(json));
  }
  for (const std::string& text : entry) {
    const bool whole = pieces(text, [&](std::string_view, std::string_view name) {
      if (!name.empty() && std::ranges::find(kPlaceholders, name) == kPlaceholders.end()) {
        place.refuse("the placeholder ", detail::shown(name), " is unknown, wanted ", listed(kPlaceholders));
      }
    });
    if (!whole) place.refuse("a brace is not closed or not opened in ", detail::shown(text));
  }
  return entry;
}

/// An entry must always say something: its last text is there and has no placeholder.
void check_says(const Place& place, const Entry& entry) {
  if (!entry.empty() && !entry.back().empty() && entry.back().find('{') == std::string::npos) return;
  place.refuse("the last text must say something without any placeholder");
}

Section read_section(const Place& place, const Json& json, const Keys& keys) {
  place.check_keys(json, keys);
  Section section;
  for (const std::string& key : keys) section[key] = read_entry(place.in(key), json[key]);
  return section;
}

IntentRule read_rule(const Place& place, const Json& json) {
  if (!json.is_object()) place.refuse("wanted an object, got ", json.type_name());
  place.check_keys(json, {}, {"needs", "urgency", "problem", "about_product", "claim"});
  const auto flag = [&](const char* key) {
    if (!json.contains(key)) return false;
    if (!json[key].is_boolean()) place.in(key).refuse("wanted true or false, got ", detail::shown(json[key].dump()));
    return json[key].get<bool>();
  };
  IntentRule rule{.problem = flag("problem"), .about_product = flag("about_product")};
  if (json.contains("urgency")) rule.urgency = place.in("urgency").named(json["urgency"], kUrgencies);
  if (json.contains("claim")) rule.claim = place.in("claim").named(json["claim"], kClaims);
  if (!json.contains("needs")) return rule;
  if (!json["needs"].is_array()) place.in("needs").refuse("wanted a list, got ", json["needs"].type_name());
  for (const Json& need : json["needs"]) rule.needs.push_back(place.in("needs").named(need, kNeeds));
  return rule;
}

std::vector<std::string> read_phrases(const Place& place, const Json& json) {
  if (!json.is_array()) place.refuse("wanted a list of texts, got ", json.type_name());
  std::vector<std::string> phrases;
  for (const Json& phrase : json) {
    phrases.push_back(detail::folded(place.text(phrase)));
    if (phrases.back() == " ") place.refuse("a phrase has no word: ", detail::shown(phrase.dump()));
  }
  return phrases;
}

Language read_language(const Place& place, const Json& json, const Keys& intents) {
  const std::vector<std::pair<std::string, Keys>> sections{{"feelings", kFeelings},
                                                           {"intents", intents},
                                                           {"photo", kPhoto},
                                                           {"contradictions", kContradictions},
                                                           {"unread", {"image", "text", "audio"}},
                                                           {"asks", keys_of(kNeeds)},
                                                           {"urgency", keys_of(kUrgencies)}};
  Keys all = kSingle;
  for (const auto& [name, keys] : sections) all.push_back(name);
  all.emplace_back("words");
  place.check_keys(json, all);
  Language language;
  for (const auto& [name, keys] : sections) {
    language.sections[name] = read_section(place.in(name), place.object(json, name), keys);
  }
  for (const std::string& key : kSingle) language.single[key] = read_entry(place.in(key), json[key]);
  for (const auto& [value, word] : place.object(json, "words").items()) {
    language.words[value] = place.in("words").in(value).text(word);
  }
  for (const char* section : {"intents", "unread", "asks"}) {
    for (const auto& [key, entry] : language.sections[section]) check_says(place.in(section).in(key), entry);
  }
  check_says(place.in("no_words"), language.single["no_words"]);
  return language;
}

// --- writing -------------------------------------------------------------------------------------------------------

/// What the placeholders of a reply stand for.
std::map<std::string, std::string> values_of(const Reply& reply, const std::map<std::string, std::string>& words) {
  std::map<std::string, std::string> values;
  const auto set = [&](const char* name, Fact fact, const auto& text) {
    if (const Finding* finding = reply.find(fact)) values[name] = text(*finding);
  };
  const auto value = [](const Finding& finding) { return finding.value; };
  const auto word = [&words](const Finding& finding) {
    const auto found = words.find(finding.value);
    return found == words.end() ? finding.value : found->second;
  };
  set("product", Fact::product, [](const Finding& finding) { return finding.note; });
  set("price", Fact::price, value);
  set("order_number", Fact::order_number, value);
  set("damage", Fact::damage_type, word);
  set("severity", Fact::severity, word);
  set("heard", Fact::heard, [](const Finding& finding) {
    const std::string_view quote = detail::beginning(finding.value, kLongestQuote);
    return std::string(quote) + (quote.size() < finding.value.size() ? " ..." : "");
  });
  return values;
}

/// Sentences one after the other, and what they were filled with.
class Writer {
 public:
  explicit Writer(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  /// The first text of an entry whose placeholders all have a value.
  void say(const Entry& entry) {
    for (const std::string& text : entry) {
      std::string filled;
      std::set<std::string> used;
      bool known = true;
      pieces(text, [&](std::string_view words, std::string_view name) {
        filled += words;
        if (name.empty()) return;
        const auto value = values_.find(std::string(name));
        known = known && value != values_.end() && !value->second.empty();
        if (!known) return;
        filled += value->second;
        used.insert(value->first);
      });
      if (!known) continue;
      if (!filled.empty()) text_ += (text_.empty() ? "" : " ") + filled;
      used_.merge(used);
      return;
    }
  }

  void set(const std::string& placeholder, const std::string& value) { values_[placeholder] = value; }
  bool used(const std::string& placeholder) const { return used_.contains(placeholder); }
  std::string take() { return std::move(text_); }

 private:
  std::map<std::string, std::string> values_;
  std::set<std::string> used_;
  std::string text_;
};

Json json_of(const Finding& finding) {
  Json json{{"fact", to_string(finding.fact)},
            {"value", finding.value},
            {"probability", std::round(static_cast<double>(finding.probability) * 1e4) / 1e4},
            {"source", to_string(finding.source)},
            {"turn", finding.turn}};
  if (!finding.note.empty()) json["note"] = finding.note;
  return json;
}

}  // namespace

std::string_view to_string(Fact fact) { return detail::name_of(kFacts, fact); }
std::string_view to_string(Need need) { return detail::name_of(kNeeds, need); }
std::string_view to_string(Author author) { return detail::name_of(kAuthors, author); }
std::string_view to_string(Urgency urgency) { return detail::name_of(kUrgencies, urgency); }

const Finding* Reply::find(Fact fact) const {
  const auto found = std::ranges::find(findings, fact, &Finding::fact);
  return found == findings.end() ? nullptr : &*found;
}

std::string Reply::json() const {
  Json json{
      {"text", text}, {"language", language}, {"author", to_string(author)}, {"turn", turn}, {"continues", continues}};
  if (!fallback.empty()) json["fallback"] = fallback;
  for (const char* key : {"findings", "contradictions", "unread", "not_looked_at", "missing"})
    json[key] = Json::array();
  for (const Finding& finding : findings) json["findings"].push_back(json_of(finding));
  for (const Contradiction& c : contradictions) {
    json["contradictions"].push_back({{"name", c.name}, {"first", json_of(c.first)}, {"second", json_of(c.second)}});
  }
  for (const auto& [modality, why] : unread)
    json["unread"].push_back({{"modality", to_string(modality)}, {"why", why}});
  for (const auto& [fact, why] : not_looked_at) {
    json["not_looked_at"].push_back({{"fact", to_string(fact)}, {"why", why}});
  }
  for (const Need need : missing) json["missing"].push_back(to_string(need));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct ReplyTemplates::Impl {
  fs::path path;
  std::map<std::string, IntentRule> rules;
  std::vector<std::string> urgent, calm;  ///< folded
  std::map<std::string, Language> languages;
};

ReplyTemplates::ReplyTemplates(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

ReplyTemplates ReplyTemplates::load(const fs::path& path) {
  const Json json = detail::read_json(kWho, path, {.max_bytes = kMostBytes, .max_depth = 8, .unique_keys = true});
  const Place file(path.string());
  if (!json.is_object()) file.refuse("wanted an object, got ", json.type_name());
  file.check_keys(json, {"intents", "urgent", "not_urgent", "languages"});
  auto impl = std::make_shared<Impl>();
  impl->path = path;
  Keys intents;
  for (const auto& [intent, rule] : file.object(json, "intents").items()) {
    impl->rules[intent] = read_rule(file.in("intents").in(intent), rule);
    intents.push_back(intent);
  }
  if (!impl->rules.contains(kOther)) file.in("intents").refuse("there is no ", detail::shown(kOther));
  impl->urgent = read_phrases(file.in("urgent"), json["urgent"]);
  impl->calm = read_phrases(file.in("not_urgent"), json["not_urgent"]);
  for (const auto& [name, language] : file.object(json, "languages").items()) {
    const Place place = file.in("languages").in(name);
    if (!language.is_object()) place.refuse("wanted an object, got ", language.type_name());
    impl->languages[name] = read_language(place, language, intents);
  }
  if (impl->languages.empty()) file.in("languages").refuse("there is no language");
  return ReplyTemplates(std::move(impl));
}

std::vector<std::string> ReplyTemplates::languages() const {
  std::vector<std::string> names;
  for (const auto& [name, language] : impl_->languages) names.push_back(name);
  return names;
}

void ReplyTemplates::check_language(const std::string& language) const {
  if (impl_->languages.contains(language)) return;
  detail::bad_argument(kWho, impl_->path.string(), " has no language ", detail::shown(language), ", it has ",
                       listed(languages()));
}

void ReplyTemplates::check_intents(const std::vector<std::string>& labels) const {
  for (const std::string& label : labels) {
    if (impl_->rules.contains(label)) continue;
    detail::failure(kWho, impl_->path.string(), " has no reply to the intent ", detail::shown(label));
  }
}

const IntentRule& ReplyTemplates::rule(const std::string& intent) const {
  const auto found = impl_->rules.find(intent);
  return found == impl_->rules.end() ? impl_->rules.at(kOther) : found->second;
}

const std::map<std::string, std::string>& ReplyTemplates::words(const std::string& language) const {
  check_language(language);
  return impl_->languages.at(language).words;
}

std::optional<std::string> ReplyTemplates::calm_phrase(std::string_view text) const {
  std::string words = detail::folded(text);
  for (const std::string& phrase : impl_->calm) {
    if (detail::take_phrase(words, phrase)) return phrase.substr(1, phrase.size() - 2);
  }
  return std::nullopt;
}

std::optional<std::string> ReplyTemplates::urgent_phrase(std::string_view text) const {
  std::string words = detail::folded(text);
  for (const std::string& phrase : impl_->calm) {
    while (detail::take_phrase(words, phrase)) continue;
  }
  for (const std::string& phrase : impl_->urgent) {
    if (detail::take_phrase(words, phrase)) return phrase.substr(1, phrase.size() - 2);
  }
  return std::nullopt;
}

std::string ReplyTemplates::write(const Reply& reply) const {
  check_language(reply.language);
  const Language& language = impl_->languages.at(reply.language);
  const auto entry = [&](const char* section, std::string_view key) -> const Entry& {
    static const Entry kNothing;
    const Section& entries = language.sections.at(section);
    const auto found = entries.find(std::string(key));
    return found == entries.end() ? kNothing : found->second;
  };
  const auto now = [&](Fact fact) {  // what this turn brought
    const Finding* finding = reply.find(fact);
    return finding != nullptr && finding->turn == reply.turn ? finding : nullptr;
  };
  const Finding* intent = reply.find(Fact::intent);
  const std::string label = intent == nullptr ? "" : impl_->rules.contains(intent->value) ? intent->value : kOther;
  const IntentRule& about = rule(label);

  Writer writer(values_of(reply, language.words));
  if (const Finding* feeling = now(Fact::emotion);
      feeling != nullptr && about.problem && feeling->probability >= kSure) {
    writer.say(entry("feelings", feeling->value));
  }
  if (now(Fact::heard) != nullptr) writer.say(language.single.at("heard"));
  if (reply.continues) {
    writer.say(language.single.at("go_on"));
  } else {
    writer.say(intent == nullptr ? language.single.at("no_words") : entry("intents", label));
  }
  const bool photo_matters = intent == nullptr || std::ranges::find(about.needs, Need::photo) != about.needs.end();
  if (const Finding* damage = now(Fact::damage); damage != nullptr && (photo_matters || damage->value == "damaged")) {
    writer.say(entry("photo", damage->value));
  }
  if (const Finding* product = now(Fact::product);
      product != nullptr && product->source == Modality::image && !writer.used("product")) {
    writer.say(entry("photo", "product"));
  }
  for (const auto& [name, first, second] : reply.contradictions) {
    writer.set("named", name == "other_product" ? first.note : "");
    writer.set("pictured", name == "other_product" ? second.note : "");
    writer.say(entry("contradictions", name));
  }
  for (const Unread& unread : reply.unread) writer.say(entry("unread", to_string(unread.modality)));
  for (const Need need : reply.missing) writer.say(entry("asks", to_string(need)));
  if (reply.missing.empty() && !about.needs.empty()) writer.say(language.single.at("have_all"));
  if (const Finding* urgency = now(Fact::urgency)) writer.say(entry("urgency", urgency->value));
  writer.say(language.single.at("closing"));
  return writer.take();
}

}  // namespace trine
