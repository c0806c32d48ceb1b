/* Backpressure of circuits, the bandwidth of connections, and what is charged for. */
#include "tor_stand_in.h"

static struct circuit *
begin(struct pair *p, uint32_t number)
{
  struct circuit *c = peer_open(p->peer, number);
  circuit_cells(c, p->conn->id_len, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p->conn, number) == 1);
  return c;
}

static struct circuit *
launch(struct pair *p, uint32_t number)
{
  struct circuit *c;
  tor_cell(p->conn, number, CELL_CREATE2, 0);
  RUN_UNTIL(5 * SECOND, (c = peer_circuit(p->peer, number)) && circuit_count(c, p->conn->id_len) == 1);
  return c;
}

/* ---- writing ---- */

/* Writes relay cells from `seq` on as Tor does, until the stream is full or `end` is reached; where it stopped. */
static uint32_t
write_some(struct or_connection_t *conn, uint32_t number, uint32_t seq, uint32_t end)
{
  while (seq < end && !or_utcp_stream_is_full(conn->link, number))
    tor_cell(conn, number, CELL_RELAY, seq++);
  return seq;
}

static void
assert_in_order(const struct circuit *c, size_t id_len, uint32_t number, uint32_t count)
{
  assert_int_equal(c->in.len, count * cell_size(id_len));
  for (uint32_t i = 0; i < count; i++) {
    struct cell cell = circuit_cell(c, id_len, i);
    if (!cell_is(&cell, number, i ? CELL_RELAY : CELL_CREATE2, i))
      fail_msg("cell %u of circuit %u is wrong", i, number);
  }
}

static void
full_stream_and_room(void **state)
{
  (void)state;
  struct pair p = { .peer = PEER(.receive_buffer = 65536) };
  p.conn = tor_connect(p.peer, 0x11);
  RUN_UNTIL(5 * SECOND, p.conn->state == TOR_HANDSHAKING && p.peer->ready);
  tor_opened(p.conn);
  struct circuit *c = launch(&p, 9), *other = launch(&p, 10);
  const uint32_t cells = 1 + scaled(8000, 3000); /* 4 MB */
  uint32_t seq = 1;
  unsigned full = 0, rooms = 0;

  /* The peer does not read: no more leaves Tor than both buffers hold. */
  c->paused = true;
  for (unsigned i = 0; i < 200; i++) {
    seq = write_some(p.conn, 9, seq, cells);
    run_for(100 * MS);
  }
  assert_true(or_utcp_stream_is_full(p.conn->link, 9));
  assert_in_range(seq, 65536 / 514, (65536 + 262144) / 514 + 2);
  uint32_t stuck = seq;
  rooms = tor_room(p.conn, 9);
  run_for(60 * SECOND);
  assert_true(or_utcp_stream_is_full(p.conn->link, 9));
  assert_int_equal(write_some(p.conn, 9, seq, cells), stuck);
  assert_int_equal(tor_room(p.conn, 9), rooms);

  /* The other circuit does not notice. */
  for (uint32_t i = 1; i < 100; i++)
    tor_cell(p.conn, 10, CELL_RELAY, i);
  RUN_UNTIL(5 * SECOND, circuit_count(other, 4) == 100);
  assert_in_order(other, 4, 10, 100);
  assert_false(or_utcp_stream_is_full(p.conn->link, 10));

  /* Tor writes when it hears that there is room, and hears it each time, once. */
  c->paused = false;
  utcp_circuit_set_events(c->handle, 0);
  utcp_circuit_set_events(c->handle, UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE);
  p.conn->calls[CALL_ROOM] = rooms = 0;
  bool was_full = true;
  uint64_t end = clock_now + 600 * SECOND;
  while (seq < cells && loopback_step(end)) {
    bool is_full = or_utcp_stream_is_full(p.conn->link, 9);
    assert_int_equal(tor_room(p.conn, 9) - rooms, was_full && !is_full);
    if (tor_room(p.conn, 9) > rooms) {
      seq = write_some(p.conn, 9, seq, cells);
      full += or_utcp_stream_is_full(p.conn->link, 9);
    }
    rooms = p.conn->calls[CALL_ROOM] = p.conn->calls[CALL_ROOM] > 200 ? 0 : p.conn->calls[CALL_ROOM];
    was_full = or_utcp_stream_is_full(p.conn->link, 9);
  }
  assert_int_equal(seq, cells);
  assert_true(full > 3);
  RUN_UNTIL(60 * SECOND, c->in.len == (size_t)cells * 514);
  assert_in_order(c, 4, 9, cells);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
}

