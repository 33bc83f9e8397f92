// For tests: plays a gantry-unpacker that the bytes of its layer have conquered. Called as
//
//   testing_hostile_unpacker WHAT DIFFID erofs|directory
//
// with the descriptors of the real one. It reads the blob to its end, does WHAT, and says that all
// is well, with the diffID that it was told.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "imageservice/blob_ring.h"
#include "imageservice/erofs_writer.h"
#include "runtime/linux/file.h"

namespace gantry::images {
namespace {

constexpr int kControl = 3, kRingMemory = 4, kRingSocket = 5, kStaging = 6, kData = 6, kMeta = 7;

void Reply(const std::string& diff_id) {
  const std::string text = absl::StrCat(R"({"ok":true,"diff_id":")", diff_id, R"("})");
  (void)send(kControl, text.data(), text.size(), MSG_NOSIGNAL);
}

void WriteFileIn(const char* name, const std::string& text) {
  const UniqueFd file(openat(kStaging, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  (void)WriteAll(file.get(), text, name);
}

// A good image of a file that nobody packed.
void WriteAnotherLayer() {
  ErofsWriter writer(kData, kMeta, LayerWriterLimits());
  TarEntry entry;
  entry.name = "evil";
  entry.size = 4;
  (void)writer.OnEntry(entry);
  (void)writer.OnData(0, "evil");
  (void)writer.OnEntryEnd();
  (void)writer.Finish();
}

void Do(const std::string& what) {
  if (what == "garbage") (void)WriteAll(kMeta, std::string(100'000, 'g'), "meta");
  if (what == "nothing") return;
  if (what == "another") WriteAnotherLayer();
  if (what == "crash") raise(SIGSEGV);
  if (what == "link") (void)symlinkat("/etc", kStaging, "fs");
  if (what == "opaque") {
    (void)mkdirat(kStaging, "fs", 0755);
    WriteFileIn("opaque", std::string("../../..\0", 9));
  }
  if (what == "meta-link") {
    (void)mkdirat(kStaging, "fs", 0755);
    (void)symlinkat("/etc/passwd", kStaging, "meta");
  }
  if (what == "meta-pipe") {
    (void)mkdirat(kStaging, "fs", 0755);
    (void)mkfifoat(kStaging, "meta", 0600);
  }
  if (what == "record") {
    (void)mkdirat(kStaging, "fs", 0755);
    WriteFileIn("layer.json", R"({"version":1,"digest":"sha256:0"})");
  }
}

int Run(const std::string& what, const std::string& diff_id) {
  if (what == "early") {
    Reply(diff_id);
    return 0;
  }
  auto ring = BlobRingReader::Open(UniqueFd(kRingMemory), UniqueFd(kRingSocket));
  if (!ring.ok()) return 1;
  while (true) {
    const auto bytes = ring->Next();
    if (!bytes.ok()) return 1;
    if (bytes->empty()) break;
  }
  Do(what);
  Reply(diff_id);
  if (what == "stays") pause();
  return 0;
}

}  // namespace
}  // namespace gantry::images

int main(int argc, char** argv) { return argc == 4 ? gantry::images::Run(argv[1], argv[2]) : 2; }
