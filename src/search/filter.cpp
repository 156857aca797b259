#include "trine/search/filter.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <set>
#include <variant>

#include "detail/error.h"
#include "detail/json.h"

namespace trine {

namespace {

constexpr const char* kWho = "Filter";
constexpr std::size_t kMostBytes = 64u << 10;
constexpr int kDeepest = 64;

using Literal = std::variant<bool, double, std::string>;

enum class Operator { equal, unequal, less, at_most, more, at_least, in, contains };

// --- an attribute's value --------------------------------------------------------------------------------------------

/// The text of a JSON string, of which most need no parser.
std::string text_of(const std::string& json) {
  if (json.find('\\') == std::string::npos) return json.substr(1, json.size() - 2);
  return detail::parse_json(kWho, json, "an attribute").get<std::string>();
}

std::optional<double> number_of(std::string_view json) {
  double value = 0;
  const auto [end, error] = std::from_chars(json.data(), json.data() + json.size(), value);
  return error == std::errc() && end == json.data() + json.size() ? std::optional(value) : std::nullopt;
}

/// Nothing for null, lists and objects.
std::optional<Literal> value_of(const std::string& json) {
  if (json.size() >= 2 && json.front() == '"') return text_of(json);
  if (json == "true" || json == "false") return json == "true";
  if (const auto number = number_of(json)) return *number;
  return std::nullopt;
}

template <typename T>
bool ordered(const T& a, Operator op, const T& b) {
  switch (op) {
    case Operator::equal:
      return a == b;
    case Operator::unequal:
      return a != b;
    case Operator::less:
      return a < b;
    case Operator::at_most:
      return a <= b;
    case Operator::more:
      return a > b;
    default:
      return a >= b;
  }
}

bool compare(const Literal& value, Operator op, const Literal& wanted) {
  return value.index() == wanted.index() &&
         std::visit([&](const auto& a) { return ordered(a, op, std::get<std::decay_t<decltype(a)>>(wanted)); }, value);
}

/// Of a text its part, of a list an entry.
bool contains(const std::string& json, const Literal& wanted) {
  if (json.starts_with('[')) {
    const detail::Json list = detail::parse_json(kWho, json, "an attribute");
    return std::ranges::any_of(list, [&](const detail::Json& entry) {
      const auto value = value_of(entry.dump());
      return value && compare(*value, Operator::equal, wanted);
    });
  }
  const auto value = value_of(json);
  const auto* text = value ? std::get_if<std::string>(&*value) : nullptr;
  const auto* part = std::get_if<std::string>(&wanted);
  return text != nullptr && part != nullptr && text->find(*part) != std::string::npos;
}

}  // namespace

/// A comparison, or what joins others.
struct detail::FilterNode {
  enum class Kind { compare, all, any, none } kind = Kind::compare;
  std::vector<FilterNode> parts = {};  ///< of all, any and none (one)
  std::string name = {};
  Operator op = Operator::equal;
  std::vector<Literal> wanted = {};  ///< one, unless `op` is in

  bool matches(const Attributes& attributes) const {
    const auto fits = [&](const FilterNode& part) { return part.matches(attributes); };
    switch (kind) {
      case Kind::all:
        return std::ranges::all_of(parts, fits);
      case Kind::any:
        return std::ranges::any_of(parts, fits);
      case Kind::none:
        return std::ranges::none_of(parts, fits);
      case Kind::compare:
        break;
    }
    const auto found = std::ranges::find(attributes, name, &Attributes::value_type::first);
    if (found == attributes.end()) return false;
    if (op == Operator::contains) return contains(found->second, wanted[0]);
    const auto value = value_of(found->second);
    if (!value) return false;
    if (op != Operator::in) return compare(*value, op, wanted[0]);
    return std::ranges::any_of(wanted, [&](const Literal& one) { return compare(*value, Operator::equal, one); });
  }

  void collect(std::set<std::string>& names) const {
    if (kind == Kind::compare) names.insert(name);
    for (const FilterNode& part : parts) part.collect(names);
  }
};

namespace {

using Node = detail::FilterNode;

// --- from text to tokens ---------------------------------------------------------------------------------------------

enum class Kind { name, number, text, sign, end };

struct Token {
  Kind kind = Kind::end;
  std::string text = {};  ///< without quotes
  bool quoted = false;    ///< a name in backticks is no word of the grammar
  double number = 0;
  std::size_t at = 0;  ///< byte of the expression

  bool is(std::string_view word) const { return (kind == Kind::sign || kind == Kind::name) && !quoted && text == word; }
};

bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool continues_name(char c) { return begins_name(c) || is_digit(c) || c == '.'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Token next() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
    Token token{.at = at_};
    if (at_ == text_.size()) return token;
    const char c = text_[at_];
    if (c == '"' || c == '\'') return quoted(std::move(token), Kind::text);
    if (c == '`') return quoted(std::move(token), Kind::name);
    if (is_digit(c) || c == '-' || c == '+' || c == '.') return number(std::move(token));
    if (begins_name(c)) {
      while (at_ < text_.size() && continues_name(text_[at_])) ++at_;
      token.kind = Kind::name;
      token.text = text_.substr(token.at, at_ - token.at);
      return token;
    }
    for (const std::string_view sign : {"==", "!=", "<=", ">=", "<", ">", "(", ")", ","}) {
      if (!text_.substr(at_).starts_with(sign)) continue;
      token.kind = Kind::sign;
      token.text = sign;
      at_ += sign.size();
      return token;
    }
    refuse(at_, c == '=' ? "wanted == for equality, got =" : "got " + detail::shown(text_.substr(at_, 1)));
  }

