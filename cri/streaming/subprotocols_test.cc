#include "cri/streaming/subprotocols.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri::streaming {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Pair;

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Outcome {
  int code = 0;
  Subprotocol chosen;
  Headers headers;
};

Outcome Ask(SessionKind kind, const std::string& upgrade, const Headers& offers) {
  HttpRequest request;
  if (!upgrade.empty()) request.headers = {{"Connection", "Upgrade"}, {"Upgrade", upgrade}};
  request.headers.insert(request.headers.end(), offers.begin(), offers.end());
  Outcome outcome;
  if (const auto error = Negotiate(request, kind, &outcome.chosen)) {
    outcome.code = error->code;
    outcome.headers = error->headers;
  }
  return outcome;
}

TEST(Subprotocols, SpdyTakesTheFirstOfferThatIsKnown) {
  // As Go's clients offer them: a line each.
  const Headers offers = {{"X-Stream-Protocol-Version", "v5.channel.k8s.io"},
                          {"X-Stream-Protocol-Version", "v4.channel.k8s.io"},
                          {"X-Stream-Protocol-Version", "channel.k8s.io"}};
  const Outcome outcome = Ask(SessionKind::kExec, "SPDY/3.1", offers);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_FALSE(outcome.chosen.websocket);
  EXPECT_EQ(outcome.chosen.version, 4);
  EXPECT_THAT(SpdyResponse(outcome.chosen),
              HasSubstr("X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"));
  const Headers list = {{"x-stream-protocol-version", "v9, v2.channel.k8s.io,channel.k8s.io"}};
  EXPECT_EQ(Ask(SessionKind::kAttach, "spdy/3.1", list).chosen.version, 2);
}

TEST(Subprotocols, SpdyNeedsAnOfferThatIsSpoken) {
  EXPECT_EQ(Ask(SessionKind::kExec, "SPDY/3.1", {}).code, 400);
  EXPECT_EQ(Ask(SessionKind::kExec, "SPDY/3.1", {{"X-Stream-Protocol-Version", ""}}).code, 400);
  const Outcome outcome =
      Ask(SessionKind::kExec, "SPDY/3.1", {{"X-Stream-Protocol-Version", "portforward.k8s.io"}});
  EXPECT_EQ(outcome.code, 403);
  EXPECT_THAT(outcome.headers,
              Contains(Pair("X-Accepted-Stream-Protocol-Versions", "v4.channel.k8s.io")));
  EXPECT_EQ(Ask(SessionKind::kPortForward, "SPDY/3.1",
                {{"X-Stream-Protocol-Version", "portforward.k8s.io"}})
                .code,
            0);
}

TEST(Subprotocols, WebSocketWithoutAnOfferIsVersionOne) {
  const Outcome outcome = Ask(SessionKind::kExec, "websocket", {});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(outcome.chosen.websocket);
  EXPECT_EQ(outcome.chosen.version, 1);
  EXPECT_EQ(outcome.chosen.name, "");
}

TEST(Subprotocols, WebSocketSpeaksOneToFive) {
  const auto ask = [](SessionKind kind, const std::string& offer) {
    return Ask(kind, "websocket", {{"Sec-WebSocket-Protocol", offer}});
  };
  EXPECT_EQ(ask(SessionKind::kExec, "v5.channel.k8s.io").chosen.version, 5);
  EXPECT_EQ(ask(SessionKind::kExec, "x, v4.channel.k8s.io").chosen.version, 4);
  EXPECT_TRUE(ask(SessionKind::kExec, "v4.base64.channel.k8s.io").chosen.base64);
  EXPECT_EQ(ask(SessionKind::kExec, "base64.channel.k8s.io").chosen.version, 1);
  EXPECT_EQ(ask(SessionKind::kExec, "v6.channel.k8s.io").code, 403);
  EXPECT_TRUE(ask(SessionKind::kPortForward, "SPDY/3.1+portforward.k8s.io").chosen.tunnel);
  EXPECT_FALSE(ask(SessionKind::kPortForward, "v4.channel.k8s.io").chosen.tunnel);
  EXPECT_EQ(ask(SessionKind::kExec, "SPDY/3.1+portforward.k8s.io").code, 403);
}

TEST(Subprotocols, NoUpgradeIsRefused) {
  EXPECT_EQ(Ask(SessionKind::kExec, "", {}).code, 400);
  EXPECT_EQ(Ask(SessionKind::kExec, "h2c", {}).code, 400);
}

}  // namespace
}  // namespace gantry::cri::streaming
