#include "trine/search/index.h"

#include <mutex>
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
  explicit SharedIndex(Index index) : index_(std::move(index)) {}

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
  mutable std::shared_mutex mutex_;
};

std::span<const float> values(const Floats& vector) { return {vector.data(), static_cast<std::size_t>(vector.size())}; }

/// All or nothing. vectors: (ids, dim)
void add(Index& index, const std::vector<std::string>& ids, std::span<const float> vectors) {
  const std::size_t dim = ids.empty() ? 0 : vectors.size() / ids.size();
  std::size_t added = 0;
  try {
    for (; added < ids.size(); ++added) index.add(ids[added], vectors.subspan(added * dim, dim));
  } catch (...) {
    while (added > 0) index.remove(ids[--added]);
    throw;
  }
}

std::vector<std::pair<std::string, float>> search(const Index& index, std::span<const float> query, std::int64_t k,
                                                  const std::optional<std::unordered_set<std::string>>& allowed) {
  std::function<bool(std::string_view)> keep;
  if (allowed) keep = [&](std::string_view id) { return allowed->contains(std::string(id)); };
  std::vector<std::pair<std::string, float>> found;
  for (Match& match : index.search(query, k, keep)) found.emplace_back(std::move(match.id), match.score);
  return found;
}

}  // namespace

void bind_search(py::module_& m) {
  py::class_<SharedIndex>(m, "Index")
      .def(py::init([](std::int64_t dim) { return std::make_unique<SharedIndex>(Index(dim)); }))
      .def_static(
          "load", [](const std::filesystem::path& path) { return std::make_unique<SharedIndex>(Index::load(path)); },
          NoGil())
      .def("save", [](const SharedIndex& self,
                      const std::filesystem::path& path) { self.read([&](const Index& index) { index.save(path); }); })
      .def_property_readonly("dim",
                             [](const SharedIndex& self) { return self.read([](const Index& i) { return i.dim(); }); })
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
                     const Floats& vectors) { self.write([&](Index& i) { add(i, ids, values(vectors)); }); })
      .def("update", [](SharedIndex& self, std::string_view id,
                        const Floats& vector) { self.write([&](Index& i) { i.update(id, values(vector)); }); })
      .def("remove", [](SharedIndex& self, std::string_view id) { self.write([&](Index& i) { i.remove(id); }); })
      .def("search",
           [](const SharedIndex& self, const Floats& query, std::int64_t k,
              const std::optional<std::unordered_set<std::string>>& allowed) {
             return self.read([&](const Index& i) { return search(i, values(query), k, allowed); });
           })
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
