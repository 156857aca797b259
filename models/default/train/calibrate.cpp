// Fits what makes the scores of the three modalities comparable, on validation data only, and writes it into
// config.json.
//
// Temperatures: the softmax of a modality's similarities to all products is made as likely as it is right (least
// negative log-likelihood). Gains: factors on the query weights, chosen so that pairs of modalities find the right
// product as often as the better of the two alone, with clean and with noisy clips and with mistyped names.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "corpus.h"
#include "detail/file.h"
#include "detail/json.h"
#include "trine/apps/product_search.h"

namespace fs = std::filesystem;
using namespace training;
using torch::Tensor;
using trine::Modality;

namespace {

constexpr const char* kWho = "calibrate";

struct Options {
  fs::path model, index, photos, corpus, noise;
  std::uint64_t seed = 1;
};

/// Vectors of queries for one product each.
struct Queries {
  std::vector<Tensor> vectors;
  std::vector<std::string> products;
};

/// A name with two typing errors: two neighbouring letters exchanged, one letter left out.
std::string mistyped(std::string text, std::mt19937_64& random) {
  if (text.size() < 4) return text;
  const std::size_t swap = 1 + random() % (text.size() - 2);
  std::swap(text[swap], text[swap - 1]);
  text.erase(1 + random() % (text.size() - 1), 1);
  return text;
}

Queries photo_queries(const trine::Embedder& model, const Options& options) {
  std::vector<trine::ImageInput> photos;
  Queries queries;
  for (const PhotoPath& photo : read_photo_list(options.photos, "val")) {
    photos.emplace_back(photo.path);
    queries.products.push_back(photo.product);
  }
  queries.vectors = model.embed_images(photos).unbind();
  return queries;
}

/// The spoken products of the validation speakers, at a signal-to-noise ratio in dB, or clean.
Queries voice_queries(const trine::Embedder& model, const Options& options, std::optional<double> decibels) {
  const auto noise = read_noise(options.noise, "4");
  std::mt19937_64 random(options.seed);
  Queries queries;
  for (const Clip& clip : read_corpus(options.corpus, {"val"})) {
    if (clip.set != "products" || clip.label.empty()) continue;
    trine::Audio sound = trine::read_audio(options.corpus / clip.path, {.sample_rate = kRate});
    if (decibels) add_noise(sound.samples, noise[random() % noise.size()], *decibels, random);
    queries.vectors.push_back(model.embed_audio(sound));
    queries.products.push_back(clip.label);
  }
  return queries;
}

/// Typed names, as they are or mistyped, in the phrasings of training.
Queries text_queries(const trine::Embedder& model, const trine::ProductSearch& search,
                     const std::vector<std::string>& products, bool wrong, const Options& options) {
  const trine::detail::Json phrasings =
      trine::detail::read_json(kWho, options.model / "evaluation" / "phrasings.json").at("train");
  std::mt19937_64 random(options.seed);
  Queries queries{{}, products};
  std::vector<std::string> texts;
  for (const std::string& id : products) {
    std::string name = search.product(id).title;
    if (wrong) name = mistyped(name, random);
    std::string sentence = wrong ? "{}" : phrasings.at(random() % phrasings.size()).get<std::string>();
    texts.push_back(sentence.replace(sentence.find("{}"), 2, name));
  }
  queries.vectors = model.embed_texts(texts).unbind();
  return queries;
}

/// Share of right products on top.
double top1(const trine::ProductSearch& search, const std::vector<std::map<Modality, Tensor>>& queries,
            const std::vector<std::string>& products, const trine::QueryWeights& weights, bool rerank = false) {
  std::int64_t right = 0;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    right += search.search(queries[i], {.k = 1, .weights = weights, .rerank = rerank})[0].id == products[i];
  }
  return static_cast<double>(right) / static_cast<double>(queries.size());
}

/// The temperature at which the right products are most likely. `similarities` (N, P), `right` (N)
float fit_temperature(const Tensor& similarities, const Tensor& right) {
  float best = 0.05f;
  double least = INFINITY;
  for (float temperature = 0.01f; temperature < 0.3f; temperature *= 1.05f) {
    const double loss = torch::nll_loss((similarities / temperature).log_softmax(1), right).item<double>();
    if (loss < least) {
      least = loss;
      best = temperature;
    }
  }
  return best;
}

