#include "detail/csv.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "detail/error.h"
#include "detail/file.h"

namespace trine::detail {

namespace {

constexpr std::size_t kMaxFieldBytes = 1u << 20;
constexpr std::size_t kMaxFields = 1'000;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class Reader {
 public:
  Reader(const char* who, std::string name, std::string_view text) : who_(who), name_(std::move(name)), text_(text) {
    if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
    separator_ = find_separator();
  }

  bool done() const { return at_ == text_.size(); }
  std::string place() const { return name_ + ", line " + std::to_string(first_line_); }

  /// The fields of the next row; none for a blank line.
  std::vector<std::string> row() {
    first_line_ = line_;
    std::vector<std::string> fields;
    bool more = true;
    while (more) {
      if (fields.size() == kMaxFields) refuse(fields, "there are more than ", kMaxFields, " columns");
      std::string field;
      const bool in_quotes = at_ < text_.size() && text_[at_] == '"';
      in_quotes ? read_quoted(field, fields) : read_plain(field, fields);
      check(field, fields);
      more = at_ < text_.size() && text_[at_] == separator_;
      const bool blank = fields.empty() && field.empty() && !in_quotes && !more;
      if (!blank) fields.push_back(std::move(field));
      if (more) ++at_;
    }
    end_line(fields);
    return fields;
  }

 private:
  /// Of comma, semicolon and tab the one that the first line has most of outside quotes.
  char find_separator() const {
    std::size_t commas = 0, semicolons = 0, tabs = 0;
    bool in_quotes = false;
    for (const char c : text_.substr(0, kMaxFieldBytes)) {
      if (c == '"') in_quotes = !in_quotes;
      if (in_quotes) continue;
      if (c == '\n') break;
      commas += c == ',';
      semicolons += c == ';';
      tabs += c == '\t';
    }
    return commas >= std::max(semicolons, tabs) ? ',' : semicolons >= tabs ? ';' : '\t';
  }

  bool ends_line(std::size_t at) const {
    return at == text_.size() || text_[at] == '\n' || text_.substr(at).starts_with("\r\n") ||
           (text_[at] == '\r' && at + 1 == text_.size());
  }

  void read_plain(std::string& field, const std::vector<std::string>& before) {
    const std::size_t begin = at_;
    while (!ends_line(at_) && text_[at_] != separator_) {
      if (text_[at_] == '"') refuse(before, "a quote inside a field that does not begin with one");
      if (text_[at_] == '\r') refuse(before, "a carriage return without a line feed");
      ++at_;
    }
    field = text_.substr(begin, at_ - begin);
  }

  void read_quoted(std::string& field, const std::vector<std::string>& before) {
    for (++at_;; ++at_) {
      const std::size_t end = std::min(text_.find('"', at_), text_.size());
      field += text_.substr(at_, end - at_);
      if (end == text_.size()) refuse(before, "a field in quotes without a second quote");
      at_ = end + 1;
      if (at_ == text_.size() || text_[at_] != '"') break;
      field += '"';
    }
    line_ += static_cast<std::size_t>(std::ranges::count(field, '\n'));
    if (!ends_line(at_) && text_[at_] != separator_) refuse(before, "text after the closing quote of a field");
  }

  void check(const std::string& field, const std::vector<std::string>& before) const {
    if (field.size() > kMaxFieldBytes) refuse(before, "a field has more than ", kMaxFieldBytes, " bytes");
    if (field.find('\0') != std::string::npos) refuse(before, "a zero byte");
    try {
      static_cast<void>(nlohmann::json(field).dump());
    } catch (const nlohmann::json::exception&) {
      refuse(before, "text that is not UTF-8");
    }
  }

  void end_line(const std::vector<std::string>& fields) {
    if (at_ == text_.size()) return;
    if (!ends_line(at_)) refuse(fields, "text after a field");
    at_ += text_[at_] == '\r' ? 1 : 0;
    at_ += at_ < text_.size() ? 1 : 0;
    ++line_;
  }

  template <typename... Parts>
  [[noreturn]] void refuse(const std::vector<std::string>& before, const Parts&... why) const {
    failure(who_, place(), ", column ", before.size() + 1, ": ", why...);
  }

  const char* who_;
  std::string name_;
  std::string_view text_;
  char separator_ = ',';
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::size_t first_line_ = 1;  ///< of the row
};

}  // namespace

void read_csv(const char* who, const std::filesystem::path& path, std::uint64_t max_bytes,
              const std::function<void(const std::vector<std::string>& fields, const std::string& place)>& take) {
  const std::string text = read_text(who, path, max_bytes);
  Reader reader(who, path.string(), text);
  std::size_t columns = 0;
  while (!reader.done()) {
    const std::vector<std::string> fields = reader.row();
    if (fields.empty()) continue;
    if (columns == 0) columns = fields.size();
    if (fields.size() != columns) {
      failure(who, reader.place(), ": wanted ", columns, " columns as in the header, got ", fields.size());
    }
    take(fields, reader.place());
  }
}

}  // namespace trine::detail
