/* Circuits: opening, ends of every kind, numbers used again, knobs. */
#include "pair.h"

/* A writes `total` octets and finishes; b's side answers as its hook says. */
static struct stream *
start_stream(struct pair *p, uint32_t number, uint64_t total)
{
  struct stream *s = stream_new(p->a, open_circuit(p->a, p->ab, number));
  s->out_seed = s->in_seed = number;
  s->out_total = total;
  s->finish = 1;
  stream_pump(s);
  return s;
}

static void
echo_to_the_end(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  struct stream *s = start_stream(&p, 11, 300000);
  RUN_UNTIL(p.net, 60 * SECOND, s->closed && p.b->stream_count && p.b->streams[0]->closed);
  struct stream *t = p.b->streams[0];
  assert_int_equal(s->in_done, 300000);
  assert_int_equal(t->in_done, 300000);
  assert_int_equal(s->wrong + t->wrong, 0);
  assert_int_equal(s->error, 0);
  assert_int_equal(t->error, 0);
  assert_int_equal(s->closed, UTCP_CLOSE_DONE);
  assert_int_equal(t->closed, UTCP_CLOSE_DONE);
  assert_int_equal(host_count_circuit(p.a, EV_CIRCUIT_CLOSED, s->circuit), 1);

  /* What the ended circuit answers. */
  uint8_t data[4];
  size_t len = 77;
  utcp_circuit *c = s->circuit;
  assert_int_equal(utcp_circuit_read(c, data, sizeof data, &len), UTCP_ERR_END); /* as before */
  assert_int_equal(utcp_circuit_write(c, data, sizeof data, &len), UTCP_ERR_CLOSED);
  assert_int_equal(len, 77);
  assert_int_equal(utcp_circuit_finish(c), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_close(c), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_abort(c), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_events(c, 0), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_congestion(c, UTCP_CONGESTION_CUBIC), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_rate(c, 0), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_send_buffer(c, 65536), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_receive_buffer(c, 65536), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_priority(c, 16), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_readable(c), 0);
  assert_int_equal(utcp_circuit_room(c), 0);
  assert_int_equal(utcp_circuit_number(c), 11);
  assert_ptr_equal(utcp_circuit_connection(c), p.ab);
  assert_ptr_equal(utcp_circuit_user(c), s);
  assert_int_equal(circuit_info(c).bytes_acked, 300000);
}

static void
data_travels_with_the_syn(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  run_for(p.net, SECOND);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  uint64_t start = p.net->now;
  struct stream *s = start_stream(&p, 11, 514);
  RUN_UNTIL(p.net, 10 * SECOND, s->in_done == 514);
  /* One way there with the data, one way back with the echo. */
  assert_in_range(p.net->now - start, 2 * p.net->delay, 3 * p.net->delay);
}

static void
half_close_both_ways(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  struct stream *s = start_stream(&p, 11, 1000);
  s->in_seed = 99;
  RUN_UNTIL(p.net, 10 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  struct stream *t = p.b->streams[0];
  assert_int_equal(t->in_done, 1000);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(host_count(p.a, EV_CIRCUIT_CLOSED), 0);
  assert_int_equal(host_count(p.b, EV_CIRCUIT_CLOSED), 0);

  /* The finished direction takes nothing more; the other one works. */
  size_t len = 77;
  assert_int_equal(utcp_circuit_write(s->circuit, (const uint8_t *)"x", 1, &len), UTCP_ERR_STATE);
  assert_int_equal(len, 77);
  assert_int_equal(utcp_circuit_room(s->circuit), 0);
  uint8_t data[4];
  assert_int_equal(utcp_circuit_read(t->circuit, data, sizeof data, &len), UTCP_ERR_END);
  assert_int_equal(utcp_circuit_read(t->circuit, data, sizeof data, &len), UTCP_ERR_END);
  assert_int_equal(len, 77);
  t->out_seed = 99;
  t->out_total = 200000;
  t->finish = 1;
  stream_pump(t);
  RUN_UNTIL(p.net, 60 * SECOND, s->closed && t->closed);
  assert_int_equal(s->in_done, 200000);
  assert_int_equal(s->end, 1);
  assert_int_equal(s->wrong + t->wrong + s->error + t->error, 0);
  assert_int_equal(s->closed, UTCP_CLOSE_DONE);
  assert_int_equal(t->closed, UTCP_CLOSE_DONE);
}

static void
finish_without_data(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  struct stream *s = start_stream(&p, 11, 0);
  RUN_UNTIL(p.net, 10 * SECOND, s->closed);
  assert_int_equal(s->closed, UTCP_CLOSE_DONE);
  assert_int_equal(s->end, 1);
  assert_int_equal(s->in_done, 0);
}

/* Both directions are finished while one side has not read: what was sent is still there to be read. */
static void
orderly_end_loses_nothing_unread(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 11);
  struct stream *t = stream_new(p.b, c.b);
  t->in_seed = 11;
  t->paused = 1;
  struct stream *s = stream_new(p.a, c.a);
  s->out_seed = 11;
  s->out_total = 20000;
  s->finish = 1;
  stream_pump(s);
  assert_int_equal(utcp_circuit_finish(c.b), UTCP_OK);
  run_for(p.net, 30 * SECOND);
  t->paused = 0;
  stream_pump(t);
  assert_int_equal(t->error, 0);
  assert_int_equal(t->in_done, 20000);
  assert_int_equal(t->wrong, 0);
  assert_int_equal(t->end, 1);
  RUN_UNTIL(p.net, 300 * SECOND, s->closed && t->closed);
  assert_int_equal(t->closed, UTCP_CLOSE_DONE);
  assert_int_equal(s->closed, UTCP_CLOSE_DONE);
}

