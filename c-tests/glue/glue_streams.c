/* Circuits: cells and their frames, opening, ends of every kind, numbers used again. */
#include "tor_stand_in.h"

/* The peer's circuit with its CREATE, which Tor has got. */
static struct circuit *
begin(struct pair *p, uint32_t number)
{
  struct circuit *c = peer_open(p->peer, number);
  size_t before = tor_count(p->conn, number);
  circuit_cells(c, p->conn->id_len, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p->conn, number) == before + 1);
  return c;
}

/* Our circuit, which the peer has got. */
static struct circuit *
launch(struct pair *p, uint32_t number)
{
  struct circuit *c;
  struct circuit *old = peer_circuit(p->peer, number);
  tor_cell(p->conn, number, CELL_CREATE2, 0);
  RUN_UNTIL(5 * SECOND, (c = peer_circuit(p->peer, number)) != old && circuit_count(c, p->conn->id_len) == 1);
  struct cell cell = circuit_cell(c, p->conn->id_len, 0);
  assert_true(cell_is(&cell, number, CELL_CREATE2, 0));
  return c;
}

/* ---- frames ---- */

/* Chunks of one octet less than a cell (or more) end at each offset of a cell in turn. */
static void
split_everywhere(size_t id_len, size_t chunk)
{
  tor.id_len = id_len;
  struct pair p = pair_in();
  const size_t size = cell_size(id_len), cells = size + 10;
  const uint32_t number = id_len == 2 ? 0x8001 : 0x80000001;
  uint8_t *data = malloc(cells * CELL_ROOM);
  assert_non_null(data);
  for (size_t i = 0; i < cells; i++)
    cell_pack(data + i * size, id_len, number, i ? CELL_RELAY : CELL_CREATE2, (uint32_t)i);
  struct circuit *c = peer_open(p.peer, number);
  for (size_t done = 0; done < cells * size; done += chunk) {
    size_t n = cells * size - done < chunk ? cells * size - done : chunk;
    circuit_write(c, data + done, n);
    run_turns(2);
    /* What has come is delivered as soon as it is whole, and not before. */
    RUN_UNTIL(5 * SECOND, p.conn->cell_count >= (done + n) / size);
    assert_int_equal(p.conn->cell_count, (done + n) / size);
  }
  free(data);
  assert_int_equal(tor_wrong(p.conn, number), 0);
  assert_int_equal(p.conn->cell_count, cells);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
}

static void
cell_split_at_every_offset(void **state)
{
  (void)state;
  split_everywhere(4, 513);
}

static void
cell_split_at_every_offset_short_numbers(void **state)
{
  (void)state;
  split_everywhere(2, 513);
}

static void
octet_by_octet(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = peer_open(p.peer, 5);
  uint8_t cell[CELL_ROOM];
  for (uint32_t seq = 0; seq < 2; seq++) {
    size_t size = cell_pack(cell, 4, 5, seq ? CELL_RELAY : CELL_CREATE2, seq);
    for (size_t i = 0; i < size; i++) {
      assert_int_equal(p.conn->cell_count, seq);
      circuit_write(c, cell + i, 1);
      run_turns(2);
    }
    RUN_UNTIL(5 * SECOND, p.conn->cell_count == seq + 1);
  }
  assert_int_equal(tor_wrong(p.conn, 5), 0);
}

/* All numbers of cells that one read, or several, can bring. */
static void
many_cells_at_once(void **state)
{
  (void)state;
  struct pair p = pair_in();
  uint32_t seq = 0;
  struct circuit *c = peer_open(p.peer, 5);
  for (size_t n = 1; n <= 40; n++) {
    circuit_cells(c, 4, seq ? CELL_RELAY : CELL_CREATE2, seq, 1);
    circuit_cells(c, 4, CELL_RELAY, seq + 1, n - 1);
    seq += (uint32_t)n;
    RUN_UNTIL(5 * SECOND, p.conn->cell_count == seq);
  }
  assert_int_equal(tor_wrong(p.conn, 5), 0);
}

