#include "cri/streaming/spdy_headers.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "cri/streaming/spdy_dictionary.h"

namespace gantry::cri::streaming {
namespace {

Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("header block: ", what));
}

// Takes a 32 bit number off the front.
StatusOr<uint32_t> TakeNumber(absl::string_view* rest) {
  if (rest->size() < 4) return Malformed("cut off in a number");
  uint32_t number = 0;
  for (const char byte : rest->substr(0, 4)) number = number << 8 | static_cast<uint8_t>(byte);
  rest->remove_prefix(4);
  return number;
}

StatusOr<absl::string_view> TakeText(absl::string_view* rest) {
  ASSIGN_OR_RETURN(const uint32_t size, TakeNumber(rest));
  if (size > rest->size()) {
    return Malformed(absl::StrCat("a text of ", size, " bytes, ", rest->size(), " are left"));
  }
  const absl::string_view text = rest->substr(0, size);
  rest->remove_prefix(size);
  return text;
}

Status TooMany() { return Malformed(absl::StrCat("more than ", kMaxHeaders, " headers")); }

StatusOr<SpdyHeaders> ParsePairs(absl::string_view rest) {
  SpdyHeaders headers;
  ASSIGN_OR_RETURN(const uint32_t count, TakeNumber(&rest));
  if (count > kMaxHeaders) return TooMany();
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const absl::string_view name, TakeText(&rest));
    ASSIGN_OR_RETURN(const absl::string_view values, TakeText(&rest));
    for (const absl::string_view value : absl::StrSplit(values, '\0')) {
      if (headers.size() == kMaxHeaders) return TooMany();
      headers.emplace_back(name, value);
    }
  }
  if (!rest.empty()) return Malformed(absl::StrCat(rest.size(), " bytes behind the last pair"));
  return headers;
}

// zlib's head with a dictionary asked for (RFC 1950, section 2.2), as level 9 and its dictionary's
// Adler-32 give it; then a stored block of four zeros, "no pairs" (RFC 1951, section 3.2.4), and
// the empty one of a sync flush: Go's inflater gives nothing out before it.
constexpr char kEmptyBlocks[] =
    "\x78\xf9\xe3\xc6\xa7\xc2"
    "\x00\x04\x00\xfb\xff\x00\x00\x00\x00"
    "\x00\x00\x00\xff\xff";
constexpr size_t kZlibHead = 6;

}  // namespace

void SpdyHeaderReader::End::operator()(z_stream_s* stream) const {
  inflateEnd(stream);
  std::default_delete<z_stream_s>()(stream);
}

Status SpdyHeaderReader::Begin() {
  auto fresh = std::make_unique<z_stream_s>();
  if (inflateInit(fresh.get()) != Z_OK) {
    return absl::ResourceExhaustedError("header block: no memory for zlib");
  }
  stream_.reset(fresh.release());
  return absl::OkStatus();
}

StatusOr<std::string> SpdyHeaderReader::Inflate(absl::string_view block) {
  if (stream_ == nullptr) RETURN_IF_ERROR(Begin());
  // zlib's interface is from before const.
  stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(block.data()));
  stream_->avail_in = static_cast<uInt>(block.size());
  std::string text;
  std::array<char, 4096> piece;
  do {
    stream_->next_out = reinterpret_cast<Bytef*>(piece.data());
    stream_->avail_out = static_cast<uInt>(piece.size());
    int result = inflate(stream_.get(), Z_SYNC_FLUSH);
    if (result == Z_NEED_DICT) {
      const absl::string_view words = SpdyDictionary();
      result = inflateSetDictionary(stream_.get(), reinterpret_cast<const Bytef*>(words.data()),
                                    static_cast<uInt>(words.size()));
      if (result == Z_OK) result = inflate(stream_.get(), Z_SYNC_FLUSH);
    }
    // Z_BUF_ERROR: nothing was left to do, which is no error.
    if (result == Z_MEM_ERROR) return absl::ResourceExhaustedError("header block: zlib's memory");
    if (result != Z_OK && result != Z_BUF_ERROR) return Malformed("not what zlib can go on with");
    text.append(piece.data(), piece.size() - stream_->avail_out);
    if (text.size() > kMaxInflatedHeaderBlock) {
      return Malformed(absl::StrCat("over ", kMaxInflatedHeaderBlock, " bytes when inflated"));
    }
  } while (stream_->avail_in > 0 || stream_->avail_out == 0);
  return text;
}

StatusOr<SpdyHeaders> SpdyHeaderReader::Read(absl::string_view block) {
  ASSIGN_OR_RETURN(const std::string text, Inflate(block));
  return ParsePairs(text);
}

absl::string_view FirstEmptyHeaderBlock() {
  return absl::string_view(kEmptyBlocks, sizeof(kEmptyBlocks) - 1);
}

absl::string_view NextEmptyHeaderBlock() { return FirstEmptyHeaderBlock().substr(kZlibHead); }

}  // namespace gantry::cri::streaming
