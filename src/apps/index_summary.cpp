#include <string>
#include <string_view>

#include "apps/product_json.h"
#include "detail/error.h"
#include "detail/json.h"
#include "trine/apps/product_search.h"

namespace trine {

namespace {

constexpr const char* kWho = "describe_index";

/// "keyword: green apple" -> "keyword", "picture 2" -> "picture", "mean of 7 pictures" -> "picture"
std::string kind_of(const std::string& what) {
  constexpr std::string_view kMean = "mean of ";
  if (!what.starts_with(kMean)) return what.substr(0, what.find_first_of(": "));
  const std::string several = what.substr(what.rfind(' ') + 1);
  return several.substr(0, several.size() - 1);
}

}  // namespace

IndexSummary describe_index(const std::filesystem::path& path) {
  const Index index = Index::load(path, /*mapped=*/true);
  IndexSummary summary{.records = index.size(),
                       .dim = index.dim(),
                       .form = index.options(),
                       .graph = index.graph(),
                       .bytes = std::filesystem::file_size(path)};
  const auto& metadata = index.metadata();
  for (const auto& [name, text] : metadata) summary.metadata[name] = text.size();
  const auto text_of = [&](const char* name) { return metadata.contains(name) ? metadata.at(name) : std::string(); };
  summary.model = text_of("model");
  summary.fingerprint = text_of("fingerprint");
  summary.draft = metadata.contains("draft");
  if (!metadata.contains("catalogue")) return summary;
  const detail::Json catalogue =
      detail::parse_json(kWho, metadata.at("catalogue"), "catalogue",
                         {.max_bytes = detail::kMaxCatalogueBytes, .max_values = detail::kMaxCatalogueValues});
  if (!catalogue.is_array()) detail::failure(kWho, path, ": the catalogue must be a JSON array");
  summary.products = std::ssize(catalogue);
  for (const std::string& id : index.ids()) {
    if (const std::size_t end = id.find(detail::kIdEnd); end != std::string::npos) {
      ++summary.shows[kind_of(id.substr(end + 1))];
    }
  }
  return summary;
}

}  // namespace trine
