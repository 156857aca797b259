#include "encoders/whisper_generation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "detail/error.h"
#include "detail/json.h"

namespace trine::detail {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

const Json& value_at(const Json& json, const char* key) {
  static const Json null;
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found == json.end() ? null : *found;
}

/// A list of ids; those beyond the vocabulary have no score and are left out.
std::vector<std::int32_t> read_ids(const char* who, const Json& json, const char* key, std::int64_t vocab_size) {
  auto ids = get_or<std::vector<std::int32_t>>(who, json, key, {});
  std::erase_if(ids, [&](std::int32_t id) { return id < 0 || id >= vocab_size; });
  return ids;
}

std::int32_t checked(const char* who, const std::string& key, std::int64_t id, std::int64_t vocab_size) {
  if (id < 0 || id >= vocab_size) failure(who, "\"", key, "\" is ", id, ", wanted 0 to ", vocab_size - 1);
  return static_cast<std::int32_t>(id);
}

/// {"<|de|>": 50261} or {"translate": 50358}, by the name without brackets.
std::map<std::string, std::int32_t> read_names(const char* who, const Json& json, const char* key,
                                               std::int64_t vocab_size) {
  std::map<std::string, std::int32_t> names;
  const Json& object = value_at(json, key);
  if (object.is_null()) return names;
  if (!object.is_object()) failure(who, "\"", key, "\" is not an object of names and ids");
  for (const auto& [name, id] : object.items()) {
    const bool bracketed = name.size() > 4 && name.starts_with("<|") && name.ends_with("|>");
    names[bracketed ? name.substr(2, name.size() - 4) : name] =
        checked(who, std::string(key) + "." + name, get<std::int64_t>(who, object, name.c_str()), vocab_size);
  }
  return names;
}

/// [[1, 50259], [2, null] ...]: ids of the places 1, 2 ... after the start; null is a place that is left out here.
std::vector<std::int32_t> read_forced(const char* who, const Json& list, std::int64_t vocab_size) {
  constexpr const char* kKey = "forced_decoder_ids";
  std::vector<std::int32_t> ids;
  if (list.is_null()) return ids;
  if (!list.is_array()) failure(who, "\"", kKey, "\" is not an array of places and ids");
  std::int64_t place = 0;
  for (const Json& pair : list) {
    ++place;
    if (!pair.is_array() || pair.size() != 2 || !holds<std::int64_t>(pair[0]) || pair[0].get<std::int64_t>() != place ||
        !(pair[1].is_null() || holds<std::int64_t>(pair[1]))) {
      failure(who, "\"", kKey, "\" has ", shown(pair.dump()), ", wanted [", place, ", an id or null]");
    }
    if (!pair[1].is_null()) ids.push_back(checked(who, kKey, pair[1].get<std::int64_t>(), vocab_size));
  }
  return ids;
}

/// The first of several end tokens, or the only one.
std::int64_t read_end(const char* who, const Json& source, const Json& config) {
  constexpr const char* kKey = "eos_token_id";
  const Json& json = value_at(source, kKey).is_null() ? config : source;
  if (!value_at(json, kKey).is_array()) return get<std::int64_t>(who, json, kKey);
  const auto ids = get<std::vector<std::int64_t>>(who, json, kKey);
  if (ids.empty()) failure(who, "\"", kKey, "\" is an empty list");
  return ids.front();
}

void fill(std::vector<float>& scores, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < std::min(end, scores.size()); ++i) scores[i] = kNever;
}

}  // namespace

WhisperGeneration::WhisperGeneration(const char* who, const std::filesystem::path& directory, std::int64_t vocab_size) {
  const Json config = read_json(who, directory / "config.json");
  const auto file = directory / "generation_config.json";
  const Json source = std::filesystem::exists(file) ? read_json(who, file) : config;

  const Json& with_start = value_at(source, "decoder_start_token_id").is_null() ? config : source;
  start =
      checked(who, "decoder_start_token_id", get<std::int64_t>(who, with_start, "decoder_start_token_id"), vocab_size);
  end = checked(who, "eos_token_id", read_end(who, source, config), vocab_size);
  if (!value_at(source, "no_timestamps_token_id").is_null()) {
    no_timestamps =
        checked(who, "no_timestamps_token_id", get<std::int64_t>(who, source, "no_timestamps_token_id"), vocab_size);
  }
  if (get_or<bool>(who, source, "is_multilingual", true)) {
    languages = read_names(who, source, "lang_to_id", vocab_size);
    tasks = read_names(who, source, "task_to_id", vocab_size);
  }
  max_length = get_or<std::int64_t>(who, source, "max_length", 0);
  if (max_length < 0) failure(who, "\"max_length\" is ", max_length, ", wanted 1 or more");
  const Json& forced = value_at(source, "forced_decoder_ids");
  forced_ = read_forced(who, forced.is_null() ? value_at(config, "forced_decoder_ids") : forced, vocab_size);
  suppressed_ = read_ids(who, source, "suppress_tokens", vocab_size);
  suppressed_at_begin_ = read_ids(who, source, "begin_suppress_tokens", vocab_size);
  if (!value_at(source, "max_initial_timestamp_index").is_null()) {
    max_initial_timestamp_ = get<std::int32_t>(who, source, "max_initial_timestamp_index");
    if (*max_initial_timestamp_ < 0) {
      failure(who, "\"max_initial_timestamp_index\" is ", *max_initial_timestamp_, ", wanted 0 or more");
    }
  }
}

