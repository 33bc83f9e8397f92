// For tests: archives made by code, good and hostile ones.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gantry::images {

// Builds a tar archive header by header; every field can be made wrong.
class TarArchive {
 public:
  struct Header {
    std::string name{};
    char type = '0';
    std::string link{};
    uint64_t size = 0;
    uint32_t mode = 0644;
    int64_t uid = 0, gid = 0;
    int64_t mtime = 1'000'000;
    uint64_t major = 0, minor = 0;
    std::string magic = std::string(
        "ustar\0"
        "00",
        8);
  };

  TarArchive& Add(Header header, absl::string_view data = "") {
    if (header.size == 0) header.size = data.size();
    bytes_ += Block(header);
    return Data(data);
  }
  TarArchive& File(const std::string& name, absl::string_view data, uint32_t mode = 0644) {
    return Add({.name = name, .mode = mode}, data);
  }
  TarArchive& Directory(const std::string& name, uint32_t mode = 0755) {
    return Add({.name = name, .type = '5', .mode = mode});
  }
  TarArchive& Symlink(const std::string& name, const std::string& target) {
    return Add({.name = name, .type = '2', .link = target, .mode = 0777});
  }
  TarArchive& HardLink(const std::string& name, const std::string& target) {
    return Add({.name = name, .type = '1', .link = target});
  }
  TarArchive& Pax(const std::vector<std::pair<std::string, std::string>>& records,
                  char type = 'x') {
    std::string body;
    for (const auto& [key, value] : records) body += Record(key, value);
    return Add({.name = "pax", .type = type}, body);
  }
  // A file with holes, as GNU tar's format 1.0 has it: 1,000,000 bytes, of which the first 4,096 of
  // `data` lie at 0, and its other 8,192 at 500,000.
  TarArchive& FileWithHoles(const std::string& name, absl::string_view data) {
    Pax({{"GNU.sparse.major", "1"},
         {"GNU.sparse.minor", "0"},
         {"GNU.sparse.name", name},
         {"GNU.sparse.realsize", "1000000"}});
    std::string content = "2\n0\n4096\n500000\n8192\n";
    content.resize(512);
    absl::StrAppend(&content, data);
    return File(absl::StrCat("GNUSparseFile.0/", name), content);
  }
  TarArchive& Data(absl::string_view data) {
    absl::StrAppend(&bytes_, data);
    bytes_.resize((bytes_.size() + 511) / 512 * 512);
    return *this;
  }
  TarArchive& Raw(absl::string_view bytes) {
    absl::StrAppend(&bytes_, bytes);
    return *this;
  }
  std::string Finish() const { return bytes_ + std::string(1024, '\0'); }
  const std::string& bytes() const { return bytes_; }

  static std::string Record(const std::string& key, const std::string& value) {
    const size_t rest = key.size() + value.size() + 3;
    size_t length = rest + 1;
    while (length != rest + absl::StrCat(length).size()) ++length;
    return absl::StrCat(length, " ", key, "=", value, "\n");
  }

  static std::string Block(const Header& header) {
    std::string block(512, '\0');
    Put(&block, 0, 100, header.name);
    PutNumber(&block, 100, 8, header.mode);
    PutNumber(&block, 108, 8, header.uid);
    PutNumber(&block, 116, 8, header.gid);
    PutNumber(&block, 124, 12, static_cast<int64_t>(header.size));
    PutNumber(&block, 136, 12, header.mtime);
    block[156] = header.type;
    Put(&block, 157, 100, header.link);
    Put(&block, 257, 8, header.magic);
    PutNumber(&block, 329, 8, static_cast<int64_t>(header.major));
    PutNumber(&block, 337, 8, static_cast<int64_t>(header.minor));
    return Summed(block);
  }
  // With a right checksum, after fields were changed by hand.
  static std::string Summed(std::string block) {
    memset(block.data() + 148, ' ', 8);
    unsigned sum = 0;
    for (char c : block) sum += static_cast<unsigned char>(c);
    snprintf(block.data() + 148, 8, "%06o", sum);
    return block;
  }
  static void Put(std::string* block, size_t offset, size_t length, absl::string_view text) {
    memcpy(block->data() + offset, text.data(), text.size() < length ? text.size() : length);
  }
  // Octal where it fits, else base-256.
  static void PutNumber(std::string* block, size_t offset, size_t length, int64_t value) {
    if (value >= 0 && value < (1ll << (3 * (length - 1)))) {
      char text[16];
      snprintf(text, sizeof(text), "%0*llo", static_cast<int>(length - 1),
               static_cast<unsigned long long>(value));
      return Put(block, offset, length, text);
    }
    for (size_t i = 0; i < length; ++i) {
      const size_t shift = 8 * (length - 1 - i);
      (*block)[offset + i] =
          static_cast<char>(shift >= 64 ? (value < 0 ? 0xff : 0) : value >> shift);
    }
    (*block)[offset] = static_cast<char>((*block)[offset] | 0x80);
  }

 private:
  std::string bytes_;
};

}  // namespace gantry::images
