/* utcp-lossy: forwards datagrams between one client and one server, and harms them on the way.
 *
 *   utcp-lossy ADDRESS:PORT --to SERVER:PORT [--seed N] [--delay MS]
 *              [--loss P] [--reorder P] [--duplicate P] [--corrupt P]
 *
 * P is per cent of all datagrams, in both directions. Whoever is not the server is the client; there is one socket, so
 * the server sees the forwarder's address. A seed repeats the dice, though not what real sockets make of them.
 *
 * There is no endpoint here, so it reads for itself; it sends through utcp_socket, all that is due in one call.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <event2/event.h>

#include <utcp.h>

#define LARGEST 65536
#define MOST_HELD 20000 /* datagrams on their way: the queue of this "link" */
#define BATCH 64        /* datagrams handed over at once */

struct held {
  struct held *next;
  uint64_t due;
  int to_server;
  size_t len;
  uint8_t data[];
};

struct lossy {
  struct event_base *base;
  struct event *readable, *writable, *timer;
  int fd;
  utcp_socket *socket;
  struct sockaddr_in server, client;
  int client_known;
  uint64_t random, delay;
  double loss, reorder, duplicate, corrupt;
  struct held *first; /* by due time */
  struct held *last;
  unsigned count;
  uint64_t lost, reordered, duplicated, corrupted, overflowed;
};

