#pragma once

#include <filesystem>
#include <memory>

#include "encoders/text_network.h"
#include "trine/encoders/encoder.h"

namespace trine::detail {

/// A family's network as the directory's sentence-transformers files say, see `load_encoder`; without any, the mean of
/// the tokens.
std::unique_ptr<TextEncoder> load_sentence_encoder(const std::filesystem::path& directory, MakeTextNetwork make);

}  // namespace trine::detail
