/* Handles: how long they live, what they answer when the thing behind them is gone, freeing twice. */
#include "pair.h"

static void
expect_closed_circuit(utcp_circuit *circuit)
{
  uint8_t data[8] = { 0 };
  size_t len = 77;
  assert_int_equal(utcp_circuit_read(circuit, data, sizeof data, &len), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_write(circuit, data, sizeof data, &len), UTCP_ERR_CLOSED);
  assert_int_equal(len, 77);
  assert_int_equal(utcp_circuit_readable(circuit), 0);
  assert_int_equal(utcp_circuit_room(circuit), 0);
  assert_int_equal(utcp_circuit_finish(circuit), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_close(circuit), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_abort(circuit), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_events(circuit, 0), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_rate(circuit, 1000), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_priority(circuit, 5), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_send_buffer(circuit, 65536), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_receive_buffer(circuit, 65536), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_congestion(circuit, UTCP_CONGESTION_CUBIC), UTCP_ERR_CLOSED);
}

static void
expect_closed_connection(utcp_connection *connection)
{
  utcp_circuit *circuit = NULL;
  assert_int_equal(utcp_connection_close(connection), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_connection_hold(connection, 1), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_connection_open_circuit(connection, 50, &circuit), UTCP_ERR_CLOSED);
  assert_null(circuit);
  assert_null(utcp_connection_ssl(connection));
  assert_null(utcp_connection_control(connection));
}

static void
handles_outlive_their_endpoint(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  int x, y;
  utcp_connection_set_user(p.ab, &x);
  utcp_circuit_set_user(c.a, &y);
  size_t before = p.a->event_count;
  host_stop(p.a);
  assert_int_equal(p.a->event_count, before); /* freeing calls nobody */
  expect_closed_connection(p.ab);
  expect_closed_circuit(c.a);
  /* What belongs to the handle itself stays. */
  assert_ptr_equal(utcp_connection_user(p.ab), &x);
  assert_ptr_equal(utcp_circuit_user(c.a), &y);
  assert_int_equal(utcp_circuit_number(c.a), 3);
  assert_ptr_equal(utcp_circuit_connection(c.a), p.ab);
  utcp_connection_stats stats = { .size = sizeof stats };
  int rc = utcp_connection_get_stats(p.ab, &stats);
  assert_true(rc == UTCP_OK || rc == UTCP_ERR_CLOSED);
  utcp_circuit_info info = { .size = sizeof info };
  rc = utcp_circuit_get_info(c.a, &info);
  assert_true(rc == UTCP_OK || rc == UTCP_ERR_CLOSED);
  assert_true(utcp_connection_role(p.ab) < 0);
  free_connection(p.a, p.ab);
  assert_null(utcp_circuit_connection(c.a));
  free_circuit(p.a, c.a);
}

static void
freed_endpoint_is_recognized(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  utcp_endpoint *endpoint = p.a->endpoint;
  uint8_t data[20] = { 0 };
  utcp_connection *found = NULL;
  uint64_t shed;
  utcp_endpoint_stats stats = { .size = sizeof stats };
  host_stop(p.a);
  /* As long as one of its handles lives. */
  assert_int_equal(utcp_endpoint_free(endpoint), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_process(endpoint, p.net->now), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_inject(endpoint, p.net->now, host_address(p.b), p.b->address_len, data, 20),
                   UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_connect(endpoint, p.net->now, host_address(p.b), p.b->address_len, NULL, &found),
                   UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_find(endpoint, host_address(p.b), p.b->address_len, &found), UTCP_ERR_HANDLE);
  assert_null(found);
  assert_int_equal(utcp_endpoint_set_accepting(endpoint, 1), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_set_capture(endpoint, NULL, NULL), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_shed(endpoint, 1, &shed), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_get_stats(endpoint, &stats), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_memory(endpoint), 0);
  assert_true(utcp_endpoint_next_deadline(endpoint) == UINT64_MAX);
}

