// The parts of the command line that turn text into text: sizes, tables, options, logs, progress.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cri/cli/format.h"
#include "cri/cli/log_reader.h"
#include "cri/cli/progress.h"
#include "cri/cli/run_config.h"

namespace gantry::cli {
namespace {

namespace api = ::runtime::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Format, SizesAndDurationsAreShort) {
  EXPECT_EQ(HumanSize(0), "0 B");
  EXPECT_EQ(HumanSize(999), "999 B");
  EXPECT_EQ(HumanSize(1000), "1.0 kB");
  EXPECT_EQ(HumanSize(999'990), "1.0 MB");
  EXPECT_EQ(HumanSize(12'345'678), "12.3 MB");
  EXPECT_EQ(HumanSize(UINT64_MAX), "18446744.1 TB");
  EXPECT_EQ(HumanDuration(absl::Seconds(59)), "59s");
  EXPECT_EQ(HumanDuration(absl::Minutes(61)), "1h");
  EXPECT_EQ(HumanDuration(absl::Hours(50)), "2d");
  EXPECT_EQ(HumanDuration(-absl::Hours(1)), "0s");
  EXPECT_EQ(ShortId("sha256:0123456789abcdef"), "0123456789ab");
}

TEST(Format, BytesAreReadAsDockerHasThem) {
  EXPECT_EQ(*ParseBytes("512"), 512);
  EXPECT_EQ(*ParseBytes("10k"), 10240);
  EXPECT_EQ(*ParseBytes("1.5M"), 1572864);
  EXPECT_EQ(*ParseBytes("2gb"), 2147483648);
  for (const char* bad : {"", "b", "lots", "-1", "1t", "1 g", "9e30g", "nan", "inf"}) {
    EXPECT_EQ(ParseBytes(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(Format, TableAlignsAndTerminalsAreSafe) {
  EXPECT_EQ(Table({{"A", "LONG"}, {"abc", "x"}}), "A    LONG\nabc  x\n");
  EXPECT_EQ(Printable("a\x1b[2Jb\n"), "a?[2Jb?");
}

StatusOr<RunPlan> PlanOf(const RunOptions& options) {
  return PlanRun(options, {"box", "run-0123456789abcdef", "/logs"});
}

std::string ErrorOf(const RunOptions& options) {
  return std::string(PlanOf(options).status().message());
}

TEST(RunConfig, DefaultsAreAPodOfItsOwnUnderTheDefaultProfile) {
  RunOptions options;
  options.image = "busybox";
  options.command = {"echo", "hi"};
  const StatusOr<RunPlan> plan = PlanOf(options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->sandbox.metadata().name(), "box");
  EXPECT_EQ(plan->sandbox.metadata().namespace_(), kRunNamespace);
  EXPECT_EQ(plan->sandbox.hostname(), "box");
  EXPECT_EQ(plan->sandbox.log_directory(), "/logs");
  EXPECT_EQ(plan->container.log_path(), kLogFile);
  EXPECT_THAT(plan->container.args(), ElementsAre("echo", "hi"));
  EXPECT_THAT(plan->container.command(), IsEmpty());
  const auto& security = plan->container.linux().security_context();
  EXPECT_EQ(security.namespace_options().network(), api::POD);
  EXPECT_TRUE(security.has_seccomp());
  EXPECT_GT(security.masked_paths_size(), 5);
  EXPECT_FALSE(security.privileged());
}

TEST(RunConfig, EveryOptionHasItsPlace) {
  setenv("GANTRY_TEST_ENV", "inherited", 1);
  RunOptions options;
  options.image = "busybox";
  options.entrypoint = "/bin/sh";
  options.network = "host";
  options.mounts = {"type=bind,source=/a,target=/b,readonly,propagation=rslave"};
  options.volumes = {"/c:/d:ro", "/e:/f"};
  options.envs = {"A=b=c", "GANTRY_TEST_ENV", "GANTRY_TEST_UNSET"};
  options.user = "1000:2000";
  options.memory = "1m";
  options.cpus = 1.5;
  options.add_capabilities = {"NET_ADMIN"};
  options.drop_capabilities = {"ALL"};
  options.privileged = true;
  const StatusOr<RunPlan> plan = PlanOf(options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  const api::ContainerConfig& container = plan->container;
  EXPECT_THAT(container.command(), ElementsAre("/bin/sh"));
  ASSERT_EQ(container.mounts_size(), 3);
  EXPECT_EQ(container.mounts(0).host_path(), "/a");
  EXPECT_EQ(container.mounts(0).container_path(), "/b");
  EXPECT_TRUE(container.mounts(0).readonly());
  EXPECT_EQ(container.mounts(0).propagation(), api::PROPAGATION_HOST_TO_CONTAINER);
  EXPECT_TRUE(container.mounts(1).readonly());
  EXPECT_FALSE(container.mounts(2).readonly());
  ASSERT_EQ(container.envs_size(), 2);
  EXPECT_EQ(container.envs(0).value(), "b=c");
  EXPECT_EQ(container.envs(1).value(), "inherited");
  const auto& security = container.linux().security_context();
  EXPECT_EQ(security.run_as_user().value(), 1000);
  EXPECT_EQ(security.run_as_group().value(), 2000);
  EXPECT_EQ(security.namespace_options().network(), api::NODE);
  EXPECT_EQ(plan->sandbox.hostname(), "");  // the host's
  EXPECT_FALSE(security.has_seccomp());
  EXPECT_EQ(container.linux().resources().memory_limit_in_bytes(), 1 << 20);
  EXPECT_EQ(container.linux().resources().cpu_quota(), 150'000);
}

TEST(RunConfig, PortsAreReadFromTheRight) {
  RunOptions options;
  options.publish = {"8080:80", "127.0.0.1:53:5353/udp", "[::1]:1:2"};
  const StatusOr<RunPlan> plan = PlanOf(options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->sandbox.port_mappings_size(), 3);
  EXPECT_EQ(plan->sandbox.port_mappings(0).host_port(), 8080);
  EXPECT_EQ(plan->sandbox.port_mappings(0).container_port(), 80);
  EXPECT_EQ(plan->sandbox.port_mappings(1).host_ip(), "127.0.0.1");
  EXPECT_EQ(plan->sandbox.port_mappings(1).protocol(), api::UDP);
}

TEST(RunConfig, NoNetworkIsAnAnnotation) {
  RunOptions options;
  options.network = "none";
  const StatusOr<RunPlan> plan = PlanOf(options);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->sandbox.annotations().at("io.gantry/network"), "none");
}

TEST(RunConfig, BadOptionsAreNamed) {
  const auto with = [](auto set) {
    RunOptions options;
    set(options);
    return ErrorOf(options);
  };
  EXPECT_EQ(with([](RunOptions& o) { o.network = "bridge"; }),
            "--net \"bridge\": is none of pod, host, none");
  EXPECT_EQ(with([](RunOptions& o) { o.volumes = {"a:/b"}; }),
            "--volume \"a:/b\": the source must be an absolute path");
  EXPECT_THAT(with([](RunOptions& o) { o.volumes = {"/a"}; }), HasSubstr("write SOURCE:TARGET"));
  EXPECT_THAT(with([](RunOptions& o) { o.mounts = {"src=/a,dst=/b,shiny"}; }),
              HasSubstr("\"shiny\" is not known"));
  EXPECT_THAT(with([](RunOptions& o) { o.mounts = {"type=volume,dst=/b"}; }),
              HasSubstr("type=bind"));
  EXPECT_THAT(with([](RunOptions& o) { o.mounts = {"src=/a,dst=/b,propagation=x"}; }),
              HasSubstr("rslave"));
  EXPECT_THAT(with([](RunOptions& o) { o.user = "a:b"; }), HasSubstr("the group must be a number"));
  EXPECT_THAT(with([](RunOptions& o) { o.user = ":5"; }), HasSubstr("--user"));
  EXPECT_THAT(with([](RunOptions& o) { o.cpus = -1; }), HasSubstr("--cpus \"-1\""));
  EXPECT_THAT(with([](RunOptions& o) { o.envs = {"=x"}; }), HasSubstr("--env \"=x\""));
  EXPECT_THAT(with([](RunOptions& o) { o.publish = {"80"}; }), HasSubstr("--publish \"80\""));
  EXPECT_THAT(with([](RunOptions& o) { o.publish = {"99999:1"}; }), HasSubstr("--publish"));
  EXPECT_THAT(with([](RunOptions& o) { o.publish = {":1"}; }), HasSubstr("--publish"));
  EXPECT_THAT(with([](RunOptions& o) {
                o.publish = {"1:2"};
                o.network = "host";
              }),
              HasSubstr("needs --net pod"));
}

TEST(RunConfig, UidsAreTheirOwnAndNeverThoseOfTheKubelet) {
  EXPECT_TRUE(IsRunUid(NewRunUid()));
  EXPECT_NE(NewRunUid(), NewRunUid());
  for (const char* uid : {"", "run-", "run-../../../../etc", "8d4e7a0a-1b2c-4d3e-9f00-0123456789ab",
                          "run-0123456789abcde/", "run-0123456789abcdef0"}) {
    EXPECT_FALSE(IsRunUid(uid)) << uid;
  }
}

TEST(LogReader, ReadsTheFieldsOfALine) {
  const auto line = ParseLogLine("2026-01-01T00:00:00.1Z stderr P two  words");
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->timestamp, "2026-01-01T00:00:00.1Z");
  EXPECT_TRUE(line->is_stderr);
  EXPECT_TRUE(line->partial);
  EXPECT_EQ(line->content, "two  words");
  EXPECT_EQ(ParseLogLine("t stdout F ")->content, "");
  EXPECT_EQ(ParseLogLine("t stdout F")->content, "");
  EXPECT_FALSE(ParseLogLine("t stdout F:x y")->partial);
  for (const char* bad : {"", "t", "t stdout", "t stdin F x", "{\"log\":1}"}) {
    EXPECT_FALSE(ParseLogLine(bad).has_value()) << bad;
  }
}

class LogFileTest : public ::testing::Test {
 protected:
  LogFileTest() {
    folder_ = testing::TempDir() + "/gantry_log_XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    path_ = folder_ + "/c.log";
  }
  ~LogFileTest() override { std::filesystem::remove_all(folder_); }
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  static std::string ReadFrom(LogReader& reader) {
    std::string out;
    const Status status = reader.Read(
        [&](const LogLine& line) { absl::StrAppend(&out, line.content, line.partial ? "" : "|"); });
    return status.ok() ? out : std::string(status.message());
  }

  std::string folder_;
  std::string path_;
};

TEST_F(LogFileTest, FollowsAFileThatComesLateAndGrowsInHalfLines) {
  LogReader reader(path_);
  EXPECT_EQ(ReadFrom(reader), "");
  Append("t stdout F one\nt stdout P tw");
  EXPECT_EQ(ReadFrom(reader), "one|");
  Append("o \nt stdout F words\n");
  EXPECT_EQ(ReadFrom(reader), "two words|");
  EXPECT_EQ(ReadFrom(reader), "");
}

TEST_F(LogFileTest, FollowsOverARotationWithoutLosingTheEnd) {
  Append("t stdout F one\n");
  LogReader reader(path_);
  EXPECT_EQ(ReadFrom(reader), "one|");
  Append("t stdout F two\n");
  std::filesystem::rename(path_, path_ + ".1");
  Append("t stdout F three\n");
  EXPECT_EQ(ReadFrom(reader), "two|three|");
}

TEST_F(LogFileTest, TailIsTheLastLines) {
  std::string text;
  for (int i = 0; i < 30000; ++i) absl::StrAppend(&text, "t stdout F line", i, "\n");
  Append(text);
  for (const auto& [tail, expected] : std::vector<std::pair<size_t, std::string>>{
           {0, ""}, {1, "line29999|"}, {2, "line29998|line29999|"}}) {
    LogReader reader(path_, tail);
    EXPECT_EQ(ReadFrom(reader), expected) << tail;
  }
  LogReader all(path_, 50000);
  EXPECT_THAT(ReadFrom(all), ::testing::StartsWith("line0|line1|"));
  LogReader many(path_, 20000);
  EXPECT_THAT(ReadFrom(many), ::testing::StartsWith("line10000|"));
}

TEST_F(LogFileTest, FolderInPlaceOfTheLogIsAnError) {
  LogReader reader(folder_);
  EXPECT_THAT(ReadFrom(reader), HasSubstr("Is a directory"));
}

::gantry::v1::PullImageResponse Progress(const std::string& stage, uint64_t done, bool complete) {
  ::gantry::v1::PullImageResponse response;
  response.set_stage(stage);
  auto* layer = response.add_layers();
  layer->set_digest("sha256:aaaaaaaaaaaaaaaa");
  layer->set_total(10'000'000);
  layer->set_done(done);
  layer->set_complete(complete);
  auto* present = response.add_layers();
  present->set_digest("sha256:bbbbbbbbbbbbbbbb");
  present->set_total(5'000'000);
  present->set_already_here(true);
  return response;
}

TEST(Progress, TerminalShowsBarsRateAndTimeLeft) {
  const absl::Time start = absl::UnixEpoch();
  ProgressView view(80, start);
  EXPECT_THAT(view.Update(Progress("pulling", 0, false), start), HasSubstr("aaaaaaaaaaaa  [  "));
  const std::string later =
      view.Update(Progress("pulling", 5'000'000, false), start + absl::Seconds(2));
  EXPECT_THAT(later, HasSubstr("\x1b[3A"));
  EXPECT_THAT(later, HasSubstr("5.0 MB / 10.0 MB"));
  EXPECT_THAT(later, HasSubstr("2.5 MB/s  2s left"));
  EXPECT_THAT(later, HasSubstr("bbbbbbbbbbbb  already here"));
  const std::string end = view.Update(Progress("done", 10'000'000, true), start + absl::Seconds(4));
  EXPECT_THAT(end, HasSubstr("aaaaaaaaaaaa  done  10.0 MB"));
  EXPECT_EQ(view.Summary(start + absl::Seconds(4)),
            "10.0 MB in 4.0 s, 2.5 MB/s, 1 layer was here already");
}

TEST(Progress, LinesNeverPassTheTerminalsWidth) {
  ProgressView view(30, absl::UnixEpoch());
  std::string line;
  for (const char c : view.Update(Progress("pulling", 1, false), absl::UnixEpoch())) {
    line = c == '\n' ? "" : line + c;
    EXPECT_LE(line.size(), 30u + 5u);  // and the sequence that clears the line
  }
}

TEST(Progress, ElsewhereThereArePlainLinesAndFew) {
  const absl::Time start = absl::UnixEpoch();
  ProgressView view(0, start);
  std::string all;
  for (int i = 0; i < 100; ++i) {
    all += view.Update(Progress("pulling", 1000, false), start + i * absl::Milliseconds(100));
  }
  EXPECT_LE(std::count(all.begin(), all.end(), '\n'), 4);
  EXPECT_THAT(all, Not(HasSubstr("\x1b")));
  EXPECT_THAT(view.Update(Progress("done", 10'000'000, true), start + absl::Seconds(10)),
              HasSubstr("aaaaaaaaaaaa  done  10.0 MB\ndone"));
}

}  // namespace
}  // namespace gantry::cli
