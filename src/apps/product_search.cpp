#include "trine/apps/product_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <set>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "tensor_check.h"
#include "trine/layers.h"
#include "trine/search/index.h"
#include "trine/search/rerank.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "ProductSearch";
constexpr char kSeparator = '\n';         ///< between a product's id and what of it a vector shows
constexpr std::size_t kMostPictures = 5;  ///< a product's vector each; more than these become their mean
/// What a description or keyword has to be nearer than a title or picture: they name a product less exactly.
constexpr float kAsideMargin = 0.05f;
constexpr std::uint64_t kMaxCatalogueBytes = 256u << 20;

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

/// Reads the keys of a product; `what` names the place for error messages.
Product product_of(const Json& json, const std::string& what, const fs::path& folder) {
  if (!json.is_object()) detail::failure("read_catalogue", what, ": a JSON object is wanted");
  try {
    Product product{.id = detail::get<std::string>(kWho, json, "id"),
                    .title = detail::get<std::string>(kWho, json, "title"),
                    .description = detail::get_or<std::string>(kWho, json, "description", "")};
    if (product.id.empty() || product.title.empty()) detail::failure(kWho, "id and title must not be empty");
    if (product.id.find(kSeparator) != std::string::npos) detail::failure(kWho, "an id must be one line");
    product.keywords = detail::get_or<std::vector<std::string>>(kWho, json, "keywords", {});
    for (const std::string& image : detail::get_or<std::vector<std::string>>(kWho, json, "images", {})) {
      product.images.push_back(folder / image);
    }
    if (json.contains("attributes")) {
      for (const auto& [key, value] : json.at("attributes").items()) product.attributes.emplace_back(key, value.dump());
    }
    return product;
  } catch (const std::runtime_error& error) {
    const std::string_view message = error.what();
    detail::failure("read_catalogue", what, ": ", message.substr(message.find("] ") + 2));
  }
}

Json json_of(const Product& product) {
  Json json{{"id", product.id}, {"title", product.title}, {"description", product.description}};
  Json attributes = Json::object();
  for (const auto& [key, value] : product.attributes) attributes[key] = detail::parse_json(kWho, value, key);
  json["attributes"] = attributes;
  json["keywords"] = product.keywords;
  return json;
}

const char* subject(Modality modality) {
  switch (modality) {
    case Modality::image:
      return "the photo";
    case Modality::text:
      return "the text";
    case Modality::audio:
      return "the spoken words";
  }
  return "the query";
}

const char* verdict(const Reason& reason) {
  const bool plural = reason.modality == Modality::audio;
  if (reason.support >= 0.5f) return plural ? "point to it" : "points to it";
  if (reason.support >= 0.05f) return plural ? "allow for it" : "allows for it";
  return plural ? "point elsewhere" : "points elsewhere";
}

std::span<const float> floats(const Tensor& row) {
  return {row.const_data_ptr<float>(), static_cast<std::size_t>(row.numel())};
}

}  // namespace

std::vector<Product> read_catalogue(const fs::path& path) {
  std::vector<Product> products;
  std::set<std::string> ids;
  const auto take = [&](const Json& json, const std::string& place, std::size_t) {
    products.push_back(product_of(json, place, path.parent_path()));
    if (!ids.insert(products.back().id).second) {
      detail::failure("read_catalogue", place, ": the id ", detail::shown(products.back().id), " is there twice");
    }
  };
  detail::read_json_lines("read_catalogue", path, kMaxCatalogueBytes, take);
  if (products.empty()) detail::failure("read_catalogue", path, " holds no product");
  return products;
}

Tensor title_vector(const Embedder& embedder, const std::string& title) {
  std::vector<std::string> sentences;
  for (std::string sentence : kPhrasings) sentences.push_back(sentence.replace(sentence.find("{}"), 2, title));
  return normalise(embedder.embed_texts(sentences).mean(0));
}

