#include "trine/embedder.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <sstream>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "detail/names.h"
#include "detail/prefetch.h"
#include "detail/sha256.h"
#include "encoders/encoder_directory.h"
#include "encoders/inputs.h"
#include "encoders/sources.h"
#include "encoders/text_scores.h"
#include "encoders/videos.h"
#include "encoders/windows.h"
#include "linear/choose.h"
#include "place.h"
#include "trine/encoders/efficientnet.h"
#include "trine/encoders/gradients.h"
#include "trine/encoders/open_clip.h"
#include "trine/encoders/whisper.h"
#include "trine/heads.h"
#include "trine/layers.h"

namespace trine {

namespace fs = std::filesystem;
using torch::Tensor;

namespace {

constexpr const char* kWho = "Embedder";
constexpr double kShortestClip = 0.1;   ///< seconds
constexpr std::size_t kNameDigits = 8;  ///< of the fingerprint, in the name of a changed model
constexpr const char* kProjection = "projection.";

/// What follows an encoder: a linear layer if its weights name one.
Linear load_projection(const std::optional<Checkpoint>& weights, std::int64_t in, std::int64_t out) {
  if (!weights || !weights->contains(kProjection + std::string("weight"))) return nullptr;
  Linear projection(in, out);
  load_weights(*projection, *weights, kProjection);
  return projection;
}

/// What goes before every text, as sentence-transformers decides it.
std::string prompt_of(const Prompts& prompts, const EmbedOptions& options) {
  if (options.prompt) return *options.prompt;
  if (!options.prompt_name && prompts.default_name.empty()) return "";
  const std::string& name = options.prompt_name ? *options.prompt_name : prompts.default_name;
  const auto found = prompts.by_name.find(name);
  if (found != prompts.by_name.end()) return found->second;
  std::string known;
  for (const auto& [key, text] : prompts.by_name) known += (known.empty() ? "" : ", ") + key;
  detail::bad_argument("embed_texts", "the model has no prompt named ", detail::shown(name), ", ",
                       known.empty() ? "it has none" : "it has " + known);
}

/// The first values only, at unit length again.
Tensor truncated(const Tensor& vectors, std::int64_t truncate_dim) {
  if (truncate_dim == 0) return vectors;
  if (truncate_dim < 1 || truncate_dim > vectors.size(1)) {
    detail::bad_argument(kWho, "truncate_dim is ", truncate_dim, ", wanted 1 to ", vectors.size(1), ", or 0 for all");
  }
  return normalise(vectors.slice(1, 0, truncate_dim));
}

}  // namespace

struct Embedder::Impl {
  fs::path directory;
  std::string name;
  std::int64_t dim = 0;

  std::unique_ptr<ImageEncoder> image;
  std::unique_ptr<TextEncoder> text;
  std::unique_ptr<AudioEncoder> audio;
  Linear image_projection{nullptr};
  Linear text_projection{nullptr};
  SpeechHead speech_head{nullptr};

  detail::Place where;                   ///< of the encoders, and of what follows them
  std::map<Modality, fs::path> folders;  ///< of the encoders
  bool trims = false;                    ///< silence, and levels: what the head of a model of ours was trained on

  std::optional<Similarity> similarity;
  std::map<Modality, Calibration> calibration;
  std::map<Modality, std::string> precision;  ///< of the encoders
  std::vector<fs::path> sources;              ///< files, and folders of encoders, that the model was made of
  detail::Json config;                        ///< of a model of ours; null otherwise
  mutable std::map<Modality, std::vector<TrainablePart>> trained;  ///< of towers with weights of their own
  std::optional<std::vector<Modality>> wanted;                     ///< those that are loaded; none: all

  explicit Impl(const fs::path& path, std::optional<std::vector<Modality>> modalities = {})
      : directory(path), wanted(std::move(modalities)) {
    const fs::path file = directory / "config.json";
    // OpenCLIP's directories have a file of another name, which load_encoder knows
    const detail::Json json = is_open_clip(directory) ? detail::Json::object() : detail::read_json(kWho, file);
    if (detail::get_or<std::string>(kWho, json, "model_type", "") == "trine") {
      load_model(json);
    } else {
      load_single_encoder();
    }
    if (!wanted) return;
    if (wanted->empty()) detail::bad_argument(kWho, "wanted at least one modality to load, got none");
    for (const Modality m : *wanted) require(m);
  }

  bool is_wanted(Modality modality) const { return !wanted || std::ranges::find(*wanted, modality) != wanted->end(); }

  void load_single_encoder() {
    sources.push_back(directory);
    const detail::PrecisionLog log;
    AnyEncoder encoder = load_encoder(directory);
    name = directory.filename().string();
    image = std::move(encoder.image);
    text = std::move(encoder.text);
    audio = std::move(encoder.audio);
    similarity = encoder.similarity;
    dim = image ? image->dim() : text ? text->dim() : audio->dim();
    if (text) check_dim("text", text->dim(), /*projected=*/false);
    if (!is_wanted(Modality::image)) image.reset();
    if (!is_wanted(Modality::text)) text.reset();
    if (!is_wanted(Modality::audio)) audio.reset();
    for (const Modality m : kModalities) {
      folders[m] = directory;
      precision[m] = log.describe();
    }
  }

