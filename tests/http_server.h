#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace trine::testing {

/// A server on this machine for as long as the object lives: one connection after the other, one request each.
class HttpServer {
 public:
  /// `answer`: the bytes that go back for a request (header and body), by its number from 0; "" closes the connection.
  explicit HttpServer(std::function<std::string(const std::string& request, int number)> answer)
      : answer_(std::move(answer)), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof where;
    ::bind(socket_, reinterpret_cast<sockaddr*>(&where), size);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&where), &size);
    ::listen(socket_, 8);
    port_ = ntohs(where.sin_port);
    ::setenv("no_proxy", "127.0.0.1", 1);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    ::shutdown(socket_, SHUT_RDWR);  // ends accept()
    thread_.join();
    ::close(socket_);
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }
  int requests() const { return requests_; }

  static std::string response(const std::string& body, const std::string& status = "200 OK") {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

 private:
  void serve() {
    for (int client; (client = ::accept(socket_, nullptr, nullptr)) >= 0; ::close(client)) {
      const std::string request = receive(client);
      if (request.empty()) continue;
      const std::string bytes = answer_(request, requests_++);
      for (std::size_t sent = 0; sent < bytes.size();) {
        const ssize_t n = ::send(client, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += static_cast<std::size_t>(n);
      }
    }
  }

  /// Header and body of a request, by its Content-Length.
  static std::string receive(int client) {
    std::string request, piece(65'536, '\0');
    for (std::size_t wanted = std::string::npos; request.size() < wanted;) {
      const ssize_t n = ::recv(client, piece.data(), piece.size(), 0);
      if (n <= 0) return "";
      request.append(piece, 0, static_cast<std::size_t>(n));
      const auto end = request.find("\r\n\r\n"), length = request.find("Content-Length: ");
      if (end != std::string::npos) wanted = end + 4 + std::stoul(request.substr(length + 16));
    }
    return request;
  }

  std::function<std::string(const std::string&, int)> answer_;
  int socket_;
  int port_ = 0;
  std::atomic<int> requests_ = 0;
  std::thread thread_;
};

/// The body of an endpoint's answer.
inline std::string chat_body(const std::string& content) {
  return R"({"choices": [{"message": {"role": "assistant", "content": ")" + content + R"("}}]})";
}

}  // namespace trine::testing
