/* Events and backpressure: edges, masks, holding, a socket that is full, memory. */
#include "pair.h"

/* ---- edges ---- */

static void
readable_is_an_edge(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  uint8_t data[100] = { 0 };
  size_t len;
  assert_int_equal(utcp_circuit_write(c.a, data, 50, &len), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_count_circuit(p.b, EV_READABLE, c.b) == 1);
  /* Unread data is not told of again and again. */
  for (int i = 0; i < 20; i++) {
    run_for(p.net, SECOND);
    assert_int_equal(utcp_endpoint_process(p.b->endpoint, p.net->now), UTCP_OK);
  }
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 1);
  assert_int_equal(utcp_circuit_readable(c.b), 50);
  /* Read to the end: the next data is a new edge. */
  assert_int_equal(utcp_circuit_read(c.b, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(len, 50);
  assert_int_equal(utcp_circuit_read(c.b, data, sizeof data, &len), UTCP_ERR_WOULD_BLOCK);
  assert_int_equal(utcp_circuit_write(c.a, data, 10, &len), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_count_circuit(p.b, EV_READABLE, c.b) == 2);
  assert_int_equal(utcp_circuit_read(c.b, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(utcp_circuit_read(c.b, data, sizeof data, &len), UTCP_ERR_WOULD_BLOCK);
  /* The end of the stream is an edge as well. */
  assert_int_equal(utcp_circuit_finish(c.a), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_count_circuit(p.b, EV_READABLE, c.b) == 3);
  assert_int_equal(utcp_circuit_read(c.b, data, sizeof data, &len), UTCP_ERR_END);
}

static void
writable_follows_a_short_write_alone(void **state)
{
  struct host_options small = { .set = { { UTCP_OPTION_SEND_BUFFER, 16384 } } };
  struct pair p = pair_new(*state, &small, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  utcp_circuit *circuit = open_circuit(p.a, p.ab, 3);
  RUN_UNTIL(p.net, 10 * SECOND, p.b->stream_count == 1);
  run_for(p.net, SECOND);
  struct stream *t = p.b->streams[0];
  uint8_t data[65536];
  pattern(3, 0, data, sizeof data);
  size_t len;
  /* Filled to the last octet, not beyond: nothing is armed. */
  size_t room = utcp_circuit_room(circuit);
  assert_in_range(room, 1, 16384);
  assert_int_equal(utcp_circuit_write(circuit, data, room, &len), UTCP_OK);
  assert_int_equal(len, room);
  assert_int_equal(utcp_circuit_room(circuit), 0);
  RUN_UNTIL(p.net, 10 * SECOND, t->in_done == room);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(host_count_circuit(p.a, EV_WRITABLE, circuit), 0);

  /* Cut short: one event, with room for half of the buffer at least. */
  size_t offered = sizeof data - room;
  assert_int_equal(utcp_circuit_write(circuit, data + room, offered, &len), UTCP_OK);
  assert_in_range(len, 1, offered - 1);
  size_t sent = room + len;
  assert_int_equal(utcp_circuit_write(circuit, data, 1, &len), UTCP_ERR_WOULD_BLOCK);
  RUN_UNTIL(p.net, 10 * SECOND, host_count_circuit(p.a, EV_WRITABLE, circuit) == 1);
  assert_in_range(utcp_circuit_room(circuit), 8192, 16384);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(host_count_circuit(p.a, EV_WRITABLE, circuit), 1);
  assert_int_equal(t->in_done, sent);
  assert_int_equal(t->wrong, 0);
}

/* ---- masks ---- */

static void
masked_readable_comes_after_unmasking(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  size_t len;
  assert_int_equal(utcp_circuit_set_events(c.b, UTCP_EVENT_WRITABLE), UTCP_OK);
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)"masked", 6, &len), UTCP_OK);
  run_for(p.net, 5 * SECOND);
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 0);
  assert_int_equal(utcp_circuit_readable(c.b), 6);
  /* Masking again and unmasking without anything in between changes nothing. */
  assert_int_equal(utcp_circuit_set_events(c.b, 0), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 0);
  assert_int_equal(utcp_circuit_set_events(c.b, UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE), UTCP_OK);
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 0); /* not from inside the call */
  assert_true(utcp_endpoint_next_deadline(p.b->endpoint) <= p.net->now);
  assert_int_equal(utcp_endpoint_process(p.b->endpoint, p.net->now), UTCP_OK);
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 1);
}

