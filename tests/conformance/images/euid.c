/* Set-user-ID root in its image: shows whether no_new_privs kept it from becoming root. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
  printf("Effective uid: %u\n", (unsigned)geteuid());
  return 0;
}
