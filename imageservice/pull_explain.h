// A gantry-puller's half of `gantry image explain`: makes the decisions of a pull with the code of
// a pull, and writes them down.
#pragma once

#include "imageservice/pull_explanation.h"
#include "imageservice/puller_protocol.h"
#include "imageservice/registry_setup.h"

namespace gantry::images {

class PullExplainer {
 public:
  // Reads the node's files as a pull does (PrepareRegistry): before the process is confined.
  explicit PullExplainer(const PullTask& task);

  // Asks the registry, down to the manifest and the configuration; no layer. Once, confined or not.
  PullExplanation Run();

 private:
  void Note(std::string subject, std::string text);
  void NoteEndpoints();
  Status Resolve();
  Status ExplainArtifact(const ImageManifest& manifest);

  RegistrySetup setup_;
  PullExplanation explanation_;
};

}  // namespace gantry::images
