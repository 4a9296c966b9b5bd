/*
 * The load generator: load KIND PORT SOCKETS SIZE THREADS SILENCE
 *
 *   echo      messages of SIZE bytes on SOCKETS connections, one under way on each
 *   visit     the same, each message on a connection of its own
 *   udp       the same by datagrams; one that is not answered is counted as lost, and sent again
 *   transfer  SIZE bytes over one connection, sent and received at the same time
 *
 * It says "ready" when each socket has had one answer, reads "go SECONDS", puts the load on, and says
 * "done ANSWERS LOST SECONDS", up to the last answer; it then reads the next "go", and ends with its input. A load of
 * 0 seconds is one message on each socket. Each byte of each answer is checked: what is wrong, and a server that says
 * nothing for SILENCE seconds, ends it with a line on standard error and the code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STAMP = 16, EVENTS = 256 };
#define LOST_AFTER 10.0 /* seconds; a server that starts a process for each of 32 datagrams may be that slow */

struct peer {
  int fd;
  unsigned number, sequence; /* both are in each message: no other answer is the same */
  size_t sent, got;
  double since; /* when the message was sent */
  int busy, watches_output;
  char *message;
};

struct worker {
  pthread_t thread;
  int epoll, busy;
  struct peer *peers;
  size_t count;
  unsigned long answers, lost;
  double last; /* when the last answer came */
  char *answer;
};

static enum { ECHO, VISIT, UDP, TRANSFER } kind;
static struct sockaddr_in server;
static size_t size;
static double deadline, silence;
static pthread_barrier_t barrier;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  _exit(1);
}

static void watch(struct worker *worker, struct peer *peer, int operation, int output) {
  struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = peer};
  if (epoll_ctl(worker->epoll, operation, peer->fd, &event) < 0) fail("Cannot watch socket: %m");
  peer->watches_output = output;
}

