#include "cli/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace {

using trine::cli::Chart;
using trine::cli::chart_svg;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Chart, DrawsLinesAndMarks) {
  const std::string svg =
      chart_svg({Chart{"Loss", "epoch", "loss", {{"train", {{1, 2}, {2, 1}, {3, 0.5}}}}},
                 Chart{"Cost", "ms", "top-1", {{"all", {{1, 2}, {2, 3}}}, {"kept", {{2, 3}}, false}}}});
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_EQ(count(svg, "<polyline"), 2u);
  EXPECT_EQ(count(svg, "<circle"), 3u + 1 + 2 + 1);  // and one of each series in the legend
  EXPECT_EQ(count(svg, "<polygon"), 1u + 1);
  EXPECT_EQ(count(svg, "<g "), 2u);
  for (const char* word : {">Loss<", ">epoch<", ">top-1<", ">kept<", ">0.5<"})
    EXPECT_EQ(count(svg, word) > 0, true) << word;
}

TEST(Chart, TextIsEscaped) {
  const std::string svg = chart_svg(Chart{"a < b & \"c\"", "x\ny", "", {{"<script>", {}}}});
  EXPECT_EQ(count(svg, ">a &lt; b &amp; &quot;c&quot;<"), 1u);
  EXPECT_EQ(count(svg, ">x y<"), 1u);
  EXPECT_EQ(count(svg, "<script>"), 0u);
}

TEST(Chart, AnyNumbersAreDrawable) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const auto& points : std::vector<std::vector<std::pair<double, double>>>{
           {}, {{0, 0}}, {{3, -2}}, {{1, NAN}, {kInfinity, 1}}, {{1e-12, 1e12}, {2e-12, -1e12}}, {{5, 7}, {5, 7}}}) {
    const std::string svg = chart_svg(Chart{"", "", "", {{"s", points}}});
    EXPECT_EQ(count(svg, "nan"), 0u);
    EXPECT_EQ(count(svg, "inf"), 0u);
    EXPECT_LT(svg.size(), 20'000u);
  }
}

}  // namespace
