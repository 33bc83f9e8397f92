// For tests: a registry in memory that makes mistakes as a script says, a kind of answer at a time.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "imageservice/testing_registry.h"
#include "imageservice/testing_server.h"

namespace gantry::images {

class FaultRegistry {
 public:
  // Changes an answer, or makes another one.
  using Fault = std::function<void(const TestRequest&, TestResponse&)>;

  FaultRegistry();

  MemoryRegistry& memory() { return memory_; }
  TestServer& server() { return server_; }
  const TestServer& server() const { return server_; }
  std::string host() const { return server_.host(); }

  // From now on the answers to requests whose path contains `part` go through `fault`, the next
  // `times` ones or all. Several apply in the order they were added.
  void Break(const std::string& part, Fault fault, int times = -1);
  // The same for requests that have a Range header.
  void BreakRanges(const std::string& part, Fault fault, int times = -1);
  void Repair();

  // The values of the Range headers that came for a blob, "" for requests without one.
  std::vector<std::string> RangesOf(const std::string& digest) const;

 private:
  struct Rule {
    std::string part;
    Fault fault;
    int times;
    bool ranges;
  };
  TestResponse Answer(const TestRequest& request);

  MemoryRegistry memory_;
  std::mutex mutex_;
  std::vector<Rule> rules_;
  TestServer server_;
};

// The kinds of mistakes.
FaultRegistry::Fault CutAfter(size_t bytes, bool reset = false);
FaultRegistry::Fault StallAfter(size_t bytes);
FaultRegistry::Fault StaySilent();
FaultRegistry::Fault Throttle(uint64_t bytes_per_second);     // each answer
FaultRegistry::Fault ThrottleAll(uint64_t bytes_per_second);  // all together
FaultRegistry::Fault AnswerWith(
    int status, const std::vector<std::pair<std::string, std::string>>& headers = {});
FaultRegistry::Fault OtherBytes();                      // of the same length
FaultRegistry::Fault ChangeLength(int64_t difference);  // of the body, told truly
FaultRegistry::Fault IgnoreRange(const MemoryRegistry& memory);
FaultRegistry::Fault WrongContentRange();

}  // namespace gantry::images
