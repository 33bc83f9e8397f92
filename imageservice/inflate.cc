#include "imageservice/inflate.h"

#include <zstd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include <isa-l/igzip_lib.h>

namespace gantry::images {
namespace {

constexpr size_t kOutputBytes = 256 << 10;

Status Damaged(absl::string_view what) { return absl::DataLossError(what); }

Compression ByMagic(absl::string_view head) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(head[i]); };
  if (head.size() >= 2 && byte(0) == 0x1f && byte(1) == 0x8b) return Compression::kGzip;
  if (head.size() < 4) return Compression::kPlain;
  const uint32_t word = static_cast<uint32_t>(byte(0)) | static_cast<uint32_t>(byte(1)) << 8 |
                        static_cast<uint32_t>(byte(2)) << 16 | static_cast<uint32_t>(byte(3)) << 24;
  const bool skippable = (word & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
  if (word == ZSTD_MAGICNUMBER || skippable) return Compression::kZstd;
  return Compression::kPlain;
}

struct FreeZstd {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

struct Inflater::State {
  explicit State(const InflateLimits& given) : limits(given), output(kOutputBytes) {}

  Status Start();
  Status FeedGzip(absl::string_view in, Sink sink);
  Status EndMember();
  Status FeedZstd(absl::string_view in, Sink sink);
  Status Emit(absl::string_view bytes, Sink sink);

  const InflateLimits limits;
  Compression compression = Compression::kUnknown;
  std::string head;  // until the format is known
  uint64_t in_total = 0, out_total = 0;
  std::vector<uint8_t> output;

  std::unique_ptr<inflate_state> gzip;
  bool in_member = false;   // gzip: between a member's first byte and its end
  bool only_zeros = false;  // gzip: padding after the last member
  uint64_t member_output = 0;
  uint32_t empty_members = 0;

  std::unique_ptr<ZSTD_DCtx, FreeZstd> zstd;
  bool in_frame = false;
};

Inflater::Inflater(const InflateLimits& limits) : state_(std::make_unique<State>(limits)) {}
Inflater::~Inflater() = default;
Compression Inflater::compression() const { return state_->compression; }

Status Inflater::Feed(absl::string_view bytes, Sink sink) {
  State& s = *state_;
  s.in_total += bytes.size();
  if (s.compression == Compression::kUnknown) {
    s.head.append(bytes.data(), bytes.size());
    if (s.head.size() < 4) return absl::OkStatus();
    s.compression = ByMagic(s.head);
    RETURN_IF_ERROR(s.Start());
    bytes = s.head;
  }
  switch (s.compression) {
    case Compression::kGzip:
      return s.FeedGzip(bytes, sink);
    case Compression::kZstd:
      return s.FeedZstd(bytes, sink);
    default:
      return s.Emit(bytes, sink);
  }
}

Status Inflater::Finish(Sink sink) {
  State& s = *state_;
  if (s.compression == Compression::kUnknown) {  // fewer than 4 bytes: too short for either format
    s.compression = Compression::kPlain;
    return s.Emit(s.head, sink);
  }
  if (s.in_member) return Damaged("the gzip data is cut short");
  if (s.in_frame) return Damaged("the zstd data is cut short");
  return absl::OkStatus();
}

Status Inflater::State::Start() {
  if (compression == Compression::kGzip) {
    gzip = std::make_unique<inflate_state>();
    isal_inflate_init(gzip.get());
  }
  if (compression == Compression::kZstd) {
    zstd.reset(ZSTD_createDCtx());
    if (zstd == nullptr) return absl::ResourceExhaustedError("no memory for zstd");
    ZSTD_DCtx_setParameter(zstd.get(), ZSTD_d_windowLogMax, limits.zstd_window_log);
  }
  return absl::OkStatus();
}

Status Inflater::State::FeedGzip(absl::string_view in, Sink sink) {
  gzip->next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(in.data()));
  gzip->avail_in = static_cast<uint32_t>(in.size());
  bool more = gzip->avail_in > 0;
  while (more) {
    if (!in_member) {
      only_zeros = only_zeros || *gzip->next_in == 0;
      if (only_zeros) {
        const bool zeros = std::all_of(gzip->next_in, gzip->next_in + gzip->avail_in,
                                       [](uint8_t byte) { return byte == 0; });
        return zeros ? absl::OkStatus() : Damaged("bytes after the end of the gzip data");
      }
      isal_inflate_reset(gzip.get());
      gzip->crc_flag = ISAL_GZIP;  // reads the member's header, verifies its trailer
      in_member = true;
      member_output = 0;
    }
    gzip->next_out = output.data();
    gzip->avail_out = static_cast<uint32_t>(output.size());
    const int result = isal_inflate(gzip.get());
    if (result == ISAL_INCORRECT_CHECKSUM) return Damaged("gzip: wrong checksum");
    if (result != ISAL_DECOMP_OK) return Damaged(absl::StrCat("gzip: damaged (", result, ")"));
    const size_t made = output.size() - gzip->avail_out;
    member_output += made;
    RETURN_IF_ERROR(Emit({reinterpret_cast<const char*>(output.data()), made}, sink));
    const bool ended = gzip->block_state == ISAL_BLOCK_FINISH;
    if (ended) RETURN_IF_ERROR(EndMember());
    // A full output buffer may leave more inside the decoder though its input is used up.
    more = gzip->avail_in > 0 || (!ended && gzip->avail_out == 0);
  }
  return absl::OkStatus();
}

Status Inflater::State::EndMember() {
  in_member = false;
  if (member_output > 0 || ++empty_members <= limits.max_empty_members) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("more than ", limits.max_empty_members, " empty gzip members"));
}

Status Inflater::State::FeedZstd(absl::string_view in, Sink sink) {
  ZSTD_inBuffer input{in.data(), in.size(), 0};
  bool more = input.size > 0;
  while (more) {
    ZSTD_outBuffer buffer{output.data(), output.size(), 0};
    const size_t result = ZSTD_decompressStream(zstd.get(), &buffer, &input);
    if (ZSTD_isError(result)) {
      return Damaged(absl::StrCat("zstd: ", ZSTD_getErrorName(result)));
    }
    in_frame = result != 0;
    RETURN_IF_ERROR(Emit({reinterpret_cast<const char*>(output.data()), buffer.pos}, sink));
    more = input.pos < input.size || (in_frame && buffer.pos == buffer.size);
  }
  return absl::OkStatus();
}

Status Inflater::State::Emit(absl::string_view bytes, Sink sink) {
  if (bytes.empty()) return absl::OkStatus();
  out_total += bytes.size();
  if (out_total > limits.max_output) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the layer inflates to more than ", limits.max_output, " bytes"));
  }
  if (out_total > limits.ratio_after && out_total / limits.max_ratio > in_total) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the layer inflates more than ", limits.max_ratio, ":1: refused as a bomb"));
  }
  return sink(bytes);
}

}  // namespace gantry::images
