#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trine::detail {

/// Strings of code points with a number each; finds the longest of them at the start of a text in time linear in its
/// length. Three arrays, no hashing: what is in it can slow nothing down.
class Trie {
 public:
  struct Match {
    std::size_t length = 0;
    std::int32_t value = -1;  ///< -1: nothing found
  };

  static constexpr std::int32_t kRoot = 0;
  static constexpr std::int32_t kNowhere = -1;

  Trie() : Trie(std::vector<std::pair<std::u32string, std::int32_t>>{}) {}

  /// Values are not negative. Of equal strings the first one counts; an empty string is ignored.
  explicit Trie(std::vector<std::pair<std::u32string, std::int32_t>> entries);

  /// Tokens by id, empty ones left out. Of equal tokens the last one counts, as in the reference.
  static Trie of_tokens(const char* who, const std::vector<std::string>& tokens);

  /// The node that `text` leads to from `node`, or kNowhere.
  std::int32_t walk(std::u32string_view text, std::int32_t node = kRoot) const;

  /// The value of exactly the entry that ends at `node`, -1 if none does.
  std::int32_t value(std::int32_t node) const {
    return node == kNowhere ? -1 : values_[static_cast<std::size_t>(node)];
  }

  /// The value of exactly `text`, -1 if it is not an entry.
  std::int32_t find(std::u32string_view text) const { return value(walk(text)); }

  /// The longest entry that `text` starts with; from another node than the root, of the entries below it.
  Match longest(std::u32string_view text, std::int32_t from = kRoot) const;

 private:
  std::int32_t child(std::int32_t node, char32_t c) const;

  // Nodes in breadth-first order: the children of node n are [first_child_[n], first_child_[n + 1]), sorted by label.
  std::vector<char32_t> labels_;
  std::vector<std::int32_t> first_child_;
  std::vector<std::int32_t> values_;
};

}  // namespace trine::detail
