#include "trine/apps/support_agent.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "apps/support.h"
#include "apps/words.h"
#include "detail/error.h"

namespace trine {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOther = "other";
constexpr float kDamaged = 0.7f;            ///< probability of damage above which it is said
constexpr float kIntact = 0.3f;             ///< up to which a photo is said to look intact
constexpr float kSureFeeling = 0.5f;        ///< of an emotion that makes a message more urgent
constexpr float kSureContradiction = 0.6f;  ///< of both emotions, or intents, that contradict each other
constexpr std::ptrdiff_t kFewWords = 8;     ///< of a message that only brings what was asked for

/// A voice's emotion as a text's is called.
std::string feeling_of(const std::string& label) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kVoices{
      {{"angry", "anger"}, {"happy", "joy"}, {"sad", "sadness"}}};
  for (const auto& [voice, text] : kVoices) {
    if (label == voice) return std::string(text);
  }
  return label;
}

/// Emotions, the voice's first.
std::vector<Finding> emotions_of(const Observed& seen) {
  std::vector<Finding> emotions;
  for (const Modality source : {Modality::audio, Modality::text}) {
    const auto found = seen.emotions.find(source);
    if (found == seen.emotions.end() || found->second.empty()) continue;
    const Score& score = found->second.front();
    emotions.push_back({.fact = Fact::emotion,
                        .value = feeling_of(score.label),
                        .probability = score.probability,
                        .source = source,
                        .note = source == Modality::audio ? "learned from German acted speech"
                                                          : "learned from English online comments"});
  }
  return emotions;
}

std::vector<Finding> damage_of(const Observed& seen) {
  if (!seen.damage) return {};
  const Damage& damage = *seen.damage;
  const std::string note = damage.trained_on.empty() ? "" : "learned from " + damage.trained_on;
  const auto finding = [&](Fact fact, const std::string& value, float probability) {
    return Finding{.fact = fact, .value = value, .probability = probability, .source = Modality::image, .note = note};
  };
  const bool damaged = damage.probability > kDamaged;
  const std::string state = damaged ? "damaged" : damage.probability > kIntact ? "unclear" : "intact";
  std::vector<Finding> findings{finding(Fact::damage, state, damage.probability)};
  if (!damaged) return findings;
  if (!damage.types.empty()) {
    findings.push_back(finding(Fact::damage_type, damage.types[0].label, damage.types[0].probability));
  }
  if (!damage.severity_name.empty()) {
    findings.push_back(finding(Fact::severity, damage.severity_name, damage.probability));
  }
  return findings;
}

std::vector<Finding> order_of(const Observed& seen, bool asked) {
  std::vector<Finding> findings;
  if (const auto number = detail::order_number(seen.text, asked)) {
    findings.push_back({.fact = Fact::order_number, .value = *number, .source = Modality::text});
  }
  if (const auto number = seen.heard ? detail::order_number(seen.heard->value, asked) : std::nullopt) {
    findings.push_back({.fact = Fact::order_number,
                        .value = *number,
                        .probability = seen.heard->probability,
                        .source = Modality::audio});
  }
  return findings;
}

/// By the words that say so, else by the intent, one step more where anger or fear is in it.
Finding urgency_of(const Observed& seen, const ReplyTemplates& templates, const Finding& intent,
                   const std::vector<Finding>& emotions) {
  const auto by_words = [&](Modality source, const std::string& words) -> std::optional<Finding> {
    const auto finding = [&](Urgency urgency, const std::string& phrase) {
      return Finding{.fact = Fact::urgency,
                     .value = std::string(to_string(urgency)),
                     .source = source,
                     .note = "\"" + phrase + "\""};
    };
    if (const auto phrase = templates.urgent_phrase(words)) return finding(Urgency::high, *phrase);
    if (const auto phrase = templates.calm_phrase(words)) return finding(Urgency::low, *phrase);
    return std::nullopt;
  };
  if (const auto typed = by_words(Modality::text, seen.text)) return *typed;
  if (seen.heard) {
    if (const auto spoken = by_words(Modality::audio, seen.heard->value)) return *spoken;
  }
  const IntentRule& rule = templates.rule(intent.value);
  for (const Finding& emotion : emotions) {
    const bool strong = emotion.probability >= kSureFeeling && (emotion.value == "anger" || emotion.value == "fear");
    if (!strong || !rule.problem) continue;
    const Urgency raised = rule.urgency == Urgency::low ? Urgency::normal : Urgency::high;
    return {.fact = Fact::urgency,
            .value = std::string(to_string(raised)),
            .probability = emotion.probability,
            .source = emotion.source,
            .note = emotion.value};
  }
  return {.fact = Fact::urgency,
          .value = std::string(to_string(rule.urgency)),
          .probability = intent.probability,
          .source = intent.source,
          .note = "by its intent"};
}

