#include "trine/apps/product_search.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "apps/certainty.h"
#include "apps/product_index.h"
#include "apps/product_rows.h"
#include "detail/error.h"
#include "detail/json.h"
#include "detail/names.h"
#include "tensor_check.h"
#include "trine/apps/hearing.h"
#include "trine/layers.h"
#include "trine/search/rerank.h"

namespace trine {

namespace fs = std::filesystem;
using detail::ProductIndex;
using detail::ProductRows;
using detail::ProductVectors;
using torch::Tensor;

namespace {

constexpr const char* kWho = "ProductSearch";
/// How near a product may come to what is avoided, from 0 (as the usual one) to 1 (the nearest), at no cost.
constexpr float kTolerated = 0.2f;
/// From the usual product to the nearest, at least: where nothing comes near, nothing is avoided much.
constexpr float kLeastGap = 0.3f;

constexpr std::int64_t kUsualEf = 200;  ///< breadth of a walk: several vectors of a product are near together

constexpr float kUsualSpread = 0.08f;  ///< of models that were not calibrated with a catalogue
constexpr float kMostUnits = 4.0f;     ///< the largest factor, or its inverse, between two catalogues

// From a modality's support for a product and its largest for any product to a verdict.
constexpr float kSupports = 0.5f;
constexpr float kContradicts = 0.05f;
constexpr float kTimesSurer = 20.0f;  ///< of another product than of the one that it contradicts

constexpr detail::Names<Verdict, 3> kVerdicts{
    {{Verdict::supports, "supports"}, {Verdict::neutral, "neutral"}, {Verdict::contradicts, "contradicts"}}};

Verdict verdict_of(float support, float largest) {
  if (support >= kSupports) return Verdict::supports;
  return support < kContradicts && support * kTimesSurer < largest ? Verdict::contradicts : Verdict::neutral;
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

const char* said(const Reason& reason) {
  const bool plural = reason.modality == Modality::audio;
  switch (reason.verdict) {
    case Verdict::supports:
      return plural ? "point to it" : "points to it";
    case Verdict::neutral:
      return plural ? "allow for it" : "allows for it";
    case Verdict::contradicts:
      return plural ? "point elsewhere" : "points elsewhere";
  }
  return "says nothing";
}

/// With `id`, `title` and `description` where a filter asks for them and there is no such attribute.
Attributes facts_of(const Product& product, const std::vector<std::string>& asked) {
  Attributes facts = product.attributes;
  for (const auto& [name, text] : {std::pair("id", &product.id), std::pair("title", &product.title),
                                   std::pair("description", &product.description)}) {
    if (std::ranges::find(asked, name) == asked.end()) continue;
    facts.emplace_back(name, detail::Json(*text).dump(-1, ' ', false, detail::Json::error_handler_t::replace));
  }
  return facts;
}

/// A hit, and where its product stands in what the search looked at.
struct Ranked {
  Hit hit;
  std::int64_t place = 0;
};

/// The catalogue, or the part of it that a search looks at, as one modality of a query sees it.
struct View {
  Tensor rows;       ///< (V) cosine to every vector
  Tensor best;       ///< (P) to each product's nearest
  Tensor among;      ///< (P) the same, -inf for products that the filter leaves out
  Tensor support;    ///< (P) calibrated, 0 for products that the filter leaves out
  Tensor agreement;  ///< (P) the same, smoothed for re-ranking
};

Query query_of(const Inputs& inputs) {
  Query query;
  if (inputs.image) query.images.push_back(*inputs.image);
  if (inputs.text) query.texts.push_back(*inputs.text);
  if (inputs.audio) query.audio.push_back(*inputs.audio);
  return query;
}

}  // namespace

std::string_view to_string(Verdict verdict) { return detail::name_of(kVerdicts, verdict); }

std::string Hit::sentence() const {
  if (reasons.empty()) return "Nothing speaks for it.";
  std::string text;
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    char number[16];
    std::snprintf(number, sizeof number, " (%.2f)", reasons[i].support);
    text += (i == 0                    ? ""
             : i + 1 == reasons.size() ? " and "
                                       : ", ") +
            std::string(subject(reasons[i].modality)) + " " + said(reasons[i]) + number;
  }
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text + ".";
}

struct ProductSearch::Impl {
  Embedder embedder;
  ProductIndex content;
  std::map<std::string, std::size_t> number = {};  ///< of a product, by id
  ProductRows rows = {};
  detail::SearchCalibration fitted = {};
  mutable std::once_flag hearing_loaded = {};
  mutable std::optional<Hearing> loaded_hearing = {};