static void
short_numbers_both_ways(void **state)
{
  (void)state;
  tor.id_len = 2;
  struct pair p = pair_out();
  struct circuit *ours = launch(&p, 0x8001);
  struct circuit *theirs = begin(&p, 0x7fff);
  for (uint32_t seq = 1; seq < 100; seq++)
    tor_cell(p.conn, 0x8001, CELL_RELAY, seq);
  circuit_cells(theirs, 2, CELL_RELAY, 1, 99);
  RUN_UNTIL(5 * SECOND, circuit_count(ours, 2) == 100 && tor_count(p.conn, 0x7fff) == 100);
  for (uint32_t i = 1; i < 100; i++) {
    struct cell cell = circuit_cell(ours, 2, i);
    assert_true(cell_is(&cell, 0x8001, CELL_RELAY, i));
  }
  assert_int_equal(ours->in.len, 100 * 512);
  assert_int_equal(tor_wrong(p.conn, 0x7fff), 0);

  /* A circuit whose number no cell could have. */
  struct circuit *long_number = peer_open(p.peer, 0x10001);
  circuit_cells(long_number, 2, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, long_number->closed);
  assert_int_equal(p.conn->cell_count, 100);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_false(p.conn->marked);
}

/* ---- opening ---- */

static void
create_opens_a_stream(void **state)
{
  (void)state;
  struct pair p = pair_out();
  static const uint8_t commands[] = { CELL_CREATE, CELL_CREATE2, CELL_CREATE_FAST };
  for (uint32_t i = 0; i < 3; i++) {
    struct circuit *c;
    tor_cell(p.conn, 100 + i, commands[i], 7);
    tor_cell(p.conn, 100 + i, CELL_RELAY, 8);
    RUN_UNTIL(5 * SECOND, (c = peer_circuit(p.peer, 100 + i)) && circuit_count(c, 4) == 2);
    struct cell first = circuit_cell(c, 4, 0), second = circuit_cell(c, 4, 1);
    assert_true(cell_is(&first, 100 + i, commands[i], 7));
    assert_true(cell_is(&second, 100 + i, CELL_RELAY, 8));
    /* The answer comes by the same stream. */
    circuit_cells(c, 4, CELL_CREATED2, 9, 1);
    RUN_UNTIL(5 * SECOND, tor_count(p.conn, 100 + i) == 1);
    assert_true(cell_is(tor_last(p.conn, 100 + i), 100 + i, CELL_CREATED2, 9));
  }
  assert_int_equal(p.peer->control->in.len, 0);
}

static void
every_create_of_the_peer(void **state)
{
  (void)state;
  struct pair p = pair_in();
  static const uint8_t commands[] = { CELL_CREATE, CELL_CREATE2, CELL_CREATE_FAST };
  static const uint8_t later[] = { CELL_CREATED, CELL_CREATED2, CELL_CREATED_FAST, CELL_RELAY, CELL_RELAY_EARLY };
  for (uint32_t i = 0; i < 3; i++) {
    struct circuit *c = peer_open(p.peer, 100 + i);
    circuit_cells(c, 4, commands[i], 7, 1);
    for (uint32_t j = 0; j < 5; j++)
      circuit_cells(c, 4, later[j], j, 1);
    RUN_UNTIL(5 * SECOND, tor_count(p.conn, 100 + i) == 6);
    assert_true(cell_is(tor_last(p.conn, 100 + i), 100 + i, CELL_RELAY_EARLY, 4));
    tor_cell(p.conn, 100 + i, CELL_CREATED2, 3);
    RUN_UNTIL(5 * SECOND, circuit_count(c, 4) == 1);
    struct cell answer = circuit_cell(c, 4, 0);
    assert_true(cell_is(&answer, 100 + i, CELL_CREATED2, 3));
  }
}

static void
cells_of_unknown_circuits_are_dropped(void **state)
{
  (void)state;
  struct pair p = pair_out();
  static const uint8_t commands[] = { CELL_RELAY, CELL_CREATED2, CELL_RELAY_EARLY, CELL_DESTROY };
  for (size_t i = 0; i < sizeof commands; i++)
    tor_cell(p.conn, 77, commands[i], 0);
  assert_false(or_utcp_stream_is_full(p.conn->link, 77));
  or_utcp_stream_hold(p.conn->link, 77, true);
  or_utcp_stream_hold(p.conn->link, 77, false);
  or_utcp_destroy_received(p.conn->link, 77);
  run_for(SECOND);
  assert_null(peer_circuit(p.peer, 77));
  assert_int_equal(p.peer->control->in.len, 0);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_false(p.conn->marked);
}

