#include "input/detail/post_processor.h"

#include "input/detail/tokenizer_part.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxSpecial = 1000;

}  // namespace

PostProcessor PostProcessor::from_json(const char* who, const Json& json, std::size_t id_count) {
  PostProcessor processor;
  if (json.is_null()) return processor;
  processor.type_ = part_type(who, json, "post-processor");
  if (processor.type_ == "TemplateProcessing") {
    processor.read_template(who, json);
  } else if (processor.type_ == "BertProcessing") {
    processor.read_bert(who, json);
  } else {
    unsupported_part(who, "post-processor", processor.type_, "TemplateProcessing or BertProcessing");
  }
  if (processor.count() > kMaxSpecial) {
    failure(who, "the post-processor adds ", processor.count(), " tokens, at most ", kMaxSpecial, " are accepted");
  }
  for (const auto* side : {&processor.before_, &processor.after_}) {
    for (const Special& special : *side) {
      if (special.id < 0 || static_cast<std::size_t>(special.id) >= id_count) {
        failure(who, "the post-processor's token ", shown(special.token), " has the id ", special.id, ", ids end at ",
                id_count - 1);
      }
    }
  }
  return processor;
}

/// {"single": [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, ...], "special_tokens": {"[CLS]": {"ids":
/// [101], "tokens": ["[CLS]"]}}}
void PostProcessor::read_template(const char* who, const Json& json) {
  const Json single = get<Json>(who, json, "single");
  const Json specials = get<Json>(who, json, "special_tokens");
  if (!single.is_array()) failure(who, "the template \"single\" is not an array");
  bool text_seen = false;
  for (const Json& piece : single) {
    if (piece.is_object() && piece.contains("Sequence")) {
      if (text_seen || get<std::string>(who, piece["Sequence"], "id") != "A") {
        failure(who, "the template \"single\" names another sequence than one A");
      }
      text_seen = true;
      continue;
    }
    const auto name = get<std::string>(who, get<Json>(who, piece, "SpecialToken"), "id");
    const Json special = get<Json>(who, specials, name.c_str());
    const auto ids = get<std::vector<std::int32_t>>(who, special, "ids");
    const auto tokens = get<std::vector<std::string>>(who, special, "tokens");
    if (ids.size() != tokens.size()) {
      failure(who, "the special token ", shown(name), " has ", ids.size(), " ids and ", tokens.size(), " tokens");
    }
    for (std::size_t i = 0; i < ids.size(); ++i) (text_seen ? after_ : before_).push_back({ids[i], tokens[i]});
  }
  if (!text_seen) failure(who, "the template \"single\" has no sequence A");
}

/// {"cls": ["[CLS]", 101], "sep": ["[SEP]", 102]}
void PostProcessor::read_bert(const char* who, const Json& json) {
  const auto read = [&](const char* key) -> Special {
    const Json pair = get<Json>(who, json, key);
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !holds<std::int32_t>(pair[1])) {
      failure(who, "\"", key, "\" of BertProcessing is not a token and its id");
    }
    return {pair[1].get<std::int32_t>(), pair[0].get<std::string>()};
  };
  before_.push_back(read("cls"));
  after_.push_back(read("sep"));
}

std::string PostProcessor::describe() const {
  std::string text = type_;
  if (count() == 0) return text;
  text += " (";
  for (const Special& special : before_) text += special.token + ' ';
  text += "$A";
  for (const Special& special : after_) text += ' ' + special.token;
  return text + ')';
}

}  // namespace trine::detail
