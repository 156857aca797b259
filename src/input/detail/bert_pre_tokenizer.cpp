#include "input/detail/bert_pre_tokenizer.h"

#include <string>

#include "input/detail/tokenizer_part.h"

namespace trine::detail {

BertPreTokenizer BertPreTokenizer::from_json(const char* who, const Json& json) {
  const std::string type = part_type(who, json, "pre-tokenizer");
  if (type != "BertPreTokenizer") unsupported_part(who, "pre-tokenizer", type, "BertPreTokenizer");
  return {};
}

}  // namespace trine::detail
