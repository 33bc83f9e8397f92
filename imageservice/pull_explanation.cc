#include "imageservice/pull_explanation.h"

#include <utility>

#define JSON_NO_IO
#include "nlohmann/json.hpp"

#include "imageservice/manifest.h"
#include "imageservice/reference.h"
#include "runtime/base/json.h"

namespace gantry::images {
namespace {

constexpr size_t kMaxExplanation = 4 << 20;
constexpr size_t kMaxDecisions = 1000;

std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

void ReadDecision(const JsonReader& reader, PullExplanation& explanation) {
  ExplainedDecision decision;
  reader.Read("subject", decision.subject);
  reader.Read("text", decision.text);
  if (explanation.decisions.size() == kMaxDecisions) reader.Fail("subject", "is one too many");
  explanation.decisions.push_back(
      {Printable(std::move(decision.subject)), Printable(std::move(decision.text))});
}

void ReadLayer(const JsonReader& reader, PullExplanation& explanation) {
  ExplainedLayer layer;
  reader.Read("digest", layer.digest);
  reader.Read("media_type", layer.media_type);
  reader.Read("size", layer.size);
  if (!IsDigest(layer.digest)) reader.Fail("digest", "must be a digest");
  if (explanation.layers.size() == kMaxLayers) reader.Fail("digest", "is one too many");
  layer.media_type = Printable(std::move(layer.media_type));
  explanation.layers.push_back(std::move(layer));
}

}  // namespace

std::string EncodeExplanation(const PullExplanation& explanation) {
  nlohmann::json decisions = nlohmann::json::array(), layers = nlohmann::json::array();
  for (const ExplainedDecision& decision : explanation.decisions)
    decisions.push_back({{"subject", decision.subject}, {"text", decision.text}});
  for (const ExplainedLayer& layer : explanation.layers) {
    layers.push_back(
        {{"digest", layer.digest}, {"media_type", layer.media_type}, {"size", layer.size}});
  }
  return DumpJson({{"decisions", std::move(decisions)},
                   {"layers", std::move(layers)},
                   {"code", static_cast<int>(explanation.outcome.code())},
                   {"message", std::string(explanation.outcome.message())}});
}

StatusOr<PullExplanation> DecodeExplanation(absl::string_view text) {
  ASSIGN_OR_RETURN(
      const nlohmann::json document,
      ParseJson(text, {.max_bytes = kMaxExplanation, .max_depth = 8, .max_values = 100'000}));
  if (!document.is_object()) return absl::InvalidArgumentError("must be an object");
  Status status;
  const JsonReader root(document, status);
  PullExplanation explanation;
  root.ForEach("decisions", [&](JsonReader reader) {
    if (status.ok()) ReadDecision(reader, explanation);
  });
  root.ForEach("layers", [&](JsonReader reader) {
    if (status.ok()) ReadLayer(reader, explanation);
  });
  int32_t code = 0;
  std::string message;
  root.Read("code", code);
  root.Read("message", message);
  RETURN_IF_ERROR(status);
  if (code < 0 || code > 16) code = static_cast<int32_t>(absl::StatusCode::kInternal);
  explanation.outcome = Status(static_cast<absl::StatusCode>(code), Printable(std::move(message)));
  return explanation;
}

}  // namespace gantry::images
