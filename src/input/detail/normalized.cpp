#include "input/detail/normalized.h"

#include <algorithm>
#include <utility>

#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

/// A change with the combining class of its character.
struct Ordered {
  Change change;
  int order;
};

/// The full decomposition, in canonical order: marks sorted within each run of them.
std::vector<Ordered> decomposed(std::u32string_view text, bool compatible) {
  std::vector<Ordered> out;
  out.reserve(text.size());
  std::size_t marks = 0;  // where the current run of marks starts
  const auto sort_marks = [&] {
    std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(marks), out.end(),
                     [](const Ordered& a, const Ordered& b) { return a.order < b.order; });
  };
  for (const char32_t c : text) {
    std::ptrdiff_t more = 0;
    for (const char32_t part : decompose(c, compatible)) {
      const int order = combining_class(part);
      if (order == 0) sort_marks();
      out.push_back({{part, more}, order});
      if (order == 0) marks = out.size();
      more = 1;
    }
  }
  sort_marks();
  return out;
}

/// Canonical composition: each mark joins the last starter unless one of its own or a higher class is between.
std::vector<Change> composed(std::span<const Ordered> parts) {
  std::vector<Change> out;
  out.reserve(parts.size());
  std::ptrdiff_t starter = -1;  // in `out`
  int blocked = -1;             // class of the last part since the starter that did not join it, -1: none
  for (const auto& [change, order] : parts) {
    if (starter >= 0 && blocked < order) {
      Change& base = out[static_cast<std::size_t>(starter)];
      if (const char32_t c = compose(base.c, change.c); c != 0) {
        base = {c, base.more + change.more - 1};
        continue;
      }
    }
    blocked = order;
    if (order == 0) {
      starter = static_cast<std::ptrdiff_t>(out.size());
      blocked = -1;
    }
    out.push_back(change);
  }
  return out;
}

}  // namespace

Normalized::Normalized(std::u32string_view text, std::int32_t first) : chars(text) {
  spans.reserve(text.size());
  const auto end = first + static_cast<std::int32_t>(text.size());
  for (std::int32_t at = first; at < end; ++at) spans.push_back({at, at + 1});
}

void transform(Normalized& text, std::span<const Change> changes) {
  Normalized out;
  out.chars.reserve(changes.size());
  out.spans.reserve(changes.size());
  std::size_t at = 0;  // characters of `text` that are accounted for
  const auto span = [&](std::size_t i) { return text.spans[std::min(i, text.size() - 1)]; };
  for (const auto& [c, more] : changes) {
    if (text.empty()) break;
    if (more > 0) {
      out.add(c, at == 0 ? Span{text.spans[0].begin, text.spans[0].begin} : span(at - 1));
    } else {
      out.add(c, span(at));
      at += 1 + static_cast<std::size_t>(-more);
    }
  }
  text = std::move(out);
}

void map_chars(Normalized& text, const std::function<char32_t(char32_t)>& map) {
  for (char32_t& c : text.chars) c = map(c);
}

void remove_chars(Normalized& text, const std::function<bool(char32_t)>& drop) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (drop(text.chars[i])) continue;
    text.chars[kept] = text.chars[i];
    text.spans[kept++] = text.spans[i];
  }
  text.chars.resize(kept);
  text.spans.resize(kept);
}

void prepend(Normalized& text, std::u32string_view prefix) {
  text.chars.insert(0, prefix);
  text.spans.insert(text.spans.begin(), prefix.size(), text.spans.front());
}

void lower_case(Normalized& text) {
  std::vector<Change> changes;
  changes.reserve(text.size());
  for (const char32_t c : text.chars) {
    std::ptrdiff_t more = 0;
    for (const char32_t small : to_lower(c)) {
      changes.push_back({small, more});
      more = 1;
    }
  }
  transform(text, changes);
}

void normal_form(Normalized& text, NormalForm form) {
  if (std::all_of(text.chars.begin(), text.chars.end(), [](char32_t c) { return c < 0xA0; })) return;
  const std::vector<Ordered> parts = decomposed(text.chars, form.compatible);
  std::vector<Change> changes;
  if (form.composed) {
    changes = composed(parts);
  } else {
    changes.reserve(parts.size());
    for (const Ordered& part : parts) changes.push_back(part.change);
  }
  transform(text, changes);
}

}  // namespace trine::detail