  Impl(Embedder model, ProductIndex products)
      : embedder(std::move(model)), content(std::move(products)), fitted(detail::search_calibration(embedder)) {
    arrange();
    if (content.spread.empty()) measure_spread();
  }

  std::int64_t size() const { return std::ssize(content.products); }

  void arrange() {
    number.clear();
    for (const Product& product : content.products) number.emplace(product.id, number.size());
    rows.arrange(content, embedder.dim());
    if (content.graph) detail::follow(*content.graph, content);
  }

  void measure_spread() {
    for (const Modality modality : kModalities) content.spread[modality] = rows.spread(modality);
  }

  /// How many times as far as where the model was calibrated a modality's similarities spread here.
  float unit(Modality modality) const {
    const auto there = fitted.spread.find(modality);
    const float here = content.spread.at(modality);
    const float factor = here / (there == fitted.spread.end() ? kUsualSpread : there->second);
    return here > 0 ? std::clamp(factor, 1 / kMostUnits, kMostUnits) : 1.0f;
  }

  std::size_t find(const std::string& id) const {
    const auto found = number.find(id);
    if (found == number.end()) detail::bad_argument(kWho, "there is no product ", detail::shown(id));
    return found->second;
  }

  /// New products behind those that are there, the others in their places.
  IndexReport update(const std::vector<Product>& products, const IndexOptions& options) {
    const std::string fingerprint = embedder.fingerprint();
    if (!content.fingerprint.empty() && content.fingerprint != fingerprint) {
      detail::failure(kWho, "the files of the model ", embedder.name(),
                      " have changed since the index was made: make it anew from its catalogue");
    }
    std::map<std::string, const ProductVectors*> known;
    for (const auto& [id, i] : number) known.emplace(id, &content.vectors[i]);
    IndexReport report;
    IndexOptions how = options;
    how.draft = content.draft;
    const ProductIndex made = detail::embed_products(kWho, embedder, products, known, fingerprint, report, how);
    for (std::size_t i = 0; i < made.products.size(); ++i) {
      const auto found = number.find(made.products[i].id);
      if (found == number.end()) {
        content.add(made.products[i], made.vectors[i]);
      } else {
        content.products[found->second] = made.products[i];
        content.vectors[found->second] = made.vectors[i];
      }
    }
    arrange();
    measure_spread();
    return counted(std::move(report));
  }

  void remove(const std::vector<std::string>& ids) {
    std::set<std::size_t> gone;
    for (const std::string& id : ids) gone.insert(find(id));
    ProductIndex left{.fingerprint = content.fingerprint, .draft = content.draft, .graph = content.graph};
    for (std::size_t i = 0; i < content.products.size(); ++i) {
      if (!gone.contains(i)) left.add(std::move(content.products[i]), std::move(content.vectors[i]));
    }
    content = std::move(left);
    arrange();
    measure_spread();
  }

  IndexReport counted(IndexReport report) const {
    report.products = size();
    report.vectors = rows.size();
    return report;
  }

  /// Loaded by the first clip that is heard; null: the model has no decoder.
  const Hearing* hearing() const {
    std::call_once(hearing_loaded, [&] {
      if (Hearing::available(embedder)) loaded_hearing = Hearing::load(embedder);
    });
    return loaded_hearing ? &*loaded_hearing : nullptr;
  }

  EmbeddedQuery embed(const Query& query, bool hear) const {
    EmbeddedQuery embedded;
    std::vector<Coverage> used;
    const EmbedOptions how{.coverage = &used};
    const auto add = [&](Modality modality, const Tensor& each) {
      embedded.vectors[modality] = each.size(0) == 1 ? each[0] : normalise(each.mean(0));
      embedded.coverage.insert(embedded.coverage.end(), used.begin(), used.end());
      used.clear();
    };
    if (!query.images.empty()) add(Modality::image, embedder.embed_images(query.images, how));
    if (!query.texts.empty()) add(Modality::text, embedder.embed_texts(query.texts, how));
    if (query.audio.empty()) return embedded;
    const Hearing* ears = hear ? hearing() : nullptr;
    if (ears == nullptr) {
      add(Modality::audio, embedder.embed_audios(query.audio, how));
      return embedded;
    }
    std::vector<Tensor> clips;
    for (const AudioInput& clip : query.audio) {
      Heard heard = ears->hear(clip);
      clips.push_back(heard.vector);
      embedded.heard.push_back(std::move(heard.transcript.text));
    }
    add(Modality::audio, torch::stack(clips));
    return embedded;
  }

