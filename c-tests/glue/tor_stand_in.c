#include "tor_stand_in.h"

struct tor tor;

static void
violate(const struct or_connection_t *conn, const char *what)
{
  if (!tor.violations++)
    snprintf(tor.violation, sizeof tor.violation, "%s: %s", conn ? conn->name : "-", what);
}

static void
did(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  conn->calls[call]++;
  if (conn->hook)
    conn->hook(conn, call, number);
}

static struct or_connection_t *
conn_new(const char *kind)
{
  if (tor.conn_count == sizeof tor.conns / sizeof *tor.conns)
    abort();
  struct or_connection_t *conn = calloc(1, sizeof *conn);
  if (!conn)
    abort();
  conn->id_len = tor.id_len;
  conn->hook = tor.hook;
  snprintf(conn->name, sizeof conn->name, "%s connection %zu", kind, tor.conn_count);
  tor.conns[tor.conn_count++] = conn;
  return conn;
}

/* ---- what the glue asks ---- */

uint64_t
or_utcp_tor_now(void)
{
  tor.times_asked++;
  return clock_now;
}

struct event_base *
or_utcp_tor_event_base(void)
{
  return loop_base;
}

bool
or_utcp_tor_is_accepting(void)
{
  return tor.is_accepting;
}

bool
or_utcp_tor_accepts_from(const struct sockaddr *address, socklen_t len)
{
  if (len != sizeof(struct sockaddr_in) || address->sa_family != AF_INET)
    violate(NULL, "accepts_from: not the address of a peer");
  return tor.accepts_from;
}

void
or_utcp_tor_log(or_utcp_severity_t severity, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  tor.logged[severity]++;
  vsnprintf(tor.last_log[severity], sizeof tor.last_log[severity], format, args);
  va_end(args);
  if (getenv("UTCP_TEST_LOG"))
    print_message("%10llu %d %s\n", (unsigned long long)clock_now, (int)severity, tor.last_log[severity]);
}

bool
or_utcp_tor_logs_debug(void)
{
  return tor.logs_debug;
}

or_utcp_cell_t
or_utcp_tor_cell_kind(uint8_t command)
{
  switch (command) {
  case CELL_CREATE:
  case CELL_CREATE_FAST:
  case CELL_CREATE2:
    return OR_UTCP_CELL_CREATE;
  case CELL_CREATED:
  case CELL_CREATED_FAST:
  case CELL_CREATED2:
  case CELL_RELAY:
  case CELL_RELAY_EARLY:
    return OR_UTCP_CELL_CIRCUIT;
  case CELL_DESTROY:
    return OR_UTCP_CELL_DESTROY;
  default:
    return OR_UTCP_CELL_NONE;
  }
}

bool
or_utcp_tor_is_usable(const struct or_connection_t *conn)
{
  return !conn->marked;
}

bool
or_utcp_tor_is_open(const struct or_connection_t *conn)
{
  return conn->state == TOR_OPEN;
}

bool
or_utcp_tor_is_connecting(const struct or_connection_t *conn)
{
  return conn->state == TOR_CONNECTING;
}

bool
or_utcp_tor_is_outgoing(const struct or_connection_t *conn)
{
  return conn->outgoing;
}

size_t
or_utcp_tor_circ_id_len(const struct or_connection_t *conn)
{
  return conn->id_len;
}

const uint8_t *
or_utcp_tor_identity(const struct or_connection_t *conn)
{
  return conn->identity;
}

const char *
or_utcp_tor_describe(const struct or_connection_t *conn)
{
  return conn->name;
}

/* ---- what the glue tells ---- */

struct or_connection_t *
or_utcp_tor_accept(or_utcp_link_t *link, const struct sockaddr *address, socklen_t len)
{
  if (!tor.wants_connection)
    return NULL;
  struct or_connection_t *conn = conn_new("incoming");
  conn->link = link;
  if (len == sizeof conn->address)
    memcpy(&conn->address, address, sizeof conn->address);
  else
    violate(conn, "accept: not the address of a peer");
  did(conn, CALL_ACCEPT, 0);
  return conn;
}

