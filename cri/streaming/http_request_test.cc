#include "cri/streaming/http_request.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::cri::streaming {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kHost[] = "Host: 127.0.0.1:1\r\n";

int CodeOf(const std::string& head) {
  HttpRequest request;
  const auto error = ParseHead(head, &request);
  return error ? error->code : 0;
}

TEST(HttpRequest, KeepsHeadersAsTheyCame) {
  HttpRequest request;
  ASSERT_FALSE(ParseHead(absl::StrCat("POST /exec/T?x=1 HTTP/1.1\r\n", kHost,
                                      "X-V: a\r\nx-v: b, c\r\nConnection: keep-alive, Upgrade\r\n",
                                      "Content-Length: 0\r\n\r\n"),
                         &request));
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/exec/T?x=1");
  EXPECT_THAT(request.Values("X-V"), ElementsAre("a", "b, c"));
  EXPECT_TRUE(request.HasWord("connection", "upgrade"));
  EXPECT_TRUE(request.HasWord("x-v", "c"));
  EXPECT_FALSE(request.HasWord("connection", "close"));
}

TEST(HttpRequest, RefusesWhatItHasNoUseFor) {
  struct Row {
    const char* description;
    std::string head;
    int code;
  };
  const Row kRows[] = {
      {"fine", "GET /exec/T HTTP/1.1\r\n\r\n", 0},
      {"another method", "PUT /exec/T HTTP/1.1\r\n\r\n", 405},
      {"an absolute target", "GET http://a/exec/T HTTP/1.1\r\n\r\n", 400},
      {"a proxy's target", "CONNECT a:1 HTTP/1.1\r\n\r\n", 405},
      {"an old version", "GET /exec/T HTTP/1.0\r\n\r\n", 400},
      {"a body", "POST /exec/T HTTP/1.1\r\nContent-Length: 3\r\n\r\n", 400},
      {"two lengths", "POST /exec/T HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\n",
       400},
      {"a chunked body", "POST /exec/T HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"no header", "GET /exec/T HTTP/1.1\r\nno colon\r\n\r\n", 400},
      {"no request", "\x16\x03\x01\r\n\r\n", 400},
  };
  for (const Row& row : kRows) EXPECT_EQ(CodeOf(row.head), row.code) << row.description;
}

TEST(HttpRequest, PlaceIsReadFromTheFirstLineAlone) {
  const auto place = PlaceOf("GET /attach/abc?x=y HTTP/1.1\r\nbroken");
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ(place->kind, "attach");
  EXPECT_EQ(place->token, "abc");
  for (const char* head :
       {"", "GET", "GET / HTTP/1.1", "GET /exec HTTP/1.1", "GET /exec/ HTTP/1.1",
        "GET /exec/a/b HTTP/1.1", "GET exec/a HTTP/1.1", "GET /other/a HTTP/1.1"})
    EXPECT_FALSE(PlaceOf(head).has_value()) << head;
  EXPECT_FALSE(PlaceOf("GET /exec/" + std::string(65, 'a') + " HTTP/1.1").has_value());
}

TEST(HttpRequest, HeadEndsAtTheEmptyLine) {
  EXPECT_EQ(HeadLength("GET / HTTP/1.1\r\n"), 0U);
  EXPECT_EQ(HeadLength("GET / HTTP/1.1\r\n\r\nrest"), 18U);
}

TEST(HttpRequest, ErrorsEndTheConnection) {
  const std::string response = ErrorResponse({405, "GET or POST", {{"Allow", "GET, POST"}}});
  EXPECT_THAT(response, HasSubstr("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, POST\r\n"));
  EXPECT_THAT(response, HasSubstr("Connection: close\r\n\r\nGET or POST\n"));
}

}  // namespace
}  // namespace gantry::cri::streaming
