/* The endpoint: opening and closing, its socket, timers, certificate and memory. */
#include "tor_stand_in.h"

#include <errno.h>
#include <unistd.h>

/* ---- the loop ---- */

static void
ring(evutil_socket_t fd, short what, void *arg)
{
  (void)fd;
  (void)what;
  ++*(unsigned *)arg;
}

/* What all of these tests rest on. */
static void
loop_runs_on_the_clock_of_the_test(void **state)
{
  (void)state;
  unsigned rung = 0;
  const struct timeval hour = { .tv_sec = 3600 };
  struct event *bell = event_new(loop_base, -1, 0, ring, &rung);
  event_add(bell, &hour);
  clock_now += 3599 * SECOND;
  event_base_loop(loop_base, EVLOOP_NONBLOCK);
  assert_int_equal(rung, 0);
  clock_now += 2 * SECOND;
  event_base_loop(loop_base, EVLOOP_NONBLOCK);
  assert_int_equal(rung, 1);
  event_free(bell);
}

/* While nothing happens, the glue wakes up once a second. */
static void
wakes_up_once_a_second(void **state)
{
  (void)state;
  struct pair p = pair_in();
  run_for(60 * SECOND);
  uint64_t rx = p.peer->rx, tx = p.peer->tx;
  tor.times_asked = 0;
  for (unsigned i = 0; i < 6000; i++)
    run_for(100 * MS);
  assert_true(p.peer->rx - rx < 20 && p.peer->tx - tx < 20);
  assert_in_range(tor.times_asked, 500, 3 * 600);
}

static void
sleeps_without_links(void **state)
{
  (void)state;
  struct pair p = pair_in();
  tor_mark(p.conn);
  run_for(60 * SECOND);
  tor.times_asked = 0;
  run_for(600 * SECOND);
  assert_true(tor.times_asked < 20);
}

/* ---- opening and closing ---- */

static void
opens_and_closes(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 5; i++) {
    or_utcp_settings_t settings = tor_settings();
    assert_true(or_utcp_endpoint_is_open());
    assert_true(or_utcp_endpoint_open(&settings)); /* it is open already */
    or_utcp_endpoint_close(i % 2);
    assert_false(or_utcp_endpoint_is_open());
    or_utcp_endpoint_close(i % 2);
    event_base_loop(loop_base, EVLOOP_NONBLOCK); /* Tor's */
    assert_int_equal(event_base_get_num_events(loop_base, EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE), 0);
    tor_open_endpoint();
    struct pair p = i % 2 ? pair_in() : pair_out();
    assert_false(p.conn->marked);
  }
  assert_int_equal(tor.logged[OR_UTCP_WARN], 0);
}

static int
bound_socket(uint16_t port)
{
  struct sockaddr_in address = loopback_address(port);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  assert_true(fd >= 0);
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
    close(fd);
    return -1;
  }
  return fd;
}

static void
address_is_in_use(void **state)
{
  (void)state;
  assert_int_equal(bound_socket(RELAY_PORT), -1);
  or_utcp_endpoint_close(false);
  int fd = bound_socket(RELAY_PORT);
  assert_true(fd >= 0);
  or_utcp_settings_t settings = tor_settings();
  assert_false(or_utcp_endpoint_open(&settings));
  assert_false(or_utcp_endpoint_is_open());
  assert_int_equal(tor.logged[OR_UTCP_WARN], 1);
  char port[32];
  snprintf(port, sizeof port, ":%d", RELAY_PORT);
  assert_non_null(strstr(tor.last_log[OR_UTCP_WARN], port));
  close(fd);
  tor_open_endpoint();
  assert_non_null(strstr(tor.last_log[OR_UTCP_NOTICE], port));
}

