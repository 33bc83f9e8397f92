#include "imageservice/tar_recipe.h"

#include <endian.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "imageservice/layer_rules.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxLiteral = 64 << 10;
constexpr size_t kPiece = 256 << 10;
constexpr int kWindowLog = 20;

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

void AppendNumber(uint64_t number, size_t bytes, std::string* out) {
  const uint64_t little = htole64(number);
  out->append(reinterpret_cast<const char*>(&little), bytes);
}

uint64_t NumberAt(const char* at, size_t bytes) {
  uint64_t little = 0;
  memcpy(&little, at, bytes);
  return le64toh(little);
}

Status Damaged(absl::string_view why) {
  return absl::DataLossError(absl::StrCat("the layer's recipe is damaged: ", why));
}

}  // namespace

// ---- writing ----

struct TarRecipeWriter::State {
  int fd = -1;
  ErofsWriter* writer = nullptr;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor;
  std::vector<char> out = std::vector<char>(ZSTD_CStreamOutSize());
  uint64_t written = 0;
  std::string literal;
  // The last run of `data`, not written yet.
  uint64_t run_offset = 0, run_length = 0;
  std::optional<uint64_t> place;  // of the current file in `data`

  Status Compress(absl::string_view bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in = {bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer to = {out.data(), out.size(), 0};
      const size_t left = ZSTD_compressStream2(compressor.get(), &to, &in, directive);
      if (ZSTD_isError(left)) return absl::InternalError(ZSTD_getErrorName(left));
      RETURN_IF_ERROR(WriteAt(fd, written, {out.data(), to.pos}, "recipe"));
      written += to.pos;
      if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return absl::OkStatus();
    }
  }
  Status FlushLiteral() {
    if (literal.empty()) return absl::OkStatus();
    std::string head = "L";
    AppendNumber(literal.size(), 4, &head);
    RETURN_IF_ERROR(Compress(head, ZSTD_e_continue));
    RETURN_IF_ERROR(Compress(literal, ZSTD_e_continue));
    literal.clear();
    return absl::OkStatus();
  }
  Status FlushRun() {
    if (run_length == 0) return absl::OkStatus();
    std::string record = "D";
    AppendNumber(run_offset, 8, &record);
    AppendNumber(run_length, 8, &record);
    run_length = 0;
    return Compress(record, ZSTD_e_continue);
  }
  Status Literal(absl::string_view bytes) {
    RETURN_IF_ERROR(FlushRun());
    literal.append(bytes.data(), bytes.size());
    return literal.size() >= kMaxLiteral ? FlushLiteral() : absl::OkStatus();
  }
  Status Run(uint64_t offset, uint64_t length) {
    RETURN_IF_ERROR(FlushLiteral());
    if (run_length == 0 || run_offset + run_length != offset) {
      RETURN_IF_ERROR(FlushRun());
      run_offset = offset;
    }
    run_length += length;
    return absl::OkStatus();
  }
};

TarRecipeWriter::TarRecipeWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
TarRecipeWriter::~TarRecipeWriter() = default;

StatusOr<std::unique_ptr<TarRecipeWriter>> TarRecipeWriter::Create(int recipe,
                                                                   ErofsWriter* writer) {
  auto state = std::make_unique<State>();
  state->fd = recipe;
  state->writer = writer;
  state->compressor.reset(ZSTD_createCCtx());
  ZSTD_CCtx* context = state->compressor.get();
  if (context == nullptr ||
      ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 1)) ||
      ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, kWindowLog)) ||
      ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1))) {
    return absl::InternalError("zstd is not available");
  }
  return std::unique_ptr<TarRecipeWriter>(new TarRecipeWriter(std::move(state)));
}

Status TarRecipeWriter::OnStructure(absl::string_view bytes) { return state_->Literal(bytes); }

Status TarRecipeWriter::OnEntry(const TarEntry& entry) {
  RETURN_IF_ERROR(state_->writer->OnEntry(entry));
  state_->place = state_->writer->PlaceInData();
  return absl::OkStatus();
}

Status TarRecipeWriter::OnData(uint64_t offset, absl::string_view bytes) {
  RETURN_IF_ERROR(state_->writer->OnData(offset, bytes));
  if (state_->place.has_value()) return state_->Run(*state_->place + offset, bytes.size());
  return state_->Literal(bytes);
}

Status TarRecipeWriter::OnEntryEnd() { return state_->writer->OnEntryEnd(); }

