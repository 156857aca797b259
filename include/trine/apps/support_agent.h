#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trine/apps/chat.h"
#include "trine/apps/damage.h"
#include "trine/apps/emotion.h"
#include "trine/apps/hearing.h"
#include "trine/apps/intent.h"
#include "trine/apps/product_search.h"
#include "trine/apps/reply.h"
#include "trine/embedder.h"
#include "trine/export.h"

namespace trine {

struct SupportOptions {
  std::string language = "en";            ///< of the replies; messages are understood in the model's language, English
  std::optional<ChatEndpoint> chat = {};  ///< writes the replies; the templates do where it fails
  std::filesystem::path replies = {};     ///< templates; empty: replies.json of the model's folder
  std::filesystem::path intents = {};     ///< examples; empty: intents.json of the model's folder
  std::filesystem::path index = {};       ///< of products; empty: catalogue.trine of the model's folder
};

/// What looks at messages. A part may be missing: what it would find is then reported as not looked at.
struct TRINE_API SupportParts {
  std::optional<IntentClassifier> intents = {};
  std::optional<EmotionRecognizer> emotions = {};
  std::optional<DamageDetector> damage = {};
  std::optional<Hearing> hearing = {};
  std::shared_ptr<const ProductSearch> products = {};
  std::map<Fact, std::string> lacking = {};  ///< why a part is missing

  /// Those that a model has. Errors: only for files of `options` that are named and cannot be used.
  static SupportParts of(const Embedder& embedder, const SupportOptions& options = {});
  /// The same for those that are missing here.
  void complete(const Embedder& embedder, const SupportOptions& options = {});
};

/// What the parts saw in one message: nothing is decided yet.
struct Observed {
  std::string text = {};                                 ///< as it was typed
  std::optional<Finding> heard = {};                     ///< what was said
  std::map<Modality, Intent> intents = {};               ///< of the typed words (text) and the spoken ones (audio)
  std::map<Modality, std::vector<Score>> emotions = {};  ///< of the words (text) and the voice (audio); likeliest first
  std::map<Modality, std::vector<Finding>> named = {};   ///< products whose titles were typed or said
  std::optional<Damage> damage = {};
  std::vector<Finding> products = {};  ///< product above a confidence of 0.8, its price
  bool photo = false;                  ///< whether there was one that could be read
  std::vector<Unread> unread = {};
  std::vector<NotLookedAt> not_looked_at = {};
};

/// What several turns have brought so far. A new one is empty; `handle` fills it.
struct Conversation {
  struct Turn {
    std::string said = {};  ///< typed and heard
    std::string answered = {};
  };
  std::vector<Turn> turns = {};
  std::optional<Finding> open = {};  ///< the intent of a request that lacks something yet
  std::vector<Finding> known = {};   ///< order number, product, damage: the latest of each fact and source
  bool photo = false;                ///< whether there was one
  std::vector<Need> asked = {};      ///< by the last reply
};

/// Answers a customer's message: words, a photo, a recording, in any combination. It finds the intent, the emotion (of
/// the voice, else of the words), how urgent it is, damage in the photo, the product and the order's number; says where
/// they do not fit together; asks for what is missing; and says only what was found.
///
///     const trine::SupportAgent agent;                                        // the default model
///     const trine::Reply reply = agent.handle({.image = "photo.jpg", .text = "My bananas arrived squashed."});
///     std::cout << reply.text << "\n";
///
///     trine::Conversation conversation;                                       // a later photo completes a complaint
///     agent.handle({.text = "My order 10293 arrived broken."}, conversation);
///     agent.handle({.image = "photo.jpg"}, conversation);
///
/// What cannot be read is in `Reply::unread`, and the reply says so; the rest of the message is used. Texts over
/// 20,000 bytes are read up to there. A chat endpoint gets the words and what was found, never a picture or recording;
/// its answer is taken only if it names no number, link, product or damage that was neither found nor said.
///
/// Calls from several threads are safe, those with one conversation one after the other.
/// Errors: std::invalid_argument for a message with nothing in it, a language without templates and a bad endpoint.
class TRINE_API SupportAgent {
 public:
  explicit SupportAgent(const SupportOptions& options = {});  ///< the default model
  explicit SupportAgent(const Embedder& embedder, const SupportOptions& options = {});
  /// With parts of one's own, such as a DamageDetector fitted on one's own photos.
  SupportAgent(const Embedder& embedder, SupportParts parts, const SupportOptions& options = {});

  Reply handle(const Inputs& message) const;
  Reply handle(const Inputs& message, Conversation& conversation) const;

  /// The two halves of `handle`.
  Observed look(const Inputs& message) const;
  Reply answer(const Observed& observed, Conversation& conversation) const;

  const ReplyTemplates& templates() const;
  const SupportOptions& options() const;
  /// What each part is, and why one is missing.
  Description describe() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trine