/// Puts what outlasts its turn into what is known. A photo that shows no damage does not undo one that did.
void remember(std::vector<Finding>& known, const Finding& finding) {
  static const std::set<Fact> kLasting{Fact::order_number, Fact::product,     Fact::price,
                                       Fact::damage,       Fact::damage_type, Fact::severity};
  if (!kLasting.contains(finding.fact)) return;
  const auto same = std::ranges::find_if(
      known, [&](const Finding& old) { return old.fact == finding.fact && old.source == finding.source; });
  if (same == known.end()) {
    known.push_back(finding);
  } else if (finding.fact != Fact::damage || finding.value == "damaged" || same->value != "damaged") {
    *same = finding;
  }
}

bool is_known(const std::vector<Finding>& findings, Fact fact) {
  return std::ranges::find(findings, fact, &Finding::fact) != findings.end();
}

std::ptrdiff_t words_of(const Observed& seen) {
  const auto blanks = [](const std::string& text) { return std::ranges::count(detail::folded(text), ' ') - 1; };
  return blanks(seen.text) + (seen.heard ? blanks(seen.heard->value) : 0);
}

/// What does not fit together of a turn and what is known: `findings` are of the turn first.
std::vector<Contradiction> contradictions_of(const Observed& seen, const Reply& reply, const ReplyTemplates& templates,
                                             const std::vector<Finding>& intents,
                                             const std::vector<Finding>& emotions) {
  std::vector<Contradiction> found;
  const auto add = [&](const char* name, Finding first, Finding second) {
    first.turn = second.turn = reply.turn;
    found.push_back({name, std::move(first), std::move(second)});
  };
  const Finding* intent = reply.find(Fact::intent);
  const Claim claim = intent == nullptr ? Claim::nothing : templates.rule(intent->value).claim;
  const Finding* damage = nullptr;  // the photo that shows most
  for (const Finding& finding : reply.findings) {
    if (finding.fact != Fact::damage) continue;
    if (damage == nullptr || finding.probability > damage->probability) damage = &finding;
  }
  const bool news =
      damage != nullptr && (damage->turn == reply.turn || (intent != nullptr && intent->turn == reply.turn));
  if (news && claim == Claim::damage && damage->value == "intact") found.push_back({"intact_photo", *intent, *damage});
  if (news && claim == Claim::all_well && damage->value == "damaged")
    found.push_back({"damaged_photo", *intent, *damage});

  for (const Finding& product : seen.products) {
    if (product.fact != Fact::product || product.source != Modality::image || claim == Claim::other_product) continue;
    for (const auto& [modality, named] : seen.named) {
      const bool other = !named.empty() && std::ranges::find(named, product.value, &Finding::value) == named.end();
      if (other) add("other_product", named.front(), product);
    }
  }
  if (intents.size() == 2 && intents[0].value != intents[1].value && intents[1].value != kOther &&
      std::min(intents[0].probability, intents[1].probability) >= kSureContradiction) {
    add("two_requests", intents[0], intents[1]);
  }
  if (emotions.size() == 2 && (emotions[0].value == "joy") != (emotions[1].value == "joy")) {
    static const std::set<std::string> kBad{"anger", "disgust", "fear", "sadness"};
    const bool bad = kBad.contains(emotions[0].value) || kBad.contains(emotions[1].value);
    if (bad && std::min(emotions[0].probability, emotions[1].probability) >= kSureContradiction) {
      add("two_feelings", emotions[0], emotions[1]);
    }
  }
  return found;
}

