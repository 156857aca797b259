#pragma once

#include <string>
#include <utility>
#include <vector>

/// Line charts as SVG, for people who have no plotting library at hand.

namespace trine::cli {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (x, y); those that are not finite are left out
  bool line = true;                               ///< false: marks only, for points to point at
};

struct Chart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<Series> series;
};

/// One picture, the charts side by side. Everything in it is text of UTF-8.
std::string chart_svg(const std::vector<Chart>& charts);
std::string chart_svg(const Chart& chart);

/// Text as XML takes it, without control characters.
std::string xml_text(const std::string& text);

}  // namespace trine::cli
