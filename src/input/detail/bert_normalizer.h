#pragma once

#include <string>

#include "detail/json.h"
#include "input/detail/normalized.h"

namespace trine::detail {

/// "BertNormalizer" of a tokenizer.json.
class BertNormalizer {
 public:
  static BertNormalizer from_json(const char* who, const Json& json);

  void operator()(Normalized& text) const;

  std::string describe() const;

 private:
  bool clean_text_ = false;
  bool handle_chinese_chars_ = false;
  bool strip_accents_ = false;
  bool lowercase_ = false;
};

}  // namespace trine::detail
