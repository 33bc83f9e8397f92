// What gantry-init does that matters to the tests of pod_namespaces.h: it hides itself, says so and waits.
#define _GNU_SOURCE
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
  prctl(PR_SET_DUMPABLE, 0);
  close_range(0, ~0U, 0);
  while (1) pause();
}
