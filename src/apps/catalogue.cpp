#include "trine/apps/catalogue.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <set>

#include "apps/product_json.h"
#include "detail/csv.h"
#include "detail/error.h"
#include "detail/sentence.h"

namespace trine {

namespace fs = std::filesystem;
using detail::Json;

namespace {

constexpr const char* kWho = "read_catalogue";

/// Products one by one; no id may come twice.
class Collector {
 public:
  void add(Product product, const std::string& place) {
    if (!ids_.insert(product.id).second) {
      detail::failure(kWho, place, ": the id ", detail::shown(product.id), " is there twice");
    }
    products_.push_back(std::move(product));
  }

  std::vector<Product> take(const fs::path& path) {
    if (products_.empty()) detail::failure(kWho, path, " holds no product");
    return std::move(products_);
  }

 private:
  std::vector<Product> products_;
  std::set<std::string> ids_;
};

// --- tables ----------------------------------------------------------------------------------------------------------

enum class Column { id, title, description, keywords, images, audio, videos, attribute };

Column column_of(const std::string& name) {
  std::string lower = name;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "id") return Column::id;
  if (lower == "title") return Column::title;
  if (lower == "description") return Column::description;
  if (lower == "keywords") return Column::keywords;
  if (lower == "images" || lower == "image") return Column::images;
  if (lower == "audio") return Column::audio;
  if (lower == "videos" || lower == "video") return Column::videos;
  return Column::attribute;
}

std::vector<Column> columns_of(const std::vector<std::string>& header, const std::string& place) {
  std::vector<Column> columns;
  std::set<std::string> attributes;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (header[i].empty()) detail::failure(kWho, place, ": column ", i + 1, " has no name");
    columns.push_back(column_of(header[i]));
    const bool may_repeat = columns[i] == Column::keywords || columns[i] == Column::images ||
                            columns[i] == Column::audio || columns[i] == Column::videos;
    const bool known = columns[i] != Column::attribute;
    const bool again =
        known ? std::count(columns.begin(), columns.end(), columns[i]) > 1 : !attributes.insert(header[i]).second;
    if (again && !may_repeat)
      detail::failure(kWho, place, ": the column ", detail::shown(header[i]), " is there twice");
  }
  for (const auto& [column, name] : {std::pair(Column::id, "id"), std::pair(Column::title, "title")}) {
    if (std::ranges::find(columns, column) == columns.end()) {
      detail::failure(kWho, place, ": wanted a header with the column ", name, ", there is none");
    }
  }
  return columns;
}

/// The parts between |, without blanks around them; empty ones do not count.
std::vector<std::string> parts_of(const std::string& cell) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= cell.size();) {
    const std::size_t end = std::min(cell.find('|', begin), cell.size());
    const std::size_t first = cell.find_first_not_of(" \t", begin);
    if (first < end) {
      const std::size_t last = cell.find_last_not_of(" \t", end - 1);
      parts.push_back(cell.substr(first, last + 1 - first));
    }
    begin = end + 1;
  }
  return parts;
}

/// A number as JSON writes it, true or false; else a text. 007, +1 and what a double cannot hold are texts.
Json value_of(const std::string& cell) {
  if (cell == "true" || cell == "false") return cell == "true";
  const std::size_t digit = cell.starts_with('-') ? 1 : 0;
  const bool whole = cell.find_first_not_of("0123456789", digit) == std::string::npos;
  const bool padded = cell.size() > digit + 1 && cell[digit] == '0' && cell[digit + 1] != '.';
  if (cell.size() <= digit || !std::isdigit(static_cast<unsigned char>(cell[digit])) || padded || cell.back() == '.') {
    return cell;
  }
  const auto parse = [&](auto value) -> Json {
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    return error == std::errc() && end == cell.data() + cell.size() ? Json(value) : Json(cell);
  };
  return whole ? parse(std::int64_t{}) : parse(double{});
}

void read_table(const fs::path& path, Collector& products) {
  std::vector<std::string> header;
  std::vector<Column> columns;
  detail::read_csv(kWho, path, detail::kMaxCatalogueBytes, [&](const auto& cells, const std::string& place) {
    if (columns.empty()) {
      columns = columns_of(cells, place);
      header = cells;
      return;
    }
    Product product;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string& cell = cells[i];
      switch (columns[i]) {
        case Column::id:
          product.id = cell;
          break;
        case Column::title:
          product.title = cell;
          break;
        case Column::description:
          product.description = cell;
          break;
        case Column::keywords:
          for (std::string& keyword : parts_of(cell)) product.keywords.push_back(std::move(keyword));
          break;
        case Column::images:
          for (const std::string& image : parts_of(cell)) product.images.push_back(path.parent_path() / image);
          break;
        case Column::audio:
          for (const std::string& clip : parts_of(cell)) product.audio.push_back(path.parent_path() / clip);
          break;
        case Column::videos:
          for (const std::string& video : parts_of(cell)) product.videos.push_back(path.parent_path() / video);
          break;
        case Column::attribute:
          if (!cell.empty()) product.attributes.emplace_back(header[i], value_of(cell).dump());
          break;
      }
    }
    try {
      detail::check_product(kWho, product);
    } catch (const std::invalid_argument& error) {
      detail::failure(kWho, place, ": ", detail::without_function(error.what()));
    }
    products.add(std::move(product), place);
  });
}

}  // namespace

std::vector<Product> read_catalogue(const fs::path& path) {
  Collector products;
  if (path.extension() == ".csv" || path.extension() == ".tsv") {
    read_table(path, products);
  } else {
    detail::read_json_lines(kWho, path, detail::kMaxCatalogueBytes,
                            [&](const Json& json, const std::string& place, std::size_t) {
                              products.add(detail::product_of(kWho, json, place, path.parent_path()), place);
                            });
  }
  return products.take(path);
}

}  // namespace trine