  /// Which of the products a filter leaves. -> (P) bool
  Tensor kept_by(const Filter& filter, const ProductRows& seen) const {
    Tensor kept = torch::ones({std::ssize(seen.products())}, torch::kBool);
    if (filter.empty()) return kept;
    const std::vector<std::string> asked = filter.names();
    bool* values = kept.mutable_data_ptr<bool>();
    for (const std::int64_t product : seen.products()) *values++ = filter.matches(facts_of(at(product), asked));
    return kept;
  }

  const Product& at(std::int64_t product) const { return content.products[static_cast<std::size_t>(product)]; }

  void check(const std::map<Modality, Tensor>& query, const SearchOptions& options) const {
    if (query.empty()) detail::bad_argument(kWho, "an image, a text or an audio clip is wanted, there is none");
    for (const auto& [modality, vector] : query) check(to_string(modality), vector);
    if (options.k < 1) detail::bad_argument(kWho, "k must be at least 1, it is ", options.k);
  }

  void check(std::string_view whose, const Tensor& vector) const {
    if (vector.dim() != 1 || vector.size(0) != embedder.dim()) {
      detail::bad_argument(kWho, "the ", whose, " vector has shape ", vector.sizes(), ", wanted (", embedder.dim(),
                           ")");
    }
    if (!vector.isfinite().all().item<bool>()) detail::bad_argument(kWho, "the ", whose, " vector is not finite");
  }

  /// The products near the query along the graph; none: all are to be looked at. What shall not be found is told from
  /// the usual product, so then all are.
  std::optional<ProductRows> near(const std::map<Modality, Tensor>& query, const SearchOptions& options) const {
    if (!content.graph || options.exact || !options.without.empty()) return std::nullopt;
    std::vector<Tensor> directions{combined(query, options)};
    for (const auto& [modality, vector] : query) {
      if (options.weights[modality] > 0 && query.size() > 1) directions.push_back(vector);
    }
    const std::vector<std::string> asked = options.filter.names();
    std::map<std::size_t, bool> kept;  // by product
    IndexSearchOptions how{.ef = options.ef == 0 ? kUsualEf : options.ef};
    const auto keep = [&](std::string_view id) {
      const std::size_t product = number.at(detail::product_of_row(id));
      const auto [known, fresh] = kept.try_emplace(product, false);
      if (fresh) known->second = options.filter.matches(facts_of(content.products[product], asked));
      return known->second;
    };
    if (!options.filter.empty()) how.keep = keep;
    const std::int64_t wanted = std::max(options.candidates, options.k);
    std::set<std::int64_t> found;
    for (const Tensor& direction : directions) {
      const Tensor vector = direction.to(torch::kFloat32).contiguous();
      const std::span values(vector.const_data_ptr<float>(), static_cast<std::size_t>(vector.numel()));
      for (const Match& match : content.graph->search(values, std::max(how.ef, wanted), how)) {
        found.insert(static_cast<std::int64_t>(number.at(detail::product_of_row(match.id))));
      }
    }
    if (std::ssize(found) < std::min(wanted, size())) return std::nullopt;
    return rows.of({found.begin(), found.end()});
  }

  /// Of the modalities that speak for something: those with a weight above 0.
  std::map<Modality, View> views_of(const std::map<Modality, Tensor>& query, const ProductRows& seen,
                                    const Tensor& kept, const SearchOptions& options) const {
    std::map<Modality, View> views;
    for (const auto& [modality, vector] : query) {
      if (options.weights[modality] <= 0) continue;
      const Calibration calibration = embedder.calibration(modality);
      const float temperature = calibration.temperature * unit(modality);
      View& view = views[modality];
      view.rows = seen.similarities(vector);
      view.best = seen.best(view.rows);
      view.among = view.best.masked_fill(~kept, -INFINITY);
      view.support = (view.among / temperature).softmax(0);
      view.agreement = (view.among / (temperature * calibration.softness)).softmax(0);
    }
    return views;
  }

  static std::vector<Reason> reasons_of(const std::map<Modality, View>& views, const ProductRows& seen,
                                        std::int64_t place) {
    std::vector<Reason> reasons;
    for (const auto& [modality, view] : views) {
      const auto support = view.support[place].item<float>();
      reasons.push_back({.modality = modality,
                         .similarity = view.best[place].item<float>(),
                         .support = support,
                         .verdict = verdict_of(support, view.support.max().item<float>()),
                         .nearest = seen.nearest(view.rows, place)});
    }
    return reasons;
  }

