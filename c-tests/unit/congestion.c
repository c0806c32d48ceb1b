/* Congestion control from outside: its choice, ECN, and windows that circuits share. */
#include "pair.h"

enum { BBR = UTCP_CONGESTION_BBR, CUBIC = UTCP_CONGESTION_CUBIC, NEWRENO = UTCP_CONGESTION_NEWRENO };

static const struct host_options with_ecn = { .set = { { UTCP_OPTION_ECN, 1 } } };
static const struct host_options coupled = { .set = { { UTCP_OPTION_COUPLED, 1 }, { UTCP_OPTION_COUPLED_FLOWS, 2 } } };

/* Sends `total` octets from a on each of `n` new circuits, numbered from `first` on. */
static void
begin(struct pair *p, unsigned first, unsigned n, uint64_t total)
{
  p->b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  for (unsigned i = 0; i < n; i++) {
    struct stream *s = stream_new(p->a, open_circuit(p->a, p->ab, first + i));
    s->out_seed = first + i;
    s->out_total = total;
    s->finish = 1;
    stream_pump(s);
  }
}

static uint64_t
received(const struct pair *p)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < p->b->stream_count; i++)
    sum += p->b->streams[i]->in_done;
  return sum;
}

static void
complete(struct pair *p, uint64_t total)
{
  RUN_UNTIL(p->net, 120 * SECOND, received(p) == total);
  for (size_t i = 0; i < p->b->stream_count; i++)
    assert_int_equal(p->b->streams[i]->wrong + p->b->streams[i]->error, 0);
  for (size_t i = 0; i < p->a->stream_count; i++)
    assert_int_equal(p->a->streams[i]->error, 0);
}

/* ---- ECN ---- */

static uint8_t
congested(struct net *net, struct host *to, uint8_t ecn)
{
  struct host **only = net->user;
  return ecn && to == *only && net_random(net) % 20 == 0 ? 3 : ecn;
}

static void
marks_slow_down_without_loss(void **state)
{
  struct pair p = pair_new(*state, &with_ecn, &with_ecn);
  p.net->user = &p.b;
  p.net->mark = congested;
  begin(&p, 1, 1, 1000000);
  complete(&p, 1000000);
  utcp_circuit_info x = circuit_info(p.a->streams[0]->circuit), y = circuit_info(p.b->streams[0]->circuit);
  assert_int_equal(x.ecn, 1);
  assert_int_equal(y.ecn, 1);
  assert_in_range(y.ce_received, 10, 200);
  assert_in_range(x.ce_reported, 1, y.ce_received);
  assert_int_equal(x.ce_received + y.ce_reported, 0);
  assert_int_equal(x.segments_retransmitted + x.timeouts + x.fast_recoveries, 0);
  assert_true(x.ssthresh < UINT64_MAX);
  /* ECT(0) and nothing else; the handshake, probes and acknowledgements are not. */
  assert_int_equal(p.a->tx_ecn[1] + p.a->tx_ecn[3] + p.b->tx_ecn[1] + p.b->tx_ecn[3], 0);
  assert_true(p.a->tx_ecn[2] >= 1000000 / 1500);
  assert_true(p.a->tx_ecn[0] > 0);
}

static void
ecn_takes_two(void **state)
{
  (void)state;
  for (int asks = 0; asks < 2; asks++) {
    struct net *net = net_new(7);
    struct pair p = pair_new(net, asks ? &with_ecn : NULL, asks ? NULL : &with_ecn);
    p.net->user = &p.b;
    p.net->mark = congested;
    begin(&p, 1, 1, 200000);
    complete(&p, 200000);
    assert_int_equal(p.a->tx_ecn[2] + p.b->tx_ecn[2], 0);
    assert_int_equal(circuit_info(p.a->streams[0]->circuit).ecn, 0);
    assert_int_equal(circuit_info(p.b->streams[0]->circuit).ecn, 0);
    assert_int_equal(net_free(net), 0);
  }
}

/* A field of 3 on anything means nothing to an endpoint that was not told to look at it. */
static uint8_t
all_marked(struct net *net, struct host *to, uint8_t ecn)
{
  (void)net;
  (void)to;
  (void)ecn;
  return 3;
}

