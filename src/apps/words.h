#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Words and phrases of a customer's text, found without any model. Time grows as the text.

namespace trine::detail {

/// The words of a text in lower case (ASCII letters), with one blank before, between and after them: " where s it ".
std::string folded(std::string_view text);

/// Takes the first place of a folded phrase out of a folded text; false where it is not in it.
bool take_phrase(std::string& text, std::string_view phrase);

/// The first `limit` bytes of a text, fewer where that would cut a character.
std::string_view beginning(std::string_view text, std::size_t limit);

/// The number of an order: what follows "order", "order number", "#", "Bestellung Nr." and has at least three digits.
/// `asked`: any word with at least four digits will do, because the number was asked for.
std::optional<std::string> order_number(std::string_view text, bool asked);

}  // namespace trine::detail