void
or_utcp_tor_begin_handshake(struct or_connection_t *conn, bool is_server)
{
  if (conn->marked)
    violate(conn, "begin_handshake: it is marked");
  if (conn->state != TOR_CONNECTING)
    violate(conn, "begin_handshake: it is not connecting");
  if (!or_utcp_link_is_up(conn->link))
    violate(conn, "begin_handshake: its link is not up");
  conn->state = TOR_HANDSHAKING;
  conn->is_server = is_server;
  conn->had_ssl = or_utcp_link_ssl(conn->link) != NULL;
  did(conn, CALL_HANDSHAKE, 0);
  if (tor.open_at_once && !conn->marked)
    tor_opened(conn);
}

void
or_utcp_tor_control_received(struct or_connection_t *conn, const void *data, size_t len)
{
  if (conn->marked)
    violate(conn, "control_received: it is marked");
  if (conn->state != TOR_HANDSHAKING && conn->state != TOR_OPEN)
    violate(conn, "control_received: DTLS is not complete");
  if (!len)
    violate(conn, "control_received: nothing");
  conn->had_ssl = conn->had_ssl && or_utcp_link_ssl(conn->link) != NULL;
  octets_add(&conn->control, data, len);
  did(conn, CALL_CONTROL, 0);
}

void
or_utcp_tor_connect_by_tcp(struct or_connection_t *conn)
{
  if (conn->marked)
    violate(conn, "connect_by_tcp: it is marked");
  if (conn->state != TOR_CONNECTING || !conn->outgoing)
    violate(conn, "connect_by_tcp: it is not connecting");
  if (tor.writing)
    violate(conn, "connect_by_tcp: within a write");
  conn->link = NULL;
  conn->state = TOR_TCP;
  did(conn, CALL_TCP, 0);
}

void
or_utcp_tor_close(struct or_connection_t *conn, int reason)
{
  if (conn->marked)
    violate(conn, "close: it is marked");
  if (conn->state == TOR_TCP)
    violate(conn, "close: it has no link");
  if (tor.writing)
    violate(conn, "close: within a write");
  conn->close_reason = reason;
  tor_mark(conn);
  did(conn, CALL_CLOSE, 0);
}

void
or_utcp_tor_moved(struct or_connection_t *conn, size_t received, size_t sent)
{
  if (conn->marked)
    violate(conn, "moved: it is marked");
  if (!received && !sent)
    violate(conn, "moved: nothing");
  conn->moved_received += received;
  conn->moved_sent += sent;
  did(conn, CALL_MOVED, 0);
}

void
or_utcp_tor_cell_received(struct or_connection_t *conn, const void *body)
{
  struct cell cell;
  cell_unpack(body, conn->id_len, &cell);
  if (conn->marked)
    violate(conn, "cell_received: it is marked");
  if (conn->state != TOR_OPEN)
    violate(conn, "cell_received: it is not open");
  if (tor.writing)
    violate(conn, "cell_received: within a write");
  if (!cell.number)
    violate(conn, "cell_received: of no circuit");
  if (conn->cell_count == conn->cell_room) {
    conn->cell_room = conn->cell_room ? 2 * conn->cell_room : 64;
    conn->cells = realloc(conn->cells, conn->cell_room * sizeof *conn->cells);
    if (!conn->cells)
      abort();
  }
  conn->cells[conn->cell_count++] = cell;
  did(conn, CALL_CELL, cell.number);
}

void
or_utcp_tor_circuit_lost(struct or_connection_t *conn, uint32_t number)
{
  if (conn->marked)
    violate(conn, "circuit_lost: it is marked");
  if (tor.writing)
    violate(conn, "circuit_lost: within a write");
  conn->lost[conn->calls[CALL_LOST] % 256] = number;
  did(conn, CALL_LOST, number);
}

