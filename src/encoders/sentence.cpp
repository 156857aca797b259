#include "encoders/sentence.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "detail/error.h"
#include "detail/json.h"
#include "encoders/config.h"

namespace trine::detail {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr const char* kLoad = "load_encoder";
constexpr std::int64_t kMostDimensions = 65'536;

// --- pooling: (N, T, hidden_size) -> (N, modes * hidden_size)
// ---------------------------------------------------------

enum class PoolingMode { cls, max, mean, mean_sqrt_len, weightedmean, lasttoken };

struct PoolingName {
  PoolingMode mode;
  const char* name;  ///< in "pooling_mode"
  const char* flag;  ///< the key it had before
  const char* described;
};
// Where several flags are set the parts come in this order.
constexpr std::array<PoolingName, 6> kPoolings{
    {{PoolingMode::cls, "cls", "pooling_mode_cls_token", "the first token"},
     {PoolingMode::max, "max", "pooling_mode_max_tokens", "maximum over all tokens, special tokens included"},
     {PoolingMode::mean, "mean", "pooling_mode_mean_tokens", "mean over all tokens, special tokens included"},
     {PoolingMode::mean_sqrt_len, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens",
      "sum over all tokens by the root of their number, special tokens included"},
     {PoolingMode::weightedmean, "weightedmean", "pooling_mode_weightedmean_tokens",
      "mean over all tokens weighted by position, special tokens included"},
     {PoolingMode::lasttoken, "lasttoken", "pooling_mode_lasttoken", "the last token"}}};

struct Pooling {
  std::vector<PoolingMode> modes;
  bool include_prompt = true;
};

/// "pooling_mode" as a name or a list of names, or the flags; with neither the mean.
std::vector<PoolingMode> read_modes(const fs::path& path, const Json& json) {
  std::vector<PoolingMode> modes;
  if (const auto found = json.find("pooling_mode"); found != json.end()) {
    const auto names = found->is_array() ? get<std::vector<std::string>>(kLoad, json, "pooling_mode")
                                         : std::vector{get<std::string>(kLoad, json, "pooling_mode")};
    for (const std::string& name : names) {
      const auto known = std::ranges::find_if(kPoolings, [&](const PoolingName& p) { return name == p.name; });
      if (known == kPoolings.end() || modes.size() == kPoolings.size()) {
        failure(kLoad, path, ": \"pooling_mode\" has ", shown(name), ", wanted at most ", kPoolings.size(),
                " of cls, max, mean, mean_sqrt_len_tokens, weightedmean and lasttoken");
      }
      modes.push_back(known->mode);
    }
    if (modes.empty()) failure(kLoad, path, ": \"pooling_mode\" is an empty list, wanted at least one mode");
    return modes;
  }
  for (const PoolingName& p : kPoolings) {
    if (get_or(kLoad, json, p.flag, false)) modes.push_back(p.mode);
  }
  if (modes.empty()) modes.push_back(PoolingMode::mean);
  return modes;
}

Pooling read_pooling(const fs::path& path, std::int64_t hidden_size) {
  const Json json = read_json(kLoad, path);
  for (const char* key : {"embedding_dimension", "word_embedding_dimension"}) {
    if (const auto dim = get_or(kLoad, json, key, hidden_size); dim != hidden_size) {
      failure(kLoad, path, ": \"", key, "\" is ", dim, ", the hidden size is ", hidden_size);
    }
  }
  return {read_modes(path, json), get_or(kLoad, json, "include_prompt", true)};
}

/// `prompt_length` tokens at the start are left out, but never all.
Tensor pool(const Pooling& pooling, const Tensor& hidden, const Tensor& mask, std::int64_t prompt_length) {
  const auto numbers = mask.options().dtype(torch::kInt64);
  const Tensor rows = torch::arange(hidden.size(0), numbers), steps = torch::arange(hidden.size(1), numbers);
  const Tensor last = mask.sum(1) - 1;                       // (N)
  const Tensor first = last.clamp_max(prompt_length);        // (N)
  const Tensor kept = mask & (steps >= first.unsqueeze(1));  // (N, T)
  const auto weighted = [&](const Tensor& weights) { return (hidden * weights.unsqueeze(-1)).sum(1); };
  std::vector<Tensor> parts;
  for (const PoolingMode mode : pooling.modes) {
    switch (mode) {
      case PoolingMode::cls:
        parts.push_back(hidden.index({rows, first}));
        break;
      case PoolingMode::max:
        parts.push_back(hidden.masked_fill(~kept.unsqueeze(-1), -INFINITY).amax(1));
        break;
      case PoolingMode::mean:
        parts.push_back(masked_mean(hidden, kept));
        break;
      case PoolingMode::mean_sqrt_len:
        parts.push_back(weighted(kept.to(hidden.scalar_type())) / kept.sum(1, /*keepdim=*/true).sqrt());
        break;
      case PoolingMode::weightedmean: {
        const Tensor weights = kept.to(hidden.scalar_type()) * (steps + 1);
        parts.push_back(weighted(weights) / weights.sum(1, /*keepdim=*/true));
        break;
      }
      case PoolingMode::lasttoken:
        parts.push_back(hidden.index({rows, last}));
        break;
    }
  }
  return torch::cat(parts, -1);
}

// --- what follows it: (N, in) -> (N, out)
// -----------------------------------------------------------------------------

struct Step {
  enum class Kind { dense, layer_norm, normalize };
  Kind kind;
  std::string described;
  std::int64_t out;
  std::int64_t parameters;
  std::function<Tensor(const Tensor&)> apply;
};

/// Modules read and write the sentence's vector; other features are of other models.
void check_features(const fs::path& path, const Json& json) {
  for (const char* key : {"module_input_name", "module_output_name"}) {
    if (const auto name = get_or<std::string>(kLoad, json, key, "sentence_embedding"); name != "sentence_embedding") {
      failure(kLoad, path, ": \"", key, "\" is ", shown(name), ", known is sentence_embedding");
    }
  }
}

Step read_dense(const fs::path& folder, std::int64_t in) {
  const fs::path path = folder / "config.json";
  const Json json = read_json(kLoad, path);
  check_features(path, json);
  if (const auto found = read_size(kLoad, json, "in_features", kMostDimensions); found != in) {
    failure(kLoad, path, ": \"in_features\" is ", found, ", the module before it gives ", in);
  }
  const std::int64_t out = read_size(kLoad, json, "out_features", kMostDimensions);
  check_weights(kLoad, 2.0 * static_cast<double>(in) * static_cast<double>(out));
  const Activation function = torch_activation(
      kLoad, "activation_function", get_or<std::string>(kLoad, json, "activation_function", "torch.nn.Tanh"));
  const Checkpoint checkpoint = Checkpoint::open(folder);
  Linear linear(in, out, get_or(kLoad, json, "bias", true));
  load_weights(*linear, checkpoint, "linear.");
  Step step{Step::Kind::dense, "linear to " + std::to_string(out) + ", activation " + std::string(to_string(function)),
            out, count_parameters(*linear),
            [linear, function](const Tensor& x) { return activate(linear->forward(x), function); }};
  if (!get_or(kLoad, json, "use_residual", false)) return step;
  step.described += ", residual";
  if (in == out) {
    step.apply = [inner = step.apply](const Tensor& x) { return inner(x) + x; };
    return step;
  }
  Linear residual(in, out, /*with_bias=*/false);
  load_weights(*residual, checkpoint, "residual.");
  step.parameters += count_parameters(*residual);
  step.apply = [inner = step.apply, residual](const Tensor& x) { return inner(x) + residual->forward(x); };
  return step;
}

Step read_layer_norm(const fs::path& folder, std::int64_t in) {
  const fs::path path = folder / "config.json";
  if (const auto dim = read_size(kLoad, read_json(kLoad, path), "dimension", kMostDimensions); dim != in) {
    failure(kLoad, path, ": \"dimension\" is ", dim, ", the module before it gives ", in);
  }
  LayerNorm norm(in);
  load_weights(*norm, Checkpoint::open(folder), "norm.");
  return {Step::Kind::layer_norm, "layer norm", in, count_parameters(*norm),
          [norm](const Tensor& x) { return norm->forward(x); }};
}

Step read_normalize(const fs::path& folder, std::int64_t in) {
  const fs::path path = folder / "config.json";
  if (fs::exists(path)) check_features(path, read_json(kLoad, path));
  return {Step::Kind::normalize, "unit length", in, 0, normalise};
}

struct Modules {
  Pooling pooling;
  std::vector<Step> steps;
};

/// Without modules.json sentence-transformers reads none of its files.
bool has_modules(const fs::path& directory) { return fs::exists(directory / "modules.json"); }

Modules read_modules(const fs::path& directory, std::int64_t hidden_size) {
  if (!has_modules(directory)) return {{{PoolingMode::mean}}, {}};
  const fs::path path = directory / "modules.json";
  const Json list = read_json(kLoad, path);
  if (!list.is_array()) failure(kLoad, path, " is not a list of modules");
  Modules modules;
  for (const Json& module : list) {
    const auto type = get<std::string>(kLoad, module, "type");
    const auto folder = get<std::string>(kLoad, module, "path");
    const std::string name = type.substr(type.rfind('.') + 1);
    const bool inside = folder != "." && folder != ".." && fs::path(folder).filename() == folder;
    const bool pooled = !modules.pooling.modes.empty();
    const std::int64_t in = !modules.steps.empty()
                                ? modules.steps.back().out
                                : hidden_size * static_cast<std::int64_t>(modules.pooling.modes.size());
    if (name == "Transformer" && folder.empty() && !pooled) continue;
    if (name == "Pooling" && inside && !pooled) {
      modules.pooling = read_pooling(directory / folder / "config.json", hidden_size);
    } else if (name == "Dense" && inside && pooled) {
      modules.steps.push_back(read_dense(directory / folder, in));
    } else if (name == "LayerNorm" && inside && pooled) {
      modules.steps.push_back(read_layer_norm(directory / folder, in));
    } else if (name == "Normalize" && inside && pooled) {
      modules.steps.push_back(read_normalize(directory / folder, in));
    } else if (name != "Dropout" || !pooled) {
      failure(kLoad, path, " has a module of \"type\" ", shown(type), " at \"path\" ", shown(folder),
              ", which is not supported: known are a Transformer at \"\", then one Pooling, then Dense, LayerNorm, "
              "Dropout and Normalize, each in a folder of its own");
    }
  }
  if (modules.pooling.modes.empty()) failure(kLoad, path, " has no Pooling module");
  // vectors become unit vectors later
  while (!modules.steps.empty() && modules.steps.back().kind == Step::Kind::normalize) modules.steps.pop_back();
  return modules;
}

// --- settings beside the modules
// --------------------------------------------------------------------------------------

/// The file of the Transformer module, which older versions named by the family.
Json read_transformer_settings(const fs::path& directory) {
  for (const char* family : {"bert", "roberta", "distilbert", "xlm-roberta"}) {
    const fs::path path = directory / ("sentence_" + std::string(family) + "_config.json");
    if (!has_modules(directory) || !fs::exists(path)) continue;
    Json json = read_json(kLoad, path);
    if (const auto task = get_or<std::string>(kLoad, json, "transformer_task", "feature-extraction");
        task != "feature-extraction") {
      failure(kLoad, path, ": \"transformer_task\" is ", shown(task), ", known is feature-extraction");
    }
    if (const auto name = get_or<std::string>(kLoad, json, "module_output_name", "token_embeddings");
        name != "token_embeddings") {
      failure(kLoad, path, ": \"module_output_name\" is ", shown(name), ", known is token_embeddings");
    }
    const Json modality = get_or(kLoad, get_or(kLoad, json, "modality_config", Json::object()), "text", Json::object());
    if (const auto name = get_or<std::string>(kLoad, modality, "method_output_name", "last_hidden_state");
        name != "last_hidden_state") {
      failure(kLoad, path, ": \"method_output_name\" is ", shown(name), ", known is last_hidden_state");
    }
    for (const char* key : {"processing_kwargs", "query_length", "document_length", "query_expansion"}) {
      if (json.contains(key) && !json.at(key).empty()) failure(kLoad, path, ": \"", key, "\" is not supported");
    }
    return json;
  }
  return Json::object();
}

std::optional<std::int64_t> read_max_seq_length(const Json& settings) {
  if (!settings.contains("max_seq_length") || settings.at("max_seq_length").is_null()) return std::nullopt;
  return get<std::int64_t>(kLoad, settings, "max_seq_length");
}

struct Settings {
  // sentence-transformers has these two where a directory says nothing
  Prompts prompts{.by_name = {{"document", ""}, {"query", ""}}};
  std::optional<std::int64_t> truncate_dim = {};
};

Settings read_settings(const fs::path& directory) {
  Settings settings;
  const fs::path path = directory / "config_sentence_transformers.json";
  if (!has_modules(directory) || !fs::exists(path)) return settings;
  const Json json = read_json(kLoad, path);
  if (const auto type = get_or<std::string>(kLoad, json, "model_type", "SentenceTransformer");
      type != "SentenceTransformer") {
    failure(kLoad, path, ": \"model_type\" is ", shown(type), ", known is SentenceTransformer");
  }
  const Json prompts = get_or(kLoad, json, "prompts", Json::object());
  if (!prompts.is_object()) failure(kLoad, path, ": \"prompts\" is not an object of texts by name");
  for (const auto& [name, text] : prompts.items()) {
    settings.prompts.by_name[name] = get_or<std::string>(kLoad, prompts, name.c_str(), "");
  }
  settings.prompts.default_name = get_or<std::string>(kLoad, json, "default_prompt_name", "");
  if (const std::string& name = settings.prompts.default_name;
      !name.empty() && !settings.prompts.by_name.contains(name)) {
    failure(kLoad, path, ": \"default_prompt_name\" is ", shown(name), ", which \"prompts\" lacks");
  }
  if (json.contains("truncate_dim") && !json.at("truncate_dim").is_null()) {
    settings.truncate_dim = read_size(kLoad, json, "truncate_dim", kMostDimensions);
  }
  return settings;
}

class SentenceEncoder : public TextEncoder, public Trainable {
 public:
  SentenceEncoder(const ModelFiles& files, TextNetwork network)
      : modules_(read_modules(files.directory, network.hidden_size)),
        transformer_settings_(read_transformer_settings(files.directory)),
        settings_(read_settings(files.directory)),
        model_(kLoad, files, std::move(network), read_max_seq_length(transformer_settings_)) {
    // Lower case before the tokenizer changes nothing where the tokenizer makes lower case itself.
    if (get_or(kLoad, transformer_settings_, "do_lower_case", false) &&
        model_.tokenizer().encode("A").ids != model_.tokenizer().encode("a").ids) {
      failure(kLoad, files.directory, ": \"do_lower_case\" with a tokenizer that keeps case is not supported");
    }
  }