static void
bad_settings(void **state)
{
  (void)state;
  or_utcp_endpoint_close(false);
  for (unsigned i = 0; i < 6; i++) {
    or_utcp_settings_t settings = tor_settings();
    if (i == 0)
      settings.key = tor.other_identity->key, settings.key_len = tor.other_identity->key_len;
    else if (i == 1)
      settings.chain_len -= 7;
    else if (i == 2)
      settings.chain_len = 0;
    else if (i == 3)
      settings.security_level = 6;
    else
      settings.congestion = i == 4 ? "vegas" : NULL;
    assert_false(or_utcp_endpoint_open(&settings));
    assert_false(or_utcp_endpoint_is_open());
    assert_int_equal(tor.logged[OR_UTCP_WARN], i + 1);
    /* The socket was not kept. */
    int fd = bound_socket(RELAY_PORT);
    assert_true(fd >= 0);
    close(fd);
  }
  /* Numbers beyond what the library takes are brought within. */
  or_utcp_settings_t settings = tor_settings();
  settings.handshake_timeout = 0;
  settings.max_links = 0;
  settings.rate = UINT64_C(1) << 60;
  settings.memory = 0;
  assert_true(or_utcp_endpoint_open(&settings));
  or_utcp_endpoint_close(false);
  settings.handshake_timeout = 1 << 30;
  settings.max_links = 1 << 30;
  settings.rate = 0;
  settings.memory = UINT64_MAX;
  assert_true(or_utcp_endpoint_open(&settings));
  struct pair p = pair_out();
  assert_false(p.conn->marked);
}

static void
without_an_endpoint(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  or_utcp_endpoint_close(false);
  assert_null(tor_connect(peer, 0x11));
  assert_int_equal(or_utcp_memory(), 0);
  assert_int_equal(or_utcp_shed(1000), 0);
  assert_false(or_utcp_endpoint_use_certificate(tor.identity->chain, tor.identity->chain_len, tor.identity->key,
                                                tor.identity->key_len));
  or_utcp_figures_t none = { .links = 0 };
  unsigned before = tor.logged[OR_UTCP_NOTICE];
  or_utcp_log_figures(&none, &none);
  assert_int_equal(tor.logged[OR_UTCP_NOTICE], before);
}

enum { CONNECTING, WITHIN_DTLS, THEIRS_WITHIN_DTLS, WAITING, HANDSHAKING, THEIRS_HANDSHAKING, OPEN, MARKED, STATES };

/* A link in every state that there is; the one of THEIRS_WITHIN_DTLS has no connection yet. */
static void
links_in_every_state(struct or_connection_t *conn[STATES], struct peer *peer[STATES])
{
  for (unsigned i = 0; i < STATES; i++) {
    peer[i] = PEER();
    conn[i] = NULL;
  }
  struct pair open = pair_out();
  conn[OPEN] = open.conn;
  peer[OPEN] = open.peer;
  struct circuit *c = peer_open(peer[OPEN], 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(conn[OPEN], 9) == 1);
  tor_cell(conn[OPEN], 10, CELL_CREATE2, 0);

  conn[HANDSHAKING] = tor_connect(peer[HANDSHAKING], 0x11);
  RUN_UNTIL(5 * SECOND, conn[HANDSHAKING]->state == TOR_HANDSHAKING && peer[HANDSHAKING]->ready);
  conn[MARKED] = tor_connect(peer[MARKED], 0x12);
  RUN_UNTIL(5 * SECOND, conn[MARKED]->state == TOR_HANDSHAKING);
  peer_connect(peer[WAITING]);
  RUN_UNTIL(5 * SECOND, peer[WAITING]->ready);
  conn[THEIRS_HANDSHAKING] = tor_accepted();
  peer[THEIRS_HANDSHAKING] = peer[WAITING];
  conn[WAITING] = tor_connect(peer[WAITING], 0x13);
  assert_false(or_utcp_link_is_up(conn[WAITING]->link));

  peer[CONNECTING]->deaf = true;
  conn[CONNECTING] = tor_connect(peer[CONNECTING], 0x14);
  conn[WITHIN_DTLS] = tor_connect(peer[WITHIN_DTLS], 0x15);
  RUN_UNTIL(5 * SECOND, peer[WITHIN_DTLS]->incoming);
  peer[WITHIN_DTLS]->asleep = true;
  peer_connect(peer[THEIRS_WITHIN_DTLS]);
  RUN_UNTIL(5 * SECOND, peer[THEIRS_WITHIN_DTLS]->rx);
  run_turns(1);
  peer[THEIRS_WITHIN_DTLS]->asleep = true;
  conn[MARKED]->marked = true;
  assert_int_equal(conn[WITHIN_DTLS]->state, TOR_CONNECTING);
  assert_int_equal(conn[CONNECTING]->state, TOR_CONNECTING);
}

