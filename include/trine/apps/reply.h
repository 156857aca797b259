#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trine/export.h"
#include "trine/input/modality.h"

/// What a support agent finds and says, as data; and the sentences it says it with.

namespace trine {

enum class Fact {
  intent,        ///< value: a label of the intents, "damaged"; "other" where none fits
  emotion,       ///< value: anger, disgust, fear, joy, neutral, sadness or surprise
  urgency,       ///< value: low, normal or high; note: why
  heard,         ///< value: what was said; probability: how much the transcript is trusted
  order_number,  ///< value: as it was written or heard
  product,       ///< value: its id; note: its title
  price,         ///< value: that of the product, "2.49 EUR/kg"
  damage,        ///< value: damaged (above 0.7), unclear or intact (0.3 and below); probability: of damage
  damage_type,   ///< value: what kind; only above a probability of damage of 0.7, and so is severity
  severity       ///< value: light, moderate or severe
};

struct Finding {
  Fact fact = Fact::intent;
  std::string value = {};
  float probability = 1;
  Modality source = Modality::text;  ///< which modality said so
  std::string note = {};             ///< what else is worth knowing, such as what a head was trained on
  std::size_t turn = 1;              ///< of the conversation, from 1
};

/// Two findings that do not fit together. `name`: intact_photo (damage is claimed, the photo shows none), damaged_photo
/// (all is well, says the customer), other_product, two_requests (typed and spoken), two_feelings.
struct Contradiction {
  std::string name = {};
  Finding first = {};
  Finding second = {};
};

/// What could not be read, or not all of it; the others were used.
struct Unread {
  Modality modality = Modality::text;
  std::string why = {};
};

/// What nobody looked for, because the model has no part for it.
struct NotLookedAt {
  Fact fact = Fact::intent;
  std::string why = {};
};

/// What a request needs before it can be dealt with.
enum class Need { order_number, photo, product };

enum class Author { templates, endpoint };

struct TRINE_API Reply {
  std::string text = {};
  std::string language = "en";
  Author author = Author::templates;
  std::string fallback = {};           ///< why it is the templates' although there is an endpoint
  std::size_t turn = 1;                ///< of the conversation, from 1
  bool continues = false;              ///< whether it goes on with a request of an earlier turn
  std::vector<Finding> findings = {};  ///< of one fact the one that counts comes first
  std::vector<Contradiction> contradictions = {};
  std::vector<Unread> unread = {};
  std::vector<NotLookedAt> not_looked_at = {};
  std::vector<Need> missing = {};  ///< what it asks for

  /// The finding of a fact that counts; null where there is none.
  const Finding* find(Fact fact) const;
  /// All of it as one line of JSON with the same names.
  std::string json() const;
};

enum class Urgency { low, normal, high };

/// What a customer with an intent claims, which a photo can contradict.
enum class Claim { nothing, damage, other_product, all_well };

/// How an intent is dealt with.
struct IntentRule {
  std::vector<Need> needs = {};
  Urgency urgency = Urgency::normal;  ///< without any sign of another one
  bool problem = false;               ///< whether one feels with the customer
  bool about_product = false;         ///< whether its words are looked up in the catalogue
  Claim claim = Claim::nothing;
};

/// A file of reply templates: how each intent is dealt with, and the sentences in each language. docs/formats.md
/// describes it, models/default/replies.json is the one to copy.
///
/// An entry is a text or a list of them, of which the first is taken whose {placeholders} all have a value: nothing can
/// be said that was not found.
class TRINE_API ReplyTemplates {
 public:
  /// Errors: std::runtime_error naming the file, the place and what is wrong: a missing or unknown key, an intent that
  /// has no sentence in one language, an unknown placeholder.
  static ReplyTemplates load(const std::filesystem::path& path);

  std::vector<std::string> languages() const;
  /// std::invalid_argument for a language that the file does not have.
  void check_language(const std::string& language) const;
  /// std::runtime_error if an intent of a classifier has no reply.
  void check_intents(const std::vector<std::string>& labels) const;

  const IntentRule& rule(const std::string& intent) const;  ///< that of "other" for an intent it does not know
  /// The first of the phrases that make a message urgent that is in a text (or that say that it is not).
  std::optional<std::string> urgent_phrase(std::string_view text) const;
  std::optional<std::string> calm_phrase(std::string_view text) const;

  /// The sentences for all of a reply but its `text`.
  std::string write(const Reply& reply) const;
  /// What values such as "tear" are called in a language.
  const std::map<std::string, std::string>& words(const std::string& language) const;

 private:
  struct Impl;
  explicit ReplyTemplates(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

TRINE_API std::string_view to_string(Fact fact);
TRINE_API std::string_view to_string(Need need);
TRINE_API std::string_view to_string(Author author);
TRINE_API std::string_view to_string(Urgency urgency);

}  // namespace trine