  std::int64_t dim() const override { return std::min(settings_.truncate_dim.value_or(width()), width()); }
  std::int64_t max_tokens() const override { return model_.max_tokens(); }
  const Tokenizer& tokenizer() const override { return model_.tokenizer(); }
  const Prompts& prompts() const override { return settings_.prompts; }
  std::vector<TrainablePart> trainable() override { return {model_.part()}; }  // what follows has files of its own

  Tensor encode(const std::vector<std::string>& texts) const override { return encode(texts, 0); }

  Tensor encode_after(const std::string& prompt, const std::vector<std::string>& texts) const override {
    std::vector<std::string> prompted;
    for (const std::string& text : texts) prompted.push_back(prompt + text);
    return encode(prompted, modules_.pooling.include_prompt ? 0 : prompt_length(prompt));
  }

  Description describe() const override {
    Description lines = model_.describe();
    std::string pooling;
    for (const PoolingMode mode : modules_.pooling.modes) {
      const auto known = std::ranges::find_if(kPoolings, [&](const PoolingName& p) { return p.mode == mode; });
      pooling += (pooling.empty() ? "" : "; ") + std::string(known->described);
    }
    if (!modules_.pooling.include_prompt) pooling += "; without the prompt's tokens";
    lines.emplace_back("pooling", pooling);
    std::int64_t parameters = model_.count_parameters();
    std::string after;
    for (const Step& step : modules_.steps) {
      after += (after.empty() ? "" : "; ") + step.described;
      parameters += step.parameters;
    }
    if (!after.empty()) lines.emplace_back("after_pooling", after);
    if (dim() < width()) lines.emplace_back("truncate_dim", "the first " + std::to_string(dim()) + " values");
    if (const std::string prompts = describe_prompts(); !prompts.empty()) lines.emplace_back("prompts", prompts);
    lines.emplace_back("parameters", std::to_string(parameters));
    return lines;
  }