static uint64_t
now_us(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* xorshift64* */
static uint64_t
dice(struct lossy *l)
{
  l->random ^= l->random >> 12;
  l->random ^= l->random << 25;
  l->random ^= l->random >> 27;
  return l->random * UINT64_C(0x2545F4914F6CDD1D);
}

static int
chance(struct lossy *l, double percent)
{
  return (double)(dice(l) >> 11) / 9007199254740992.0 * 100.0 < percent;
}

/* When there is something to do next: the socket is full until it is writable, or the first one is not due yet. */
static void
set_timer(struct lossy *l)
{
  if (!l->first || event_pending(l->writable, EV_WRITE, NULL)) {
    event_del(l->timer);
    return;
  }
  uint64_t now = now_us(), wait = l->first->due > now ? l->first->due - now : 0;
  struct timeval tv = { .tv_sec = (time_t)(wait / 1000000), .tv_usec = (suseconds_t)(wait % 1000000) };
  event_add(l->timer, &tv);
}

/* Those that are due, in this order; the rest waits for the socket. */
static void
send_due(struct lossy *l)
{
  uint64_t now = now_us();
  size_t count, sent;
  do {
    utcp_datagram batch[BATCH];
    count = 0;
    for (struct held *h = l->first; h && h->due <= now && count < BATCH; h = h->next) {
      const struct sockaddr_in *to = h->to_server ? &l->server : &l->client;
      batch[count++] = (utcp_datagram){
        .address = (const struct sockaddr *)to, .address_len = sizeof *to, .data = h->data, .len = h->len
      };
    }
    sent = count ? utcp_socket_send(l->socket, batch, count) : 0;
    for (size_t i = 0; i < sent; i++) {
      struct held *h = l->first;
      l->first = h->next;
      l->count--;
      free(h);
    }
    if (!l->first)
      l->last = NULL;
  } while (count == BATCH && sent == count);
  if (sent < count)
    event_add(l->writable, NULL);
}

static void
hold(struct lossy *l, const uint8_t *data, size_t len, int to_server, uint64_t due)
{
  struct held *h = l->count < MOST_HELD ? malloc(sizeof *h + len) : NULL;
  if (!h) {
    l->overflowed++;
    return;
  }
  h->due = due;
  h->to_server = to_server;
  h->len = len;
  memcpy(h->data, data, len);
  l->count++;
  /* Almost always behind the last one. */
  if (l->last && l->last->due <= due) {
    h->next = NULL;
    l->last->next = h;
    l->last = h;
    return;
  }
  struct held **at = &l->first;
  while (*at && (*at)->due <= due)
    at = &(*at)->next;
  h->next = *at;
  *at = h;
  if (!h->next)
    l->last = h;
}

static void
take(struct lossy *l, uint8_t *data, size_t len, const struct sockaddr_in *from)
{
  int from_server = from->sin_port == l->server.sin_port && from->sin_addr.s_addr == l->server.sin_addr.s_addr;
  if (!from_server) {
    l->client = *from;
    l->client_known = 1;
  } else if (!l->client_known) {
    return;
  }
  if (chance(l, l->loss)) {
    l->lost++;
    return;
  }
  uint64_t due = now_us() + l->delay;
  if (chance(l, l->duplicate)) {
    l->duplicated++;
    hold(l, data, len, !from_server, due);
  }
  if (len && chance(l, l->corrupt)) {
    l->corrupted++;
    data[dice(l) % len] ^= (uint8_t)(1 + dice(l) % 255);
  }
  if (chance(l, l->reorder)) {
    l->reordered++;
    due += 1000 + dice(l) % 10000;
  }
  hold(l, data, len, !from_server, due);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
  (void)what;
  struct lossy *l = arg;
  static uint8_t data[LARGEST];
  for (int i = 0; i < 256; i++) {
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t len = recvfrom(fd, data, sizeof data, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    if (len < 0)
      break;
    take(l, data, (size_t)len, &from);
  }
  if (!event_pending(l->writable, EV_WRITE, NULL))
    send_due(l);
  set_timer(l);
}

/* The time of the first one has come, or the socket takes more. */
static void
on_due(evutil_socket_t fd, short what, void *arg)
{
  (void)fd, (void)what;
  send_due(arg);
  set_timer(arg);
}

static void
on_signal(evutil_socket_t number, short what, void *arg)
{
  (void)number, (void)what;
  struct lossy *l = arg;
  event_base_loopexit(l->base, NULL);
}

static void
fail(const char *what)
{
  fprintf(stderr, "utcp-lossy: %s\n", what);
  exit(2);
}

static struct sockaddr_in
parse_address(const char *text)
{
  struct sockaddr_in address = { .sin_family = AF_INET };
  char host[INET_ADDRSTRLEN];
  unsigned port;
  int end = 0;
  if (sscanf(text, "%15[0-9.]:%u%n", host, &port, &end) != 2 || text[end] || port > 65535 ||
      inet_pton(AF_INET, host, &address.sin_addr) != 1)
    fail("addresses are ADDRESS:PORT");
  address.sin_port = htons((uint16_t)port);
  return address;
}

static double
parse_percent(const char *text)
{
  char *end;
  double value = strtod(text, &end);
  if (*end || end == text || !(value >= 0 && value <= 100))
    fail("percentages are from 0 to 100");
  return value;
}

int
main(int argc, char **argv)
{
  struct lossy l = { .random = 1 };
  static const struct option options[] = {
    { "to", 1, NULL, 't' },        { "seed", 1, NULL, 's' },      { "delay", 1, NULL, 'd' },
    { "loss", 1, NULL, 'l' },      { "reorder", 1, NULL, 'r' },   { "duplicate", 1, NULL, 'u' },
    { "corrupt", 1, NULL, 'c' },   { NULL, 0, NULL, 0 },
  };
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (o) {
    case 't': l.server = parse_address(optarg); break;
    case 's': l.random = strtoull(optarg, NULL, 10) * UINT64_C(0x9E3779B97F4A7C15) | 1; break;
    case 'd': l.delay = strtoull(optarg, NULL, 10) * 1000; break;
    case 'l': l.loss = parse_percent(optarg); break;
    case 'r': l.reorder = parse_percent(optarg); break;
    case 'u': l.duplicate = parse_percent(optarg); break;
    case 'c': l.corrupt = parse_percent(optarg); break;
    default: fail("unknown option");
    }
  if (optind != argc - 1 || !l.server.sin_port)
    fail("usage: utcp-lossy ADDRESS:PORT --to SERVER:PORT [options]");
  struct sockaddr_in address = parse_address(argv[optind]);
  socklen_t len = sizeof address;
  char text[INET_ADDRSTRLEN];

  l.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int size = 4 << 20;
  if (l.fd < 0 || bind(l.fd, (struct sockaddr *)&address, sizeof address))
    fail(strerror(errno));
  setsockopt(l.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(l.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  /* Its own reading takes one datagram at a time. */
  if (utcp_socket_new(l.fd, UTCP_SOCKET_COALESCE, &l.socket) != UTCP_OK)
    fail("no socket handle");
  getsockname(l.fd, (struct sockaddr *)&address, &len);
  printf("listening %s:%u\n", inet_ntop(AF_INET, &address.sin_addr, text, sizeof text), ntohs(address.sin_port));
  fflush(stdout);

  l.base = event_base_new();
  if (!l.base)
    fail("no event loop");
  l.readable = event_new(l.base, l.fd, EV_READ | EV_PERSIST, on_readable, &l);
  l.writable = event_new(l.base, l.fd, EV_WRITE, on_due, &l);
  l.timer = evtimer_new(l.base, on_due, &l);
  struct event *sigint = evsignal_new(l.base, SIGINT, on_signal, &l);
  struct event *sigterm = evsignal_new(l.base, SIGTERM, on_signal, &l);
  event_add(l.readable, NULL);
  event_add(sigint, NULL);
  event_add(sigterm, NULL);
  event_base_dispatch(l.base);

  utcp_socket_stats stats = { .size = sizeof stats };
  if (utcp_socket_get_stats(l.socket, &stats) != UTCP_OK)
    fail("no statistics");
  l.overflowed += stats.lost_too_large + stats.lost_unreachable + stats.lost_refused + stats.lost_no_buffers +
                  stats.lost_other;
  printf("forwarded=%" PRIu64 " lost=%" PRIu64 " reordered=%" PRIu64 " duplicated=%" PRIu64 " corrupted=%" PRIu64
         " overflowed=%" PRIu64 "\n",
         stats.datagrams_sent, l.lost, l.reordered, l.duplicated, l.corrupted, l.overflowed);
  while (l.first) {
    struct held *h = l.first;
    l.first = h->next;
    free(h);
  }
  event_free(l.readable);
  event_free(l.writable);
  event_free(l.timer);
  event_free(sigint);
  event_free(sigterm);
  event_base_free(l.base);
  utcp_socket_free(l.socket);
  close(l.fd);
  return 0;
}
