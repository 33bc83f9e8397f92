#include "shim/journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "runtime/base/log.h"
#include "runtime/linux/file.h"
#include "runtime/linux/process.h"

namespace gantry::shim {
namespace {

constexpr size_t kCompactAt = 64 << 10;
constexpr size_t kMaxJournal = 16 << 20;

uint32_t Checksum(absl::string_view text) {
  uint32_t hash = 2166136261U;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

std::string Line(absl::string_view record) {
  return absl::StrCat(absl::Hex(Checksum(record), absl::kZeroPad8), " ", record, "\n");
}

using Fields = std::vector<absl::string_view>;

std::string ProcessRecord(absl::string_view role, const JournalProcess& process) {
  return absl::StrCat(role, " ", process.pid, " ", process.start_time);
}

std::string CreatedRecord(const std::string& id, pid_t pid, uint64_t start_time) {
  return absl::StrCat("created ", id, " ", pid, " ", start_time);
}

std::string StartedRecord(const std::string& id, int64_t started_at_ns) {
  return absl::StrCat("started ", id, " ", started_at_ns);
}

std::string ExitedRecord(const std::string& id, const proto::ExitRecord& exit) {
  return absl::StrCat("exited ", id, " ", exit.exit_code(), " ", exit.finished_at_ns(), " ",
                      exit.oom_killed() ? 1 : 0, " ", exit.log_incomplete() ? 1 : 0);
}

bool ApplyProcess(const Fields& fields, JournalContents* contents) {
  JournalProcess process;
  if (fields.size() != 3 || !absl::SimpleAtoi(fields[1], &process.pid) ||
      !absl::SimpleAtoi(fields[2], &process.start_time)) {
    return false;
  }
  if (fields[0] == "shim") contents->shim = process;
  if (fields[0] == "init") contents->init = process;
  if (fields[0] == "pump") contents->pump = process;
  return true;
}

bool ApplyCreated(const Fields& fields, JournalContents* contents) {
  int32_t pid = 0;
  uint64_t start = 0;
  if (fields.size() != 4 || !absl::SimpleAtoi(fields[2], &pid) ||
      !absl::SimpleAtoi(fields[3], &start)) {
    return false;
  }
  proto::ContainerState& state = contents->containers[std::string(fields[1])];
  state.Clear();
  state.set_container_id(std::string(fields[1]));
  state.set_phase(proto::PHASE_CREATED);
  state.set_pid(pid);
  state.set_pid_start_time(start);
  return true;
}

bool ApplyExited(const Fields& fields, proto::ContainerState* state) {
  int32_t code = 0;
  int64_t finished = 0;
  if (fields.size() != 6 || !absl::SimpleAtoi(fields[2], &code) ||
      !absl::SimpleAtoi(fields[3], &finished)) {
    return false;
  }
  state->set_phase(proto::PHASE_EXITED);
  state->mutable_exit()->set_exit_code(code);
  state->mutable_exit()->set_finished_at_ns(finished);
  state->mutable_exit()->set_oom_killed(fields[4] == "1");
  state->mutable_exit()->set_log_incomplete(fields[5] == "1");
  return true;
}

bool ApplyRecord(absl::string_view record, JournalContents* contents) {
  const Fields fields = absl::StrSplit(record, ' ');
  const absl::string_view verb = fields[0];
  if (verb == "shim" || verb == "init" || verb == "pump") return ApplyProcess(fields, contents);
  if (verb == "created") return ApplyCreated(fields, contents);
  if (fields.size() < 2) return false;
  auto it = contents->containers.find(std::string(fields[1]));
  // Where there was no room for its beginning: what is said of it later is read, and kept by
  // nobody.
  proto::ContainerState unknown;
  proto::ContainerState& state = it == contents->containers.end() ? unknown : it->second;
  if (verb == "deleted") {
    if (it != contents->containers.end()) contents->containers.erase(it);
    return true;
  }
  if (verb == "exited") return ApplyExited(fields, &state);
  int64_t started = 0;
  if (verb != "started" || fields.size() != 3 || !absl::SimpleAtoi(fields[2], &started)) {
    return false;
  }
  state.set_phase(proto::PHASE_RUNNING);
  state.set_started_at_ns(started);
  return true;
}

// Applies the good lines; returns the length of the good prefix.
size_t Apply(absl::string_view text, JournalContents* contents) {
  size_t good = 0;
  while (good < text.size()) {
    const size_t end = text.find('\n', good);
    if (end == absl::string_view::npos) break;
    const absl::string_view line = text.substr(good, end - good);
    if (line.size() < 10) break;
    const absl::string_view record = line.substr(9);
    if (Line(record) != absl::StrCat(line, "\n") || !ApplyRecord(record, contents)) break;
    good = end + 1;
  }
  return good;
}

std::string Serialize(const JournalContents& contents) {
  std::string text;
  for (const auto& [role, process] :
       {std::pair("shim", &contents.shim), std::pair("init", &contents.init),
        std::pair("pump", &contents.pump)}) {
    if (process->pid > 0) text += Line(ProcessRecord(role, *process));
  }
  for (const auto& [id, state] : contents.containers) {
    text += Line(CreatedRecord(id, state.pid(), state.pid_start_time()));
    if (state.started_at_ns() != 0) text += Line(StartedRecord(id, state.started_at_ns()));
    if (state.has_exit()) text += Line(ExitedRecord(id, state.exit()));
  }
  return text;
}

std::string PathIn(const std::string& directory) { return absl::StrCat(directory, "/journal"); }

StatusOr<std::string> ReadText(const std::string& directory) {
  auto text = ReadFileAt(AT_FDCWD, PathIn(directory), kMaxJournal);
  if (!text.ok() && ErrnoOf(text.status()) == ENOENT) return std::string();
  return text;
}

}  // namespace

StatusOr<JournalContents> ReadJournal(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(directory));
  JournalContents contents;
  Apply(text, &contents);
  return contents;
}

StatusOr<Journal> Journal::Open(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(directory));
  JournalContents contents;
  Journal journal;
  journal.directory_ = directory;
  journal.size_ = Apply(text, &contents);
  journal.compact_at_ = std::max(kCompactAt, 2 * journal.size_);
  const std::string path = PathIn(directory);
  ASSIGN_OR_RETURN(journal.file_,
                   OpenAt(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600));
  if (journal.size_ < text.size() &&
      ftruncate(journal.file_.get(), static_cast<off_t>(journal.size_)) != 0) {
    return SyscallError("ftruncate", path);
  }
  return journal;
}