/* Masked, unmasked and masked before the next process: the mask that counts is the one at delivery. */
static void
mask_at_delivery_counts(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  size_t len;
  assert_int_equal(utcp_circuit_set_events(c.b, 0), UTCP_OK);
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)"x", 1, &len), UTCP_OK);
  run_for(p.net, 5 * SECOND);
  assert_int_equal(utcp_circuit_set_events(c.b, UTCP_EVENT_READABLE), UTCP_OK);
  assert_int_equal(utcp_circuit_set_events(c.b, 0), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 0);
  assert_int_equal(utcp_circuit_set_events(c.b, UTCP_EVENT_READABLE), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(host_count_circuit(p.b, EV_READABLE, c.b), 1);
}

static void
masked_writable_comes_after_unmasking(void **state)
{
  struct host_options small = { .set = { { UTCP_OPTION_SEND_BUFFER, 16384 } } };
  struct pair p = pair_new(*state, &small, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  utcp_circuit *circuit = open_circuit(p.a, p.ab, 3);
  uint8_t data[40000];
  pattern(3, 0, data, sizeof data);
  size_t len;
  assert_int_equal(utcp_circuit_set_events(circuit, UTCP_EVENT_READABLE), UTCP_OK);
  assert_int_equal(utcp_circuit_write(circuit, data, sizeof data, &len), UTCP_OK);
  assert_true(len < sizeof data);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(host_count_circuit(p.a, EV_WRITABLE, circuit), 0);
  assert_int_equal(utcp_circuit_set_events(circuit, UTCP_EVENT_WRITABLE), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(host_count_circuit(p.a, EV_WRITABLE, circuit), 1);
}

/* The end of a circuit is told whatever the mask. */
static void
mask_does_not_hide_the_end(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  assert_int_equal(utcp_circuit_set_events(c.b, 0), UTCP_OK);
  assert_int_equal(utcp_circuit_abort(c.a), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, c.b));
}

/* ---- backpressure between peers ---- */

static void
slow_reader_stops_its_own_circuit_only(void **state)
{
  struct host_options options = {
    .set = { { UTCP_OPTION_SEND_BUFFER, 65536 }, { UTCP_OPTION_RECEIVE_BUFFER, 131072 } }
  };
  struct pair p = pair_new(*state, &options, &options);
  struct circuits c = pair_open(&p, 3), d = pair_open(&p, 4);
  const uint64_t total = 2000000;
  struct stream *s = stream_new(p.a, c.a), *t = stream_new(p.b, c.b);
  s->out_seed = t->in_seed = 3;
  s->out_total = total;
  s->finish = 1;
  t->paused = 1;
  assert_int_equal(utcp_circuit_set_events(c.b, 0), UTCP_OK);
  stream_pump(s);
  run_for(p.net, 60 * SECOND);
  /* No more than both buffers hold. */
  assert_in_range(s->out_done, 65536, 65536 + 131072 + 4096);
  assert_in_range(utcp_circuit_readable(c.b), 4096, 131072);
  /* The sibling is not held up. */
  struct stream *u = stream_new(p.a, d.a), *v = stream_new(p.b, d.b);
  u->out_seed = v->in_seed = 4;
  u->out_total = 500000;
  u->finish = 1;
  stream_pump(u);
  RUN_UNTIL(p.net, 30 * SECOND, v->end);
  assert_int_equal(v->in_done, 500000);
  assert_int_equal(v->wrong, 0);
  /* An hour later it goes on. */
  run_for(p.net, 3600 * SECOND);
  assert_int_equal(host_count(p.a, EV_CIRCUIT_CLOSED), 0);
  t->paused = 0;
  assert_int_equal(utcp_circuit_set_events(c.b, UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE), UTCP_OK);
  RUN_UNTIL(p.net, 200 * SECOND, t->end);
  assert_int_equal(t->in_done, total);
  assert_int_equal(t->wrong, 0);
}

/* ---- a socket that takes few ---- */

static int
numbers_rise(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len)
{
  (void)to;
  struct { uint64_t last; unsigned fell; } *seen = net->user;
  /* Records of the session, not of the handshake: type 23, epoch 1, then 48 bits of sequence number. */
  if (from == net->hosts[0] && len > 13 && data[0] == 23) {
    uint64_t number = 0;
    for (int i = 3; i < 11; i++)
      number = number << 8 | data[i];
    if (number <= seen->last)
      seen->fell++;
    seen->last = number;
  }
  return 0;
}

static void
squeeze(struct host *h)
{
  h->tx_limit = net_random(h->net) % 4;
}

static void
socket_takes_fewer_than_offered(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct { uint64_t last; unsigned fell; } seen = { 0, 0 };
  p.net->filter = numbers_rise;
  p.net->user = &seen;
  p.a->tx_hook = squeeze;
  p.b->tx_hook = squeeze;
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  unsigned streams = scaled(8, 3);
  uint64_t total = scaled(200000, 40000);
  for (unsigned i = 0; i < streams; i++) {
    struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 100 + i));
    s->out_seed = s->in_seed = 100 + i;
    s->out_total = total;
    s->finish = 1;
    stream_pump(s);
  }
  for (unsigned i = 0; i < streams; i++)
    RUN_UNTIL(p.net, 600 * SECOND, p.a->streams[i]->closed);
  for (unsigned i = 0; i < streams; i++) {
    assert_int_equal(p.a->streams[i]->closed, UTCP_CLOSE_DONE);
    assert_int_equal(p.a->streams[i]->in_done, total);
    assert_int_equal(p.a->streams[i]->wrong, 0);
  }
  assert_true(p.a->tx_short > 10);
  assert_int_equal(p.a->tx_reordered + p.b->tx_reordered, 0);
  assert_int_equal(p.a->tx_invalid + p.b->tx_invalid, 0);
  assert_int_equal(seen.fell, 0);
  /* Nothing was thrown away: what arrived is what was made. */
  p.a->tx_limit = p.b->tx_limit = SIZE_MAX;
  p.a->tx_hook = p.b->tx_hook = NULL;
  run_for(p.net, 10 * SECOND);
  assert_int_equal(endpoint_stats(p.a).dropped_output_full, 0);
  assert_int_equal(endpoint_stats(p.a).output_queue, 0);
  assert_int_equal(endpoint_stats(p.a).datagrams_sent, p.a->tx_datagrams);
  assert_int_equal(endpoint_stats(p.b).datagrams_received, p.a->tx_datagrams);
}

