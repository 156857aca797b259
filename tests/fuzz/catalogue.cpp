#include "trine/apps/catalogue.h"
#include "fuzzing.h"

/// The first byte chooses the kind of file. It is refused with a sentence or gives products with an id and a title
/// each.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr const char* kNames[] = {"catalogue.csv", "catalogue.tsv", "catalogue.jsonl"};
  if (size == 0) return 0;
  const char* name = kNames[data[0] % 3];
  trine::fuzzing::write(name, trine::fuzzing::text_of(data + 1, size - 1));
  try {
    const auto products = trine::read_catalogue(trine::fuzzing::folder() / name);
    if (products.empty()) std::abort();
    for (const trine::Product& product : products) {
      if (product.id.empty() || product.title.empty()) std::abort();
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