std::optional<std::int32_t> WhisperGeneration::no_speech() const {
  return no_timestamps && *no_timestamps > 0 ? std::optional(*no_timestamps - 1) : std::nullopt;
}

std::vector<std::int32_t> WhisperGeneration::prompt(std::optional<std::int32_t> language,
                                                    std::optional<std::int32_t> task, bool timestamps) const {
  std::vector<std::int32_t> ids{start};
  if (multilingual()) {
    if (language) ids.push_back(*language);
    if (task) ids.push_back(*task);
  } else {
    ids.insert(ids.end(), forced_.begin(), forced_.end());
  }
  if (!no_timestamps) return ids;
  if (!timestamps && ids.back() != *no_timestamps) ids.push_back(*no_timestamps);
  if (timestamps && ids.back() == *no_timestamps) ids.pop_back();
  return ids;
}

void WhisperGeneration::restrict(std::vector<float>& scores, const std::vector<std::int32_t>& tokens,
                                 bool timestamps) const {
  for (const std::int32_t id : suppressed_) scores[static_cast<std::size_t>(id)] = kNever;
  if (tokens.empty()) {
    for (const std::int32_t id : suppressed_at_begin_) scores[static_cast<std::size_t>(id)] = kNever;
  }
  if (timestamps) restrict_timestamps(scores, tokens);
}

/// Timestamps come in pairs except at the beginning and before the end, never go back, and come where all of them
/// together are likelier than any other token.
void WhisperGeneration::restrict_timestamps(std::vector<float>& scores, const std::vector<std::int32_t>& tokens) const {
  const auto begin = static_cast<std::size_t>(timestamp_begin());
  scores[static_cast<std::size_t>(*no_timestamps)] = kNever;
  const bool last = !tokens.empty() && is_timestamp(tokens.back());
  const bool second_last = tokens.size() < 2 || is_timestamp(tokens[tokens.size() - 2]);
  if (last && second_last) fill(scores, begin, scores.size());
  if (last && !second_last) fill(scores, 0, static_cast<std::size_t>(end));
  const auto latest =
      std::find_if(tokens.rbegin(), tokens.rend(), [this](std::int32_t id) { return is_timestamp(id); });
  if (latest != tokens.rend()) {
    const auto id = static_cast<std::size_t>(*latest);
    fill(scores, begin, last && !second_last ? id : id + 1);
  }
  if (tokens.empty()) {
    fill(scores, 0, begin);
    if (max_initial_timestamp_) {
      fill(scores, begin + static_cast<std::size_t>(*max_initial_timestamp_) + 1, scores.size());
    }
  }
  if (begin >= scores.size()) return;
  const auto middle = scores.begin() + static_cast<std::ptrdiff_t>(begin);
  const float text = *std::max_element(scores.begin(), middle);
  const float time = *std::max_element(middle, scores.end());
  if (time == kNever) return;
  double sum = 0;
  for (auto score = middle; score != scores.end(); ++score) sum += std::exp(static_cast<double>(*score - time));
  if (static_cast<double>(time) + std::log(sum) > static_cast<double>(text)) fill(scores, 0, begin);
}

std::size_t loop_length(const std::vector<std::int32_t>& tokens) {
  constexpr std::size_t kLongestRound = 64, kFewestRounds = 4, kFewestTokens = 24;
  for (std::size_t round = 1; round <= std::min(kLongestRound, tokens.size() / kFewestRounds); ++round) {
    std::size_t again = 0;
    while (again + round < tokens.size() &&
           tokens[tokens.size() - 1 - again] == tokens[tokens.size() - 1 - again - round]) {
      ++again;
    }
    if (again + round >= std::max(kFewestRounds * round, kFewestTokens)) return again;
  }
  return 0;
}

}  // namespace trine::detail