  /// `at`: the byte that is wrong; people count characters.
  [[noreturn]] void refuse(std::size_t at, const std::string& why) const {
    const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    detail::bad_argument(kWho, "column ", std::ranges::count_if(text_.substr(0, at), begins) + 1, ": ", why);
  }

 private:
  Token quoted(Token token, Kind kind) {
    const char quote = text_[at_];
    token.kind = kind;
    token.quoted = true;
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        ++at_;
        if (text_[at_] != quote && text_[at_] != '\\') refuse(at_, "wanted a quote or a backslash after a backslash");
      }
      token.text += text_[at_];
    }
    if (at_ == text_.size()) refuse(token.at, std::string("wanted a second ") + quote + ", there is none");
    ++at_;
    return token;
  }

  Token number(Token token) {
    const char* last = text_.data() + text_.size();
    const char* first = text_.data() + at_ + (text_[at_] == '+' ? 1 : 0);
    const auto [end, error] = std::from_chars(first, last, token.number);
    if (error != std::errc() || !std::isfinite(token.number) || (end != last && continues_name(*end))) {
      refuse(token.at, "wanted a finite number, got " + detail::shown(text_.substr(at_, 20)));
    }
    token.kind = Kind::number;
    at_ = static_cast<std::size_t>(end - text_.data());
    token.text = text_.substr(token.at, at_ - token.at);
    return token;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// --- from tokens to a tree -------------------------------------------------------------------------------------------

class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text), token_(lexer_.next()) {}

  Node parse() {
    Node node = any(0);
    if (token_.kind != Kind::end) refuse("and, or, or the end");
    return node;
  }

 private:
  /// all { "or" all }
  Node any(int depth) {
    return joined(Node::Kind::any, "or", [&] { return all(depth); });
  }
  /// one { "and" one }
  Node all(int depth) {
    return joined(Node::Kind::all, "and", [&] { return one(depth); });
  }

  template <typename Part>
  Node joined(Node::Kind kind, const char* word, const Part& part) {
    Node first = part();
    if (!token_.is(word)) return first;
    Node node{.kind = kind};
    node.parts.push_back(std::move(first));
    while (take(word)) node.parts.push_back(part());
    return node;
  }

  /// "not" one | "(" any ")" | comparison
  Node one(int depth) {
    if (depth > kDeepest) lexer_.refuse(token_.at, "nested deeper than " + std::to_string(kDeepest));
    if (take("not")) {
      Node node{.kind = Node::Kind::none};
      node.parts.push_back(one(depth + 1));
      return node;
    }
    if (take("(")) {
      Node node = any(depth + 1);
      if (!take(")")) refuse("\")\"");
      return node;
    }
    return comparison();
  }

  Node comparison() {
    if (token_.kind != Kind::name || is_word()) refuse("an attribute, not or \"(\"");
    Node node{.name = token_.text};
    if (node.name.empty()) refuse("the name of an attribute");
    advance();
    for (const auto& [sign, op] : {std::pair<const char*, Operator>{"==", Operator::equal},
                                   {"!=", Operator::unequal},
                                   {"<", Operator::less},
                                   {"<=", Operator::at_most},
                                   {">", Operator::more},
                                   {">=", Operator::at_least},
                                   {"contains", Operator::contains},
                                   {"in", Operator::in}}) {
      if (!take(sign)) continue;
      node.op = op;
      if (op == Operator::in) {
        if (!take("(")) refuse("\"(\" after in");
        do node.wanted.push_back(literal());
        while (take(","));
        if (!take(")")) refuse("\",\" or \")\"");
      } else {
        node.wanted.push_back(literal());
      }
      return node;
    }
    refuse("==, !=, <, <=, >, >=, in or contains after " + detail::shown(node.name));
  }

  Literal literal() {
    std::optional<Literal> value;
    if (token_.kind == Kind::number) value = token_.number;
    if (token_.kind == Kind::text) value = token_.text;
    if (token_.is("true") || token_.is("false")) value = token_.is("true");
    if (!value) refuse("a number, a text in quotes, true or false");
    advance();
    return *value;
  }

  bool is_word() const {
    return std::ranges::any_of(std::array{"and", "or", "not", "in", "contains", "true", "false"},
                               [&](const char* word) { return token_.is(word); });
  }

  bool take(const char* word) {
    if (!token_.is(word)) return false;
    advance();
    return true;
  }

  void advance() { token_ = lexer_.next(); }

  [[noreturn]] void refuse(const std::string& wanted) const {
    lexer_.refuse(token_.at,
                  "wanted " + wanted + ", got " + (token_.kind == Kind::end ? "the end" : detail::shown(token_.text)));
  }

  Lexer lexer_;
  Token token_;
};

}  // namespace

Filter::Filter(const std::string& expression) {
  if (expression.size() > kMostBytes) {
    detail::bad_argument(kWho, "wanted an expression of at most ", kMostBytes, " bytes, got ", expression.size());
  }
  root_ = std::make_shared<const Node>(Parser(expression).parse());
}

bool Filter::matches(const Attributes& attributes) const { return root_ == nullptr || root_->matches(attributes); }

std::vector<std::string> Filter::names() const {
  std::set<std::string> names;
  if (root_ != nullptr) root_->collect(names);
  return {names.begin(), names.end()};
}

}  // namespace trine
