#include "cri/stop_signal.h"

#include <csignal>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::cri {
namespace {

// "RTMIN", "RTMIN+3", "RTMAX-2": 0 when it is none of them.
int RealTimeSignal(absl::string_view name) {
  int offset = 0;
  if (absl::ConsumePrefix(&name, "RTMIN")) {
    if (name.empty()) return SIGRTMIN;
    if (absl::ConsumePrefix(&name, "+") && absl::SimpleAtoi(name, &offset) && offset >= 0 &&
        offset <= 15)
      return SIGRTMIN + offset;
  } else if (absl::ConsumePrefix(&name, "RTMAX")) {
    if (name.empty()) return SIGRTMAX;
    if (absl::ConsumePrefix(&name, "-") && absl::SimpleAtoi(name, &offset) && offset >= 0 &&
        offset <= 14)
      return SIGRTMAX - offset;
  }
  return 0;
}

int SignalByName(absl::string_view name) {
  if (const int real_time = RealTimeSignal(name)) return real_time;
  if (name == "IOT") return SIGABRT;
  if (name == "CLD") return SIGCHLD;
  if (name == "POLL") return SIGIO;
  for (int signal = 1; signal < 32; ++signal) {
    const char* abbreviation = sigabbrev_np(signal);
    if (abbreviation != nullptr && name == abbreviation) return signal;
  }
  return 0;
}

// "SIGNAL_SIGRTMINPLUS3" → "RTMIN+3".
std::string NameOf(v1::Signal signal) {
  std::string name = v1::Signal_Name(signal);
  absl::string_view rest = name;
  absl::ConsumePrefix(&rest, "SIGNAL_SIG");
  std::string plain(rest);
  for (const auto& [word, sign] : {std::pair("PLUS", "+"), std::pair("MINUS", "-")}) {
    const size_t at = plain.find(word);
    if (at != std::string::npos) plain.replace(at, strlen(word), sign);
  }
  return plain;
}

}  // namespace

int KernelSignal(v1::Signal signal) {
  if (signal == v1::SIGNAL_RUNTIME_DEFAULT) return SIGTERM;
  const int number = SignalByName(NameOf(signal));
  return number == 0 ? SIGTERM : number;
}

StatusOr<v1::Signal> EffectiveStopSignal(v1::Signal requested, const std::string& image_signal) {
  if (requested != v1::SIGNAL_RUNTIME_DEFAULT) {
    if (!v1::Signal_IsValid(requested))
      return absl::InvalidArgumentError(
          absl::StrCat("stop_signal: ", static_cast<int>(requested), " is no signal"));
    return requested;
  }
  if (image_signal.empty()) return v1::SIGNAL_SIGTERM;
  const std::string upper = absl::AsciiStrToUpper(image_signal);
  absl::string_view name = upper;
  absl::ConsumePrefix(&name, "SIG");
  int number = 0;
  if (!absl::SimpleAtoi(name, &number)) number = SignalByName(name);
  if (number >= 1 && number <= SIGRTMAX) {
    for (int value = 1; value <= v1::Signal_MAX; ++value)
      if (v1::Signal_IsValid(value) && KernelSignal(static_cast<v1::Signal>(value)) == number)
        return static_cast<v1::Signal>(value);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the image's STOPSIGNAL \"", image_signal, "\" is no signal"));
}

}  // namespace gantry::cri
