#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "trine/input/text.h"

namespace trine::fuzzing {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A folder for the files of this process, in memory where there is such a place.
inline const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    const std::filesystem::path memory = "/dev/shm";
    auto made = (std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path()) /
                ("trine_fuzz_" + std::to_string(::getpid()));
    std::filesystem::create_directory(made);
    std::atexit([] { std::filesystem::remove_all(folder()); });
    return made;
  }();
  return path;
}

inline void write(const char* name, std::string_view content) {
  std::ofstream(folder() / name, std::ios::binary) << content;
}

/// Files are refused with a sentence or give ids within the vocabulary; anything else ends the process.
inline void use_tokenizer(const std::filesystem::path& path) {
  try {
    const Tokenizer tokenizer = Tokenizer::load(path);
    const Encoding encoding = tokenizer.encode("The red\tcafé e\u0301 \u4e00\u3000 12 [MASK] <s></s> \U0001F44D");
    for (const std::int32_t id : encoding.ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    }
    for (const auto& [begin, end] : encoding.offsets) {
      if (begin < 0 || end < begin || end > 100) std::abort();
    }
  } catch (const std::runtime_error&) {
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace trine::fuzzing