fs::path or_of_model(const fs::path& path, const Embedder& embedder, const char* name) {
  return path.empty() ? embedder.directory() / name : path;
}

}  // namespace

struct SupportAgent::Impl {
  Embedder embedder;
  SupportParts parts;
  SupportOptions options;
  ReplyTemplates templates;
  std::vector<detail::Title> titles = {};
  std::vector<std::string> names = {};  ///< folded: what a chat model must not make up

  void prepare() {
    templates.check_language(options.language);
    if (parts.intents) templates.check_intents(parts.intents->labels());
    if (options.chat) check_chat_endpoint(*options.chat);
    if (parts.products) titles = detail::titles_of(*parts.products);
    for (const detail::Title& title : titles) names.push_back(title.forms.front());
    for (const auto& [value, word] : templates.words(options.language)) {
      if (value != "light" && value != "moderate" && value != "severe") names.push_back(detail::folded(word));
    }
  }

  /// What a request still needs.
  std::vector<Need> missing(const std::string& intent, const std::vector<Finding>& known, bool photo) const {
    std::vector<Need> missing;
    for (const Need need : templates.rule(intent).needs) {
      const bool there = need == Need::photo          ? photo
                         : need == Need::order_number ? is_known(known, Fact::order_number)
                                                      : is_known(known, Fact::product);
      if (!there) missing.push_back(need);
    }
    return missing;
  }

  /// By the chat endpoint if it can be had and says nothing of its own.
  void write(Reply& reply, const Observed& seen, const Conversation& conversation) const {
    reply.text = templates.write(reply);
    if (!options.chat) return;
    try {
      const std::string answer = chat(*options.chat, detail::chat_messages(reply, seen, conversation));
      reply.fallback = detail::invention(answer, detail::known_words(reply, seen, conversation), names);
      if (!reply.fallback.empty()) return;
      reply.text = answer;
      reply.author = Author::endpoint;
    } catch (const std::runtime_error& error) {
      reply.fallback = error.what();
    }
  }
};

SupportAgent::SupportAgent(const SupportOptions& options) : SupportAgent(Embedder::load(), options) {}

SupportAgent::SupportAgent(const Embedder& embedder, const SupportOptions& options)
    : SupportAgent(embedder, SupportParts::of(embedder, options), options) {}

SupportAgent::SupportAgent(const Embedder& embedder, SupportParts parts, const SupportOptions& options) {
  const fs::path replies = or_of_model(options.replies, embedder, "replies.json");
  auto impl = std::make_shared<Impl>(Impl{embedder, std::move(parts), options, ReplyTemplates::load(replies)});
  impl->prepare();
  impl_ = std::move(impl);
}

Reply SupportAgent::handle(const Inputs& message) const {
  Conversation conversation;
  return handle(message, conversation);
}

Reply SupportAgent::handle(const Inputs& message, Conversation& conversation) const {
  return answer(look(message), conversation);
}

Observed SupportAgent::look(const Inputs& message) const {
  return detail::look(impl_->embedder, impl_->parts, impl_->titles, impl_->templates, message);
}