static void
double_free_is_caught(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  uint8_t data[4] = { 0 };
  size_t len = 77;
  free_circuit(p.a, c.a);
  assert_int_equal(utcp_circuit_free(c.a), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_write(c.a, data, sizeof data, &len), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_read(c.a, data, sizeof data, &len), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_readable(c.a), 0);
  assert_null(utcp_circuit_user(c.a));
  assert_null(utcp_circuit_connection(c.a));
  assert_int_equal(len, 77);
  utcp_circuit *control = utcp_connection_control(p.ab);
  free_connection(p.a, p.ab);
  assert_int_equal(utcp_connection_free(p.ab), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_role(p.ab), UTCP_ERR_HANDLE);
  assert_null(utcp_connection_user(p.ab));
  /* The control circuit's handle died with its connection's. */
  assert_int_equal(utcp_circuit_write(control, data, sizeof data, &len), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_free(control), UTCP_ERR_HANDLE);
}

/* Freed slots are not handed out again at once: a stale handle does not hit a new circuit. */
static void
stale_handle_does_not_hit_a_new_circuit(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  utcp_circuit *stale = open_circuit(p.a, p.ab, 1);
  free_circuit(p.a, stale);
  for (uint32_t i = 0; i < 30; i++) {
    utcp_circuit *fresh = open_circuit(p.a, p.ab, 100 + i);
    assert_ptr_not_equal(fresh, stale);
    assert_int_equal(utcp_circuit_free(stale), UTCP_ERR_HANDLE);
  }
}

static void
peer_is_gone(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_closed(p.b, p.ba));
  expect_closed_connection(p.ba);
  expect_closed_circuit(c.b);
  run_for(p.net, 1000 * SECOND);
  expect_closed_connection(p.ba);
  expect_closed_circuit(c.b);
  free_circuit(p.b, c.b);
  free_connection(p.b, p.ba);
}

/* Circuits before their connection, the connection before them, the endpoint first, in the middle or last. */
static void
all_orders_of_freeing(void **state)
{
  (void)state;
  static const char *const orders[] = { "ecn", "enc", "cen", "nec", "cne", "nce" };
  for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
    struct net *net = net_new(i + 1);
    struct pair p = pair_new(net, NULL, NULL);
    struct circuits c = pair_open(&p, 3);
    size_t written;
    uint8_t data[5000] = { 0 };
    assert_int_equal(utcp_circuit_write(c.a, data, sizeof data, &written), UTCP_OK);
    for (const char *step = orders[i]; *step; step++) {
      if (*step == 'e')
        host_stop(p.a);
      else if (*step == 'c')
        free_circuit(p.a, c.a);
      else
        free_connection(p.a, p.ab);
    }
    assert_int_equal(net_free(net), 0);
  }
}

static void
endpoint_freed_in_the_middle_of_handshakes(void **state)
{
  struct net *net = *state;
  for (unsigned steps = 0; steps < scaled(14, 6); steps++) {
    struct host *a = HOST(net), *b = HOST(net);
    utcp_connection *ab = connect_to(a, b, NULL);
    for (unsigned i = 0; i < steps; i++)
      net_step(net, net->now + SECOND);
    host_stop(steps % 2 ? a : b);
    if (steps % 2)
      expect_closed_connection(ab);
    run_for(net, SECOND);
    if (!(steps % 2))
      host_stop(a);
  }
}

static void
events_end_with_the_handle(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3), d = pair_open(&p, 4);
  size_t len;
  assert_int_equal(utcp_circuit_write(c.b, (const uint8_t *)"x", 1, &len), UTCP_OK);
  assert_int_equal(utcp_circuit_write(d.b, (const uint8_t *)"x", 1, &len), UTCP_OK);
  free_circuit(p.a, c.a);
  RUN_UNTIL(p.net, 10 * SECOND, host_count_circuit(p.a, EV_READABLE, d.a) == 1);
  run_for(p.net, 100 * SECOND);
  assert_int_equal(host_count_circuit(p.a, EV_READABLE, c.a), 0);
  assert_int_equal(host_count_circuit(p.a, EV_CIRCUIT_CLOSED, c.a), 0);
}

