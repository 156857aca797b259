#pragma once

#include <optional>

#include "detail/json.h"
#include "trine/apps/score.h"
#include "trine/checkpoint.h"
#include "trine/embedder.h"

/// What apps read from the folder of a model of ours beside its towers.

namespace trine::detail {

/// The entry `key` of the model's config.json; none where it lacks the key or the folder is an encoder's own.
std::optional<Json> model_entry(const char* who, const Embedder& embedder, const char* key);

/// The same of heads that must be there: a missing entry is std::runtime_error.
Json heads_entry(const char* who, const Embedder& embedder, const char* key);

/// The file that an entry names as its "weights".
Checkpoint heads_file(const char* who, const Embedder& embedder, const Json& entry);

/// The folder of the encoder that the model names for a modality. std::runtime_error if it is not of `model_type`.
std::filesystem::path encoder_folder(const char* who, const Embedder& embedder, Modality modality,
                                     const char* model_type);

/// Labels and their probabilities (labels), likeliest first.
std::vector<Score> scores_of(const std::vector<std::string>& labels, const torch::Tensor& probabilities);

}  // namespace trine::detail