std::string Hit::sentence() const {
  std::string text;
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    char number[16];
    std::snprintf(number, sizeof number, " (%.2f)", reasons[i].support);
    text += (i == 0                    ? ""
             : i + 1 == reasons.size() ? " and "
                                       : ", ") +
            std::string(subject(reasons[i].modality)) + " " + verdict(reasons[i]) + number;
  }
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text + ".";
}

namespace {

/// The catalogue as one modality of a query sees it.
struct View {
  Tensor rows;       ///< (V) cosine to every vector
  Tensor best;       ///< (P) to each product's nearest
  Tensor support;    ///< (P) calibrated
  Tensor agreement;  ///< (P) the same, smoothed for re-ranking
};

}  // namespace

/// The vectors of all products, those of one product in neighbouring rows.
struct ProductSearch::Impl {
  Embedder embedder;
  Index index;
  std::vector<Product> products;
  std::map<std::string, std::size_t> number;  ///< by id
  Tensor matrix;                              ///< (V, D)
  std::vector<std::string> shows;             ///< per row: what of the product it is
  Tensor margin;                              ///< (V) taken off the cosine
  Tensor owner;                               ///< (V) int64, the product's number

  explicit Impl(Embedder model) : embedder(std::move(model)), index(embedder.dim()) {}

  /// Rows and owners from the index.
  void arrange() {
    for (std::size_t i = 0; i < products.size(); ++i) number.emplace(products[i].id, i);
    std::vector<Tensor> rows;
    std::vector<std::int64_t> owners;
    std::vector<bool> seen(products.size());
    for (const std::string& id : index.ids()) {
      const std::size_t cut = id.find(kSeparator);
      const auto found = cut == std::string::npos ? number.end() : number.find(id.substr(0, cut));
      if (found == number.end()) detail::failure(kWho, "the index has a vector ", detail::shown(id), " of no product");
      const std::vector<float> values = index.vector(id);
      rows.push_back(torch::tensor(values));
      owners.push_back(static_cast<std::int64_t>(found->second));
      shows.push_back(id.substr(cut + 1));
      seen[found->second] = true;
    }
    const auto missing = std::find(seen.begin(), seen.end(), false);
    if (missing != seen.end()) {
      detail::failure(kWho, "the index has no vector of the product ",
                      detail::shown(products[static_cast<std::size_t>(missing - seen.begin())].id));
    }
    matrix = rows.empty() ? torch::empty({0, index.dim()}) : torch::stack(rows);
    owner = torch::tensor(owners, torch::kInt64);
    std::vector<float> margins;
    for (const std::string& what : shows) {
      margins.push_back(what == "description" || what.starts_with("keyword: ") ? kAsideMargin : 0.0f);
    }
    margin = torch::tensor(margins);
  }

  /// Cosine to every row less its margin, and per product the largest. (D) -> (V), (P)
  std::pair<Tensor, Tensor> similarities(const Tensor& query) const {
    const Tensor rows = matrix.matmul(query) - margin;
    const Tensor best = torch::full({static_cast<std::int64_t>(products.size())}, -2.0f)
                            .scatter_reduce(0, owner, rows, "amax", /*include_self=*/true);
    return {rows, best};
  }

  std::string nearest(const Tensor& rows, std::size_t product) const {
    const Tensor masked = rows.masked_fill(owner != static_cast<std::int64_t>(product), -2.0f);
    return shows[static_cast<std::size_t>(masked.argmax().item<std::int64_t>())];
  }

  void check(std::string_view whose, const Tensor& vector) const {
    if (vector.dim() != 1 || vector.size(0) != index.dim()) {
      detail::bad_argument(kWho, "the ", whose, " vector has shape ", vector.sizes(), ", wanted (", index.dim(), ")");
    }
  }

  std::map<Modality, View> views_of(const std::map<Modality, Tensor>& query) const {
    std::map<Modality, View> views;
    for (const auto& [modality, vector] : query) {
      check(to_string(modality), vector);
      const Calibration calibration = embedder.calibration(modality);
      View& view = views[modality];
      std::tie(view.rows, view.best) = similarities(vector);
      view.support = (view.best / calibration.temperature).softmax(0);
      view.agreement = (view.best / (calibration.temperature * calibration.softness)).softmax(0);
    }
    if (views.empty()) detail::bad_argument(kWho, "an image, a text or an audio clip is wanted, there is none");
    return views;
  }

