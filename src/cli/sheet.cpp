#include "sheet.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "chart.h"
#include "command.h"
#include "trine/input/encode_image.h"

namespace trine::cli {

namespace {

// Pixels.
constexpr double kWidth = 980, kMargin = 24, kCurveTop = 78, kCurveHeight = 110, kGap = 16, kLine = 18;
constexpr int kColumns = 4;
constexpr double kCell = (kWidth - 2 * kMargin - (kColumns - 1) * kGap) / kColumns;
constexpr const char *kBlue = "#0072B2", *kOrange = "#D55E00", *kGrey = "#666";
constexpr double kLetter = 6.4;  // of text of 12 px, about

std::string base64(const std::vector<std::byte>& bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(bytes.size() - i, 3);
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j) group = group << 8 | (j < count ? std::to_integer<unsigned>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j) out += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string px(double value) { return fixed(value, 1); }

std::string label(double x, double y, const std::string& content, const std::string& more = "") {
  return "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\"" + more + ">" + xml_text(content) + "</text>\n";
}

/// What fits into a width.
std::string fitting(const std::string& text, double width) {
  return one_line(text, static_cast<std::size_t>(width / kLetter));
}

void draw_curve(std::ostringstream& out, const WatchedVideo& video, const std::vector<Moment>& moments,
                const torch::Tensor& scores) {
  const double right = kWidth - kMargin, bottom = kCurveTop + kCurveHeight;
  const double end = std::max(video.seconds, video.times.back() + 1e-3);
  const auto x_of = [&](double time) { return kMargin + std::clamp(time / end, 0.0, 1.0) * (right - kMargin); };
  const auto y_of = [&](double score) { return bottom - score * kCurveHeight; };
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const double left = x_of(moments[i].start), width = std::max(x_of(moments[i].end) - left, 2.0);
    out << "<rect x=\"" << px(left) << "\" y=\"" << px(kCurveTop) << "\" width=\"" << px(width) << "\" height=\""
        << px(kCurveHeight) << "\" fill=\"" << kOrange << "\" opacity=\"0.18\"/>\n"
        << label(left + width / 2, kCurveTop - 5, std::to_string(i + 1),
                 std::string(" text-anchor=\"middle\" font-weight=\"bold\" fill=\"") + kOrange + "\"");
  }
  std::string path;
  for (std::size_t i = 0; i < video.times.size(); ++i) {
    const double score = scores[static_cast<std::int64_t>(i)].item<float>();
    path += px(x_of(video.times[i])) + ',' + px(y_of(score)) + ' ' + px(x_of(video.times[i] + video.step)) + ',' +
            px(y_of(score)) + ' ';
  }
  out << "<polyline points=\"" << path << "\" fill=\"none\" stroke=\"" << kBlue << "\" stroke-width=\"1.5\"/>\n"
      << "<line x1=\"" << px(kMargin) << "\" y1=\"" << px(bottom) << "\" x2=\"" << px(right) << "\" y2=\"" << px(bottom)
      << "\" stroke=\"#555\"/>\n";
  constexpr int kTicks = 5;
  for (int i = 0; i <= kTicks; ++i) {
    const char* anchor = i == 0 ? "start" : i == kTicks ? "end" : "middle";
    out << label(x_of(end * i / kTicks), bottom + kLine, clock_time(end * i / kTicks),
                 std::string(" fill=\"") + kGrey + "\" text-anchor=\"" + anchor + "\"");
  }
}

}  // namespace

std::string clock_time(double seconds) {
  const auto tenths = std::llround(std::max(seconds, 0.0) * 10);
  const long long hours = tenths / 36'000, minutes = tenths / 600 % 60;
  char text[64];
  if (hours > 0) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld.%lld", hours, minutes, tenths / 10 % 60, tenths % 10);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld.%lld", minutes, tenths / 10 % 60, tenths % 10);
  }
  return text;
}

std::string contact_sheet_svg(const WatchedVideo& video, const std::string& text, const std::vector<Moment>& moments,
                              const torch::Tensor& scores) {
  const Image& first = video.thumbnails.at(0);
  const double picture = kCell * first.height / first.width;
  const double cell = picture + 4 * kLine + kGap;
  const double grid = kCurveTop + kCurveHeight + 2 * kLine + kGap;
  const std::size_t rows = (moments.size() + kColumns - 1) / kColumns;
  const double height = grid + std::max(static_cast<double>(rows) * cell, 2 * kLine) + kGap;

  std::ostringstream out;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << px(kWidth) << "\" height=\"" << px(height)
      << "\" viewBox=\"0 0 " << px(kWidth) << ' ' << px(height)
      << "\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"12\" fill=\"#222\">\n"
      << "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
      << label(kMargin, 32, fitting(text, kWidth * 0.7), " font-size=\"18\" font-weight=\"bold\"")
      << label(kMargin, 52,
               fitting(std::filesystem::path(video.name).filename().string(), kWidth * 0.7) + ", " +
                   clock_time(video.seconds),
               std::string(" fill=\"") + kGrey + "\"");
  draw_curve(out, video, moments, scores);
  if (moments.empty()) out << label(kMargin, grid + kLine, "Nothing in it fits.");
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const Moment& moment = moments[i];
    const double x = kMargin + static_cast<double>(i % kColumns) * (kCell + kGap);
    const double y = grid + static_cast<double>(i / kColumns) * cell;
    out << "<image x=\"" << px(x) << "\" y=\"" << px(y) << "\" width=\"" << px(kCell) << "\" height=\"" << px(picture)
        << "\" href=\"data:image/jpeg;base64,"
        << base64(encode_jpeg(video.thumbnails.at(static_cast<std::size_t>(moment.frame)))) << "\"/>\n"
        << label(x, y + picture + kLine,
                 std::to_string(i + 1) + ".  " + clock_time(moment.start) + " to " + clock_time(moment.end) + "   " +
                     fixed(moment.score, 2),
                 " font-weight=\"bold\"")
        << label(x, y + picture + 2 * kLine, fitting(moment.reasons(), kCell))
        << label(x, y + picture + 3 * kLine, fitting(moment.subtitle, kCell),
                 std::string(" fill=\"") + kGrey + "\" font-style=\"italic\"");
  }
  out << "</svg>\n";
  return out.str();
}

}  // namespace trine::cli
