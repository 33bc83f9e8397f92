#include "cri/list_entry.h"

#include <utility>

namespace gantry::cri {
namespace {

// Of messages that stand one behind the other protobuf makes one.
template <typename Message, typename Object, typename State>
std::string WithState(const Object& object, Message (*summary)(const Object&), State state) {
  if (object.list_entry == nullptr) return summary(object).SerializeAsString();
  std::string entry = *object.list_entry;
  Message with_state;
  with_state.set_state(state);
  with_state.AppendToString(&entry);
  return entry;
}

template <typename Message>
std::shared_ptr<const std::string> WithoutState(Message summary) {
  summary.clear_state();
  return std::make_shared<const std::string>(summary.SerializeAsString());
}

}  // namespace

void KeepListEntry(Container* container) {
  container->list_entry = WithoutState(ContainerSummary(*container));
}

void KeepListEntry(Sandbox* sandbox) {
  sandbox->list_entry = WithoutState(SandboxSummary(*sandbox));
}

std::string ListEntry(const Container& container) {
  return WithState(container, &ContainerSummary,
                   static_cast<v1::ContainerState>(container.state()));
}

std::string ListEntry(const Sandbox& sandbox) {
  return WithState(sandbox, &SandboxSummary,
                   static_cast<v1::PodSandboxState>(sandbox.record.state()));
}

void AddEncoded(int field, std::string element, google::protobuf::Message* message) {
  google::protobuf::UnknownFieldSet* fields =
      message->GetReflection()->MutableUnknownFields(message);
  *fields->AddLengthDelimited(field) = std::move(element);
}

}  // namespace gantry::cri
