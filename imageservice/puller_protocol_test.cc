#include "imageservice/puller_protocol.h"

#include <sys/socket.h>

#include <string>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "runtime/linux/unix_socket.h"

namespace gantry::images {
namespace {

using ::testing::ElementsAre;

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(PullerProtocol, OrdersSurviveTheWay) {
  PullTask task;
  task.reference = "docker.io/library/busybox:1";
  task.credentials = {"u", "p", "a", "s", "i", "r"};
  task.registry_config_path = "/etc/x";
  task.auth_files = "/etc/a:/etc/b";
  task.environment = {"http_proxy=http://p:1", "PATH=/bin"};
  task.stall_timeout_ms = 7;
  task.hosts = {{"http://h:80", 1, std::chrono::milliseconds(5), "why"}};
  const auto pull = DecodeOrder(EncodeOrder(task));
  ASSERT_TRUE(pull.ok()) << pull.status();
  const auto& read = std::get<PullTask>(*pull);
  EXPECT_EQ(read.reference, task.reference);
  EXPECT_EQ(read.credentials.registry_token, "r");
  EXPECT_EQ(read.credentials.server_address, "s");
  EXPECT_EQ(read.auth_files, task.auth_files);
  EXPECT_EQ(read.environment, task.environment);
  EXPECT_EQ(read.stall_timeout_ms, 7u);
  EXPECT_EQ(read.hosts.at(0).reason, "why");
  const auto explain = DecodeOrder(EncodeOrder(ExplainTask{task}));
  EXPECT_EQ(std::get<ExplainTask>(*explain).pull.environment, task.environment);
  EXPECT_EQ(std::get<ImportTask>(*DecodeOrder(EncodeOrder(ImportTask{"n"}))).name, "n");
  EXPECT_EQ(std::get<FetchLayer>(*DecodeOrder(EncodeOrder(FetchLayer{kDigest, true}))).digest,
            kDigest);
  EXPECT_TRUE(std::holds_alternative<EndOfLayers>(*DecodeOrder(EncodeOrder(EndOfLayers{}))));
}

TEST(PullerProtocol, ReportsSurviveTheWay) {
  FoundImage image;
  image.id = kDigest;
  image.repo_tags = {"docker.io/library/a:1"};
  image.repo_digests = {"docker.io/library/a@" + kDigest};
  image.config.cmd = {"/bin/sh", "bytes \xff that are not UTF-8"};
  image.config.labels = {{"k", "v"}};
  image.config_size = 5;
  image.documents = {"{\"a\":\"\\u00e4\"}\n", "{}"};
  image.layers = {{kDigest, 9, kDigest}};
  const auto report = DecodeReport(EncodeReport(ImagesFound{{image}}));
  ASSERT_TRUE(report.ok()) << report.status();
  const FoundImage& read = std::get<ImagesFound>(*report).images.at(0);
  EXPECT_EQ(read.repo_tags, image.repo_tags);
  EXPECT_EQ(read.config.cmd[0], "/bin/sh");
  EXPECT_EQ(read.config.labels, image.config.labels);
  EXPECT_EQ(read.layers.at(0).size, 9u);
  const auto ended =
      DecodeReport(EncodeReport(LayerEnded{kDigest, absl::DataLossError("why"), true}));
  EXPECT_EQ(std::get<LayerEnded>(*ended).status, absl::DataLossError("why"));
  EXPECT_TRUE(std::get<LayerEnded>(*ended).again);
  const HostReport host = {"http://h:80", 3, std::chrono::milliseconds(7), "no answer"};
  const auto seen = DecodeReport(EncodeReport(HostsSeen{{host}}));
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(std::get<HostsSeen>(*seen).hosts.at(0).origin, host.origin);
  EXPECT_EQ(std::get<HostsSeen>(*seen).hosts.at(0).open_for, host.open_for);
  EXPECT_TRUE(
      std::get<TaskEnded>(*DecodeReport(EncodeReport(TaskEnded{absl::OkStatus()}))).status.ok());
  EXPECT_EQ(
      std::get<LayerProgressed>(*DecodeReport(EncodeReport(LayerProgressed{kDigest, 3}))).done, 3u);
}

TEST(PullerProtocol, AConqueredPullerCannotSendPathsForDigestsOrNames) {
  const std::string id = R"("id":")" + kDigest + "\"";
  for (const std::string& text : {
           std::string("{}"),
           std::string("[]"),
           std::string("x"),
           std::string(R"({"type":"fly"})"),
           std::string(R"({"type":"layer","digest":"sha256:../../x"})"),
           std::string(R"({"type":"progress","digest":"","done":1})"),
           R"({"type":"hosts","hosts":[{"origin":")" + std::string(1000, 'h') + R"("}]})",
           std::string(R"({"type":"images","images":[{"id":"../x"}]})"),
           R"({"type":"images","images":[{)" + id + R"(,"repo_tags":["../../x"]}]})",
           R"({"type":"images","images":[{)" + id + R"(,"repo_digests":["a b"]}]})",
           R"({"type":"images","images":[{)" + id + R"(,"layers":[{"digest":")" + kDigest +
               R"(","diff_id":"x"}]}]})",
           R"({"type":"images","images":[{)" + id + R"(,"layers":[{"digest":")" + kDigest +
               R"(","diff_id":")" + kDigest + R"(","size":-1}]}]})",
       }) {
    EXPECT_FALSE(DecodeReport(text).ok()) << text;
  }
  const auto odd = DecodeReport(R"({"type":"ended","status":{"code":99,"message":"m"}})");
  EXPECT_EQ(std::get<TaskEnded>(*odd).status.code(), absl::StatusCode::kInternal);
}