static void open_socket(struct worker *worker, struct peer *peer) {
  const int one = 1;
  peer->fd = socket(AF_INET, (kind == UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
  if (peer->fd < 0) fail("Cannot open socket: %m");
  if (kind != UDP) setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(peer->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
    fail("Cannot connect: %m");
  watch(worker, peer, EPOLL_CTL_ADD, kind != UDP);
}

static void send_rest(struct worker *worker, struct peer *peer) {
  while (peer->sent < size) {
    ssize_t length = send(peer->fd, peer->message + peer->sent, size - peer->sent, MSG_NOSIGNAL);
    if (length < 0 && errno == EAGAIN) break;
    if (length < 0) fail("Cannot send message on connection %u: %m", peer->number);
    peer->sent += length;
  }
  const int output = peer->sent < size;
  if (output != peer->watches_output) watch(worker, peer, EPOLL_CTL_MOD, output);
}

static void start_message(struct worker *worker, struct peer *peer) {
  char stamp[STAMP + 1];
  snprintf(stamp, sizeof stamp, "%07x %07x ", peer->number & 0xfffffff, ++peer->sequence & 0xfffffff);
  memcpy(peer->message, stamp, STAMP);
  peer->sent = peer->got = 0;
  peer->since = now();
  if (!peer->busy) worker->busy++;
  peer->busy = 1;
  if (kind == VISIT) open_socket(worker, peer); /* what can be written is sent when it is connected */
  else send_rest(worker, peer);
}

static void end_message(struct worker *worker, struct peer *peer) {
  worker->answers++;
  if (kind == VISIT) close(peer->fd);
  worker->last = now();
  if (worker->last < deadline) {
    start_message(worker, peer);
  } else {
    worker->busy--;
    peer->busy = 0;
  }
}

static void check(const struct peer *peer, const char *answer, size_t length) {
  if (memcmp(answer, peer->message + peer->got, length) != 0)
    fail("Cannot use answer: it is not message %u of connection %u", peer->sequence, peer->number);
}

static void receive_stream(struct worker *worker, struct peer *peer) {
  const size_t room = peer->busy ? size - peer->got : 1;
  ssize_t length = recv(peer->fd, worker->answer, room, 0);
  if (length < 0 && errno == EAGAIN) return;
  if (length < 0) fail("Cannot read answer on connection %u: %m", peer->number);
  if (length == 0) fail("Cannot read answer: the server closed connection %u", peer->number);
  if (!peer->busy) fail("Cannot use answer: nothing was asked on connection %u", peer->number);
  check(peer, worker->answer, length);
  peer->got += length;
  if (peer->got == size) end_message(worker, peer);
}

static void receive_datagram(struct worker *worker, struct peer *peer) {
  ssize_t length = recv(peer->fd, worker->answer, size + 1, 0);
  if (length < 0 && errno == EAGAIN) return;
  if (length < 0) fail("Cannot read answer on socket %u: %m", peer->number);
  if ((size_t)length != size) fail("Cannot use answer: it has %zd bytes, not %zu", length, size);
  const unsigned sequence = strtoul(worker->answer + 8, NULL, 16);
  const int late = (sequence < peer->sequence || !peer->busy) && memcmp(worker->answer, peer->message, 8) == 0 &&
                   memcmp(worker->answer + STAMP, peer->message + STAMP, size - STAMP) == 0;
  if (late) return; /* the answer to one that counts as lost */
  check(peer, worker->answer, length);
  end_message(worker, peer);
}

static void look_for_lost(struct worker *worker) {
  const double time = now();
  for (size_t index = 0; index < worker->count; index++) {
    struct peer *peer = &worker->peers[index];
    if (!peer->busy || time - peer->since < LOST_AFTER) continue;
    worker->lost++;
    if (time < deadline) start_message(worker, peer);
    else worker->busy--, peer->busy = 0;
  }
}

/* One message on each socket, and then the next ones until the deadline. */
static void run(struct worker *worker) {
  struct epoll_event events[EVENTS];
  double heard = now();
  for (size_t index = 0; index < worker->count; index++) start_message(worker, &worker->peers[index]);
  while (worker->busy > 0) {
    int count = epoll_wait(worker->epoll, events, EVENTS, 100);
    if (count < 0 && errno != EINTR) fail("Cannot wait for answers: %m");
    for (int index = 0; index < count; index++) {
      struct peer *peer = events[index].data.ptr;
      if (events[index].events & EPOLLOUT) send_rest(worker, peer);
      if (!(events[index].events & (EPOLLIN | EPOLLERR | EPOLLHUP))) continue;
      heard = now();
      if (kind == UDP) receive_datagram(worker, peer);
      else receive_stream(worker, peer);
    }
    if (now() - heard > silence)
      fail("Cannot read answer: the server is silent on %d of %zu sockets", worker->busy, worker->count);
    if (kind == UDP) look_for_lost(worker);
  }
}

static void *work(void *argument) {
  struct worker *worker = argument;
  if (kind != VISIT)
    for (size_t index = 0; index < worker->count; index++) open_socket(worker, &worker->peers[index]);
  const double limit = now() + silence;
  do run(worker); /* the deadline is past: one message each */
  while (kind == UDP && worker->answers == 0 && now() < limit);
  if (worker->answers == 0) fail("Cannot read answer: the server is silent");
  while (1) {
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* in between, the main thread resets the counts and sets the deadline */
    run(worker);
  }
  return NULL;
}

/* Bytes of which no two stretches of the size of a buffer are the same. */
static char *pattern_of(size_t period, size_t more) {
  char *pattern = malloc(period + more);
  unsigned state = 1;
  for (size_t index = 0; index < period; index++) pattern[index] = (state = state * 1664525 + 1013904223) >> 24;
  memcpy(pattern + period, pattern, more);
  return pattern;
}

static void transfer(void) {
  enum { CHUNK = 1 << 18, PERIOD = 1000003 };
  char *pattern = pattern_of(PERIOD, CHUNK), *answer = malloc(CHUNK);
  struct pollfd polled = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
  if (connect(polled.fd, (struct sockaddr *)&server, sizeof server) < 0) fail("Cannot connect: %m");
  fcntl(polled.fd, F_SETFL, O_NONBLOCK);
  for (size_t sent = 0, got = 0; got < size;) {
    polled.events = POLLIN | (sent < size ? POLLOUT : 0);
    if (poll(&polled, 1, silence * 1000) <= 0) fail("Cannot read answer: the server is silent");
    if (polled.revents & POLLOUT) {
      const size_t rest = size - sent;
      ssize_t length = send(polled.fd, pattern + sent % PERIOD, rest < CHUNK ? rest : CHUNK, MSG_NOSIGNAL);
      if (length < 0 && errno != EAGAIN) fail("Cannot send: %m");
      if (length > 0) sent += length;
    }
    if (polled.revents & ~POLLOUT) {
      ssize_t length = recv(polled.fd, answer, CHUNK, 0);
      if (length == 0) fail("Cannot read answer: the server closed the connection");
      if (length < 0 && errno != EAGAIN) fail("Cannot read answer: %m");
      if (length > 0 && ((size_t)length > sent - got || memcmp(answer, pattern + got % PERIOD, length) != 0))
        fail("Cannot use answer: byte %zu and what follows is not what was sent", got);
      if (length > 0) got += length;
    }
  }
  close(polled.fd);
}

static struct worker *start_workers(size_t sockets, size_t threads) {
  struct worker *workers = calloc(threads, sizeof *workers);
  pthread_barrier_init(&barrier, NULL, threads + 1);
  for (size_t index = 0; index < threads; index++) {
    struct worker *worker = &workers[index];
    worker->epoll = epoll_create1(0);
    worker->count = sockets / threads + (index < sockets % threads);
    worker->peers = calloc(worker->count, sizeof *worker->peers);
    worker->answer = malloc(size + 1);
    for (size_t each = 0; each < worker->count; each++) {
      struct peer *peer = &worker->peers[each];
      peer->number = index + each * threads;
      peer->message = malloc(size);
      for (size_t byte = 0; byte < size; byte++) peer->message[byte] = 'a' + byte % 26;
      peer->message[size - 1] = '\n'; /* for servers that answer lines */
    }
    pthread_create(&worker->thread, NULL, work, worker);
  }
  return workers;
}

int main(int count, char **arguments) {
  static const char *const KINDS[] = {"echo", "visit", "udp", "transfer"};
  if (count != 7) fail("Usage: load KIND PORT SOCKETS SIZE THREADS SILENCE");
  while (strcmp(KINDS[kind], arguments[1]) != 0)
    if (++kind > TRANSFER) fail("Cannot use kind \"%s\": expected echo, visit, udp or transfer", arguments[1]);
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons(atoi(arguments[2]));
  const size_t sockets = atoi(arguments[3]), most = atoi(arguments[5]);
  const size_t threads = most < sockets ? most : sockets;
  size = strtoull(arguments[4], NULL, 10);
  silence = atof(arguments[6]);
  if (size <= STAMP || sockets == 0 || threads == 0) fail("Cannot use sizes: too small");
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  signal(SIGPIPE, SIG_IGN);

  struct worker *workers = kind == TRANSFER ? NULL : start_workers(sockets, threads);
  if (workers != NULL) pthread_barrier_wait(&barrier);
  printf("ready\n");
  fflush(stdout);
  double seconds;
  while (scanf(" go %lf", &seconds) == 1) {
    unsigned long answers = 0, lost = 0;
    for (size_t index = 0; workers && index < threads; index++) workers[index].answers = workers[index].lost = 0;
    const double start = now();
    deadline = start + seconds;
    if (workers == NULL) {
      transfer();
      answers = 1;
    } else {
      pthread_barrier_wait(&barrier);
      pthread_barrier_wait(&barrier);
    }
    double last = workers == NULL ? now() : start;
    for (size_t index = 0; workers && index < threads; index++) {
      answers += workers[index].answers;
      lost += workers[index].lost;
      if (workers[index].last > last) last = workers[index].last;
    }
    printf("done %lu %lu %.6f\n", answers, lost, answers > 0 ? last - start : now() - start);
    fflush(stdout);
  }
  return 0;
}