/* A socket that takes nothing must not make the event loop spin, nor the queue grow without bound. */
static void
socket_takes_nothing(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  p.a->tx_limit = 0;
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 3));
  s->out_seed = 3;
  s->out_total = 1000000;
  s->finish = 1;
  stream_pump(s);
  uint64_t calls = p.a->tx_calls, deadlines = 0;
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(utcp_endpoint_process(p.a->endpoint, p.net->now), UTCP_OK);
    if (utcp_endpoint_next_deadline(p.a->endpoint) <= p.net->now)
      deadlines++;
  }
  assert_true(p.a->tx_calls > calls); /* each process asks again: that is how the relay says "writable" */
  assert_true(deadlines <= 10);       /* but the endpoint does not ask to be called for it */
  assert_true(endpoint_stats(p.a).output_queue <= 1024);
  p.a->wake = UINT64_MAX;
  p.a->tx_limit = SIZE_MAX;
  assert_int_equal(utcp_endpoint_process(p.a->endpoint, p.net->now), UTCP_OK);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  assert_int_equal(p.b->streams[0]->in_done, 1000000);
  assert_int_equal(p.b->streams[0]->wrong, 0);
  assert_int_equal(p.a->tx_reordered, 0);
}

static void
lying_tx_callback(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  p.a->tx_overstate = SIZE_MAX / 2;
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 3));
  s->out_seed = 3;
  s->out_total = 100000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  assert_int_equal(p.b->streams[0]->in_done, 100000);
  assert_int_equal(p.b->streams[0]->wrong, 0);
}

