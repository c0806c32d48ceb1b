/* Links: their making from either side, the control circuit, time limits, and their end. */
#include "tor_stand_in.h"

#include <openssl/ssl.h>

/* ---- making ---- */

static void
outgoing(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  assert_non_null(conn);
  assert_false(or_utcp_link_is_up(conn->link));
  RUN_UNTIL(5 * SECOND, conn->calls[CALL_HANDSHAKE] && peer->ready);
  assert_true(or_utcp_link_is_up(conn->link));
  assert_false(conn->is_server);
  assert_true(conn->had_ssl);
  assert_int_equal(peer->role, UTCP_ROLE_SERVER);
  assert_int_equal(peer->incoming, 1);
  /* Both have presented what they were given. */
  assert_memory_equal(peer->seen, tor.identity->pin, sizeof peer->seen);
  X509 *seen = SSL_get1_peer_certificate(or_utcp_link_ssl(conn->link));
  assert_non_null(seen);
  X509_free(seen);
  run_for(10 * SECOND);
  assert_int_equal(conn->calls[CALL_HANDSHAKE], 1);
  assert_int_equal(conn->state, TOR_HANDSHAKING);
  assert_int_equal(tor.conn_count, 1);
}

static void
incoming(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer_connect(peer);
  RUN_UNTIL(5 * SECOND, tor_accepted() && peer->ready);
  struct or_connection_t *conn = tor_accepted();
  assert_int_equal(conn->calls[CALL_ACCEPT], 1);
  assert_int_equal(conn->calls[CALL_HANDSHAKE], 1);
  assert_true(conn->is_server && conn->had_ssl);
  assert_memory_equal(&conn->address.sin_addr, &peer->address.sin_addr, sizeof peer->address.sin_addr);
  assert_int_equal(conn->address.sin_port, peer->address.sin_port);
  assert_memory_equal(peer->seen, tor.identity->pin, sizeof peer->seen);
  run_for(10 * SECOND);
  assert_int_equal(tor.conn_count, 1);
}

static void
side_that_connects_presents_nothing(void **state)
{
  (void)state;
  or_utcp_endpoint_close(false);
  or_utcp_settings_t settings = tor_settings();
  settings.mutual = false;
  assert_true(or_utcp_endpoint_open(&settings));
  struct pair p = pair_out();
  const uint8_t none[32] = { 0 };
  assert_memory_equal(p.peer->seen, none, sizeof none);
}

static void
many_links(void **state)
{
  (void)state;
  enum { LINKS = 20 };
  struct pair p[LINKS];
  for (unsigned i = 0; i < LINKS; i++) {
    p[i] = i % 2 ? pair_in() : pair_out();
    for (unsigned j = 0; j <= i; j++)
      tor_cell(p[j].conn, 100 + i, CELL_CREATE2, i * LINKS + j);
  }
  for (unsigned i = 0; i < LINKS; i++)
    for (unsigned j = 0; j <= i; j++) {
      struct circuit *c;
      RUN_UNTIL(5 * SECOND, (c = peer_circuit(p[j].peer, 100 + i)) && circuit_count(c, 4) == 1);
      struct cell cell = circuit_cell(c, 4, 0);
      assert_true(cell_is(&cell, 100 + i, CELL_CREATE2, i * LINKS + j));
    }
  for (unsigned i = 0; i < LINKS; i += 3)
    tor_mark(p[i].conn);
  run_for(SECOND);
  for (unsigned i = 0; i < LINKS; i++) {
    assert_int_equal(p[i].peer->closed, i % 3 == 0);
    assert_int_equal(p[i].conn->calls[CALL_CLOSE], 0);
  }
}

static void
second_connection_to_the_same_address(void **state)
{
  (void)state;
  struct pair p = pair_out();
  assert_null(tor_connect(p.peer, 0x11));
  /* Nor is there one to what is no address of a peer. */
  struct peer nowhere = { .address = p.peer->address };
  nowhere.address.sin_port = 0;
  assert_null(tor_connect(&nowhere, 0x12));
  run_for(5 * SECOND);
  assert_int_equal(p.peer->incoming, 1);
  assert_false(p.conn->marked);
}

