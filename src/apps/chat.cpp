#include "trine/apps/chat.h"

#include <curl/curl.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"
#include "detail/names.h"
#include "trine/input/text.h"

namespace trine {

using detail::Json;

namespace {

constexpr const char* kWho = "chat";
constexpr std::size_t kMostBytes = 1u << 20;  ///< of an answer
constexpr std::string_view kPath = "/chat/completions";
constexpr int kTries = 2;

constexpr detail::Names<ChatRole, 3> kRoles{
    {{ChatRole::system, "system"}, {ChatRole::user, "user"}, {ChatRole::assistant, "assistant"}}};

struct Free {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(char* text) const { curl_free(text); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

/// The part of a URL, empty where it has none.
std::string part(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  curl_url_get(url, which, &text, 0);
  const Owned<char> owned(text);
  return text == nullptr ? "" : text;
}

/// Where the endpoint answers.
std::string address(const ChatEndpoint& endpoint) {
  const Owned<CURLU> url(curl_url());
  if (url == nullptr || endpoint.url.find('\0') != std::string::npos ||
      curl_url_set(url.get(), CURLUPART_URL, endpoint.url.c_str(), 0) != CURLUE_OK) {
    detail::bad_argument(kWho, "wanted a URL like http://localhost:8080/v1, got ", detail::shown(endpoint.url));
  }
  if (!part(url.get(), CURLUPART_USER).empty() || !part(url.get(), CURLUPART_PASSWORD).empty()) {
    detail::bad_argument(kWho, "wanted a URL without a name or password: the key comes from an environment variable");
  }
  const std::string scheme = part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") {
    detail::bad_argument(kWho, "wanted a URL of http or https, got ", detail::shown(endpoint.url));
  }
  std::string path = part(url.get(), CURLUPART_PATH);
  while (path.ends_with('/')) path.pop_back();
  if (!path.ends_with(kPath)) path += kPath;
  curl_url_set(url.get(), CURLUPART_PATH, path.c_str(), 0);
  curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  return part(url.get(), CURLUPART_URL);
}

/// The key of the environment, none where there is none.
std::string key_of(const ChatEndpoint& endpoint) {
  const char* value = endpoint.key_variable.empty() ? nullptr : std::getenv(endpoint.key_variable.c_str());
  const std::string key = value == nullptr ? "" : value;
  for (const char c : key) {
    if (static_cast<unsigned char>(c) < 0x21 || c == 0x7F) {
      detail::bad_argument(kWho, "the key in ", endpoint.key_variable, " has a blank or control character");
    }
  }
  return key;
}

/// What one try brought: an answer, or why there is none.
struct Outcome {
  std::string answer = {};
  std::string failure = {};
  bool again = false;  ///< whether another try may do better
};

std::size_t receive(char* bytes, std::size_t, std::size_t count, void* target) {
  auto& body = *static_cast<std::string*>(target);
  if (body.size() + count > kMostBytes) return 0;  // ends the transfer with CURLE_WRITE_ERROR
  body.append(bytes, count);
  return count;
}

/// The message of an error body: {"error": {"message": ...}}, {"error": ...}, {"message": ...}; else nothing.
std::string message_of(const std::string& body) {
  try {
    const Json json = detail::parse_json(kWho, body, "the answer", {.max_bytes = kMostBytes});
    const Json& error = json.is_object() && json.contains("error") ? json["error"] : json;
    const Json& message = error.is_object() && error.contains("message") ? error["message"] : error;
    return message.is_string() ? ": " + detail::shown(message.get<std::string>()) : "";
  } catch (const std::runtime_error&) {
    return "";
  }
}

/// choices[0].message.content of a body.
Outcome read_answer(const std::string& body) {
  try {
    const Json json = detail::parse_json(kWho, body, "the answer", {.max_bytes = kMostBytes});
    const auto choices = detail::get<std::vector<Json>>(kWho, json, "choices");
    if (choices.empty()) return {.failure = "the answer has no choices", .again = true};
    if (detail::get_or<std::string>(kWho, choices[0], "finish_reason", "") == "length") {
      return {.failure = "the answer was cut at the endpoint's limit"};
    }
    std::string content =
        detail::get_or<std::string>(kWho, detail::get<Json>(kWho, choices[0], "message"), "content", "");
    const auto first = content.find_first_not_of(" \t\r\n"), last = content.find_last_not_of(" \t\r\n");
    if (first == std::string::npos) return {.failure = "the answer is empty", .again = true};
    return {.answer = content.substr(first, last - first + 1)};
  } catch (const std::runtime_error& error) {
    const std::string_view sentence = error.what();
    return {.failure = std::string(sentence.substr(sentence.find("] ") + 2)), .again = true};
  }
}

/// A URL for a message: without what may be secret in its query.
std::string shown_url(const std::string& url) { return detail::shown(url.substr(0, url.find('?'))); }

Outcome ask(const ChatEndpoint& endpoint, const std::string& url, const std::string& key, const std::string& request) {
  const Owned<CURL> handle(curl_easy_init());
  if (handle == nullptr) return {.failure = "libcurl does not start"};
  Owned<curl_slist> headers;
  const auto add = [&headers](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(headers.release());
    headers.reset(longer);
  };
  add("Content-Type: application/json");
  add("Accept: application/json");
  add("Expect:");  // no round trip before a long body
  if (!key.empty()) add("Authorization: Bearer " + key);

  std::string body;
  std::array<char, CURL_ERROR_SIZE> reason{};
  const auto set = [&handle](CURLoption option, auto value) { curl_easy_setopt(handle.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.size()));
  set(CURLOPT_POSTFIELDS, request.c_str());
  set(CURLOPT_TIMEOUT_MS, std::lround(std::ceil(endpoint.timeout_seconds * 1000)));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_USERAGENT, "trine");
  set(CURLOPT_ERRORBUFFER, reason.data());
  set(CURLOPT_WRITEFUNCTION, &receive);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&body));
  if (const char* certificates = std::getenv("SSL_CERT_FILE"); certificates != nullptr && *certificates != '\0') {
    set(CURLOPT_CAINFO, certificates);
  }

