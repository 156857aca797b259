#pragma once

#include <string>
#include <string_view>

namespace trine::detail {

/// The words of a cue of SubRip, WebVTT or mov_text on one line: tags (<i>, </c.loud>, <00:01.000>, {\an8}) left out,
/// the entities of WebVTT resolved.
std::string plain_cue(std::string_view cue);

/// The words of an event of Advanced SubStation Alpha: override blocks left out, \N and \h as blanks; drawings have
/// none.
std::string plain_ass(std::string_view event);

}  // namespace trine::detail