static void
close_discards_what_arrives(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 11);
  struct stream *t = stream_new(p.b, c.b);
  t->in_seed = 11;
  t->out_seed = 22;
  t->out_total = 2000000;
  t->finish = 1;
  stream_pump(t);
  run_for(p.net, 100 * MS);
  size_t written;
  uint8_t data[3000];
  pattern(11, 0, data, sizeof data);
  assert_int_equal(utcp_circuit_write(c.a, data, sizeof data, &written), UTCP_OK);
  assert_int_equal(written, sizeof data);
  assert_int_equal(utcp_circuit_close(c.a), UTCP_OK);
  size_t readable = host_count_circuit(p.a, EV_READABLE, c.a);
  /* What was written before arrives, and the end; the peer is not held up by a window that nobody empties. */
  RUN_UNTIL(p.net, 120 * SECOND, t->closed && host_circuit_closed(p.a, c.a));
  assert_int_equal(t->in_done, sizeof data);
  assert_int_equal(t->end, 1);
  assert_int_equal(t->wrong, 0);
  assert_int_equal(t->out_done, 2000000);
  assert_int_equal(t->closed, UTCP_CLOSE_DONE);
  assert_int_equal(host_circuit_closed(p.a, c.a), UTCP_CLOSE_DONE);
  assert_int_equal(host_count_circuit(p.a, EV_READABLE, c.a), readable);
}

static void
free_after_close_lets_it_finish(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  utcp_circuit *circuit = open_circuit(p.a, p.ab, 11);
  uint8_t data[10000];
  size_t written;
  pattern(11, 0, data, sizeof data);
  assert_int_equal(utcp_circuit_write(circuit, data, sizeof data, &written), UTCP_OK);
  assert_int_equal(written, sizeof data);
  assert_int_equal(utcp_circuit_close(circuit), UTCP_OK);
  free_circuit(p.a, circuit);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  assert_int_equal(p.b->streams[0]->in_done, sizeof data);
  assert_int_equal(p.b->streams[0]->wrong, 0);
  assert_int_equal(utcp_circuit_finish(p.b->streams[0]->circuit), UTCP_OK);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->streams[0]->closed);
  assert_int_equal(p.b->streams[0]->closed, UTCP_CLOSE_DONE);
  assert_int_equal(host_count(p.a, EV_CIRCUIT_CLOSED), 0);
  RUN_UNTIL(p.net, 300 * SECOND, connection_stats(p.ab).circuits == 1 && connection_stats(p.ba).circuits == 1);
}

static void
abort_resets(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 11);
  size_t len;
  assert_int_equal(utcp_circuit_write(c.b, (const uint8_t *)"unread", 6, &len), UTCP_OK);
  run_for(p.net, 100 * MS);
  assert_int_equal(utcp_circuit_abort(c.a), UTCP_OK);
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)"x", 1, &len), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_abort(c.a), UTCP_ERR_CLOSED);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, c.b));
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_RESET);
  run_for(p.net, 300 * SECOND);
  assert_int_equal(host_count(p.a, EV_CIRCUIT_CLOSED), 0); /* no event for the one who did it */
  assert_int_equal(host_count(p.b, EV_CIRCUIT_CLOSED), 1);
  assert_true(connection_stats(p.ba).circuits_reset >= 1);
  assert_int_equal(connection_stats(p.ab).circuits, 1);
  assert_int_equal(connection_stats(p.ba).circuits, 1);
}

