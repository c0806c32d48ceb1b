/* What Tor does from within what the glue tells it: close, write, hold, destroy, connect. */
#include "tor_stand_in.h"

static enum tor_call close_at;

static void
close_it(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  (void)number;
  if (call == close_at && !conn->marked)
    tor_mark(conn);
}

/* Everything that can happen to a connection happens to this one, for as long as it lives. */
static void
live(struct or_connection_t *conn, struct peer *peer)
{
  if (!conn->marked && conn->state == TOR_HANDSHAKING)
    tor_opened(conn);
  if (!conn->marked && conn->link) {
    peer->refuse_circuits = true;
    tor_cell(conn, 8, CELL_CREATE2, 0); /* lost */
    run_for(SECOND);
    peer->refuse_circuits = false;
  }
  if (!conn->marked && conn->link && !peer->closed) {
    struct circuit *c = peer_open(peer, 9), *ours;
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    circuit_cells(c, 4, CELL_RELAY, 1, 40);
    circuit_write(peer->control, "abc", 3);
    tor_cell(conn, 10, CELL_CREATE2, 0);
    run_for(SECOND);
    ours = peer_circuit(peer, 10);
    for (unsigned i = 0; i < 300 && !conn->marked && conn->link; i++)
      tor_cell(conn, 10, CELL_RELAY, i + 1);
    run_for(5 * SECOND);
    circuit_abort(c);
    if (ours)
      circuit_finish(ours);
  }
  run_for(5 * SECOND);
  if (!peer->closed && peer->connection)
    utcp_connection_close(peer->connection);
  run_for(5 * SECOND);
}

static void
closed_within_each_call(void **state)
{
  (void)state;
  for (close_at = CALL_ACCEPT; close_at < CALLS; close_at++)
    for (unsigned in = 0; in < 2; in++) {
      struct peer *peer = PEER();
      struct or_connection_t *conn;
      tor.hook = close_it;
      tor.wants_connection = true;
      if (in) {
        size_t before = tor_accepted_count();
        peer_connect(peer);
        RUN_UNTIL(5 * SECOND, tor_accepted_count() > before);
        conn = tor_accepted();
        run_for(SECOND);
      } else {
        peer->deaf = close_at == CALL_TCP;
        conn = tor_connect(peer, 0x11);
        run_for(10 * SECOND);
      }
      live(conn, peer);
      bool happens = in ? close_at != CALL_TCP : close_at != CALL_ACCEPT;
      assert_true(conn->marked || close_at == CALL_TCP || close_at == CALL_ACCEPT);
      assert_int_equal(conn->calls[close_at] > 0, happens);
      if (happens && close_at != CALL_CLOSE)
        assert_int_equal(conn->calls[CALL_CLOSE], 0);
      if (tor.violations)
        fail_msg("closed in call %d: %s", (int)close_at, tor.violation);
    }
}

/* Cells that were read together with the one at which Tor closes the connection are not its any more. */
static void
closed_between_cells_of_one_read(void **state)
{
  (void)state;
  struct pair p = pair_in();
  close_at = CALL_CELL;
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, p.conn->cell_count == 1);
  p.conn->hook = close_it;
  circuit_cells(c, 4, CELL_RELAY, 1, 15);
  run_for(SECOND);
  assert_true(p.conn->marked);
  assert_int_equal(p.conn->cell_count, 2);
  assert_int_equal(tor.violations, 0);
}

static void
destroy_it(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  if (call == CALL_CELL && tor_count(conn, number) == 5)
    tor_cell(conn, number, CELL_DESTROY, 0);
}

/* Tor destroys the circuit whose cell it is given: those that were read with it are dropped. */
static void
destroyed_within_a_cell(void **state)
{
  (void)state;
  tor.hook = destroy_it;
  struct pair p = pair_in();
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  circuit_cells(c, 4, CELL_RELAY, 1, 15);
  RUN_UNTIL(5 * SECOND, circuit_count(c, 4) == 1 && c->end);
  run_for(5 * SECOND);
  assert_int_equal(tor_count(p.conn, 9), 5);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  struct cell cell = circuit_cell(c, 4, 0);
  assert_true(cell_is(&cell, 9, CELL_DESTROY, 0));
}

static void
drop_it(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  /* The stream that is being read goes, and a new one takes its number. */
  if (call == CALL_CELL && tor_count(conn, number) == 5) {
    or_utcp_destroy_received(conn->link, number);
    tor_cell(conn, number, CELL_CREATE2, 77);
  }
}

static void
dropped_within_a_cell(void **state)
{
  (void)state;
  tor.hook = drop_it;
  struct pair p = pair_in();
  struct circuit *c = peer_open(p.peer, 9), *fresh = NULL;
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  circuit_cells(c, 4, CELL_RELAY, 1, 15);
  RUN_UNTIL(5 * SECOND, c->closed && (fresh = peer_circuit(p.peer, 9)) != c && circuit_count(fresh, 4) == 1);
  run_for(5 * SECOND);
  assert_int_equal(tor_count(p.conn, 9), 5);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  circuit_cells(fresh, 4, CELL_CREATED2, 3, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 6);
}

