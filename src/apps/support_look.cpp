#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "apps/support.h"
#include "apps/words.h"
#include "detail/error.h"
#include "detail/json.h"
#include "encoders/inputs.h"
#include "trine/apps/support_agent.h"

/// The half of the support agent that looks: each part at what it is for, and nothing decided.

namespace trine {

namespace fs = std::filesystem;
using detail::Json;
using torch::Tensor;

namespace {

constexpr const char* kWho = "SupportAgent";
constexpr std::size_t kMostText = 20'000;  ///< bytes of a message that are read
constexpr float kSureProduct = 0.8f;       ///< confidence above which a product is named

/// Loads a part; without it, what it would find is lacking. `wanted`: it was asked for, so its errors are the caller's.
template <typename Load>
void load_part(SupportParts& parts, Fact fact, bool wanted, const Load& load) {
  try {
    return load();
  } catch (const std::runtime_error& error) {
    if (wanted) throw;
    parts.lacking[fact] = error.what();
  } catch (const std::invalid_argument& error) {
    if (wanted) throw;
    parts.lacking[fact] = error.what();
  }
}

/// "2.49 EUR/kg" of a product's attributes; empty without a price.
std::string price_of(const Product& product) {
  const auto plain = [&product](const std::string& name) -> std::string {
    const auto found = std::ranges::find(product.attributes, name, &std::pair<std::string, std::string>::first);
    if (found == product.attributes.end()) return "";
    const Json value = detail::parse_json(kWho, found->second, name);
    return value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : "";
  };
  const std::string price = plain("price"), currency = plain("currency"), unit = plain("unit");
  if (price.empty()) return "";
  return price + (currency.empty() ? "" : " " + currency) + (unit.empty() ? "" : "/" + unit);
}

/// Looks at one message and keeps what it sees.
class Look {
 public:
  Look(const Embedder& embedder, const SupportParts& parts, const std::vector<detail::Title>& titles,
       const ReplyTemplates& templates)
      : embedder_(embedder), parts_(parts), titles_(titles), templates_(templates) {}

  Observed take() { return std::move(seen_); }

  void at_text(const std::string& text) {
    attempt(Modality::text, [&] {
      check_utf8(text);
      seen_.text = std::string(detail::beginning(text, kMostText));
      if (seen_.text.size() < text.size()) {
        unread(Modality::text, "only the first " + std::to_string(seen_.text.size()) + " of " +
                                   std::to_string(text.size()) + " bytes were read");
      }
      at_words(Modality::text, seen_.text);
      if (parts_.emotions && parts_.emotions->supports(Modality::text)) {
        seen_.emotions[Modality::text] = parts_.emotions->text(seen_.text);
      } else {
        lacks(Fact::emotion, "the model has no head for the emotions of texts");
      }
    });
  }

  void at_audio(const AudioInput& audio) {
    attempt(Modality::audio, [&] {
      const AudioInput clip = samples_of(audio);
      if (!parts_.hearing) {
        lacks(Fact::heard, "the model has no decoder of speech");
      } else {
        const Heard heard = parts_.hearing->hear(clip);
        if (heard.transcript.text.empty()) {
          unread(Modality::audio, "nothing is said in it");
        } else {
          seen_.heard = Finding{.fact = Fact::heard,
                                .value = heard.transcript.text,
                                .probability = heard.trust,
                                .source = Modality::audio};
          spoken_ = heard.vector;
          at_words(Modality::audio, heard.transcript.text);
        }
      }
      if (parts_.emotions && parts_.emotions->supports(Modality::audio)) {
        seen_.emotions[Modality::audio] = parts_.emotions->voice(clip);
      } else {
        lacks(Fact::emotion, "the model has no head for the emotions of voices");
      }
    });
  }

  void at_image(const ImageInput& image) {
    attempt(Modality::image, [&] {
      const ImageInput photo = detail::pixels_of(kWho, image);
      seen_.photo = true;
      if (parts_.damage) {
        seen_.damage = parts_.damage->inspect(photo);
      } else {
        lacks(Fact::damage, "the model has no head for damage");
      }
      if (parts_.products && embedder_.supports(Modality::image)) {
        find_product(Modality::image, embedder_.embed_image(photo));
      } else {
        lacks(Fact::product, "the model has no catalogue of pictures");
      }
    });
  }

  /// Products of the words: the one that is named goes before that of the photo; else what is asked about.
  void at_products() {
    std::vector<Finding> pictured = std::move(seen_.products);
    seen_.products.clear();
    for (const auto& [modality, named] : seen_.named) {
      const bool alone = named.size() == 1 && std::ranges::none_of(pictured, [&named](const Finding& product) {
                           return product.value == named.front().value;
                         });
      if (alone && seen_.products.empty()) add_product(named.front());
    }
    std::ranges::move(pictured, std::back_inserter(seen_.products));
    const std::vector<Finding> intents = detail::intents_of(seen_);
    if (!seen_.products.empty() || !parts_.products || intents.empty()) return;
    if (!templates_.rule(intents.front().value).about_product) return;
    if (intents.front().source == Modality::audio) return find_product(Modality::audio, spoken_);
    find_product(Modality::text, embedder_.embed_text(seen_.text));
  }