static void
free_of_an_open_circuit_resets(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 11);
  free_circuit(p.a, c.a);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, c.b));
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_RESET);
}

static void
circuit_refused(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->answer[EV_CIRCUIT_INCOMING] = 1;
  utcp_circuit *circuit = open_circuit(p.a, p.ab, 11);
  size_t written;
  assert_int_equal(utcp_circuit_write(circuit, (const uint8_t *)"hello", 5, &written), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.a, circuit));
  assert_int_equal(host_circuit_closed(p.a, circuit), UTCP_CLOSE_REFUSED);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(host_count(p.b, EV_CIRCUIT_CLOSED), 0);
  assert_int_equal(host_count(p.b, EV_READABLE), 0);
  assert_int_equal(connection_stats(p.ba).circuits, 1);
}

static void
without_callback_circuits_are_refused(void **state)
{
  struct host_options options = { .without = 1u << EV_CIRCUIT_INCOMING };
  struct pair p = pair_new(*state, NULL, &options);
  utcp_circuit *circuit = open_circuit(p.a, p.ab, 11);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.a, circuit));
  assert_int_equal(host_circuit_closed(p.a, circuit), UTCP_CLOSE_REFUSED);
}

static void
number_taken(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 11);
  utcp_circuit *second = NULL;
  assert_int_equal(utcp_connection_open_circuit(p.ab, 11, &second), UTCP_ERR_IN_USE);
  /* Whoever opened it. */
  assert_int_equal(utcp_connection_open_circuit(p.ba, 11, &second), UTCP_ERR_IN_USE);
  assert_null(second);
  free_circuit(p.a, c.a);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, c.b));
  /* Free again on both sides, though b still holds the old handle. */
  c = pair_open(&p, 11);
  assert_int_equal(utcp_circuit_abort(c.b), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.a, c.a));
  utcp_circuit *other_way = open_circuit(p.b, p.ba, 11);
  RUN_UNTIL(p.net, 10 * SECOND, host_count(p.a, EV_CIRCUIT_INCOMING) == 1);
  assert_int_equal(circuit_info(other_way).number, 11);
}

static int
accept_other_seed(struct host *h, const struct event *event)
{
  struct stream *s = stream_new(h, event->circuit);
  s->in_seed = (uint64_t)(uintptr_t)h->user;
  return 0;
}

/* Both open the same number at the same moment. Either may be refused; what is not refused is a circuit of its own:
 * octets of the one never get into the other one. */
static void
number_collision(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.a->hook[EV_CIRCUIT_INCOMING] = p.b->hook[EV_CIRCUIT_INCOMING] = accept_other_seed;
  p.a->user = (void *)(uintptr_t)2;
  p.b->user = (void *)(uintptr_t)1;
  struct stream *x = stream_new(p.a, open_circuit(p.a, p.ab, 11));
  struct stream *y = stream_new(p.b, open_circuit(p.b, p.ba, 11));
  x->out_seed = 1;
  y->out_seed = 2;
  x->out_total = y->out_total = 30000;
  stream_pump(x);
  stream_pump(y);
  run_for(p.net, 10 * SECOND);
  const unsigned long reasons[] = { UTCP_CLOSE_REFUSED, UTCP_CLOSE_RESET };
  struct { struct stream *out; struct host *to; } ways[] = { { x, p.b }, { y, p.a } };
  unsigned lost = 0;
  for (int i = 0; i < 2; i++) {
    if (ways[i].out->closed) {
      lost++;
      assert_in_set((unsigned long)ways[i].out->closed, reasons, 2);
      continue;
    }
    assert_int_equal(ways[i].to->stream_count, 2);
    assert_int_equal(ways[i].to->streams[1]->in_done, 30000);
    assert_int_equal(ways[i].to->streams[1]->wrong, 0);
    assert_int_equal(ways[i].out->in_done, 0);
  }
  assert_int_equal(host_count(p.a, EV_CLOSED) + host_count(p.b, EV_CLOSED), 0);
  assert_int_equal(connection_stats(p.ab).circuits, 1 + 2 - lost);
  assert_int_equal(connection_stats(p.ba).circuits, 1 + 2 - lost);
}