Reply SupportAgent::answer(const Observed& seen, Conversation& conversation) const {
  const ReplyTemplates& templates = impl_->templates;
  Reply reply{.language = impl_->options.language,
              .turn = conversation.turns.size() + 1,
              .unread = seen.unread,
              .not_looked_at = seen.not_looked_at};
  const auto was_asked = [&conversation](Need need) {
    return std::ranges::find(conversation.asked, need) != conversation.asked.end();
  };

  // What this turn brings.
  const std::vector<Finding> intents = detail::intents_of(seen), emotions = emotions_of(seen), damage = damage_of(seen);
  const std::vector<Finding> orders = order_of(seen, was_asked(Need::order_number));
  std::vector<Finding> brought;
  for (const auto* some : {&emotions, &orders, &seen.products, &damage}) {
    brought.insert(brought.end(), some->begin(), some->end());
  }
  if (seen.heard) brought.push_back(*seen.heard);

  // Does it go on with what is open?
  const bool brings = (was_asked(Need::order_number) && !orders.empty()) || (was_asked(Need::photo) && seen.photo) ||
                      (was_asked(Need::product) && is_known(seen.products, Fact::product));
  std::optional<Finding> open = conversation.open;
  const bool nothing_new = intents.empty() || intents[0].value == kOther || (open && intents[0].value == open->value);
  reply.continues = open && (nothing_new || (brings && words_of(seen) <= kFewWords));
  if (!intents.empty() && !reply.continues) {
    brought.insert(brought.begin(), intents.begin(), intents.end());
    brought.push_back(urgency_of(seen, templates, intents[0], emotions));
  }

  // All that is known now, the new first.
  std::vector<Finding> known = conversation.known;
  for (Finding& finding : brought) {
    finding.turn = reply.turn;
    remember(known, finding);
  }
  if (reply.continues) reply.findings.push_back(*open);
  reply.findings.insert(reply.findings.end(), brought.begin(), brought.end());
  for (const Finding& finding : known) {
    if (finding.turn != reply.turn) reply.findings.push_back(finding);
  }
  const bool photo = conversation.photo || seen.photo;
  reply.contradictions = contradictions_of(seen, reply, templates, intents, emotions);

  // What is missing for it, or for what is still open.
  if (!reply.continues && !intents.empty() && !templates.rule(intents[0].value).needs.empty()) {
    open = *reply.find(Fact::intent);
  }
  if (open) reply.missing = impl_->missing(open->value, known, photo);

  impl_->write(reply, seen, conversation);

  std::string said = seen.text;
  if (seen.heard) said += (said.empty() ? "" : "\n") + seen.heard->value;
  conversation.turns.push_back({said, reply.text});
  conversation.open = reply.missing.empty() ? std::nullopt : open;
  conversation.known = std::move(known);
  conversation.photo = photo;
  conversation.asked = reply.missing;
  return reply;
}

const ReplyTemplates& SupportAgent::templates() const { return impl_->templates; }
const SupportOptions& SupportAgent::options() const { return impl_->options; }

Description SupportAgent::describe() const {
  Description facts;
  const auto tell = [&](const char* part, bool there, Fact fact, const std::string& what) {
    const auto lacking = impl_->parts.lacking.find(fact);
    facts.emplace_back(part, there                                   ? what
                             : lacking == impl_->parts.lacking.end() ? "none"
                                                                     : "none: " + lacking->second);
  };
  const SupportParts& parts = impl_->parts;
  tell("intents", parts.intents.has_value(), Fact::intent, "of the words, typed or said, by examples");
  tell("emotions", parts.emotions.has_value(), Fact::emotion, "of the voice, else of the words");
  tell("hearing", parts.hearing.has_value(), Fact::heard, "the transcript and the speech tower");
  tell("damage", parts.damage.has_value(), Fact::damage, "of the photo; above 0.7 its kind and severity");
  tell("products", parts.products != nullptr, Fact::product,
       std::to_string(impl_->titles.size()) + " products; named above a confidence of 0.8");
  std::string languages;
  for (const std::string& name : impl_->templates.languages()) languages += (languages.empty() ? "" : ", ") + name;
  facts.emplace_back("replies", "templates in " + languages + "; in use: " + impl_->options.language);
  facts.emplace_back("chat", impl_->options.chat ? "the endpoint at " + impl_->options.chat->url.substr(
                                                                            0, impl_->options.chat->url.find('?'))
                                                 : "none");
  return facts;
}

std::vector<Finding> detail::intents_of(const Observed& observed) {
  std::vector<Finding> intents;
  for (const Modality source : {Modality::text, Modality::audio}) {
    const auto found = observed.intents.find(source);
    if (found == observed.intents.end() || found->second.scores.empty()) continue;
    const Score& score = found->second.scores.front();
    const bool in_scope = found->second.in_scope;
    intents.push_back({.fact = Fact::intent,
                       .value = in_scope ? score.label : kOther,
                       .probability = in_scope ? score.probability : 1 - score.probability,
                       .source = source});
  }
  std::ranges::stable_sort(intents, [](const Finding& a, const Finding& b) {
    return std::pair(a.value != kOther, a.probability) > std::pair(b.value != kOther, b.probability);
  });
  return intents;
}

}  // namespace trine
