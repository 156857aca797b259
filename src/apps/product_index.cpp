#include "apps/product_index.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <span>

#include "apps/product_json.h"
#include "detail/error.h"
#include "detail/sha256.h"
#include "trine/apps/video_search.h"
#include "trine/layers.h"
#include "trine/search/index.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using detail::ProductIndex;
using detail::ProductVectors;
using torch::Tensor;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostMedia = 5;  ///< files of a kind of a product with a vector each; more become their mean
constexpr std::int64_t kFrames = 16;   ///< of a video that are looked at
/// Changes whenever the same texts, pictures and clips would give other vectors.
constexpr const char* kContentVersion = "1";
constexpr Clock::duration kPause = std::chrono::seconds(1);  ///< between two writes of the partial file, at least
constexpr std::uint64_t kMaxValues = 40'000'000;             ///< of the JSON in an index
constexpr int kShare = 20;                                   ///< the pause is this many times as long as writing takes

/// A title is asked for in sentences; the mean over these lies closer to such a sentence than the bare title.
constexpr std::array<const char*, 10> kPhrasings{
    "{}",
    "a photo of {}",
    "show me {}",
    "I would like {}",
    "I am looking for {}",
    "where can I find {}",
    "please add {} to my basket",
    "how much does {} cost",
    "we need {} for dinner tonight",
    "can you recommend {}",
};

/// The bytes of a file as a hash; why not, where it cannot be read.
std::string hash_of(const fs::path& file) {
  try {
    detail::Sha256 sum;
    sum.add_file("ProductSearch", file);
    return detail::hex(sum.finish());
  } catch (const std::runtime_error&) {
    return "unreadable";
  }
}

/// Of all that decides a product's vectors.
std::string content_of(const Embedder& model, const Product& product) {
  const auto hashes = [&](Modality modality, const std::vector<fs::path>& files) {
    Json list = Json::array();
    if (!model.supports(modality)) return list;
    for (const fs::path& file : files) list.push_back(hash_of(file));
    return list;
  };
  Json content{kContentVersion,
                     product.title,
                     product.description,
                     product.keywords,
                     hashes(Modality::image, product.images),
                     hashes(Modality::audio, product.audio)};
  if (!product.videos.empty()) content.push_back(hashes(Modality::image, product.videos));
  detail::Sha256 sum;
  sum.add(content.dump(-1, ' ', false, Json::error_handler_t::replace));
  return detail::hex(sum.finish()).substr(0, 32);
}

void embed_texts(const Embedder& model, const Product& product, ProductVectors& into) {
  into.vectors.emplace("title", title_vector(model, product.title));
  std::vector<std::string> texts, names;
  if (!product.description.empty()) {
    texts.push_back(product.description);
    names.emplace_back("description");
  }
  for (const std::string& keyword : product.keywords) {
    texts.push_back(keyword);
    names.push_back("keyword: " + keyword);
  }
  const Tensor rows = model.embed_texts(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) into.vectors.emplace(names[i], rows[static_cast<std::int64_t>(i)]);
}

/// `name`: of one of the files in what a vector shows, "picture". `embed`: a file -> (D)
void embed_files(const std::string& name, const Product& product, const std::vector<fs::path>& files,
                 const std::function<Tensor(const fs::path&)>& embed, ProductVectors& into) {
  std::map<std::string, Tensor> read;
  for (std::size_t i = 0; i < files.size(); ++i) {
    try {
      read.emplace(name + " " + std::to_string(i + 1), embed(files[i]));
    } catch (const std::runtime_error& error) {
      into.skipped.push_back({product.id, files[i], detail::without_function(error.what())});
    }
  }
  if (read.size() <= kMostMedia) return into.vectors.merge(read);
  std::vector<Tensor> rows;
  for (const auto& [what, vector] : read) rows.push_back(vector);
  into.vectors.emplace("mean of " + std::to_string(rows.size()) + " " + name + "s",
                       normalise(torch::stack(rows).mean(0)));
}

/// Makes a product's vectors.
class ProductEmbedder {
 public:
  explicit ProductEmbedder(const Embedder& model) : model_(model) {}