static void
stream_not_opened_by_create(void **state)
{
  (void)state;
  static const uint8_t commands[] = { CELL_RELAY, CELL_CREATED2, CELL_DESTROY, CELL_PADDING, CELL_NETINFO, 0xff };
  struct pair p = pair_in();
  struct circuit *good = begin(&p, 3);
  for (uint32_t i = 0; i < sizeof commands; i++) {
    struct circuit *c = peer_open(p.peer, 100 + i);
    circuit_cells(c, 4, commands[i], 0, 1);
    RUN_UNTIL(5 * SECOND, c->closed);
    assert_true(c->closed == UTCP_CLOSE_REFUSED || c->closed == UTCP_CLOSE_RESET);
    assert_int_equal(tor_count(p.conn, 100 + i), 0);
    assert_int_equal(tor.logged[OR_UTCP_PROTOCOL], i + 1);
  }
  circuit_cells(good, 4, CELL_RELAY, 1, 5);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 3) == 6);
  assert_int_equal(tor_wrong(p.conn, 3), 0);
  assert_int_equal(tor_lost(p.conn, 3), 0);
}

static void
wrong_cell_costs_its_circuit_only(void **state)
{
  (void)state;
  static const uint8_t commands[] = { CELL_RELAY, CELL_CREATE2, CELL_PADDING, 0x80 };
  struct pair p = pair_in();
  struct circuit *good = begin(&p, 3);
  for (uint32_t i = 0; i < sizeof commands; i++) {
    uint32_t number = 100 + i;
    struct circuit *c = begin(&p, number);
    uint8_t cell[CELL_ROOM];
    circuit_cells(c, 4, CELL_RELAY, 1, 2);
    /* The first is of another circuit, the others are what no stream may carry there. More follows. */
    size_t size = cell_pack(cell, 4, i ? number : 3, commands[i], 9);
    circuit_write(c, cell, size);
    circuit_cells(c, 4, CELL_RELAY, 3, 4);
    RUN_UNTIL(5 * SECOND, c->closed);
    assert_int_equal(c->closed, UTCP_CLOSE_RESET);
    assert_int_equal(tor_count(p.conn, number), 3);
    assert_int_equal(tor_wrong(p.conn, number), 0);
    assert_int_equal(tor_lost(p.conn, number), 1);
    assert_int_equal(tor.logged[OR_UTCP_PROTOCOL], i + 1);
    assert_false(p.conn->marked);
  }
  assert_int_equal(tor_count(p.conn, 3), 1);
  circuit_cells(good, 4, CELL_RELAY, 1, 100);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 3) == 101);
  assert_int_equal(tor_wrong(p.conn, 3), 0);
  run_for(SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], sizeof commands);
}

