#pragma once

#include <cstdint>
#include <memory>

#include "encoders/model_files.h"
#include "trine/encoders/encoder.h"

/// Networks with a head for labels, by family. Each is an encoder whose features are what the head gives: `dim` is the
/// number of labels, a clip gives (1, labels).

namespace trine::detail {

std::unique_ptr<ImageEncoder> dinov2_classifier(const ModelFiles& files, std::int64_t labels);
std::unique_ptr<ImageEncoder> vit_classifier(const ModelFiles& files, std::int64_t labels);
std::unique_ptr<AudioEncoder> ast_classifier(const ModelFiles& files, std::int64_t labels);
/// Of wav2vec 2.0, HuBERT and WavLM.
std::unique_ptr<AudioEncoder> wav2vec2_classifier(const ModelFiles& files, std::int64_t labels);

}  // namespace trine::detail