static void
answer(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  /* An echo, for every circuit, and for the control circuit. */
  if (call == CALL_CELL) {
    const struct cell *cell = tor_last(conn, number);
    uint8_t out[CELL_ROOM];
    cell_pack(out, conn->id_len, number, cell->command == CELL_CREATE2 ? CELL_CREATED2 : CELL_RELAY, 0);
    memcpy(out + conn->id_len + 1, cell->payload, CELL_PAYLOAD);
    or_utcp_link_write_cell(conn->link, out);
    or_utcp_stream_hold(conn->link, number, true);
    or_utcp_stream_hold(conn->link, number, false);
  } else if (call == CALL_CONTROL) {
    or_utcp_link_write(conn->link, conn->control.data + conn->hooked, conn->control.len - conn->hooked);
    conn->hooked = (unsigned)conn->control.len;
  } else if (call == CALL_MOVED) {
    or_utcp_link_stop_reading(conn->link);
    or_utcp_link_start_reading(conn->link);
  }
}

static void
written_within_each_call(void **state)
{
  (void)state;
  tor.hook = answer;
  struct pair p = pair_in();
  struct circuit *c = peer_open(p.peer, 9);
  const size_t cells = 300;
  uint8_t data[5000];
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)(i * 31 >> 2);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  circuit_cells(c, 4, CELL_RELAY, 1, cells - 1);
  circuit_write(p.peer->control, data, sizeof data);
  RUN_UNTIL(60 * SECOND, circuit_count(c, 4) == cells && p.peer->control->in.len == sizeof data);
  for (uint32_t i = 0; i < cells; i++) {
    struct cell cell = circuit_cell(c, 4, i);
    assert_true(cell_is(&cell, 9, i ? CELL_RELAY : CELL_CREATED2, i));
  }
  assert_memory_equal(p.peer->control->in.data, data, sizeof data);
}

static void
fill_up(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  if (call != CALL_ROOM)
    return;
  while (conn->hooked < 3000 && !or_utcp_stream_is_full(conn->link, number))
    or_utcp_link_write_cell(conn->link, (uint8_t[CELL_ROOM]){ 0, 0, 0, 9, CELL_RELAY, (uint8_t)conn->hooked++ });
}

/* Tor goes on writing as soon as it hears that there is room. */
static void
filled_up_when_there_is_room(void **state)
{
  (void)state;
  struct pair p = pair_out();
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  struct circuit *c;
  RUN_UNTIL(5 * SECOND, (c = peer_circuit(p.peer, 9)));
  p.conn->hook = fill_up;
  fill_up(p.conn, CALL_ROOM, 9);
  RUN_UNTIL(60 * SECOND, circuit_count(c, 4) == 3001);
  for (uint32_t i = 0; i < 3000; i++)
    assert_int_equal(circuit_cell(c, 4, i + 1).payload[0], (uint8_t)i);
  assert_true(p.conn->calls[CALL_ROOM] > 3);
}

static void
build_again(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  if (call == CALL_LOST && conn->calls[CALL_LOST] < 10)
    or_utcp_link_write_cell(conn->link, (uint8_t[CELL_ROOM]){ 0, 0, 0, (uint8_t)(number + 1), CELL_CREATE2 });
}

/* A lost circuit makes Tor begin the next. */
static void
another_circuit_when_one_is_lost(void **state)
{
  (void)state;
  struct pair p = pair_out();
  p.peer->refuse_circuits = true;
  p.conn->hook = build_again;
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  RUN_UNTIL(60 * SECOND, p.conn->calls[CALL_LOST] == 10);
  run_for(5 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 10);
  for (uint32_t i = 0; i < 10; i++)
    assert_int_equal(p.conn->lost[i], 9 + i);
  assert_int_equal(p.peer->refused_circuits, 10);
}

static struct peer *next_peer;
static struct or_connection_t *next_conn;

static void
connect_elsewhere(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  (void)conn;
  (void)number;
  if ((call == CALL_CLOSE || call == CALL_TCP || call == CALL_HANDSHAKE) && !next_conn) {
    tor.hook = NULL;
    next_conn = tor_connect(next_peer, 0x44);
  }
}

static void
another_connection_from_within(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 3; i++) {
    struct peer *peer = PEER();
    next_peer = PEER();
    next_conn = NULL;
    tor.hook = i == 2 ? connect_elsewhere : NULL;
    peer->deaf = i == 1;
    struct or_connection_t *conn = tor_connect(peer, 0x11);
    if (i == 0) {
      RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING && peer->ready);
      conn->hook = connect_elsewhere;
      utcp_connection_close(peer->connection);
    } else {
      conn->hook = connect_elsewhere;
    }
    RUN_UNTIL(20 * SECOND, next_conn && next_conn->state == TOR_HANDSHAKING && next_peer->ready);
  }
}

/* The endpoint is being closed, and Tor, hearing of an end, wants to connect again: what it gets does not stay in
 * between for ever. */
static void
connection_while_the_endpoint_closes(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 2; i++) {
    struct peer *peer = PEER();
    next_peer = PEER();
    next_conn = NULL;
    struct or_connection_t *conn = tor_connect(peer, 0x11);
    if (i)
      RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING && peer->ready);
    conn->hook = connect_elsewhere;
    or_utcp_endpoint_close(false);
    run_turns(3);
    assert_int_equal(conn->calls[i ? CALL_CLOSE : CALL_TCP], 1);
    if (next_conn)
      assert_int_equal(next_conn->state, TOR_TCP);
    tor_open_endpoint();
    run_for(5 * SECOND);
    struct pair p = pair_out();
    assert_false(p.conn->marked);
  }
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(closed_within_each_call),
    TEST(closed_between_cells_of_one_read),
    TEST(destroyed_within_a_cell),
    TEST(dropped_within_a_cell),
    TEST(written_within_each_call),
    TEST(filled_up_when_there_is_room),
    TEST(another_circuit_when_one_is_lost),
    TEST(another_connection_from_within),
    TEST(connection_while_the_endpoint_closes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
