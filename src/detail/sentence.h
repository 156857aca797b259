#pragma once

#include <string>

namespace trine::detail {

/// An error's sentence without its "[function] ", to stand behind the place where it happened.
inline std::string without_function(const std::string& sentence) {
  const std::size_t end = sentence.find("] ");
  return sentence.starts_with('[') && end != std::string::npos ? sentence.substr(end + 2) : sentence;
}

}  // namespace trine::detail
