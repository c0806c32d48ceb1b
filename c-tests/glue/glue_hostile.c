/* Peers that speak DTLS and the library's protocol, and then do as they please. */
#include "tor_stand_in.h"

static uint32_t random_state;

static uint32_t
rnd(uint32_t below)
{
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state % below;
}

/* A circuit of somebody else, which must not notice. */
struct witness {
  struct pair p;
  struct circuit *c;
  uint32_t seq;
};

static struct witness
witness_new(void)
{
  struct witness w = { .p = pair_in(), .seq = 1 };
  w.c = peer_open(w.p.peer, 9);
  circuit_cells(w.c, w.p.conn->id_len, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, w.p.conn->cell_count == 1);
  return w;
}

static void
witness_works(struct witness *w)
{
  circuit_cells(w->c, w->p.conn->id_len, CELL_RELAY, w->seq, 5);
  w->seq += 5;
  RUN_UNTIL(20 * SECOND, w->p.conn->cell_count == w->seq);
  assert_int_equal(tor_wrong(w->p.conn, 9), 0);
  assert_int_equal(w->p.conn->calls[CALL_LOST], 0);
  assert_false(w->p.conn->marked);
}

static void
garbage_in_streams(void **state)
{
  (void)state;
  struct witness w = witness_new();
  struct pair p = pair_in();
  uint8_t data[5000];
  random_state = 42;
  const unsigned n = scaled(300, 60);
  for (unsigned i = 0; i < n; i++) {
    struct circuit *c = peer_open(p.peer, 100 + i);
    bool begins = i % 2;
    if (begins)
      circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    size_t len = 1 + rnd(sizeof data);
    for (size_t j = 0; j < len; j++)
      data[j] = (uint8_t)rnd(256);
    circuit_write(c, data, len);
    if (len < 514 || i % 3 == 0)
      circuit_finish(c);
    RUN_UNTIL(20 * SECOND, c->closed);
    /* Nothing of it gets through, and Tor hears at most once that the circuit is gone. */
    assert_int_equal(tor_count(p.conn, 100 + i), begins);
    assert_in_range(p.conn->calls[CALL_LOST], begins, 1);
    if (begins)
      assert_int_equal(tor_lost(p.conn, 100 + i), 1);
    p.conn->calls[CALL_LOST] = 0;
    assert_false(p.conn->marked);
  }
  assert_true(tor.logged[OR_UTCP_PROTOCOL] >= n / 2);
  assert_int_equal(tor.logged[OR_UTCP_WARN], 0);
  witness_works(&w);
}

/* Cells with any command, and with numbers that are almost right. */
static void
almost_right_cells(void **state)
{
  (void)state;
  for (size_t id_len = 2; id_len <= 4; id_len += 2) {
    tor.id_len = id_len;
    struct witness w = witness_new();
    struct pair p = pair_in();
    random_state = 7;
    uint8_t cell[CELL_ROOM];
    for (unsigned command = 0; command < 256; command += command < 20 ? 1 : 59) {
      uint32_t number = 1000 + command;
      struct circuit *c = peer_open(p.peer, number);
      circuit_cells(c, id_len, CELL_CREATE2, 0, 1);
      RUN_UNTIL(5 * SECOND, tor_count(p.conn, number) == 1);
      size_t size = cell_pack(cell, id_len, number, (uint8_t)command, 1);
      circuit_write(c, cell, size);
      or_utcp_cell_t kind = or_utcp_tor_cell_kind((uint8_t)command);
      bool good = kind == OR_UTCP_CELL_CIRCUIT || kind == OR_UTCP_CELL_DESTROY;
      if (good)
        RUN_UNTIL(5 * SECOND, tor_count(p.conn, number) == 2);
      else
        RUN_UNTIL(5 * SECOND, tor_lost(p.conn, number) == 1);
      assert_int_equal(tor_count(p.conn, number), good ? 2 : 1);
      if (kind != OR_UTCP_CELL_CIRCUIT)
        continue;
      size = cell_pack(cell, id_len, number ^ 1u << rnd(8 * (uint32_t)id_len), CELL_RELAY, 2);
      circuit_write(c, cell, size);
      RUN_UNTIL(5 * SECOND, tor_lost(p.conn, number) == 1);
      assert_int_equal(tor_count(p.conn, number), 2);
    }
    witness_works(&w);
  }
}

