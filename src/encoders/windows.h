#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trine/embedder.h"

/// Where long inputs are cut into windows.

namespace trine::detail {

/// A piece of a text that fits into the encoder, prompt and special tokens included.
struct TextWindow {
  std::string text;
  Window characters;
};

/// Unicode characters of valid UTF-8.
std::int64_t count_characters(std::string_view text);

/// Tokens that a window of `room` tokens shares with the one before.
std::int64_t shared_tokens(std::int64_t room);

/// Of a text that does not fit. Windows are cut between tokens, between words where the last quarter of a window has
/// such a place, and hold whole characters; together they hold every character. Errors: std::invalid_argument for a
/// prompt that leaves no room.
std::vector<TextWindow> text_windows(const TextEncoder& encoder, const std::string& prompt, const std::string& text);

/// Of `size` samples, each window of at most `longest`: [first, last) at 0, longest / 2, longest ...
std::vector<std::pair<std::size_t, std::size_t>> sample_windows(std::size_t size, std::size_t longest);

}  // namespace trine::detail
