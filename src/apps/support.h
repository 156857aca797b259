#pragma once

#include <string>
#include <vector>

#include "trine/apps/support_agent.h"

/// What the files of the support agent share: support_agent.cpp decides, support_look.cpp looks, support_chat.cpp lets
/// a chat model write.

namespace trine::detail {

/// A product's title and its plural, folded (see words.h).
struct Title {
  std::string id;
  std::string title;
  std::vector<std::string> forms;
};

/// Those of all products, longest first, so that orange juice is not taken for an orange.
std::vector<Title> titles_of(const ProductSearch& products);

/// The intents of the words of a message, the one that counts first: in scope before "other", then the likelier one,
/// then the typed one.
std::vector<Finding> intents_of(const Observed& observed);

/// What the parts see in a message. Errors: std::invalid_argument for one with nothing in it.
Observed look(const Embedder& embedder, const SupportParts& parts, const std::vector<Title>& titles,
              const ReplyTemplates& templates, const Inputs& message);

/// What a chat model is told to write a reply: the rules, the turns before, the words, what was found, and the
/// templates' reply (its `text`) as a draft.
std::vector<ChatMessage> chat_messages(const Reply& reply, const Observed& observed, const Conversation& conversation);

/// All that was said so far and found now: what an answer may repeat.
std::string known_words(const Reply& reply, const Observed& observed, const Conversation& conversation);

/// Why an answer must not be sent: it is too long or has a number, a link or one of the `names` (folded) that is not in
/// `known`. Empty if it may.
std::string invention(const std::string& answer, const std::string& known, const std::vector<std::string>& names);

}  // namespace trine::detail