void Journal::Append(const std::string& record) {
  const std::string line = Line(record);
  if (const Status written = WriteAll(file_.get(), line, "journal"); !written.ok()) {
    Log(LogLevel::kWarning, "journal record lost",
        {{"record", record}, {"error", std::string(written.message())}});
    // Half a line would hide all that follows.
    if (ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) return;
    return;
  }
  size_ += line.size();
  if (size_ > compact_at_) Compact();
}

void Journal::Compact() {
  const std::string path = PathIn(directory_);
  const std::string fresh = absl::StrCat(path, ".new");
  auto contents = ReadJournal(directory_);
  compact_at_ = 2 * size_;  // whatever happens, not again with every record
  if (!contents.ok()) return;
  const std::string text = Serialize(*contents);
  if (!CreateFileAt(AT_FDCWD, fresh, text, 0600).ok()) return;
  auto file = OpenAt(AT_FDCWD, fresh, O_WRONLY | O_APPEND);
  if (!file.ok() || rename(fresh.c_str(), path.c_str()) != 0) return;
  file_ = *std::move(file);
  size_ = text.size();
  compact_at_ = std::max(kCompactAt, 2 * size_);
}

void Journal::Process(absl::string_view role, pid_t pid) {
  const StatusOr<uint64_t> start = ProcessStartTime(pid);
  Append(ProcessRecord(role, {.pid = pid, .start_time = start.ok() ? *start : 0}));
}

void Journal::Created(const std::string& id, pid_t pid, uint64_t start_time) {
  Append(CreatedRecord(id, pid, start_time));
}

void Journal::Started(const std::string& id, int64_t started_at_ns) {
  Append(StartedRecord(id, started_at_ns));
}

void Journal::Exited(const std::string& id, const proto::ExitRecord& exit) {
  Append(ExitedRecord(id, exit));
}

void Journal::Deleted(const std::string& id) { Append(absl::StrCat("deleted ", id)); }

}  // namespace gantry::shim