static void
peer_cannot_replace_our_circuit(void **state)
{
  (void)state;
  struct pair p = pair_out();
  struct circuit *ours = launch(&p, 9);
  /* The peer forgets it, and opens one of its own before we hear of that. */
  p.peer->mute = true;
  utcp_circuit_free(ours->handle);
  ours->handle = NULL;
  run_turns(3);
  p.peer->mute = false;
  struct circuit *theirs = peer_open(p.peer, 9);
  circuit_cells(theirs, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(20 * SECOND, theirs->closed);
  assert_true(theirs->closed == UTCP_CLOSE_REFUSED || theirs->closed == UTCP_CLOSE_RESET);
  assert_int_equal(tor_count(p.conn, 9), 0);
}

static void
create_on_a_number_in_use_replaces(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *old = begin(&p, 9);
  circuit_cells(old, 4, CELL_RELAY, 1, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 2);
  /* For the peer the old one is gone; its reset is lost. */
  p.peer->mute = true;
  utcp_circuit_free(old->handle);
  old->handle = NULL;
  run_turns(3);
  p.peer->mute = false;
  struct circuit *fresh = peer_open(p.peer, 9);
  circuit_cells(fresh, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(10 * SECOND, tor_count(p.conn, 9) == 3);
  assert_int_equal(tor_lost(p.conn, 9), 1);
  assert_true(cell_is(tor_last(p.conn, 9), 9, CELL_CREATE2, 0));
  tor_cell(p.conn, 9, CELL_CREATED2, 5);
  RUN_UNTIL(5 * SECOND, circuit_count(fresh, 4) == 1);
  run_for(5 * SECOND);
  assert_int_equal(tor_lost(p.conn, 9), 1);
  assert_int_equal(fresh->closed, 0);
}

/* A stream that cannot be opened is a lost circuit, and Tor hears of it when it has written its cells. */
static void
stream_that_cannot_be_opened(void **state)
{
  (void)state;
  struct pair p = pair_out();
  failing.open_circuit = UTCP_ERR_LIMIT;
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  tor_cell(p.conn, 10, CELL_CREATE2, 0);
  failing.open_circuit = UTCP_OK;
  tor_cell(p.conn, 11, CELL_CREATE2, 0);
  /* What Tor writes to them after all goes nowhere. */
  tor_cell(p.conn, 9, CELL_RELAY, 0);
  assert_false(or_utcp_stream_is_full(p.conn->link, 9));
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  RUN_UNTIL(SECOND, p.conn->calls[CALL_LOST] == 2);
  assert_int_equal(tor_lost(p.conn, 9), 1);
  assert_int_equal(tor_lost(p.conn, 10), 1);
  tor_cell(p.conn, 9, CELL_DESTROY, 0);
  RUN_UNTIL(5 * SECOND, peer_circuit(p.peer, 11));
  run_for(5 * SECOND);
  assert_null(peer_circuit(p.peer, 9));
  assert_int_equal(p.conn->calls[CALL_LOST], 2);
  assert_int_equal(p.peer->control->in.len, 0);

  /* It is closed before it hears. */
  failing.open_circuit = UTCP_ERR_MEMORY;
  tor_cell(p.conn, 12, CELL_CREATE2, 0);
  tor_mark(p.conn);
  run_for(5 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 2);
}

/* ---- ends ---- */

static void
destroy_is_the_last_cell(void **state)
{
  (void)state;
  struct pair p = pair_out();
  struct circuit *c = launch(&p, 9);
  for (uint32_t seq = 1; seq < 20; seq++)
    tor_cell(p.conn, 9, CELL_RELAY, seq);
  tor_cell(p.conn, 9, CELL_DESTROY, 20);
  tor_cell(p.conn, 9, CELL_RELAY, 21); /* too late */
  tor_cell(p.conn, 9, CELL_DESTROY, 22);
  assert_false(or_utcp_stream_is_full(p.conn->link, 9));
  RUN_UNTIL(5 * SECOND, c->end);
  assert_int_equal(circuit_count(c, 4), 21);
  assert_int_equal(c->in.len, 21 * 514);
  for (uint32_t i = 1; i < 21; i++) {
    struct cell cell = circuit_cell(c, 4, i);
    assert_true(cell_is(&cell, 9, i == 20 ? CELL_DESTROY : CELL_RELAY, i));
  }
  /* The peer's end in return: orderly, and nothing is lost. */
  circuit_finish(c);
  RUN_UNTIL(5 * SECOND, c->closed);
  assert_int_equal(c->closed, UTCP_CLOSE_DONE);
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(p.peer->control->in.len, 0);
}

static void
destroy_of_the_peer(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  circuit_cells(c, 4, CELL_RELAY, 1, 3);
  circuit_cells(c, 4, CELL_DESTROY, 4, 1);
  circuit_cells(c, 4, CELL_RELAY, 5, 3); /* of no circuit */
  circuit_finish(c);
  RUN_UNTIL(5 * SECOND, c->closed);
  assert_int_equal(c->closed, UTCP_CLOSE_DONE);
  assert_int_equal(tor_count(p.conn, 9), 5);
  assert_true(cell_is(tor_last(p.conn, 9), 9, CELL_DESTROY, 4));
  assert_int_equal(c->in.len, 0);
  /* Tor may answer, or write what it had queued: all of that is over. */
  tor_cell(p.conn, 9, CELL_RELAY, 0);
  tor_cell(p.conn, 9, CELL_DESTROY, 0);
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(p.peer->control->in.len, 0);
}

static void
both_destroy_at_once(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  circuit_cells(c, 4, CELL_DESTROY, 1, 1);
  circuit_finish(c);
  tor_cell(p.conn, 9, CELL_DESTROY, 2);
  RUN_UNTIL(5 * SECOND, c->closed);
  assert_int_equal(c->closed, UTCP_CLOSE_DONE);
  assert_int_equal(circuit_count(c, 4), 1);
  run_for(60 * SECOND);
  assert_int_equal(tor_lost(p.conn, 9), 0);
  assert_int_equal(tor_count(p.conn, 9), 1); /* we know already */
  assert_int_equal(p.peer->control->in.len, 0);
}

static void
end_without_destroy_is_lost(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9), *other = begin(&p, 10);
  circuit_cells(c, 4, CELL_RELAY, 1, 5);
  circuit_finish(c);
  RUN_UNTIL(5 * SECOND, p.conn->calls[CALL_LOST]);
  assert_int_equal(tor_lost(p.conn, 9), 1);
  assert_int_equal(tor_count(p.conn, 9), 6);
  assert_int_equal(tor_wrong(p.conn, 9), 0);
  assert_int_equal(tor.logged[OR_UTCP_PROTOCOL], 0);
  circuit_cells(other, 4, CELL_RELAY, 1, 5);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 10) == 6);
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 1);
}

