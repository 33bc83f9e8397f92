#include "cri/network/quantity.h"

#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace gantry::cri {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr int kMaxDigits = 18;  // with the greatest suffix still within 128 bits

struct Unit {
  int ten = 0;  // times 10 to this power
  int two = 0;  // times 2 to this power
};

std::optional<Unit> Suffix(absl::string_view text) {
  if (text.empty()) return Unit{};
  constexpr absl::string_view kDecimal = "num.kMGTPE";  // '.': no suffix, 10 to the power 0
  constexpr absl::string_view kBinary = "KMGTPE";
  if (text.size() == 1 && text[0] != '.') {
    const size_t at = kDecimal.find(text[0]);
    if (at != absl::string_view::npos) return Unit{(static_cast<int>(at) - 3) * 3, 0};
  }
  if (text.size() == 2 && text[1] == 'i') {
    const size_t at = kBinary.find(text[0]);
    if (at != absl::string_view::npos) return Unit{0, (static_cast<int>(at) + 1) * 10};
  }
  int exponent = 0;
  if ((text[0] == 'e' || text[0] == 'E') && absl::SimpleAtoi(text.substr(1), &exponent) &&
      exponent >= -kMaxDigits && exponent <= kMaxDigits)
    return Unit{exponent, 0};
  return std::nullopt;
}

Wide PowerOfTen(int power) {
  Wide value = 1;
  for (int i = 0; i < power; ++i) value *= 10;
  return value;
}

struct Number {
  uint64_t digits = 0;  // the point left out
  int fraction = 0;     // how many of them were behind it
  size_t length = 0;    // of the text
  bool valid = false;
};

Number ReadNumber(absl::string_view text) {
  Number number;
  int count = 0;
  bool point = false;
  for (; number.length < text.size(); ++number.length) {
    const char c = text[number.length];
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) break;
    if (++count > kMaxDigits) return number;
    number.digits = number.digits * 10 + static_cast<uint64_t>(c - '0');
    number.fraction += point ? 1 : 0;
  }
  number.valid = count > 0;
  return number;
}

}  // namespace

StatusOr<uint64_t> ParseQuantity(absl::string_view text) {
  const Status bad = absl::InvalidArgumentError(absl::StrCat(
      "\"", absl::CEscape(text), "\" is no quantity; write a number like 500k, 10M or 1Gi"));
  absl::string_view rest = text;
  if (!rest.empty() && rest[0] == '+') rest.remove_prefix(1);
  const Number number = ReadNumber(rest);
  if (!number.valid) return bad;
  const std::optional<Unit> unit = Suffix(rest.substr(number.length));
  if (!unit.has_value()) return bad;
  const int ten = unit->ten - number.fraction;
  Wide value = static_cast<Wide>(number.digits) << unit->two;
  if (ten > 0) value *= PowerOfTen(ten);
  if (ten < 0) value = (value + PowerOfTen(-ten) - 1) / PowerOfTen(-ten);
  if (value > static_cast<Wide>(std::numeric_limits<int64_t>::max()))
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is too great"));
  return static_cast<uint64_t>(value);
}

}  // namespace gantry::cri