/* Tor may write on although the stream is full: nothing of it is lost. */
static void
writing_to_a_full_stream(void **state)
{
  (void)state;
  struct pair p = pair_out();
  struct circuit *c = launch(&p, 9);
  const uint32_t cells = scaled(4000, 1500);
  for (uint32_t seq = 1; seq < cells / 2; seq++)
    tor_cell(p.conn, 9, CELL_RELAY, seq);
  assert_true(or_utcp_stream_is_full(p.conn->link, 9));
  /* The rest in small pieces, while what is kept for the stream goes out. */
  for (uint32_t seq = cells / 2; seq < cells; seq++) {
    tor_cell(p.conn, 9, CELL_RELAY, seq);
    run_turns(1);
  }
  RUN_UNTIL(60 * SECOND, c->in.len == (size_t)cells * 514);
  assert_in_order(c, 4, 9, cells);
  assert_false(or_utcp_stream_is_full(p.conn->link, 9));
  assert_true(tor_room(p.conn, 9) >= 1);
}

static void
many_streams_at_once(void **state)
{
  (void)state;
  enum { CIRCUITS = 20 };
  struct pair p = pair_out();
  const uint32_t cells = scaled(400, 100);
  uint32_t seq[CIRCUITS];
  struct circuit *c[CIRCUITS], *back[CIRCUITS];
  for (uint32_t i = 0; i < CIRCUITS; i++) {
    c[i] = launch(&p, 100 + i);
    back[i] = begin(&p, 200 + i);
    seq[i] = 1;
    circuit_cells(back[i], 4, CELL_RELAY, 1, cells - 1);
  }
  uint64_t end = clock_now + 600 * SECOND;
  size_t done;
  do {
    done = 0;
    for (uint32_t i = 0; i < CIRCUITS; i++) {
      seq[i] = write_some(p.conn, 100 + i, seq[i], cells);
      done += c[i]->in.len == cells * 514 && tor_count(p.conn, 200 + i) == cells;
    }
  } while (done < CIRCUITS && loopback_step(end));
  for (uint32_t i = 0; i < CIRCUITS; i++) {
    assert_in_order(c[i], 4, 100 + i, cells);
    assert_int_equal(tor_count(p.conn, 200 + i), cells);
    assert_int_equal(tor_wrong(p.conn, 200 + i), 0);
  }
}

/* ---- reading: one circuit is held ---- */

static void
hold_stops_one_stream(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *held = begin(&p, 9), *other = begin(&p, 10);
  or_utcp_stream_hold(p.conn->link, 9, true);
  or_utcp_stream_hold(p.conn->link, 9, true); /* twice is once */
  circuit_cells(held, 4, CELL_RELAY, 1, 20000); /* 10 MB */
  circuit_cells(other, 4, CELL_RELAY, 1, 500);
  RUN_UNTIL(20 * SECOND, tor_count(p.conn, 10) == 501);
  run_for(20 * SECOND);
  assert_int_equal(tor_count(p.conn, 9), 1);
  assert_int_equal(tor_wrong(p.conn, 10), 0);
  /* The peer is held back: no more than the receive buffer is here. */
  assert_true(or_utcp_memory() > 10000);
  assert_true(or_utcp_memory() < 2 << 20);
  assert_true(held->out_done < held->out.len);
  assert_false(circuit_is_delivered(held));

  or_utcp_stream_hold(p.conn->link, 9, false);
  RUN_UNTIL(60 * SECOND, tor_count(p.conn, 9) == 20001);
  assert_int_equal(tor_wrong(p.conn, 9), 0);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
}

/* What was there when it was held comes, although nothing new does. */
static void
release_goes_on_with_what_is_there(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  for (uint32_t round = 0; round < 5; round++) {
    or_utcp_stream_hold(p.conn->link, 9, true);
    circuit_cells(c, 4, CELL_RELAY, 1 + 10 * round, 10);
    RUN_UNTIL(5 * SECOND, circuit_is_delivered(c));
    run_for(5 * SECOND);
    assert_int_equal(tor_count(p.conn, 9), 1 + 10 * round);
    or_utcp_stream_hold(p.conn->link, 9, false);
    RUN_UNTIL(SECOND, tor_count(p.conn, 9) == 11 + 10 * round);
  }
  assert_int_equal(tor_wrong(p.conn, 9), 0);
}