  /// The products with the best scores (P), ranked again by agreement, with their reasons.
  std::vector<Ranked> hits(const std::map<Modality, View>& views, const ProductRows& seen, const Tensor& scores,
                           const Tensor& kept, const SearchOptions& options) const {
    const std::int64_t candidates = std::min(std::max(options.candidates, options.k), kept.sum().item<std::int64_t>());
    const Tensor order = scores.masked_fill(~kept, -INFINITY)
                             .argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true)
                             .slice(0, 0, candidates);
    std::vector<Ranked> hits;
    for (std::int64_t i = 0; i < candidates; ++i) {
      const auto place = order[i].item<std::int64_t>();
      const Product& product = at(seen.products()[static_cast<std::size_t>(place)]);
      std::map<Modality, float> agreements;
      for (const auto& [modality, view] : views) agreements[modality] = view.agreement[place].item<float>();
      Hit hit{.id = product.id, .title = product.title, .similarity = scores[place].item<float>(), .product = product};
      const RerankScore score = rerank_score(hit.similarity, agreements);
      hit.score = options.rerank ? score.score : hit.similarity;
      hit.consistency = score.consistency;
      hit.disagreement = score.disagreement;
      hits.push_back({std::move(hit), place});
    }
    std::stable_sort(hits.begin(), hits.end(),
                     [](const Ranked& a, const Ranked& b) { return a.hit.score > b.hit.score; });
    hits.resize(static_cast<std::size_t>(std::min(options.k, candidates)));
    for (Ranked& one : hits) one.hit.reasons = reasons_of(views, seen, one.place);
    return hits;
  }

  float weight_of(Modality modality, const SearchOptions& options) const {
    const float scale = options.calibrate ? embedder.calibration(modality).gain / unit(modality) : 1.0f;
    return options.weights[modality] * scale;
  }

  /// The weighted sum of a query's vectors. -> (D), not of unit length
  Tensor combined(const std::map<Modality, Tensor>& query, const SearchOptions& options) const {
    Tensor vector = torch::zeros({embedder.dim()});
    for (const auto& [modality, part] : query) vector += weight_of(modality, options) * part;
    if (vector.norm().item<float>() < 1e-6f) detail::bad_argument(kWho, "the weighted vectors cancel out");
    return vector;
  }

  /// The query's similarity to each product. -> (P)
  Tensor mixed(const std::map<Modality, Tensor>& query, const ProductRows& seen, const SearchOptions& options) const {
    const auto similarities = [&](const Tensor& vector) { return seen.best(seen.similarities(vector)); };
    const Tensor vector = combined(query, options);
    const float length = vector.norm().item<float>();
    if ((options.mixing == Mixing::fitted ? fitted.mixing : options.mixing) == Mixing::early) {
      return similarities(vector / length);
    }
    Tensor scores = torch::zeros({std::ssize(seen.products())});
    for (const auto& [modality, part] : query) scores += weight_of(modality, options) * similarities(part);
    return scores / length;
  }

  /// How near each product comes to texts that it shall not be like: 0 as the usual one, 1 the nearest. -> (P)
  Tensor avoided(const std::vector<std::string>& texts, const ProductRows& seen) const {
    Tensor most = torch::zeros({std::ssize(seen.products())});
    if (texts.empty()) return most;
    for (const Tensor& vector : embedder.embed_texts(texts).unbind()) {
      const Tensor near = seen.best(seen.similarities(vector));
      const Tensor usual = near.mean();
      most = torch::maximum(most, (near - usual) / (near.max() - usual).clamp_min(kLeastGap));
    }
    return most;
  }

  /// `first`: the place of the first hit.
  void judge(SearchResult& found, const std::map<Modality, View>& views, std::int64_t first) const {
    if (found.empty() || views.empty()) {
      found.nothing_matches = found.empty();
      return;
    }
    std::vector<Tensor> supports;
    double most_known = -INFINITY;
    bool lacking = true;
    for (const auto& [modality, view] : views) {
      supports.push_back(view.support);
      const auto known = fitted.known.find(modality);
      if (known == fitted.known.end()) {
        lacking = false;
        continue;
      }
      const double odds = detail::known_odds(known->second, detail::nearness_of(view.among, view.support));
      most_known = std::max(most_known, odds);
      lacking = lacking && odds < known->second.nothing_below;
    }
    const detail::Confidence& how = fitted.confidence;
    const double odds = how.offset + how.odds * detail::chance_odds(supports, first) +
                        (std::isfinite(most_known) ? how.known * most_known : 0.0);
    found.confidence = 1 / (1 + std::exp(-odds));
    found.nothing_matches = lacking;
  }

