/* Stands in for nginx and httpd: answers each request with one page.
 * usage: web PORT PIDFILE LOGLINE TITLE…   The words of TITLE become the process title, as a master process of nginx has one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char kAnswer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 31\r\nConnection: close\r\n\r\n"
    "<html><p>It works.</p></html>\r\n";

static void Leave(int number) { _exit(number == SIGQUIT ? 1 : 0); }

/* PID 1 of a container has no default actions: without handlers it would ignore its stop signal. */
static void HandleSignals(void) {
  const int stops[] = {SIGTERM, SIGINT, SIGQUIT, SIGWINCH};
  for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) signal(stops[i], Leave);
  signal(SIGPIPE, SIG_IGN);
}

/* The strings of argv lie one after the other: the first four are overwritten by the rest. */
static void TakeTitle(int argc, char **argv) {
  char *end = argv[argc - 1] + strlen(argv[argc - 1]);
  size_t length = (size_t)(end - argv[4]);
  memmove(argv[0], argv[4], length);
  for (size_t i = 0; i + 1 < length; i++) {
    if (argv[0][i] == '\0') argv[0][i] = ' ';
  }
  memset(argv[0] + length, 0, (size_t)(end - argv[0]) - length);
}

static int Listen(in_port_t port) {
  const int yes = 1, no = 0;
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (bind(fd, (struct sockaddr *)&six, sizeof six) == 0 && listen(fd, 64) == 0) return fd;
    close(fd);
  }
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&four, sizeof four) == 0 && listen(fd, 64) == 0) return fd;
  perror("web");
  exit(1);
}

static void Serve(int connection) {
  char request[4096];
  const struct timeval patience = {.tv_sec = 2};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (read(connection, request, sizeof request) <= 0) return;
  if (write(connection, kAnswer, sizeof kAnswer - 1) < 0) return;
  shutdown(connection, SHUT_WR);
  while (read(connection, request, sizeof request) > 0) {
  }
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  HandleSignals();
  int listener = Listen((in_port_t)atoi(argv[1]));
  FILE *pid_file = fopen(argv[2], "we");
  if (pid_file != NULL) {
    fprintf(pid_file, "%d\n", getpid());
    fclose(pid_file);
  }
  fprintf(stderr, "%s\n", argv[3]);
  TakeTitle(argc, argv);
  for (;;) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0) continue;
    Serve(connection);
    close(connection);
  }
}
