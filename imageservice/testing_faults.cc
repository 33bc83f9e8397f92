#include "imageservice/testing_faults.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::images {

FaultRegistry::FaultRegistry()
    : server_([this](const TestRequest& request) { return Answer(request); }) {}

void FaultRegistry::Break(const std::string& part, Fault fault, int times) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({part, std::move(fault), times, /*ranges=*/false});
}

void FaultRegistry::BreakRanges(const std::string& part, Fault fault, int times) {
  const std::lock_guard lock(mutex_);
  rules_.push_back({part, std::move(fault), times, /*ranges=*/true});
}

void FaultRegistry::Repair() {
  const std::lock_guard lock(mutex_);
  rules_.clear();
}

TestResponse FaultRegistry::Answer(const TestRequest& request) {
  TestResponse response = memory_.Answer(request);
  const std::lock_guard lock(mutex_);
  for (Rule& rule : rules_) {
    if (rule.times == 0 || !absl::StrContains(request.path, rule.part)) continue;
    if (rule.ranges && !request.headers.contains("range")) continue;
    if (rule.times > 0) --rule.times;
    rule.fault(request, response);
  }
  return response;
}

std::vector<std::string> FaultRegistry::RangesOf(const std::string& digest) const {
  std::vector<std::string> ranges;
  for (const TestRequest& request : server_.requests()) {
    if (!absl::EndsWith(request.path, absl::StrCat("/blobs/", digest))) continue;
    const auto range = request.headers.find("range");
    ranges.push_back(range == request.headers.end() ? "" : range->second);
  }
  return ranges;
}

FaultRegistry::Fault CutAfter(size_t bytes, bool reset) {
  return [=](const TestRequest&, TestResponse& response) {
    response.cut_after = bytes;
    response.reset = reset;
  };
}

FaultRegistry::Fault StallAfter(size_t bytes) {
  return [=](const TestRequest&, TestResponse& response) { response.stall_after = bytes; };
}

FaultRegistry::Fault StaySilent() {
  return [](const TestRequest&, TestResponse& response) { response.silent = true; };
}

FaultRegistry::Fault Throttle(uint64_t bytes_per_second) {
  return [=](const TestRequest&, TestResponse& response) {
    response.bytes_per_second = bytes_per_second;
  };
}

FaultRegistry::Fault ThrottleAll(uint64_t bytes_per_second) {
  return [=](const TestRequest&, TestResponse& response) {
    response.bytes_per_second = bytes_per_second;
    response.shared_rate = true;
  };
}

FaultRegistry::Fault AnswerWith(int status,
                                const std::vector<std::pair<std::string, std::string>>& headers) {
  return [status, headers](const TestRequest&, TestResponse& response) {
    response = TestResponse{.status = status, .headers = headers};
  };
}

FaultRegistry::Fault OtherBytes() {
  return [](const TestRequest&, TestResponse& response) {
    response.body.assign(response.body.size(), 'x');
  };
}

FaultRegistry::Fault ChangeLength(int64_t difference) {
  return [=](const TestRequest&, TestResponse& response) {
    response.body.resize(
        static_cast<size_t>(static_cast<int64_t>(response.body.size()) + difference), 'x');
  };
}

FaultRegistry::Fault IgnoreRange(const MemoryRegistry& memory) {
  return [&memory](const TestRequest& request, TestResponse& response) {
    TestRequest whole = request;
    whole.headers.erase("range");
    response = memory.Answer(whole);
  };
}

FaultRegistry::Fault WrongContentRange() {
  return [](const TestRequest&, TestResponse& response) {
    for (auto& [name, value] : response.headers) {
      if (name == "Content-Range") value = absl::StrCat("bytes 1-", response.body.size(), "/*");
    }
  };
}

}  // namespace gantry::images