  SearchResult search(const std::map<Modality, Tensor>& query, const SearchOptions& options) const {
    check(query, options);
    const std::optional<ProductRows> part = near(query, options);
    const ProductRows& seen = part ? *part : rows;
    const Tensor kept = kept_by(options.filter, seen);
    const std::map<Modality, View> views = views_of(query, seen, kept, options);
    const Tensor away = avoided(options.without, seen);
    const Tensor scores = mixed(query, seen, options) - (away - kTolerated).clamp_min(0);
    SearchResult found;
    std::vector<Ranked> ranked = hits(views, seen, scores, kept, options);
    for (auto& [hit, place] : ranked) {
      hit.avoided = away[place].item<float>();
      found.hits.push_back(std::move(hit));
    }
    judge(found, views, ranked.empty() ? 0 : ranked[0].place);
    return found;
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
    : impl_(std::make_unique<Impl>(embedder, detail::read_product_index(kWho, path, embedder))) {}

ProductSearch ProductSearch::build(Embedder embedder, const std::vector<Product>& catalogue, IndexReport* report,
                                   const IndexOptions& options) {
  IndexReport counts;
  ProductIndex made = detail::embed_products(kWho, embedder, catalogue, {}, embedder.fingerprint(), counts, options);
  ProductSearch search(std::make_unique<Impl>(std::move(embedder), std::move(made)));
  if (report != nullptr) *report = search.impl_->counted(std::move(counts));
  return search;
}

IndexReport ProductSearch::add(const std::vector<Product>& products, const IndexOptions& options) {
  for (const Product& product : products) {
    if (impl_->number.contains(product.id)) {
      detail::bad_argument(kWho, "there is already a product ", detail::shown(product.id));
    }
  }
  return impl_->update(products, options);
}

IndexReport ProductSearch::update(const std::vector<Product>& products, const IndexOptions& options) {
  return impl_->update(products, options);
}

void ProductSearch::remove(const std::vector<std::string>& ids) { impl_->remove(ids); }

void ProductSearch::build_graph(const GraphOptions& options) {
  auto graph = std::make_shared<Index>(impl_->embedder.dim());
  detail::follow(*graph, impl_->content);
  graph->build_graph(options);
  impl_->content.graph = std::move(graph);
}

void ProductSearch::drop_graph() { impl_->content.graph.reset(); }

std::optional<GraphOptions> ProductSearch::graph() const {
  return impl_->content.graph ? impl_->content.graph->graph() : std::nullopt;
}

void ProductSearch::save(const fs::path& path) const {
  detail::write_product_index(path, impl_->embedder, impl_->content);
}

EmbeddedQuery ProductSearch::embed(const Query& query, bool hearing) const {
  const torch::NoGradGuard no_grad;
  return impl_->embed(query, hearing);
}

SearchResult ProductSearch::search(const Inputs& query, const SearchOptions& options) const {
  return search(query_of(query), options);
}

SearchResult ProductSearch::search(const Query& query, const SearchOptions& options) const {
  EmbeddedQuery embedded = embed(query, options.hearing);
  SearchResult found = search(embedded.vectors, options);
  found.heard = std::move(embedded.heard);
  return found;
}

SearchResult ProductSearch::search(const std::map<Modality, Tensor>& query, const SearchOptions& options) const {
  const torch::NoGradGuard no_grad;
  return impl_->search(query, options);
}

std::vector<Hit> ProductSearch::rank(const std::map<Modality, Tensor>& query, const Tensor& scores,
                                     const SearchOptions& options) const {
  const torch::NoGradGuard no_grad;
  if (!detail::is_floats(scores, {size()})) {
    detail::bad_argument(kWho, "the scores must be floats (", size(), "), one per product; got ",
                         detail::shown(scores));
  }
  impl_->check(query, options);
  const ProductRows& all = impl_->rows;
  const Tensor kept = impl_->kept_by(options.filter, all);
  std::vector<Hit> hits;
  for (Ranked& one : impl_->hits(impl_->views_of(query, all, kept, options), all, scores, kept, options)) {
    hits.push_back(std::move(one.hit));
  }
  return hits;
}

Tensor ProductSearch::similarities(const Tensor& vector) const {
  const torch::NoGradGuard no_grad;
  impl_->check("query's", vector);
  return impl_->rows.best(impl_->rows.similarities(vector));
}

float ProductSearch::spread(Modality modality) const { return impl_->content.spread.at(modality); }
const Embedder& ProductSearch::embedder() const { return impl_->embedder; }
std::int64_t ProductSearch::size() const { return impl_->size(); }
const std::vector<Product>& ProductSearch::products() const { return impl_->content.products; }
const Product& ProductSearch::product(const std::string& id) const { return impl_->content.products[impl_->find(id)]; }

}  // namespace trine