static void
end_within_a_cell(void **state)
{
  (void)state;
  struct pair p = pair_in();
  uint8_t cell[CELL_ROOM];
  for (uint32_t i = 0; i < 3; i++) {
    struct circuit *c = begin(&p, 9 + i);
    cell_pack(cell, 4, 9 + i, CELL_RELAY, 1);
    circuit_write(c, cell, i == 0 ? 1 : i == 1 ? 4 : 513);
    if (i)
      run_for(SECOND); /* the end comes alone */
    circuit_finish(c);
    RUN_UNTIL(5 * SECOND, p.conn->calls[CALL_LOST] == i + 1);
    assert_int_equal(tor_lost(p.conn, 9 + i), 1);
    assert_int_equal(tor_count(p.conn, 9 + i), 1);
    assert_int_equal(tor.logged[OR_UTCP_PROTOCOL], i + 1);
  }
}

static void
reset_is_lost(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *theirs = begin(&p, 9), *ours = launch(&p, 10), *stays = begin(&p, 11);
  circuit_abort(theirs);
  circuit_abort(ours);
  RUN_UNTIL(5 * SECOND, p.conn->calls[CALL_LOST] == 2);
  assert_int_equal(tor_lost(p.conn, 9), 1);
  assert_int_equal(tor_lost(p.conn, 10), 1);
  tor_cell(p.conn, 10, CELL_RELAY, 0);
  tor_cell(p.conn, 10, CELL_DESTROY, 0);
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 2);
  assert_int_equal(p.peer->control->in.len, 0);
  circuit_cells(stays, 4, CELL_RELAY, 1, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 11) == 2);
}

/* A reset that comes once the DESTROY was sent is nothing new. */
static void
reset_after_destroy(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  tor_cell(p.conn, 9, CELL_DESTROY, 0);
  RUN_UNTIL(5 * SECOND, circuit_count(c, 4) == 1);
  circuit_abort(c);
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(p.peer->control->in.len, 0);
}

static void
refused_circuit_is_lost(void **state)
{
  (void)state;
  struct pair p = pair_out();
  p.peer->refuse_circuits = true;
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  RUN_UNTIL(5 * SECOND, p.conn->calls[CALL_LOST]);
  assert_int_equal(p.peer->refused_circuits, 1);
  assert_int_equal(tor_lost(p.conn, 9), 1);
}

/* ---- numbers used again ---- */

static void
number_is_used_again_by_us(void **state)
{
  (void)state;
  struct pair p = pair_out();
  launch(&p, 9);
  for (uint32_t round = 1; round < 20; round++) {
    struct circuit *old = peer_circuit(p.peer, 9), *fresh;
    if (round % 3 == 0)
      run_for(SECOND);
    tor_cell(p.conn, 9, CELL_DESTROY, round);
    if (round % 3 == 1)
      run_turns(3);
    tor_cell(p.conn, 9, CELL_CREATE2, 1000 + round);
    tor_cell(p.conn, 9, CELL_RELAY, 2000 + round);
    RUN_UNTIL(10 * SECOND, (fresh = peer_circuit(p.peer, 9)) != old && circuit_count(fresh, 4) == 2);
    struct cell first = circuit_cell(fresh, 4, 0), second = circuit_cell(fresh, 4, 1);
    assert_true(cell_is(&first, 9, CELL_CREATE2, 1000 + round));
    assert_true(cell_is(&second, 9, CELL_RELAY, 2000 + round));
    /* The old one has ended for the peer, too: by a DESTROY or by a reset. */
    RUN_UNTIL(10 * SECOND, old->closed || old->end);
    circuit_cells(fresh, 4, CELL_CREATED2, round, 1);
    RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == round);
    assert_true(cell_is(tor_last(p.conn, 9), 9, CELL_CREATED2, round));
  }
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(peer_circuit(p.peer, 9)->closed, 0);
  assert_int_equal(p.peer->control->in.len, 0);
}