 private:
  /// What goes wrong with one modality leaves the others alone.
  template <typename Action>
  void attempt(Modality modality, const Action& action) {
    try {
      action();
    } catch (const std::runtime_error& error) {
      unread(modality, error.what());
    } catch (const std::invalid_argument& error) {
      unread(modality, error.what());
    }
  }

  void unread(Modality modality, const std::string& why) { seen_.unread.push_back({modality, why}); }

  void lacks(Fact fact, const std::string& why) {
    const auto known = parts_.lacking.find(fact);
    const auto same = [fact](const NotLookedAt& other) { return other.fact == fact; };
    if (std::ranges::any_of(seen_.not_looked_at, same)) return;
    seen_.not_looked_at.push_back({fact, known == parts_.lacking.end() ? why : known->second});
  }

  void at_words(Modality modality, const std::string& words) {
    if (parts_.intents) {
      seen_.intents[modality] = parts_.intents->understand(words);
    } else {
      lacks(Fact::intent, "the model has no intents");
    }
    std::string rest = detail::folded(words);
    for (const auto& [id, title, forms] : titles_) {
      if (!std::ranges::any_of(forms, [&rest](const auto& form) { return detail::take_phrase(rest, form); })) continue;
      seen_.named[modality].push_back({.fact = Fact::product, .value = id, .source = modality, .note = title});
    }
  }

  void find_product(Modality modality, const Tensor& vector) {
    const SearchResult found = parts_.products->search(std::map<Modality, Tensor>{{modality, vector}}, {.k = 1});
    const auto confidence = static_cast<float>(found.confidence);
    if (found.empty() || found.nothing_matches || confidence <= kSureProduct) return;
    add_product({.fact = Fact::product,
                 .value = found[0].id,
                 .probability = confidence,
                 .source = modality,
                 .note = found[0].title});
  }

  void add_product(const Finding& product) {
    seen_.products.push_back(product);
    const std::string price = price_of(parts_.products->product(product.value));
    if (price.empty()) return;
    seen_.products.push_back(
        {.fact = Fact::price, .value = price, .probability = product.probability, .source = product.source});
  }

  const Embedder& embedder_;
  const SupportParts& parts_;
  const std::vector<detail::Title>& titles_;
  const ReplyTemplates& templates_;
  Tensor spoken_;  ///< (D) what was heard
  Observed seen_;
};

}  // namespace

SupportParts SupportParts::of(const Embedder& embedder, const SupportOptions& options) {
  SupportParts parts;
  parts.complete(embedder, options);
  return parts;
}

void SupportParts::complete(const Embedder& embedder, const SupportOptions& options) {
  if (!intents) {
    load_part(*this, Fact::intent, !options.intents.empty(),
              [&] { intents = IntentClassifier::load(embedder, options.intents); });
  }
  if (!emotions) load_part(*this, Fact::emotion, false, [&] { emotions = EmotionRecognizer::load(embedder); });
  if (!damage) load_part(*this, Fact::damage, false, [&] { damage = DamageDetector::load(embedder); });
  if (!hearing) load_part(*this, Fact::heard, false, [&] { hearing = Hearing::load(embedder); });
  if (!products) {
    load_part(*this, Fact::product, !options.index.empty(), [&] {
      const fs::path index = options.index.empty() ? embedder.directory() / "catalogue.trine" : options.index;
      products = std::make_shared<ProductSearch>(embedder, index);
    });
  }
}

std::vector<detail::Title> detail::titles_of(const ProductSearch& products) {
  std::vector<Title> titles;
  for (const Product& product : products.products()) {
    const std::string one = folded(product.title);
    const std::string stem = one.substr(0, one.size() - 1);
    titles.push_back({product.id, product.title, {one, stem + "s ", stem + "es "}});
    if (stem.ends_with('s')) titles.back().forms.push_back(stem.substr(0, stem.size() - 1) + " ");
    if (stem.ends_with('y')) titles.back().forms.push_back(stem.substr(0, stem.size() - 1) + "ies ");
  }
  std::ranges::stable_sort(titles, [](const Title& a, const Title& b) { return a.title.size() > b.title.size(); });
  return titles;
}

Observed detail::look(const Embedder& embedder, const SupportParts& parts, const std::vector<Title>& titles,
                      const ReplyTemplates& templates, const Inputs& message) {
  const torch::NoGradGuard no_grad;
  const bool words = message.text && message.text->find_first_not_of(" \t\r\n") != std::string::npos;
  if (!message.image && !message.audio && !words) {
    detail::bad_argument(kWho, "wanted a text, a photo or a recording, got nothing");
  }
  Look look(embedder, parts, titles, templates);
  if (words) look.at_text(*message.text);
  if (message.audio) look.at_audio(*message.audio);
  if (message.image) look.at_image(*message.image);
  look.at_products();
  return look.take();
}

}  // namespace trine