static void
not_accepting(void **state)
{
  (void)state;
  struct pair open = pair_in();
  struct peer *peer = PEER(), *ours = PEER();
  tor.is_accepting = false;
  peer_connect(peer);
  run_for(3 * SECOND);
  assert_int_equal(tor_accepted_count(), 1);
  assert_int_equal(peer->ready + peer->closed, 0);
  assert_int_equal(peer->rx, 0); /* no word to it */
  /* What exists goes on, and so does what we begin ourselves. */
  circuit_write(open.peer->control, "abc", 3);
  struct or_connection_t *conn = tor_connect(ours, 0x11);
  RUN_UNTIL(5 * SECOND, open.conn->control.len == 3 && conn->state == TOR_HANDSHAKING);
  tor.is_accepting = true;
  RUN_UNTIL(20 * SECOND, tor_accepted_count() == 2 && peer->ready);
}

static void
not_from_this_address(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  tor.accepts_from = false;
  peer_connect(peer);
  RUN_UNTIL(60 * SECOND, peer->closed);
  assert_int_equal(peer->ready, 0);
  assert_int_equal(tor.conn_count, 0);
  tor.accepts_from = true;
  peer_connect(peer);
  RUN_UNTIL(20 * SECOND, peer->ready && tor_accepted());
}

static void
tor_does_not_want_the_connection(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  tor.wants_connection = false;
  peer_connect(peer);
  RUN_UNTIL(20 * SECOND, peer->closed);
  assert_int_equal(peer->close_reason, UTCP_CLOSE_PEER);
  assert_int_equal(tor.conn_count, 0);
}

/* ---- opening ---- */

/* Streams are not ordered against the control circuit: cells of circuits may come before the last of the handshake. */
static void
cells_wait_until_the_link_is_open(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer_connect(peer);
  RUN_UNTIL(5 * SECOND, peer->ready && tor_accepted());
  struct or_connection_t *conn = tor_accepted();
  for (uint32_t i = 0; i < 3; i++) {
    struct circuit *c = peer_open(peer, 9 + i);
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    circuit_cells(c, 4, CELL_RELAY, 1, 20);
  }
  circuit_write(peer->control, "hello", 5);
  RUN_UNTIL(5 * SECOND, conn->control.len == 5);
  or_utcp_link_start_reading(conn->link); /* is not enough */
  run_for(5 * SECOND);
  assert_int_equal(conn->cell_count, 0);
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal(peer_circuit(peer, 9 + i)->closed, 0);
  tor_opened(conn);
  RUN_UNTIL(5 * SECOND, conn->cell_count == 3 * 21);
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal(tor_wrong(conn, 9 + i), 0);
  or_utcp_link_opened(conn->link); /* again: nothing */
  run_for(SECOND);
  assert_int_equal(conn->calls[CALL_LOST], 0);
}

static void
handshake_takes_too_long(void **state)
{
  (void)state;
  struct peer *theirs = PEER(), *ours = PEER();
  peer_connect(theirs);
  struct or_connection_t *out = tor_connect(ours, 0x11);
  RUN_UNTIL(5 * SECOND, out->state == TOR_HANDSHAKING && tor_accepted());
  struct or_connection_t *in = tor_accepted();
  memset(in->identity, 0x22, sizeof in->identity);
  struct pair open = pair_in();
  run_for(28 * SECOND);
  assert_false(in->marked || out->marked);
  RUN_UNTIL(5 * SECOND, in->marked && out->marked);
  assert_int_equal(in->close_reason, UTCP_CLOSE_TIMEOUT);
  assert_int_equal(out->close_reason, UTCP_CLOSE_TIMEOUT);
  RUN_UNTIL(SECOND, ours->closed && theirs->closed);
  /* Whoever we connect to is to be reached by TCP. */
  assert_true(or_utcp_failed_recently(out->identity));
  assert_false(or_utcp_failed_recently(in->identity));
  assert_int_equal(out->calls[CALL_TCP], 0);
  run_for(60 * SECOND);
  assert_false(open.conn->marked);
  assert_int_equal(in->calls[CALL_CLOSE] + out->calls[CALL_CLOSE], 2);
}