  void load_model(const detail::Json& json) {
    config = json;
    sources.push_back(directory / "config.json");
    name = detail::get<std::string>(kWho, config, "name");
    trims = true;
    dim = detail::get<std::int64_t>(kWho, config, "dim");
    if (config.contains("image") && is_wanted(Modality::image)) load_image(config.at("image"));
    if (config.contains("text") && is_wanted(Modality::text)) load_text(config.at("text"));
    if (config.contains("audio") && is_wanted(Modality::audio)) load_audio(config.at("audio"));
    for (const Modality m : kModalities) {
      const std::string key(to_string(m));
      if (!config.contains("calibration") || !config.at("calibration").contains(key)) continue;
      const detail::Json& entry = config.at("calibration").at(key);
      calibration[m] = {detail::get<float>(kWho, entry, "temperature"), detail::get<float>(kWho, entry, "gain"),
                        detail::get_or<float>(kWho, entry, "softness", 1.0f)};
      if (!(calibration[m].temperature > 0 && calibration[m].softness > 0)) {
        detail::failure(kWho, "calibration.", key, ".temperature and .softness must be above 0");
      }
    }
  }

  std::optional<fs::path> weights_of(const detail::Json& tower) {
    if (!tower.contains("weights")) return std::nullopt;
    return sources.emplace_back(directory / detail::get<std::string>(kWho, tower, "weights"));
  }

  fs::path encoder_of(Modality modality, const detail::Json& tower) {
    folders[modality] = detail::encoder_directory(kWho, directory, detail::get<std::string>(kWho, tower, "encoder"));
    return sources.emplace_back(folders[modality]);
  }

  static std::optional<Checkpoint> open(const std::optional<fs::path>& weights) {
    return weights ? std::optional<Checkpoint>(Checkpoint::open(*weights)) : std::nullopt;
  }

  void check_dim(const char* tower, std::int64_t encoder_dim, bool projected) const {
    if (!projected && encoder_dim != dim) {
      detail::failure(kWho, "the ", tower, " encoder of ", directory, " gives ", encoder_dim, " dimensions, wanted ",
                      dim, " or a projection");
    }
  }

  void load_image(const detail::Json& tower) {
    const fs::path folder = encoder_of(Modality::image, tower);
    const std::optional<fs::path> weights = weights_of(tower);
    const detail::PrecisionLog log;
    image = weights ? load_efficientnet(folder, weights) : load_encoder(folder).image;
    precision[Modality::image] = log.describe();
    if (!image) detail::failure(kWho, folder, " holds no image encoder");
    image_projection = load_projection(open(weights), image->dim(), dim);
    check_dim("image", image->dim(), !image_projection.is_empty());
  }

  void load_text(const detail::Json& tower) {
    const fs::path folder = encoder_of(Modality::text, tower);
    const detail::PrecisionLog log;
    text = load_encoder(folder).text;
    precision[Modality::text] = log.describe();
    if (!text) detail::failure(kWho, folder, " holds no text encoder");
    text_projection = load_projection(open(weights_of(tower)), text->dim(), dim);
    check_dim("text", text->dim(), !text_projection.is_empty());
  }

  void load_audio(const detail::Json& tower) {
    const fs::path folder = encoder_of(Modality::audio, tower);
    const std::optional<fs::path> path = weights_of(tower);
    const std::optional<Checkpoint> weights = open(path);
    const detail::PrecisionLog log;
    audio = weights && weights->contains("encoder.layer_norm.weight") ? load_whisper(folder, path)
                                                                      : load_encoder(folder).audio;
    precision[Modality::audio] = log.describe();
    if (!audio) detail::failure(kWho, folder, " holds no audio encoder");
    check_dim("audio", audio->dim(), weights.has_value());
    if (!weights) return;
    SpeechHeadOptions options{.feature_dim = audio->dim(), .out_dim = dim};
    if (tower.contains("head")) {
      const detail::Json& head = tower.at("head");
      options.width = detail::get<std::int64_t>(kWho, head, "width");
      options.num_heads = detail::get<std::int64_t>(kWho, head, "num_heads");
      options.hidden = detail::get<std::int64_t>(kWho, head, "hidden");
    }
    speech_head = SpeechHead(options);
    load_weights(*speech_head, *weights);
    speech_head->eval();
  }

  bool has(Modality modality) const {
    switch (modality) {
      case Modality::image:
        return image != nullptr;
      case Modality::text:
        return text != nullptr;
      case Modality::audio:
        return audio != nullptr;
    }
    return false;
  }

  std::string known() const {
    std::string all;
    for (const Modality m : kModalities) {
      if (has(m)) all += (all.empty() ? "" : ", ") + std::string(to_string(m));
    }
    return all;
  }

  void require(Modality modality) const {
    if (has(modality)) return;
    detail::bad_argument(kWho, "the model in ", directory, " has no ", to_string(modality), " tower, it has ", known());
  }

