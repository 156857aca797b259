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

py::dict to_dict(const Product& product) {
  py::list images;
  for (const auto& image : product.images) images.append(image.string());
  py::dict result;
  result["id"] = product.id;
  result["title"] = product.title;
  result["description"] = product.description;
  result["attributes"] = attributes(product);
  result["keywords"] = product.keywords;
  result["images"] = images;
  return result;
}

py::dict to_dict(const Reason& reason) {
  py::dict result;
  result["modality"] = reason.modality;
  result["similarity"] = reason.similarity;
  result["support"] = reason.support;
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
  result["reasons"] = reasons;
  result["sentence"] = hit.sentence();
  result["product"] = to_dict(hit.product);
  return result;
}

py::dict to_dict(const IndexReport& report) {
  py::list skipped;
  for (const auto& [path, why] : report.skipped) skipped.append(py::make_tuple(path.string(), why));
  py::dict result;
  result["products"] = report.products;
  result["vectors"] = report.vectors;
  result["skipped"] = skipped;
  return result;
}

/// Calls `progress` if there is one; an exception of it, or Ctrl-C, ends the work.
std::function<void(std::int64_t, std::int64_t)> reporter(const py::object& progress) {
  return [&progress](std::int64_t done, std::int64_t total) {
    const py::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(done, total);
  };
}

void bind_product(py::module_& m) {
  py::class_<Product>(m, "Product", "A product of a catalogue.")
      .def(py::init([](std::string id, std::string title, std::string description,
                       std::vector<std::pair<std::string, std::string>> json_attributes,
                       std::vector<std::string> keywords, std::vector<std::filesystem::path> images) {
        return Product{std::move(id),       std::move(title), std::move(description), std::move(json_attributes),
                       std::move(keywords), std::move(images)};
      }))
      .def_readonly("id", &Product::id, "What it is called in an index.")
      .def_readonly("title", &Product::title, "Its name.")
      .def_readonly("description", &Product::description, "Sentences about it.")
      .def_property_readonly("attributes", &attributes, "Its attributes by name.")
      .def_readonly("keywords", &Product::keywords, "Other names and phrases it is asked for by.")
      .def_readonly("images", &Product::images, "Paths of pictures of it.")
      .def(
          "to_dict", [](const Product& product) { return to_dict(product); }, "The same as a dict.")
      .def("__repr__", [](const Product& product) {
        return py::str("Product(id={!r}, title={!r})").format(product.id, product.title);
      });

  m.def("read_catalogue", &read_catalogue, py::arg("path"), NoGil(),
        R"(The products of a catalogue, as a list of Product.

A catalogue is a file of JSON lines with id and title, and if wanted description, attributes, keywords and images
(paths relative to the file). RuntimeError names the line and the key that is wrong.

>>> trine.read_catalogue("catalogue.jsonl")[0]              # doctest: +SKIP
Product(id='banana', title='Banana'))");
}

void bind_hit(py::module_& m) {
  py::class_<Reason>(m, "Reason", "What one modality of the query says of a hit.")
      .def_readonly("modality", &Reason::modality, "'image', 'text' or 'audio'.")
      .def_readonly("similarity", &Reason::similarity, "Cosine to the product's nearest vector.")
      .def_readonly("support", &Reason::support,
                    "The chance, in [0, 1], that this modality alone would give the product.")
      .def_readonly("nearest", &Reason::nearest,
                    "What of the product was nearest: 'title', 'description', 'keyword: green apple', 'picture'.")
      .def(
          "to_dict", [](const Reason& reason) { return to_dict(reason); }, "The same as a dict.")
      .def("__repr__", [](const Reason& reason) {
        return py::str("Reason(modality={!r}, similarity={:.3f}, support={:.3f}, nearest={!r})")
            .format(reason.modality, reason.similarity, reason.support, reason.nearest);
      });

  py::class_<Hit>(m, "Hit", "A product that was found, and why.")
      .def_readonly("id", &Hit::id, "The product's id.")
      .def_readonly("title", &Hit::title, "The product's name.")
      .def_readonly("score", &Hit::score, "What hits are ranked by.")
      .def_readonly("similarity", &Hit::similarity, "Cosine of the combined query.")
      .def_readonly("consistency", &Hit::consistency, "Geometric mean of the supports.")
      .def_readonly("disagreement", &Hit::disagreement, "Largest support minus smallest.")
      .def_readonly("reasons", &Hit::reasons, "One Reason per modality of the query.")
      .def_readonly("product", &Hit::product, "The Product itself.")
      .def("sentence", &Hit::sentence, "The reasons as one English sentence.")
      .def(
          "to_dict", [](const Hit& hit) { return to_dict(hit); }, "All of it as a dict that json.dumps takes.")
      .def("__repr__", [](const Hit& hit) {
        return py::str("Hit(id={!r}, title={!r}, score={:.3f})").format(hit.id, hit.title, hit.score);
      });
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
  bind_product(m);
  bind_hit(m);
  bind_video_understanding(m);
  py::class_<ProductSearch, std::shared_ptr<ProductSearch>>(m, "ProductSearch")
      .def(py::init<Embedder>(), NoGil())
      .def(py::init<Embedder, const std::filesystem::path&>(), NoGil())
      .def_static("build",
                  [](const Embedder& embedder, const std::vector<Product>& catalogue, const py::object& progress) {
                    IndexReport report;
                    std::shared_ptr<ProductSearch> search;
                    {
                      const py::gil_scoped_release unlocked;
                      search = std::make_shared<ProductSearch>(
                          ProductSearch::build(embedder, catalogue, &report, reporter(progress)));
                    }
                    return py::make_tuple(std::move(search), to_dict(report));
                  })
      .def("save", &ProductSearch::save, NoGil())
      .def(
          "search",
          [](const ProductSearch& self, const std::map<Modality, torch::Tensor>& query, std::int64_t k,
             std::int64_t candidates, bool rerank, const QueryWeights& weights) {
            return self.search(query, {.k = k, .candidates = candidates, .weights = weights, .rerank = rerank});
          },
          NoGil())
      .def("__len__", &ProductSearch::size)
      .def("product", &ProductSearch::product, py::return_value_policy::copy);
}

}  // namespace trine::python
