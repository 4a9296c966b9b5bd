/*
 * A thread for each connection, and for datagrams a loop of one: what the machine can do at most. threads SERVICE
 * prints its port. Lines are echoed as bytes.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 65536, STACK = 128 * 1024, QUEUE = 511 };
static int computes;

/* 20 ms of processor time: the C library has no hash. */
static void compute(void) {
  struct timespec start, time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  while ((time.tv_sec - start.tv_sec) * 1000000000L + time.tv_nsec - start.tv_nsec < 20000000L);
}

static void *serve_connection(void *argument) {
  const int connection = (intptr_t)argument;
  char data[ROOM];
  for (ssize_t count; (count = recv(connection, data, ROOM, 0)) > 0;) {
    if (computes) compute();
    if (send(connection, data, count, MSG_NOSIGNAL) != count) break; /* it blocks until all is sent */
  }
  close(connection);
  return NULL;
}

static void serve_datagrams(int socket) {
  char data[ROOM];
  struct sockaddr_in client;
  while (1) {
    socklen_t length = sizeof client;
    const ssize_t count = recvfrom(socket, data, ROOM, 0, (struct sockaddr *)&client, &length);
    if (count >= 0) sendto(socket, data, count, 0, (struct sockaddr *)&client, length);
  }
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  const int datagrams = strcmp(arguments[1], "udp") == 0, one = 1;
  computes = strcmp(arguments[1], "compute") == 0;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  const int server = socket(AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr *)&address, length) < 0) return 1;
  if (!datagrams && listen(server, QUEUE) < 0) return 1;
  getsockname(server, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  if (datagrams) serve_datagrams(server);

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, STACK);
  while (1) {
    const int connection = accept(server, NULL, NULL);
    if (connection < 0) continue;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, serve_connection, (void *)(intptr_t)connection) != 0) close(connection);
  }
}
