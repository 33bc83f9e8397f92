#include "imageservice/layer_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {
namespace {

constexpr uint64_t kMaxId = 0xfffffffe;
// Far above any limit, far below where adding a block could overflow.
constexpr uint64_t kHugeSize = 1ull << 60;

uint64_t PaddingOf(uint64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

// Directories of V7 archives are files whose name ends in a slash.
StatusOr<TarType> TypeOf(const TarHeader& header, absl::string_view name) {
  switch (header.type) {
    case '\0':
    case '0':
    case '7':  // contiguous, which POSIX reads as 0
      return absl::EndsWith(name, "/") ? TarType::kDirectory : TarType::kFile;
    case 'S':
      if (absl::EndsWith(name, "/")) return Bad("a sparse file whose name ends in a slash");
      return TarType::kFile;
    case '1':
      return TarType::kHardLink;
    case '2':
      return TarType::kSymlink;
    case '3':
      return TarType::kCharDevice;
    case '4':
      return TarType::kBlockDevice;
    case '5':
    case 'D':  // GNU: a directory with a list of its names as data
      return TarType::kDirectory;
    case '6':
      return TarType::kFifo;
    default:
      return Bad(
          absl::StrCat("unknown entry type '", absl::CHexEscape(std::string(1, header.type)), "'"));
  }
}

}  // namespace

Status TarConsumer::OnStructure(absl::string_view) { return absl::OkStatus(); }

TarReader::TarReader(TarConsumer* consumer, const TarLimits& limits)
    : consumer_(consumer), limits_(limits) {
  block_.reserve(kTarBlock);
}

Status TarReader::Context(const Status& status) const {
  if (status.ok()) return status;
  if (entry_.name.empty()) return Annotate(status, absl::StrCat("entry ", entries_ + 1));
  return Annotate(status, absl::StrCat("entry ", entries_, " \"",
                                       absl::CHexEscape(entry_.name.substr(0, 256)), "\""));
}

Status TarReader::Feed(absl::string_view bytes) {
  total_ += bytes.size();
  if (total_ > limits_.max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the archive has more than ", limits_.max_bytes, " bytes"));
  }
  while (!bytes.empty()) {
    const bool structure = state_ != State::kData;
    const absl::string_view before = bytes;
    if (Status status = Step(&bytes); !status.ok()) return Context(status);
    if (!structure) continue;
    const absl::string_view taken = before.substr(0, before.size() - bytes.size());
    if (Status status = consumer_->OnStructure(taken); !status.ok()) return Context(status);
  }
  return absl::OkStatus();
}

Status TarReader::Finish() {
  const bool between = (state_ == State::kHeader || state_ == State::kZeroSeen) && block_.empty();
  if (state_ != State::kEnded && !between) {
    return Context(absl::DataLossError("the archive ends in the middle of an entry"));
  }
  return OnEnd();
}

Status TarReader::OnEnd() {
  if (!pax_ && !long_name_ && !long_link_) return absl::OkStatus();
  return Bad("the archive ends after an extended header, without its entry");
}

Status TarReader::Step(absl::string_view* in) {
  switch (state_) {
    case State::kBody:
      return TakeBody(in);
    case State::kData:
      return TakeData(in);
    case State::kEnded:
      return TakeTrailing(in);
    case State::kSkip: {
      const uint64_t n = std::min<uint64_t>(skip_left_, in->size());
      in->remove_prefix(static_cast<size_t>(n));
      skip_left_ -= n;
      if (skip_left_ == 0) state_ = State::kHeader;
      return absl::OkStatus();
    }
    default:
      break;
  }
  const size_t n = std::min(kTarBlock - block_.size(), in->size());
  block_.append(in->data(), n);
  in->remove_prefix(n);
  if (block_.size() < kTarBlock) return absl::OkStatus();
  Status status = OnBlock();
  block_.clear();
  return status;
}

Status TarReader::OnBlock() {
  switch (state_) {
    case State::kOldSparse:
      return OnOldSparseBlock();
    case State::kPaxSparse:
      return OnPaxSparseBlock();
    case State::kZeroSeen:
      if (!IsZeroBlock(block_)) return Bad("data after a lone block of zeros");
      state_ = State::kEnded;
      return absl::OkStatus();
    default:
      break;
  }
  entry_ = TarEntry();
  if (!IsZeroBlock(block_)) return OnHeader();
  state_ = State::kZeroSeen;
  return OnEnd();
}

Status TarReader::OnHeader() {
  ASSIGN_OR_RETURN(TarHeader header, DecodeTarHeader(block_));
  if (header.size > kHugeSize) return Bad(absl::StrCat("size ", header.size, " is absurd"));
  switch (header.type) {
    case 'x':
    case 'X':  // Solaris
    case 'g':
    case 'L':
    case 'K':
      body_type_ = header.type == 'X' ? 'x' : header.type;
      return StartBody(header.size);
    case 'V':  // GNU: the volume's label, a header alone; readers disagree about anything more
      if (header.size == 0 && !pax_ && !long_name_ && !long_link_) return absl::OkStatus();
      return Bad("a volume label with data or an extended header");
    default:
      return StartEntry(header);
  }
}

// ---- bodies of x, g, L and K headers ----

Status TarReader::StartBody(uint64_t size) {
  const bool pax = body_type_ == 'x' || body_type_ == 'g';
  const size_t limit = pax ? limits_.max_pax : limits_.max_name + 1;  // L and K count a NUL
  if (size > limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat("extended header of ", size, " bytes; the limit is ", limit));
  }
  body_.clear();
  body_left_ = size;
  state_ = State::kBody;
  return size == 0 ? OnBody() : absl::OkStatus();
}

