#include "encoders/towers.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "detail/error.h"
#include "encoders/activation.h"
#include "encoders/config.h"
#include "encoders/text_network.h"
#include "encoders/video_processor.h"

namespace trine::detail {

using torch::Tensor;

namespace {

constexpr std::int64_t kMostRows = 32;         // texts that go through a network together
constexpr std::int64_t kMostPatches = 16'384;  // of a square picture: attention grows with their square

/// Texts of any length to one length, with the last token of each. -> (N, T) int64
Tensor to_ids(const std::vector<std::vector<std::int32_t>>& texts) {
  std::size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  Tensor ids = torch::empty({std::ssize(texts), static_cast<std::int64_t>(longest)}, torch::kInt64);
  std::int64_t* out = ids.mutable_data_ptr<std::int64_t>();
  for (const auto& text : texts) {
    out = std::copy(text.begin(), text.end(), out);
    out = std::fill_n(out, longest - text.size(), text.back());
  }
  return ids;
}

}  // namespace

TransformerConfig read_transformer(const char* who, const Json& json, const TransformerConfig& defaults) {
  TransformerConfig config = defaults;
  config.hidden_size = read_size(who, json, "hidden_size", 16'384, defaults.hidden_size);
  config.intermediate_size = read_size(who, json, "intermediate_size", 65'536, defaults.intermediate_size);
  config.num_hidden_layers = read_size(who, json, "num_hidden_layers", 256, defaults.num_hidden_layers);
  config.num_attention_heads = read_size(who, json, "num_attention_heads", 256, defaults.num_attention_heads);
  config.hidden_act = read_activation(who, json, "hidden_act", defaults.hidden_act);
  config.layer_norm_eps = read_epsilon(who, json, "layer_norm_eps", defaults.layer_norm_eps);
  config.qkv_bias = get_or(who, json, "qkv_bias", defaults.qkv_bias);
  check_heads(who, "num_attention_heads", config.num_attention_heads, "hidden_size", config.hidden_size);
  return config;
}

std::int64_t read_square(const char* who, const Json& json, const char* key, std::int64_t most, std::int64_t fallback) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) return read_size(who, json, key, most, fallback);
  if (found->size() != 2 || found->at(0) != found->at(1)) {
    failure(who, "\"", key, "\" is ", found->dump(), ", wanted a number or two equal ones");
  }
  return read_size(who, {{key, found->at(0)}}, key, most);
}

std::int64_t read_grid(const char* who, const Json& json, std::int64_t image_size, std::int64_t patch_size) {
  if (const auto channels = read_size(who, json, "num_channels", 1'024, 3); channels != 3) {
    failure(who, "\"num_channels\" is ", channels, ", known is 3");
  }
  const std::int64_t grid = image_size / patch_size;
  if (grid < 1 || grid * grid > kMostPatches) {
    failure(who, "\"image_size\" ", image_size, " holds ", grid, " x ", grid, " patches of \"patch_size\" ", patch_size,
            ", wanted 1 to ", kMostPatches, " together");
  }
  return grid;
}

void check_size(const char* who, const TransformerConfig& config, std::int64_t rows) {
  const auto dim = static_cast<double>(config.hidden_size);
  const double feed_forward = dim * static_cast<double>(config.intermediate_size) * (config.use_swiglu_ffn ? 3 : 2);
  check_weights(who, static_cast<double>(config.num_hidden_layers) * (4 * dim * dim + feed_forward) +
                         dim * static_cast<double>(rows));
}

Json read_part(const char* who, const Json& json, const std::string& key) {
  for (const std::string& name : {key + "_dict", key}) {
    const auto found = json.find(name);
    if (found == json.end() || found->is_null()) continue;
    if (!found->is_object()) failure(who, "\"", name, "\" is not an object");
    return *found;
  }
  return Json::object();
}

std::string prefix_of(const Checkpoint& checkpoint, const std::string& tower) {
  return checkpoint.contains(tower + ".embeddings.position_embedding.weight") ? tower + "." : "";
}

void load_tower(const char* who, torch::nn::Module& network, const Checkpoint& checkpoint, const std::string& prefix,
                std::initializer_list<std::string_view> ignored) {
  load_weights(network, checkpoint, prefix);
  const auto known = state_dict(network);
  for (const std::string& name : checkpoint.names()) {
    if (!name.starts_with(prefix)) continue;
    const std::string rest = name.substr(prefix.size());
    const auto fits = [&](std::string_view part) {
      return part.ends_with('.') ? rest.starts_with(part) : name.ends_with(part);
    };
    if (known.contains(rest) || std::any_of(ignored.begin(), ignored.end(), fits)) continue;
    failure(who, checkpoint.path(), " holds ", name, ", which the network of its config.json does not have");
  }
  network.eval();
}

float load_scalar(const char* who, const Checkpoint& checkpoint, const std::string& name) {
  const Tensor tensor = load_tensor(checkpoint, name);
  if (tensor.numel() != 1)
    failure(who, checkpoint.path(), " holds ", name, " of shape ", tensor.sizes(), ", wanted [1]");
  const float value = tensor.item<float>();
  if (!std::isfinite(value)) failure(who, checkpoint.path(), " holds ", name, " = ", value, ", wanted a finite number");
  return value;
}

void check_pixels(const Tensor& pixels, std::optional<std::int64_t> size) {
  const bool floats = pixels.dim() == 4 && pixels.size(1) == 3 && pixels.scalar_type() == torch::kFloat32;
  if (floats && (!size || (pixels.size(2) == *size && pixels.size(3) == *size))) return;
  const std::string side = size ? std::to_string(*size) : "";
  bad_argument("encode", "pixels are (N, 3, ", size ? side : "H", ", ", size ? side : "W", ") of Float, got ",
               pixels.sizes(), " of ", pixels.scalar_type());
}

void check_ids(const Tensor& ids, std::int64_t most) {
  if (ids.dim() == 2 && ids.size(1) >= 1 && ids.size(1) <= most && ids.scalar_type() == torch::kInt64) return;
  bad_argument("encode", "ids of shape ", ids.sizes(), " of ", ids.scalar_type(), ", wanted (N, T) of Long with 1 to ",
               most, " tokens");
}

void check_processor(const char* who, const ImageProcessor& processor, std::int64_t image_size) {
  const auto output = processor.output_size();
  if (output && ((*output)[0] != image_size || (*output)[1] != image_size)) {
    failure(who, "the image processor gives ", (*output)[1], " x ", (*output)[0], " pixels, \"image_size\" is ",
            image_size);
  }
}

/// `part` of processor_config.json, else `older` whole.
Json read_part_or_file(const char* who, const std::filesystem::path& directory, const char* part, const char* older) {
  if (const auto newer = directory / "processor_config.json"; std::filesystem::exists(newer)) {
    const Json json = read_json(who, newer);
    if (json.is_object() && json.contains(part)) return json.at(part);
  }
  if (!std::filesystem::exists(directory / older)) {
    failure(who, directory, " holds neither ", older, " nor a processor_config.json with \"", part, "\"");
  }
  return read_json(who, directory / older);
}

Json read_preprocessor(const char* who, const std::filesystem::path& directory, const char* part) {
  return read_part_or_file(who, directory, part, "preprocessor_config.json");
}

Json read_extractor(const char* who, const std::filesystem::path& directory, const std::string& type) {
  Json json = read_preprocessor(who, directory, "feature_extractor");
  if (!json.is_object()) failure(who, "the feature extractor of ", directory, " is not a JSON object");
  if (const auto name = get_or(who, json, "feature_extractor_type", type); name != type) {
    failure(who, "\"feature_extractor_type\" is ", shown(name), ", known is ", type);
  }
  return json;
}

std::string describe_similarity(const Similarity& similarity) {
  std::ostringstream score;
  score << (similarity.kind == SimilarityKind::softmax ? "softmax of " : "sigmoid of ") << similarity.scale
        << " * cosine";
  if (similarity.bias != 0) score << (similarity.bias < 0 ? " - " : " + ") << std::abs(similarity.bias);
  return score.str();
}

Description describe_network(const TransformerConfig& config, const std::string& pooling,
                             const torch::nn::Module& network, const std::optional<Similarity>& similarity) {
  Description lines{{"activation", config.use_swiglu_ffn ? "silu, gated" : std::string(to_string(config.hidden_act))},
                    {"pooling", pooling}};
  if (similarity) lines.emplace_back("similarity", describe_similarity(*similarity));
  lines.emplace_back("parameters", std::to_string(count_parameters(network)));
  return lines;
}

ImageTower::ImageTower(const std::string& model_type, ImageProcessor processor, std::int64_t dim, Forward forward,
                       const Description& network, std::vector<TrainablePart> parts)
    : processor_(std::move(processor)), dim_(dim), forward_(std::move(forward)), parts_(std::move(parts)) {
  description_ = {{"model_type", model_type}};
  const Description input = processor_.describe();
  description_.insert(description_.end(), input.begin(), input.end());
  description_.insert(description_.end(), network.begin(), network.end());
}

Tensor ImageTower::encode(const Tensor& pixels) const {
  check_pixels(pixels);
  const torch::AutoGradMode record(RecordGradients::on());
  return pixels.size(0) == 0 ? torch::zeros({0, dim_}) : place_.run(forward_, pixels);
}

AudioTower::AudioTower(const std::string& model_type, const ClipLimits& limits, std::int64_t dim, Function extract,
                       Function forward, const Description& network, std::vector<TrainablePart> parts)
    : limits_(limits), dim_(dim), extract_(std::move(extract)), forward_(std::move(forward)), parts_(std::move(parts)) {
  std::ostringstream input;
  input << limits_.sample_rate << " Hz mono, other rates by soxr HQ, at most " << max_seconds() << " s";
  description_ = {{"model_type", model_type}, {"input", input.str()}};
  description_.insert(description_.end(), network.begin(), network.end());
}

std::vector<float> AudioTower::samples_of(const Audio& clip) const {
  std::vector<float> samples = resample(clip.samples, clip.sample_rate, limits_.sample_rate);
  if (std::ssize(samples) < limits_.least) {
    bad_argument("encode", "the clip has ", samples.size(), " samples at ", limits_.sample_rate, " Hz, at least ",
                 limits_.least, " are wanted");
  }
  if (std::ssize(samples) > limits_.most) {
    bad_argument("encode", "the clip has ", clip.seconds(), " s, at most ", max_seconds(),
                 " s fit in one call: cut it into windows");
  }
  return samples;
}

Tensor AudioTower::encode(const Audio& clip) const {
  const torch::AutoGradMode record(RecordGradients::on());
  return forward_(samples_of(clip));
}

TextTower::TextTower(const char* who, const std::filesystem::path& directory, const std::string& model_type,
                     Tokenizer tokenizer, std::int64_t vocab_size, std::int64_t max_tokens, Padding padding,
                     std::int64_t dim, Forward forward, const Description& network, std::vector<TrainablePart> parts)
    : tokenizer_(std::move(tokenizer)),
      max_tokens_(max_tokens),
      padding_(padding),
      dim_(dim),
      forward_(std::move(forward)),
      parts_(std::move(parts)) {
  check_tokenizer(who, directory, tokenizer_, vocab_size);
  description_ = {{"model_type", model_type},
                  {"tokenizer", tokenizer_.describe()},
                  {"max_tokens", std::to_string(max_tokens_) + ", cut before the end token"},
                  {"padding", padding_ == Padding::max_length ? "always to max_tokens, seen by all tokens"
                                                              : "after the end token, not seen"}};
  description_.insert(description_.end(), network.begin(), network.end());
}

Tensor TextTower::encode(const std::vector<std::string>& texts) const {
  const torch::AutoGradMode record(RecordGradients::on());
  Tensor vectors = torch::empty({std::ssize(texts), dim_});
  for (std::int64_t first = 0; first < std::ssize(texts); first += kMostRows) {
    const std::int64_t last = std::min(first + kMostRows, std::ssize(texts));
    std::vector<std::vector<std::int32_t>> rows;
    for (std::int64_t i = first; i < last; ++i) rows.push_back(tokenize(texts[static_cast<std::size_t>(i)]));
    vectors.slice(0, first, last) = place_.run(forward_, to_ids(rows));
  }
  return vectors;
}

}  // namespace trine::detail
