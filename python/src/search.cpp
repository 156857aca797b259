#include "trine/search/index.h"

#include <array>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_set>

#include "module.h"
#include "trine/search/query.h"
#include "trine/search/rerank.h"

namespace trine::python {
namespace {

/// An index that Python threads may share. Its lock is only ever waited for without the interpreter's lock, and no
/// Python code runs while it is held.
class SharedIndex {
 public:
  explicit SharedIndex(Index index) : index_(std::move(index)), dim_(index_.dim()) {}

  std::int64_t dim() const { return dim_; }

  template <typename Function>
  auto read(Function function) const {
    const py::gil_scoped_release unlocked;
    const std::shared_lock lock(mutex_);
    return function(index_);
  }

  template <typename Function>
  auto write(Function function) {
    const py::gil_scoped_release unlocked;
    const std::unique_lock lock(mutex_);
    return function(index_);
  }

 private:
  Index index_;
  const std::int64_t dim_;
  mutable std::shared_mutex mutex_;
};

std::span<const float> values(const Floats& vector) { return {vector.data(), static_cast<std::size_t>(vector.size())}; }

constexpr std::array kPrecisions = {"fp32", "fp16", "int8"};

VectorType precision_of(const std::string& name) {
  const auto found = std::ranges::find(kPrecisions, name);
  if (found == kPrecisions.end()) throw std::invalid_argument("Wanted the precision fp32, fp16 or int8, got " + name);
  return static_cast<VectorType>(found - kPrecisions.begin());
}

const char* name_of(VectorType precision) { return kPrecisions[static_cast<std::size_t>(precision)]; }

std::optional<VectorType> precision_of(const std::optional<std::string>& name) {
  return name ? std::optional(precision_of(*name)) : std::nullopt;
}

/// A named tuple (id, score) of the class `kind`; by a class's own way, through Python, it takes three times as long.
py::object named_tuple(PyTypeObject* kind, const Match& match) {
  py::str id(match.id);
  py::float_ score(match.score);
  auto tuple = py::reinterpret_steal<py::object>(kind->tp_alloc(kind, 2));
  if (!tuple) throw py::error_already_set();
  PyTuple_SET_ITEM(tuple.ptr(), 0, id.release().ptr());
  PyTuple_SET_ITEM(tuple.ptr(), 1, score.release().ptr());
  return tuple;
}

/// queries (dim) -> the matches as tuples of the class `kind`; (N, dim) -> a list of such lists
py::list search(const SharedIndex& self, const Floats& queries, std::int64_t k,
                const std::optional<std::unordered_set<std::string>>& allowed, std::int64_t ef, bool exact,
                std::int64_t threads, const py::type& kind) {
  auto* type = reinterpret_cast<PyTypeObject*>(kind.ptr());
  if (PyType_IsSubtype(type, &PyTuple_Type) == 0) throw std::invalid_argument("Wanted a class of tuples.");
  const bool many = queries.ndim() == 2;
  if (queries.ndim() < 1 || queries.ndim() > 2 || queries.shape(queries.ndim() - 1) != self.dim()) {
    py::tuple wanted = py::make_tuple(self.dim());
    if (many) wanted = py::make_tuple(queries.shape(0), self.dim());
    throw std::invalid_argument(py::str("Wanted the shape {}, got {}.").format(wanted, queries.attr("shape")));
  }
  IndexSearchOptions options{.ef = ef, .exact = exact, .threads = threads};
  if (allowed) options.keep = [&](std::string_view id) { return allowed->contains(std::string(id)); };
  const auto found = self.read([&](const Index& index) { return index.search_many(values(queries), k, options); });
  const auto list_of = [&](const std::vector<Match>& matches) {
    py::list list(matches.size());
    for (std::size_t i = 0; i < matches.size(); ++i) list[i] = named_tuple(type, matches[i]);
    return list;
  };
  if (!many) return list_of(found[0]);
  py::list all(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) all[i] = list_of(found[i]);
  return all;
}

}  // namespace

void bind_search(py::module_& m) {
  py::class_<SharedIndex>(m, "Index")
      .def(py::init([](std::int64_t dim, const std::string& precision, const std::optional<std::string>& rescore) {
        return std::make_unique<SharedIndex>(Index(dim, {precision_of(precision), precision_of(rescore)}));
      }))
      .def_static(
          "load",
          [](const std::filesystem::path& path, bool mapped) {
            return std::make_unique<SharedIndex>(Index::load(path, mapped));
          },
          NoGil())
      .def("save", [](const SharedIndex& self,
                      const std::filesystem::path& path) { self.read([&](const Index& index) { index.save(path); }); })
      .def_property_readonly("dim", &SharedIndex::dim)
      .def_property_readonly("precision",
                             [](const SharedIndex& self) {
                               return name_of(self.read([](const Index& i) { return i.options(); }).precision);
                             })
      .def_property_readonly("rescore",
                             [](const SharedIndex& self) {
                               const auto kept = self.read([](const Index& i) { return i.options(); }).rescore;
                               return kept ? std::optional(name_of(*kept)) : std::nullopt;
                             })
      .def("__len__", [](const SharedIndex& self) { return self.read([](const Index& i) { return i.size(); }); })
      .def("ids", [](const SharedIndex& self) { return self.read([](const Index& i) { return i.ids(); }); })
      .def("contains", [](const SharedIndex& self,
                          std::string_view id) { return self.read([&](const Index& i) { return i.contains(id); }); })
      .def("vector",
           [](const SharedIndex& self, std::string_view id) {
             const auto vector = self.read([&](const Index& i) { return i.vector(id); });
             return py::array_t<float>(static_cast<py::ssize_t>(vector.size()), vector.data());
           })
      .def("add", [](SharedIndex& self, const std::vector<std::string>& ids,
                     const Floats& vectors) { self.write([&](Index& i) { i.add(ids, values(vectors)); }); })
      .def("update", [](SharedIndex& self, std::string_view id,
                        const Floats& vector) { self.write([&](Index& i) { i.update(id, values(vector)); }); })
      .def("remove", [](SharedIndex& self, std::string_view id) { self.write([&](Index& i) { i.remove(id); }); })
      .def("search", &search)
      .def("build_graph",
           [](SharedIndex& self, std::int64_t links, std::int64_t ef_construction, std::int64_t threads) {
             self.write([&](Index& i) { i.build_graph({links, ef_construction, threads}); });
           })
      .def("drop_graph", [](SharedIndex& self) { self.write([](Index& i) { i.drop_graph(); }); })
      .def_property_readonly(
          "has_graph", [](const SharedIndex& self) { return self.read([](const Index& i) { return i.has_graph(); }); })
      .def("metadata", [](const SharedIndex& self) { return self.read([](const Index& i) { return i.metadata(); }); })
      .def("set_metadata", [](SharedIndex& self, const std::string& key, const std::optional<std::string>& value) {
        self.write([&](Index& i) {
          if (value) {
            i.metadata()[key] = *value;
          } else {
            i.metadata().erase(key);
          }
        });
      });

  m.def("combine_query", &combine_query, NoGil());
  m.def("rerank_score", [](float similarity, const std::map<Modality, float>& support) {
    const RerankScore score = rerank_score(similarity, support);
    return std::make_tuple(score.score, score.consistency, score.disagreement);
  });
}

}  // namespace trine::python