/* The end waits behind the cells, DESTROY or not. */
static void
end_of_a_held_stream(void **state)
{
  (void)state;
  struct pair p = pair_in();
  for (uint32_t i = 0; i < 2; i++) {
    struct circuit *c = begin(&p, 9 + i);
    or_utcp_stream_hold(p.conn->link, 9 + i, true);
    circuit_cells(c, 4, CELL_RELAY, 1, 10);
    if (i)
      circuit_cells(c, 4, CELL_DESTROY, 11, 1);
    circuit_finish(c);
    run_for(10 * SECOND);
    assert_int_equal(tor_count(p.conn, 9 + i), 1);
    assert_int_equal(tor_lost(p.conn, 9 + i), 0);
    or_utcp_stream_hold(p.conn->link, 9 + i, false);
    RUN_UNTIL(SECOND, tor_count(p.conn, 9 + i) == 11 + i);
    if (!i)
      RUN_UNTIL(SECOND, tor_lost(p.conn, 9) == 1);
  }
  run_for(5 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 1);
}

static void
hold_in_the_cell(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  if (call == CALL_CELL && conn->cell_count % 50 == 0)
    or_utcp_stream_hold(conn->link, number, true);
}

/* Tor holds a stream because of the very cell that it is given. */
static void
held_from_within(void **state)
{
  (void)state;
  tor.hook = hold_in_the_cell;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  circuit_cells(c, 4, CELL_RELAY, 1, 999);
  size_t before = 0;
  for (unsigned i = 0; p.conn->cell_count < 1000; i++) {
    assert_true(i < 200);
    run_for(SECOND);
    /* What was read with that cell, but no more. */
    assert_true(p.conn->cell_count - before < 50 + 16);
    before = p.conn->cell_count;
    or_utcp_stream_hold(p.conn->link, 9, false);
  }
  assert_int_equal(p.conn->cell_count, 1000);
  assert_int_equal(tor_wrong(p.conn, 9), 0);
}

/* ---- reading: no bandwidth ---- */

static void
bandwidth_holds_everything(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *a = begin(&p, 9), *b = begin(&p, 10);
  const uint8_t control[700] = { 1, 2, 3 };
  for (uint32_t round = 0; round < 5; round++) {
    size_t cells = p.conn->cell_count, octets = p.conn->control.len;
    or_utcp_link_stop_reading(p.conn->link);
    circuit_cells(a, 4, CELL_RELAY, 1 + 100 * round, 100);
    circuit_cells(b, 4, CELL_RELAY, 1 + 100 * round, 100);
    circuit_write(p.peer->control, control, sizeof control);
    /* A circuit that is begun meanwhile has to wait, too. */
    struct circuit *c = peer_open(p.peer, 20 + round);
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    run_for(10 * SECOND);
    assert_int_equal(p.conn->cell_count, cells);
    assert_int_equal(p.conn->control.len, octets);
    assert_true(circuit_is_delivered(a) && circuit_is_delivered(p.peer->control));
    /* Writing goes on. */
    tor_cell(p.conn, 9, CELL_RELAY, round);
    RUN_UNTIL(5 * SECOND, circuit_count(a, 4) == round + 1);
    or_utcp_link_start_reading(p.conn->link);
    RUN_UNTIL(5 * SECOND, p.conn->cell_count == cells + 201 && p.conn->control.len == octets + sizeof control);
  }
  assert_int_equal(tor_wrong(p.conn, 9) + tor_wrong(p.conn, 10), 0);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
}

static void
stop_after_some(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  (void)number;
  if ((call == CALL_CELL || call == CALL_CONTROL) && ++conn->hooked % 37 == 0)
    or_utcp_link_stop_reading(conn->link);
}

