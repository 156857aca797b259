#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "detail/json.h"
#include "trine/input/text.h"

namespace trine::detail {

/// The "post_processor" of a tokenizer.json: special tokens before and after the tokens of one text, and offsets
/// without the spaces that byte-level tokens begin with.
class PostProcessor {
 public:
  /// `json`: null does nothing. Ids have to be below `id_count`.
  static PostProcessor from_json(const char* who, const Json& json, std::size_t id_count);

  /// `encoding`: the tokens of the text alone.
  void operator()(Encoding& encoding) const;

  /// How many special tokens it adds.
  std::size_t count() const;

  std::string describe() const;

 private:
  struct Special {
    std::int32_t id;
    std::string token;
  };
  struct Surround {
    std::string name;
    std::vector<Special> before, after;
    bool once;  ///< tokens that end the text already are not added again
  };
  struct Trim {
    std::string name;
    bool add_prefix_space;  ///< one space at the start of the text has been added and is not trimmed
  };

  void add(const char* who, const Json& json);
  static Surround read_template(const char* who, const Json& json);
  static Surround read_pair(const char* who, const Json& json, const std::string& type);
  static void surround(Encoding& encoding, const Surround& step);
  static void trim(Encoding& encoding, const Trim& step);

  std::vector<std::variant<Surround, Trim>> steps_;
};

}  // namespace trine::detail