/// Similarity of each query to each product. -> (N, P), and the number of the right product (N)
std::pair<Tensor, Tensor> similarities_of(const trine::ProductSearch& search, Modality modality,
                                          const Queries& queries) {
  std::map<std::string, std::int64_t> number;
  std::vector<Tensor> rows;
  std::vector<std::int64_t> right;
  for (std::size_t i = 0; i < queries.vectors.size(); ++i) {
    Tensor row = torch::empty({search.size()});
    for (const trine::Hit& hit : search.search({{modality, queries.vectors[i]}}, {.k = search.size()})) {
      row[number.emplace(hit.id, static_cast<std::int64_t>(number.size())).first->second] = hit.reasons[0].similarity;
    }
    rows.push_back(row);
    right.push_back(number.at(queries.products[i]));
  }
  return {torch::stack(rows), torch::tensor(right)};
}

Queries joined(std::vector<Queries> parts) {
  Queries all;
  for (Queries& part : parts) {
    all.vectors.insert(all.vectors.end(), part.vectors.begin(), part.vectors.end());
    all.products.insert(all.products.end(), part.products.begin(), part.products.end());
  }
  return all;
}

/// Pairs of queries for the same product: each of `first` with a random one of `second`.
std::vector<std::map<Modality, Tensor>> paired(Modality a, const Queries& first, Modality b, const Queries& second,
                                               std::mt19937_64 random) {
  std::map<std::string, std::vector<std::size_t>> by_product;
  for (std::size_t i = 0; i < second.products.size(); ++i) by_product[second.products[i]].push_back(i);
  std::vector<std::map<Modality, Tensor>> pairs;
  for (std::size_t i = 0; i < first.vectors.size(); ++i) {
    const std::vector<std::size_t>& fitting = by_product.at(first.products[i]);
    pairs.push_back({{a, first.vectors[i]}, {b, second.vectors[fitting[random() % fitting.size()]]}});
  }
  return pairs;
}

struct Condition {
  std::string name;
  std::vector<std::map<Modality, Tensor>> queries;
  double better = 0;  ///< of the two modalities alone
};

/// The gain of `modality` with which the pairs gain most over the better one of the two, the worst condition counting
/// as much as the mean.
float fit_gain(const trine::ProductSearch& search, const std::vector<Condition>& conditions,
               const std::vector<std::string>& products, Modality modality) {
  float best = 1;
  double most = -INFINITY;
  for (float gain = 0.25f; gain < 5.7f; gain *= 1.4142136f) {
    trine::QueryWeights weights;
    (modality == Modality::audio ? weights.audio : weights.text) *= gain;
    double worst = INFINITY, sum = 0;
    std::printf("gain %.2f:", static_cast<double>(gain));
    for (const Condition& condition : conditions) {
      const double share = top1(search, condition.queries, products, weights);
      std::printf("  %s %.3f (%+.3f)", condition.name.c_str(), share, share - condition.better);
      worst = std::min(worst, share - condition.better);
      sum += share - condition.better;
    }
    std::printf("\n");
    const double value = std::min(worst, 0.0) * 2 + sum / static_cast<double>(conditions.size());
    if (value > most) {
      most = value;
      best = gain;
    }
  }
  return best;
}

std::vector<Condition> conditions_of(const trine::ProductSearch& search, const Queries& photos, Modality other,
                                     const std::vector<std::pair<std::string, Queries>>& queries, std::uint64_t seed) {
  std::vector<Condition> conditions;
  for (const auto& [name, vectors] : queries) {
    Condition condition{name, paired(Modality::image, photos, other, vectors, std::mt19937_64(seed))};
    for (const Modality alone : {Modality::image, other}) {
      std::vector<std::map<Modality, Tensor>> single;
      for (const auto& pair : condition.queries) single.push_back({{alone, pair.at(alone)}});
      condition.better = std::max(condition.better, top1(search, single, photos.products, {}));
    }
    conditions.push_back(std::move(condition));
  }
  return conditions;
}

