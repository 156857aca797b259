#include "fuzzing.h"

/// The first byte chooses the family, the rest is the model file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view kFamilies[] = {"T5", "Siglip", "Gemma", "XLMRoberta"};
  if (size == 0) return 0;
  trine::fuzzing::write("tokenizer_config.json",
                        "{\"tokenizer_class\":\"" + std::string(kFamilies[data[0] % 4]) + "Tokenizer\"}");
  trine::fuzzing::write("spiece.model", trine::fuzzing::text_of(data + 1, size - 1));
  trine::fuzzing::use_tokenizer(trine::fuzzing::folder());
  return 0;
}