  ProductVectors embed(const Product& product, std::string content) {
    ProductVectors made{.content = std::move(content)};
    const auto of = [&](Modality modality) {
      return [this, modality](const fs::path& file) { return model_.embed_inputs(modality, {file.string()})[0]; };
    };
    if (model_.supports(Modality::text)) embed_texts(model_, product, made);
    if (model_.supports(Modality::image)) {
      embed_files("picture", product, product.images, of(Modality::image), made);
      embed_files("video", product, product.videos, [this](const fs::path& file) { return video(file); }, made);
    }
    if (model_.supports(Modality::audio)) embed_files("clip", product, product.audio, of(Modality::audio), made);
    return made;
  }

 private:
  /// Of frames, sound and subtitles together, in the space of the pictures.
  Tensor video(const fs::path& file) {
    if (!watcher_) watcher_.emplace(model_, nullptr);
    return watcher_->watch(file, {.frames = kFrames}).vector;
  }

  const Embedder& model_;
  std::optional<VideoSearch> watcher_;  ///< made for the first video
};

/// Writes what is done to the partial file, not too often.
class PartialFile {
 public:
  PartialFile(const fs::path& path, const Embedder& model, const ProductIndex& made)
      : path_(path), model_(model), made_(made) {}

  void write_sometimes() {
    if (Clock::now() - written_ > pause_) write();
  }

  void write() {
    if (path_.empty() || made_.products.empty()) return;
    const Clock::time_point begin = Clock::now();
    detail::write_product_index(path_, model_, made_);
    written_ = Clock::now();
    pause_ = std::max(kPause, kShare * (written_ - begin));
  }

 private:
  fs::path path_;
  const Embedder& model_;
  const ProductIndex& made_;
  Clock::time_point written_ = Clock::now();
  Clock::duration pause_ = kPause;
};

}  // namespace

Tensor title_vector(const Embedder& embedder, const std::string& title) {
  std::vector<std::string> sentences;
  for (std::string sentence : kPhrasings) sentences.push_back(sentence.replace(sentence.find("{}"), 2, title));
  return normalise(embedder.embed_texts(sentences).mean(0));
}

detail::ProductIndex detail::embed_products(const char* who, const Embedder& model,
                                            const std::vector<Product>& products,
                                            const std::map<std::string, const ProductVectors*>& known,
                                            const std::string& fingerprint, IndexReport& report,
                                            const IndexOptions& options) {
  std::map<std::string, std::size_t> seen;
  for (const Product& product : products) {
    check_product(who, product);
    if (!seen.emplace(product.id, seen.size()).second) {
      bad_argument(who, "the id ", shown(product.id), " is there twice");
    }
  }
  ProductIndex before;  // what an earlier run has left
  if (!options.partial.empty() && fs::exists(options.partial)) before = read_product_index(who, options.partial, model);
  std::map<std::string, const ProductVectors*> earlier;
  if (before.fingerprint == fingerprint) {
    for (std::size_t i = 0; i < before.products.size(); ++i) earlier[before.products[i].id] = &before.vectors[i];
  }

  ProductIndex made{.fingerprint = fingerprint};
  ProductEmbedder embedder(model);
  PartialFile partial(options.partial, model, made);
  try {
    for (std::size_t i = 0; i < products.size(); ++i) {
      const Product& product = products[i];
      const std::string content = content_of(model, product);
      const auto same = [&](const auto& place) -> const ProductVectors* {
        const auto found = place.find(product.id);
        return found != place.end() && found->second->content == content ? found->second : nullptr;
      };
      const ProductVectors* there = same(known);
      if (there == nullptr) there = same(earlier);
      ProductVectors vectors = there != nullptr ? *there : embedder.embed(product, content);
      report.embedded += there == nullptr;
      report.skipped.insert(report.skipped.end(), vectors.skipped.begin(), vectors.skipped.end());
      if (vectors.vectors.empty()) {
        report.skipped.push_back(
            {product.id, {}, "nothing of the product " + shown(product.id) + " could be embedded"});
      } else {
        made.add(product, std::move(vectors));
      }
      if (options.progress) options.progress(static_cast<std::int64_t>(i) + 1, std::ssize(products));
      partial.write_sometimes();
    }
  } catch (...) {
    partial.write();
    throw;
  }
  return made;
}