static void
number_is_used_again_at_once(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct net *net = p.net;
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  /* Old segments arrive late and twice. */
  net->duplicate = 200;
  net->reorder = 300;
  unsigned rounds = scaled(200, 20);
  for (unsigned i = 0; i < rounds; i++) {
    size_t before = p.b->stream_count;
    utcp_circuit *circuit = open_circuit(p.a, p.ab, 7);
    struct stream *s = stream_new(p.a, circuit);
    /* accept_echo checks against the pattern of the number: what differs from round to round is the amount. */
    s->out_seed = s->in_seed = 7;
    s->out_total = 100 + net_random(net) % 5000;
    s->finish = i % 3 != 2;
    stream_pump(s);
    if (s->finish) {
      RUN_UNTIL(net, 60 * SECOND, s->closed && p.b->stream_count > before && p.b->streams[before]->closed);
      assert_int_equal(s->closed, UTCP_CLOSE_DONE);
      assert_int_equal(p.b->streams[before]->in_done, s->out_total);
    } else {
      RUN_UNTIL(net, 60 * SECOND, s->in_done == s->out_total);
      assert_int_equal(utcp_circuit_abort(circuit), UTCP_OK);
      RUN_UNTIL(net, 60 * SECOND, p.b->streams[before]->closed);
      assert_int_equal(p.b->streams[before]->closed, UTCP_CLOSE_RESET);
    }
    assert_int_equal(p.b->stream_count, before + 1); /* one circuit each time: no ghost of an earlier one */
    assert_int_equal(s->in_done, s->out_total);
    assert_int_equal(s->wrong + p.b->streams[before]->wrong, 0);
    free_circuit(p.a, circuit);
    free_circuit(p.b, p.b->streams[before]->circuit);
  }
  assert_int_equal(connection_stats(p.ab).circuits_opened, rounds);
  assert_int_equal(connection_stats(p.ba).circuits_accepted, rounds);
}

static void
limit_of_circuits(void **state)
{
  struct host_options four = { .set = { { UTCP_OPTION_MAX_CIRCUITS, 4 } } };
  struct pair p = pair_new(*state, &four, NULL);
  utcp_circuit *more = NULL;
  uint32_t number = 1;
  int rc;
  while ((rc = utcp_connection_open_circuit(p.ab, number, &more)) == UTCP_OK) {
    assert_true(number++ <= 4);
    host_track_circuit(p.a, more);
  }
  assert_int_equal(rc, UTCP_ERR_LIMIT);
  assert_in_range(number - 1, 3, 4); /* with or without control */
  RUN_UNTIL(p.net, 10 * SECOND, host_count(p.b, EV_CIRCUIT_INCOMING) == number - 1);
  /* Nor can the peer go beyond. */
  utcp_circuit *circuit = open_circuit(p.b, p.ba, 100);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, circuit));
  assert_int_equal(host_count(p.a, EV_CIRCUIT_INCOMING), 0);
  assert_true(connection_stats(p.ab).dropped_limit >= 1);
  assert_int_equal(host_count(p.a, EV_CLOSED), 0);
}

static void
control_circuit(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  utcp_circuit *x = utcp_connection_control(p.ab), *y = utcp_connection_control(p.ba);
  struct stream *s = stream_new(p.a, x), *t = stream_new(p.b, y);
  s->out_seed = t->in_seed = 1;
  t->out_seed = s->in_seed = 2;
  s->out_total = 30000;
  t->out_total = 40000;
  stream_pump(s);
  stream_pump(t);
  RUN_UNTIL(p.net, 60 * SECOND, s->in_done == 40000 && t->in_done == 30000);
  assert_int_equal(s->wrong + t->wrong, 0);
  assert_int_equal(host_count(p.b, EV_CIRCUIT_INCOMING), 0);
  /* It lives and dies with its connection: the handle is borrowed. */
  assert_int_equal(utcp_circuit_free(x), UTCP_ERR_STATE);
  assert_int_equal(utcp_circuit_finish(x), UTCP_ERR_STATE);
  assert_int_equal(utcp_circuit_close(x), UTCP_ERR_STATE);
  assert_int_equal(utcp_circuit_abort(x), UTCP_ERR_STATE);
  t->in_done = 0;
  s->out_done = 0;
  stream_pump(s);
  RUN_UNTIL(p.net, 60 * SECOND, t->in_done == 30000);
  assert_int_equal(t->wrong, 0);
}