/* ---- hold ---- */

static int
hold_at_ready(struct host *h, const struct event *event)
{
  (void)h;
  return utcp_connection_hold(event->connection, 1);
}

static void
held_connection_speaks_on_control_only(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  b->hook[EV_READY] = hold_at_ready;
  utcp_connection *ab = connect_to(a, b, NULL);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  utcp_connection *ba = host_last(b, EV_READY)->connection;
  utcp_circuit *x = open_circuit(a, ab, 5), *y = open_circuit(a, ab, 6), *z = open_circuit(a, ab, 7);
  uint8_t data[10000], got[10000];
  size_t len;
  pattern(5, 0, data, sizeof data);
  assert_int_equal(utcp_circuit_write(x, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(len, sizeof data);
  assert_int_equal(utcp_circuit_write(utcp_connection_control(ab), (const uint8_t *)"control", 7, &len), UTCP_OK);
  RUN_UNTIL(net, 10 * SECOND, utcp_circuit_readable(utcp_connection_control(ba)) == 7);
  assert_int_equal(host_count_circuit(b, EV_READABLE, utcp_connection_control(ba)), 1);
  assert_int_equal(utcp_circuit_abort(y), UTCP_OK);
  run_for(net, 10 * SECOND);
  assert_int_equal(host_count(b, EV_CIRCUIT_INCOMING), 0);
  assert_int_equal(host_count(b, EV_READABLE), 1);
  assert_int_equal(host_count(b, EV_CIRCUIT_CLOSED), 0);

  /* Control answers while held; circuits of its own can be opened, and stay silent. */
  assert_int_equal(utcp_circuit_read(utcp_connection_control(ba), got, sizeof got, &len), UTCP_OK);
  assert_int_equal(len, 7);
  assert_memory_equal(got, "control", 7);
  assert_int_equal(utcp_circuit_write(utcp_connection_control(ba), (const uint8_t *)"answer", 6, &len), UTCP_OK);
  RUN_UNTIL(net, 10 * SECOND, utcp_circuit_readable(utcp_connection_control(ab)) == 6);

  assert_int_equal(utcp_connection_hold(ba, 0), UTCP_OK);
  assert_int_equal(host_count(b, EV_CIRCUIT_INCOMING), 0); /* not from inside the call */
  RUN_UNTIL(net, 10 * SECOND, host_count(b, EV_CIRCUIT_INCOMING) >= 2);
  run_for(net, 10 * SECOND);
  /* x with its data, z; y came and went: told of in full or not at all. */
  utcp_circuit *bx = NULL;
  unsigned seen_z = 0, seen_y = 0, y_closed = 0;
  for (size_t i = 0; i < b->event_count; i++) {
    const struct event *e = &b->events[i];
    if (e->kind != EV_CIRCUIT_INCOMING)
      continue;
    if (e->number == 5)
      bx = e->circuit;
    seen_z += e->number == 7;
    if (e->number == 6) {
      seen_y++;
      y_closed += host_circuit_closed(b, e->circuit) == UTCP_CLOSE_RESET;
    }
  }
  assert_non_null(bx);
  assert_int_equal(seen_z, 1);
  assert_int_equal(seen_y, y_closed);
  assert_true(host_count_circuit(b, EV_READABLE, bx) >= 1);
  size_t at = 0;
  while (at < sizeof got && utcp_circuit_read(bx, got + at, sizeof got - at, &len) == UTCP_OK)
    at += len;
  assert_int_equal(at, sizeof data);
  assert_memory_equal(got, data, sizeof data);
  assert_int_equal(circuit_info(z).number, 7);
}

/* Holding again in the middle: events wait, none is lost. */
static void
hold_again_later(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  size_t len;
  assert_int_equal(utcp_connection_hold(p.ba, 1), UTCP_OK);
  assert_int_equal(utcp_connection_hold(p.ba, 5), UTCP_OK); /* any non-zero value, and twice */
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)"x", 1, &len), UTCP_OK);
  run_for(p.net, 5 * SECOND);
  assert_int_equal(host_count(p.b, EV_READABLE), 0);
  assert_int_equal(utcp_circuit_abort(c.a), UTCP_OK);
  run_for(p.net, 5 * SECOND);
  assert_int_equal(host_circuit_closed(p.b, c.b), 0);
  assert_int_equal(utcp_connection_hold(p.ba, 0), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_RESET);
}