static void
closed_with_links_in_every_state(void **state)
{
  (void)state;
  static const bool falls_back[STATES] = { [CONNECTING] = true, [WITHIN_DTLS] = true, [WAITING] = true };
  static const bool closes[STATES] = { [HANDSHAKING] = true, [THEIRS_HANDSHAKING] = true, [OPEN] = true };
  for (unsigned exiting = 0; exiting < 2; exiting++) {
    struct or_connection_t *conn[STATES];
    struct peer *peer[STATES];
    links_in_every_state(conn, peer);
    size_t count = tor.conn_count;
    or_utcp_endpoint_close(exiting);
    for (unsigned i = 0; i < STATES; i++) {
      if (!conn[i])
        continue;
      assert_int_equal(conn[i]->calls[CALL_TCP], !exiting && falls_back[i]);
      assert_int_equal(conn[i]->calls[CALL_CLOSE], !exiting && closes[i]);
      assert_int_equal(conn[i]->calls[CALL_LOST], 0);
      if (conn[i]->calls[CALL_CLOSE])
        assert_int_equal(conn[i]->close_reason, UTCP_CLOSE_LOCAL);
      /* This is nobody's fault. */
      assert_false(or_utcp_failed_recently(conn[i]->identity));
      /* Tor may still use what it has not freed yet. */
      if (!conn[i]->link)
        continue;
      assert_false(or_utcp_link_is_up(conn[i]->link));
      assert_null(or_utcp_link_ssl(conn[i]->link));
      tor_cell(conn[i], 10, CELL_RELAY, 0);
      tor_cell(conn[i], 11, CELL_CREATE2, 0);
      tor_cell(conn[i], 10, CELL_DESTROY, 0);
      tor_cell(conn[i], 0, CELL_PADDING, 0);
      or_utcp_link_write(conn[i]->link, "x", 1);
      assert_false(or_utcp_stream_is_full(conn[i]->link, 10));
      or_utcp_stream_hold(conn[i]->link, 9, true);
      or_utcp_stream_hold(conn[i]->link, 9, false);
      or_utcp_destroy_received(conn[i]->link, 9);
      or_utcp_link_stop_reading(conn[i]->link);
      or_utcp_link_start_reading(conn[i]->link);
      or_utcp_link_opened(conn[i]->link);
      or_utcp_figures_t figures = { .links = 0 };
      or_utcp_link_add_figures(conn[i]->link, &figures);
      assert_int_equal(figures.links, 1);
    }
    /* The peers were told. */
    RUN_UNTIL(SECOND, peer[OPEN]->closed && peer[HANDSHAKING]->closed && peer[WAITING]->closed);
    assert_int_equal(peer[OPEN]->close_reason, UTCP_CLOSE_PEER);
    for (unsigned i = 0; i < STATES; i++)
      peer[i]->asleep = false;
    for (unsigned i = 0; exiting && i < STATES; i++)
      if (conn[i])
        conn[i]->marked = true;
    run_for(60 * SECOND);
    assert_int_equal(tor.conn_count, count);
    for (unsigned i = 0; i < STATES; i++)
      if (conn[i])
        assert_true(conn[i]->calls[CALL_TCP] + conn[i]->calls[CALL_CLOSE] <= 1);

    /* Opened again, it knows nothing of those; some of them are not freed yet. */
    tor_open_endpoint();
    struct pair p = pair_in();
    struct circuit *c = peer_open(p.peer, 9);
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 1);
    run_for(60 * SECOND);
    assert_false(p.conn->marked);
    tor_mark(p.conn);
    run_for(SECOND);
  }
}

/* The library has caught a bug of its own: all is closed, as if the operator had done so, and can be opened again. */
static void
internal_error(void **state)
{
  (void)state;
  struct or_connection_t *conn[STATES];
  struct peer *peer[STATES];
  links_in_every_state(conn, peer);
  run_turns(5);
  or_utcp_link_write(conn[OPEN]->link, "x", 1);
  failing.process = UTCP_ERR_INTERNAL;
  run_turns(1);
  assert_int_equal(failing.process, UTCP_OK);
  assert_false(or_utcp_endpoint_is_open());
  assert_int_equal(tor.logged[OR_UTCP_WARN], 1);
  assert_int_equal(conn[OPEN]->calls[CALL_CLOSE], 1);
  assert_int_equal(conn[HANDSHAKING]->calls[CALL_CLOSE], 1);
  assert_int_equal(conn[CONNECTING]->calls[CALL_TCP], 1);
  assert_int_equal(conn[WAITING]->calls[CALL_TCP], 1);
  run_for(60 * SECOND);
  tor_open_endpoint();
  struct pair p = pair_in();
  assert_false(p.conn->marked);
}

