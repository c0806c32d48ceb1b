/* Counters: they add up, between circuits and connection, between connection and endpoint, between both ends. */
#include "pair.h"

static void
transfer(struct pair *p, unsigned circuits, uint64_t total)
{
  p->b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  for (unsigned i = 0; i < circuits; i++) {
    struct stream *s = stream_new(p->a, open_circuit(p->a, p->ab, 100 + i));
    s->out_seed = s->in_seed = 100 + i;
    s->out_total = total;
    stream_pump(s);
  }
  for (unsigned i = 0; i < circuits; i++)
    RUN_UNTIL(p->net, 600 * SECOND, p->a->streams[i]->in_done == total);
  /* Until the last acknowledgement. */
  run_for(p->net, 60 * SECOND);
}

static void
clean_transfer_adds_up(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  const unsigned n = 5;
  const uint64_t total = 100000;
  transfer(&p, n, total);
  utcp_connection_stats a = connection_stats(p.ab), b = connection_stats(p.ba);
  utcp_endpoint_stats ea = endpoint_stats(p.a), eb = endpoint_stats(p.b);

  uint64_t sent = 0, received = 0, segments = 0;
  for (unsigned i = 0; i < n; i++) {
    utcp_circuit_info x = circuit_info(p.a->streams[i]->circuit), y = circuit_info(p.b->streams[i]->circuit);
    assert_int_equal(x.number, 100 + i);
    assert_int_equal(y.number, 100 + i);
    assert_int_equal(x.wire_id, y.wire_id);
    assert_int_equal(x.state, UTCP_TCP_ESTABLISHED);
    assert_int_equal(x.bytes_sent, total);
    assert_int_equal(x.bytes_acked, total);
    assert_int_equal(x.bytes_received, total);
    assert_int_equal(x.bytes_retransmitted, 0);
    assert_int_equal(x.segments_retransmitted, 0);
    assert_int_equal(x.timeouts, 0);
    assert_int_equal(x.bytes_in_flight, 0);
    assert_int_equal(x.send_queue, 0);
    assert_int_equal(x.unsent, 0);
    assert_int_equal(x.receive_queue, 0);
    assert_int_equal(x.out_of_order, 0);
    assert_int_equal(x.segments_sent, y.segments_received);
    assert_int_equal(y.segments_sent, x.segments_received);
    assert_int_equal(x.duplicate_segments + x.rejected_segments, 0);
    assert_in_range(x.srtt, 2 * p.net->delay, 10 * p.net->delay);
    assert_in_range(x.min_rtt, 2 * p.net->delay, 3 * p.net->delay);
    assert_true(x.rto >= 200 * MS);
    assert_true(x.mss >= 500 && x.mss < 1500);
    assert_true(x.cwnd >= 10 * x.mss);
    assert_true(x.send_window > 0 && x.receive_window > 0);
    sent += x.bytes_sent;
    received += x.bytes_received;
    segments += x.segments_sent;
  }
  assert_int_equal(a.payload_sent, sent);
  assert_int_equal(a.payload_received, received);
  assert_int_equal(b.payload_sent, received);
  assert_int_equal(b.payload_received, sent);
  assert_true(a.segments_sent >= segments); /* and control's */
  assert_int_equal(a.segments_sent, b.segments_received);
  assert_int_equal(b.segments_sent, a.segments_received);
  assert_int_equal(a.segments_retransmitted + b.segments_retransmitted, 0);
  assert_int_equal(a.circuits, n + 1);
  assert_int_equal(b.circuits, n + 1);
  assert_int_equal(a.circuits_opened, n);
  assert_int_equal(b.circuits_accepted, n);
  assert_int_equal(a.circuits_accepted + b.circuits_opened + a.circuits_reset + b.circuits_reset, 0);
  assert_int_equal(a.dropped_record + a.dropped_plaintext_alert + a.dropped_version + a.dropped_malformed +
                   a.dropped_unknown_circuit + a.dropped_out_of_window + a.dropped_limit + a.dropped_memory +
                   a.dropped_peer_handshake + a.dropped_path_probe, 0);
  assert_int_equal(a.path_black_holes, 0);
  assert_true(a.path_probes_sent > 0);
  assert_in_range(a.srtt, 2 * p.net->delay, 10 * p.net->delay);
  assert_in_range(a.min_rtt, 2 * p.net->delay, 3 * p.net->delay);
  assert_in_range(a.datagram_size, 576, 1472);

  /* What the network saw. */
  assert_int_equal(ea.datagrams_sent, p.a->tx_datagrams);
  assert_int_equal(ea.bytes_sent, p.a->tx_octets);
  assert_int_equal(eb.datagrams_sent, p.b->tx_datagrams);
  assert_int_equal(ea.datagrams_received, p.a->rx_datagrams);
  assert_int_equal(ea.bytes_received, p.a->rx_octets);
  assert_int_equal(eb.datagrams_received, ea.datagrams_sent);
  assert_int_equal(eb.bytes_received, ea.bytes_sent);
  assert_true(a.datagrams_sent <= ea.datagrams_sent && a.datagrams_sent > 0);
  assert_true(a.bytes_sent <= ea.bytes_sent && a.bytes_sent > sent);
  assert_int_equal(ea.connections, 1);
  assert_int_equal(eb.connections, 1);
  assert_int_equal(ea.half_open + eb.half_open, 0);
  assert_int_equal(ea.circuits, n + 1);
  assert_int_equal(ea.memory, 0);
  assert_int_equal(a.memory + b.memory, 0);
  assert_int_equal(ea.memory_budget, 1 << 30);
  assert_in_range(ea.memory_peak, 1, 1 << 30);
  assert_int_equal(ea.writes_refused + ea.windows_held + ea.bytes_reneged + ea.dropped_out_of_order +
                   ea.dropped_in_order, 0);
  assert_int_equal(ea.output_queue, 0);
  assert_int_equal(ea.handshakes_completed, 1);
  assert_int_equal(eb.handshakes_completed, 1);
  assert_int_equal(ea.handshakes_started, 1);
  assert_int_equal(eb.handshakes_started, 1);
  assert_int_equal(ea.handshakes_failed + eb.handshakes_failed, 0);
  assert_int_equal(eb.cookies_sent, 1);
  assert_int_equal(ea.dropped_not_dtls + ea.dropped_unknown_peer + ea.dropped_bad_cookie + ea.dropped_refusing +
                   ea.dropped_limit + ea.dropped_output_full + ea.dropped_address, 0);
}

