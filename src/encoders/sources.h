#pragma once

#include <filesystem>

#include "trine/encoders/encoder.h"
#include "trine/search/query.h"

namespace trine::detail {

/// What an encoder says of itself, each fact followed by where its numbers were read: ("input", "short side to 256 px
/// ..."), ("input.source", "preprocessor_config.json: size, resample"). What none of the files says is the family's
/// default. At the end ("licence", ...), as the front matter of the directory's README.md has it.
Description with_sources(const std::filesystem::path& directory, Modality modality, const Description& facts);

}  // namespace trine::detail
