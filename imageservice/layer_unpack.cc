#include "imageservice/layer_unpack.h"

#include <utility>

#include "imageservice/digester.h"

namespace gantry::images {

struct LayerUnpacker::State {
  State(TarConsumer* consumer, const UnpackLimits& limits, Digester hash)
      : inflater(limits.inflate), digester(std::move(hash)), reader(consumer, limits.tar) {}

  Status OnTar(absl::string_view bytes) {
    digester.Update({bytes.data(), bytes.size()});
    tar_bytes += bytes.size();
    return reader.Feed(bytes);
  }

  Inflater inflater;
  Digester digester;
  TarReader reader;
  uint64_t tar_bytes = 0;
};

LayerUnpacker::LayerUnpacker(std::unique_ptr<State> state) : state_(std::move(state)) {}
LayerUnpacker::~LayerUnpacker() = default;

StatusOr<std::unique_ptr<LayerUnpacker>> LayerUnpacker::Create(TarConsumer* consumer,
                                                               const UnpackLimits& limits) {
  ASSIGN_OR_RETURN(Digester digester, Digester::Make("sha256"));
  return std::unique_ptr<LayerUnpacker>(
      new LayerUnpacker(std::make_unique<State>(consumer, limits, std::move(digester))));
}

Status LayerUnpacker::Feed(absl::string_view bytes) {
  State& s = *state_;
  return s.inflater.Feed(bytes, [&](absl::string_view tar) { return s.OnTar(tar); });
}

StatusOr<std::string> LayerUnpacker::Finish() {
  State& s = *state_;
  RETURN_IF_ERROR(s.inflater.Finish([&](absl::string_view tar) { return s.OnTar(tar); }));
  RETURN_IF_ERROR(s.reader.Finish());
  return s.digester.Finish();
}

uint64_t LayerUnpacker::tar_bytes() const { return state_->tar_bytes; }

}  // namespace gantry::images