/* The end of the connection itself is told, held or not. */
static void
hold_does_not_hide_the_end(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  assert_int_equal(utcp_connection_hold(p.ba, 1), UTCP_OK);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_closed(p.b, p.ba));
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_CONNECTION);
}

/* ---- memory ---- */

static void
shed_frees(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits big = pair_open(&p, 3), little = pair_open(&p, 4);
  run_for(p.net, SECOND);
  uint64_t shed = 77;
  assert_int_equal(utcp_endpoint_memory(p.a->endpoint), 0);
  assert_int_equal(utcp_endpoint_shed(p.a->endpoint, 1000, &shed), UTCP_OK);
  assert_int_equal(shed, 0);
  uint8_t data[16000] = { 0 };
  size_t len;
  assert_int_equal(utcp_circuit_write(big.a, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(len, sizeof data);
  assert_int_equal(utcp_circuit_write(little.a, data, 1000, &len), UTCP_OK);
  uint64_t held = utcp_endpoint_memory(p.a->endpoint);
  assert_true(held >= sizeof data + 1000);
  assert_int_equal(endpoint_stats(p.a).memory, held);
  assert_int_equal(utcp_endpoint_shed(p.a->endpoint, 0, &shed), UTCP_OK);
  assert_int_equal(shed, 0);
  /* The one that holds most goes first, and it is enough. */
  assert_int_equal(utcp_endpoint_shed(p.a->endpoint, 10000, &shed), UTCP_OK);
  assert_true(shed >= 10000);
  assert_true(utcp_endpoint_memory(p.a->endpoint) <= held - 10000);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.a, big.a) && host_circuit_closed(p.b, big.b));
  assert_int_equal(host_circuit_closed(p.a, big.a), UTCP_CLOSE_MEMORY);
  assert_int_equal(host_circuit_closed(p.b, big.b), UTCP_CLOSE_RESET);
  assert_int_equal(host_circuit_closed(p.a, little.a), 0);
  RUN_UNTIL(p.net, 10 * SECOND, utcp_circuit_readable(little.b) == 1000);
  assert_int_equal(host_count(p.a, EV_CLOSED), 0);
}

static void
shed_of_received_data(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  struct stream *s = stream_new(p.a, c.a);
  s->out_seed = 3;
  s->out_total = 200000;
  stream_pump(s);
  RUN_UNTIL(p.net, 20 * SECOND, utcp_circuit_readable(c.b) == 200000);
  assert_true(utcp_endpoint_memory(p.b->endpoint) >= 200000);
  uint64_t shed = 0;
  assert_int_equal(utcp_endpoint_shed(p.b->endpoint, UINT64_MAX, &shed), UTCP_OK);
  assert_true(shed >= 200000);
  assert_int_equal(utcp_endpoint_memory(p.b->endpoint), 0);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, c.b) == UTCP_CLOSE_MEMORY);
}

static void
memory_returns_to_zero(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 3));
  s->out_seed = 3;
  s->out_total = 500000;
  s->finish = 1;
  stream_pump(s);
  assert_true(utcp_endpoint_memory(p.a->endpoint) > 0);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(utcp_endpoint_memory(p.a->endpoint), 0);
  assert_int_equal(utcp_endpoint_memory(p.b->endpoint), 0);
}

