#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trine/export.h"
#include "trine/search/filter.h"

namespace trine {

/// A product of a catalogue: one line of JSON with the same names, or one row of a CSV file.
struct Product {
  std::string id;
  std::string title;
  std::string description = {};
  Attributes attributes = {};              ///< in the order of the file, values as JSON: "price": 2.49 -> "2.49"
  std::vector<std::string> keywords = {};  ///< other names and phrases it is asked for by
  std::vector<std::filesystem::path> images = {};  ///< pictures of it
  std::vector<std::filesystem::path> audio = {};   ///< clips of it
  std::vector<std::filesystem::path> videos = {};  ///< videos of it
};

/// Reads a catalogue; `.csv` and `.tsv` are tables, all else JSON lines.
///
///     {"id": "7", "title": "Lemon", "price": 0.5, "images": ["lemon.jpg"], "keywords": ["something sour"]}
///
///     id,title,price,images,keywords
///     7,Lemon,0.5,lemon.jpg|lemon-2.jpg,something sour
///
/// id and title are wanted; description, keywords, images, audio, videos may be there (`image` is the same as `images`,
/// `video` as `videos`); any other key or column is an attribute, and so are the members of a JSON object `attributes`.
/// Paths are relative to the file. In a table a cell holds several keywords or paths separated by |, these columns may
/// stand there repeatedly, an empty cell is no attribute, and a cell that is a number, true or false becomes one; 007
/// stays text. Errors: std::runtime_error naming the line and the key or column.
TRINE_API std::vector<Product> read_catalogue(const std::filesystem::path& path);

}  // namespace trine
