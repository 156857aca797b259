#include "apps/product_json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "detail/error.h"
#include "detail/sentence.h"

namespace trine::detail {

namespace fs = std::filesystem;

namespace {

/// One text or a list of them.
std::vector<std::string> texts_of(const char* who, const Json& value, const std::string& key) {
  const Json list = value.is_array() ? value : value.is_null() ? Json::array() : Json::array({value});
  std::vector<std::string> texts;
  for (const Json& text : list) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      failure(who, shown(key), " must be a text or a list of texts, none of them empty");
    }
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

void add_paths(const char* who, const Json& value, const std::string& key, const fs::path& folder,
               std::vector<fs::path>& paths) {
  for (const std::string& path : texts_of(who, value, key)) paths.push_back(folder / path);
}

void add_attribute(const char* who, const std::string& name, const Json& value, std::set<std::string>& names,
                   Attributes& attributes) {
  if (!names.insert(name).second) failure(who, "the attribute ", shown(name), " is there twice");
  attributes.emplace_back(name, value.dump());
}

}  // namespace

void check_product(const char* who, const Product& product) {
  if (product.id.empty() || product.title.empty()) bad_argument(who, "id and title must not be empty");
  if (product.id.find_first_of("\n\r") != std::string::npos) {
    bad_argument(who, "the id ", shown(product.id), " must be one line");
  }
  try {
    static_cast<void>(Json(product.id).dump());
  } catch (const Json::exception&) {
    bad_argument(who, "the id must be UTF-8, it is ",
                 Json(product.id).dump(-1, ' ', true, Json::error_handler_t::replace));
  }
}

Product product_of(const char* who, const Json& json, const std::string& place, const fs::path& folder) {
  if (!json.is_object()) failure(who, place, ": a JSON object is wanted");
  try {
    Product product{.id = get<std::string>(who, json, "id"),
                    .title = get<std::string>(who, json, "title"),
                    .description = get_or<std::string>(who, json, "description", "")};
    check_product(who, product);
    std::set<std::string> names;
    for (const auto& [key, value] : json.items()) {
      if (key == "id" || key == "title" || key == "description") continue;
      if (key == "keywords") {
        product.keywords = texts_of(who, value, key);
      } else if (key == "images" || key == "image") {
        add_paths(who, value, key, folder, product.images);
      } else if (key == "audio") {
        add_paths(who, value, key, folder, product.audio);
      } else if (key == "videos" || key == "video") {
        add_paths(who, value, key, folder, product.videos);
      } else if (key == "attributes") {
        if (!value.is_object() && !value.is_null()) failure(who, "\"attributes\" must be a JSON object");
        for (const auto& [name, one] : value.items()) add_attribute(who, name, one, names, product.attributes);
      } else {
        add_attribute(who, key, value, names, product.attributes);
      }
    }
    return product;
  } catch (const std::exception& error) {
    failure(who, place, ": ", without_function(error.what()));
  }
}

Json json_of(const Product& product) {
  const auto names = [](const std::vector<fs::path>& paths) {
    Json list = Json::array();
    for (const fs::path& path : paths) list.push_back(path.string());
    return list;
  };
  Json attributes = Json::object();
  for (const auto& [key, value] : product.attributes) attributes[key] = parse_json("Product", value, key);
  return {{"id", product.id},
          {"title", product.title},
          {"description", product.description},
          {"attributes", attributes},
          {"keywords", product.keywords},
          {"images", names(product.images)},
          {"audio", names(product.audio)},
          {"videos", names(product.videos)}};
}

}  // namespace trine::detail
