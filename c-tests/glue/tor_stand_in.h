/* Tor's side of the glue: connections that record what happens to them, and do what a test has told them to. */
#ifndef TOR_STAND_IN_H
#define TOR_STAND_IN_H

#include "loopback.h"

#include "or_utcp_glue.h"

#define RELAY_PORT 9001

enum tor_state { TOR_CONNECTING, TOR_HANDSHAKING, TOR_OPEN, TOR_TCP };

enum tor_call {
  CALL_ACCEPT,
  CALL_HANDSHAKE,
  CALL_CONTROL,
  CALL_TCP,
  CALL_CLOSE,
  CALL_MOVED,
  CALL_CELL,
  CALL_LOST,
  CALL_ROOM,
  CALLS
};

/* Called at the end of or_utcp_tor_...(); `number` is the circuit's, or 0. */
typedef void (*tor_hook)(struct or_connection_t *conn, enum tor_call call, uint32_t number);

struct or_connection_t {
  or_utcp_link_t *link; /* NULL: freed, or by TCP now */
  enum tor_state state;
  bool marked, outgoing;
  bool swept; /* it is marked, and freed in the next turn */
  size_t id_len;
  uint8_t identity[OR_UTCP_IDENTITY_LEN];
  char name[32];

  /* What has happened. */
  unsigned calls[CALLS];
  bool is_server;
  bool had_ssl; /* in begin_handshake and in each control_received */
  int close_reason;
  struct cell *cells;
  size_t cell_count, cell_room;
  struct octets control;
  uint32_t lost[256], room[256]; /* of calls[CALL_LOST], calls[CALL_ROOM] */
  uint64_t moved_received, moved_sent;
  struct sockaddr_in address; /* that it was accepted from */

  tor_hook hook;
  unsigned hooked; /* what a hook has counted */
};

struct tor {
  struct or_connection_t *conns[128];
  size_t conn_count;
  bool is_accepting, accepts_from, wants_connection, logs_debug;
  bool open_at_once; /* Tor's handshake takes no time */
  size_t id_len;   /* of connections to come */
  tor_hook hook;   /* the same */
  unsigned logged[OR_UTCP_DEBUG + 1];
  char last_log[OR_UTCP_DEBUG + 1][512];
  uint64_t times_asked; /* calls of or_utcp_tor_now */
  unsigned writing; /* within or_utcp_link_write_cell */
  /* What must not be: a call about a connection that is marked, at a wrong time, and the like. */
  unsigned violations;
  char violation[256];
  struct event *sweep;
  struct identity *identity, *other_identity;
};

extern struct tor tor;

/* Of cmocka: an open endpoint, no connections. */
int tor_setup(void **state);
/* Frees everything, and fails if there were violations or if the glue holds anything back. */
int tor_teardown(void **state);

or_utcp_settings_t tor_settings(void);
const struct sockaddr *relay_address(void);
void tor_open_endpoint(void);

/* A connection to the peer; NULL: the glue refuses, and the connection is in state TOR_TCP. */
struct or_connection_t *tor_connect(const struct peer *peer, uint8_t identity);
/* Tor's handshake is done. */
void tor_opened(struct or_connection_t *conn);
/* Tor closes the connection; it is freed in the next turn. */
void tor_mark(struct or_connection_t *conn);
/* The latest connection that was accepted; NULL: there is none. */
struct or_connection_t *tor_accepted(void);
size_t tor_accepted_count(void);

void tor_cell(struct or_connection_t *conn, uint32_t number, uint8_t command, uint32_t seq);
/* Cells of this circuit that have come. */
size_t tor_count(const struct or_connection_t *conn, uint32_t number);
const struct cell *tor_last(const struct or_connection_t *conn, uint32_t number);
/* Counts the cells of the circuit that are not what circuit_cells() has written: CREATE2 with number 0, then RELAY
 * cells from 1 on. */
size_t tor_wrong(const struct or_connection_t *conn, uint32_t number);
unsigned tor_lost(const struct or_connection_t *conn, uint32_t number);
unsigned tor_room(const struct or_connection_t *conn, uint32_t number);

/* An open connection, and the peer at its other end. */
struct pair {
  struct peer *peer;
  struct or_connection_t *conn;
};
struct pair pair_out(void);
struct pair pair_in(void);

#endif