Status TarReader::TakeBody(absl::string_view* in) {
  const size_t n = std::min(static_cast<size_t>(body_left_), in->size());
  body_.append(in->data(), n);
  in->remove_prefix(n);
  body_left_ -= n;
  return body_left_ == 0 ? OnBody() : absl::OkStatus();
}

Status TarReader::OnBody() {
  Skip(PaddingOf(body_.size()));
  if (body_type_ == 'g') return CheckGlobalPax(body_);
  if (body_type_ == 'x') {
    if (pax_) return Bad("two extended headers for one entry");
    PaxLimits limits;
    limits.max_sparse = 2 * limits_.max_sparse;
    ASSIGN_OR_RETURN(pax_, ParsePax(body_, limits));
    return absl::OkStatus();
  }
  std::optional<std::string>& name = body_type_ == 'L' ? long_name_ : long_link_;
  if (name) return Bad("two long names for one entry");
  name = body_.substr(0, body_.find('\0'));
  return absl::OkStatus();
}

// ---- the entry itself ----

Status TarReader::StartEntry(const TarHeader& header) {
  Status filled = FillEntry(header);
  ++entries_;
  RETURN_IF_ERROR(filled);
  if (entries_ > limits_.max_entries) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", limits_.max_entries, " entries"));
  }
  const std::optional<PaxRecords> pax = std::exchange(pax_, std::nullopt);
  long_name_.reset();
  long_link_.reset();
  const uint64_t size = pax && pax->size ? *pax->size : header.size;
  if (size > kHugeSize) return Bad(absl::StrCat("size ", size, " is absurd"));
  padding_ = PaddingOf(size);
  segments_.clear();
  if (pax && pax->sparse.present && (entry_.type != TarType::kFile || header.type == '7')) {
    return Bad("a sparse map of what is no regular file");
  }
  if (entry_.type != TarType::kFile) return SkipEntry(header, size);
  stored_left_ = size;
  entry_.size = size;
  if (header.type == 'S') {
    if (pax && pax->sparse.present) return Bad("two sparse maps");
    entry_.size = header.real_size;
    segments_ = header.sparse;
    state_ = State::kOldSparse;
    return header.sparse_continues ? absl::OkStatus() : StartData();
  }
  if (pax && pax->sparse.present) {
    sparse_numbers_ = pax->sparse.numbers;
    if (pax->sparse.major > 1 || (pax->sparse.major == 1 && pax->sparse.minor != 0)) {
      return Bad("unknown version of the sparse format");
    }
    if (!pax->sparse.real_size) return Bad("sparse file without its size");
    entry_.size = *pax->sparse.real_size;
    if (pax->sparse.map_in_data()) {
      sparse_digits_.clear();
      sparse_numbers_.clear();
      state_ = State::kPaxSparse;
      return absl::OkStatus();
    }
    if (pax->sparse.count && *pax->sparse.count != sparse_numbers_.size() / 2) {
      return Bad("sparse map of another length than it says");
    }
    return FinishPaxSparse();
  }
  segments_.push_back({0, size});
  return StartData();
}

