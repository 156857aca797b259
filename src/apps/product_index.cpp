#include "apps/product_index.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "apps/product_json.h"
#include "detail/error.h"
#include "detail/prefetch.h"
#include "detail/sentence.h"
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
constexpr std::size_t kMostRead = 32;  ///< pictures of a product that are read before it is embedded: 20 MB
constexpr std::int64_t kFrames = 16;   ///< of a video that are looked at
/// Changes whenever the same texts, pictures and clips would give other vectors.
constexpr const char* kContentVersion = "1";
constexpr Clock::duration kPause = std::chrono::seconds(1);  ///< between two writes of the partial file, at least
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
std::string content_of(const Embedder& model, const Product& product, bool draft) {
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
  if (draft) content.push_back("draft");
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

/// `name`: of one of the files in what a vector shows, "picture". `embed`: the number of a file -> (D)
void embed_files(const std::string& name, const Product& product, const std::vector<fs::path>& files,
                 const std::function<Tensor(std::size_t)>& embed, ProductVectors& into) {
  std::map<std::string, Tensor> read;
  for (std::size_t i = 0; i < files.size(); ++i) {
    try {
      read.emplace(name + " " + std::to_string(i + 1), embed(i));
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

/// A picture as it enters the encoder, or why it cannot.
struct ReadPicture {
  Tensor pixels = {};
  std::exception_ptr failure = nullptr;
};

/// What is known of a product before it is embedded.
struct ReadProduct {
  std::string content;                      ///< see ProductVectors
  const ProductVectors* vectors = nullptr;  ///< that were there; null: they are to be made
  std::vector<ReadPicture> pictures = {};   ///< the first ones
};

/// Makes a product's vectors.
class ProductEmbedder {
 public:
  ProductEmbedder(const Embedder& model, bool draft) : model_(model), draft_(draft) {}

  /// Changes nothing, so that it may go on beside `embed`.
  std::vector<ReadPicture> read_pictures(const Product& product) const {
    std::vector<ReadPicture> pictures;
    const std::size_t count = model_.supports(Modality::image) ? std::min(product.images.size(), kMostRead) : 0;
    for (std::size_t i = 0; i < count; ++i) pictures.push_back(read_picture(product.images[i]));
    return pictures;
  }

  ProductVectors embed(const Product& product, const ReadProduct& read) {
    ProductVectors made{.content = read.content};
    if (model_.supports(Modality::text)) embed_texts(model_, product, made);
    if (model_.supports(Modality::image)) {
      const auto picture = [&](std::size_t i) {
        const ReadPicture& one = i < read.pictures.size() ? read.pictures[i] : read_picture(product.images[i]);
        if (one.failure) std::rethrow_exception(one.failure);
        return model_.embed_pixels(one.pixels.unsqueeze(0))[0];
      };
      embed_files("picture", product, product.images, picture, made);
      embed_files("video", product, product.videos, [&](std::size_t i) { return video(product.videos[i]); }, made);
    }
    if (model_.supports(Modality::audio)) {
      embed_files(
          "clip", product, product.audio, [&](std::size_t i) { return model_.embed_audio(product.audio[i]); }, made);
    }
    return made;
  }

 private:
  ReadPicture read_picture(const fs::path& file) const {
    try {
      return {.pixels = model_.preprocess_image(file, draft_)};
    } catch (...) {
      return {.failure = std::current_exception()};
    }
  }

  /// Of frames, sound and subtitles together, in the space of the pictures.
  Tensor video(const fs::path& file) {
    if (!watcher_) watcher_.emplace(model_, nullptr);
    return watcher_->watch(file, {.frames = kFrames}).vector;
  }

  const Embedder& model_;
  bool draft_;
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
  if (before.fingerprint == fingerprint) {  // of drafts the content tells
    for (std::size_t i = 0; i < before.products.size(); ++i) earlier[before.products[i].id] = &before.vectors[i];
  }

  ProductIndex made{.fingerprint = fingerprint, .draft = options.draft};
  ProductEmbedder embedder(model, options.draft);
  PartialFile partial(options.partial, model, made);
  const auto read = [&](std::int64_t i) {
    const Product& product = products[static_cast<std::size_t>(i)];
    ReadProduct result{.content = content_of(model, product, options.draft)};
    for (const auto* place : {&known, &std::as_const(earlier)}) {
      const auto found = place->find(product.id);
      if (found == place->end() || found->second->content != result.content) continue;
      result.vectors = found->second;
      return result;
    }
    result.pictures = embedder.read_pictures(product);
    return result;
  };
  const auto embed = [&](std::int64_t i, const ReadProduct& ready) {
    const Product& product = products[static_cast<std::size_t>(i)];
    ProductVectors vectors = ready.vectors != nullptr ? *ready.vectors : embedder.embed(product, ready);
    report.embedded += ready.vectors == nullptr;
    report.skipped.insert(report.skipped.end(), vectors.skipped.begin(), vectors.skipped.end());
    if (vectors.vectors.empty()) {
      report.skipped.push_back({product.id, {}, "nothing of the product " + shown(product.id) + " could be embedded"});
    } else {
      made.add(product, std::move(vectors));
    }
    if (options.progress) options.progress(i + 1, std::ssize(products));
    partial.write_sometimes();
  };
  try {
    prefetch(std::ssize(products), read, embed);
  } catch (...) {
    partial.write();
    throw;
  }
  return made;
}

std::string detail::product_of_row(std::string_view id) { return std::string(id.substr(0, id.find(kIdEnd))); }

void detail::follow(Index& index, const ProductIndex& content) {
  std::map<std::string, Tensor> wanted;
  for (std::size_t i = 0; i < content.products.size(); ++i) {
    for (const auto& [what, vector] : content.vectors[i].vectors) {
      wanted.emplace(content.products[i].id + kIdEnd + what, vector.contiguous());
    }
  }
  for (const std::string& id : index.ids()) {
    if (!wanted.contains(id)) index.remove(id);
  }
  std::vector<std::string> fresh;
  std::vector<float> rows;
  for (const auto& [id, vector] : wanted) {
    const std::span values(vector.const_data_ptr<float>(), static_cast<std::size_t>(vector.numel()));
    if (!index.contains(id)) {
      fresh.push_back(id);
      rows.insert(rows.end(), values.begin(), values.end());
    } else if (!std::ranges::equal(index.vector(id), values)) {
      index.update(id, values);
    }
  }
  index.add(fresh, rows);
}

void detail::write_product_index(const fs::path& path, const Embedder& model, const ProductIndex& content) {
  Index plain(model.dim());
  Index& index = content.graph ? *content.graph : plain;
  follow(index, content);
  Json catalogue = Json::array(), contents = Json::array();
  for (std::size_t i = 0; i < content.products.size(); ++i) {
    const ProductVectors& vectors = content.vectors[i];
    catalogue.push_back(json_of(content.products[i]));
    Json skipped = Json::array();
    for (const SkippedMedia& one : vectors.skipped) skipped.push_back({{"file", one.file.string()}, {"why", one.why}});
    contents.push_back({{"hash", vectors.content}, {"skipped", skipped}});
  }
  const auto text = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  index.metadata()["catalogue"] = text(catalogue);
  index.metadata()["contents"] = text(contents);
  index.metadata()["model"] = model.name();
  if (!content.fingerprint.empty()) index.metadata()["fingerprint"] = content.fingerprint;
  if (content.draft) index.metadata()["draft"] = "true";
  if (!content.spread.empty()) {
    Json spread = Json::object();
    for (const auto& [modality, value] : content.spread) spread[std::string(to_string(modality))] = value;
    index.metadata()["spread"] = text(spread);
  }
  index.save(path);
}

detail::ProductIndex detail::read_product_index(const char* who, const fs::path& path, const Embedder& model) {
  Index index = Index::load(path, /*mapped=*/true);
  const auto& metadata = index.metadata();
  if (!metadata.contains("catalogue") || !metadata.contains("model")) {
    failure(who, path, " is an index without a catalogue: make one with `trine index CATALOGUE --out INDEX`");
  }
  if (index.dim() != model.dim() || metadata.at("model") != model.name()) {
    failure(who, path, " was made by the model ", shown(metadata.at("model")), " with ", index.dim(),
            " dimensions, the model here is ", model.name(), " with ", model.dim());
  }
  const auto json = [&](const char* key) {
    return metadata.contains(key) ? parse_json(who, metadata.at(key), key,
                                               {.max_bytes = kMaxCatalogueBytes, .max_values = kMaxCatalogueValues})
                                  : Json();
  };
  ProductIndex content;
  if (metadata.contains("fingerprint")) content.fingerprint = metadata.at("fingerprint");
  content.draft = metadata.contains("draft");
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
  if (index.has_graph()) content.graph = std::make_shared<Index>(std::move(index));
  return content;
}

}  // namespace trine