  /// Of the keys of that head in its file.
  static std::string head_prefix(Modality modality) { return modality == Modality::audio ? "" : kProjection; }

  /// What follows a tower's encoder in a model of ours; null: nothing.
  std::shared_ptr<torch::nn::Module> head_of(Modality modality) const {
    const auto module = [](const auto& holder) -> std::shared_ptr<torch::nn::Module> {
      return holder.is_empty() ? nullptr : holder.ptr();
    };
    switch (modality) {
      case Modality::image:
        return module(image_projection);
      case Modality::text:
        return module(text_projection);
      case Modality::audio:
        break;
    }
    return module(speech_head);
  }

  /// The encoder's parts with weights that are theirs alone, not of a mapped file.
  const std::vector<TrainablePart>& trainable(Modality modality) const {
    require(modality);
    if (const auto known = trained.find(modality); known != trained.end()) return known->second;
    Trainable* encoder = modality == Modality::image  ? dynamic_cast<Trainable*>(image.get())
                         : modality == Modality::text ? dynamic_cast<Trainable*>(text.get())
                                                      : dynamic_cast<Trainable*>(audio.get());
    std::vector<TrainablePart> parts = encoder == nullptr ? std::vector<TrainablePart>() : encoder->trainable();
    if (parts.empty()) {
      detail::bad_argument(kWho, "the ", to_string(modality), " tower of ", directory,
                           " cannot be trained: its family works with other weights than its checkpoint has");
    }
    const auto own = [](torch::nn::Module& module) {
      for (const auto& [key, tensor] : state_dict(module)) Tensor(tensor).set_data(tensor.detach().clone());
    };
    for (const TrainablePart& part : parts) own(*part.module);
    if (const auto head = head_of(modality)) own(*head);
    return trained.emplace(modality, std::move(parts)).first->second;
  }

  /// The encoder's tensors by their names in the checkpoint, where they may differ from it.
  std::map<std::string, Tensor> changed(Modality modality) const {
    std::map<std::string, Tensor> tensors;
    const auto parts = trained.find(modality);
    if (parts == trained.end()) return tensors;
    for (const TrainablePart& part : parts->second) {
      for (const auto& [key, tensor] : state_dict(*part.module)) tensors.emplace(part.prefix + key, tensor);
    }
    return tensors;
  }

  void save_single(const fs::path& to) const {
    std::map<std::string, Tensor> tensors;
    for (const Modality m : kModalities) tensors.merge(changed(m));
    detail::save_encoder(kWho, directory, tensors, to);
  }

  void save_model(const fs::path& to, const std::string& new_name) const {
    detail::Json written = config;
    written["name"] = new_name;
    for (const Modality m : kModalities) {
      if (!has(m)) continue;
      const std::string place(to_string(m)), head = place + ".safetensors";
      detail::Json& tower = written.at(place);
      const bool tuned = trained.contains(m);
      if (tuned || folders.at(m) == directory / tower.at("encoder").get<std::string>()) {
        detail::save_encoder(kWho, folders.at(m), changed(m), to / place);
        tower["encoder"] = place;
      }
      if (!tower.contains("weights")) continue;
      const fs::path file = directory / tower.at("weights").get<std::string>();
      tower["weights"] = head;
      if (!tuned) {
        detail::copy_file(kWho, file, to / head);
      } else if (const auto module = head_of(m)) {
        std::map<std::string, Tensor> tensors;
        for (const auto& [key, tensor] : state_dict(*module)) tensors.emplace(head_prefix(m) + key, tensor);
        save_tensors(to / head, tensors);
      } else {
        tower.erase("weights");  // they were the encoder's, which has them now
      }
    }
    fs::create_directories(to);
    detail::write_atomically(kWho, to / "config.json", [&](std::ostream& out) { out << written.dump(2) << '\n'; });
  }

  /// What a linear layer makes of features, where there is one.
  Tensor through(const Linear& projection, const Tensor& features) const {
    if (projection.is_empty()) return features;
    return where.run([&](const Tensor& x) { return projection->forward(x); }, features);
  }

  Tensor projected(const Tensor& features) const { return through(image_projection, features); }

  /// Pictures -> (N, dim), not normalised
  Tensor features_of(const char* who, const std::vector<ImageInput>& images, std::int64_t batch_size,
                     bool draft = false) const {
    require(Modality::image);
    if (batch_size < 1) detail::bad_argument(who, "batch_size must be at least 1, it is ", batch_size);
    const std::int64_t count = std::ssize(images);
    const auto end_of = [&](std::int64_t batch) { return std::min((batch + 1) * batch_size, count); };
    Tensor features = torch::empty({count, dim});
    detail::prefetch(
        count / batch_size + (count % batch_size != 0),
        [&](std::int64_t batch) {
          return detail::preprocess_images(
              who, *image, {images.begin() + batch * batch_size, images.begin() + end_of(batch)}, draft);
        },
        [&](std::int64_t batch, const std::vector<Tensor>& pixels) {
          features.slice(0, batch * batch_size, end_of(batch)) = projected(detail::encode_pixels(*image, pixels));
        });
    return features;
  }