// As the readers in use do: only files and GNU's directory lists have data, whatever `size` says.
Status TarReader::SkipEntry(const TarHeader& header, uint64_t size) {
  const bool by_slash = entry_.type == TarType::kDirectory && header.type != '5' &&
                        header.type != 'D';  // Go and Python take it for a file
  if (by_slash && size != 0) return Bad("a file with data whose name ends in a slash");
  RETURN_IF_ERROR(consumer_->OnEntry(entry_));
  RETURN_IF_ERROR(consumer_->OnEntryEnd());
  Skip(header.type == 'D' ? size + padding_ : 0);
  return absl::OkStatus();
}

Status TarReader::FillEntry(const TarHeader& header) {
  RETURN_IF_ERROR(FillNames(header));
  ASSIGN_OR_RETURN(entry_.type, TypeOf(header, entry_.name));
  entry_.mode = header.mode;
  entry_.dev_major = header.dev_major;
  entry_.dev_minor = header.dev_minor;
  entry_.mtime.seconds = header.mtime;
  if (pax_ && pax_->mtime) entry_.mtime = *pax_->mtime;
  if (pax_) entry_.xattrs = pax_->xattrs;
  return FillOwner(header);
}

Status TarReader::FillNames(const TarHeader& header) {
  entry_.name = header.name;
  entry_.link_target = header.link_target;
  if (long_name_) entry_.name = *long_name_;
  if (long_link_) entry_.link_target = *long_link_;
  if (pax_) {
    const bool sparse_name = pax_->sparse.present && !pax_->sparse.name.empty();
    const std::string* path = sparse_name  ? &pax_->sparse.name
                              : pax_->path ? &*pax_->path
                                           : nullptr;
    if (path != nullptr && long_name_ && *path != *long_name_)
      return Bad("two different long names");
    if (path != nullptr) entry_.name = *path;
    if (pax_->link_path && long_link_ && *pax_->link_path != *long_link_) {
      return Bad("two different long link targets");
    }
    if (pax_->link_path) entry_.link_target = *pax_->link_path;
  }
  if (entry_.name.empty()) return Bad("an entry without name");
  if (entry_.name.size() > limits_.max_name || entry_.link_target.size() > limits_.max_name) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a name or link target of more than ", limits_.max_name, " bytes"));
  }
  return absl::OkStatus();
}

Status TarReader::FillOwner(const TarHeader& header) {
  const bool pax_uid = pax_ && pax_->uid, pax_gid = pax_ && pax_->gid;
  if ((!pax_uid && header.uid < 0) || (!pax_gid && header.gid < 0)) {
    return Bad("a negative uid or gid");
  }
  const uint64_t uid = pax_uid ? *pax_->uid : static_cast<uint64_t>(header.uid);
  const uint64_t gid = pax_gid ? *pax_->gid : static_cast<uint64_t>(header.gid);
  if (uid > kMaxId) return Bad(absl::StrCat("uid ", uid, " is out of range (0..", kMaxId, ")"));
  if (gid > kMaxId) return Bad(absl::StrCat("gid ", gid, " is out of range (0..", kMaxId, ")"));
  entry_.uid = static_cast<uint32_t>(uid);
  entry_.gid = static_cast<uint32_t>(gid);
  return absl::OkStatus();
}

// ---- sparse maps ----

Status TarReader::OnOldSparseBlock() {
  ASSIGN_OR_RETURN(bool more, DecodeSparseContinuation(block_, &segments_));
  if (segments_.size() > limits_.max_sparse) {
    return absl::ResourceExhaustedError("sparse map too long");
  }
  return more ? absl::OkStatus() : StartData();
}