/* The control circuit's octets are Tor's business: they arrive as they were sent, whatever they are. */
static void
garbage_in_control(void **state)
{
  (void)state;
  struct witness w = witness_new();
  struct pair p = pair_in();
  random_state = 99;
  uint8_t data[20000];
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)rnd(256);
  for (size_t done = 0; done < sizeof data;) {
    size_t n = 1 + rnd(2000);
    n = n < sizeof data - done ? n : sizeof data - done;
    circuit_write(p.peer->control, data + done, n);
    done += n;
    run_turns(rnd(4));
  }
  RUN_UNTIL(20 * SECOND, p.conn->control.len == sizeof data);
  assert_memory_equal(p.conn->control.data, data, sizeof data);
  assert_int_equal(p.conn->cell_count, 0);
  witness_works(&w);
}

static void
circuits_without_a_cell(void **state)
{
  (void)state;
  struct witness w = witness_new();
  struct pair p = pair_in();
  const unsigned n = scaled(2000, 200);
  for (unsigned i = 0; i < n; i++) {
    struct circuit *c = peer_open(p.peer, 100 + i);
    if (i % 2)
      circuit_write(c, "", 1);
    if (i % 100 == 99)
      run_turns(2);
  }
  run_for(5 * SECOND);
  assert_int_equal(p.conn->cell_count, 0);
  for (unsigned i = 0; i < n; i++) {
    struct circuit *c = peer_circuit(p.peer, 100 + i);
    if (i % 3)
      circuit_abort(c);
    else
      circuit_finish(c);
  }
  run_for(60 * SECOND);
  witness_works(&w);
  assert_false(p.conn->marked);
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 1);
}

/* Opened and reset, over and over, some of them while they are held, some while Tor writes to them. */
static void
opened_and_reset(void **state)
{
  (void)state;
  struct witness w = witness_new();
  struct pair p = pair_in();
  random_state = 3;
  const unsigned n = scaled(1000, 150);
  for (unsigned i = 0; i < n; i++) {
    uint32_t number = 100 + rnd(5);
    struct circuit *old = peer_circuit(p.peer, number);
    if (old && old->handle && !old->closed) {
      if (rnd(3)) {
        utcp_circuit_abort(old->handle);
        old->closed = UTCP_CLOSE_LOCAL;
      } else {
        utcp_circuit_close(old->handle);
        old->closed = UTCP_CLOSE_DONE;
      }
    }
    struct circuit *c = peer_open(p.peer, number);
    circuit_cells(c, 4, CELL_CREATE2, 0, 1);
    circuit_cells(c, 4, CELL_RELAY, 1, rnd(30));
    or_utcp_stream_hold(p.conn->link, number, rnd(2));
    tor_cell(p.conn, number, CELL_CREATED2, 0);
    if (rnd(4) == 0)
      tor_cell(p.conn, number, CELL_DESTROY, 0);
    run_turns(rnd(6));
    p.conn->calls[CALL_LOST] = 0;
    p.conn->calls[CALL_ROOM] = 0;
  }
  run_for(60 * SECOND);
  p.conn->calls[CALL_LOST] = 0;
  assert_false(p.conn->marked);
  assert_int_equal(tor.logged[OR_UTCP_WARN] + tor.logged[OR_UTCP_PROTOCOL], 0);
  witness_works(&w);
  struct circuit *c = peer_open(p.peer, 9);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 1);
}

static void
connects_and_goes(void **state)
{
  (void)state;
  struct witness w = witness_new();
  for (unsigned i = 0; i < scaled(60, 10); i++) {
    struct peer *peer = PEER();
    peer_connect(peer);
    run_turns(1 + i % 12);
    if (i % 3 == 0)
      utcp_connection_close(peer->connection);
    else if (i % 3 == 1)
      peer_stop(peer);
    if (tor.conn_count > 1 && i % 4 == 0 && !tor_accepted()->marked && tor_accepted() != w.p.conn)
      tor_mark(tor_accepted());
  }
  run_for(400 * SECOND);
  for (size_t i = 0; i < tor.conn_count; i++)
    assert_int_equal(tor.conns[i]->marked, tor.conns[i] != w.p.conn);
  witness_works(&w);
  assert_int_equal(tor.logged[OR_UTCP_WARN], 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(garbage_in_streams),
    TEST(almost_right_cells),
    TEST(garbage_in_control),
    TEST(circuits_without_a_cell),
    TEST(opened_and_reset),
    TEST(connects_and_goes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
