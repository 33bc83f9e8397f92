// gantry-unpacker as gantryd runs it: a ring that is fed here, a staging directory, an answer.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#define JSON_NO_IO
#include <nlohmann/json.hpp>

#include "imageservice/blob_ring.h"
#include "imageservice/erofs_verify.h"
#include "imageservice/tar_archive.h"
#include "imageservice/tar_recipe.h"
#include "imageservice/tree_walk.h"
#include "runtime/base/json.h"
#include "runtime/linux/spawn.h"

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

std::string Gzip(const std::string& text) {
  z_stream z = {};
  deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string Binary() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "gantry-unpacker";
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

class UnpackerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    char dir[] = "/tmp/gantry-unpacker-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    staging_ = dir;
  }
  void TearDown() override {
    if (process_.pidfd.valid()) {
      kill(process_.pid, SIGKILL);
      waitpid(process_.pid, nullptr, 0);
    }
    writer_.reset();
    if (!staging_.empty()) std::filesystem::remove_all(staging_);
  }

  // The files that gantryd would give it.
  UniqueFd New(const char* name) {
    return UniqueFd(
        open((staging_ + "/" + name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  }
  // The program; descriptor 3 is the other end of control_.
  void Launch(const std::string& mode, const std::vector<InheritedFd>& fds) {
    int control[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    control_.Reset(control[0]);
    const UniqueFd theirs(control[1]);
    SpawnRequest request;
    request.path = Binary();
    request.args = {"gantry-unpacker", mode};
    request.fds = {{0, 0}, {1, 1}, {2, 2}, {theirs.get(), 3}};
    request.fds.insert(request.fds.end(), fds.begin(), fds.end());
    auto process = Spawn(request);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
  }
  void Start(const std::string& form = "directory") {
    auto ring = MakeBlobRing();
    ASSERT_TRUE(ring.ok());
    const UniqueFd staging(open(staging_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::vector<InheritedFd> fds = {{ring->reader_memory.get(), 4}, {ring->reader_socket.get(), 5}};
    if (form == "erofs") {
      data_ = New("data");
      meta_ = New("meta");
      recipe_ = New("recipe");
      fds.insert(fds.end(), {{data_.get(), 6}, {meta_.get(), 7}, {recipe_.get(), 8}});
    } else {
      fds.push_back({staging.get(), 6});
    }
    ASSERT_NO_FATAL_FAILURE(Launch(form, fds));
    auto writer =
        BlobRingWriter::Open(std::move(ring->writer_memory), std::move(ring->writer_socket));
    ASSERT_TRUE(writer.ok());
    writer_.emplace(*std::move(writer));
  }
  void Clean() const {
    for (const auto& left : std::filesystem::directory_iterator(staging_))
      std::filesystem::remove_all(left.path());
  }
  // Errors of writing are the unpacker's refusal, seen in its answer.
  void Feed(const std::string& blob) { (void)writer_->Write({blob.data(), blob.size()}); }

  nlohmann::json Answer() {
    pollfd waiting = {control_.get(), POLLIN, 0};
    EXPECT_EQ(poll(&waiting, 1, 60'000), 1) << "no answer";
    std::array<char, 16 << 10> buffer;
    const ssize_t n = recv(control_.get(), buffer.data(), buffer.size(), 0);
    EXPECT_GT(n, 0);
    int status = 0;
    waitpid(process_.pid, &status, 0);
    process_.pidfd.Reset();
    auto json = ParseJson({buffer.data(), static_cast<size_t>(std::max<ssize_t>(n, 0))});
    EXPECT_TRUE(json.ok()) << json.status();
    if (!json.ok()) return {};
    EXPECT_EQ(WEXITSTATUS(status), (*json)["ok"] == true ? 0 : 1);
    return *json;
  }
  nlohmann::json Unpack(const std::string& blob, const std::string& form = "directory") {
    Start(form);
    Feed(blob);
    (void)writer_->Finish();
    return Answer();
  }

  std::string staging_;
  UniqueFd control_, data_, meta_, recipe_;
  ClonedProcess process_;
  std::optional<BlobRingWriter> writer_;
};

TEST_F(UnpackerTest, WritesALayerAndSaysWhatItIs) {
  const std::string big(9 << 20, 'b');
  const std::string tar = TarArchive()
                              .Directory("d", 0750)
                              .File("d/f", "hello", 04755)
                              .Symlink("l", "/etc")
                              .HardLink("h", "d/f")
                              .File("d/.wh.gone", "")
                              .File("o/.wh..wh..opq", "")
                              .Add({.name = "null", .type = '3', .major = 1, .minor = 3})
                              .File("big", big)
                              .Finish();
  nlohmann::json answer = Unpack(Gzip(tar));
  ASSERT_EQ(answer["ok"], true) << answer.dump();
  std::ofstream(staging_ + "/tar", std::ios::binary) << tar;
  std::array<char, 64> sum;
  FILE* pipe = popen(("sha256sum " + staging_ + "/tar").c_str(), "re");
  ASSERT_EQ(fread(sum.data(), 1, sum.size(), pipe), sum.size());
  pclose(pipe);
  EXPECT_EQ(answer["diff_id"], "sha256:" + std::string(sum.data(), sum.size()));
  EXPECT_EQ(ReadFile(staging_ + "/fs/d/f"), "hello");
  EXPECT_EQ(ReadFile(staging_ + "/fs/big"), big);
  EXPECT_EQ(ReadFile(staging_ + "/opaque"), std::string("o\0", 2));
  const auto usage = MeasureTree(staging_ + "/fs");
  EXPECT_GT(usage->bytes, big.size());

  // The same as EROFS, with the way back.
  answer = Unpack(Gzip(tar), "erofs");
  ASSERT_EQ(answer["ok"], true) << answer.dump();
  EXPECT_EQ(answer["diff_id"], "sha256:" + std::string(sum.data(), sum.size()));
  struct stat st;
  ASSERT_EQ(fstat(data_.get(), &st), 0);
  const auto verified = VerifyErofs(meta_.get(), static_cast<uint64_t>(st.st_size));
  EXPECT_TRUE(verified.ok()) << verified.status();
  std::string again;
  const Status rebuilt =
      RebuildTar({.data = data_.get()}, recipe_.get(), 1 << 30, [&](absl::string_view b) {
        again.append(b.data(), b.size());
        return absl::OkStatus();
      });
  EXPECT_TRUE(rebuilt.ok()) << rebuilt;
  EXPECT_TRUE(again == tar);
}

// The way back from a tree, of which somebody else has written the recipe.
class TreePackerTest : public UnpackerTest {
 protected:
  void SetUp() override {
    UnpackerTest::SetUp();
    if (IsSkipped()) return;
    const std::string tree = staging_ + "/fs";
    std::filesystem::create_directories(tree + "/d");
    std::ofstream(staging_ + "/secret") << "secret";
    std::ofstream(tree + "/d/f") << "content";
    ASSERT_EQ(chmod((tree + "/d/f").c_str(), 0), 0);
    ASSERT_EQ(chown((tree + "/d/f").c_str(), 4321, 4321), 0);
    std::filesystem::create_symlink("/secret", tree + "/absolute");
    std::filesystem::create_symlink("../secret", tree + "/up");
    std::filesystem::create_symlink("d", tree + "/within");
    ASSERT_EQ(mkfifo((tree + "/fifo").c_str(), 0600), 0);
    ASSERT_EQ(mknod((tree + "/zero").c_str(), S_IFCHR | 0600, makedev(1, 5)), 0);
  }

  // A recipe of one file's first bytes.
  struct OneFile : LayerConsumer {
    explicit OneFile(std::string path) : file(std::move(path)) {}
    Status OnEntry(const TarEntry&) override { return absl::OkStatus(); }
    Status OnData(uint64_t, absl::string_view) override { return absl::OkStatus(); }
    Status OnEntryEnd() override { return absl::OkStatus(); }
    std::optional<ContentPlace> Place() const override { return ContentPlace{file, 0}; }
    std::string file;
  };
  void StartPacker(const std::string& path) {
    recipe_ = New("recipe");
    OneFile place(path);
    auto recipe = TarRecipeWriter::Create(recipe_.get(), &place);
    ASSERT_TRUE(recipe.ok() && (*recipe)->OnEntry({}).ok());
    ASSERT_TRUE((*recipe)->OnData(0, "content").ok() && (*recipe)->Finish().ok());
    auto ring = MakeBlobRing();
    ASSERT_TRUE(ring.ok());
    const UniqueFd tree(open((staging_ + "/fs").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_NO_FATAL_FAILURE(Launch("tree-tar", {{ring->writer_memory.get(), 4},
                                                {ring->writer_socket.get(), 5},
                                                {tree.get(), 6},
                                                {recipe_.get(), 7}}));
    auto reader =
        BlobRingReader::Open(std::move(ring->reader_memory), std::move(ring->reader_socket));
    ASSERT_TRUE(reader.ok());
    reader_.emplace(*std::move(reader));
  }
  // What comes until the end, whatever the end is.
  std::string Read() {
    std::string text;
    for (auto bytes = reader_->Next(); bytes.ok() && !bytes->empty(); bytes = reader_->Next())
      text.append(bytes->data(), bytes->size());
    return text;
  }

  std::optional<BlobRingReader> reader_;
};

TEST_F(TreePackerTest, ReadsFilesOfAnybody) {
  StartPacker("d/f");
  EXPECT_EQ(Read(), "content");
  EXPECT_EQ(Answer()["ok"], true);
}

TEST_F(TreePackerTest, ReadsNothingButFilesOfTheTree) {
  for (const char* path : {"", ".", "d", "nothing", "../secret", "d/../../secret", "/secret",
                           "absolute", "up", "within/f", "fifo", "zero", "d/f/"}) {
    StartPacker(path);
    EXPECT_EQ(Read(), "") << path;
    const nlohmann::json answer = Answer();
    EXPECT_EQ(answer.value("code", "none"), "data_loss") << path << answer.dump();
  }
}

// /proc/PID/status of one that waits for the rest of a blob: confined by the time it has read
// something.
std::string StatusOnceConfined(const std::string& proc) {
  std::string status;
  for (int i = 0; i < 6000 && status.find("Seccomp:\t2") == std::string::npos; ++i) {
    status = ReadFile(proc + "/status");
    pollfd nothing = {-1, 0, 0};
    poll(&nothing, 1, 10);
  }
  return status;
}

TEST_F(UnpackerTest, OfFilesIsNobodyAndSeesNothing) {
  Start("erofs");
  Feed(Gzip(TarArchive().File("first", "x").Finish()).substr(0, 20));
  const std::string proc = "/proc/" + std::to_string(process_.pid);
  const std::string status = StatusOnceConfined(proc);
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("Uid:\t65534\t65534\t65534\t65534"));
  EXPECT_THAT(status, HasSubstr("Gid:\t65534\t65534\t65534\t65534"));
  EXPECT_THAT(ReadFile(proc + "/limits"), HasSubstr("Max core file size        0"));
  std::vector<std::string> open;
  for (const auto& fd : std::filesystem::directory_iterator(proc + "/fd"))
    open.push_back(fd.path().filename());
  // 4, the ring's memory, is mapped.
  EXPECT_THAT(open, testing::UnorderedElementsAre("0", "1", "2", "3", "5", "6", "7", "8"));
}

TEST_F(UnpackerTest, OfATreeIsConfinedBeforeTheFirstByte) {
  Start();
  Feed(Gzip(TarArchive().File("first", "x").Finish()).substr(0, 20));
  const std::string proc = "/proc/" + std::to_string(process_.pid);
  const std::string status = StatusOnceConfined(proc);
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status, HasSubstr("CapEff:\t000000008800001b"));
  EXPECT_THAT(status, HasSubstr("CapPrm:\t000000008800001b"));
  EXPECT_EQ(std::filesystem::read_symlink(proc + "/root"), staging_);
  EXPECT_EQ(std::filesystem::read_symlink(proc + "/cwd"), staging_);
  EXPECT_THAT(ReadFile(proc + "/limits"), HasSubstr("Max core file size        0"));
}

TEST_F(UnpackerTest, NeverFinishesWithoutTheWritersWord) {
  Start();
  Feed(TarArchive().File("f", "x").Finish());
  writer_.reset();  // the puller died after the last byte
  nlohmann::json answer = Answer();
  EXPECT_EQ(answer["ok"], false);
  EXPECT_EQ(answer.value("code", "none"), "internal");
}

TEST_F(UnpackerTest, NamesWhatIsWrong) {
  const std::string good = TarArchive().File("f", std::string(100'000, 'x')).Finish();
  struct Case {
    std::string blob;
    const char *code, *error;
  };
  const Case cases[] = {
      {TarArchive().File("../f", "x").Finish(), "invalid_argument", "entry 1 \\\"../f\\\""},
      {TarArchive().Add({.name = "dev", .type = '3'}).Finish(), "invalid_argument", "0:0"},
      {good.substr(0, 50'000), "data_loss", "the archive ends in the middle"},
      {Gzip(good).substr(0, 100), "data_loss", "cut short"},
      {Gzip(std::string(200 << 20, '\0')), "resource_exhausted", "bomb"},
  };
  for (const Case& c : cases) {
    for (const char* form : {"directory", "erofs"}) {
      nlohmann::json answer = Unpack(c.blob, form);
      EXPECT_EQ(answer.value("code", "none"), c.code) << form << answer.dump();
      EXPECT_THAT(answer.dump(), HasSubstr(c.error)) << form;
      Clean();
    }
  }
}

TEST_F(UnpackerTest, ReportsAFullDisk) {
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount("tmpfs", staging_.c_str(), "tmpfs", 0, "size=8m"), 0);
  for (const char* form : {"directory", "erofs"}) {
    const std::string blob = TarArchive().File("f", std::string(9 << 20, 'x')).Finish();
    nlohmann::json answer = Unpack(blob, form);
    EXPECT_EQ(answer.value("code", "none"), "resource_exhausted") << form << answer.dump();
    EXPECT_THAT(answer.dump(), HasSubstr("No space left")) << form;
    Clean();
  }
  EXPECT_EQ(umount2(staging_.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace gantry::images
