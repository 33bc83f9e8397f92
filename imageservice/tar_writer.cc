#include "imageservice/tar_writer.h"

#include <cstdio>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

constexpr size_t kBlock = 512;
constexpr uint64_t kMaxOctal = (uint64_t{1} << 33) - 1;  // eleven digits

void PutText(std::string* block, size_t at, absl::string_view text) {
  memcpy(block->data() + at, text.data(), text.size());
}

void PutSize(std::string* block, uint64_t size) {
  constexpr size_t kAt = 124, kWidth = 12;
  if (size <= kMaxOctal) {
    char digits[kWidth];
    snprintf(digits, sizeof(digits), "%011llo", static_cast<unsigned long long>(size));
    PutText(block, kAt, absl::string_view(digits, kWidth - 1));
    return;
  }
  (*block)[kAt] = '\x80';
  for (size_t i = 0; i < 8; ++i)
    (*block)[kAt + kWidth - 1 - i] = static_cast<char>(size >> (8 * i) & 0xff);
}

std::string Padding(uint64_t size) { return std::string((kBlock - size % kBlock) % kBlock, '\0'); }

std::string Header(char type, absl::string_view name, uint64_t size) {
  std::string block(kBlock, '\0');
  PutText(&block, 0, name);
  PutText(&block, 100, "0000644");
  PutText(&block, 108, "0000000");
  PutText(&block, 116, "0000000");
  PutSize(&block, size);
  PutText(&block, 136, "00000000000");
  PutText(&block, 148, "        ");  // the checksum counts as blanks
  block[156] = type;
  PutText(&block, 257, absl::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  char digits[8];
  snprintf(digits, sizeof(digits), "%06o", sum);
  PutText(&block, 148, absl::string_view(digits, 7));
  return block;
}

// "LENGTH path=NAME\n", where the length counts itself.
std::string PathRecord(const std::string& name) {
  const size_t rest = name.size() + 7;
  size_t length = rest + 1;
  while (absl::StrCat(length).size() + rest != length) ++length;
  return absl::StrCat(length, " path=", name, "\n");
}

// A name that does not fit into a header stands in an extended one before it.
std::string LongName(const std::string& name) {
  const std::string record = PathRecord(name);
  return absl::StrCat(Header('x', "@LongName", record.size()), record, Padding(record.size()));
}

}  // namespace

Status TarFileWriter::Begin(const std::string& name, uint64_t size) {
  if (name.empty() || absl::StrContains(name, '\0'))
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no name for an archive"));
  name_ = name;
  size_ = size;
  written_ = 0;
  constexpr size_t kMostInHeader = 100;
  if (name.size() > kMostInHeader) RETURN_IF_ERROR(sink_(LongName(name)));
  return sink_(Header('0', absl::string_view(name).substr(0, kMostInHeader), size));
}

Status TarFileWriter::Write(absl::string_view bytes) {
  written_ += bytes.size();
  if (written_ > size_)
    return absl::DataLossError(absl::StrCat(name_, " has more than ", size_, " bytes"));
  return sink_(bytes);
}

Status TarFileWriter::End() {
  if (written_ != size_)
    return absl::DataLossError(absl::StrCat(name_, " has ", written_, " bytes, not ", size_));
  const std::string padding = Padding(size_);
  return padding.empty() ? absl::OkStatus() : sink_(padding);
}

Status TarFileWriter::AddFile(const std::string& name, absl::string_view content) {
  RETURN_IF_ERROR(Begin(name, content.size()));
  RETURN_IF_ERROR(Write(content));
  return End();
}

Status TarFileWriter::Finish() { return sink_(std::string(2 * kBlock, '\0')); }

}  // namespace gantry::images