/* With a small budget writes are cut short instead of memory growing, and everything still arrives. */
static void
memory_budget(void **state)
{
  struct host_options small = { .set = { { UTCP_OPTION_MEMORY_BUDGET, 262144 } } };
  struct pair p = pair_new(*state, &small, &small);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  unsigned streams = 6;
  uint64_t most = 0;
  for (unsigned i = 0; i < streams; i++) {
    struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 100 + i));
    s->out_seed = 100 + i;
    s->out_total = 200000;
    s->finish = 1;
    stream_pump(s);
    assert_int_equal(s->error, 0);
  }
  for (unsigned i = 0; i < streams; i++)
    while (!(p.b->stream_count > i && p.b->streams[i]->end)) {
      assert_true(net_step(p.net, 600 * SECOND));
      uint64_t held = utcp_endpoint_memory(p.a->endpoint);
      most = held > most ? held : most;
    }
  assert_true(most <= 262144);
  for (unsigned i = 0; i < streams; i++) {
    assert_int_equal(p.b->streams[i]->in_done, 200000);
    assert_int_equal(p.b->streams[i]->wrong, 0);
  }
}

/* The level told last, and how often any was. */
static int
pressure(const struct host *h, size_t times)
{
  assert_int_equal(host_count(h, EV_MEMORY), times);
  return times ? host_last(h, EV_MEMORY)->reason : UTCP_MEMORY_NORMAL;
}

/* The budget changes while a reader has stopped: told of what that means, and nothing is lost. */
static void
budget_changes(void **state)
{
  struct host_options small = { .set = { { UTCP_OPTION_MEMORY_BUDGET, 262144 },
                                         { UTCP_OPTION_CONNECTION_SHARE, 100 } } };
  struct pair p = pair_new(*state, NULL, &small);
  struct circuits c = pair_open(&p, 3);
  struct stream *s = stream_new(p.a, c.a), *t = stream_new(p.b, c.b);
  s->out_seed = t->in_seed = 3;
  s->out_total = 600000;
  s->finish = 1;
  t->paused = 1;
  stream_pump(s);
  run_for(p.net, 20 * SECOND);
  uint64_t held = utcp_endpoint_memory(p.b->endpoint);
  /* Three quarters are for what is received. */
  assert_in_range(held, 150000, 262144 / 4 * 3);
  assert_int_equal(pressure(p.b, 1), UTCP_MEMORY_HIGH);
  utcp_connection_stats of = { .size = sizeof of };
  assert_int_equal(utcp_connection_get_stats(utcp_circuit_connection(c.b), &of), UTCP_OK);
  assert_int_equal(of.memory, held);

  /* More than it may hold: stays, and no more comes. */
  assert_int_equal(utcp_endpoint_set_memory_budget(p.b->endpoint, 65536), UTCP_OK);
  assert_int_equal(utcp_endpoint_next_deadline(p.b->endpoint), 0);
  run_for(p.net, 20 * SECOND);
  assert_int_equal(utcp_endpoint_memory(p.b->endpoint), held);
  assert_int_equal(endpoint_stats(p.b).memory_budget, 65536);
  assert_int_equal(pressure(p.b, 2), UTCP_MEMORY_CRITICAL);

  assert_int_equal(utcp_endpoint_set_memory_budget(p.b->endpoint, 8 << 20), UTCP_OK);
  run_for(p.net, 200 * SECOND); /* for the next probe of a closed window */
  assert_true(utcp_endpoint_memory(p.b->endpoint) > 200000);
  assert_int_equal(pressure(p.b, 3), UTCP_MEMORY_NORMAL);

  assert_int_equal(utcp_endpoint_set_memory_budget(p.b->endpoint, 393216), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(pressure(p.b, 4), UTCP_MEMORY_HIGH);
  t->paused = 0;
  stream_pump(t);
  RUN_UNTIL(p.net, 600 * SECOND, t->end);
  assert_int_equal(t->in_done, 600000);
  assert_int_equal(t->wrong, 0);
  assert_int_equal(pressure(p.b, 5), UTCP_MEMORY_NORMAL);
  assert_int_equal(host_count(p.a, EV_MEMORY), 0);
  assert_true(endpoint_stats(p.b).memory_peak >= held);
}

/* A peer that is not read takes its share, and another one is served as if there were none. */
static void
share_of_a_connection(void **state)
{
  struct net *net = *state;
  struct host_options small = { .set = { { UTCP_OPTION_MEMORY_BUDGET, 1 << 20 },
                                         { UTCP_OPTION_CONNECTION_SHARE, 40 } } };
  struct host *relay = host_new(net, &small), *greedy = HOST(net), *other = HOST(net);
  utcp_connection *of_greedy = connect_to(greedy, relay, NULL), *of_other = connect_to(other, relay, NULL);
  RUN_UNTIL(net, 30 * SECOND, host_count(relay, EV_READY) == 2);
  run_for(net, SECOND);
  for (uint32_t i = 0; i < 20; i++) {
    struct stream *s = stream_new(greedy, open_circuit(greedy, of_greedy, 100 + i));
    s->out_seed = 100 + i;
    s->out_total = 200000;
    stream_pump(s);
  }
  run_for(net, 20 * SECOND);
  uint64_t held = utcp_endpoint_memory(relay->endpoint);
  assert_in_range(held, 250000, 419430);
  relay->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  struct stream *s = stream_new(other, open_circuit(other, of_other, 7));
  s->out_seed = s->in_seed = 7;
  s->out_total = 3000000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(net, 60 * SECOND, s->closed);
  assert_int_equal(s->in_done, 3000000);
  assert_int_equal(s->wrong, 0);
  assert_true(endpoint_stats(relay).dropped_in_order > 0);
}

static void
buffers_can_be_changed(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  run_for(p.net, SECOND);
  static const uint8_t data[1000000];
  size_t len;
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 8000), UTCP_OK);
  assert_true(utcp_circuit_room(c.a) <= 8000);
  assert_int_equal(utcp_circuit_write(c.a, data, sizeof data, &len), UTCP_OK);
  assert_in_range(len, 1, 8000);
  size_t sent = len;
  assert_int_equal(utcp_circuit_room(c.a), 0);
  /* Larger: there is room at once, and whoever waits is told. */
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 500000), UTCP_OK);
  assert_true(utcp_circuit_room(c.a) > 0);
  assert_int_equal(utcp_circuit_write(c.a, data, 2000, &len), UTCP_OK);
  sent += len;
  /* Smaller than what it holds: nothing is lost, there is just no room. */
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 4096), UTCP_OK);
  assert_int_equal(utcp_circuit_room(c.a), 0);
  RUN_UNTIL(p.net, 60 * SECOND, utcp_circuit_readable(c.b) == sent);
  assert_true(utcp_circuit_room(c.a) <= 4096);
}

