#include "chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

namespace trine::cli {

namespace {

// Pixels of one chart and of what surrounds its field.
constexpr double kWidth = 560, kHeight = 380, kLeft = 72, kRight = 24, kTop = 44, kBottom = 54;
constexpr double kRow = 20, kLetter = 6.6;  ///< of the legend: height of a row, width of a letter of 12 px
constexpr double kTicks = 6;                ///< on an axis, about

// Okabe and Ito's colours, which people who are colour-blind can tell apart.
constexpr std::array<const char*, 7> kColours{"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                              "#56B4E9", "#E69F00", "#000000"};

std::string number(double value, int decimals) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.*f", decimals, value);
  return digits;
}

/// A place in the picture.
std::string px(double value) { return number(value, 1); }

/// The stretch of numbers that an axis shows.
struct Axis {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double step = 1;  ///< between ticks: 1, 2 or 5 times a power of ten
  int decimals = 0;

  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }

  /// Widens the stretch to whole steps.
  void settle() {
    if (low > high) low = 0, high = 1;
    if (const double middle = (low + high) / 2; high - low <= std::abs(middle) * 1e-9) {  // one value
      const double around = middle == 0 ? 1 : std::abs(middle) / 2;
      low = middle - around, high = middle + around;
    }
    const double power = std::pow(10.0, std::floor(std::log10((high - low) / kTicks)));
    const double share = (high - low) / kTicks / power;
    step = power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
    decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 12);
    low = std::floor(low / step + 1e-9) * step;
    high = std::ceil(high / step - 1e-9) * step;
  }

  /// 0 to 1
  double share(double value) const { return (value - low) / (high - low); }
};

bool finite(const std::pair<double, double>& point) {
  return std::isfinite(point.first) && std::isfinite(point.second);
}

/// A circle, square, triangle or diamond, so that colours are not all that tells series apart.
std::string mark(std::size_t index, double x, double y, double radius) {
  const std::string fill = std::string("fill=\"") + kColours[index % kColours.size()] + "\" stroke=\"#fff\"/>\n";
  const auto polygon = [&](std::vector<std::pair<double, double>> corners) {
    std::string points;
    for (const auto& [dx, dy] : corners) {
      if (!points.empty()) points += ' ';
      points += px(x + dx * radius) + ',' + px(y + dy * radius);
    }
    return "<polygon points=\"" + points + "\" " + fill;
  };
  switch (index % 4) {
    case 0:
      return "<circle cx=\"" + px(x) + "\" cy=\"" + px(y) + "\" r=\"" + px(radius) + "\" " + fill;
    case 1:
      return polygon({{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}});
    case 2:
      return polygon({{0, -1.2}, {1.1, 0.8}, {-1.1, 0.8}});
    default:
      return polygon({{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}});
  }
}

std::string text(double x, double y, const std::string& content, const std::string& anchor,
                 const std::string& more = "") {
  return "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\" text-anchor=\"" + anchor + "\"" + more + ">" +
         xml_text(content) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* colour) {
  return "<line x1=\"" + px(x1) + "\" y1=\"" + px(y1) + "\" x2=\"" + px(x2) + "\" y2=\"" + px(y2) + "\" stroke=\"" +
         colour + "\"/>\n";
}

