#include "imageservice/piece_window.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace gantry::images {
namespace {

constexpr uint64_t kFirst = 1000;

std::string Piece(const PieceWindow::Claim& claim) {
  std::string bytes(claim.end - claim.first, '\0');
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>((claim.first + i) * 31 >> 3);
  return bytes;
}

// All that comes out of the front.
std::string ReadAll(PieceWindow& window) {
  std::string all;
  for (;;) {
    const auto bytes = window.Read();
    if (!bytes.ok() || bytes->empty()) return all;
    all.append(bytes->data(), bytes->size());
  }
}

TEST(PieceWindow, PiecesThatComeOutOfOrderLeaveInOrder) {
  FetchBudget budget;
  const uint64_t end = kFirst + 3 * kPieceSize + 17;
  PieceWindow window(&budget, kFirst, end);
  std::vector<PieceWindow::Claim> claims;
  for (int i = 0; i < 4; ++i) claims.push_back(*window.Next());
  EXPECT_EQ(claims[3].end, end);
  for (size_t i : {3u, 1u, 0u, 2u}) EXPECT_TRUE(window.Add(claims[i], Piece(claims[i])));
  EXPECT_EQ(window.ahead(), end - kFirst);
  EXPECT_TRUE(ReadAll(window) == Piece({0, kFirst, end}));
  EXPECT_EQ(window.ahead(), 0u);
  EXPECT_FALSE(window.Next().has_value()) << "the reader has all";
}

TEST(PieceWindow, TheRestOfARequestThatFailedIsTheNextClaim) {
  FetchBudget budget;
  PieceWindow window(&budget, kFirst, kFirst + 2 * kPieceSize);
  const auto first = *window.Next();
  EXPECT_TRUE(window.Add(first, Piece({0, first.first, first.first + 100})));
  window.GiveUp(first);
  EXPECT_FALSE(window.Wanted(first));
  EXPECT_FALSE(window.Add(first, Piece(first))) << "it is not its owner any more";
  const auto again = *window.Next();
  EXPECT_EQ(again.first, first.first + 100);
  EXPECT_TRUE(window.Add(again, Piece(again)));
  const auto second = *window.Next();
  EXPECT_FALSE(window.Add(second, std::string(kPieceSize + 1, 'x'))) << "more than was asked for";
  EXPECT_TRUE(window.Add(second, Piece(second)));
  EXPECT_TRUE(ReadAll(window) == Piece({0, kFirst, kFirst + 2 * kPieceSize}));
}

TEST(PieceWindow, WhatTheFirstConnectionCannotBringIsPutInFront) {
  FetchBudget budget;
  const uint64_t cut = 3 * kPieceSize, end = 4 * kPieceSize;
  PieceWindow window(&budget, cut, end);
  // The connection has brought all that there was when the rest is put in front.
  std::thread connection([&] {
    while (const auto claim = window.Next()) EXPECT_TRUE(window.Add(*claim, Piece(*claim)));
  });
  while (window.ahead() < kPieceSize) std::this_thread::yield();
  window.PutInFront(kPieceSize / 2);
  EXPECT_TRUE(ReadAll(window) == Piece({0, kPieceSize / 2, end}));
  connection.join();
}

TEST(PieceWindow, MemoryIsBoundedForABlobAndForThePullAndNobodyStandsStill) {
  FetchBudget budget;
  PieceWindow first(&budget, 0, 100 * kPieceSize), second(&budget, 0, 100 * kPieceSize);
  for (size_t i = 0; i < kPiecesPerBlob; ++i) ASSERT_TRUE(first.Next().has_value());
  std::vector<char*> rest;
  while (char* buffer = budget.TakeBuffer(1)) rest.push_back(buffer);
  EXPECT_EQ(rest.size(), kPiecesPerPull - kPiecesPerBlob);
  EXPECT_TRUE(second.Next().has_value()) << "a blob without any gets its first";
  for (char* buffer : rest) budget.GiveBuffer(buffer);
}

TEST(PieceWindow, ASlowPieceIsTakenOverByWhoHasNothingElseToDo) {
  FetchBudget budget;
  PieceWindow window(&budget, 0, 2 * kPieceSize);
  const auto slow = *window.Next();
  const auto fast = *window.Next();
  EXPECT_TRUE(window.Add(slow, Piece({0, 0, 10})));
  EXPECT_TRUE(window.Add(fast, Piece(fast)));
  const auto taken = *window.Next();  // waits until the slow one has had its time
  EXPECT_EQ(taken.first, 10u);
  EXPECT_EQ(taken.end, slow.end);
  EXPECT_FALSE(window.Wanted(slow));
  EXPECT_EQ(window.takeovers(), 1);
  EXPECT_TRUE(window.Add(taken, Piece(taken)));
  EXPECT_TRUE(ReadAll(window) == Piece({0, 0, 2 * kPieceSize}));
}

TEST(PieceWindow, AStopWakesEverybodyAndItsFirstStatusCounts) {
  FetchBudget budget;
  PieceWindow window(&budget, 0, kPieceSize);
  const auto claim = *window.Next();
  std::thread stopper([&] {
    window.Stop(absl::UnavailableError("gone"));
    window.Stop(absl::InternalError("later"));
  });
  EXPECT_EQ(window.Read().status(), absl::UnavailableError("gone"));
  stopper.join();
  EXPECT_FALSE(window.Next().has_value());
  EXPECT_FALSE(window.Wanted(claim));
}

}  // namespace
}  // namespace gantry::images