static void
number_is_used_again_by_the_peer(void **state)
{
  (void)state;
  struct pair p = pair_in();
  for (uint32_t round = 0; round < 20; round++) {
    struct circuit *c = peer_open(p.peer, 9);
    circuit_cells(c, 4, CELL_CREATE2, 10 * round, 1);
    circuit_cells(c, 4, CELL_RELAY, 10 * round + 1, 1);
    if (round % 2)
      RUN_UNTIL(10 * SECOND, tor_count(p.conn, 9) == 3 * round + 2);
    circuit_cells(c, 4, CELL_DESTROY, 10 * round + 2, 1);
    if (round % 4 == 3)
      RUN_UNTIL(10 * SECOND, tor_count(p.conn, 9) == 3 * round + 3);
    /* As a relay does: what was written still arrives, and the number is free. */
    assert_int_equal(utcp_circuit_close(c->handle), UTCP_OK);
    RUN_UNTIL(10 * SECOND, tor_count(p.conn, 9) == 3 * round + 3);
    assert_true(cell_is(tor_last(p.conn, 9), 9, CELL_DESTROY, 10 * round + 2));
  }
  run_for(60 * SECOND);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(tor.logged[OR_UTCP_PROTOCOL], 0);
  for (size_t i = 0; i < p.conn->cell_count; i++) {
    static const uint8_t commands[] = { CELL_CREATE2, CELL_RELAY, CELL_DESTROY };
    assert_true(cell_is(&p.conn->cells[i], 9, commands[i % 3], (uint32_t)(10 * (i / 3) + i % 3)));
  }
}

/* After the peer's DESTROY the number is free on our side, too: we may open it. */
static void
number_changes_sides(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  circuit_cells(c, 4, CELL_DESTROY, 1, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 9) == 2);
  assert_int_equal(utcp_circuit_close(c->handle), UTCP_OK);
  tor_cell(p.conn, 9, CELL_CREATE2, 5);
  struct circuit *fresh;
  RUN_UNTIL(5 * SECOND, (fresh = peer_circuit(p.peer, 9)) != c && circuit_count(fresh, 4) == 1);
  run_for(60 * SECOND);
  assert_int_equal(fresh->closed, 0);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
}

/* ---- DESTROY in the control circuit ---- */

/* The peer does not read, so that the stream of circuit 9 is full. */
static struct circuit *
fill(struct pair *p, uint32_t number)
{
  struct circuit *c = launch(p, number);
  c->paused = true;
  for (uint32_t seq = 1; !or_utcp_stream_is_full(p->conn->link, number); seq++) {
    assert_true(seq < 1000000);
    tor_cell(p->conn, number, CELL_RELAY, seq);
    run_turns(1);
  }
  return c;
}

static void
destroy_of_a_full_stream_goes_by_control(void **state)
{
  (void)state;
  struct pair p = pair_out();
  struct circuit *c = fill(&p, 9);
  tor_cell(p.conn, 9, CELL_DESTROY, 77);
  assert_false(or_utcp_stream_is_full(p.conn->link, 9));
  RUN_UNTIL(5 * SECOND, circuit_count(p.peer->control, 4) == 1 && c->closed);
  struct cell cell = circuit_cell(p.peer->control, 4, 0);
  assert_true(cell_is(&cell, 9, CELL_DESTROY, 77));
  assert_int_equal(c->closed, UTCP_CLOSE_RESET);
  run_for(60 * SECOND);
  assert_int_equal(circuit_count(p.peer->control, 4), 1);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(p.conn->calls[CALL_ROOM], 0);
  /* The number is free. */
  launch(&p, 9);
}

