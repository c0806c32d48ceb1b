/* Endpoints in one process, joined by a network in memory with a clock of its own.
 *
 * No socket, no real time, no thread. A test makes hosts, runs the network until something has happened or the
 * virtual time it allows is over, and looks at what each host was told. Nothing here asserts inside a callback of
 * the library: cmocka leaves a test with longjmp, which must not cross the library's frames. */
#ifndef PAIR_H
#define PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <utcp.h>

#include "identity.h"

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)

/* ---- what a host was told ---- */

enum event_kind {
  EV_INCOMING,
  EV_VERIFY,
  EV_READY,
  EV_CLOSED,
  EV_CIRCUIT_INCOMING,
  EV_READABLE,
  EV_WRITABLE,
  EV_CIRCUIT_CLOSED,
  EV_MEMORY,
  EV_KINDS
};

struct event {
  enum event_kind kind;
  uint64_t time;
  utcp_connection *connection;
  utcp_circuit *circuit;
  int reason;         /* EV_CLOSED, EV_CIRCUIT_CLOSED; EV_MEMORY: the level */
  uint32_t number;    /* EV_CIRCUIT_INCOMING */
  struct ssl_st *ssl; /* EV_VERIFY */
};

struct net;
struct host;

/* Called instead of the default handling; the answer goes to the library where it wants one. */
typedef int (*event_hook)(struct host *host, const struct event *event);

struct host {
  struct net *net;
  utcp_endpoint *endpoint; /* NULL once freed */
  struct sockaddr_in6 address; /* room for both families */
  socklen_t address_len;
  const struct identity *identity;
  void *user; /* the test's */

  event_hook hook[EV_KINDS];
  int answer[EV_KINDS]; /* without a hook: what the callback answers; default 0 */
  struct event *events;
  size_t event_count, event_room;

  size_t tx_limit;     /* datagrams taken by a call; default all */
  size_t tx_overstate; /* added to the count that is returned: a lying caller */
  void (*tx_hook)(struct host *host);
  uint64_t tx_calls, tx_datagrams, tx_octets, tx_short;
  uint64_t tx_ecn[4];    /* datagrams by their ECN field */
  uint64_t tx_invalid;   /* batches that no socket could have sent */
  uint64_t tx_reordered; /* a refused datagram was not the first of the next batch */
  uint64_t rx_datagrams, rx_octets;
  uint8_t *refused;
  size_t refused_len;
  uint64_t wake; /* when the socket is writable again */

  struct { void *handle; int is_circuit; } *handles;
  size_t handle_count, handle_room;
  struct stream **streams;
  size_t stream_count;
};

struct host_options {
  uint16_t port;  /* default: the next free one */
  int ipv6;
  const struct identity *identity; /* default: net_identity(net, index of the host) */
  struct { int option; uint64_t value; } set[8];
  unsigned without;     /* bits 1 << EV_...: callbacks left NULL */
  int without_tx;
};

struct net {
  uint64_t now;
  uint64_t random;
  uint64_t delay; /* one way; default 10 ms */
  /* thousandths of all datagrams */
  unsigned loss, duplicate, reorder, corrupt;
  /* The ECN field with which a datagram arrives; default: with that which it was sent with */
  uint8_t (*mark)(struct net *net, struct host *to, uint8_t ecn);
  /* 0 delivers, non-zero drops; sees every datagram before chance does */
  int (*filter)(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len);
  void *user;
  struct flight *flights;
  size_t flight_count, flight_room;
  uint64_t order;
  uint64_t lost;
  unsigned still; /* steps since the clock moved */
  struct host *hosts[64];
  size_t host_count;
  struct identity *identities[2];
};

/* ---- network ---- */

struct net *net_new(uint64_t seed);
/* Frees all hosts and handles; returns the number of frees that failed. */
int net_free(struct net *net);
uint64_t net_random(struct net *net);
/* Two identities that live as long as the network: for even and odd hosts. */
const struct identity *net_identity(struct net *net, size_t index);
/* Moves the clock to what is due next and does it. 0 when nothing is due before `limit` (the clock is there then). */
int net_step(struct net *net, uint64_t limit);
/* Hands a datagram to a host now, as if it came from `from`; the library's answer. */
int net_inject(struct host *to, const struct sockaddr *from, socklen_t from_len, const uint8_t *data, size_t len);

