// A SPDY/3.1 client for tests, small and apart from the code that it tests: frames as a client
// sends them, right or wrong, and what the server has said, as frames.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "cri/streaming/spdy_headers.h"

namespace gantry::cri::streaming {

inline constexpr uint8_t kTestFin = 1;
inline constexpr uint8_t kTestUnidirectional = 2;

struct TestFrame {
  bool control = false;
  uint16_t type = 0;    // of a control frame
  uint32_t stream = 0;  // the first 31 bits of a control frame's payload: an id in all of ours
  uint8_t flags = 0;
  std::string payload;
};

// One connection: header blocks go through one compressor and one decompressor.
class TestSpdyClient {
 public:
  // `level`: zlib's; `dictionary`: whether the words of the protocol are used.
  explicit TestSpdyClient(int level = 9, bool dictionary = true);

  // Frames of type SYN_STREAM (1), and SYN_REPLY (2) or HEADERS (8).
  std::string SynStream(uint32_t id, const SpdyHeaders& headers, uint8_t flags = 0);
  std::string HeaderFrame(uint16_t type, uint32_t id, const SpdyHeaders& headers,
                          uint8_t flags = 0);
  // The same around any bytes for a block, and around a block that is compressed already.
  std::string SynStreamOfBlock(uint32_t id, absl::string_view block);
  std::string Compress(absl::string_view block);

  // The frames that `bytes` are; nullopt: they are not whole frames of a server, or a header block
  // in them is not an empty one.
  std::optional<std::vector<TestFrame>> Read(absl::string_view bytes);

 private:
  struct Deflater;
  struct End {
    void operator()(Deflater* deflater) const;
  };
  std::unique_ptr<Deflater, End> deflater_;
  SpdyHeaderReader reader_;
};

std::string TestNumber(uint32_t number, size_t size = 4);
std::string TestBlock(const SpdyHeaders& headers);
std::string TestControl(uint16_t type, absl::string_view payload, uint8_t flags = 0);
std::string TestSynStream(uint32_t id, absl::string_view compressed, uint8_t flags = 0);
std::string TestData(uint32_t stream, absl::string_view bytes, uint8_t flags = 0);

}  // namespace gantry::cri::streaming