Status TarRecipeWriter::Finish() {
  RETURN_IF_ERROR(state_->FlushRun());
  RETURN_IF_ERROR(state_->FlushLiteral());
  return state_->Compress("", ZSTD_e_end);
}

// ---- reading ----

namespace {

// The records, one after the other, out of the frame.
class Records {
 public:
  explicit Records(int fd) : fd_(fd), context_(ZSTD_createDCtx()), in_(ZSTD_DStreamInSize()) {
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kWindowLog);
  }

  // Exactly `length` bytes; empty at the end of the frame.
  StatusOr<absl::string_view> Take(size_t length) {
    while (ready_.size() - at_ < length && !ended_) RETURN_IF_ERROR(Fill());
    if (ready_.size() == at_ && ended_) return absl::string_view();
    if (ready_.size() - at_ < length) return Damaged("it ends inside a record");
    const absl::string_view taken(ready_.data() + at_, length);
    at_ += length;
    return taken;
  }

 private:
  Status Fill() {
    ready_.erase(0, at_);
    at_ = 0;
    if (from_.pos == from_.size) {
      const ssize_t n = pread(fd_, in_.data(), in_.size(), static_cast<off_t>(offset_));
      if (n < 0) return SyscallError("pread", "recipe");
      if (n == 0) return Damaged("it is cut short");
      offset_ += static_cast<uint64_t>(n);
      from_ = {in_.data(), static_cast<size_t>(n), 0};
    }
    const size_t before = ready_.size();
    ready_.resize(before + ZSTD_DStreamOutSize());
    ZSTD_outBuffer to = {ready_.data() + before, ZSTD_DStreamOutSize(), 0};
    const size_t left = ZSTD_decompressStream(context_.get(), &to, &from_);
    ready_.resize(before + to.pos);
    if (ZSTD_isError(left)) return Damaged(ZSTD_getErrorName(left));
    ended_ = left == 0;
    return absl::OkStatus();
  }

  const int fd_;
  std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context_;
  std::vector<char> in_;
  ZSTD_inBuffer from_ = {nullptr, 0, 0};
  uint64_t offset_ = 0;
  std::string ready_;
  size_t at_ = 0;
  bool ended_ = false;
};

Status CopyRun(int data, uint64_t offset, uint64_t length,
               absl::FunctionRef<Status(absl::string_view)> sink) {
  std::vector<char> buffer(static_cast<size_t>(std::min<uint64_t>(length, kPiece)));
  while (length > 0) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(length, buffer.size()));
    const ssize_t n = pread(data, buffer.data(), wanted, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SyscallError("pread", "data");
    if (n == 0) return Damaged("it names bytes behind the end of data");
    RETURN_IF_ERROR(sink({buffer.data(), static_cast<size_t>(n)}));
    offset += static_cast<uint64_t>(n);
    length -= static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace

Status RebuildTar(int data, int recipe, uint64_t max_bytes,
                  absl::FunctionRef<Status(absl::string_view)> sink) {
  Records records(recipe);
  uint64_t made = 0;
  while (true) {
    ASSIGN_OR_RETURN(const absl::string_view tag, records.Take(1));
    if (tag.empty()) return absl::OkStatus();
    const bool literal = tag[0] == 'L';
    if (!literal && tag[0] != 'D') return Damaged("an unknown record");
    const size_t head_bytes = literal ? 4 : 16;
    ASSIGN_OR_RETURN(const absl::string_view head, records.Take(head_bytes));
    if (head.size() != head_bytes) return Damaged("it ends inside a record");
    const uint64_t length = literal ? NumberAt(head.data(), 4) : NumberAt(head.data() + 8, 8);
    if (literal && length > kMaxLiteral + kPiece) return Damaged("a record is too long");
    if (length > max_bytes - made) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the layer's archive has more than ", max_bytes, " bytes"));
    }
    made += length;
    if (!literal) {
      const uint64_t offset = NumberAt(head.data(), 8);
      RETURN_IF_ERROR(CopyRun(data, offset, length, sink));
      continue;
    }
    ASSIGN_OR_RETURN(const absl::string_view bytes, records.Take(static_cast<size_t>(length)));
    if (bytes.size() != length) return Damaged("it ends inside a record");
    RETURN_IF_ERROR(sink(bytes));
  }
}

}  // namespace gantry::images
