#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace trine::detail {

/// Calls `take` with the header and then every other row of a file of comma-separated values (RFC 4180), and the
/// place for error messages ("x.csv, line 3"). All rows have as many fields as the header; blank lines do not count.
///
/// Lines end with LF or CR LF, a field in quotes may hold both, and "" for a quote. A byte order mark is left out. The
/// separator is a comma, or a semicolon or tab where the header has more of these. Refused, by line: invalid UTF-8,
/// zero bytes, quotes inside a field without, text after a closing quote, ragged rows, over 1 MiB in a field or 1,000
/// fields.
void read_csv(const char* who, const std::filesystem::path& path, std::uint64_t max_bytes,
              const std::function<void(const std::vector<std::string>& fields, const std::string& place)>& take);

}  // namespace trine::detail
