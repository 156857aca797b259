#include "input/detail/post_processor.h"

#include <algorithm>

#include "input/detail/tokenizer_part.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxSteps = 100;
constexpr std::size_t kMaxSpecial = 1000;

constexpr char32_t kByteSpace = 0x120;  // a space in the alphabet of byte-level tokens

}  // namespace

PostProcessor PostProcessor::from_json(const char* who, const Json& json, std::size_t id_count) {
  PostProcessor processor;
  if (json.is_null()) return processor;
  processor.add(who, json);
  if (processor.count() > kMaxSpecial) {
    failure(who, "the post-processor adds ", processor.count(), " tokens, at most ", kMaxSpecial, " are accepted");
  }
  for (const auto& step : processor.steps_) {
    const auto* surround = std::get_if<Surround>(&step);
    if (surround == nullptr) continue;
    for (const auto* side : {&surround->before, &surround->after}) {
      for (const Special& special : *side) {
        if (special.id < 0 || static_cast<std::size_t>(special.id) >= id_count) {
          failure(who, "the post-processor's token ", shown(special.token), " has the id ", special.id, ", ids end at ",
                  id_count - 1);
        }
      }
    }
  }
  return processor;
}

void PostProcessor::add(const char* who, const Json& json) {
  const std::string type = part_type(who, json, "post-processor");
  if (steps_.size() >= kMaxSteps) failure(who, "the post-processor has more than ", kMaxSteps, " steps");
  if (type == "Sequence") {
    for (const Json& part : part_list(who, json, "processors")) add(who, part);
  } else if (type == "TemplateProcessing") {
    steps_.emplace_back(read_template(who, json));
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    if (type == "RobertaProcessing" && get<bool>(who, json, "trim_offsets")) {
      steps_.emplace_back(Trim{"trimmed offsets", get<bool>(who, json, "add_prefix_space")});
    }
    steps_.emplace_back(read_pair(who, json, type));
  } else if (type == "ByteLevel") {
    if (get<bool>(who, json, "trim_offsets")) {
      steps_.emplace_back(Trim{"ByteLevel", get<bool>(who, json, "add_prefix_space")});
    }
  } else {
    unsupported_part(who, "post-processor", type,
                     "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel or a Sequence of them");
  }
}

/// {"single": [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, ...], "special_tokens": {"[CLS]": {"ids":
/// [101], "tokens": ["[CLS]"]}}}
PostProcessor::Surround PostProcessor::read_template(const char* who, const Json& json) {
  // "once" is ours: older files need it.
  Surround out{.name = "TemplateProcessing", .before = {}, .after = {}, .once = get_or<bool>(who, json, "once", false)};
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
    for (std::size_t i = 0; i < ids.size(); ++i) (text_seen ? out.after : out.before).push_back({ids[i], tokens[i]});
  }
  if (!text_seen) failure(who, "the template \"single\" has no sequence A");
  return out;
}

/// {"cls": ["[CLS]", 101], "sep": ["[SEP]", 102]}
PostProcessor::Surround PostProcessor::read_pair(const char* who, const Json& json, const std::string& type) {
  const auto read = [&](const char* key) -> Special {
    const Json pair = get<Json>(who, json, key);
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !holds<std::int32_t>(pair[1])) {
      failure(who, "\"", key, "\" of ", type, " is not a token and its id");
    }
    return {pair[1].get<std::int32_t>(), pair[0].get<std::string>()};
  };
  return {.name = type, .before = {read("cls")}, .after = {read("sep")}, .once = false};
}

std::size_t PostProcessor::count() const {
  std::size_t count = 0;
  for (const auto& step : steps_) {
    if (const auto* surround = std::get_if<Surround>(&step)) count += surround->before.size() + surround->after.size();
  }
  return count;
}

void PostProcessor::operator()(Encoding& encoding) const {
  for (const auto& step : steps_) {
    if (const auto* around = std::get_if<Surround>(&step)) {
      surround(encoding, *around);
    } else {
      trim(encoding, std::get<Trim>(step));
    }
  }
}

void PostProcessor::surround(Encoding& encoding, const Surround& step) {
  for (const auto* side : {&step.before, &step.after}) {
    const auto at = static_cast<std::ptrdiff_t>(side == &step.before ? 0 : encoding.ids.size());
    std::vector<std::int32_t> ids;
    std::vector<std::string> tokens;
    for (const Special& special : *side) {
      if (step.once && side == &step.after && !encoding.ids.empty() && encoding.ids.back() == special.id) continue;
      ids.push_back(special.id);
      tokens.push_back(special.token);
    }
    encoding.ids.insert(encoding.ids.begin() + at, ids.begin(), ids.end());
    encoding.tokens.insert(encoding.tokens.begin() + at, tokens.begin(), tokens.end());
    encoding.offsets.insert(encoding.offsets.begin() + at, ids.size(), {0, 0});
  }
}

void PostProcessor::trim(Encoding& encoding, const Trim& step) {
  const auto is_space = [](char32_t c) { return c == kByteSpace || is_whitespace(c); };
  for (std::size_t i = 0; i < encoding.tokens.size(); ++i) {
    const std::u32string token = decode_utf8("Tokenizer::encode", encoding.tokens[i]);
    const auto first = std::find_if_not(token.begin(), token.end(), is_space);
    const auto last = std::find_if_not(token.rbegin(), token.rend(), is_space);
    auto leading = static_cast<std::int32_t>(first - token.begin());
    const auto trailing = static_cast<std::int32_t>(last - token.rbegin());
    auto& [begin, end] = encoding.offsets[i];
    if (step.add_prefix_space && leading == 1 && (i == 0 || begin == 0)) leading = 0;
    begin = std::min(begin + leading, end);
    if (end >= trailing) end = std::max(end - trailing, begin);
  }
}

std::string PostProcessor::describe() const {
  std::string text;
  for (const auto& step : steps_) {
    if (!text.empty()) text += " + ";
    if (const auto* trim = std::get_if<Trim>(&step)) {
      text += trim->name;
      continue;
    }
    const auto& around = std::get<Surround>(step);
    text += around.name + " (";
    for (const Special& special : around.before) text += special.token + ' ';
    text += "$A";
    for (const Special& special : around.after) text += ' ' + special.token;
    text += ')';
  }
  return text.empty() ? "no post-processor" : text;
}

}  // namespace trine::detail