  const CURLcode code = curl_easy_perform(handle.get());
  if (code == CURLE_WRITE_ERROR) return {.failure = "the answer has more than 1 MiB"};
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return {.failure = shown_url(url) + " did not answer within " + Json(endpoint.timeout_seconds).dump() + " s",
            .again = true};
  }
  if (code != CURLE_OK) {
    return {.failure = shown_url(url) + ": " + (reason[0] != '\0' ? reason.data() : curl_easy_strerror(code)),
            .again = true};
  }
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 200) return read_answer(body);
  return {.failure = shown_url(url) + " answers with status " + std::to_string(status) + message_of(body),
          .again = status == 408 || status == 429 || status >= 500};
}

}  // namespace

void check_chat_endpoint(const ChatEndpoint& endpoint) {
  if (!(endpoint.timeout_seconds > 0 && endpoint.timeout_seconds <= 3600)) {
    detail::bad_argument(kWho, "wanted a time-out above 0 and up to 3600 s, got ", endpoint.timeout_seconds);
  }
  address(endpoint);
  key_of(endpoint);
}

std::string chat(const ChatEndpoint& endpoint, const std::vector<ChatMessage>& messages) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) detail::failure(kWho, "libcurl does not start: ", curl_easy_strerror(started));
  check_chat_endpoint(endpoint);
  if (messages.empty()) detail::bad_argument(kWho, "wanted at least one message, got none");
  Json request{{"messages", Json::array()}, {"stream", false}};
  check_utf8(endpoint.model);
  if (!endpoint.model.empty()) request["model"] = endpoint.model;
  for (const auto& [role, content] : messages) {
    check_utf8(content);
    request["messages"].push_back({{"role", detail::name_of(kRoles, role)}, {"content", content}});
  }
  const std::string url = address(endpoint), key = key_of(endpoint), body = request.dump();
  Outcome outcome;
  for (int i = 0; i < kTries && outcome.answer.empty() && (i == 0 || outcome.again); ++i) {
    outcome = ask(endpoint, url, key, body);
  }
  if (outcome.answer.empty()) detail::failure(kWho, outcome.failure);
  return outcome.answer;
}

}  // namespace trine