static void
loss_shows_as_retransmission(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.net->loss = 30;
  const unsigned n = 3;
  const uint64_t total = 300000;
  transfer(&p, n, total);
  utcp_connection_stats a = connection_stats(p.ab);
  uint64_t retransmitted = 0;
  for (unsigned i = 0; i < n; i++) {
    utcp_circuit_info x = circuit_info(p.a->streams[i]->circuit);
    assert_int_equal(x.bytes_sent, total); /* first transmissions */
    assert_int_equal(x.bytes_acked, total);
    assert_true(x.segments_retransmitted > 0);
    assert_true(x.bytes_retransmitted > 0);
    assert_true(x.fast_recoveries + x.timeouts > 0);
    assert_int_equal(p.a->streams[i]->wrong, 0);
    retransmitted += x.segments_retransmitted;
  }
  assert_true(a.segments_retransmitted >= retransmitted);
  assert_int_equal(a.payload_sent, n * total);
  assert_int_equal(endpoint_stats(p.a).datagrams_sent, p.a->tx_datagrams);
  assert_int_equal(endpoint_stats(p.b).datagrams_received, p.b->rx_datagrams);
  assert_true(p.b->rx_datagrams < p.a->tx_datagrams);
}

/* A segment that was corrupted on the way is a record that does not authenticate, and nothing else. */
static void
corruption_shows_as_dropped_records(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.net->corrupt = 50;
  transfer(&p, 2, 200000);
  utcp_connection_stats b = connection_stats(p.ba);
  utcp_endpoint_stats eb = endpoint_stats(p.b);
  assert_true(b.dropped_record + b.dropped_version + b.dropped_peer_handshake + b.dropped_plaintext_alert +
              eb.dropped_not_dtls > 0);
  assert_int_equal(b.dropped_malformed, 0); /* behind authentication all is well */
  for (unsigned i = 0; i < 2; i++)
    assert_int_equal(p.a->streams[i]->wrong + p.b->streams[i]->wrong, 0);
}