void
or_utcp_tor_circuit_has_room(struct or_connection_t *conn, uint32_t number)
{
  if (conn->marked)
    violate(conn, "circuit_has_room: it is marked");
  if (tor.writing)
    violate(conn, "circuit_has_room: within a write");
  if (!number)
    violate(conn, "circuit_has_room: of no circuit");
  if (or_utcp_stream_is_full(conn->link, number))
    violate(conn, "circuit_has_room: its stream is full");
  conn->room[conn->calls[CALL_ROOM] % 256] = number;
  did(conn, CALL_ROOM, number);
}

/* ---- what Tor does by itself ---- */

/* Frees what is marked, as Tor does in an event of its own. */
static void
sweep(evutil_socket_t fd, short what, void *arg)
{
  (void)fd;
  (void)what;
  (void)arg;
  for (size_t i = 0; i < tor.conn_count; i++) {
    struct or_connection_t *conn = tor.conns[i];
    if (conn->swept && conn->link) {
      or_utcp_link_free(conn->link);
      conn->link = NULL;
    }
  }
}

void
tor_mark(struct or_connection_t *conn)
{
  conn->marked = conn->swept = true;
  event_active(tor.sweep, EV_TIMEOUT, 0);
}

const struct sockaddr *
relay_address(void)
{
  static struct sockaddr_in address;
  address = loopback_address(RELAY_PORT);
  return (struct sockaddr *)&address;
}

or_utcp_settings_t
tor_settings(void)
{
  return (or_utcp_settings_t){ .address = relay_address(), .address_len = sizeof(struct sockaddr_in),
                               .chain = tor.identity->chain, .chain_len = tor.identity->chain_len,
                               .key = tor.identity->key, .key_len = tor.identity->key_len,
                               .mutual = true, .security_level = 2, .handshake_timeout = 5, .max_links = 1024,
                               .rate = 1 << 20, .memory = 64 << 20, .congestion = "cubic" };
}

void
tor_open_endpoint(void)
{
  or_utcp_settings_t settings = tor_settings();
  assert_true(or_utcp_endpoint_open(&settings));
  assert_true(or_utcp_endpoint_is_open());
}

struct or_connection_t *
tor_connect(const struct peer *peer, uint8_t identity)
{
  struct or_connection_t *conn = conn_new("outgoing");
  conn->outgoing = true;
  memset(conn->identity, identity, sizeof conn->identity);
  conn->link = or_utcp_link_connect(conn, (const struct sockaddr *)&peer->address, sizeof peer->address);
  if (conn->link)
    return conn;
  conn->state = TOR_TCP;
  return NULL;
}

void
tor_opened(struct or_connection_t *conn)
{
  conn->state = TOR_OPEN;
  or_utcp_link_opened(conn->link);
  or_utcp_link_start_reading(conn->link);
}

struct or_connection_t *
tor_accepted(void)
{
  for (size_t i = tor.conn_count; i > 0; i--)
    if (!tor.conns[i - 1]->outgoing)
      return tor.conns[i - 1];
  return NULL;
}

size_t
tor_accepted_count(void)
{
  size_t n = 0;
  for (size_t i = 0; i < tor.conn_count; i++)
    n += !tor.conns[i]->outgoing;
  return n;
}

void
tor_cell(struct or_connection_t *conn, uint32_t number, uint8_t command, uint32_t seq)
{
  uint8_t cell[CELL_ROOM];
  cell_pack(cell, conn->id_len, number, command, seq);
  tor.writing++;
  or_utcp_link_write_cell(conn->link, cell);
  tor.writing--;
}

size_t
tor_count(const struct or_connection_t *conn, uint32_t number)
{
  size_t n = 0;
  for (size_t i = 0; i < conn->cell_count; i++)
    n += conn->cells[i].number == number;
  return n;
}

