// The socket of cadvisor_answer.h: HTTP/1.1 on a unix socket that root alone may use.
#pragma once

#include <memory>
#include <string>

#include "cri/cadvisor_answer.h"

namespace gantry::cri {

class CadvisorSocket {
 public:
  // Listens at `path`, whose folder is made when it is missing, and answers on one thread of its
  // own until destroyed, which removes the socket. A socket that nobody listens on is replaced;
  // kAlreadyExists when somebody does: CRI-O itself may be running. `node` outlives it.
  static StatusOr<std::unique_ptr<CadvisorSocket>> Listen(const Node* node,
                                                          const std::string& path);
  struct State;
  // Of no use by itself: see Listen.
  explicit CadvisorSocket(std::unique_ptr<State> state);
  ~CadvisorSocket();

 private:
  std::unique_ptr<State> state_;
};

}  // namespace gantry::cri
