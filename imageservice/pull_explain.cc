#include "imageservice/pull_explain.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "imageservice/artifact.h"
#include "imageservice/image_resolve.h"

namespace gantry::images {
namespace {

std::string Capabilities(const RegistryEndpoint& endpoint) {
  std::vector<std::string> names;
  if (endpoint.can_resolve) names.emplace_back("resolve");
  if (endpoint.can_pull) names.emplace_back("pull");
  return names.empty() ? "is not asked: neither resolve nor pull" : absl::StrJoin(names, " and ");
}

std::string DescribeTls(const RegistryEndpoint& endpoint) {
  if (endpoint.base.scheme == "http") return "none: plain http";
  std::string text = endpoint.tls.skip_verify ? "certificates are not verified"
                                              : "the system's certificate authorities";
  if (!endpoint.tls_files.empty())
    absl::StrAppend(&text, ", files ", absl::StrJoin(endpoint.tls_files, ", "));
  return text;
}

std::string DescribeEndpoint(const RegistryEndpoint& endpoint) {
  std::string text =
      absl::StrCat(endpoint.base.Shown(), endpoint.query.empty() ? "" : "?", endpoint.query,
                   endpoint.upstream ? " (registry): " : " (mirror): ", Capabilities(endpoint));
  std::vector<std::string> headers;  // their values may be secret
  for (const auto& [name, value] : endpoint.headers) headers.push_back(name);
  if (!headers.empty()) absl::StrAppend(&text, "; headers ", absl::StrJoin(headers, ", "));
  if (endpoint.dial_timeout.count() > 0)
    absl::StrAppend(&text, "; dial timeout ", endpoint.dial_timeout.count(), " ms");
  return text;
}

std::string DescribeStep(const ResolveStep& step) {
  return absl::StrCat(step.digest, " from ", step.from, step.platform == Platform{} ? "" : ", for ",
                      step.platform == Platform{} ? "" : Describe(step.platform),
                      step.index ? absl::StrCat(", an index of ", step.entries, " entries") : "");
}

}  // namespace

PullExplainer::PullExplainer(const PullTask& task) {
  explanation_.outcome = PrepareRegistry(task, setup_);
  if (setup_.reference.registry.empty()) return;
  Note("reference", setup_.reference.ToString());
  if (setup_.hosts.endpoints.empty()) return;
  Note("hosts", setup_.hosts.source.empty()
                    ? "no hosts.toml and no certificates: the registry itself is asked"
                    : setup_.hosts.source);
  for (const std::string& note : setup_.hosts.notes) Note("ignored", note);
  if (explanation_.outcome.ok()) NoteEndpoints();
}

void PullExplainer::Note(std::string subject, std::string text) {
  explanation_.decisions.push_back({std::move(subject), std::move(text)});
}

void PullExplainer::NoteEndpoints() {
  int number = 0;
  for (const RegistryEndpoint& endpoint : setup_.hosts.endpoints) {
    ++number;
    const std::string proxy = ProxyFor(setup_.proxies, endpoint.base);
    Note(absl::StrCat("endpoint ", number), DescribeEndpoint(endpoint));
    Note(absl::StrCat("tls ", number), DescribeTls(endpoint));
    Note(absl::StrCat("proxy ", number), proxy.empty() ? "none" : ShownProxy(proxy));
    Note(absl::StrCat("login ", number), setup_.auth->Who(endpoint));
  }
  Note("platform", Describe(NodePlatform()));
}

PullExplanation PullExplainer::Run() {
  if (explanation_.outcome.ok()) explanation_.outcome = Resolve();
  return std::move(explanation_);
}

Status PullExplainer::Resolve() {
  const RegistryClient registry = MakeRegistryClient(std::move(setup_));
  HttpClient client;
  ASSIGN_OR_RETURN(const ResolvedImage resolved, ResolveImage(registry, client));
  Note("digest", DescribeStep(resolved.steps.front()));
  Note("policy", "allows it");
  for (size_t i = 1; i < resolved.steps.size(); ++i)
    Note(resolved.steps[i].index ? "index" : "manifest", DescribeStep(resolved.steps[i]));
  const ImageManifest& manifest = resolved.manifest;
  if (!manifest.artifact_type.empty()) return ExplainArtifact(manifest);
  Note("kind", "container image");
  for (const Descriptor& layer : manifest.layers)
    explanation_.layers.push_back({layer.digest, layer.media_type, layer.size, false});
  ASSIGN_OR_RETURN_CONTEXT(const std::string config,
                           FetchContent(registry, client, manifest.config, kMaxConfigBytes),
                           "image config");
  ASSIGN_OR_RETURN(const ConfigDocument document, ParseConfig(config));
  Note("config", absl::StrCat(manifest.config.digest, ", ", config.size(), " bytes, for ",
                              document.config.os, "/", document.config.architecture));
  return absl::OkStatus();
}

Status PullExplainer::ExplainArtifact(const ImageManifest& manifest) {
  Note("kind", absl::StrCat("artifact ", manifest.artifact_type));
  ASSIGN_OR_RETURN(const std::vector<ArtifactLayer> layers, ArtifactLayers(manifest));
  for (const ArtifactLayer& layer : layers) {
    if (!layer.file.empty())
      Note("file", absl::StrCat(layer.file, " is ", layer.blob.digest, ", kept as ", layer.key));
    explanation_.layers.push_back({layer.key, layer.blob.media_type, layer.blob.size, false});
  }
  return absl::OkStatus();
}

}  // namespace gantry::images