const struct cell *
tor_last(const struct or_connection_t *conn, uint32_t number)
{
  for (size_t i = conn->cell_count; i > 0; i--)
    if (conn->cells[i - 1].number == number)
      return &conn->cells[i - 1];
  return NULL;
}

size_t
tor_wrong(const struct or_connection_t *conn, uint32_t number)
{
  size_t wrong = 0;
  uint32_t seq = 0;
  for (size_t i = 0; i < conn->cell_count; i++)
    if (conn->cells[i].number == number) {
      wrong += !cell_is(&conn->cells[i], number, seq ? CELL_RELAY : CELL_CREATE2, seq);
      seq++;
    }
  return wrong;
}

static unsigned
occurrences(const uint32_t *numbers, unsigned count, uint32_t number)
{
  unsigned n = 0;
  assert_true(count <= 256);
  for (unsigned i = 0; i < count; i++)
    n += numbers[i] == number;
  return n;
}

unsigned
tor_lost(const struct or_connection_t *conn, uint32_t number)
{
  return occurrences(conn->lost, conn->calls[CALL_LOST], number);
}

unsigned
tor_room(const struct or_connection_t *conn, uint32_t number)
{
  return occurrences(conn->room, conn->calls[CALL_ROOM], number);
}

/* ---- fixtures ---- */

struct pair
pair_out(void)
{
  struct pair p = { .peer = PEER() };
  p.conn = tor_connect(p.peer, 0x11);
  assert_non_null(p.conn);
  RUN_UNTIL(5 * SECOND, p.conn->state == TOR_HANDSHAKING && p.peer->ready);
  tor_opened(p.conn);
  return p;
}

struct pair
pair_in(void)
{
  struct pair p = { .peer = PEER() };
  size_t before = tor_accepted_count();
  peer_connect(p.peer);
  RUN_UNTIL(5 * SECOND, tor_accepted_count() > before && p.peer->ready);
  p.conn = tor_accepted();
  assert_int_equal(p.conn->state, TOR_HANDSHAKING);
  memset(p.conn->identity, 0x22, sizeof p.conn->identity);
  tor_opened(p.conn);
  return p;
}

int
tor_setup(void **state)
{
  (void)state;
  loopback_setup();
  tor = (struct tor){ .is_accepting = true, .accepts_from = true, .wants_connection = true,
                      .id_len = 4, .identity = identity_new("relay"), .other_identity = identity_new("renewed") };
  assert_true(tor.identity && tor.other_identity);
  tor.sweep = event_new(loop_base, -1, 0, sweep, NULL);
  assert_non_null(tor.sweep);
  tor_open_endpoint();
  return 0;
}

int
tor_teardown(void **state)
{
  (void)state;
  int failed = 0;
  /* Tor frees its connections first, or the glue. */
  static unsigned order;
  if (order++ % 2)
    or_utcp_free_glue();
  for (size_t i = 0; i < tor.conn_count; i++) {
    struct or_connection_t *conn = tor.conns[i];
    conn->marked = true;
    if (conn->link)
      or_utcp_link_free(conn->link);
  }
  or_utcp_free_glue();
  if (or_utcp_endpoint_is_open() || or_utcp_memory()) {
    print_error("the glue is still there\n");
    failed = 1;
  }
  /* Of the glue's, nothing is left in the loop. */
  event_free(tor.sweep);
  int events = event_base_get_num_events(loop_base, EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE);
  if (events) {
    print_error("%d events are left in the loop\n", events);
    failed = 1;
  }
  if (tor.violations) {
    print_error("%u violations, the first: %s\n", tor.violations, tor.violation);
    failed = 1;
  }
  for (size_t i = 0; i < tor.conn_count; i++) {
    free(tor.conns[i]->cells);
    octets_free(&tor.conns[i]->control);
    free(tor.conns[i]);
  }
  identity_free(tor.identity);
  identity_free(tor.other_identity);
  loopback_teardown();
  return failed;
}
