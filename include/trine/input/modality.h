#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string_view>
#include <variant>
#include <vector>

#include "trine/export.h"
#include "trine/input/audio.h"
#include "trine/input/image.h"

/// What an input may be.

namespace trine {

enum class Modality { image, text, audio };

inline constexpr std::array<Modality, 3> kModalities{Modality::image, Modality::text, Modality::audio};

TRINE_API std::string_view to_string(Modality modality);
/// "image", "text" or "audio"; another name is std::invalid_argument.
TRINE_API Modality modality(std::string_view name);

/// A file, the bytes of one, or pixels.
using ImageInput = std::variant<std::filesystem::path, std::vector<std::byte>, Image>;

}  // namespace trine
