#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "detail/json.h"

namespace trine::detail {

/// The special tokens before and after the tokens of one text: "TemplateProcessing" (its template for a single text) or
/// "BertProcessing" of a tokenizer.json.
class PostProcessor {
 public:
  struct Special {
    std::int32_t id;
    std::string token;
  };

  /// `json`: the "post_processor" of the file; null adds nothing. Ids have to be below `id_count`.
  static PostProcessor from_json(const char* who, const Json& json, std::size_t id_count);

  const std::vector<Special>& before() const { return before_; }
  const std::vector<Special>& after() const { return after_; }
  std::size_t count() const { return before_.size() + after_.size(); }

  std::string describe() const;

 private:
  void read_template(const char* who, const Json& json);
  void read_bert(const char* who, const Json& json);

  std::string type_ = "no post-processor";
  std::vector<Special> before_, after_;
};

}  // namespace trine::detail