static void
handshake_in_time(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer_connect(peer);
  RUN_UNTIL(5 * SECOND, tor_accepted());
  struct or_connection_t *conn = tor_accepted();
  run_for(29 * SECOND);
  tor_opened(conn);
  run_for(60 * SECOND);
  assert_false(conn->marked);
}

/* ---- the control circuit ---- */

static void
control_both_ways(void **state)
{
  (void)state;
  struct pair p = pair_out();
  const size_t len = scaled(1000000, 200000);
  uint8_t *data = malloc(len);
  assert_non_null(data);
  for (size_t i = 0; i < len; i++)
    data[i] = (uint8_t)(i * 2654435761u >> 13);
  circuit_write(p.peer->control, data, len);
  for (size_t done = 0, n = 1; done < len; done += n, n = n * 3 % 10007 + 1) {
    n = n < len - done ? n : len - done;
    or_utcp_link_write(p.conn->link, data + done, n);
  }
  RUN_UNTIL(60 * SECOND, p.conn->control.len == len && p.peer->control->in.len == len);
  assert_memory_equal(p.conn->control.data, data, len);
  assert_memory_equal(p.peer->control->in.data, data, len);
  assert_true(p.conn->had_ssl);
  free(data);
}

static void
control_before_the_link_is_open(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  or_utcp_link_write(conn->link, "too early", 9); /* before DTLS: there is nowhere to write to */
  RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING && peer->ready);
  or_utcp_link_write(conn->link, "versions", 8);
  RUN_UNTIL(5 * SECOND, peer->control->in.len == 8);
  assert_memory_equal(peer->control->in.data, "versions", 8);
  circuit_write(peer->control, "certs", 5);
  RUN_UNTIL(5 * SECOND, conn->control.len == 5);
  assert_memory_equal(conn->control.data, "certs", 5);
  assert_true(conn->had_ssl);
}

static void
cells_of_no_circuit_go_by_control(void **state)
{
  (void)state;
  for (size_t id_len = 2; id_len <= 4; id_len += 2) {
    tor.id_len = id_len;
    struct pair p = pair_out();
    static const uint8_t commands[] = { CELL_PADDING, CELL_NETINFO };
    for (uint32_t i = 0; i < 2; i++)
      tor_cell(p.conn, 0, commands[i], i);
    RUN_UNTIL(5 * SECOND, circuit_count(p.peer->control, id_len) == 2);
    for (uint32_t i = 0; i < 2; i++) {
      struct cell cell = circuit_cell(p.peer->control, id_len, i);
      assert_true(cell_is(&cell, 0, commands[i], i));
    }
    assert_int_equal(p.peer->control->in.len, 2 * cell_size(id_len));
  }
}

static void
peer_does_not_read_its_control_circuit(void **state)
{
  (void)state;
  struct pair p = { .peer = PEER(.receive_buffer = 65536) };
  p.conn = tor_connect(p.peer, 0x11);
  RUN_UNTIL(5 * SECOND, p.conn->state == TOR_HANDSHAKING && p.peer->ready);
  tor_opened(p.conn);
  p.peer->control->paused = true;
  uint8_t block[65536] = { 1 };
  /* Almost the limit: it is not closed. */
  for (unsigned i = 0; i < 63; i++)
    or_utcp_link_write(p.conn->link, block, sizeof block);
  run_for(10 * SECOND);
  assert_false(p.conn->marked);
  for (unsigned i = 0; i < 16; i++)
    or_utcp_link_write(p.conn->link, block, sizeof block);
  assert_false(p.conn->marked); /* not within the write */
  RUN_UNTIL(5 * SECOND, p.conn->marked);
  assert_int_equal(p.conn->calls[CALL_CLOSE], 1);
  assert_int_equal(p.conn->calls[CALL_TCP], 0);
}

