// Fits what makes the scores of the three modalities comparable, on validation data only, and writes it into
// config.json.
//
// Spreads: of the similarities in the catalogue, which the rest is relative to. Temperatures: the softmax of a
// modality's similarities to all products is made as likely as it is right (least negative log-likelihood). Gains:
// factors on the query weights with which the default weights find most: photo, voice and typed name in pairs and all
// three, with clean and noisy clips and mistyped names. Softness: of the supports that re-ranking compares. Known: when
// the catalogue has what a modality shows, against other sentences, sounds, and queries for products that are taken
// out. Confidence: when the first hit is right.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "apps/certainty.h"
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

using Query = std::map<Modality, Tensor>;

/// Share of right products on top.
double top1(const trine::ProductSearch& search, const std::vector<Query>& queries,
            const std::vector<std::string>& products, const trine::SearchOptions& how) {
  std::int64_t right = 0;
  for (std::size_t i = 0; i < queries.size(); ++i) right += search.search(queries[i], how)[0].id == products[i];
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

/// The products' places in the catalogue. -> (N)
Tensor numbers_of(const trine::ProductSearch& search, const std::vector<std::string>& products) {
  std::map<std::string, std::int64_t> number;
  for (const trine::Product& product : search.products()) number.emplace(product.id, std::ssize(number));
  std::vector<std::int64_t> numbers;
  for (const std::string& id : products) numbers.push_back(number.at(id));
  return torch::tensor(numbers);
}

/// Similarity of each query to each product. -> (N, P)
Tensor similarities_of(const trine::ProductSearch& search, const std::vector<Tensor>& vectors) {
  std::vector<Tensor> rows;
  for (const Tensor& vector : vectors) rows.push_back(search.similarities(vector));
  return torch::stack(rows);
}

Queries joined(std::vector<Queries> parts) {
  Queries all;
  for (Queries& part : parts) {
    all.vectors.insert(all.vectors.end(), part.vectors.begin(), part.vectors.end());
    all.products.insert(all.products.end(), part.products.begin(), part.products.end());
  }
  return all;
}

/// Each query with a random one of another modality for the same product.
std::vector<Query> joined(std::vector<Query> queries, const std::vector<std::string>& products, Modality modality,
                          const Queries& others, std::mt19937_64 random) {
  std::map<std::string, std::vector<std::size_t>> by_product;
  for (std::size_t i = 0; i < others.products.size(); ++i) by_product[others.products[i]].push_back(i);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const std::vector<std::size_t>& fitting = by_product.at(products[i]);
    queries[i][modality] = others.vectors[fitting[random() % fitting.size()]];
  }
  return queries;
}

std::vector<Query> alone(Modality modality, const Queries& queries) {
  std::vector<Query> single;
  for (const Tensor& vector : queries.vectors) single.push_back({{modality, vector}});
  return single;
}

struct Condition {
  std::string name;
  std::vector<Query> queries;
  std::vector<std::string> products;
};

double mean_top1(const trine::ProductSearch& search, const std::vector<Condition>& conditions,
                 const trine::SearchOptions& how) {
  double sum = 0;
  for (const Condition& condition : conditions) {
    sum += top1(search, condition.queries, condition.products, how);
  }
  return sum / static_cast<double>(conditions.size());
}

/// The mixing, and the gains of text and audio, with which most is found.
trine::Mixing fit_gains(const trine::ProductSearch& search, const std::vector<Condition>& conditions,
                        std::map<Modality, trine::Calibration>& calibration) {
  double most = -1;
  trine::Mixing best = trine::Mixing::late;
  for (const trine::Mixing mixing : {trine::Mixing::late, trine::Mixing::early}) {
    for (float text = 0.25f; text < 1.5f; text *= 1.4142136f) {
      for (float audio = 1.0f; audio < 4.5f; audio *= 1.4142136f) {
        trine::SearchOptions how{.k = 1, .candidates = 1, .rerank = false, .mixing = mixing};
        how.weights.text *= text;
        how.weights.audio *= audio;
        const double found = mean_top1(search, conditions, how);
        std::printf("%s, gains text %.2f, audio %.2f: %.4f\n", mixing == trine::Mixing::late ? "late" : "early",
                    static_cast<double>(text), static_cast<double>(audio), found);
        if (found <= most) continue;
        most = found;
        best = mixing;
        calibration[Modality::text].gain = text;
        calibration[Modality::audio].gain = audio;
      }
    }
  }
  return best;
}

/// Logistic regression by Newton's method. features (N, F), happened (N) -> (F)
Tensor fit_logistic(const Tensor& features, const Tensor& happened) {
  const Tensor x = features.to(torch::kFloat64), y = happened.to(torch::kFloat64);
  const Tensor ridge = 0.01 * torch::eye(x.size(1), torch::kFloat64);
  Tensor w = torch::zeros({x.size(1)}, torch::kFloat64);
  for (int step = 0; step < 200; ++step) {
    const Tensor p = x.mv(w).sigmoid();
    const Tensor gradient = x.t().mv(p - y) + ridge.mv(w);
    const Tensor curvature = x.t().matmul((p * (1 - p)).unsqueeze(1) * x) + ridge;
    const Tensor step_to = torch::linalg_solve(curvature, gradient, /*left=*/true);
    w -= step_to * std::min(1.0, 2 / step_to.abs().max().item<double>());  // longer steps overshoot
  }
  return w;
}

