/* Peers of the glue: plain endpoints of the library on UDP sockets of their own, in the same thread, on a clock that
 * the test moves. libevent's timers run on that clock, too (see clock_gettime in loopback.c).
 *
 * Nothing here asserts inside a callback of the library or of the glue: cmocka leaves a test with longjmp, which must
 * not cross their frames. */
#ifndef LOOPBACK_H
#define LOOPBACK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <utcp.h>

#include "../unit/identity.h"

#define MS UINT64_C(1000)
#define SECOND UINT64_C(1000000)

/* ---- cells ---- */

enum { /* tor-spec */
  CELL_PADDING = 0,
  CELL_CREATE = 1,
  CELL_CREATED = 2,
  CELL_RELAY = 3,
  CELL_DESTROY = 4,
  CELL_CREATE_FAST = 5,
  CELL_CREATED_FAST = 6,
  CELL_NETINFO = 8,
  CELL_RELAY_EARLY = 9,
  CELL_CREATE2 = 10,
  CELL_CREATED2 = 11
};

#define CELL_PAYLOAD 509
#define CELL_ROOM (4 + 1 + CELL_PAYLOAD)

struct cell {
  uint32_t number;
  uint8_t command;
  uint8_t payload[CELL_PAYLOAD];
};

static inline size_t
cell_size(size_t id_len)
{
  return id_len + 1 + CELL_PAYLOAD;
}

/* Writes the cell whose payload says number and `seq` all over; its size. */
size_t cell_pack(uint8_t *out, size_t id_len, uint32_t number, uint8_t command, uint32_t seq);
void cell_unpack(const uint8_t *in, size_t id_len, struct cell *cell);
/* Is it the one that cell_pack has made? */
bool cell_is(const struct cell *cell, uint32_t number, uint8_t command, uint32_t seq);

/* ---- octets that grow ---- */

struct octets {
  uint8_t *data;
  size_t len, room;
};

void octets_add(struct octets *octets, const void *data, size_t len);
void octets_free(struct octets *octets);

/* ---- peers ---- */

struct peer;

/* A circuit as the peer has it. */
struct circuit {
  struct peer *peer;
  utcp_circuit *handle; /* NULL once freed */
  uint32_t number;
  bool incoming;
  bool paused; /* not read */
  bool end;    /* its end was read */
  int closed;  /* the reason; 0 while it is open */
  struct octets in, out;
  size_t out_done;
  bool finish; /* when all of `out` was written */
  struct circuit *next;
};

struct peer_options {
  uint16_t port; /* default: the next free one */
  const struct identity *identity;
  uint64_t receive_buffer;
  bool none; /* so that there may be none in PEER() */
};

struct peer {
  utcp_endpoint *endpoint; /* NULL once stopped */
  int fd;
  struct sockaddr_in address;
  utcp_connection *connection; /* the latest */
  struct circuit *control;     /* its control circuit, once it is ready */
  struct circuit *circuits;    /* the latest first */
  unsigned incoming, ready, closed, refused_circuits;
  int close_reason; /* the latest */
  int role;
  uint8_t seen[32]; /* SHA-256 of the certificate that the other side has presented last; 0: none */

  bool refuse_circuits;
  bool deaf;   /* what comes in is lost */
  bool mute;   /* what goes out is lost */
  bool asleep; /* does nothing, and what comes in waits */
  unsigned lose_next; /* so many datagrams that come in are lost */

  uint64_t rx, tx;
  utcp_connection **connections;
  size_t connection_count;
  struct peer *next;
};

/* The address that all sockets of this process are bound to. */
struct sockaddr_in loopback_address(uint16_t port);

void loopback_setup(void);
void loopback_teardown(void);

struct peer *peer_new(const struct peer_options *options);
#define PEER(...) peer_new(&(struct peer_options){ .none = false, __VA_ARGS__ })
/* The process is gone, without a word; the socket, too. */
void peer_stop(struct peer *peer);
/* Begins a connection to the glue's socket. */
void peer_connect(struct peer *peer);
struct circuit *peer_open(struct peer *peer, uint32_t number);
/* The latest circuit with this number; NULL: there is none. */
struct circuit *peer_circuit(struct peer *peer, uint32_t number);

void circuit_write(struct circuit *circuit, const void *data, size_t len);
/* Writes `count` cells with this command, their payloads counting up from `seq`. */
void circuit_cells(struct circuit *circuit, size_t id_len, uint8_t command, uint32_t seq, size_t count);
void circuit_finish(struct circuit *circuit);
void circuit_abort(struct circuit *circuit);
/* Cells that have come, of the length of an `id_len`. */
size_t circuit_count(const struct circuit *circuit, size_t id_len);
struct cell circuit_cell(const struct circuit *circuit, size_t id_len, size_t index);
/* So many octets have arrived at the other side and were acknowledged, or never will be. */
bool circuit_is_delivered(const struct circuit *circuit);
utcp_circuit_info circuit_info(const struct circuit *circuit);

/* ---- running ---- */

/* The clock of everything in this process that asks for a monotonic one. */
extern uint64_t clock_now;
extern struct event_base *loop_base;

/* What the next calls of utcp_socket_send (which the glue uses, and peers do not) do. */
struct send_script {
  unsigned full; /* so many take nothing */
  unsigned lost; /* so many lose their first datagram */
  size_t limit;  /* of the others, each takes no more than this; 0: all */
};
extern struct send_script sending;

/* What functions of the library answer instead of doing their work, unless it is UTCP_OK. */
struct failure_script {
  int open_circuit; /* each time */
  int process;      /* the next time */
};
extern struct failure_script failing;

/* One turn of everything, and the clock moves on; not beyond `limit`, where it returns false. */
bool loopback_step(uint64_t limit);
void run_for(uint64_t span);
/* As many turns, during which next to no time goes by. */
void run_turns(unsigned count);

/* Runs until `expr` is true; the test fails when it is not after `limit` microseconds of the test's clock. */
#define RUN_UNTIL(limit_, expr)                                           \
  do {                                                                    \
    uint64_t end__ = clock_now + (limit_);                                \
    bool true__;                                                          \
    while (!(true__ = !!(expr)) && loopback_step(end__)) {                \
    }                                                                     \
    if (!true__)                                                          \
      loopback_describe();                                                \
    if (!true__)                                                          \
      fail_msg("time ran out while waiting for: %s", #expr);              \
  } while (0)

void loopback_describe(void);

/* The smaller number for slow runs, such as under valgrind. */
unsigned scaled(unsigned full, unsigned small);

#endif