/* The bucket runs empty in the middle of reading, over and over. */
static void
bandwidth_ends_within_a_turn(void **state)
{
  (void)state;
  tor.hook = stop_after_some;
  struct pair p = pair_in();
  struct circuit *a = begin(&p, 9), *b = begin(&p, 10);
  const size_t cells = scaled(3000, 1000);
  circuit_cells(a, 4, CELL_RELAY, 1, cells);
  circuit_cells(b, 4, CELL_RELAY, 1, cells);
  uint8_t *control = malloc(100000);
  assert_non_null(control);
  for (size_t i = 0; i < 100000; i++)
    control[i] = (uint8_t)(i * 7 >> 3);
  circuit_write(p.peer->control, control, 100000);
  unsigned rounds = 0;
  while (p.conn->cell_count < 2 * cells + 2 || p.conn->control.len < 100000) {
    size_t before = p.conn->cell_count;
    assert_true(rounds++ < 3000);
    run_for(20 * MS);
    assert_true(p.conn->cell_count - before < 2 * 37 + 16);
    or_utcp_link_start_reading(p.conn->link);
  }
  assert_memory_equal(p.conn->control.data, control, 100000);
  free(control);
  assert_int_equal(tor_wrong(p.conn, 9) + tor_wrong(p.conn, 10), 0);
  assert_true(rounds > 2 * cells / 100);
}

/* Held for two reasons: it takes both to end. */
static void
held_for_two_reasons(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  for (uint32_t i = 0; i < 4; i++) {
    or_utcp_link_stop_reading(p.conn->link);
    if (i & 2)
      or_utcp_stream_hold(p.conn->link, 9, true);
    circuit_cells(c, 4, CELL_RELAY, 1 + 10 * i, 10);
    run_for(SECOND);
    if (!(i & 2))
      or_utcp_stream_hold(p.conn->link, 9, true);
    run_for(SECOND);
    for (uint32_t j = 0; j < 2; j++) {
      assert_int_equal(tor_count(p.conn, 9), 1 + 10 * i);
      if ((i ^ j) & 1)
        or_utcp_stream_hold(p.conn->link, 9, false);
      else
        or_utcp_link_start_reading(p.conn->link);
      if (!j)
        run_for(SECOND);
    }
    RUN_UNTIL(SECOND, tor_count(p.conn, 9) == 11 + 10 * i);
  }
  assert_int_equal(tor_wrong(p.conn, 9), 0);
}

/* ---- fairness ---- */

static size_t most_in_a_row, in_a_row;
static uint32_t in_a_row_of;

static void
count_in_a_row(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  (void)conn;
  if (call != CALL_CELL)
    return;
  in_a_row = number == in_a_row_of ? in_a_row + 1 : 1;
  in_a_row_of = number;
  if (in_a_row > most_in_a_row)
    most_in_a_row = in_a_row;
}

/* Two streams with much to read take turns: of none, more than eight reads of sixteen cells are handed over in a
 * row. */
static void
streams_take_turns(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *a = begin(&p, 9), *b = begin(&p, 10);
  or_utcp_stream_hold(p.conn->link, 9, true);
  or_utcp_stream_hold(p.conn->link, 10, true);
  circuit_cells(a, 4, CELL_RELAY, 1, 1500);
  circuit_cells(b, 4, CELL_RELAY, 1, 1500);
  run_for(20 * SECOND); /* until the windows are closed */
  assert_int_equal(p.conn->cell_count, 2);
  most_in_a_row = 0;
  p.conn->hook = count_in_a_row;
  or_utcp_stream_hold(p.conn->link, 9, false);
  or_utcp_stream_hold(p.conn->link, 10, false);
  RUN_UNTIL(60 * SECOND, p.conn->cell_count == 2 + 3000);
  assert_in_range(most_in_a_row, 100, 8 * 16);
  assert_int_equal(tor_wrong(p.conn, 9) + tor_wrong(p.conn, 10), 0);
}

/* A turn ends before all is read, and nothing new comes: the next ones go on. */
static void
turns_until_nothing_is_left(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  const size_t before = 1 + scaled(20000, 5000), held = 900;
  circuit_cells(c, 4, CELL_RELAY, 1, before - 1); /* makes the window wide */
  RUN_UNTIL(60 * SECOND, tor_count(p.conn, 9) == before);
  or_utcp_stream_hold(p.conn->link, 9, true);
  circuit_cells(c, 4, CELL_RELAY, (uint32_t)before, held);
  RUN_UNTIL(60 * SECOND, circuit_is_delivered(c));
  run_for(5 * SECOND);
  assert_int_equal(tor_count(p.conn, 9), before);
  p.peer->mute = true;
  or_utcp_stream_hold(p.conn->link, 9, false);
  run_for(10 * MS);
  assert_int_equal(tor_count(p.conn, 9), before + held);
  assert_int_equal(tor_wrong(p.conn, 9), 0);
}