  /// The products with the best scores (P), ranked again by agreement, with their reasons.
  std::vector<Hit> hits(const std::map<Modality, View>& views, const Tensor& scores,
                        const SearchOptions& options) const {
    if (options.k < 1) detail::bad_argument(kWho, "k must be at least 1, it is ", options.k);
    const std::int64_t candidates = std::min(std::max(options.candidates, options.k), std::ssize(products));
    const Tensor order = scores.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true).slice(0, 0, candidates);
    std::vector<Hit> hits;
    for (std::int64_t i = 0; i < candidates; ++i) {
      const auto column = order[i].item<std::int64_t>();
      const Product& product = products[static_cast<std::size_t>(column)];
      std::map<Modality, float> agreements;
      for (const auto& [modality, view] : views) agreements[modality] = view.agreement[column].item<float>();
      Hit hit{.id = product.id, .title = product.title, .similarity = scores[column].item<float>(), .product = product};
      const RerankScore score = rerank_score(hit.similarity, agreements);
      hit.score = options.rerank ? score.score : hit.similarity;
      hit.consistency = score.consistency;
      hit.disagreement = score.disagreement;
      hits.push_back(std::move(hit));
    }
    std::stable_sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) { return a.score > b.score; });
    hits.resize(static_cast<std::size_t>(std::min<std::int64_t>(options.k, candidates)));
    for (Hit& hit : hits) {
      const std::size_t product = number.at(hit.id);
      const auto column = static_cast<std::int64_t>(product);
      for (const auto& [modality, view] : views) {
        hit.reasons.push_back({.modality = modality,
                               .similarity = view.best[column].item<float>(),
                               .support = view.support[column].item<float>(),
                               .nearest = nearest(view.rows, product)});
      }
    }
    return hits;
  }
};

ProductSearch::ProductSearch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProductSearch::~ProductSearch() = default;
ProductSearch::ProductSearch(ProductSearch&&) noexcept = default;
ProductSearch& ProductSearch::operator=(ProductSearch&&) noexcept = default;

ProductSearch::ProductSearch() : ProductSearch(Embedder::load()) {}

ProductSearch::ProductSearch(Embedder embedder)
    : ProductSearch(std::move(embedder), default_model_directory() / "catalogue.trine") {}

ProductSearch::ProductSearch(Embedder embedder, const fs::path& path)
    : impl_(std::make_unique<Impl>(std::move(embedder))) {
  Index index = Index::load(path);
  const auto& metadata = index.metadata();
  if (!metadata.contains("catalogue") || !metadata.contains("model")) {
    detail::failure(kWho, path, " is an index without a catalogue: make one with `trine index CATALOGUE --out INDEX`");
  }
  if (index.dim() != impl_->embedder.dim() || metadata.at("model") != impl_->embedder.name()) {
    detail::failure(kWho, path, " was made by the model ", detail::shown(metadata.at("model")), " with ", index.dim(),
                    " dimensions, the model here is ", impl_->embedder.name(), " with ", impl_->embedder.dim());
  }
  const Json catalogue =
      detail::parse_json(kWho, metadata.at("catalogue"), "the index's catalogue", {.max_bytes = kMaxCatalogueBytes});
  for (const Json& json : catalogue) impl_->products.push_back(product_of(json, path.string(), {}));
  impl_->index = std::move(index);
  impl_->arrange();
}

