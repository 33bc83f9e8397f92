// gantry-init: PID 1 of a PID namespace that a pod's containers share. It reaps what falls to it, and ends on SIGTERM,
// which ends every process of the namespace. Nothing else: it is started by a clone of the shim with an empty root,
// without capabilities, closes all descriptors, and forbids itself all system calls that it does not make.
//
// No C library: a page of memory per pod, and nothing to misuse. x86_64 and aarch64.
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <linux/wait.h>
#include <stddef.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
static long Call(long number, long a, long b, long c, long d, long e) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}
// The kernel enters with the stack aligned to 16; a call makes it what the ABI wants at a function's start.
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tcall Main\n\thlt\n");
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
static long Call(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tbl Main\n\tbrk #0\n");
#else
#error "gantry-init knows x86_64 and aarch64"
#endif

#define KERNEL_SIGSET_SIZE 8
#define SIGNAL_BIT(signal) (1UL << ((signal)-1))

static void Exit(int code) {
  for (;;) Call(__NR_exit_group, code, 0, 0, 0, 0);
}

// Everything but waiting for children and signals, and ending, kills the process.
static int Confine(void) {
  static struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 6),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_wait4, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_rt_sigtimedwait, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_rt_sigreturn, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_restart_syscall, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  if (Call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return (int)Call(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program, 0, 0);
}

// Called by _start alone.
__attribute__((used)) void Main(void);
void Main(void) {
  const unsigned long awaited = SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGTERM) | SIGNAL_BIT(SIGINT);
  const unsigned long all = ~0UL;
  // execve has made it dumpable again. Who started it waits for the end of the one descriptor that is left.
  if (Call(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) Exit(1);
  if (Call(__NR_close_range, 0, ~0U, 0, 0, 0) != 0) Exit(1);
  if (Call(__NR_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, KERNEL_SIGSET_SIZE, 0) != 0) Exit(1);
  if (Confine() != 0) Exit(1);
  for (;;) {
    while (Call(__NR_wait4, -1, 0, WNOHANG, 0, 0) > 0) {
    }
    long signal = Call(__NR_rt_sigtimedwait, (long)&awaited, 0, 0, KERNEL_SIGSET_SIZE, 0);
    if (signal == SIGTERM || signal == SIGINT) Exit(0);
  }
}