/* ---- what is charged ---- */

static void
charged_once(void **state)
{
  (void)state;
  struct pair p[2] = { pair_in(), pair_out() };
  struct circuit *c[2];
  struct { uint64_t sent, received; } peers[2], ours[2];
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < 2 && round; i++) {
      c[i] = begin(&p[i], 9);
      circuit_cells(c[i], 4, CELL_RELAY, 1, 300 + 200 * i);
      for (uint32_t seq = 0; seq < 200; seq++)
        tor_cell(p[i].conn, 9, CELL_RELAY, seq);
    }
    for (unsigned i = 0; i < 2 && round; i++)
      RUN_UNTIL(20 * SECOND, tor_count(p[i].conn, 9) == 301 + 200 * i && circuit_count(c[i], 4) == 200);
    run_for(20 * SECOND);
    for (unsigned i = 0; i < 2; i++) {
      or_utcp_figures_t figures = { .links = 0 };
      utcp_connection_stats stats = { .size = sizeof stats };
      or_utcp_link_add_figures(p[i].conn->link, &figures);
      assert_int_equal(utcp_connection_get_stats(p[i].peer->connection, &stats), UTCP_OK);
      /* The handshake is charged for, too; but for the first hello and the cookie, which no connection counts. */
      assert_int_equal(p[i].conn->moved_sent, figures.sent);
      assert_int_equal(p[i].conn->moved_received, figures.received);
      assert_true(figures.sent > 1000 && figures.received > 1000);
      if (round) {
        /* Nothing is lost on the way: the other side counts the same. */
        assert_int_equal(figures.sent - ours[i].sent, stats.bytes_received - peers[i].received);
        assert_int_equal(figures.received - ours[i].received, stats.bytes_sent - peers[i].sent);
      }
      if (round) {
        assert_true(figures.received - ours[i].received > (300 + 200 * i) * 514);
        assert_true(figures.sent - ours[i].sent > 200 * 514);
      }
      ours[i].sent = figures.sent;
      ours[i].received = figures.received;
      peers[i].sent = stats.bytes_sent;
      peers[i].received = stats.bytes_received;
    }
  }
}

/* Not some time later: buckets are to be empty when they are. */
static void
charged_in_the_same_turn(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  for (uint32_t i = 0; i < 20; i++) {
    run_for(300 * MS);
    circuit_cells(c, 4, CELL_RELAY, 1 + i, 1);
    if (i % 2)
      tor_cell(p.conn, 9, CELL_RELAY, i);
    for (unsigned turn = 0; turn < 10 && tor_count(p.conn, 9) < i + 2; turn++)
      run_turns(1);
    assert_int_equal(tor_count(p.conn, 9), i + 2);
    or_utcp_figures_t figures = { .links = 0 };
    or_utcp_link_add_figures(p.conn->link, &figures);
    assert_int_equal(p.conn->moved_received, figures.received);
    assert_int_equal(p.conn->moved_sent, figures.sent);
  }
}

/* Also what is not of any circuit: path probes, retransmissions, acknowledgements. */
static void
charged_without_cells(void **state)
{
  (void)state;
  struct pair p = pair_in();
  uint64_t received = p.conn->moved_received;
  p.conn->hook = NULL;
  circuit_write(p.peer->control, "x", 1);
  run_for(5 * SECOND);
  assert_true(p.conn->moved_received > received);
  or_utcp_figures_t figures = { .links = 0 };
  or_utcp_link_add_figures(p.conn->link, &figures);
  assert_int_equal(p.conn->moved_received, figures.received);
  assert_int_equal(p.conn->moved_sent, figures.sent);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(full_stream_and_room),
    TEST(writing_to_a_full_stream),
    TEST(many_streams_at_once),
    TEST(hold_stops_one_stream),
    TEST(release_goes_on_with_what_is_there),
    TEST(end_of_a_held_stream),
    TEST(held_from_within),
    TEST(bandwidth_holds_everything),
    TEST(bandwidth_ends_within_a_turn),
    TEST(held_for_two_reasons),
    TEST(streams_take_turns),
    TEST(turns_until_nothing_is_left),
    TEST(charged_once),
    TEST(charged_in_the_same_turn),
    TEST(charged_without_cells),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