static utcp_circuit *victim;

/* Frees the handle that the next event in the queue is about. */
static int
free_the_other(struct host *h, const struct event *event)
{
  (void)event;
  if (victim) {
    host_untrack(h, victim);
    utcp_circuit_free(victim);
    victim = NULL;
  }
  return 0;
}

static void
event_about_a_handle_freed_by_the_event_before(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3), d = pair_open(&p, 4);
  run_for(p.net, SECOND);
  size_t len;
  /* Two circuits become readable in one call; whichever comes first frees the other one. */
  p.a->hook[EV_READABLE] = free_the_other;
  victim = d.a;
  assert_int_equal(utcp_connection_hold(p.ab, 1), UTCP_OK);
  assert_int_equal(utcp_circuit_write(c.b, (const uint8_t *)"x", 1, &len), UTCP_OK);
  assert_int_equal(utcp_circuit_write(d.b, (const uint8_t *)"x", 1, &len), UTCP_OK);
  run_for(p.net, SECOND);
  assert_int_equal(utcp_connection_hold(p.ab, 0), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, !victim);
  run_for(p.net, 10 * SECOND);
  const struct event *last = host_last(p.a, EV_READABLE);
  assert_ptr_equal(last->circuit == d.a ? c.a : last->circuit, c.a);
  assert_int_equal(host_count(p.a, EV_CLOSED), 0);
}

/* Early, late, repeated and backward calls of process do no harm. */
static void
process_at_any_time(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 3));
  s->out_seed = s->in_seed = 3;
  s->out_total = 100000;
  s->finish = 1;
  stream_pump(s);
  for (int i = 0; i < 200 && !s->closed; i++) {
    net_step(p.net, p.net->now + 60 * SECOND);
    for (int j = 0; j < 5; j++)
      assert_int_equal(utcp_endpoint_process(p.a->endpoint, p.net->now), UTCP_OK);
    assert_int_equal(utcp_endpoint_process(p.a->endpoint, 0), UTCP_OK);
    assert_int_equal(utcp_endpoint_process(p.b->endpoint, p.net->now - SECOND / 2), UTCP_OK);
  }
  RUN_UNTIL(p.net, 60 * SECOND, s->closed);
  assert_int_equal(s->closed, UTCP_CLOSE_DONE);
  assert_int_equal(s->in_done, 100000);
  assert_int_equal(s->wrong, 0);
  assert_int_equal(circuit_info(s->circuit).segments_retransmitted, 0);
}

static void
endpoints_come_and_go(void **state)
{
  struct net *net = *state;
  static const struct host_options plain;
  utcp_config *config = host_config(&plain, net_identity(net, 0));
  utcp_callbacks callbacks = host_callbacks(&plain);
  for (int i = 0; i < 50; i++) {
    utcp_endpoint *endpoint = NULL;
    assert_int_equal(utcp_endpoint_new(config, &callbacks, NULL, &endpoint), UTCP_OK);
    assert_true(utcp_endpoint_next_deadline(endpoint) == UINT64_MAX);
    assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
  }
  assert_int_equal(utcp_config_free(config), UTCP_OK);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(handles_outlive_their_endpoint),
    NET_TEST(freed_endpoint_is_recognized),
    NET_TEST(double_free_is_caught),
    NET_TEST(stale_handle_does_not_hit_a_new_circuit),
    NET_TEST(peer_is_gone),
    cmocka_unit_test(all_orders_of_freeing),
    NET_TEST(endpoint_freed_in_the_middle_of_handshakes),
    NET_TEST(events_end_with_the_handle),
    NET_TEST(event_about_a_handle_freed_by_the_event_before),
    NET_TEST(process_at_any_time),
    NET_TEST(endpoints_come_and_go),
  };
  return cmocka_run_group_tests_name("lifetime", tests, NULL, NULL);
}