 private:
  /// Of a vector before it is cut.
  std::int64_t width() const { return modules_.steps.empty() ? pooled_width() : modules_.steps.back().out; }
  std::int64_t pooled_width() const { return model_.network().hidden_size * std::ssize(modules_.pooling.modes); }

  /// Tokens of the prompt alone, without an end token.
  std::int64_t prompt_length(const std::string& prompt) const {
    if (prompt.empty()) return 0;
    const Encoding encoding = model_.tokenizer().encode(prompt, max_tokens());
    const bool ends = encoding.offsets.back() == std::pair<std::int32_t, std::int32_t>{0, 0};
    return std::ssize(encoding.ids) - (ends ? 1 : 0);
  }

  Tensor encode(const std::vector<std::string>& texts, std::int64_t left_out) const {
    const torch::AutoGradMode record(RecordGradients::on());
    Tensor vectors = model_.run(texts, pooled_width(), [&](const Tensor& hidden, const Tensor& mask) {
      return pool(modules_.pooling, hidden, mask, left_out);
    });
    for (const Step& step : modules_.steps) vectors = place_.run(step.apply, vectors);
    return vectors.slice(1, 0, dim());
  }

  std::string describe_prompts() const {
    std::string all;
    for (const auto& [name, text] : settings_.prompts.by_name) {
      if (!text.empty()) all += (all.empty() ? "" : ", ") + name + " " + shown(text);
    }
    const std::string& name = settings_.prompts.default_name;
    return all.empty() || name.empty() ? all : all + "; by default " + name;
  }

  Modules modules_;
  Place place_;
  Json transformer_settings_;
  Settings settings_;
  TextModel model_;
};

}  // namespace

std::unique_ptr<TextEncoder> load_sentence_encoder(const fs::path& directory, MakeTextNetwork make) {
  const ModelFiles files = open_model(kLoad, directory);
  return std::make_unique<SentenceEncoder>(files, make(files.config));
}

}  // namespace trine::detail