/* Who waits for room is told when the buffer is made larger, not only when something is acknowledged. */
static void
larger_buffer_is_told_of(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  run_for(p.net, SECOND);
  static const uint8_t data[100000];
  size_t len;
  p.net->loss = 1000; /* nothing is ever acknowledged */
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 4096), UTCP_OK);
  assert_int_equal(utcp_circuit_write(c.a, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(len, 4096);
  run_for(p.net, 100 * MS);
  assert_int_equal(host_count_circuit(p.a, EV_WRITABLE, c.a), 0);
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 65536), UTCP_OK);
  RUN_UNTIL(p.net, 100 * MS, host_count_circuit(p.a, EV_WRITABLE, c.a) == 1);
}

static void
receive_buffer_limits_the_window(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  run_for(p.net, SECOND);
  uint64_t promised = circuit_info(c.b).receive_window;
  assert_int_equal(utcp_circuit_set_receive_buffer(c.b, 20000), UTCP_OK);
  struct stream *s = stream_new(p.a, c.a);
  s->out_seed = 3;
  s->out_total = 2000000;
  stream_pump(s);
  run_for(p.net, 60 * SECOND);
  /* A window that was offered before is not taken back (RFC 9293, 3.8.6). */
  assert_in_range(utcp_circuit_readable(c.b), 1, promised + 20000);
  /* Later, no more than the buffer is on its way or unread. */
  struct stream *t = stream_new(p.b, c.b);
  t->in_seed = 3;
  stream_pump(t);
  run_for(p.net, SECOND);
  t->paused = 1;
  run_for(p.net, 10 * SECOND);
  assert_in_range(utcp_circuit_readable(c.b), 0, 20000);
  t->paused = 0;
  stream_pump(t);
  RUN_UNTIL(p.net, 100 * SECOND, t->in_done == 2000000);
  assert_int_equal(t->wrong, 0);
}

