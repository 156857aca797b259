#include "fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  trine::fuzzing::write("tokenizer.json", trine::fuzzing::text_of(data, size));
  trine::fuzzing::use_tokenizer(trine::fuzzing::folder() / "tokenizer.json");
  return 0;
}
