#include "input/detail/sentencepiece_file.h"

#include <bit>
#include <cmath>

#include "detail/error.h"
#include "detail/file.h"
#include "detail/json.h"
#include "input/detail/unicode.h"

namespace trine::detail {

namespace {

constexpr std::uint64_t kMaxBytes = 64u << 20;
constexpr std::size_t kMaxPieces = 2'000'000;
constexpr std::size_t kMaxPieceBytes = 2048;  // real ones have at most a few dozen

/// The fields of one protocol buffer message, in the order of the file.
class Message {
 public:
  enum class Kind { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  struct Field {
    std::uint64_t number;
    Kind kind;
    std::uint64_t value;     // of a number
    std::string_view bytes;  // of anything with a length
  };

  Message(const char* who, std::string_view bytes) : who_(who), rest_(bytes) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    field = {tag >> 3, static_cast<Kind>(tag & 7), 0, {}};
    if (field.number == 0) bad("a field has the number 0");
    switch (field.kind) {
      case Kind::kVarint:
        field.value = varint();
        break;
      case Kind::kFixed64:
        field.value = fixed(8);
        break;
      case Kind::kFixed32:
        field.value = fixed(4);
        break;
      case Kind::kBytes:
        field.bytes = take(varint());
        break;
      default:
        bad("a field has the unknown wire type ", tag & 7);
    }
    return true;
  }

  /// The kind that `field` has to have.
  void expect(const Field& field, Kind kind) const {
    if (field.kind != kind) bad("field ", field.number, " has another type than the format gives it");
  }

 private:
  template <typename... Parts>
  [[noreturn]] void bad(const Parts&... parts) const {
    failure(who_, "the file is not a SentencePiece model: ", parts...);
  }

  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) bad("wanted ", count, " bytes more, there are ", rest_.size());
    const auto out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }

  std::uint64_t fixed(std::size_t count) {
    std::uint64_t value = 0;
    const std::string_view bytes = take(count);
    for (std::size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << (shift & 63);
      if (byte < 0x80) return value;
    }
    bad("a number has more than ten bytes");
  }

  const char* who_;
  std::string_view rest_;
};

using Kind = Message::Kind;

SentencePieceFile::Piece read_piece(const char* who, std::string_view bytes, std::size_t number) {
  SentencePieceFile::Piece piece;
  Message message(who, bytes);
  for (Message::Field field; message.next(field);) {
    if (field.number == 1) {
      message.expect(field, Kind::kBytes);
      piece.text = field.bytes;
    } else if (field.number == 2) {
      message.expect(field, Kind::kFixed32);
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    } else if (field.number == 3) {
      message.expect(field, Kind::kVarint);
      if (field.value < 1 || field.value > 6) failure(who, "piece ", number, " has the unknown type ", field.value);
      piece.type = static_cast<SentencePieceFile::Type>(field.value);
    }
  }
  if (piece.text.empty() || piece.text.size() > kMaxPieceBytes) {
    failure(who, "piece ", number, " has ", piece.text.size(), " bytes, 1 to ", kMaxPieceBytes, " are accepted");
  }
  if (!std::isfinite(piece.score)) failure(who, "the score of piece ", number, " is not finite");
  try {
    decode_utf8(who, piece.text);
  } catch (const std::invalid_argument&) {
    failure(who, "piece ", number, " is not valid UTF-8");
  }
  return piece;
}

}  // namespace

SentencePieceFile parse_sentencepiece(const char* who, std::string_view bytes) {
  SentencePieceFile out;
  Message message(who, bytes);
  for (Message::Field field; message.next(field);) {
    if (field.number < 1 || field.number > 3) continue;
    message.expect(field, Kind::kBytes);
    if (field.number == 1) {
      if (out.pieces.size() == kMaxPieces) failure(who, "there are more than ", kMaxPieces, " pieces");
      out.pieces.push_back(read_piece(who, field.bytes, out.pieces.size()));
      continue;
    }
    Message part(who, field.bytes);  // 2: how it was trained, 3: how text is normalized
    for (Message::Field inner; part.next(inner);) {
      if (field.number == 2 && inner.number == 35) {
        part.expect(inner, Kind::kVarint);
        out.byte_fallback = inner.value != 0;
      } else if (field.number == 3 && inner.number == 2) {
        part.expect(inner, Kind::kBytes);
        out.charsmap = inner.bytes;
      }
    }
  }
  if (out.pieces.empty()) failure(who, "the file is not a SentencePiece model: it has no pieces");
  return out;
}

SentencePieceFile read_sentencepiece(const char* who, const std::filesystem::path& path) {
  return parse_sentencepiece(who, read_text(who, path, kMaxBytes));
}

}  // namespace trine::detail