/* ---- the certificate ---- */

static void
certificate_changes(void **state)
{
  (void)state;
  struct pair before = pair_in();
  assert_memory_equal(before.peer->seen, tor.identity->pin, 32);
  assert_true(or_utcp_endpoint_use_certificate(tor.other_identity->chain, tor.other_identity->chain_len,
                                               tor.other_identity->key, tor.other_identity->key_len));
  struct pair in = pair_in(), out = pair_out();
  assert_memory_equal(in.peer->seen, tor.other_identity->pin, 32);
  assert_memory_equal(out.peer->seen, tor.other_identity->pin, 32);
  /* What exists goes on. */
  circuit_write(before.peer->control, "abc", 3);
  RUN_UNTIL(5 * SECOND, before.conn->control.len == 3);

  /* One that cannot be used changes nothing. */
  assert_int_equal(tor.logged[OR_UTCP_WARN], 0);
  assert_false(or_utcp_endpoint_use_certificate(tor.identity->chain, tor.identity->chain_len, tor.other_identity->key,
                                                tor.other_identity->key_len));
  assert_int_equal(tor.logged[OR_UTCP_WARN], 1);
  struct pair last = pair_in();
  assert_memory_equal(last.peer->seen, tor.other_identity->pin, 32);
}

/* ---- the socket ---- */

/* 300 cells each way; nothing is lost. */
static void
exchange(struct pair *p, uint32_t number)
{
  struct circuit *c = peer_open(p->peer, number);
  const uint32_t cells = 300;
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  circuit_cells(c, 4, CELL_RELAY, 1, cells - 1);
  RUN_UNTIL(60 * SECOND, tor_count(p->conn, number) == cells);
  for (uint32_t seq = 0; seq < cells; seq++)
    tor_cell(p->conn, number, CELL_RELAY, seq);
  RUN_UNTIL(60 * SECOND, circuit_count(c, 4) == cells);
  assert_int_equal(tor_wrong(p->conn, number), 0);
  for (uint32_t seq = 0; seq < cells; seq++) {
    struct cell cell = circuit_cell(c, 4, seq);
    assert_true(cell_is(&cell, number, CELL_RELAY, seq));
  }
}

static void
kernel_takes_no_more(void **state)
{
  (void)state;
  struct pair p = pair_in();
  sending.full = 5;
  exchange(&p, 9);
  assert_int_equal(sending.full, 0);
  sending.limit = 3; /* no more than three of a batch */
  exchange(&p, 10);
  sending.limit = 0;
  /* It was offered again, and not taken for lost. */
  or_utcp_figures_t figures = { .links = 0 };
  or_utcp_link_add_figures(p.conn->link, &figures);
  assert_int_equal(figures.retransmits, 0);
}

static void
datagram_is_lost(void **state)
{
  (void)state;
  struct pair p = pair_in();
  sending.lost = 3;
  exchange(&p, 9);
  assert_int_equal(sending.lost, 0);
  assert_false(p.conn->marked);
  /* It is not offered again, but sent again by TCP. */
  or_utcp_figures_t before = { .links = 0 }, after = { .links = 0 };
  run_for(5 * SECOND);
  or_utcp_link_add_figures(p.conn->link, &before);
  sending.lost = 1;
  tor_cell(p.conn, 10, CELL_CREATE2, 0);
  RUN_UNTIL(20 * SECOND, peer_circuit(p.peer, 10));
  or_utcp_link_add_figures(p.conn->link, &after);
  assert_true(after.retransmits > before.retransmits);
  /* Nor does it hold up the others. */
  run_for(5 * SECOND);
  uint64_t rx = p.peer->rx;
  sending.lost = 1;
  for (uint32_t seq = 0; seq < 10; seq++)
    tor_cell(p.conn, 10, CELL_RELAY, seq);
  run_turns(1);
  assert_true(p.peer->rx > rx);
}

