#pragma once

#include <string>
#include <vector>

#include "trine/export.h"

namespace trine {

/// A chat model behind an OpenAI-compatible endpoint, http or https: llama.cpp, vLLM, Ollama, a provider's.
struct ChatEndpoint {
  std::string url = {};    ///< "http://localhost:8080/v1"; /chat/completions is added where it is missing
  std::string model = {};  ///< what the endpoint calls it; empty: its own choice
  std::string key_variable = "TRINE_CHAT_KEY";  ///< environment variable with the key; none is sent where it is not set
  double timeout_seconds = 30;                  ///< of one try, from the connection to the last byte
};

enum class ChatRole { system, user, assistant };

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content = {};
};

/// Errors: std::invalid_argument for a URL that is not http or https, holds a name or password, or is no URL; for a
/// time that is not above 0; and for a key that no header can carry.
TRINE_API void check_chat_endpoint(const ChatEndpoint& endpoint);

/// The answer to a conversation. What fails for a moment (no connection, no answer in time, 408, 429, 5xx, an answer
/// that is no answer) is tried once more. Redirects are not followed, so the key goes to no other host;
/// certificates are checked against the system's, or the file that SSL_CERT_FILE names; proxies are those of the
/// environment.
///
///     std::string answer = trine::chat({.url = "http://localhost:8080/v1"}, {{trine::ChatRole::user, "Hello!"}});
///
/// Errors: std::invalid_argument for the endpoint (see above), no messages or text that is not UTF-8;
/// std::runtime_error for what went wrong, in a sentence without the key: also for answers above 1 MiB, cut answers
/// and empty ones.
TRINE_API std::string chat(const ChatEndpoint& endpoint, const std::vector<ChatMessage>& messages);

}  // namespace trine