/* ---- many ---- */

static void
many_circuits(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  unsigned n = scaled(1000, 100);
  for (unsigned i = 0; i < n; i++) {
    struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 1000 + i));
    s->out_seed = s->in_seed = 1000 + i;
    s->out_total = 514 + i % 2000;
    s->finish = i % 2; /* half of them stay open */
    stream_pump(s);
  }
  assert_int_equal(connection_stats(p.ab).circuits, n + 1);
  for (unsigned i = 0; i < n; i++) {
    struct stream *s = p.a->streams[i];
    RUN_UNTIL(p.net, 120 * SECOND, s->finish ? s->closed : s->in_done == s->out_total);
    assert_int_equal(s->in_done, s->out_total);
    assert_int_equal(s->wrong + s->error, 0);
  }
  RUN_UNTIL(p.net, 300 * SECOND, connection_stats(p.ab).circuits == 1 + (n + 1) / 2);
  RUN_UNTIL(p.net, 300 * SECOND, connection_stats(p.ba).circuits == 1 + (n + 1) / 2);
  assert_int_equal(connection_stats(p.ba).circuits_accepted, n);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_closed(p.b, p.ba));
  assert_int_equal(host_count(p.b, EV_CIRCUIT_CLOSED), n);
  assert_int_equal(host_count(p.a, EV_CIRCUIT_CLOSED), n);
}

/* A quiet circuit does not wait behind a bulk one on its connection. */
static void
quiet_circuit_beside_bulk(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  for (unsigned i = 0; i < 5; i++) {
    struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 100 + i));
    s->out_seed = s->in_seed = 100 + i;
    s->out_total = 100000000; /* more than will be sent */
    assert_int_equal(utcp_circuit_set_priority(s->circuit, 1), UTCP_OK);
    stream_pump(s);
  }
  run_for(p.net, SECOND / 5);
  struct stream *quiet = stream_new(p.a, open_circuit(p.a, p.ab, 7));
  assert_int_equal(utcp_circuit_set_priority(quiet->circuit, 255), UTCP_OK);
  quiet->out_seed = quiet->in_seed = 7;
  quiet->out_total = 514;
  uint64_t start = p.net->now;
  stream_pump(quiet);
  RUN_UNTIL(p.net, 10 * SECOND, quiet->in_done == 514);
  assert_true(p.net->now - start < 10 * p.net->delay);
  assert_int_equal(quiet->wrong, 0);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(readable_is_an_edge),
    NET_TEST(writable_follows_a_short_write_alone),
    NET_TEST(masked_readable_comes_after_unmasking),
    NET_TEST(mask_at_delivery_counts),
    NET_TEST(masked_writable_comes_after_unmasking),
    NET_TEST(mask_does_not_hide_the_end),
    NET_TEST(slow_reader_stops_its_own_circuit_only),
    NET_TEST(socket_takes_fewer_than_offered),
    NET_TEST(socket_takes_nothing),
    NET_TEST(lying_tx_callback),
    NET_TEST(held_connection_speaks_on_control_only),
    NET_TEST(hold_again_later),
    NET_TEST(hold_does_not_hide_the_end),
    NET_TEST(shed_frees),
    NET_TEST(shed_of_received_data),
    NET_TEST(memory_returns_to_zero),
    NET_TEST(memory_budget),
    NET_TEST(budget_changes),
    NET_TEST(share_of_a_connection),
    NET_TEST(buffers_can_be_changed),
    NET_TEST(larger_buffer_is_told_of),
    NET_TEST(receive_buffer_limits_the_window),
    NET_TEST(many_circuits),
    NET_TEST(quiet_circuit_beside_bulk),
  };
  return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
