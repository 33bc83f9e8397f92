#include "shim/attached_clients.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <vector>

namespace gantry::shim {
namespace {

constexpr size_t kMaxClients = 256;
constexpr size_t kMaxPending = 1 << 20;
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

void AttachedClients::Add(uint64_t stream, uint64_t owner, UniqueFd pipe, bool patient) {
  if (clients_.size() >= kMaxClients) return;
  const Place place = clients_.emplace(clients_.end());
  place->stream = stream;
  place->owner = owner;
  place->fd = std::move(pipe);
  place->patient = patient;
  // No events wanted: a reader that goes away is told of all the same.
  auto watch =
      loop_->Add(place->fd.get(), 0, [this, place](uint32_t events) { OnEvent(place, events); });
  if (watch.ok()) {
    place->watch = *std::move(watch);
  } else {
    clients_.erase(place);
  }
}

bool AttachedClients::Write(uint64_t stream, absl::string_view data) {
  std::vector<uint64_t> behind;
  for (Place client = clients_.begin(); client != clients_.end(); ++client)
    if (client->stream == stream && !client->ended && !Take(client, data))
      behind.push_back(client->owner);
  for (const uint64_t owner : behind) Drop(owner);
  return !Pending(stream);
}

bool AttachedClients::Take(Place client, absl::string_view data) {
  if (client->pending.empty()) {
    const ssize_t written = write(client->fd.get(), data.data(), data.size());
    if (written < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (written > 0) data.remove_prefix(static_cast<size_t>(written));
    if (data.empty()) return true;
  }
  if (client->pending.size() + data.size() > kMaxPending) return false;
  const bool first = client->pending.empty();
  client->pending.append(data.data(), data.size());
  if (first) WaitFor(client);
  return true;
}

void AttachedClients::WaitFor(Place client) {
  client->watch.SetEvents(EPOLLOUT);
  client->bound = loop_->After(kPatience, [this, owner = client->owner] { Drop(owner); });
}

void AttachedClients::OnEvent(Place client, uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    Drop(client->owner);
    return;
  }
  const ssize_t written = write(client->fd.get(), client->pending.data(), client->pending.size());
  if (written < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (written < 0) {
    Drop(client->owner);
    return;
  }
  client->pending.erase(0, static_cast<size_t>(written));
  if (!client->pending.empty()) {
    WaitFor(client);
    return;
  }
  client->pending.shrink_to_fit();
  client->bound.Reset();
  client->watch.SetEvents(0);
  const uint64_t stream = client->stream;
  if (client->ended) clients_.erase(client);
  if (!Pending(stream)) drained_(stream);
}

void AttachedClients::Drop(uint64_t owner) {
  std::vector<uint64_t> waited_for;
  for (Place client = clients_.begin(); client != clients_.end();) {
    const Place next = std::next(client);
    if (client->owner == owner) {
      if (client->patient && !client->pending.empty()) waited_for.push_back(client->stream);
      clients_.erase(client);
    }
    client = next;
  }
  for (const uint64_t stream : waited_for)
    if (!Pending(stream)) drained_(stream);
}

bool AttachedClients::Pending(uint64_t stream) const {
  for (const Client& client : clients_)
    if (client.stream == stream && client.patient && !client.ended && !client.pending.empty())
      return true;
  return false;
}

void AttachedClients::End(uint64_t stream) {
  for (Place client = clients_.begin(); client != clients_.end();) {
    const Place next = std::next(client);
    if (client->stream == stream) {
      client->ended = true;
      if (client->pending.empty()) clients_.erase(client);
    }
    client = next;
  }
}

}  // namespace gantry::shim
