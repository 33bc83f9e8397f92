#include "cri/metrics/cgroup_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::cri {
namespace {

using ::testing::IsEmpty;

TEST(ParseCount, TellsNoLimitFromANumberAndFromNothing) {
  EXPECT_EQ(ParseCount("4096\n"), 4096u);
  EXPECT_EQ(ParseCount("0\n"), 0u);
  EXPECT_EQ(ParseCount("max\n"), kNoLimit);
  EXPECT_EQ(ParseCount("9223372036854771712\n"), kNoLimit) << "no limit, as v1 writes it";
  for (const char* none : {"", "\n", "-1\n", "1 2\n", "x"})
    EXPECT_EQ(ParseCount(none), std::nullopt) << none;
}

TEST(ParseKeyedCounts, TakesWholeKeysAndLeavesTheRest) {
  std::optional<uint64_t> file, inactive, missing;
  ParseKeyedCounts("anon 1\nfile 22\nfile_mapped 3\ninactive_file 4\nslab x",
                   {{"file", &file}, {"inactive_file", &inactive}, {"slab", &missing}});
  EXPECT_EQ(file, 22u);
  EXPECT_EQ(inactive, 4u);
  EXPECT_EQ(missing, std::nullopt);
}

TEST(ParsePressure, ReadsBothLines) {
  const auto pressure = ParsePressure(
      "some avg10=1.50 avg60=0.25 avg300=0.07 total=42959582\n"
      "full avg10=0.00 avg60=0.00 avg300=0.01 total=7\n");
  ASSERT_TRUE(pressure);
  EXPECT_DOUBLE_EQ(pressure->some.avg10, 1.5);
  EXPECT_DOUBLE_EQ(pressure->some.avg60, 0.25);
  EXPECT_DOUBLE_EQ(pressure->some.avg300, 0.07);
  EXPECT_EQ(pressure->some.total_us, 42959582u);
  EXPECT_DOUBLE_EQ(pressure->full.avg300, 0.01);
  EXPECT_EQ(pressure->full.total_us, 7u);
}

TEST(ParsePressure, KnowsThatOldKernelsHaveNoFullLineForCpus) {
  const auto pressure = ParsePressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n");
  ASSERT_TRUE(pressure);
  EXPECT_EQ(pressure->some.total_us, 9u);
  EXPECT_EQ(pressure->full.total_us, 0u);
  EXPECT_FALSE(ParsePressure("")) << "a kernel without PSI";
}

TEST(ParseIoStat, ReadsTheLinesOfV2) {
  const auto devices = ParseIoStat(
      "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n"
      "253:0 \n");
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].major, 8u);
  EXPECT_EQ(devices[0].minor, 16u);
  EXPECT_EQ(devices[0].read_bytes, 1459200u);
  EXPECT_EQ(devices[0].write_bytes, 314773504u);
  EXPECT_EQ(devices[0].reads, 192u);
  EXPECT_EQ(devices[0].writes, 353u);
  EXPECT_EQ(devices[1].major, 253u);
  EXPECT_EQ(devices[1].read_bytes, 0u);
}

TEST(ParseBlkio, JoinsTheTwoFilesOfV1) {
  const auto devices = ParseBlkio(
      "254:0 Read 100\n254:0 Write 4096\n254:0 Sync 4096\n254:0 Total 4196\nTotal 4196\n",
      "254:0 Read 2\n254:0 Write 1\n7:1 Write 5\nTotal 8\n");
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].read_bytes, 100u);
  EXPECT_EQ(devices[0].write_bytes, 4096u);
  EXPECT_EQ(devices[0].reads, 2u);
  EXPECT_EQ(devices[0].writes, 1u);
  EXPECT_EQ(devices[1].major, 7u);
  EXPECT_EQ(devices[1].writes, 5u);
  EXPECT_THAT(ParseBlkio("Total 0\n", "Total 0\n"), IsEmpty());
}

constexpr char kNetDev[] =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
    "fifo colls carrier compressed\n"
    "    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0  "
    " "
    " 0     0       0          0\n"
    "  eth0:1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n"
    "  bad0: 1 2 3\n";

TEST(ParseNetDev, LeavesOutTheLoopback) {
  const auto interfaces = ParseNetDev(kNetDev);
  ASSERT_EQ(interfaces.size(), 1u);
  EXPECT_EQ(interfaces[0].name, "eth0");
  EXPECT_EQ(interfaces[0].rx_bytes, 1000u);
  EXPECT_EQ(interfaces[0].rx_packets, 10u);
  EXPECT_EQ(interfaces[0].rx_errors, 1u);
  EXPECT_EQ(interfaces[0].rx_dropped, 2u);
  EXPECT_EQ(interfaces[0].tx_bytes, 2000u);
  EXPECT_EQ(interfaces[0].tx_packets, 20u);
  EXPECT_EQ(interfaces[0].tx_errors, 3u);
  EXPECT_EQ(interfaces[0].tx_dropped, 4u);
}

}  // namespace
}  // namespace gantry::cri