TEST(PullerChannel, FramesOfAnySizeArriveWholeAndDescriptorsInOrder) {
  auto ends = SocketPair(SOCK_STREAM);
  ASSERT_TRUE(ends.ok());
  PullerChannel sender(std::move(ends->first)), receiver(std::move(ends->second));
  auto one = SocketPair(SOCK_STREAM), two = SocketPair(SOCK_STREAM);
  const std::string big(3'000'000, 'x');
  std::thread sending([&] {
    const int first[] = {one->first.get(), one->second.get()};
    const int second[] = {two->first.get()};
    EXPECT_TRUE(sender.Send("a", {}, true).ok());
    EXPECT_TRUE(sender.Send("b", first, true).ok());
    EXPECT_TRUE(sender.Send(big, {}, true).ok());
    EXPECT_TRUE(sender.Send("c", second, true).ok());
  });
  std::vector<size_t> sizes;
  for (int i = 0; i < 4; ++i) sizes.push_back((*receiver.Receive(true))->size());
  sending.join();
  EXPECT_THAT(sizes, ElementsAre(1, 1, big.size(), 1));
  EXPECT_EQ(receiver.TakeFds(2)->size(), 2u);
  EXPECT_EQ(receiver.TakeFds(1)->size(), 1u);
  EXPECT_FALSE(receiver.TakeFds(1).ok());
  EXPECT_FALSE((*receiver.Receive(false)).has_value());
}

TEST(PullerChannel, APeerThatHasGoneDoesNotReadOrSendsNonsenseIsAnError) {
  auto ends = SocketPair(SOCK_STREAM);
  ASSERT_TRUE(ends.ok());
  PullerChannel ours(std::move(ends->first));
  EXPECT_EQ(ours.Send(std::string(8 << 20, 'x'), {}, false).code(), absl::StatusCode::kUnavailable)
      << "full";
  const uint32_t length = 0xffffffff;
  ASSERT_EQ(send(ends->second.get(), &length, sizeof(length), 0), 4);
  EXPECT_EQ(ours.Receive(true).status().code(), absl::StatusCode::kInvalidArgument);
  auto closed = SocketPair(SOCK_STREAM);
  PullerChannel alone(std::move(closed->first));
  closed->second.Reset();
  EXPECT_EQ(alone.Receive(true).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(alone.Send("x", {}, true).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace gantry::images