  /// A video -> (dim), not normalised: of PE-AV its length counts in scores
  Tensor features_of(const char* who, const VideoInput& video, const VideoEmbedOptions& options) const {
    require(Modality::image);
    const auto* together = dynamic_cast<const VideoEncoder*>(image.get());
    std::vector<Tensor> seen;
    const Tensor places =
        detail::take_frames(who, video, options, together, [&](const std::vector<ImageInput>& frames) {
          seen.push_back(together != nullptr
                             ? together->look(torch::stack(detail::preprocess_images(who, *together, frames)))
                             : normalise(projected(detail::encode_images(who, *image, frames))));
        });
    const Tensor frames = torch::cat(seen);
    return together != nullptr ? projected(together->join(frames.index_select(0, places)).unsqueeze(0))[0]
                               : frames.mean(0);
  }

  /// What scores texts by the features of pictures or of clips; nothing where vectors do.
  const detail::TextScores* scores_of(Modality modality) const {
    if (!config.is_null()) return nullptr;  // a model of ours has a head behind the features
    return modality == Modality::image   ? dynamic_cast<const detail::TextScores*>(image.get())
           : modality == Modality::audio ? dynamic_cast<const detail::TextScores*>(audio.get())
                                         : nullptr;
  }

  /// features (N, dim) -> (N, M)
  static Tensor probabilities(const char* who, const detail::TextScores& scores, const Tensor& features,
                              const std::vector<std::string>& texts) {
    const TextEncoder& encoder = scores.texts();
    for (const std::string& one : texts) {
      if (const std::int64_t tokens = encoder.count_tokens(one); tokens > encoder.max_tokens()) {
        detail::bad_argument(who, "the text ", detail::shown(one), " has ", tokens,
                             " tokens, the model scores at most ", encoder.max_tokens());
      }
    }
    const Similarity how = scores.text_similarity();
    return (how.scale * features.mm(encoder.encode(texts).t()) + how.bias).sigmoid();
  }

  /// Unit vectors of texts that fit, and of what is cut of those that do not. -> (N, dim)
  Tensor encode(const std::string& prompt, const std::vector<std::string>& texts) const {
    return normalise(through(text_projection, text->encode_after(prompt, texts)));
  }

  /// What of a text goes through the encoder, in pieces.
  std::vector<detail::TextWindow> pieces_of(const std::string& prompt, const std::string& input,
                                            const EmbedOptions& options, Coverage& coverage) const {
    const std::vector<detail::TextWindow> whole{{input, {0, static_cast<double>(detail::count_characters(input))}}};
    if (options.long_input == LongInput::truncate && options.coverage == nullptr) return whole;
    const std::int64_t total = text->count_tokens(prompt + input), limit = text->max_tokens();
    coverage.total = coverage.used = static_cast<double>(total);
    if (total <= limit) return whole;
    switch (options.long_input) {
      case LongInput::window:
        return detail::text_windows(*text, prompt, input);
      case LongInput::truncate:
        coverage.used = static_cast<double>(limit);
        return {{input, {0, static_cast<double>(characters_used(prompt, input))}}};
      case LongInput::error:
        break;
    }
    detail::bad_argument("embed_texts", "the text ", detail::shown(input), " has ", total, " tokens, the model takes ",
                         limit);
  }

  /// Characters of a text up to its last token that the encoder takes.
  std::int64_t characters_used(const std::string& prompt, const std::string& input) const {
    std::int64_t end = 0;
    for (const auto& span : text->tokenizer().encode(prompt + input, text->max_tokens()).offsets) {
      end = std::max<std::int64_t>(end, span.second);
    }
    return std::max<std::int64_t>(end - detail::count_characters(prompt), 0);
  }

  /// A clip as the encoder gets it.
  struct Sound {
    Audio clip;
    double begin = 0;  ///< in the file, in seconds
    double total = 0;  ///< of the file, in seconds
  };

  Sound sound_of(const AudioInput& input) const {
    Audio clip = samples_of(input, {.sample_rate = audio->sample_rate()});
    const double total = clip.seconds();
    if (clip.seconds() < kShortestClip) {
      detail::failure("embed_audio", name_of(input), " lasts ", clip.seconds(), " s, at least ", kShortestClip,
                      " s is wanted");
    }
    double begin = 0;
    if (trims) clip = trim_and_level(clip, &begin);
    if (std::ranges::all_of(clip.samples, [](float sample) { return sample == 0; })) {
      detail::failure("embed_audio", name_of(input), " is silent");
    }
    return {std::move(clip), begin, total};
  }

  /// One window -> (dim), of unit length
  Tensor encode(const Audio& window) const {
    const Tensor steps = audio->encode(window);
    if (speech_head.is_empty()) return normalise(steps.mean(0));
    const Tensor pairs = mean_of_pairs(steps).unsqueeze(0);
    const auto pool = [&](const Tensor& x, const Tensor& mask) { return SpeechHead(speech_head)->forward(x, mask); };
    return normalise(where.run(pool, pairs, torch::ones({1, pairs.size(1)}, torch::kBool))[0]);
  }

