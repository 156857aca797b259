#include "trine/input/subtitles.h"
#include "fuzzing.h"

/// A text is refused with a sentence or gives cues in the order of their times, of valid text on one line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    double last = 0;
    for (const trine::Subtitle& cue : trine::parse_subtitles(trine::fuzzing::text_of(data, size))) {
      if (!(cue.start >= last && cue.end >= cue.start)) std::abort();
      if (cue.text.empty() || cue.text.find_first_of("\r\n") != std::string::npos) std::abort();
      trine::check_utf8(cue.text);  // what it throws is no runtime_error
      last = cue.start;
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
