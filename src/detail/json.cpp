#include "detail/json.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "detail/error.h"
#include "detail/file.h"

namespace trine::detail {

namespace {

/// Builds a value from the events of nlohmann's parser, which keeps its own state on the heap: nothing recurses, and a
/// text that is too deep or too full is refused at the byte that makes it so.
///
/// Members are collected in two vectors and moved into the object when it closes. Adding them to an ordered_json one by
/// one would search the object each time and copy it each time it grows.
class Builder {
 public:
  Builder(const char* who, std::string_view what, const JsonLimits& limits) : who_(who), what_(what), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(Json::number_integer_t value) { return add(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return add(value); }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }  // does not occur in text

  bool start_object(std::size_t) { return open(); }
  bool start_array(std::size_t) { return open(); }

  bool key(std::string& name) {
    open_.back().keys.push_back(std::move(name));
    return true;
  }

  bool end_array() {
    Json::array_t values = std::move(open_.back().values);
    open_.pop_back();
    return add(std::move(values));
  }

  bool end_object() {
    Container members = std::move(open_.back());
    open_.pop_back();
    settle_duplicates(members);
    Json::object_t object;
    object.reserve(members.keys.size());
    for (std::size_t i = 0; i < members.keys.size(); ++i) {
      object.emplace_back(std::move(members.keys[i]), std::move(members.values[i]));
    }
    return add(std::move(object));
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: REASON; last read: 'TOKEN'": the token may be
    // the whole text, so only the reason is repeated.
    std::string reason = error.what();
    reason.resize(std::min(reason.find("; last read"), reason.size()));
    if (const auto colon = reason.find(": "); colon != std::string::npos) reason.erase(0, colon + 2);
    failure(who_, what_, " is not valid JSON at byte ", position == 0 ? 0 : position - 1, ": ", reason.substr(0, 200));
  }

 private:
  /// An object or array that is not closed yet; an array has no keys.
  struct Container {
    std::vector<std::string> keys;
    std::vector<Json> values;
  };

  bool open() {
    if (std::ssize(open_) >= limits_.max_depth) {
      failure(who_, what_, " nests deeper than ", limits_.max_depth, " objects and arrays");
    }
    open_.emplace_back();
    return true;
  }

  template <typename Value>
  bool add(Value&& value) {
    if (++values_ > limits_.max_values) failure(who_, what_, " holds more than ", limits_.max_values, " values");
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
    } else {
      open_.back().values.emplace_back(std::forward<Value>(value));
    }
    return true;
  }

  /// Refuses a second member of one name, or gives the first one its value and drops it: what Python's json does.
  void settle_duplicates(Container& members) const {
    const std::vector<std::string>& keys = members.keys;
    std::vector<std::size_t> order(keys.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const int sign = keys[a].compare(keys[b]);
      return sign != 0 ? sign < 0 : a < b;
    });
    std::vector<bool> dropped(keys.size(), false);
    bool any = false;
    for (std::size_t i = 1, first = 0; i < order.size(); ++i) {
      if (keys[order[i]] != keys[order[first]]) {
        first = i;
        continue;
      }
      if (limits_.unique_keys) failure(who_, what_, " names the key ", shown(keys[order[i]]), " twice in one object");
      members.values[order[first]] = std::move(members.values[order[i]]);
      dropped[order[i]] = any = true;
    }
    if (!any) return;
    Container kept;
    for (std::size_t i = 0; i < dropped.size(); ++i) {
      if (dropped[i]) continue;
      kept.keys.push_back(std::move(members.keys[i]));
      kept.values.push_back(std::move(members.values[i]));
    }
    members = std::move(kept);
  }

  const char* who_;
  std::string_view what_;
  const JsonLimits& limits_;
  Json root_;
  std::vector<Container> open_;
  std::uint64_t values_ = 0;
};

}  // namespace

Json parse_json(const char* who, std::string_view text, std::string_view what, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    failure(who, what, " has ", text.size(), " bytes of JSON, at most ", limits.max_bytes, " are accepted");
  }
  // The parser takes a zero byte for the end of the text and would not look at what follows.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    failure(who, what, " is not valid JSON at byte ", zero, ": a zero byte");
  }
  Builder builder(who, what, limits);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json(const char* who, const std::filesystem::path& path, const JsonLimits& limits) {
  return parse_json(who, read_text(who, path, limits.max_bytes), path.string(), limits);
}

void read_json_lines(const char* who, const std::filesystem::path& path, std::uint64_t max_bytes,
                     const std::function<void(const Json& json, const std::string& place, std::size_t line)>& take) {
  const std::string text = read_text(who, path, max_bytes);
  std::size_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content(text.data() + begin, end - begin);
    ++line;
    begin = end + 1;
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = path.string() + ", line " + std::to_string(line);
    take(parse_json(who, content, place), place, line);
  }
}

std::string shown(std::string_view text) {
  constexpr std::size_t kMost = 100;
  std::string out = "\"";
  std::size_t end = std::min(text.size(), kMost);
  if (end < text.size()) {
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  }
  for (const char c : text.substr(0, end)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  out += end < text.size() ? "...\"" : "\"";
  return out;
}

void bad_json_key(const char* who, const char* key, const Json* found) {
  if (found == nullptr) failure(who, "no \"", key, "\" in the JSON object");
  if (found->is_structured()) failure(who, "\"", key, "\" has an unexpected value: an ", found->type_name());
  failure(who, "\"", key, "\" has an unexpected value: ",
          found->is_string() ? shown(found->get_ref<const std::string&>()) : found->dump());
}

}  // namespace trine::detail