/// With the right product taken out: what a catalogue without it would say.
Tensor without(const Tensor& similarities, const Tensor& right) {
  return similarities.scatter(1, right.unsqueeze(1), -2.0);
}

/// similarities (N, P) -> (N, 3)
Tensor facts_of(const Tensor& similarities, float temperature) {
  std::vector<Tensor> rows;
  for (const Tensor& row : similarities.unbind()) {
    const trine::detail::Nearness near = trine::detail::nearness_of(row, (row / temperature).softmax(0));
    rows.push_back(torch::tensor({1.0, near.similarity, near.odds}, torch::kFloat64));
  }
  return torch::stack(rows);
}

/// `lacking`: similarities (M, P) of queries for what is not in the catalogue. Of the queries that find their product
/// 3 in 100 may be said to be for nothing.
trine::detail::Known fit_known(const Tensor& similarities, const Tensor& right, const std::vector<Tensor>& lacking,
                               float temperature) {
  std::vector<Tensor> features{facts_of(similarities, temperature)};
  for (const Tensor& rows : lacking) features.push_back(facts_of(rows, temperature));
  const Tensor x = torch::cat(features);
  const Tensor there = torch::arange(x.size(0)) < similarities.size(0);
  const Tensor w = fit_logistic(x, there);
  const Tensor found = features[0].index({similarities.argmax(1) == right}).mv(w);
  const double below = found.quantile(0.03).item<double>();
  for (std::size_t i = 0; i < lacking.size(); ++i) {
    const double share = (features[i + 1].mv(w) < below).to(torch::kFloat64).mean().item<double>();
    std::printf("  lacking %zu: %.3f of %ld said to match nothing\n", i, share, lacking[i].size(0));
  }
  return {w[0].item<double>(), w[1].item<double>(), w[2].item<double>(), below};
}

trine::detail::Confidence fit_confidence(const trine::ProductSearch& search, const std::vector<Condition>& conditions,
                                         const std::map<Modality, trine::detail::Known>& known) {
  std::vector<Tensor> features;
  std::vector<double> right;
  for (const Condition& condition : conditions) {
    const Tensor numbers = numbers_of(search, condition.products);
    for (std::size_t i = 0; i < condition.queries.size(); ++i) {
      const std::string first = search.search(condition.queries[i], {.k = 1})[0].id;
      std::vector<Tensor> supports;
      double most = -INFINITY;
      for (const auto& [modality, vector] : condition.queries[i]) {
        const Tensor row = search.similarities(vector);
        supports.push_back((row / search.embedder().calibration(modality).temperature).softmax(0));
        most = std::max(
            most, trine::detail::known_odds(known.at(modality), trine::detail::nearness_of(row, supports.back())));
      }
      const auto number = numbers_of(search, {first})[0].item<std::int64_t>();
      features.push_back(torch::tensor({1.0, trine::detail::chance_odds(supports, number), most}, torch::kFloat64));
      right.push_back(first == condition.products[i]);
    }
  }
  const Tensor w = fit_logistic(torch::stack(features), torch::tensor(right));
  return {w[0].item<double>(), w[1].item<double>(), w[2].item<double>()};
}

/// All that is fitted.
struct Fitted {
  std::map<Modality, trine::Calibration> calibration;
  std::map<Modality, float> spread;
  std::map<Modality, trine::detail::Known> known;
  std::optional<trine::detail::Confidence> confidence;
  trine::Mixing mixing = trine::Mixing::late;
};

void write(const fs::path& file, trine::detail::Json config, const Fitted& fitted) {
  const auto rounded = [](double value) { return std::round(value * 1e4) / 1e4; };
  for (const auto& [modality, one] : fitted.calibration) {
    trine::detail::Json& entry = config["calibration"][std::string(to_string(modality))];
    entry = {{"temperature", rounded(one.temperature)},
             {"gain", rounded(one.gain)},
             {"softness", rounded(one.softness)},
             {"spread", std::round(fitted.spread.at(modality) * 1e5) / 1e5}};
    if (const auto known = fitted.known.find(modality); known != fitted.known.end()) {
      entry["known"] = {{"offset", rounded(known->second.offset)},
                        {"similarity", rounded(known->second.similarity)},
                        {"odds", rounded(known->second.odds)},
                        {"nothing_below", rounded(known->second.nothing_below)}};
    }
  }
  if (!fitted.calibration.empty()) {
    config["calibration"]["mixing"] = fitted.mixing == trine::Mixing::early ? "early" : "late";
  }
  if (fitted.confidence) {
    config["calibration"]["confidence"] = {{"offset", rounded(fitted.confidence->offset)},
                                           {"odds", rounded(fitted.confidence->odds)},
                                           {"known", rounded(fitted.confidence->known)}};
  }
  trine::detail::write_atomically(kWho, file, [&](std::ostream& out) { out << config.dump(2) << "\n"; });
}