  /// A spoken clip -> (dim), of unit length
  Tensor embed(const AudioInput& input, const Sound& sound, LongInput long_input, Coverage& coverage) const {
    const auto& [clip, begin, total] = sound;
    coverage.total = coverage.used = total;
    const double limit = std::round(audio->max_seconds() * clip.sample_rate);  // samples
    if (static_cast<double>(clip.samples.size()) <= limit) {
      coverage.windows = {{0, coverage.total}};
      return encode(clip);
    }
    if (long_input == LongInput::error) {
      detail::bad_argument("embed_audio", name_of(input), " has ", clip.seconds(), " s of sound, the model takes ",
                           audio->max_seconds());
    }
    auto windows = detail::sample_windows(clip.samples.size(), static_cast<std::size_t>(limit));
    if (long_input == LongInput::truncate) windows.resize(1);
    Tensor sum = torch::zeros({dim});
    for (const auto& [first, last] : windows) {
      const auto sample = [&clip = clip](std::size_t i) {
        return clip.samples.begin() + static_cast<std::ptrdiff_t>(i);
      };
      sum += static_cast<double>(last - first) * encode(Audio{clip.sample_rate, {sample(first), sample(last)}});
      const auto seconds = [&, &begin = begin](std::size_t i) {
        return begin + static_cast<double>(i) / clip.sample_rate;
      };
      coverage.windows.push_back({seconds(first), seconds(last)});
    }
    coverage.windows.front().first = 0;  // with the silence that was cut
    if (long_input == LongInput::window) coverage.windows.back().last = coverage.total;
    coverage.used = coverage.windows.back().last;
    return normalise(sum);
  }
};

namespace {

constexpr detail::Names<LongInput, 3> kLongInputs{
    {{LongInput::window, "window"}, {LongInput::truncate, "truncate"}, {LongInput::error, "error"}}};

}  // namespace

std::string_view to_string(LongInput long_input) { return detail::name_of(kLongInputs, long_input); }

LongInput long_input(std::string_view name) {
  if (const auto known = detail::value_of(kLongInputs, name)) return *known;
  detail::bad_argument(kWho, "long_input is ", detail::shown(name), ", wanted window, truncate or error");
}

Embedder::Embedder(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

namespace {

const fs::path& existing(const fs::path& directory) {
  if (!fs::is_directory(directory)) {
    throw fs::filesystem_error("[Embedder] there is no such model folder", directory,
                               std::make_error_code(std::errc::no_such_file_or_directory));
  }
  return directory;
}

}  // namespace

Embedder Embedder::load(const fs::path& directory) {
  return Embedder(std::make_shared<const Impl>(existing(directory)));
}

Embedder Embedder::load() { return load(default_model_directory()); }

Embedder Embedder::load(const fs::path& directory, const std::vector<Modality>& modalities) {
  const fs::path from = directory.empty() ? default_model_directory() : directory;
  return Embedder(std::make_shared<const Impl>(existing(from), modalities));
}

fs::path cache_directory() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const fs::path cache = variable("TRINE_CACHE"); !cache.empty()) return cache;
  if (const fs::path cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "trine";
  return variable("HOME") / ".cache" / "trine";
}

fs::path default_model_directory() {
  if (const char* model = std::getenv("TRINE_MODEL"); model != nullptr && *model != '\0') return model;
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&default_model_directory), &info) == 0 || info.dli_fname == nullptr) {
    detail::failure(kWho, "cannot tell where the library lies: set TRINE_MODEL to a model folder");
  }
  return fs::weakly_canonical(fs::path(info.dli_fname).parent_path() / ".." / "share" / "trine" / "models" / "default");
}

std::int64_t Embedder::dim() const { return impl_->dim; }
bool Embedder::supports(Modality modality) const { return impl_->has(modality); }
const fs::path& Embedder::directory() const { return impl_->directory; }
const std::string& Embedder::name() const { return impl_->name; }
torch::Device Embedder::device() const { return impl_->where.device(); }

std::string Embedder::fingerprint() const {
  detail::Sha256 sum;
  for (const auto& [key, value] : describe()) {
    const bool plain = key.ends_with(".precision") && value == to_string(Precision::fp32);  // as it always was
    if (key != "model" && key != "device" && !plain) sum.add(key + '\0' + value + '\0');  // the same under another name
  }
  for (const fs::path& source : impl_->sources) {
    const bool folder = fs::is_directory(source);
    for (const fs::path& file : folder ? detail::deciding_files(source) : std::vector{source}) {
      sum.add(file.lexically_relative(folder ? source : source.parent_path()).string() + '\0');
      sum.add_file(kWho, file);
    }
  }
  for (const auto& [modality, parts] : impl_->trained) {
    std::map<std::string, Tensor> tensors = impl_->changed(modality);
    if (const auto head = impl_->head_of(modality)) tensors.merge(state_dict(*head));
    for (const auto& [name, tensor] : tensors) {
      const Tensor whole = tensor.detach().cpu().contiguous();
      sum.add(name + '\0');
      sum.add(std::span(static_cast<const std::byte*>(whole.const_data_ptr()), whole.nbytes()));
    }
  }
  return detail::hex(sum.finish());
}