static void
marks_are_ignored_without_the_option(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.net->mark = all_marked;
  begin(&p, 1, 1, 500000);
  complete(&p, 500000);
  utcp_circuit_info x = circuit_info(p.a->streams[0]->circuit), y = circuit_info(p.b->streams[0]->circuit);
  assert_int_equal(x.ce_reported + y.ce_received, 0);
  assert_true(x.ssthresh == UINT64_MAX || x.ssthresh > 100000);
}

/* ---- windows that are shared ---- */

static void
circuits_share_a_window(void **state)
{
  struct pair p = pair_new(*state, &coupled, NULL);
  const unsigned n = 20;
  const uint64_t total = 50000;
  begin(&p, 1, n, total);
  uint64_t most = 0;
  while (received(&p) < n * total) {
    assert_true(net_step(p.net, p.net->now + 120 * SECOND));
    utcp_connection_stats stats = connection_stats(p.ab);
    assert_int_equal(stats.coupled_congestion, CUBIC);
    assert_true(stats.coupled_cwnd > 0);
    most = stats.coupled_in_flight > most ? stats.coupled_in_flight : most;
    /* Rounded to whole segments; the sum of what circuits have in flight is what is counted. */
    assert_true(stats.coupled_in_flight <= stats.coupled_cwnd + 1500);
    uint64_t sum = circuit_info(utcp_connection_control(p.ab)).bytes_in_flight;
    for (unsigned i = 0; i < n; i++)
      sum += circuit_info(p.a->streams[i]->circuit).bytes_in_flight;
    assert_int_equal(sum, stats.coupled_in_flight);
  }
  complete(&p, n * total);
  assert_true(most > 10000);
  run_for(p.net, 10 * SECOND);
  assert_int_equal(connection_stats(p.ab).coupled_in_flight, 0);
  /* The other side did not ask for it. */
  assert_int_equal(connection_stats(p.ba).coupled_cwnd, 0);
  assert_int_equal(connection_stats(p.ba).coupled_congestion, 0);
}

static void
sharing_can_be_switched(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  const unsigned n = 4;
  const uint64_t total = 400000;
  p.net->loss = 10;
  begin(&p, 1, n, total);
  assert_int_equal(connection_stats(p.ab).coupled_cwnd, 0);
  for (unsigned i = 0; received(&p) < n * total; i++) {
    utcp_circuit *circuit = p.a->streams[i % n]->circuit;
    int on = circuit_info(circuit).coupled == 0;
    int rc = utcp_circuit_set_coupled(circuit, on ? 77 : 0); /* any non-zero value */
    if (rc) {
      assert_int_equal(rc, UTCP_ERR_CLOSED);
      assert_int_not_equal(host_circuit_closed(p.a, circuit), 0);
    } else {
      assert_int_equal(circuit_info(circuit).coupled, on);
    }
    run_for(p.net, 7 * MS);
    assert_true(i < 100000);
  }
  complete(&p, n * total);
  assert_int_equal(connection_stats(p.ab).coupled_congestion, CUBIC);
  run_for(p.net, 120 * SECOND);
  assert_int_equal(connection_stats(p.ab).coupled_in_flight, 0);
}

