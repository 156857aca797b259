#include "input/detail/added_tokens.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "detail/error.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxTokens = 100'000;
constexpr std::size_t kMaxLength = 256;  // characters of one token: bounds the search at each position of the text

}  // namespace

AddedTokens::Rule AddedTokens::read_rule(const char* who, const Json& json) {
  return {.content = get<std::string>(who, json, "content"),
          .id = get<std::int32_t>(who, json, "id"),
          .single_word = get<bool>(who, json, "single_word"),
          .lstrip = get<bool>(who, json, "lstrip"),
          .rstrip = get<bool>(who, json, "rstrip"),
          .normalized = get<bool>(who, json, "normalized"),
          .special = get<bool>(who, json, "special")};
}

AddedTokens AddedTokens::from_json(const char* who, const Json& json, const Normalizer& normalizer,
                                   Vocabulary& vocabulary) {
  AddedTokens added;
  if (json.is_null()) return added;
  if (!json.is_array()) failure(who, "\"added_tokens\" is not an array");
  if (json.size() > kMaxTokens)
    failure(who, "there are ", json.size(), " added tokens, at most ", kMaxTokens, " are accepted");

  std::map<std::string_view, std::int32_t> known;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!vocabulary.tokens[id].empty()) known[vocabulary.tokens[id]] = static_cast<std::int32_t>(id);
  }
  std::set<std::string> contents;
  auto next = static_cast<std::int32_t>(vocabulary.size);
  std::vector<std::string>& tokens = vocabulary.tokens;
  for (const Json& entry : json) {
    Rule rule = read_rule(who, entry);
    if (rule.content.empty()) failure(who, "an added token is empty");
    const auto found = known.find(rule.content);
    const std::int32_t id = found != known.end() ? found->second : next++;
    if (rule.id != id) {
      failure(who, "the added token ", shown(rule.content), " has the id ", rule.id, ", the vocabulary asks for ", id);
    }
    if (!contents.insert(rule.content).second) failure(who, "the token ", shown(rule.content), " is added twice");
    added.rules_.push_back(std::move(rule));
  }
  for (const Rule& rule : added.rules_) {
    const auto id = static_cast<std::size_t>(rule.id);
    if (id >= tokens.size()) tokens.resize(id + 1);
    if (tokens[id].empty()) tokens[id] = rule.content;
    if (tokens[id] != rule.content)
      failure(who, "the id ", id, " of the added token ", shown(rule.content), " is taken");
  }

  // Of patterns that are equal once normalized the special one holds, then the first; the reference picks one at
  // random.
  std::stable_sort(added.rules_.begin(), added.rules_.end(),
                   [](const Rule& a, const Rule& b) { return a.special > b.special; });
  std::vector<std::pair<std::u32string, std::int32_t>> raw, normalized;
  for (std::size_t i = 0; i < added.rules_.size(); ++i) {
    const Rule& rule = added.rules_[i];
    std::u32string pattern = decode_utf8(who, rule.content);
    if (pattern.size() > kMaxLength)
      failure(who, "the added token ", shown(rule.content), " has more than ", kMaxLength, " characters");
    if (rule.normalized) pattern = normalizer.normalize(pattern, 0).chars;
    if (pattern.empty())
      failure(who, "nothing is left of the added token ", shown(rule.content), " once it is normalized");
    (rule.normalized ? normalized : raw).emplace_back(std::move(pattern), static_cast<std::int32_t>(i));
  }
  added.raw_ = Trie(std::move(raw));
  added.normalized_ = Trie(std::move(normalized));
  return added;
}

std::vector<std::int32_t> AddedTokens::special_ids() const {
  std::vector<std::int32_t> ids;
  for (const Rule& rule : rules_) {
    if (rule.special) ids.push_back(rule.id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::u32string_view text, const Trie& patterns) const {
  std::vector<Part> parts;
  std::size_t done = 0;        // end of the last part
  std::size_t spaces_end = 0;  // end of the last run of spaces that was measured, so that none is walked through twice
  for (std::size_t at = 0; at < text.size();) {
    const Trie::Match match = patterns.longest(text.substr(at));
    if (match.value < 0) {
      ++at;
      continue;
    }
    const Rule& rule = rules_[static_cast<std::size_t>(match.value)];
    std::size_t begin = at, end = at + match.length;
    at = end;
    if (rule.single_word && ((begin > 0 && is_word(text[begin - 1])) || (end < text.size() && is_word(text[end]))))
      continue;
    if (rule.lstrip) {
      while (begin > done && is_whitespace(text[begin - 1])) --begin;
      begin = std::max(begin, done);
    }
    if (rule.rstrip) {
      end = std::max(end, spaces_end);
      while (end < text.size() && is_whitespace(text[end])) ++end;
      spaces_end = end;
    }
    if (done < begin) parts.push_back({done, begin, -1});
    if (begin < end) parts.push_back({begin, end, rule.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

}  // namespace trine::detail