std::vector<std::pair<std::string, Tensor>> Embedder::weights(Modality modality) const {
  std::vector<std::pair<std::string, Tensor>> weights;
  const auto add = [&](const std::string& prefix, const torch::nn::Module& module) {
    for (const auto& item : module.named_parameters()) {
      if (item.value().requires_grad()) weights.emplace_back(prefix + item.key(), item.value());
    }
  };
  for (const TrainablePart& part : impl_->trainable(modality)) add(part.prefix, *part.module);
  if (const auto head = impl_->head_of(modality)) add(Impl::head_prefix(modality), *head);
  return weights;
}

void Embedder::save(const fs::path& directory) const {
  if (fs::exists(directory) && fs::equivalent(directory, impl_->directory)) {
    detail::bad_argument("save", directory, " is the folder that the model was loaded from: choose another");
  }
  if (impl_->wanted) detail::bad_argument(kWho, "only some towers of the model were loaded: load all of it to save it");
  if (impl_->config.is_null()) return impl_->save_single(directory);
  impl_->save_model(directory, impl_->trained.empty() ? name() : name() + "-" + fingerprint().substr(0, kNameDigits));
}

std::vector<Modality> Embedder::modalities() const {
  std::vector<Modality> present;
  for (const Modality modality : kModalities) {
    if (supports(modality)) present.push_back(modality);
  }
  return present;
}

Calibration Embedder::calibration(Modality modality) const {
  const auto found = impl_->calibration.find(modality);
  return found == impl_->calibration.end() ? Calibration{} : found->second;
}

Tensor Embedder::embed_images(const std::vector<ImageInput>& images, const EmbedOptions& options) const {
  const torch::AutoGradMode record(RecordGradients::on());
  const Tensor features = impl_->features_of("embed_images", images, options.batch_size, options.draft);
  if (options.coverage != nullptr) options.coverage->assign(images.size(), {.total = 1, .used = 1});
  return truncated(normalise(features), options.truncate_dim);
}

Tensor Embedder::embed_texts(const std::vector<std::string>& texts, const EmbedOptions& options) const {
  impl_->require(Modality::text);
  if (options.batch_size < 1)
    detail::bad_argument("embed_texts", "batch_size must be at least 1, it is ", options.batch_size);
  const torch::AutoGradMode record(RecordGradients::on());
  const std::string prompt = prompt_of(impl_->text->prompts(), options);
  const auto count = static_cast<std::int64_t>(texts.size());
  if (options.coverage != nullptr) options.coverage->assign(texts.size(), {});
  Tensor sums = torch::zeros({count, dim()});
  std::vector<std::string> pieces;
  std::vector<std::pair<std::int64_t, double>> places;  // of a piece: its text, its weight
  const auto embed_pieces = [&] {
    const Tensor vectors = impl_->encode(prompt, pieces);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      sums[places[i].first] += places[i].second * vectors[static_cast<std::int64_t>(i)];
    }
    pieces.clear();
    places.clear();
  };
  std::vector<std::int64_t> long_texts;
  for (std::int64_t row = 0; row < count; ++row) {
    Coverage coverage;
    std::vector<detail::TextWindow> found =
        impl_->pieces_of(prompt, texts[static_cast<std::size_t>(row)], options, coverage);
    if (found.size() > 1) long_texts.push_back(row);
    for (detail::TextWindow& piece : found) {
      coverage.windows.push_back(piece.characters);
      pieces.push_back(std::move(piece.text));
      places.emplace_back(row, found.size() > 1 ? piece.characters.last - piece.characters.first : 1);
      if (std::ssize(pieces) == options.batch_size) embed_pieces();
    }
    if (options.coverage != nullptr) (*options.coverage)[static_cast<std::size_t>(row)] = std::move(coverage);
  }
  if (!pieces.empty()) embed_pieces();
  for (const std::int64_t row : long_texts) sums[row] = normalise(sums[row].clone());  // gradients need what it was
  return truncated(sums, options.truncate_dim);
}

Tensor Embedder::embed_audios(const std::vector<AudioInput>& audios, const EmbedOptions& options) const {
  impl_->require(Modality::audio);
  const torch::AutoGradMode record(RecordGradients::on());
  if (options.coverage != nullptr) options.coverage->assign(audios.size(), {});
  Tensor vectors = torch::empty({static_cast<std::int64_t>(audios.size()), dim()});
  detail::prefetch(  // each on its own length: no padding, no batch to depend on
      std::ssize(audios), [&](std::int64_t i) { return impl_->sound_of(audios[static_cast<std::size_t>(i)]); },
      [&](std::int64_t row, const Impl::Sound& sound) {
        const auto i = static_cast<std::size_t>(row);
        Coverage coverage;
        vectors[row] = impl_->embed(audios[i], sound, options.long_input, coverage);
        if (options.coverage != nullptr) (*options.coverage)[i] = std::move(coverage);
      });
  return truncated(vectors, options.truncate_dim);
}