/* Runs until `expr` is true; the test fails when it is not after `limit` microseconds of virtual time. */
#define RUN_UNTIL(net_, limit_, expr)                                                  \
  do {                                                                                 \
    uint64_t end__ = (net_)->now + (limit_);                                           \
    int true__;                                                                        \
    while (!(true__ = !!(expr)) && net_step((net_), end__)) {                          \
    }                                                                                  \
    if (!true__)                                                                       \
      net_describe(net_);                                                              \
    if (!true__)                                                                       \
      fail_msg("virtual time ran out while waiting for: %s", #expr);                   \
  } while (0)

/* Prints the latest events and the counters of all hosts, for whoever looks into a failure. */
void net_describe(const struct net *net);
/* Runs for a while, whatever happens. */
void run_for(struct net *net, uint64_t span);

/* ---- hosts ---- */

struct host *host_new(struct net *net, const struct host_options *options);
#define HOST(net_, ...) host_new((net_), &(struct host_options){ .port = 0, __VA_ARGS__ })
/* The same callbacks as a host's; for tests that make endpoints themselves. */
utcp_callbacks host_callbacks(const struct host_options *options);
/* A configuration with the options applied; the caller frees. */
utcp_config *host_config(const struct host_options *options, const struct identity *identity);
/* Frees the endpoint; handles stay. */
void host_stop(struct host *host);
/* A new endpoint at the address of a stopped host: a process that was started again. */
struct host *host_restart(struct host *host, const struct host_options *options);

const struct sockaddr *host_address(const struct host *host);
size_t host_count(const struct host *host, enum event_kind kind);
size_t host_count_circuit(const struct host *host, enum event_kind kind, const utcp_circuit *circuit);
size_t host_count_connection(const struct host *host, enum event_kind kind, const utcp_connection *connection);
/* The latest event of a kind; NULL if there was none. */
const struct event *host_last(const struct host *host, enum event_kind kind);
/* The reason of the close event of this handle; 0 if there was none. */
int host_closed(const struct host *host, const utcp_connection *connection);
int host_circuit_closed(const struct host *host, const utcp_circuit *circuit);

/* Handles that the test got by itself, so that net_free frees them; and the opposite before a free by the test. */
void host_track_connection(struct host *host, utcp_connection *connection);
void host_track_circuit(struct host *host, utcp_circuit *circuit);
void host_untrack(struct host *host, const void *handle);
int host_holds(const struct host *host, const void *handle);

/* Asserting short cuts: not for callbacks. */
utcp_connection *connect_to(struct host *from, struct host *to, const uint8_t *pin);
utcp_circuit *open_circuit(struct host *host, utcp_connection *connection, uint32_t number);
void free_circuit(struct host *host, utcp_circuit *circuit);
void free_connection(struct host *host, utcp_connection *connection);
utcp_circuit_info circuit_info(const utcp_circuit *circuit);
utcp_connection_stats connection_stats(const utcp_connection *connection);
utcp_endpoint_stats endpoint_stats(const struct host *host);

/* Two hosts with a ready connection. */
struct pair {
  struct net *net;
  struct host *a, *b;         /* a connected to b */
  utcp_connection *ab, *ba;   /* a's handle, b's handle */
};
struct pair pair_new(struct net *net, const struct host_options *a, const struct host_options *b);
/* Opens a circuit from a and waits until b has it. */
struct circuits { utcp_circuit *a, *b; };
struct circuits pair_open(struct pair *pair, uint32_t number);

/* ---- streams: seeded octets over a circuit, driven by events alone ---- */

struct stream {
  struct host *host;
  utcp_circuit *circuit;
  uint64_t out_seed, out_total, out_done;
  uint64_t in_seed, in_done;
  int finish;    /* half-close when everything was written */
  int finished;
  int echo;      /* write what was read (in_seed), finish at the end of the input */
  int paused;    /* do not read */
  int end;       /* the peer has finished */
  int wrong;     /* octets that differ from the pattern */
  int error;     /* an unexpected answer of the library */
  int closed;    /* reason */
};

/* Becomes the circuit's user data. Freed with the network. */
struct stream *stream_new(struct host *host, utcp_circuit *circuit);
/* Writes and reads what is possible now. */
void stream_pump(struct stream *stream);
/* The stream of a circuit. */
struct stream *stream_of(const utcp_circuit *circuit);
/* What readable and writable do by themselves; for hooks that act once. */
void stream_on_event(const struct event *event);
/* EV_CIRCUIT_INCOMING hooks: the new circuit reads (seed: number), or sends back what it reads. */
int accept_sink(struct host *host, const struct event *event);
int accept_echo(struct host *host, const struct event *event);
/* `len` octets of the pattern `seed` from `offset` on. */
void pattern(uint64_t seed, uint64_t offset, uint8_t *buffer, size_t len);

/* ---- cmocka ---- */

/* Fixture: *state is a struct net. */
int setup_net(void **state);
int teardown_net(void **state);
#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, setup_net, teardown_net)
/* A smaller number where each step costs much (valgrind). */
unsigned scaled(unsigned full, unsigned small);

#endif
