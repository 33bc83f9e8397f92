#include "cri/streaming/testing_spdy_client.h"

#include <zlib.h>

#include "absl/strings/str_cat.h"

#include "cri/streaming/spdy_dictionary.h"

namespace gantry::cri::streaming {
namespace {

uint32_t ReadNumber(absl::string_view bytes) {
  uint32_t number = 0;
  for (const char byte : bytes.substr(0, 4)) number = number * 256 + static_cast<uint8_t>(byte);
  return number;
}

Bytef* ZlibBytes(absl::string_view bytes) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
}

}  // namespace

std::string TestNumber(uint32_t number, size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = size; i-- > 0; number /= 256) bytes[i] = static_cast<char>(number % 256);
  return bytes;
}

std::string TestBlock(const SpdyHeaders& headers) {
  std::string block = TestNumber(static_cast<uint32_t>(headers.size()));
  for (const auto& [name, value] : headers) {
    absl::StrAppend(&block, TestNumber(static_cast<uint32_t>(name.size())), name,
                    TestNumber(static_cast<uint32_t>(value.size())), value);
  }
  return block;
}

std::string TestControl(uint16_t type, absl::string_view payload, uint8_t flags) {
  return absl::StrCat(TestNumber(0x8003, 2), TestNumber(type, 2), TestNumber(flags, 1),
                      TestNumber(static_cast<uint32_t>(payload.size()), 3), payload);
}

std::string TestSynStream(uint32_t id, absl::string_view compressed, uint8_t flags) {
  const std::string payload =
      absl::StrCat(TestNumber(id), TestNumber(0), TestNumber(0, 2), compressed);
  return TestControl(1, payload, flags);
}

std::string TestData(uint32_t stream, absl::string_view bytes, uint8_t flags) {
  return absl::StrCat(TestNumber(stream), TestNumber(flags, 1),
                      TestNumber(static_cast<uint32_t>(bytes.size()), 3), bytes);
}

struct TestSpdyClient::Deflater {
  z_stream zlib{};
};

void TestSpdyClient::End::operator()(Deflater* deflater) const {
  deflateEnd(&deflater->zlib);
  std::default_delete<Deflater>()(deflater);
}

TestSpdyClient::TestSpdyClient(int level, bool dictionary) {
  auto made = std::make_unique<Deflater>();
  deflateInit(&made->zlib, level);
  if (dictionary) {
    const absl::string_view words = SpdyDictionary();
    deflateSetDictionary(&made->zlib, ZlibBytes(words), static_cast<uInt>(words.size()));
  }
  deflater_.reset(made.release());
}

std::string TestSpdyClient::Compress(absl::string_view block) {
  z_stream& zlib = deflater_->zlib;
  std::string out(deflateBound(&zlib, block.size()) + 64, '\0');
  zlib.next_in = ZlibBytes(block);
  zlib.avail_in = static_cast<uInt>(block.size());
  zlib.next_out = ZlibBytes(out);
  zlib.avail_out = static_cast<uInt>(out.size());
  deflate(&zlib, Z_SYNC_FLUSH);
  out.resize(out.size() - zlib.avail_out);
  return out;
}

std::string TestSpdyClient::SynStream(uint32_t id, const SpdyHeaders& headers, uint8_t flags) {
  return TestSynStream(id, Compress(TestBlock(headers)), flags);
}

std::string TestSpdyClient::SynStreamOfBlock(uint32_t id, absl::string_view block) {
  return TestSynStream(id, Compress(block));
}

std::string TestSpdyClient::HeaderFrame(uint16_t type, uint32_t id, const SpdyHeaders& headers,
                                        uint8_t flags) {
  return TestControl(type, TestNumber(id) + Compress(TestBlock(headers)), flags);
}

std::optional<std::vector<TestFrame>> TestSpdyClient::Read(absl::string_view bytes) {
  std::vector<TestFrame> frames;
  while (!bytes.empty()) {
    if (bytes.size() < 8) return std::nullopt;
    const uint32_t first = ReadNumber(bytes);
    const size_t size = ReadNumber(bytes.substr(4)) & 0xffffff;
    if (bytes.size() < 8 + size) return std::nullopt;
    TestFrame frame;
    frame.flags = static_cast<uint8_t>(bytes[4]);
    frame.payload = std::string(bytes.substr(8, size));
    frame.control = first >> 31 != 0;
    frame.stream = frame.control ? ReadNumber(frame.payload) & 0x7fffffff : first;
    if (frame.control) frame.type = first & 0xffff;
    if (frame.control && (first >> 16 != 0x8003 || size < 4)) return std::nullopt;
    if (frame.control && frame.type == 2) {
      const auto headers = reader_.Read(absl::string_view(frame.payload).substr(4));
      if (!headers.ok() || !headers->empty()) return std::nullopt;
    }
    frames.push_back(std::move(frame));
    bytes.remove_prefix(8 + size);
  }
  return frames;
}

}  // namespace gantry::cri::streaming