Tensor Embedder::embed_videos(const std::vector<VideoInput>& videos, const VideoEmbedOptions& options) const {
  impl_->require(Modality::image);
  const torch::AutoGradMode record(RecordGradients::on());
  Tensor features = torch::empty({std::ssize(videos), dim()});
  for (std::size_t i = 0; i < videos.size(); ++i) {
    features[static_cast<std::int64_t>(i)] = impl_->features_of("embed_videos", videos[i], options);
  }
  return truncated(normalise(features), options.truncate_dim);
}

Tensor Embedder::embed_video(const VideoInput& video) const { return embed_videos({video})[0]; }
Tensor Embedder::embed_image(const ImageInput& image) const { return embed_images({image})[0]; }
Tensor Embedder::embed_text(const std::string& text) const { return embed_texts({text})[0]; }
Tensor Embedder::embed_audio(const AudioInput& audio) const { return embed_audios({audio})[0]; }

Tensor Embedder::embed_inputs(Modality modality, const std::vector<std::string>& inputs,
                              const EmbedOptions& options) const {
  const std::vector<fs::path> paths(inputs.begin(), inputs.end());
  switch (modality) {
    case Modality::image:
      return embed_images({paths.begin(), paths.end()}, options);
    case Modality::text:
      return embed_texts(inputs, options);
    case Modality::audio:
      return embed_audios({paths.begin(), paths.end()}, options);
  }
  detail::bad_argument("embed_inputs", "unknown modality");
}

std::map<Modality, Tensor> Embedder::embed_each(const Inputs& inputs) const {
  std::map<Modality, Tensor> vectors;
  if (inputs.image) vectors[Modality::image] = embed_image(*inputs.image);
  if (inputs.text) vectors[Modality::text] = embed_text(*inputs.text);
  if (inputs.audio) vectors[Modality::audio] = embed_audio(*inputs.audio);
  if (vectors.empty()) detail::bad_argument("embed", "an image, a text or an audio clip is wanted, there is none");
  return vectors;
}

Tensor Embedder::embed(const Inputs& inputs, const QueryWeights& weights) const {
  return combine_query(embed_each(inputs), weights);
}

Tensor Embedder::similarity(const Tensor& a, const Tensor& b) {
  const auto rows = [](const Tensor& vectors) { return vectors.dim() == 1 ? vectors.unsqueeze(0) : vectors; };
  const Tensor left = rows(a), right = rows(b);
  if (left.dim() != 2 || right.dim() != 2 || left.size(1) != right.size(1)) {
    detail::bad_argument("similarity", "(N, D) and (M, D) are wanted, got ", a.sizes(), " and ", b.sizes());
  }
  return normalise(left).mm(normalise(right).t());
}

SimilarityKind Embedder::scoring_kind(Modality modality) const {
  const detail::TextScores* scores = impl_->scores_of(modality);
  return scores != nullptr ? scores->text_similarity().kind : scoring(modality).kind;
}

Similarity Embedder::scoring(Modality modality) const {
  if (modality == Modality::text || !supports(modality) || !supports(Modality::text)) {
    detail::bad_argument("probabilities", "they are of pictures or clips against texts, the model in ", directory(),
                         " has ", impl_->known(), " and was asked for ", to_string(modality),
                         ": similarity() gives the cosines of any vectors");
  }
  if (impl_->scores_of(modality) != nullptr) {
    detail::bad_argument("probabilities", "the model in ", directory(),
                         " scores features whose length counts, not vectors of unit length: image_probabilities, "
                         "audio_probabilities and video_probabilities take the inputs");
  }
  if (impl_->similarity) return *impl_->similarity;
  if (impl_->calibration.contains(modality)) return {.scale = 1 / calibration(modality).temperature};
  detail::bad_argument("probabilities", "the model in ", directory(), " was not trained on pairs and its ",
                       to_string(modality), " is not calibrated: similarity() gives the cosines of any vectors");
}

Tensor Embedder::probabilities(Modality modality, const Tensor& vectors, const Tensor& texts) const {
  const Similarity how = scoring(modality);
  const Tensor scores = how.scale * similarity(vectors, texts) + how.bias;
  return how.kind == SimilarityKind::softmax ? scores.softmax(1) : scores.sigmoid();
}

Tensor Embedder::image_probabilities(const std::vector<ImageInput>& images, const std::vector<std::string>& texts,
                                     std::int64_t batch_size) const {
  constexpr const char* kScores = "image_probabilities";
  scoring_kind(Modality::image);  // refuses before anything is worked out
  if (const auto* scores = impl_->scores_of(Modality::image)) {
    return Impl::probabilities(kScores, *scores, impl_->features_of(kScores, images, batch_size), texts);
  }
  const EmbedOptions options{.batch_size = batch_size};
  return probabilities(Modality::image, embed_images(images, options), embed_texts(texts, options));
}