void detail::write_product_index(const fs::path& path, const Embedder& model, const ProductIndex& content) {
  Index index(model.dim());
  Json catalogue = Json::array(), contents = Json::array();
  for (std::size_t i = 0; i < content.products.size(); ++i) {
    const ProductVectors& vectors = content.vectors[i];
    catalogue.push_back(json_of(content.products[i]));
    Json skipped = Json::array();
    for (const SkippedMedia& one : vectors.skipped) skipped.push_back({{"file", one.file.string()}, {"why", one.why}});
    contents.push_back({{"hash", vectors.content}, {"skipped", skipped}});
    for (const auto& [what, vector] : vectors.vectors) {
      const Tensor row = vector.contiguous();
      index.add(content.products[i].id + kIdEnd + what,
                {row.const_data_ptr<float>(), static_cast<std::size_t>(row.numel())});
    }
  }
  const auto text = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  index.metadata()["catalogue"] = text(catalogue);
  index.metadata()["contents"] = text(contents);
  index.metadata()["model"] = model.name();
  if (!content.fingerprint.empty()) index.metadata()["fingerprint"] = content.fingerprint;
  if (!content.spread.empty()) {
    Json spread = Json::object();
    for (const auto& [modality, value] : content.spread) spread[std::string(to_string(modality))] = value;
    index.metadata()["spread"] = text(spread);
  }
  index.save(path);
}

detail::ProductIndex detail::read_product_index(const char* who, const fs::path& path, const Embedder& model) {
  const Index index = Index::load(path);
  const auto& metadata = index.metadata();
  if (!metadata.contains("catalogue") || !metadata.contains("model")) {
    failure(who, path, " is an index without a catalogue: make one with `trine index CATALOGUE --out INDEX`");
  }
  if (index.dim() != model.dim() || metadata.at("model") != model.name()) {
    failure(who, path, " was made by the model ", shown(metadata.at("model")), " with ", index.dim(),
            " dimensions, the model here is ", model.name(), " with ", model.dim());
  }
  const auto json = [&](const char* key) {
    return metadata.contains(key)
               ? parse_json(who, metadata.at(key), key, {.max_bytes = kMaxCatalogueBytes, .max_values = kMaxValues})
               : Json();
  };
  ProductIndex content;
  if (metadata.contains("fingerprint")) content.fingerprint = metadata.at("fingerprint");
  const Json spread = json("spread");
  for (const Modality modality : kModalities) {
    if (!spread.is_null()) content.spread[modality] = get<float>(who, spread, std::string(to_string(modality)).c_str());
  }
  std::map<std::string, std::size_t> number;
  const Json catalogue = json("catalogue"), contents = json("contents");
  if (!catalogue.is_array()) failure(who, path, ": the catalogue must be a JSON array");
  if (!contents.is_null() && (!contents.is_array() || contents.size() != catalogue.size())) {
    failure(who, path, ": the contents do not fit the catalogue");
  }
  for (const Json& one : catalogue) {
    Product product = product_of(who, one, path.string(), {});
    if (!number.emplace(product.id, number.size()).second) {
      failure(who, path, ": the id ", shown(product.id), " is there twice");
    }
    ProductVectors vectors;
    if (!contents.is_null()) {
      const Json& entry = contents.at(number.size() - 1);
      vectors.content = get<std::string>(who, entry, "hash");
      for (const Json& skipped : get<std::vector<Json>>(who, entry, "skipped")) {
        vectors.skipped.push_back(
            {product.id, get<std::string>(who, skipped, "file"), get<std::string>(who, skipped, "why")});
      }
    }
    content.add(std::move(product), std::move(vectors));
  }
  for (const std::string& id : index.ids()) {
    const std::size_t cut = id.find(kIdEnd);
    const auto found = cut == std::string::npos ? number.end() : number.find(id.substr(0, cut));
    if (found == number.end()) failure(who, "the index has a vector ", shown(id), " of no product");
    content.vectors[found->second].vectors.emplace(id.substr(cut + 1), torch::tensor(index.vector(id)));
  }
  for (std::size_t i = 0; i < content.products.size(); ++i) {
    if (!content.vectors[i].vectors.empty()) continue;
    failure(who, "the index has no vector of the product ", shown(content.products[i].id));
  }
  return content;
}

}  // namespace trine