void write(const fs::path& file, trine::detail::Json config,
           const std::map<Modality, trine::Calibration>& calibration) {
  for (const auto& [modality, fitted] : calibration) {
    const auto rounded = [](float value) { return std::round(static_cast<double>(value) * 1e4) / 1e4; };
    config["calibration"][std::string(to_string(modality))] = {{"temperature", rounded(fitted.temperature)},
                                                               {"gain", rounded(fitted.gain)},
                                                               {"softness", rounded(fitted.softness)}};
  }
  trine::detail::write_atomically(kWho, file, [&](std::ostream& out) { out << config.dump(2) << "\n"; });
}

int run(const Options& options) {
  trine::detail::Json config = trine::detail::read_json(kWho, options.model / "config.json");
  config.erase("calibration");
  write(options.model / "config.json", config, {});
  const trine::Embedder model = trine::Embedder::load(options.model);
  const trine::ProductSearch plain(model, options.index);

  const Queries photos = photo_queries(model, options);
  const std::vector<std::pair<std::string, Queries>> voices{{"clean", voice_queries(model, options, {})},
                                                            {"10 dB", voice_queries(model, options, 10.0)},
                                                            {"0 dB", voice_queries(model, options, 0.0)}};
  const std::vector<std::pair<std::string, Queries>> texts{
      {"typed", text_queries(model, plain, photos.products, false, options)},
      {"mistyped", text_queries(model, plain, photos.products, true, options)}};

  std::map<Modality, trine::Calibration> calibration;
  const auto fit = [&](Modality modality, const Queries& queries) {
    const auto [similarities, right] = similarities_of(plain, modality, queries);
    calibration[modality].temperature = fit_temperature(similarities, right);
    std::printf("%s: temperature %.4f over %zu queries\n", std::string(to_string(modality)).c_str(),
                static_cast<double>(calibration[modality].temperature), queries.vectors.size());
  };
  fit(Modality::image, photos);
  fit(Modality::text, joined({texts[0].second, texts[1].second}));
  fit(Modality::audio, joined({voices[0].second, voices[1].second, voices[2].second}));

  const std::vector<Condition> spoken = conditions_of(plain, photos, Modality::audio, voices, options.seed);
  const std::vector<Condition> typed = conditions_of(plain, photos, Modality::text, texts, options.seed);
  calibration[Modality::audio].gain = fit_gain(plain, spoken, photos.products, Modality::audio);
  calibration[Modality::text].gain = fit_gain(plain, typed, photos.products, Modality::text);

  double most = -1;
  for (const float softness : {1.0f, 2.0f, 4.0f, 8.0f, 12.0f, 16.0f, 24.0f}) {
    std::map<Modality, trine::Calibration> tried = calibration;
    for (auto& [modality, fitted] : tried) fitted.softness = softness;
    write(options.model / "config.json", config, tried);
    const trine::ProductSearch search(trine::Embedder::load(options.model), options.index);
    double sum = 0;
    for (const auto* conditions : {&spoken, &typed}) {
      for (const Condition& condition : *conditions) sum += top1(search, condition.queries, photos.products, {}, true);
    }
    std::printf("softness %.0f: %.4f\n", static_cast<double>(softness),
                sum / static_cast<double>(spoken.size() + typed.size()));
    if (sum < most) continue;  // of equals the softest, which changes the order least
    most = sum;
    calibration = tried;
  }
  for (const auto& [modality, fitted] : calibration) {
    std::printf("%s: gain %.2f, softness %.0f\n", std::string(to_string(modality)).c_str(),
                static_cast<double>(fitted.gain), static_cast<double>(fitted.softness));
  }
  write(options.model / "config.json", config, calibration);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "calibrate --model models/default --photos ../shared/data/grocery --corpus DIR --noise "
      "../shared/data/sounds_esc10");
  app.add_option("--model", options.model, "folder whose config.json is completed")->required();
  app.add_option("--photos", options.photos, "folder with val.csv and the photos")->required();
  app.add_option("--corpus", options.corpus, "folder that synthesise.py wrote")->required();
  app.add_option("--noise", options.noise, "ESC-10: fold 4 is used")->required();
  app.add_option("--seed", options.seed, "of noise, pairs and typing errors")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.index = options.model / "catalogue.trine";
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