static void
user_data(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3), d = pair_open(&p, 4);
  int x, y;
  assert_null(utcp_circuit_user(c.a));
  utcp_circuit_set_user(c.a, &x);
  utcp_circuit_set_user(d.a, &y);
  assert_ptr_equal(utcp_circuit_user(c.a), &x);
  assert_ptr_equal(utcp_circuit_user(d.a), &y);
  assert_null(utcp_circuit_user(c.b));
  utcp_circuit_set_user(c.a, NULL);
  assert_null(utcp_circuit_user(c.a));
}

static void
rate_cap(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  utcp_circuit *circuit = open_circuit(p.a, p.ab, 11);
  assert_int_equal(utcp_circuit_set_rate(circuit, 50000), UTCP_OK);
  struct stream *s = stream_new(p.a, circuit);
  s->out_seed = 11;
  s->out_total = 200000;
  stream_pump(s);
  uint64_t start = p.net->now;
  RUN_UNTIL(p.net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->in_done == 200000);
  uint64_t took = p.net->now - start;
  /* 4 s at the rate; a burst at the start is fine. */
  assert_in_range(took, 3 * SECOND, 6 * SECOND);
  assert_int_equal(utcp_circuit_set_rate(circuit, 0), UTCP_OK);
  s->out_total = 400000;
  start = p.net->now;
  stream_pump(s);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->streams[0]->in_done == 400000);
  assert_true(p.net->now - start < 2 * SECOND);
  assert_int_equal(p.b->streams[0]->wrong, 0);
}

static void
rate_cap_of_one_leaves_the_others(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  utcp_circuit *slow = open_circuit(p.a, p.ab, 11);
  assert_int_equal(utcp_circuit_set_rate(slow, 1000), UTCP_OK);
  struct stream *s = stream_new(p.a, slow);
  s->out_seed = 11;
  s->out_total = 100000;
  stream_pump(s);
  run_for(p.net, SECOND);
  struct stream *t = start_stream(&p, 12, 100000);
  RUN_UNTIL(p.net, 5 * SECOND, p.b->stream_count == 2 && p.b->streams[1]->end);
  assert_int_equal(p.b->streams[1]->in_done, 100000);
  assert_true(p.b->streams[0]->in_done < 50000);
  assert_int_equal(t->error, 0);
}

static void
both_congestion_controls_carry_data(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.net->loss = 20;
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  const int algorithms[] = { UTCP_CONGESTION_NEWRENO, UTCP_CONGESTION_CUBIC };
  for (unsigned i = 0; i < 2; i++) {
    utcp_circuit *circuit = open_circuit(p.a, p.ab, 11 + i);
    assert_int_equal(utcp_circuit_set_congestion(circuit, algorithms[i]), UTCP_OK);
    struct stream *s = stream_new(p.a, circuit);
    s->out_seed = 11 + i;
    s->out_total = 300000;
    s->finish = 1;
    stream_pump(s);
    RUN_UNTIL(p.net, 200 * SECOND, p.b->stream_count == i + 1 && p.b->streams[i]->end);
    assert_int_equal(p.b->streams[i]->in_done, 300000);
    assert_int_equal(p.b->streams[i]->wrong, 0);
    assert_int_equal(circuit_info(circuit).congestion, algorithms[i]);
  }
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(echo_to_the_end),
    NET_TEST(data_travels_with_the_syn),
    NET_TEST(half_close_both_ways),
    NET_TEST(finish_without_data),
    NET_TEST(orderly_end_loses_nothing_unread),
    NET_TEST(close_discards_what_arrives),
    NET_TEST(free_after_close_lets_it_finish),
    NET_TEST(abort_resets),
    NET_TEST(free_of_an_open_circuit_resets),
    NET_TEST(circuit_refused),
    NET_TEST(without_callback_circuits_are_refused),
    NET_TEST(number_taken),
    NET_TEST(number_collision),
    NET_TEST(number_is_used_again_at_once),
    NET_TEST(limit_of_circuits),
    NET_TEST(control_circuit),
    NET_TEST(user_data),
    NET_TEST(rate_cap),
    NET_TEST(rate_cap_of_one_leaves_the_others),
    NET_TEST(both_congestion_controls_carry_data),
  };
  return cmocka_run_group_tests_name("circuits", tests, NULL, NULL);
}
