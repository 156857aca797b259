#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace trine::detail {

/// "[who] " followed by the parts, written one after the other.
template <typename... Parts>
std::string sentence(const char* who, const Parts&... parts) {
  std::ostringstream out;
  out << '[' << who << "] ";
  (out << ... << parts);
  return out.str();
}

/// The caller's mistake: std::invalid_argument, ValueError in Python.
template <typename... Parts>
[[noreturn]] void bad_argument(const char* who, const Parts&... parts) {
  throw std::invalid_argument(sentence(who, parts...));
}

/// The world's mistake (files, codecs): std::runtime_error, RuntimeError in Python.
template <typename... Parts>
[[noreturn]] void failure(const char* who, const Parts&... parts) {
  throw std::runtime_error(sentence(who, parts...));
}

}  // namespace trine::detail