static void
duplicates_are_recognized(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.net->duplicate = 300;
  transfer(&p, 2, 200000);
  utcp_connection_stats b = connection_stats(p.ba);
  assert_true(b.dropped_record > 0); /* replays */
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(p.b->streams[i]->in_done, 200000);
    assert_int_equal(circuit_info(p.b->streams[i]->circuit).bytes_received, 200000);
    assert_int_equal(circuit_info(p.a->streams[i]->circuit).segments_retransmitted, 0);
  }
}

/* While data is on its way. */
static void
queues_are_visible(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  run_for(p.net, SECOND);
  uint8_t data[16000] = { 0 };
  size_t len;
  assert_int_equal(utcp_circuit_write(c.a, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(len, sizeof data);
  utcp_circuit_info x = circuit_info(c.a);
  assert_int_equal(x.send_queue, sizeof data);
  assert_int_equal(x.unsent + x.bytes_in_flight, sizeof data);
  assert_int_equal(utcp_endpoint_process(p.a->endpoint, p.net->now), UTCP_OK);
  x = circuit_info(c.a);
  assert_int_equal(x.send_queue, sizeof data);
  assert_int_equal(x.unsent + x.bytes_in_flight, sizeof data);
  assert_true(x.bytes_in_flight > 0);
  assert_true(x.bytes_in_flight <= x.cwnd);
  assert_int_equal(utcp_endpoint_memory(p.a->endpoint) >= sizeof data, 1);
  RUN_UNTIL(p.net, 20 * SECOND, utcp_circuit_readable(c.b) == sizeof data);
  assert_int_equal(circuit_info(c.b).receive_queue, sizeof data);
  run_for(p.net, SECOND);
  assert_int_equal(circuit_info(c.a).send_queue, 0);
  assert_true(circuit_info(c.a).delivery_rate > 0);
}

static void
states_of_tcp(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  utcp_circuit *x = open_circuit(p.a, p.ab, 3);
  assert_int_equal(circuit_info(x).state, UTCP_TCP_SYN_SENT);
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(x).state == UTCP_TCP_ESTABLISHED);
  utcp_circuit *y = host_last(p.b, EV_CIRCUIT_INCOMING)->circuit;
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(y).state == UTCP_TCP_ESTABLISHED);
  assert_int_equal(utcp_circuit_finish(x), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(x).state == UTCP_TCP_FIN_WAIT_1);
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(y).state == UTCP_TCP_CLOSE_WAIT);
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(x).state == UTCP_TCP_FIN_WAIT_2);
  assert_int_equal(utcp_circuit_finish(y), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(y).state == UTCP_TCP_LAST_ACK);
  RUN_UNTIL(p.net, 10 * SECOND, circuit_info(y).state == UTCP_TCP_CLOSED);
  RUN_UNTIL(p.net, 10 * SECOND,
            circuit_info(x).state == UTCP_TCP_TIME_WAIT || circuit_info(x).state == UTCP_TCP_CLOSED);
  RUN_UNTIL(p.net, 600 * SECOND, circuit_info(x).state == UTCP_TCP_CLOSED || host_circuit_closed(p.a, x));
}

/* The last values stay readable after the end. */
static void
statistics_outlive_the_connection(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  transfer(&p, 1, 50000);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, host_closed(p.a, p.ab) && host_closed(p.b, p.ba));
  utcp_connection_stats a = connection_stats(p.ab);
  assert_int_equal(a.state, UTCP_CONNECTION_CLOSED);
  assert_int_equal(a.payload_sent, 50000);
  utcp_circuit_info x = circuit_info(p.a->streams[0]->circuit);
  assert_int_equal(x.state, UTCP_TCP_CLOSED);
  assert_int_equal(x.bytes_acked, 50000);
  assert_int_equal(endpoint_stats(p.a).connections, 0);
  assert_int_equal(endpoint_stats(p.a).circuits, 0);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(clean_transfer_adds_up),
    NET_TEST(loss_shows_as_retransmission),
    NET_TEST(corruption_shows_as_dropped_records),
    NET_TEST(duplicates_are_recognized),
    NET_TEST(queues_are_visible),
    NET_TEST(states_of_tcp),
    NET_TEST(statistics_outlive_the_connection),
  };
  return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
