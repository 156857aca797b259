#pragma once

#include <filesystem>

#include "detail/json.h"

namespace trine::detail {

/// The tokenizer.json that `transformers` (5.12) makes of the files of a checkpoint that has none: `vocab.txt` (BERT,
/// DistilBERT, MPNet), `vocab.json` and `merges.txt` (CLIP, RoBERTa, GPT-2, Qwen 2), a SentencePiece model
/// (XLM-RoBERTa, T5, SigLIP, Gemma). Which family it is say the "tokenizer_class" of `config`, else the "model_type" of
/// config.json.
///
/// `config`: the tokenizer_config.json of the directory, null if there is none.
Json convert_older_files(const char* who, const std::filesystem::path& directory, const Json& config);

}  // namespace trine::detail
