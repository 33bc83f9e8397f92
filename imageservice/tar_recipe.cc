#include "imageservice/tar_recipe.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "imageservice/layer_rules.h"
#include "imageservice/tree_walk.h"
#include "runtime/linux/unique_fd.h"

namespace gantry::images {
namespace {

using Sink = absl::FunctionRef<Status(absl::string_view)>;

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
  LayerConsumer* writer = nullptr;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor;
  std::vector<char> out = std::vector<char>(ZSTD_CStreamOutSize());
  uint64_t written = 0;
  std::string literal;
  // The last run of contents, not written yet, and the file that it is read from.
  uint64_t run_offset = 0, run_length = 0;
  std::string run_file;
  std::optional<ContentPlace> place;  // of the current entry

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
    // Cut at the same places however the archive comes.
    while (!bytes.empty()) {
      const absl::string_view piece = bytes.substr(0, kMaxLiteral - literal.size());
      literal.append(piece.data(), piece.size());
      if (literal.size() == kMaxLiteral) RETURN_IF_ERROR(FlushLiteral());
      bytes.remove_prefix(piece.size());
    }
    return absl::OkStatus();
  }
  // From now on runs are of this file.
  Status File(const std::string& path) {
    RETURN_IF_ERROR(FlushRun());
    GANTRY_CHECK(path.size() < PATH_MAX);
    std::string record = "F";
    AppendNumber(path.size(), 2, &record);
    record += path;
    run_file = path;
    return Compress(record, ZSTD_e_continue);
  }
  Status Run(uint64_t offset, uint64_t length) {
    RETURN_IF_ERROR(FlushLiteral());
    if (place->file != run_file) RETURN_IF_ERROR(File(place->file));
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
                                                                   LayerConsumer* writer) {
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
  state_->place = state_->writer->Place();
  return absl::OkStatus();
}

Status TarRecipeWriter::OnData(uint64_t offset, absl::string_view bytes) {
  RETURN_IF_ERROR(state_->writer->OnData(offset, bytes));
  if (state_->place.has_value()) return state_->Run(state_->place->offset + offset, bytes.size());
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

// One file at a time, of what the recipe names.
class Contents {
 public:
  explicit Contents(const RecipeSource& from) : from_(from) {}

  Status Open(const std::string& path) {
    // Looked at before it is opened: opening a device does something to it.
    const std::string shown = absl::CHexEscape(path);
    const UniqueFd found = OpenWithoutLinks(from_.tree, path, O_PATH);
    struct stat st = {};
    const bool there = found.valid() && fstat(found.get(), &st) == 0;
    // Another failure is the disk's, and says nothing of the layer.
    constexpr std::array kAbsent = {ENOENT, ENOTDIR, ELOOP, EXDEV, EBADF};
    if (!there && std::find(kAbsent.begin(), kAbsent.end(), errno) == kAbsent.end())
      return SyscallError("open", shown);
    if (!there || !S_ISREG(st.st_mode)) return Damaged(absl::StrCat("\"", shown, "\" is no file"));
    file_ = OpenWithoutLinks(from_.tree, path, O_RDONLY | O_NONBLOCK);
    return file_.valid() ? absl::OkStatus() : SyscallError("open", shown);
  }

  Status Copy(uint64_t offset, uint64_t length, Sink sink) const {
    const int fd = file_.valid() ? file_.get() : from_.data;
    if (fd < 0) return Damaged("it names no file");
    std::vector<char> buffer(static_cast<size_t>(std::min<uint64_t>(length, kPiece)));
    while (length > 0) {
      const size_t wanted = static_cast<size_t>(std::min<uint64_t>(length, buffer.size()));
      const ssize_t n = pread(fd, buffer.data(), wanted, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return SyscallError("pread", "contents");
      if (n == 0) return Damaged("it names bytes behind the end of a file");
      RETURN_IF_ERROR(sink({buffer.data(), static_cast<size_t>(n)}));
      offset += static_cast<uint64_t>(n);
      length -= static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

 private:
  const RecipeSource from_;
  UniqueFd file_;
};

struct Record {
  char tag = 0;
  uint64_t offset = 0, length = 0;
  absl::string_view bytes;  // of 'L' and 'F'; until the next Take
};

// Nothing at the end.
StatusOr<std::optional<Record>> Next(Records* records) {
  ASSIGN_OR_RETURN(const absl::string_view tag, records->Take(1));
  if (tag.empty()) return std::optional<Record>();
  Record record;
  record.tag = tag[0];
  const bool run = record.tag == 'D';
  if (!run && record.tag != 'L' && record.tag != 'F') return Damaged("an unknown record");
  const size_t head_bytes = run ? 16 : record.tag == 'L' ? 4 : 2;
  ASSIGN_OR_RETURN(const absl::string_view head, records->Take(head_bytes));
  if (head.size() != head_bytes) return Damaged("it ends inside a record");
  if (run) {
    record.offset = NumberAt(head.data(), 8);
    record.length = NumberAt(head.data() + 8, 8);
    return std::optional<Record>(record);
  }
  record.length = NumberAt(head.data(), head_bytes);
  if (record.length > kMaxLiteral + kPiece) return Damaged("a record is too long");
  ASSIGN_OR_RETURN(record.bytes, records->Take(static_cast<size_t>(record.length)));
  if (record.bytes.size() != record.length) return Damaged("it ends inside a record");
  return std::optional<Record>(record);
}

}  // namespace

Status RebuildTar(const RecipeSource& from, int recipe, uint64_t max_bytes, Sink sink) {
  Records records(recipe);
  Contents contents(from);
  uint64_t made = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Record> record, Next(&records));
    if (!record.has_value()) return absl::OkStatus();
    if (record->tag == 'F') {
      RETURN_IF_ERROR(contents.Open(std::string(record->bytes)));
      continue;
    }
    if (record->length > max_bytes - made) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the layer's archive has more than ", max_bytes, " bytes"));
    }
    made += record->length;
    const Status given = record->tag == 'L' ? sink(record->bytes)
                                            : contents.Copy(record->offset, record->length, sink);
    RETURN_IF_ERROR(given);
  }
}

}  // namespace gantry::images
