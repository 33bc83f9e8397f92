#include "imageservice/inflate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>
#include <string>

namespace gantry::images {
namespace {

using ::testing::HasSubstr;

std::string Gzip(const std::string& text, int level = 6) {
  z_stream z = {};
  deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
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

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

StatusOr<std::string> Inflate(absl::string_view in, size_t piece, InflateLimits limits = {}) {
  Inflater inflater(limits);
  std::string out;
  auto sink = [&](absl::string_view bytes) {
    out.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  };
  for (size_t i = 0; i < in.size(); i += piece) {
    RETURN_IF_ERROR(inflater.Feed(in.substr(i, piece), sink));
  }
  RETURN_IF_ERROR(inflater.Finish(sink));
  return out;
}

std::string Mixed(size_t size) {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < size) {
    text += std::string(random() % 300, 'a');
    for (int i = 0; i < 100; ++i) text.push_back(static_cast<char>(random()));
  }
  return text;
}

TEST(Inflate, GivesTheSameForAnyPieces) {
  const std::string text = Mixed(900'000), small = text.substr(0, 3000);
  for (size_t piece : {size_t{1}, size_t{3}, size_t{1000}, size_t{1} << 20}) {
    const std::string& t = piece < 10 ? small : text;
    EXPECT_EQ(*Inflate(t, piece), t);
    EXPECT_EQ(*Inflate(Gzip(t), piece), t);
    EXPECT_EQ(*Inflate(Zstd(t), piece), t);
    EXPECT_EQ(*Inflate(Gzip(t) + Gzip("") + Gzip(t) + std::string(512, '\0'), piece), t + t)
        << piece;
    EXPECT_EQ(*Inflate(Zstd(t) + Zstd(t), piece), t + t);
  }
  EXPECT_EQ(*Inflate("", 1), "");
  EXPECT_EQ(*Inflate("abc", 1), "abc");
}

TEST(Inflate, ReportsDamage) {
  const std::string text = Mixed(100'000), gzip = Gzip(text), zstd = Zstd(text);
  for (size_t cut : {size_t{5}, size_t{12}, gzip.size() / 2, gzip.size() - 8, gzip.size() - 1}) {
    EXPECT_EQ(Inflate(gzip.substr(0, cut), 100).status().code(), absl::StatusCode::kDataLoss)
        << cut;
  }
  EXPECT_EQ(Inflate(zstd.substr(0, zstd.size() - 2), 100).status().code(),
            absl::StatusCode::kDataLoss);
  std::string wrong = gzip;
  wrong[wrong.size() - 6] ^= 1;
  EXPECT_THAT(Inflate(wrong, 100).status().message(), HasSubstr("checksum"));
  EXPECT_THAT(Inflate(gzip + "garbage", 100).status().message(), HasSubstr("gzip"));
  EXPECT_THAT(Inflate(gzip + std::string(3, '\0') + "x", 100).status().message(),
              HasSubstr("after the end"));
  std::string bent = gzip;
  bent[gzip.size() / 2] ^= 0x40;
  EXPECT_FALSE(Inflate(bent, 1000).ok());
}

TEST(Inflate, StopsBombs) {
  InflateLimits limits;
  limits.ratio_after = 1 << 20;
  limits.max_ratio = 100;
  EXPECT_THAT(Inflate(Gzip(std::string(8 << 20, '\0'), 9), 4096, limits).status().message(),
              HasSubstr("bomb"));
  EXPECT_THAT(Inflate(Zstd(std::string(8 << 20, '\0')), 4096, limits).status().message(),
              HasSubstr("bomb"));
  limits = {};
  limits.max_output = 1000;
  EXPECT_EQ(Inflate(Gzip(std::string(5000, 'x')), 4096, limits).status().code(),
            absl::StatusCode::kResourceExhausted);
  std::string empties;
  for (int i = 0; i < 2000; ++i) empties += Gzip("");
  EXPECT_THAT(Inflate(empties, 4096).status().message(), HasSubstr("empty gzip members"));
}

TEST(Inflate, RefusesAZstdWindowOverTheLimit) {
  const std::string text = Mixed(3 << 20);
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  ZSTD_inBuffer from{text.data(), text.size(), 0};
  while (from.pos < from.size) ZSTD_compressStream2(context, &to, &from, ZSTD_e_continue);
  while (ZSTD_compressStream2(context, &to, &from, ZSTD_e_end) != 0) {
  }
  out.resize(to.pos);
  ZSTD_freeCCtx(context);
  EXPECT_EQ(*Inflate(out, 1 << 16), text);
  InflateLimits limits;
  limits.zstd_window_log = 23;
  EXPECT_EQ(Inflate(out, 1 << 16, limits).status().code(), absl::StatusCode::kDataLoss);
}

TEST(Inflate, HandsTheSinksErrorOn) {
  Inflater inflater(InflateLimits{});
  auto sink = [](absl::string_view) { return absl::ResourceExhaustedError("full"); };
  EXPECT_EQ(inflater.Feed(Gzip("text") + std::string(10, '\0'), sink).message(), "full");
}

}  // namespace
}  // namespace gantry::images
