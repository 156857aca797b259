#include <algorithm>

#include "fuzzing.h"
#include "trine/search/filter.h"

/// An expression is refused with a sentence or holds or not, each time the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const trine::Filter filter(std::string(trine::fuzzing::text_of(data, size)));
    if (!std::ranges::is_sorted(filter.names())) std::abort();
    const trine::Attributes attributes{
        {"price", "2.49"}, {"category", "\"fruit\""}, {"organic", "true"}, {"tags", "[\"red\", 7, null]"}, {"a", "{}"}};
    if (filter.matches(attributes) != filter.matches(attributes)) std::abort();
    filter.matches({});
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
