#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "testing.h"
#include "trine/input/text.h"

namespace trine::testing {

inline const fs::path kGolden = fs::path(TRINE_TEST_DATA) / "golden/text";

inline Json golden(const char* name) { return trine::detail::read_json("test", kGolden / name); }

/// Loads what a tokenizer.json of this content would give.
inline Tokenizer load(std::string_view content) {
  const Folder folder;
  folder.write("tokenizer.json", content);
  return Tokenizer::load(folder.path());
}

inline std::string repeated(std::string_view part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += part;
  return out;
}

/// `encoding` is what a golden case says: ids, and tokens and offsets where it has them.
inline void expect_case(const Encoding& encoding, const Json& expected, const std::string& about) {
  EXPECT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>()) << expected["text"] << ' ' << about;
  EXPECT_FALSE(encoding.truncated);
  if (expected.contains("tokens")) {
    EXPECT_EQ(encoding.tokens, expected["tokens"].get<std::vector<std::string>>()) << expected["text"] << ' ' << about;
  }
  if (!expected.contains("offsets")) return;
  std::vector<std::int32_t> offsets;
  for (const auto& [begin, end] : encoding.offsets) offsets.insert(offsets.end(), {begin, end});
  EXPECT_EQ(offsets, expected["offsets"].get<std::vector<std::int32_t>>()) << expected["text"] << ' ' << about;
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

}  // namespace trine::testing
