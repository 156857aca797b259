#include "input/detail/trie.h"

#include <algorithm>

#include "detail/error.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxCharacters = 16'000'000;  // of all tokens together: the trie takes 12 bytes for each

}  // namespace

Trie::Trie(std::vector<std::pair<std::u32string, std::int32_t>> entries) : labels_{0} {
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

  /// The entries below one node: they share their first `depth` characters.
  struct Group {
    std::size_t begin, end, depth;
  };
  std::vector<Group> groups = {{0, entries.size(), 0}};
  for (std::size_t node = 0; node < groups.size(); ++node) {
    const Group group = groups[node];
    std::size_t at = group.begin;
    std::int32_t value = -1;
    for (; at < group.end && entries[at].first.size() == group.depth; ++at) {
      if (value < 0 && group.depth > 0) value = entries[at].second;
    }
    values_.push_back(value);
    first_child_.push_back(static_cast<std::int32_t>(groups.size()));
    while (at < group.end) {
      const std::size_t begin = at;
      const char32_t label = entries[begin].first[group.depth];
      while (at < group.end && entries[at].first[group.depth] == label) ++at;
      labels_.push_back(label);
      groups.push_back({begin, at, group.depth + 1});
    }
  }
  first_child_.push_back(static_cast<std::int32_t>(groups.size()));
}

Trie Trie::of_tokens(const char* who, const std::vector<std::string>& tokens) {
  std::vector<std::pair<std::u32string, std::int32_t>> entries;
  std::size_t characters = 0;
  for (std::size_t id = tokens.size(); id-- > 0;) {
    if (tokens[id].empty()) continue;
    entries.emplace_back(decode_utf8(who, tokens[id]), static_cast<std::int32_t>(id));
    characters += entries.back().first.size();
    if (characters > kMaxCharacters) failure(who, "the vocabulary has more than ", kMaxCharacters, " characters");
  }
  return Trie(std::move(entries));
}

std::int32_t Trie::walk(std::u32string_view text, std::int32_t node) const {
  for (std::size_t i = 0; i < text.size() && node != kNowhere; ++i) node = child(node, text[i]);
  return node;
}

Trie::Match Trie::longest(std::u32string_view text, std::int32_t from) const {
  Match best;
  std::int32_t node = from;
  for (std::size_t i = 0; i < text.size() && node != kNowhere; ++i) {
    node = child(node, text[i]);
    if (node == kNowhere) break;
    if (const std::int32_t value = values_[static_cast<std::size_t>(node)]; value >= 0) best = {i + 1, value};
  }
  return best;
}

std::int32_t Trie::child(std::int32_t node, char32_t c) const {
  const auto begin = labels_.begin() + first_child_[static_cast<std::size_t>(node)];
  const auto end = labels_.begin() + first_child_[static_cast<std::size_t>(node) + 1];
  const auto found = std::lower_bound(begin, end, c);
  return found != end && *found == c ? static_cast<std::int32_t>(found - labels_.begin()) : kNowhere;
}

}  // namespace trine::detail
