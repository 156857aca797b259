// Token ids and offsets of many texts, for comparison with another implementation.
//
//   trine_tokenize TOKENIZER [MAX_LENGTH] < texts > encodings
//
// Each line in is a JSON string; each line out [[ids], [offsets, two for each id], [tokens]].

#include <iostream>
#include <string>

#include "detail/json.h"
#include "trine/input/text.h"

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: trine_tokenize TOKENIZER [MAX_LENGTH]\n";
    return 2;
  }
  std::ios::sync_with_stdio(false);
  const trine::Tokenizer tokenizer = trine::Tokenizer::load(argv[1]);
  const long max_length = argc > 2 ? std::stol(argv[2]) : 0;
  for (std::string line; std::getline(std::cin, line);) {
    const auto text = trine::detail::parse_json("trine_tokenize", line, "a line").get<std::string>();
    const trine::Encoding encoding = tokenizer.encode(text, max_length);
    auto offsets = trine::detail::Json::array();
    for (const auto& [begin, end] : encoding.offsets) offsets.insert(offsets.end(), {begin, end});
    std::cout << trine::detail::Json::array({encoding.ids, offsets, encoding.tokens}).dump() << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