ProductSearch ProductSearch::build(Embedder embedder, const std::vector<Product>& catalogue, IndexReport* report,
                                   const std::function<void(std::int64_t, std::int64_t)>& progress) {
  auto impl = std::make_unique<Impl>(std::move(embedder));
  const Embedder& model = impl->embedder;
  IndexReport counts;
  Json stored = Json::array();
  for (const Product& product : catalogue) {
    const auto add = [&](const std::string& what, const Tensor& vector) {
      const std::string id = product.id + kSeparator + what;
      if (!impl->index.contains(id)) impl->index.add(id, floats(vector.contiguous()));
    };
    if (model.supports(Modality::text)) {
      add("title", title_vector(model, product.title));
      std::vector<std::string> texts, labels;
      if (!product.description.empty()) {
        texts.push_back(product.description);
        labels.emplace_back("description");
      }
      for (const std::string& keyword : product.keywords) {
        texts.push_back(keyword);
        labels.push_back("keyword: " + keyword);
      }
      const Tensor vectors = model.embed_texts(texts);
      for (std::size_t i = 0; i < texts.size(); ++i) add(labels[i], vectors[static_cast<std::int64_t>(i)]);
    }
    if (model.supports(Modality::image)) {
      std::vector<Tensor> pictures;
      for (const fs::path& path : product.images) {
        try {
          pictures.push_back(model.embed_image(path));
        } catch (const std::runtime_error& error) {
          counts.skipped.emplace_back(path, error.what());
        }
      }
      if (pictures.size() > kMostPictures) {
        add("mean of " + std::to_string(pictures.size()) + " pictures", normalise(torch::stack(pictures).mean(0)));
      } else {
        for (std::size_t i = 0; i < pictures.size(); ++i) add("picture " + std::to_string(i + 1), pictures[i]);
      }
    }
    stored.push_back(json_of(product));
    impl->products.push_back(product);
    if (progress) progress(std::ssize(stored), std::ssize(catalogue));
  }
  counts.products = std::ssize(catalogue);
  counts.vectors = impl->index.size();
  impl->index.metadata()["catalogue"] = stored.dump();
  impl->index.metadata()["model"] = model.name();
  impl->arrange();
  if (report != nullptr) *report = std::move(counts);
  return ProductSearch(std::move(impl));
}

void ProductSearch::save(const fs::path& path) const { impl_->index.save(path); }

std::vector<Hit> ProductSearch::search(const Inputs& query, const SearchOptions& options) const {
  return search(impl_->embedder.embed_each(query), options);
}

std::vector<Hit> ProductSearch::search(const std::map<Modality, Tensor>& query, const SearchOptions& options) const {
  const torch::NoGradGuard no_grad;
  const std::map<Modality, View> views = impl_->views_of(query);
  Tensor similarity = torch::zeros({size()});
  Tensor mixed;
  for (const auto& [modality, vector] : query) {
    const float weight = options.weights[modality] * impl_->embedder.calibration(modality).gain;
    similarity += weight * views.at(modality).best;
    mixed = mixed.defined() ? mixed + weight * vector : weight * vector;
  }
  const float length = mixed.norm().item<float>();
  if (length < 1e-6f) detail::bad_argument(kWho, "the weighted vectors cancel out");
  return impl_->hits(views, similarity / length, options);
}

std::vector<Hit> ProductSearch::rank(const std::map<Modality, Tensor>& query, const Tensor& scores,
                                     const SearchOptions& options) const {
  const torch::NoGradGuard no_grad;
  if (!detail::is_floats(scores, {size()})) {
    detail::bad_argument(kWho, "the scores must be floats (", size(), "), one per product; got ",
                         detail::shown(scores));
  }
  return impl_->hits(impl_->views_of(query), scores, options);
}

Tensor ProductSearch::similarities(const Tensor& vector) const {
  const torch::NoGradGuard no_grad;
  impl_->check("query's", vector);
  return impl_->similarities(vector).second;
}

const Embedder& ProductSearch::embedder() const { return impl_->embedder; }
std::int64_t ProductSearch::size() const { return static_cast<std::int64_t>(impl_->products.size()); }
const std::vector<Product>& ProductSearch::products() const { return impl_->products; }

const Product& ProductSearch::product(const std::string& id) const {
  const auto found = impl_->number.find(id);
  if (found == impl_->number.end()) detail::bad_argument(kWho, "there is no product ", detail::shown(id));
  return impl_->products[found->second];
}

}  // namespace trine