static void
values_and_ends(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  const int wrong[] = { 0, -1, 4, 1000, INT32_MIN, INT32_MAX };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(utcp_connection_set_congestion(p.ab, wrong[i]), UTCP_ERR_RANGE);
    assert_int_equal(utcp_circuit_set_congestion(c.a, wrong[i]), UTCP_ERR_RANGE);
  }
  assert_int_equal(connection_stats(p.ab).coupled_congestion, 0);
  const int all[] = { BBR, NEWRENO, CUBIC };
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(utcp_connection_set_congestion(p.ab, all[i]), UTCP_OK);
    assert_int_equal(connection_stats(p.ab).coupled_congestion, all[i]);
    assert_int_equal(utcp_circuit_set_congestion(c.a, all[i]), UTCP_OK);
    assert_int_equal(circuit_info(c.a).congestion, all[i]);
  }
  /* The control circuit shares like any other. */
  assert_int_equal(utcp_circuit_set_coupled(utcp_connection_control(p.ab), 1), UTCP_OK);
  assert_int_equal(circuit_info(utcp_connection_control(p.ab)).coupled, 1);

  assert_int_equal(utcp_circuit_set_coupled(c.a, 1), UTCP_OK);
  assert_int_equal(utcp_circuit_abort(c.a), UTCP_OK);
  assert_int_equal(utcp_circuit_set_coupled(c.a, 1), UTCP_ERR_CLOSED);
  RUN_UNTIL(p.net, 10 * SECOND, host_circuit_closed(p.b, c.b));
  assert_int_equal(utcp_circuit_set_coupled(c.b, 0), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  assert_int_equal(utcp_connection_set_congestion(p.ab, CUBIC), UTCP_ERR_CLOSED);
  RUN_UNTIL(p.net, 10 * SECOND, host_closed(p.b, p.ba));
  assert_int_equal(utcp_connection_set_congestion(p.ba, CUBIC), UTCP_ERR_CLOSED);
  host_stop(p.a);
  assert_int_equal(utcp_connection_set_congestion(p.ab, CUBIC), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_set_coupled(c.a, 1), UTCP_ERR_CLOSED);
}

/* Each control carries data to the end, also when it changes under way, for a circuit and for a window that is shared. */
static void
congestion_control_changes_while_data_flows(void **state)
{
  for (int shared = 0; shared < 2; shared++) {
    struct net *net = shared ? *state : net_new(11);
    struct pair p = pair_new(net, shared ? &coupled : NULL, NULL);
    const int all[] = { BBR, CUBIC, NEWRENO, BBR, NEWRENO, CUBIC };
    p.net->loss = 10;
    begin(&p, 1, 3, 1000000);
    for (unsigned i = 0; received(&p) < 3000000; i++) {
      int next = all[i % 6];
      if (shared)
        assert_int_equal(utcp_connection_set_congestion(p.ab, next), UTCP_OK);
      for (unsigned j = 0; !shared && j < 3; j++) {
        int rc = utcp_circuit_set_congestion(p.a->streams[j]->circuit, next);
        assert_true(rc == UTCP_OK || host_circuit_closed(p.a, p.a->streams[j]->circuit));
      }
      run_for(p.net, 100 * MS);
      assert_true(i < 10000);
    }
    complete(&p, 3000000);
    if (!shared)
      assert_int_equal(net_free(net), 0);
  }
}

/* The rate is visible, and follows the cap. */
static void
pacing_is_visible(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  begin(&p, 1, 1, 500000);
  run_for(p.net, 200 * MS);
  utcp_circuit *circuit = p.a->streams[0]->circuit;
  utcp_circuit_info x = circuit_info(circuit);
  assert_true(x.srtt > 0 && x.pacing_rate > x.cwnd);
  assert_int_equal(utcp_circuit_set_rate(circuit, 100000), UTCP_OK);
  assert_int_equal(circuit_info(circuit).pacing_rate, 100000);
  complete(&p, 500000);
}

/* The last segment is lost, once: repaired without a timeout. */
static int
drop_the_last(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len)
{
  (void)from;
  (void)data;
  struct pair *p = net->user;
  static uint64_t sent;
  if (to != p->b || len < 200)
    return 0;
  sent++;
  return sent == 3;
}

static void
tail_loss_is_visible(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  run_for(p.net, 5 * SECOND);
  p.net->user = &p;
  p.net->filter = drop_the_last;
  begin(&p, 1, 1, 3500);
  complete(&p, 3500);
  utcp_circuit_info x = circuit_info(p.a->streams[0]->circuit);
  assert_int_equal(x.tail_loss_probes, 1);
  assert_int_equal(x.timeouts, 0);
  assert_int_equal(x.spurious_recoveries, 0);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(marks_slow_down_without_loss),
    NET_TEST(ecn_takes_two),
    NET_TEST(marks_are_ignored_without_the_option),
    NET_TEST(circuits_share_a_window),
    NET_TEST(sharing_can_be_switched),
    NET_TEST(values_and_ends),
    NET_TEST(congestion_control_changes_while_data_flows),
    NET_TEST(pacing_is_visible),
    NET_TEST(tail_loss_is_visible),
  };
  return cmocka_run_group_tests_name("congestion", tests, NULL, NULL);
}
