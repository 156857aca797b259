#pragma once

#include <functional>
#include <string>
#include <vector>

#include "detail/json.h"
#include "input/detail/words.h"

namespace trine::detail {

/// The "pre_tokenizer" of a tokenizer.json: how text is cut into the words that the model sees one by one.
class PreTokenizer {
 public:
  /// `json`: null leaves a text in one piece.
  static PreTokenizer from_json(const char* who, const Json& json);

  /// Cuts the words of `words` further.
  void operator()(Words& words) const;

  std::string describe() const;

 private:
  struct Step {
    std::string name;
    std::function<void(Words&)> apply;
  };
  static Step read_step(const char* who, const Json& json, const std::string& type);
  void add(const char* who, const Json& json);

  std::vector<Step> steps_;
};

}  // namespace trine::detail
