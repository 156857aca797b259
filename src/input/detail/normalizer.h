#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "detail/json.h"
#include "input/detail/normalized.h"

namespace trine::detail {

/// The "normalizer" of a tokenizer.json: the steps that text goes through before it is cut.
class Normalizer {
 public:
  /// `json`: null leaves text as it is.
  static Normalizer from_json(const char* who, const Json& json);

  /// `text`: a part of the original that starts at code point `first`.
  Normalized normalize(std::u32string_view text, std::int32_t first) const;

  std::string describe() const;

 private:
  struct Step {
    std::string name;
    std::function<void(Normalized&)> apply;
  };
  static Step read_step(const char* who, const Json& json, const std::string& type);
  void add(const char* who, const Json& json);

  std::vector<Step> steps_;
};

/// Each character as its UTF-8 bytes in the alphabet of GPT-2, where every byte is a visible character.
void to_byte_alphabet(Normalized& text);

/// The bytes that a token in that alphabet stands for; a token with any other character stands for its own bytes.
std::string from_byte_alphabet(const std::string& token);

}  // namespace trine::detail
