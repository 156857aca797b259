#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "input/detail/model.h"

namespace trine::detail {

/// The pieces of words that a model has seen, at most one word for each of its places, so memory is bounded whatever
/// the text. A thread that finds another one at work goes without it.
class WordCache {
 public:
  /// Appends the pieces of `word` if they are known.
  bool find(std::u32string_view word, std::vector<Piece>& pieces) const {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || word.size() > kLongest) return false;
    const Place& place = places_[at(word)];
    if (place.word != word) return false;
    pieces.insert(pieces.end(), place.pieces.begin(), place.pieces.end());
    return true;
  }

  /// Keeps the pieces of `word`: those of `pieces` from `first` on.
  void keep(std::u32string_view word, const std::vector<Piece>& pieces, std::size_t first) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || word.size() > kLongest || pieces.size() - first > kLongest) return;
    places_[at(word)] = {std::u32string(word), {pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end()}};
  }

 private:
  static constexpr std::size_t kPlaces = 8192, kLongest = 48;

  struct Place {
    std::u32string word;
    std::vector<Piece> pieces;
  };

  static std::size_t at(std::u32string_view word) {
    std::size_t hash = 0xCBF29CE484222325;
    for (const char32_t c : word) hash = (hash ^ c) * 0x100000001B3;
    return (hash ^ hash >> 32) % kPlaces;
  }

  mutable std::mutex mutex_;
  std::vector<Place> places_ = std::vector<Place>(kPlaces);
};

}  // namespace trine::detail
