#include "input/detail/words.h"

#include <algorithm>
#include <utility>

namespace trine::detail {

namespace {

/// Joins neighbours as `behavior` says and leaves out what it removes.
void arrange(std::vector<Part>& parts, SplitBehavior behavior) {
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (behavior == SplitBehavior::kIsolated) return;
  if (behavior == SplitBehavior::kRemoved) {
    std::erase_if(parts, [](const Part& part) { return part.found; });
    return;
  }
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> out;
  bool previous = false;  // whether the part before was found
  for (const Part& part : parts) {
    const bool joins = behavior == SplitBehavior::kContiguous ? part.found == previous : part.found && !previous;
    previous = part.found;
    if (!joins || out.empty()) {
      out.push_back(part);
    } else {
      out.back().begin = std::min(out.back().begin, part.begin);
      out.back().end = std::max(out.back().end, part.end);
    }
  }
  if (backwards) std::reverse(out.begin(), out.end());
  parts = std::move(out);
}

}  // namespace

void split(Words& words, const std::function<void(std::u32string_view, std::vector<Part>&)>& find,
           SplitBehavior behavior) {
  std::vector<Words::Word> out;
  out.reserve(words.words.size());
  std::vector<Part> parts;
  for (const Words::Word& word : words.words) {
    parts.clear();
    find(words.chars(word), parts);
    arrange(parts, behavior);
    for (const Part& part : parts) out.push_back({word.begin + part.begin, word.begin + part.end});
  }
  words.words = std::move(out);
}

void split(Words& words, const Pattern& pattern, bool invert, SplitBehavior behavior) {
  const auto find = [&](std::u32string_view word, std::vector<Part>& parts) {
    for (std::size_t done = 0; done < word.size();) {
      const auto [begin, end] = pattern.find(word, done);
      if (done < begin) parts.push_back({done, begin, invert});
      if (begin < end) parts.push_back({begin, end, !invert});
      done = std::max(end, begin);
    }
  };
  split(words, find, behavior);
}

void split(Words& words, const std::function<bool(char32_t)>& is, SplitBehavior behavior) {
  const auto find = [&](std::u32string_view word, std::vector<Part>& parts) {
    std::size_t done = 0;
    for (std::size_t i = 0; i < word.size(); ++i) {
      if (!is(word[i])) continue;
      if (done < i) parts.push_back({done, i, false});
      parts.push_back({i, i + 1, true});
      done = i + 1;
    }
    if (done < word.size()) parts.push_back({done, word.size(), false});
  };
  split(words, find, behavior);
}

}  // namespace trine::detail
