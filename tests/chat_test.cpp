#include "trine/apps/chat.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "http_server.h"
#include "testing.h"

namespace {

using trine::ChatEndpoint;
using trine::ChatRole;
using trine::testing::chat_body;
using trine::testing::HttpServer;
using trine::testing::Json;
using trine::testing::refusal;

const std::vector<trine::ChatMessage> kHello{{ChatRole::system, "Be kind."}, {ChatRole::user, "Hello, ü!"}};

/// The sentence with which an endpoint that always answers `bytes` is refused, and after how many requests.
std::pair<std::string, int> refused(const std::string& bytes, ChatEndpoint endpoint = {}) {
  const HttpServer server([&bytes](const std::string&, int) { return bytes; });
  endpoint.url = server.url();
  const std::string sentence = refusal<std::runtime_error>([&] { trine::chat(endpoint, kHello); });
  return {sentence, server.requests()};
}

TEST(Chat, SendsTheMessagesAndTheKeyAndGivesTheAnswer) {
  std::string seen;
  const HttpServer server([&seen](const std::string& request, int) {
    seen = request;
    return HttpServer::response(chat_body("  Hello back.\\n"));
  });
  ::setenv("TRINE_TEST_KEY", "s3cret", 1);
  EXPECT_EQ(
      trine::chat({.url = server.url() + "/?version=1#x", .model = "small", .key_variable = "TRINE_TEST_KEY"}, kHello),
      "Hello back.");
  EXPECT_TRUE(seen.starts_with("POST /v1/chat/completions?version=1 HTTP/1.1\r\n")) << seen;
  EXPECT_NE(seen.find("\r\nAuthorization: Bearer s3cret\r\n"), std::string::npos);
  const Json body = Json::parse(seen.substr(seen.find("\r\n\r\n")));
  EXPECT_EQ(body["model"], "small");
  EXPECT_EQ(body["messages"], Json::parse(R"([{"role": "system", "content": "Be kind."},
                                              {"role": "user", "content": "Hello, ü!"}])"));

  ::unsetenv("TRINE_TEST_KEY");
  trine::chat({.url = server.url() + "/chat/completions", .key_variable = "TRINE_TEST_KEY"}, kHello);
  EXPECT_TRUE(seen.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_EQ(seen.find("Authorization"), std::string::npos);
  EXPECT_EQ(seen.find("\"model\""), std::string::npos);
}

TEST(Chat, WhatFailsForAMomentIsTriedOnceMore) {
  for (const std::string& first :
       {HttpServer::response("busy", "503 Service Unavailable"), std::string(),
        HttpServer::response("{}", "429 Too Many Requests"), HttpServer::response("garbage")}) {
    const HttpServer server([&first](const std::string&, int number) {
      return number == 0 ? first : HttpServer::response(chat_body("Now."));
    });
    EXPECT_EQ(trine::chat({.url = server.url()}, kHello), "Now.") << first;
    EXPECT_EQ(server.requests(), 2);
  }
}

TEST(Chat, BadAnswersAreSentences) {
  using R = HttpServer;
  struct Case {
    std::string bytes, part;
    int requests;
  };
  const std::vector<Case> cases{
      {R::response("<html>", "404 Not Found"), "status 404", 1},
      {R::response(R"({"error": {"message": "no such model"}})", "400 Bad Request"), "no such model", 1},
      {R::response(R"({"error": "not\nyou"})", "401 Unauthorized"), "\"not?you\"", 1},
      {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "status 302", 1},
      {R::response("down", "500 Internal Server Error"), "status 500", 2},
      {R::response(""), "not valid JSON", 2},
      {R::response("[1, 2"), "not valid JSON", 2},
      {R::response("\xff\xfe"), "not valid JSON", 2},
      {R::response(std::string(100'000, '[')), "nests deeper", 2},
      {R::response("[]"), "choices", 2},
      {R::response(R"({"choices": {}})"), "choices", 2},
      {R::response(R"({"choices": []})"), "no choices", 2},
      {R::response(R"({"choices": [1]})"), "message", 2},
      {R::response(R"({"choices": [{"message": "hello"}]})"), "empty", 2},
      {R::response(R"({"choices": [{"message": {"content": 7}}]})"), "content", 2},
      {R::response(R"({"choices": [{"message": {"content": null}}]})"), "empty", 2},
      {R::response(chat_body(" \\n ")), "empty", 2},
      {R::response(R"({"choices": [{"finish_reason": "length", "message": {"content": "I am"}}]})"), "cut", 1},
      {R::response(chat_body(std::string(2 << 20, 'a'))), "more than 1 MiB", 1},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", "127.0.0.1", 2},
      {"not even http\r\n\r\n", "127.0.0.1", 2},
  };
  for (const Case& c : cases) {
    const auto [sentence, requests] = refused(c.bytes);
    EXPECT_TRUE(sentence.starts_with("[chat] ")) << sentence;
    EXPECT_NE(sentence.find(c.part), std::string::npos) << c.bytes.substr(0, 200) << ": " << sentence;
    EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
    EXPECT_EQ(requests, c.requests) << c.bytes.substr(0, 200);
  }
}

TEST(Chat, AnEndpointThatIsSlowOrNotThereIsGivenUp) {
  const HttpServer slow([](const std::string&, int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    return HttpServer::response(chat_body("Late."));
  });
  const std::string late =
      refusal<std::runtime_error>([&] { trine::chat({.url = slow.url(), .timeout_seconds = 0.1}, kHello); });
  EXPECT_NE(late.find("did not answer within 0.1 s"), std::string::npos) << late;

  const std::string absent = refusal<std::runtime_error>(
      [] { trine::chat({.url = "http://127.0.0.1:1/v1?key=hidden", .timeout_seconds = 5}, kHello); });
  EXPECT_NE(absent.find("127.0.0.1"), std::string::npos) << absent;
  EXPECT_EQ(absent.find("hidden"), std::string::npos) << absent;
}

TEST(Chat, BadEndpointsAndMessagesAreRefusedBeforeAnythingIsSent) {
  const auto sentence = [](const ChatEndpoint& endpoint, const std::vector<trine::ChatMessage>& messages = kHello) {
    return refusal<std::invalid_argument>([&] { trine::chat(endpoint, messages); });
  };
  for (const char* url :
       {"", "localhost", "file:///etc/passwd", "ftp://localhost/", "http://", "http://a b/", "gopher://x"}) {
    EXPECT_NE(sentence({.url = url}).find("URL"), std::string::npos) << url << ": " << sentence({.url = url});
  }
  EXPECT_NE(sentence({.url = "http://me:secret@localhost/"}).find("environment"), std::string::npos);
  EXPECT_EQ(sentence({.url = "http://me:secret@localhost/"}).find("secret"), std::string::npos);
  for (const double seconds : {0.0, -1.0, double(NAN), double(INFINITY), 1e9}) {
    EXPECT_NE(sentence({.url = "http://127.0.0.1:1", .timeout_seconds = seconds}).find("time-out"), std::string::npos);
  }
  ::setenv("TRINE_TEST_KEY", "one\r\nX-Two: three", 1);
  const std::string key = sentence({.url = "http://127.0.0.1:1", .key_variable = "TRINE_TEST_KEY"});
  EXPECT_NE(key.find("control character"), std::string::npos) << key;
  EXPECT_EQ(key.find("three"), std::string::npos);
  ::unsetenv("TRINE_TEST_KEY");
  EXPECT_NE(sentence({.url = "http://127.0.0.1:1"}, {}).find("message"), std::string::npos);
  EXPECT_NE(sentence({.url = "http://127.0.0.1:1"}, {{ChatRole::user, "\xff"}}).find("UTF-8"), std::string::npos);
}

}  // namespace