static void
garbage_at_the_socket(void **state)
{
  (void)state;
  static uint8_t datagram[9000];
  struct pair p = pair_in();
  int fd = bound_socket(9050);
  assert_true(fd >= 0);
  uint32_t x = 1;
  for (unsigned i = 0; i < scaled(3000, 300); i++) {
    size_t len = i % 50 == 0 ? 2049 + i % 4000 : i % 7 == 0 ? i % 20 : i % 2049;
    for (size_t j = 0; j < len; j++) {
      x = x * 1664525u + 1013904223u;
      datagram[j] = (uint8_t)(x >> 24);
    }
    if (i % 3 == 0)
      memcpy(datagram, "\x16\xfe\xfd\0\0\0\0\0\0\0\0", 11);
    struct sockaddr_in to = loopback_address(RELAY_PORT);
    struct iovec iov = { .iov_base = datagram, .iov_len = len };
    struct msghdr msg = { .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &iov, .msg_iovlen = 1 };
    /* From a stranger, and from the peer's own address. */
    assert_int_equal(sendmsg(i % 2 ? fd : p.peer->fd, &msg, 0), (ssize_t)len);
    if (i % 10 == 0)
      run_turns(1);
  }
  close(fd);
  exchange(&p, 9);
  assert_false(p.conn->marked);
  assert_int_equal(tor_accepted_count(), 1);
  assert_int_equal(tor.logged[OR_UTCP_WARN] + tor.logged[OR_UTCP_PROTOCOL], 0);
}

/* More datagrams at once than a turn reads: the others come in the next. */
static void
more_than_a_turn_reads(void **state)
{
  (void)state;
  struct pair p[12];
  for (unsigned i = 0; i < 12; i++)
    p[i] = pair_in();
  for (unsigned i = 0; i < 12; i++) {
    struct circuit *c = peer_open(p[i].peer, 9);
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    circuit_cells(c, 4, CELL_RELAY, 1, 499);
  }
  for (unsigned i = 0; i < 12; i++) {
    RUN_UNTIL(60 * SECOND, tor_count(p[i].conn, 9) == 500);
    assert_int_equal(tor_wrong(p[i].conn, 9), 0);
  }
}

/* ---- memory ---- */

static void
memory_and_shed(void **state)
{
  (void)state;
  struct pair p = pair_in();
  run_for(SECOND);
  const size_t idle = or_utcp_memory();
  struct circuit *fat = peer_open(p.peer, 9), *thin = peer_open(p.peer, 10);
  circuit_cells(fat, 4, CELL_CREATE2, 0, 1);
  circuit_cells(thin, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, p.conn->cell_count == 2);
  or_utcp_stream_hold(p.conn->link, 9, true);
  circuit_cells(fat, 4, CELL_RELAY, 1, 1000);
  run_for(5 * SECOND);
  size_t held = or_utcp_memory();
  assert_true(held > idle + 30000);

  unsigned notices = tor.logged[OR_UTCP_NOTICE];
  size_t shed = or_utcp_shed(20000);
  assert_true(shed >= 20000);
  assert_int_equal(tor.logged[OR_UTCP_NOTICE], notices + 1);
  assert_true(or_utcp_memory() <= held - shed);
  assert_int_equal(p.conn->calls[CALL_LOST], 0); /* not within the call */
  run_turns(2); /* and not a second later */
  assert_int_equal(p.conn->calls[CALL_LOST], 1);
  RUN_UNTIL(5 * SECOND, fat->closed);
  assert_int_equal(tor_lost(p.conn, 9), 1);
  circuit_cells(thin, 4, CELL_RELAY, 1, 100);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 10) == 101);
  run_for(5 * SECOND);
  assert_int_equal(or_utcp_memory(), idle);
  assert_int_equal(p.conn->calls[CALL_LOST], 1);
}