Tensor Embedder::audio_probabilities(const std::vector<AudioInput>& clips,
                                     const std::vector<std::string>& texts) const {
  constexpr const char* kScores = "audio_probabilities";
  scoring_kind(Modality::audio);
  const auto* scores = impl_->scores_of(Modality::audio);
  if (scores == nullptr) return probabilities(Modality::audio, embed_audios(clips), embed_texts(texts));
  Tensor features = torch::empty({std::ssize(clips), dim()});
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const Audio clip = impl_->sound_of(clips[i]).clip;
    if (clip.seconds() > impl_->audio->max_seconds()) {
      detail::bad_argument(kScores, name_of(clips[i]), " has ", clip.seconds(),
                           " s of sound, the model scores at most ", impl_->audio->max_seconds());
    }
    features[static_cast<std::int64_t>(i)] = impl_->audio->encode(clip).mean(0);
  }
  return Impl::probabilities(kScores, *scores, features, texts);
}

Tensor Embedder::video_probabilities(const std::vector<VideoInput>& videos, const std::vector<std::string>& texts,
                                     const VideoEmbedOptions& options) const {
  constexpr const char* kScores = "video_probabilities";
  scoring_kind(Modality::image);
  const auto* scores = impl_->scores_of(Modality::image);
  if (scores == nullptr) {
    const Tensor labels = embed_texts(texts, {.truncate_dim = options.truncate_dim});
    return probabilities(Modality::image, embed_videos(videos, options), labels);
  }
  if (options.truncate_dim != 0) {
    detail::bad_argument(kScores, "truncate_dim is ", options.truncate_dim,
                         ", the model scores whole features: wanted 0");
  }
  Tensor features = torch::empty({std::ssize(videos), dim()});
  for (std::size_t i = 0; i < videos.size(); ++i) {
    features[static_cast<std::int64_t>(i)] = impl_->features_of(kScores, videos[i], options);
  }
  return Impl::probabilities(kScores, *scores, features, texts);
}

Tensor Embedder::preprocess_image(const ImageInput& image, bool draft) const {
  impl_->require(Modality::image);
  return detail::preprocess_image("preprocess_image", *impl_->image, image, draft);
}

Tensor Embedder::embed_pixels(const Tensor& pixels) const {
  impl_->require(Modality::image);
  const torch::AutoGradMode record(RecordGradients::on());
  return normalise(impl_->projected(impl_->image->encode(pixels)));
}

Tensor Embedder::preprocess_audio(const AudioInput& audio) const {
  impl_->require(Modality::audio);
  return impl_->audio->preprocess(impl_->sound_of(audio).clip);
}

std::vector<std::int32_t> Embedder::tokenize(const std::string& text) const {
  impl_->require(Modality::text);
  return impl_->text->tokenize(text);
}

Description Embedder::describe() const {
  Description lines{
      {"model", impl_->name}, {"dimensions", std::to_string(dim())}, {"device", impl_->where.device().str()}};
  const auto add = [&](Modality modality, const Description& parts) {
    const std::string prefix = std::string(to_string(modality)) + ".";
    for (const auto& [key, value] : detail::with_sources(impl_->folders.at(modality), modality, parts)) {
      lines.emplace_back(prefix + key, value);
    }
    lines.emplace_back(prefix + "precision", impl_->precision.at(modality));
    if (impl_->calibration.contains(modality)) {
      std::ostringstream out;
      const Calibration fitted = calibration(modality);
      out << "temperature " << fitted.temperature << ", gain " << fitted.gain << ", softness " << fitted.softness;
      lines.emplace_back(prefix + "calibration", out.str());
      lines.emplace_back(prefix + "calibration.source", "config.json: calibration." + std::string(to_string(modality)));
    }
  };
  if (impl_->image) {
    add(Modality::image, impl_->image->describe());
    if (!impl_->image_projection.is_empty()) lines.emplace_back("image.head", "linear, then unit length");
  }
  if (impl_->text) {
    add(Modality::text, impl_->text->describe());
    const std::int64_t limit = impl_->text->max_tokens();
    const std::int64_t shared = detail::shared_tokens(limit - impl_->text->count_tokens(""));
    lines.emplace_back("text.windows", "over " + std::to_string(limit) + " tokens: pieces that share about " +
                                           std::to_string(shared) +
                                           " tokens, cut between words where possible; the mean of their unit vectors "
                                           "weighted by characters, at unit length");
  }
  if (impl_->audio) {
    add(Modality::audio, impl_->audio->describe());
    if (impl_->trims) {
      lines.emplace_back("audio.level", "silence cut to 60 ms at both ends, active part at -24 dBFS");
    }
    std::ostringstream windows;
    windows << "over " << impl_->audio->max_seconds() << " s: pieces of that length, each from the middle of the one "
            << "before; the mean of their unit vectors weighted by seconds, at unit length";
    lines.emplace_back("audio.windows", windows.str());
    lines.emplace_back("audio.head", impl_->speech_head.is_empty()
                                         ? "mean over time, then unit length"
                                         : "convolution, attention pooling, two linear layers, then unit length");
  }
  return lines;
}

}  // namespace trine