/* ---- the end ---- */

static void
peer_closes(void **state)
{
  (void)state;
  struct pair in = pair_in(), out = pair_out();
  struct pair *p[2] = { &in, &out };
  for (unsigned i = 0; i < 2; i++) {
    struct circuit *c = peer_open(p[i]->peer, 9);
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    tor_cell(p[i]->conn, 10, CELL_CREATE2, 0);
    RUN_UNTIL(5 * SECOND, tor_count(p[i]->conn, 9) && peer_circuit(p[i]->peer, 10));
    assert_int_equal(utcp_connection_close(p[i]->peer->connection), UTCP_OK);
    RUN_UNTIL(5 * SECOND, p[i]->conn->marked);
    assert_int_equal(p[i]->conn->calls[CALL_CLOSE], 1);
    assert_int_equal(p[i]->conn->close_reason, UTCP_CLOSE_PEER);
    assert_int_equal(p[i]->conn->calls[CALL_TCP], 0);
    /* It was open: UDP does work. */
    assert_false(or_utcp_failed_recently(p[i]->conn->identity));
  }
}

static void
peer_does_not_answer_any_more(void **state)
{
  (void)state;
  struct pair p = pair_out();
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  run_for(SECOND);
  p.peer->deaf = true;
  or_utcp_link_write(p.conn->link, "x", 1);
  RUN_UNTIL(1000 * SECOND, p.conn->marked);
  assert_int_equal(p.conn->close_reason, UTCP_CLOSE_TIMEOUT);
  assert_int_equal(p.conn->calls[CALL_TCP], 0);
  assert_false(or_utcp_failed_recently(p.conn->identity));
}

static void
peer_restarts(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 1);
  uint16_t port = ntohs(p.peer->address.sin_port);
  peer_stop(p.peer);
  struct peer *again = PEER(.port = port);
  peer_connect(again);
  RUN_UNTIL(20 * SECOND, p.conn->marked && tor_accepted_count() == 2 && again->ready);
  assert_int_equal(p.conn->close_reason, UTCP_CLOSE_RESTARTED);
  struct or_connection_t *fresh = tor_accepted();
  assert_ptr_not_equal(fresh, p.conn);
  tor_opened(fresh);
  c = peer_open(again, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  circuit_cells(c, 4, CELL_RELAY, 1, 10);
  RUN_UNTIL(5 * SECOND, tor_count(fresh, 9) == 11);
  assert_int_equal(tor_wrong(fresh, 9), 0);
  assert_int_equal(tor_count(p.conn, 9), 1);
}

/* The peer has lost our session, and does not connect by itself. */
static void
peer_restarts_and_we_connect_again(void **state)
{
  (void)state;
  struct pair p = pair_out();
  uint16_t port = ntohs(p.peer->address.sin_port);
  peer_stop(p.peer);
  struct peer *again = PEER(.port = port);
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  RUN_UNTIL(400 * SECOND, p.conn->marked);
  assert_int_equal(p.conn->calls[CALL_CLOSE], 1);
  assert_false(or_utcp_failed_recently(p.conn->identity));
  run_turns(5);
  struct or_connection_t *conn = tor_connect(again, 0x11);
  assert_non_null(conn);
  RUN_UNTIL(20 * SECOND, conn->state == TOR_HANDSHAKING && again->ready);
}