/* What the last line for the operator says of the memory budget. */
static unsigned long long
budget(void)
{
  const or_utcp_figures_t none = { .links = 0 };
  unsigned long long queued = 0, of = 0;
  or_utcp_log_figures(&none, &none);
  const char *text = strstr(tor.last_log[OR_UTCP_INFO], "circuits, ");
  assert_non_null(text);
  assert_int_equal(sscanf(text, "circuits, %llu bytes queued of %llu,", &queued, &of), 2);
  assert_int_equal(queued, or_utcp_memory());
  return of;
}

static void
memory_is_set_anew(void **state)
{
  (void)state;
  assert_int_equal(budget(), tor_settings().memory);
  or_utcp_endpoint_set_memory(128 << 20);
  assert_int_equal(budget(), 128 << 20);
  /* No less than what a relay needs to work. */
  or_utcp_endpoint_set_memory(0);
  assert_int_equal(budget(), 16 << 20);
  or_utcp_endpoint_set_memory(UINT64_MAX);
  assert_int_equal(budget(), UINT64_MAX);
  or_utcp_endpoint_close(false);
  or_utcp_endpoint_set_memory(1 << 30);
  assert_false(or_utcp_endpoint_is_open());
}

/* Less than what is held: nothing is lost, and no more comes before some of it is read. */
static void
memory_shrinks_below_what_is_held(void **state)
{
  (void)state;
  enum { CIRCUITS = 60, CELLS = 1000 };
  struct pair p = pair_in();
  struct circuit *c[CIRCUITS];
  for (unsigned i = 0; i < CIRCUITS; i++) {
    c[i] = peer_open(p.peer, 100 + i);
    circuit_cells(c[i], 4, CELL_CREATE2, 0, 1);
  }
  RUN_UNTIL(10 * SECOND, p.conn->cell_count == CIRCUITS);
  for (unsigned i = 0; i < CIRCUITS; i++) {
    or_utcp_stream_hold(p.conn->link, 100 + i, true);
    circuit_cells(c[i], 4, CELL_RELAY, 1, CELLS);
  }
  run_for(30 * SECOND);
  const size_t held = or_utcp_memory();
  assert_true(held > 8 << 20);
  or_utcp_endpoint_set_memory(0);
  run_for(30 * SECOND);
  assert_true(or_utcp_memory() <= held);
  for (unsigned i = 0; i < CIRCUITS; i++)
    or_utcp_stream_hold(p.conn->link, 100 + i, false);
  for (unsigned i = 0; i < CIRCUITS; i++) {
    RUN_UNTIL(300 * SECOND, tor_count(p.conn, 100 + i) == CELLS + 1);
    assert_int_equal(tor_wrong(p.conn, 100 + i), 0);
  }
}

/* ---- the log ---- */

static void
library_log(void **state)
{
  (void)state;
  struct pair quiet = pair_in();
  unsigned debug = tor.logged[OR_UTCP_DEBUG], info = tor.logged[OR_UTCP_INFO];
  assert_true(info > 0);
  exchange(&quiet, 9);
  assert_int_equal(tor.logged[OR_UTCP_DEBUG], debug);
  or_utcp_endpoint_close(false);
  tor.logs_debug = true;
  tor_open_endpoint();
  pair_in();
  assert_true(tor.logged[OR_UTCP_DEBUG] > debug);
  /* Closed, it says nothing any more. */
  or_utcp_endpoint_close(false);
  run_turns(3);
  debug = tor.logged[OR_UTCP_DEBUG];
  struct peer *a = PEER();
  peer_connect(a);
  run_for(30 * SECOND);
  assert_int_equal(tor.logged[OR_UTCP_DEBUG], debug);
  assert_int_equal(tor.logged[OR_UTCP_WARN], 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(loop_runs_on_the_clock_of_the_test),
    TEST(wakes_up_once_a_second),
    TEST(sleeps_without_links),
    TEST(opens_and_closes),
    TEST(address_is_in_use),
    TEST(bad_settings),
    TEST(without_an_endpoint),
    TEST(closed_with_links_in_every_state),
    TEST(internal_error),
    TEST(certificate_changes),
    TEST(kernel_takes_no_more),
    TEST(datagram_is_lost),
    TEST(garbage_at_the_socket),
    TEST(more_than_a_turn_reads),
    TEST(memory_and_shed),
    TEST(memory_is_set_anew),
    TEST(memory_shrinks_below_what_is_held),
    TEST(library_log),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