// PAX 1.0: "<count>\n" and then offset and length of each run, a line each, padded to a block.
Status TarReader::OnPaxSparseBlock() {
  if (stored_left_ < kTarBlock) return Bad("sparse map longer than the entry");
  stored_left_ -= kTarBlock;
  for (char c : block_) {
    if (c == '\n') {
      RETURN_IF_ERROR(TakeSparseNumber());
      if (sparse_numbers_.size() == 1 + 2 * sparse_numbers_[0]) {
        sparse_numbers_.erase(sparse_numbers_.begin());
        return FinishPaxSparse();
      }
      continue;
    }
    if (c < '0' || c > '9' || sparse_digits_.size() >= 19) return Bad("malformed sparse map");
    sparse_digits_.push_back(c);
  }
  return absl::OkStatus();
}

Status TarReader::TakeSparseNumber() {
  if (sparse_digits_.empty()) return Bad("malformed sparse map");
  uint64_t number = 0;
  for (char c : sparse_digits_) number = number * 10 + static_cast<uint64_t>(c - '0');
  sparse_digits_.clear();
  if (sparse_numbers_.empty() && number > limits_.max_sparse) {
    return absl::ResourceExhaustedError("sparse map too long");
  }
  sparse_numbers_.push_back(number);
  return absl::OkStatus();
}

Status TarReader::FinishPaxSparse() {
  if (sparse_numbers_.size() % 2 != 0) return Bad("sparse map with an odd number of values");
  for (size_t i = 0; i < sparse_numbers_.size(); i += 2) {
    segments_.push_back({sparse_numbers_[i], sparse_numbers_[i + 1]});
  }
  return StartData();
}

Status TarReader::CheckSegments() const {
  uint64_t end = 0, stored = 0;
  for (const TarSegment& segment : segments_) {
    if (segment.offset < end || segment.length > entry_.size ||
        segment.offset > entry_.size - segment.length) {
      return Bad("sparse map with runs that overlap or pass the end");
    }
    end = segment.offset + segment.length;
    stored += segment.length;
  }
  if (stored != stored_left_) {
    return Bad(
        absl::StrCat("sparse map of ", stored, " bytes over ", stored_left_, " bytes of data"));
  }
  return absl::OkStatus();
}

// ---- data ----

Status TarReader::StartData() {
  if (entry_.size > limits_.max_file_size) {
    return absl::ResourceExhaustedError(absl::StrCat("a file of ", entry_.size, " bytes"));
  }
  RETURN_IF_ERROR(CheckSegments());
  segment_ = 0;
  segment_done_ = 0;
  RETURN_IF_ERROR(consumer_->OnEntry(entry_));
  state_ = State::kData;
  return stored_left_ == 0 ? EndEntry() : absl::OkStatus();
}

Status TarReader::TakeData(absl::string_view* in) {
  while (segments_[segment_].length == segment_done_) {
    ++segment_;
    segment_done_ = 0;
  }
  const TarSegment& segment = segments_[segment_];
  const auto n =
      static_cast<size_t>(std::min<uint64_t>(segment.length - segment_done_, in->size()));
  RETURN_IF_ERROR(consumer_->OnData(segment.offset + segment_done_, in->substr(0, n)));
  in->remove_prefix(n);
  segment_done_ += n;
  stored_left_ -= n;
  return stored_left_ == 0 ? EndEntry() : absl::OkStatus();
}

Status TarReader::EndEntry() {
  RETURN_IF_ERROR(consumer_->OnEntryEnd());
  Skip(padding_);
  return absl::OkStatus();
}

void TarReader::Skip(uint64_t bytes) {
  skip_left_ = bytes;
  state_ = bytes == 0 ? State::kHeader : State::kSkip;
}

Status TarReader::TakeTrailing(absl::string_view* in) {
  if (!IsZeroBlock(*in)) return Bad("bytes after the end of the archive");
  in->remove_prefix(in->size());
  return absl::OkStatus();
}

}  // namespace gantry::images
