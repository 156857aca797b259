#include "trine/apps/catalogue.h"
#include "trine/apps/product_search.h"
#include "trine/apps/video_understanding.h"

#include "module.h"

namespace trine::python {
namespace {

/// JSON text to the Python value: "2.49" -> 2.49
py::dict attributes(const Product& product) {
  const py::object loads = py::module_::import("json").attr("loads");
  py::dict result;
  for (const auto& [name, json] : product.attributes) result[py::str(name)] = loads(json);
  return result;
}

py::list names(const std::vector<std::filesystem::path>& paths) {
  py::list result;
  for (const auto& path : paths) result.append(path.string());
  return result;
}

py::dict to_dict(const Product& product) {
  py::dict result;
  result["id"] = product.id;
  result["title"] = product.title;
  result["description"] = product.description;
  result["attributes"] = attributes(product);
  result["keywords"] = product.keywords;
  result["images"] = names(product.images);
  result["audio"] = names(product.audio);
  result["videos"] = names(product.videos);
  return result;
}

py::dict to_dict(const Reason& reason) {
  py::dict result;
  result["modality"] = reason.modality;
  result["similarity"] = reason.similarity;
  result["support"] = reason.support;
  result["verdict"] = to_string(reason.verdict);
  result["nearest"] = reason.nearest;
  return result;
}

py::dict to_dict(const Hit& hit) {
  py::list reasons;
  for (const Reason& reason : hit.reasons) reasons.append(to_dict(reason));
  py::dict result;
  result["id"] = hit.id;
  result["title"] = hit.title;
  result["score"] = hit.score;
  result["similarity"] = hit.similarity;
  result["consistency"] = hit.consistency;
  result["disagreement"] = hit.disagreement;
  result["avoided"] = hit.avoided;
  result["reasons"] = reasons;
  result["sentence"] = hit.sentence();
  result["product"] = to_dict(hit.product);
  return result;
}

py::dict to_dict(const IndexReport& report) {
  py::list skipped;
  for (const SkippedMedia& one : report.skipped) {
    skipped.append(
        py::dict(py::arg("product") = one.product, py::arg("file") = one.file.string(), py::arg("why") = one.why));
  }
  py::dict result;
  result["products"] = report.products;
  result["vectors"] = report.vectors;
  result["embedded"] = report.embedded;
  result["skipped"] = skipped;
  return result;
}

/// `add` or `update` for Python.
auto changer(IndexReport (ProductSearch::*change)(const std::vector<Product>&, const IndexOptions&)) {
  return [change](ProductSearch& self, const std::vector<Product>& products, const py::object& progress,
                  const std::filesystem::path& partial) {
    IndexReport report;
    {
      const py::gil_scoped_release unlocked;
      report = (self.*change)(products, {.progress = reporter(progress), .partial = partial});
    }
    return to_dict(report);
  };
}

const char* name_of(VectorType type) {
  return type == VectorType::fp32 ? "fp32" : type == VectorType::fp16 ? "fp16" : "int8";
}

py::object to_dict(const std::optional<GraphOptions>& graph) {
  if (!graph) return py::none();
  return py::dict(py::arg("m") = graph->m, py::arg("ef_construction") = graph->ef_construction);
}

py::dict to_dict(const IndexSummary& summary) {
  py::dict result;
  result["bytes"] = summary.bytes;
  result["records"] = summary.records;
  result["dimensions"] = summary.dim;
  result["precision"] = name_of(summary.form.precision);
  result["rescore"] = summary.form.rescore ? py::object(py::str(name_of(*summary.form.rescore))) : py::none();
  result["graph"] = to_dict(summary.graph);
  result["products"] = summary.products >= 0 ? py::object(py::int_(summary.products)) : py::none();
  result["vectors"] = summary.shows;
  result["draft"] = summary.draft;
  result["model"] = summary.model;
  result["fingerprint"] = summary.fingerprint;
  result["metadata"] = summary.metadata;
  return result;
}

void bind_product(py::module_& m) {
  py::class_<Product>(m, "Product", "A product of a catalogue.")
      .def(py::init([](std::string id, std::string title, std::string description,
                       std::vector<std::pair<std::string, std::string>> json_attributes,
                       std::vector<std::string> keywords, std::vector<std::filesystem::path> images,
                       std::vector<std::filesystem::path> audio, std::vector<std::filesystem::path> videos) {
        return Product{std::move(id),       std::move(title),  std::move(description), std::move(json_attributes),
                       std::move(keywords), std::move(images), std::move(audio),       std::move(videos)};
      }))
      .def_readonly("id", &Product::id, "What it is called in an index.")
      .def_readonly("title", &Product::title, "Its name.")
      .def_readonly("description", &Product::description, "Sentences about it.")
      .def_property_readonly("attributes", &attributes, "Its attributes by name.")
      .def_readonly("keywords", &Product::keywords, "Other names and phrases it is asked for by.")
      .def_readonly("images", &Product::images, "Paths of pictures of it.")
      .def_readonly("audio", &Product::audio, "Paths of clips of it.")
      .def_readonly("videos", &Product::videos, "Paths of videos of it.")
      .def(
          "to_dict", [](const Product& product) { return to_dict(product); }, "The same as a dict.")
      .def("__repr__", [](const Product& product) {
        return py::str("Product(id={!r}, title={!r})").format(product.id, product.title);
      });

  m.def("read_catalogue", &read_catalogue, py::arg("path"), NoGil(),
        R"(The products of a catalogue, as a list of Product.

A catalogue is a file of JSON lines, or a table (.csv, .tsv), with id and title, and if wanted description, keywords,
images, audio and videos (paths relative to the file); any other key or column is an attribute. In a table a cell holds several
keywords or paths separated by |, and a cell that is a number, true or false becomes one. RuntimeError names the line and
the key or column that is wrong.

>>> trine.read_catalogue("catalogue.csv")[0]                # doctest: +SKIP
Product(id='banana', title='Banana'))");
}

void bind_hit(py::module_& m) {
  py::class_<Reason>(m, "Reason", "What one modality of the query says of a hit.")
      .def_readonly("modality", &Reason::modality, "'image', 'text' or 'audio'.")
      .def_readonly("similarity", &Reason::similarity, "Cosine to the product's nearest vector.")
      .def_readonly("support", &Reason::support,
                    "The chance, in [0, 1], that this modality alone would give the product.")
      .def_property_readonly(
          "verdict", [](const Reason& reason) { return to_string(reason.verdict); },
          "'supports', 'contradicts' (it is sure of another product) or 'neutral'.")
      .def_readonly("nearest", &Reason::nearest,
                    "Of the product: 'title', 'description', 'keyword: green apple', 'picture 1', 'clip 2'.")
      .def(
          "to_dict", [](const Reason& reason) { return to_dict(reason); }, "The same as a dict.")
      .def("__repr__", [](const Reason& reason) {
        return py::str("Reason(modality={!r}, similarity={:.3f}, support={:.3f}, verdict={!r}, nearest={!r})")
            .format(reason.modality, reason.similarity, reason.support, to_string(reason.verdict), reason.nearest);
      });

  py::class_<Hit>(m, "Hit", "A product that was found, and why.")
      .def_readonly("id", &Hit::id, "The product's id.")
      .def_readonly("title", &Hit::title, "The product's name.")
      .def_readonly("score", &Hit::score, "What hits are ranked by.")
      .def_readonly("similarity", &Hit::similarity, "Of the combined query.")
      .def_readonly("consistency", &Hit::consistency, "Geometric mean of the supports.")
      .def_readonly("disagreement", &Hit::disagreement, "Largest support minus smallest.")
      .def_readonly("avoided", &Hit::avoided,
                    "Nearness to the texts of `without`: 1 for the nearest product of all, 0 for the usual one.")
      .def_readonly("reasons", &Hit::reasons, "One Reason per modality of the query.")
      .def_readonly("product", &Hit::product, "The Product itself.")
      .def("sentence", &Hit::sentence, "The reasons as one English sentence.")
      .def(
          "to_dict", [](const Hit& hit) { return to_dict(hit); }, "All of it as a dict that json.dumps takes.")
      .def("__repr__", [](const Hit& hit) {
        return py::str("Hit(id={!r}, title={!r}, score={:.3f})").format(hit.id, hit.title, hit.score);
      });
}

Mixing mixing_of(const std::string& name) {
  return name == "early" ? Mixing::early : name == "late" ? Mixing::late : Mixing::fitted;
}

void bind_filter(py::module_& m) {
  py::class_<Filter>(m, "Filter", R"(A condition on attributes.

>>> cheap = trine.Filter("price < 30 and category in ('fruit', 'vegetable') and not organic == true")
>>> cheap.matches({"price": 2.49, "category": "fruit"})
True

Comparisons are == != < <= > >= of an attribute with a number, a text in '' or "" or true and false, `in (...)` with some
of these, and `contains` for a part of a text or an entry of a list; they are joined by and, or, not and parentheses.
Names with other characters than letters, digits, _ and . stand in backticks. An attribute that is missing or of another
type makes its comparison false. ValueError with the column of what is wrong.)")
      .def(py::init([](const py::str& expression) { return Filter(utf8(expression)); }), py::arg("expression"))
      .def(
          "matches",
          [](const Filter& self, const py::dict& values) {
            const py::object dumps = py::module_::import("json").attr("dumps");
            Attributes attributes;
            for (const auto& [name, value] : values) {
              attributes.emplace_back(utf8(py::str(name)), utf8(py::str(dumps(value))));
            }
            return self.matches(attributes);
          },
          py::arg("attributes"), "Whether attributes, a dict, fulfil it.")
      .def_property_readonly("names", &Filter::names, "Of the attributes it asks for, sorted.");
}

void bind_video_understanding(py::module_& m) {
  bind_learned<VideoUnderstandingImpl>(m, "VideoUnderstanding")
      .def(py::init([](std::int64_t frame_dim, std::int64_t audio_dim, std::int64_t text_dim, std::int64_t hidden_dim,
                       std::int64_t out_dim, std::int64_t num_layers, std::int64_t num_heads) {
        return std::make_shared<VideoUnderstandingImpl>(
            VideoUnderstandingOptions{frame_dim, audio_dim, text_dim, hidden_dim, out_dim, num_layers, num_heads});
      }))
      .def_property_readonly("options",
                             [](const VideoUnderstandingImpl& self) {
                               const VideoUnderstandingOptions& o = self.options();
                               return py::dict(py::arg("frame_dim") = o.frame_dim, py::arg("audio_dim") = o.audio_dim,
                                               py::arg("text_dim") = o.text_dim, py::arg("hidden_dim") = o.hidden_dim,
                                               py::arg("out_dim") = o.out_dim, py::arg("num_layers") = o.num_layers,
                                               py::arg("num_heads") = o.num_heads);
                             })
      .def("forward", [](VideoUnderstandingImpl& self, const torch::Tensor& frames,
                         const std::optional<torch::Tensor>& audio, const std::optional<torch::Tensor>& mask,
                         const std::optional<torch::Tensor>& transcript,
                         const std::optional<torch::Tensor>& transcript_mask) {
        const py::gil_scoped_release unlocked;
        const UnderstoodVideo understood = self.forward({.frames = frames,
                                                         .audio = audio.value_or(torch::Tensor()),
                                                         .mask = mask.value_or(torch::Tensor()),
                                                         .transcript = transcript.value_or(torch::Tensor()),
                                                         .transcript_mask = transcript_mask.value_or(torch::Tensor())});
        return std::pair(understood.video, understood.importance);
      });
}

}  // namespace

void bind_apps(py::module_& m) {
  bind_filter(m);
  bind_product(m);
  bind_hit(m);
  bind_video_understanding(m);
  m.def("describe_index", [](const std::filesystem::path& path) {
    IndexSummary summary;
    {
      const py::gil_scoped_release unlocked;
      summary = describe_index(path);
    }
    return to_dict(summary);
  });
  py::class_<ProductSearch, std::shared_ptr<ProductSearch>>(m, "ProductSearch")
      .def(py::init<Embedder>(), NoGil())
      .def(py::init<Embedder, const std::filesystem::path&>(), NoGil())
      .def_static(
          "build",
          [](const Embedder& embedder, const std::vector<Product>& catalogue, const py::object& progress,
             const std::filesystem::path& partial, bool draft) {
            IndexReport report;
            std::shared_ptr<ProductSearch> search;
            {
              const py::gil_scoped_release unlocked;
              search = std::make_shared<ProductSearch>(ProductSearch::build(
                  embedder, catalogue, &report, {.progress = reporter(progress), .partial = partial, .draft = draft}));
            }
            return py::make_tuple(std::move(search), to_dict(report));
          })
      .def("add", changer(&ProductSearch::add))
      .def("update", changer(&ProductSearch::update))
      .def("remove", &ProductSearch::remove, NoGil())
      .def(
          "build_graph",
          [](ProductSearch& self, std::int64_t links, std::int64_t ef_construction, std::int64_t threads) {
            self.build_graph({links, ef_construction, threads});
          },
          NoGil())
      .def("drop_graph", &ProductSearch::drop_graph)
      .def_property_readonly("graph", [](const ProductSearch& self) { return to_dict(self.graph()); })
      .def("save", &ProductSearch::save, NoGil())
      .def(
          "search",
          [](const ProductSearch& self, std::vector<ImageInput> images, std::vector<std::string> texts,
             std::vector<AudioInput> audio, std::int64_t k, std::int64_t candidates, bool rerank,
             const QueryWeights& weights, const std::string& filter, std::vector<std::string> without,
             const std::string& mixing, bool calibrate, bool hearing, std::int64_t ef, bool exact) {
            SearchResult found = self.search(Query{std::move(images), std::move(texts), std::move(audio)},
                                             {.k = k,
                                              .candidates = candidates,
                                              .weights = weights,
                                              .rerank = rerank,
                                              .filter = filter.empty() ? Filter() : Filter(filter),
                                              .without = std::move(without),
                                              .mixing = mixing_of(mixing),
                                              .calibrate = calibrate,
                                              .hearing = hearing,
                                              .ef = ef,
                                              .exact = exact});
            return std::tuple(std::move(found.hits), found.confidence, found.nothing_matches, std::move(found.heard));
          },
          NoGil())
      .def("__len__", &ProductSearch::size)
      .def("products", [](const ProductSearch& self) { return self.products(); })
      .def("product", &ProductSearch::product, py::return_value_policy::copy);
}

}  // namespace trine::python