/* The stream takes the DESTROY, but the peer's window is closed to it. */
static void
destroy_not_delivered_goes_by_control(size_t id_len)
{
  tor.id_len = id_len;
  struct pair p = { .peer = PEER(.receive_buffer = 4096) };
  p.conn = tor_connect(p.peer, 0x11);
  RUN_UNTIL(5 * SECOND, p.conn->state == TOR_HANDSHAKING && p.peer->ready);
  tor_opened(p.conn);
  struct circuit *c = launch(&p, 0x1234);
  c->paused = true;
  for (uint32_t seq = 1; seq <= 16; seq++)
    tor_cell(p.conn, 0x1234, CELL_RELAY, seq);
  run_for(5 * SECOND);
  tor_cell(p.conn, 0x1234, CELL_DESTROY, 50);
  assert_false(or_utcp_stream_is_full(p.conn->link, 0x1234));
  run_for(28 * SECOND);
  assert_int_equal(p.peer->control->in.len, 0);
  assert_int_equal(c->closed, 0);
  RUN_UNTIL(5 * SECOND, c->closed && p.peer->control->in.len);
  run_for(60 * SECOND);
  assert_int_equal(p.peer->control->in.len, cell_size(id_len));
  struct cell cell = circuit_cell(p.peer->control, id_len, 0);
  assert_int_equal(cell.number, 0x1234);
  assert_int_equal(cell.command, CELL_DESTROY);
  assert_int_equal(c->closed, UTCP_CLOSE_RESET);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  launch(&p, 0x1234);
}

static void
destroy_not_delivered(void **state)
{
  (void)state;
  destroy_not_delivered_goes_by_control(4);
}

static void
destroy_not_delivered_short_numbers(void **state)
{
  (void)state;
  destroy_not_delivered_goes_by_control(2);
}

/* The peer sent the DESTROY: it does not need ours, when its end does not come in time. */
static void
peer_destroys_and_does_not_end(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9);
  circuit_cells(c, 4, CELL_DESTROY, 1, 1);
  run_for(29 * SECOND);
  assert_int_equal(c->closed, 0);
  RUN_UNTIL(4 * SECOND, c->closed);
  run_for(5 * SECOND);
  assert_int_equal(p.peer->control->in.len, 0);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
}

static void
destroy_by_control_drops_the_stream(void **state)
{
  (void)state;
  struct pair p = pair_in();
  struct circuit *c = begin(&p, 9), *stays = begin(&p, 10);
  or_utcp_destroy_received(p.conn->link, 9);
  circuit_cells(c, 4, CELL_RELAY, 1, 10);
  RUN_UNTIL(5 * SECOND, c->closed);
  assert_int_equal(c->closed, UTCP_CLOSE_RESET);
  tor_cell(p.conn, 9, CELL_RELAY, 1);
  run_for(60 * SECOND);
  assert_int_equal(tor_count(p.conn, 9), 1);
  assert_int_equal(p.conn->calls[CALL_LOST], 0);
  assert_int_equal(p.peer->control->in.len, 0);
  circuit_cells(stays, 4, CELL_RELAY, 1, 10);
  RUN_UNTIL(5 * SECOND, tor_count(p.conn, 10) == 11);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(cell_split_at_every_offset),
    TEST(cell_split_at_every_offset_short_numbers),
    TEST(octet_by_octet),
    TEST(many_cells_at_once),
    TEST(short_numbers_both_ways),
    TEST(create_opens_a_stream),
    TEST(every_create_of_the_peer),
    TEST(cells_of_unknown_circuits_are_dropped),
    TEST(stream_not_opened_by_create),
    TEST(wrong_cell_costs_its_circuit_only),
    TEST(peer_cannot_replace_our_circuit),
    TEST(create_on_a_number_in_use_replaces),
    TEST(stream_that_cannot_be_opened),
    TEST(destroy_is_the_last_cell),
    TEST(destroy_of_the_peer),
    TEST(both_destroy_at_once),
    TEST(end_without_destroy_is_lost),
    TEST(end_within_a_cell),
    TEST(reset_is_lost),
    TEST(reset_after_destroy),
    TEST(refused_circuit_is_lost),
    TEST(number_is_used_again_by_us),
    TEST(number_is_used_again_by_the_peer),
    TEST(number_changes_sides),
    TEST(destroy_of_a_full_stream_goes_by_control),
    TEST(destroy_not_delivered),
    TEST(destroy_not_delivered_short_numbers),
    TEST(peer_destroys_and_does_not_end),
    TEST(destroy_by_control_drops_the_stream),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
