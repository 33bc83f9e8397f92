// cri-call SOCKET METHOD SECONDS: sends the request on standard input, JSON as protobuf writes it,
// and prints each answer as a line of JSON.
//
// METHOD is a full name such as runtime.v1.RuntimeService/RunPodSandbox; a stream is read to its
// end. It says what crictl cannot: requests without what is required, deadlines of milliseconds,
// calls that crictl has no verb for. Exit status: 0; 1 with "CODE: message" on standard error when
// the call failed; 2 for a wrong use.
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

namespace {

namespace pb = google::protobuf;

constexpr const char* kCodes[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

const pb::MethodDescriptor* FindMethod(std::string name) {
  const size_t slash = name.find('/');
  if (slash != std::string::npos) name[slash] = '.';
  return pb::DescriptorPool::generated_pool()->FindMethodByName(name);
}

std::unique_ptr<pb::Message> NewMessage(const pb::Descriptor* type) {
  return std::unique_ptr<pb::Message>(
      pb::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

bool PrintAnswer(grpc::ByteBuffer* bytes, const pb::Descriptor* type) {
  const auto answer = NewMessage(type);
  grpc::ProtoBufferReader reader(bytes);
  if (!answer->ParseFromZeroCopyStream(&reader)) return false;
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  if (!pb::util::MessageToJsonString(*answer, &text, options).ok()) return false;
  std::cout << text << std::endl;
  return true;
}

class Call {
 public:
  Call(const std::string& socket, const pb::MethodDescriptor* method, double seconds)
      : method_(method), stub_(Channel(socket)) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
  }

  // Whether all answers could be printed.
  bool Run(const pb::Message& request, grpc::Status* status) {
    const std::string path = "/" + method_->service()->full_name() + "/" + method_->name();
    auto call = stub_.PrepareCall(&context_, path, &queue_);
    call->StartCall(nullptr);
    if (Done()) Send(call.get(), request);
    bool printed = true;
    grpc::ByteBuffer bytes;
    while (Read(call.get(), &bytes)) printed &= PrintAnswer(&bytes, method_->output_type());
    call->Finish(status, nullptr);
    Done();
    return printed;
  }

 private:
  using Stream = grpc::GenericClientAsyncReaderWriter;

  static std::shared_ptr<grpc::Channel> Channel(const std::string& socket) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(16 << 20);
    return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  // Waits for the one step under way. Whether it went well.
  bool Done() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  void Send(Stream* call, const pb::Message& request) {
    grpc::ByteBuffer bytes;
    bool own = false;
    grpc::GenericSerialize<grpc::ProtoBufferWriter, pb::Message>(request, &bytes, &own);
    call->WriteLast(bytes, grpc::WriteOptions(), nullptr);
    Done();
  }

  bool Read(Stream* call, grpc::ByteBuffer* bytes) {
    call->Read(bytes, nullptr);
    return Done();
  }

  const pb::MethodDescriptor* method_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: cri-call SOCKET SERVICE/METHOD SECONDS <REQUEST.json\n";
    return 2;
  }
  const pb::MethodDescriptor* method = FindMethod(argv[2]);
  if (method == nullptr) {
    std::cerr << "cri-call: no method " << argv[2] << "\n";
    return 2;
  }
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const auto request = NewMessage(method->input_type());
  const auto parsed = pb::util::JsonStringToMessage(text.empty() ? "{}" : text, request.get());
  if (!parsed.ok()) {
    std::cerr << "cri-call: " << parsed.ToString() << "\n";
    return 2;
  }
  grpc::Status status;
  Call call(argv[1], method, std::strtod(argv[3], nullptr));
  const bool printed = call.Run(*request, &status);
  if (status.ok()) return printed ? 0 : 2;
  std::cerr << kCodes[status.error_code()] << ": " << status.error_message() << std::endl;
  return 1;
}