static void
tor_closes(void **state)
{
  (void)state;
  struct pair p = pair_out();
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 1);
  circuit_cells(c, 4, CELL_RELAY, 1, 100);
  tor_mark(p.conn);
  RUN_UNTIL(5 * SECOND, p.peer->closed);
  assert_int_equal(p.peer->close_reason, UTCP_CLOSE_PEER);
  assert_int_equal(c->closed, UTCP_CLOSE_CONNECTION);
  assert_int_equal(p.conn->calls[CALL_CLOSE] + p.conn->calls[CALL_LOST], 0);
  assert_null(p.conn->link);
  /* The address is free. */
  struct or_connection_t *conn = tor_connect(p.peer, 0x11);
  assert_non_null(conn);
  RUN_UNTIL(20 * SECOND, conn->state == TOR_HANDSHAKING && p.peer->ready == 2);
}

/* Freed at once in each state, before the loop has turned. */
static void
freed_in_every_state(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 6; i++) {
    struct peer *peer = PEER();
    struct or_connection_t *conn;
    if (i < 3) {
      conn = tor_connect(peer, 0x11);
      if (i == 1)
        run_turns(1);
    } else {
      peer_connect(peer);
      RUN_UNTIL(5 * SECOND, tor_accepted() && !tor_accepted()->marked);
      conn = tor_accepted();
    }
    if (i == 2)
      RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING);
    if (i > 3)
      tor_opened(conn);
    if (i > 4) {
      struct circuit *c = peer_open(peer, 9);
      circuit_cells(c, 4, CELL_CREATE2, 0, 1);
      RUN_UNTIL(5 * SECOND, tor_count(conn, 9) == 1);
      circuit_cells(c, 4, CELL_RELAY, 1, 10);
      or_utcp_stream_hold(conn->link, 9, true);
      tor_cell(conn, 10, CELL_CREATE2, 0);
      for (unsigned j = 0; j < 1000; j++)
        tor_cell(conn, 10, CELL_RELAY, 0);
      or_utcp_stream_hold(conn->link, 9, false);
    }
    conn->marked = true;
    or_utcp_link_free(conn->link);
    conn->link = NULL;
    run_for(10 * SECOND);
    assert_int_equal(conn->calls[CALL_CLOSE] + conn->calls[CALL_TCP] + conn->calls[CALL_LOST], 0);
  }
  assert_int_equal(or_utcp_memory(), 0);
}

/* A connection that is marked gets nothing any more, although its link lives on for a while. */
static void
marked_connection_hears_nothing(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 1);
  p.conn->marked = true; /* and not freed */
  unsigned before = p.conn->calls[CALL_MOVED];
  circuit_cells(c, 4, CELL_RELAY, 1, 100);
  circuit_cells(peer_open(p.peer, 10), 4, CELL_CREATE2, 0, 1);
  circuit_write(p.peer->control, "abc", 3);
  run_for(SECOND);
  circuit_abort(c);
  run_for(60 * SECOND);
  assert_int_equal(utcp_connection_close(p.peer->connection), UTCP_OK);
  run_for(SECOND);
  assert_int_equal(p.conn->cell_count, 1);
  assert_int_equal(p.conn->control.len, 0);
  assert_int_equal(p.conn->calls[CALL_LOST] + p.conn->calls[CALL_CLOSE], 0);
  assert_int_equal(p.conn->calls[CALL_MOVED], before);
  assert_int_equal(tor.violations, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(outgoing),
    TEST(incoming),
    TEST(side_that_connects_presents_nothing),
    TEST(many_links),
    TEST(second_connection_to_the_same_address),
    TEST(not_accepting),
    TEST(not_from_this_address),
    TEST(tor_does_not_want_the_connection),
    TEST(cells_wait_until_the_link_is_open),
    TEST(handshake_takes_too_long),
    TEST(handshake_in_time),
    TEST(control_both_ways),
    TEST(control_before_the_link_is_open),
    TEST(cells_of_no_circuit_go_by_control),
    TEST(peer_does_not_read_its_control_circuit),
    TEST(peer_closes),
    TEST(peer_does_not_answer_any_more),
    TEST(peer_restarts),
    TEST(peer_restarts_and_we_connect_again),
    TEST(tor_closes),
    TEST(freed_in_every_state),
    TEST(marked_connection_hears_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
