#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trine/export.h"

namespace trine {

namespace detail {
struct FilterNode;
}

/// Names and their values as JSON text: {"price", "2.49"}, {"category", "\"fruit\""}.
using Attributes = std::vector<std::pair<std::string, std::string>>;

/// A condition on attributes.
///
///     trine::Filter filter("price < 30 and category in (\"fruit\", \"vegetable\") and not organic == true");
///     filter.matches({{"price", "2.49"}, {"category", "\"fruit\""}});    // true
///
/// Comparisons: == != < <= > >= of an attribute with a number, a text in '' or "" (a backslash before a quote or a
/// backslash) or true and false; `in (...)` with some of these; `contains` for a part of a text or an entry of a list.
/// They are joined by `and`, `or`, `not` and parentheses; `and` binds closer than `or`. Names with other characters
/// than letters, digits, _ and . stand in backticks: `unit price` < 3. Texts are compared byte by byte.
///
/// An attribute that is missing or of another type makes its comparison false, also with != .
class TRINE_API Filter {
 public:
  Filter() = default;  ///< matches everything
  /// Errors: std::invalid_argument with the column (from 1) of what is wrong, for an expression over 64 KiB or nested
  /// deeper than 64.
  Filter(const std::string& expression);  // NOLINT: a text where a filter is wanted
  Filter(const char* expression) : Filter(std::string(expression)) {}

  /// Time: proportional to the length of the expression and the attributes.
  bool matches(const Attributes& attributes) const;

  bool empty() const { return root_ == nullptr; }
  /// Of the attributes it asks for, sorted.
  std::vector<std::string> names() const;

 private:
  std::shared_ptr<const detail::FilterNode> root_;
};

}  // namespace trine