double letters(const std::string& name) {
  return static_cast<double>(
      std::ranges::count_if(name, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// Where each name of the legend begins, in rows below the title.
std::vector<std::pair<double, double>> legend_places(const Chart& chart) {
  std::vector<std::pair<double, double>> places;
  double x = kLeft, y = kTop;
  for (const Series& series : chart.series) {
    const double width = 34 + kLetter * letters(series.name);
    if (x > kLeft && x + width > kWidth - kRight) x = kLeft, y += kRow;
    places.emplace_back(x, y);
    x += width;
  }
  return places;
}

/// Draws between (0, 0) and (kWidth, kHeight).
void draw(std::ostringstream& out, const Chart& chart) {
  Axis horizontal, vertical;
  for (const Series& series : chart.series) {
    for (const auto& point : series.points) {
      if (!finite(point)) continue;
      horizontal.take(point.first);
      vertical.take(point.second);
    }
  }
  horizontal.settle();
  vertical.settle();
  const auto places = legend_places(chart);
  const double top = places.empty() ? kTop : places.back().second + 16, bottom = kHeight - kBottom;
  const double right = kWidth - kRight;
  const auto x_of = [&](double value) { return kLeft + horizontal.share(value) * (right - kLeft); };
  const auto y_of = [&](double value) { return bottom - vertical.share(value) * (bottom - top); };

  out << text(kLeft, 26, chart.title, "start", " font-size=\"16\" font-weight=\"bold\"");
  const auto ticks = [](const Axis& axis) { return static_cast<int>(std::lround((axis.high - axis.low) / axis.step)); };
  for (int i = 0; i <= ticks(vertical); ++i) {
    const double value = vertical.low + i * vertical.step;
    out << line(kLeft, y_of(value), right, y_of(value), i == 0 ? "#555" : "#e0e0e0")
        << text(kLeft - 8, y_of(value) + 4, number(value, vertical.decimals), "end");
  }
  for (int i = 0; i <= ticks(horizontal); ++i) {
    const double value = horizontal.low + i * horizontal.step;
    out << line(x_of(value), bottom, x_of(value), bottom + 5, "#555")
        << text(x_of(value), bottom + 19, number(value, horizontal.decimals), "middle");
  }
  out << text((kLeft + right) / 2, kHeight - 12, chart.x_label, "middle")
      << text(18, (top + bottom) / 2, chart.y_label, "middle",
              " transform=\"rotate(-90 18 " + px((top + bottom) / 2) + ")\"");

  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& series = chart.series[i];
    const char* colour = kColours[i % kColours.size()];
    std::string path;
    std::size_t count = 0;
    for (const auto& point : series.points) {
      if (!finite(point)) continue;
      if (!path.empty()) path += ' ';
      path += px(x_of(point.first)) + ',' + px(y_of(point.second));
      ++count;
    }
    if (series.line && count > 1) {
      out << "<polyline points=\"" << path << "\" fill=\"none\" stroke=\"" << colour
          << "\" stroke-width=\"2\" stroke-linejoin=\"round\"/>\n";
    }
    constexpr std::size_t kMostMarks = 40;  // more of them on a line hide it
    if (!series.line || count <= kMostMarks) {
      for (const auto& point : series.points) {
        if (finite(point)) out << mark(i, x_of(point.first), y_of(point.second), series.line ? 3 : 6);
      }
    }
    const auto [x, y] = places[i];
    if (series.line) {
      out << "<line x1=\"" << px(x) << "\" y1=\"" << px(y) << "\" x2=\"" << px(x + 20) << "\" y2=\"" << px(y)
          << "\" stroke=\"" << colour << "\" stroke-width=\"2\"/>\n";
    }
    out << mark(i, x + 10, y, series.line ? 3 : 6) << text(x + 25, y + 4, series.name, "start");
  }
}

}  // namespace

std::string xml_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
    }
  }
  return out;
}

std::string chart_svg(const std::vector<Chart>& charts) {
  const std::string width = px(kWidth * static_cast<double>(std::max<std::size_t>(charts.size(), 1)));
  std::ostringstream out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << width << "\" height=\"" << px(kHeight)
      << "\" viewBox=\"0 0 " << width << ' ' << px(kHeight)
      << "\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#222\">\n"
      << "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
  for (std::size_t i = 0; i < charts.size(); ++i) {
    out << "<g transform=\"translate(" << px(kWidth * static_cast<double>(i)) << " 0)\">\n";
    draw(out, charts[i]);
    out << "</g>\n";
  }
  out << "</svg>\n";
  return out.str();
}

std::string chart_svg(const Chart& chart) { return chart_svg(std::vector{chart}); }

}  // namespace trine::cli
