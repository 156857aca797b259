// first_search [PHOTO [TEXT [VOICE]]]: the best three products and why; an empty argument is left out.
#include <trine/trine.h>

#include <iostream>

int main(int argc, char** argv) try {
  trine::Inputs query;
  if (argc > 1 && *argv[1] != '\0') query.image = argv[1];
  if (argc > 2 && *argv[2] != '\0') query.text = argv[2];
  if (argc > 3 && *argv[3] != '\0') query.audio = argv[3];

  const trine::ProductSearch search;  // the default model and its catalogue
  for (const trine::Hit& hit : search.search(query, {.k = 3})) {
    std::cout << hit.title << " (" << hit.score << "): " << hit.sentence() << "\n";
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