/// Sentences that are for no product, and sounds.
std::vector<Tensor> sentences(const trine::Embedder& model, const Options& options, Modality modality) {
  std::vector<Tensor> vectors;
  for (const Clip& clip : read_corpus(options.corpus, {"val"})) {
    if (clip.set != "clinc") continue;
    vectors.push_back(modality == Modality::text ? model.embed_text(clip.target)
                                                 : model.embed_audio(options.corpus / clip.path));
  }
  return vectors;
}

std::vector<Tensor> sounds(const trine::Embedder& model, const Options& options) {
  std::vector<Tensor> vectors;
  for (const std::vector<float>& noise : read_noise(options.noise, "4")) {
    vectors.push_back(model.embed_audio(trine::Audio{kRate, noise}));
  }
  return vectors;
}

int run(const Options& options) {
  const fs::path file = options.model / "config.json";
  trine::detail::Json config = trine::detail::read_json(kWho, file);
  config.erase("calibration");
  Fitted fitted;
  const auto reopened = [&] {
    write(file, config, fitted);
    return trine::ProductSearch(trine::Embedder::load(options.model), options.index);
  };
  {
    const trine::ProductSearch plain = reopened();
    for (const Modality modality : trine::kModalities) {
      fitted.calibration[modality] = {};
      fitted.spread[modality] = plain.spread(modality);
    }
  }
  const trine::ProductSearch plain = reopened();
  const trine::Embedder& model = plain.embedder();

  const Queries photos = photo_queries(model, options);
  const std::vector<std::pair<std::string, Queries>> voices{{"clean", voice_queries(model, options, {})},
                                                            {"10 dB", voice_queries(model, options, 10.0)},
                                                            {"0 dB", voice_queries(model, options, 0.0)}};
  const Queries typed = text_queries(model, plain, photos.products, false, options);
  const Queries mistyped = text_queries(model, plain, photos.products, true, options);
  const std::map<Modality, Queries> all{
      {Modality::image, photos},
      {Modality::text, joined({typed, mistyped})},
      {Modality::audio, joined({voices[0].second, voices[1].second, voices[2].second})}};
  for (const auto& [modality, queries] : all) {
    fitted.calibration[modality].temperature =
        fit_temperature(similarities_of(plain, queries.vectors), numbers_of(plain, queries.products));
  }

  const auto with = [&](const std::vector<Query>& queries, Modality modality, const Queries& others) {
    return joined(queries, photos.products, modality, others, std::mt19937_64(options.seed));
  };
  const std::vector<Query> seen = alone(Modality::image, photos), wrong = alone(Modality::text, mistyped);
  std::vector<Condition> several{{"photo, typed", with(seen, Modality::text, typed), photos.products},
                                 {"photo, mistyped", with(seen, Modality::text, mistyped), photos.products}};
  for (const auto& [name, voice] : voices) {
    const std::vector<Query> heard = with(seen, Modality::audio, voice);
    several.push_back({"photo, voice " + name, heard, photos.products});
    several.push_back({"mistyped, voice " + name, with(wrong, Modality::audio, voice), photos.products});
    several.push_back({"photo, mistyped, voice " + name, with(heard, Modality::text, mistyped), photos.products});
  }
  fitted.mixing = fit_gains(reopened(), several, fitted.calibration);

  double most = -1;
  float softest = 1;
  for (const float softness : {1.0f, 2.0f, 4.0f, 8.0f, 12.0f, 16.0f, 24.0f}) {
    for (auto& [modality, one] : fitted.calibration) one.softness = softness;
    const double found = mean_top1(reopened(), several, {.k = 1});
    std::printf("softness %.0f: %.4f\n", static_cast<double>(softness), found);
    if (found < most) continue;  // of equals the softest, which changes the order least
    most = found;
    softest = softness;
  }
  for (auto& [modality, one] : fitted.calibration) one.softness = softest;

  for (const auto& [modality, queries] : all) {
    const Tensor similarities = similarities_of(plain, queries.vectors);
    const Tensor right = numbers_of(plain, queries.products);
    std::vector<Tensor> lacking{without(similarities, right)};
    if (modality != Modality::image) lacking.push_back(similarities_of(plain, sentences(model, options, modality)));
    if (modality == Modality::audio) lacking.push_back(similarities_of(plain, sounds(model, options)));
    std::printf("%s\n", std::string(to_string(modality)).c_str());
    fitted.known[modality] = fit_known(similarities, right, lacking, fitted.calibration[modality].temperature);
  }
  std::vector<Condition> every = several;
  for (const auto& [modality, queries] : all) every.push_back({"", alone(modality, queries), queries.products});
  fitted.confidence = fit_confidence(reopened(), every, fitted.known);
  write(file, config, fitted);
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
