/* Random operations: three hosts do anything at any time, also inside callbacks, over a network that does anything to
 * their datagrams, and now and then one of them starts again. No answer may be one that the call does not have, no
 * octet may be wrong, and when everything is freed nothing may be left. */
#include "pair.h"

enum { HOSTS = 3 };

struct world {
  struct net *net;
  struct host *hosts[HOSTS];
  unsigned inside;     /* depth of callbacks: the library refuses to be re-entered, so this is 0 or 1 */
  int unexpected;      /* line of the first answer that should not be */
  unsigned operations, failed_frees;
  uint64_t octets;
};

/* Notes an answer that is none of OK, STATE, CLOSED and `also`. */
static void
check(struct world *w, int line, int rc, int also)
{
  w->operations++;
  if (rc != UTCP_OK && rc != UTCP_ERR_STATE && rc != UTCP_ERR_CLOSED && rc != also && !w->unexpected) {
    w->unexpected = line;
    print_error("unexpected answer %d\n", rc);
  }
}
#define CHECK(rc, also) check(w, __LINE__, rc, also)

static uint64_t
pick(struct world *w, uint64_t n)
{
  return net_random(w->net) % n;
}

static void *
pick_handle(struct world *w, struct host *h, int is_circuit)
{
  if (!h->handle_count)
    return NULL;
  size_t start = pick(w, h->handle_count);
  for (size_t i = 0; i < h->handle_count; i++) {
    size_t at = (start + i) % h->handle_count;
    if (h->handles[at].is_circuit == is_circuit)
      return h->handles[at].handle;
  }
  return NULL;
}

static void
attach(struct host *h, utcp_circuit *circuit)
{
  struct stream *s = stream_new(h, circuit);
  s->out_seed = s->in_seed = utcp_circuit_number(circuit);
}

static void
circuit_operation(struct world *w, struct host *h, utcp_circuit *circuit)
{
  struct stream *s = stream_of(circuit);
  switch (pick(w, 12)) {
  case 0:
  case 1:
  case 2:
  case 3:
    s->out_total += pick(w, 20000);
    stream_pump(s);
    break;
  case 4:
    stream_pump(s);
    break;
  case 5:
    CHECK(utcp_circuit_finish(circuit), UTCP_OK);
    break;
  case 6:
    CHECK(utcp_circuit_close(circuit), UTCP_OK);
    break;
  case 7:
    if (!pick(w, 3))
      CHECK(utcp_circuit_abort(circuit), UTCP_OK);
    break;
  case 8:
    if (!pick(w, 2)) {
      host_untrack(h, circuit);
      CHECK(utcp_circuit_free(circuit), UTCP_OK);
    }
    break;
  case 9:
    CHECK(utcp_circuit_set_events(circuit, (unsigned)pick(w, 4)), UTCP_OK);
    break;
  case 10:
    CHECK(utcp_circuit_set_rate(circuit, pick(w, 3) ? 0 : 1000 + pick(w, 1000000)), UTCP_OK);
    CHECK(utcp_circuit_set_priority(circuit, 1 + (unsigned)pick(w, 255)), UTCP_OK);
    break;
  default:
    CHECK(utcp_circuit_set_send_buffer(circuit, 4096 + pick(w, 200000)), UTCP_OK);
    CHECK(utcp_circuit_set_receive_buffer(circuit, 4096 + pick(w, 200000)), UTCP_OK);
    CHECK(utcp_circuit_set_congestion(circuit, 1 + (int)pick(w, 3)), UTCP_OK);
    CHECK(utcp_circuit_set_coupled(circuit, (int)pick(w, 2)), UTCP_OK);
  }
}

static void
connection_operation(struct world *w, struct host *h, utcp_connection *connection)
{
  utcp_circuit *circuit = NULL;
  utcp_connection_stats stats = { .size = sizeof stats };
  int rc;
  switch (pick(w, 20)) {
  case 0:
    CHECK(utcp_connection_close(connection), UTCP_OK);
    break;
  case 1:
    host_untrack(h, connection);
    CHECK(utcp_connection_free(connection), UTCP_OK);
    break;
  case 2:
    CHECK(utcp_connection_hold(connection, 1), UTCP_OK);
    break;
  case 3:
    CHECK(utcp_connection_hold(connection, 0), UTCP_OK);
    break;
  case 4:
    CHECK(utcp_connection_get_stats(connection, &stats), UTCP_OK);
    break;
  case 5:
    CHECK(utcp_connection_set_congestion(connection, 1 + (int)pick(w, 3)), UTCP_OK);
    break;
  default:
    /* Few numbers, so that they collide and are used again. */
    rc = utcp_connection_open_circuit(connection, 1 + (uint32_t)pick(w, 12), &circuit);
    CHECK(rc, rc == UTCP_ERR_LIMIT ? rc : UTCP_ERR_IN_USE);
    if (circuit) {
      host_track_circuit(h, circuit);
      attach(h, circuit);
    }
  }
}

static void
endpoint_operation(struct world *w, struct host *h)
{
  struct host *peer = w->hosts[pick(w, HOSTS)];
  const struct identity *id = h->identity;
  utcp_connection *connection = NULL;
  uint64_t shed;
  switch (pick(w, 12)) {
  case 0:
    CHECK(utcp_endpoint_shed(h->endpoint, pick(w, 50000), &shed), UTCP_OK);
    break;
  case 1:
    CHECK(utcp_endpoint_set_accepting(h->endpoint, pick(w, 4) != 0), UTCP_OK);
    break;
  case 2:
    CHECK(utcp_endpoint_set_certificate(h->endpoint, id->chain, id->chain_len, id->key, id->key_len), UTCP_OK);
    break;
  case 3:
    h->tx_limit = pick(w, 2) ? SIZE_MAX : pick(w, 3);
    break;
  default:
    CHECK(utcp_endpoint_connect(h->endpoint, w->net->now, host_address(peer), peer->address_len,
                                pick(w, 4) ? NULL : peer->identity->pin, &connection), UTCP_ERR_IN_USE);
    if (connection)
      host_track_connection(h, connection);
  }
}

static void
operation(struct world *w, struct host *h)
{
  uint64_t kind = pick(w, 10);
  void *handle = kind ? pick_handle(w, h, kind < 7) : NULL;
  if (!handle)
    endpoint_operation(w, h);
  else if (kind < 7)
    circuit_operation(w, h, handle);
  else
    connection_operation(w, h, handle);
}

/* Any event: goes on as a relay would, or does anything else. Whatever it is about may be gone afterwards. */
static int
on_event(struct host *h, const struct event *event)
{
  struct world *w = h->user;
  if (w->inside++ && !w->unexpected)
    w->unexpected = __LINE__;
  int refused = 0;
  if (event->kind == EV_CIRCUIT_INCOMING) {
    attach(h, event->circuit);
    refused = !pick(w, 10);
  } else if (event->kind == EV_INCOMING || event->kind == EV_VERIFY) {
    refused = !pick(w, 20);
  } else if (event->kind == EV_READABLE || event->kind == EV_WRITABLE) {
    if (stream_of(event->circuit))
      stream_on_event(event);
  }
  /* What is refused belongs to the library again: hands off. */
  if (!refused && !pick(w, 3))
    operation(w, h);
  w->inside--;
  return refused;
}

static void
set_up_host(struct world *w, struct host *h)
{
  h->user = w;
  for (int kind = 0; kind < EV_KINDS; kind++)
    h->hook[kind] = on_event;
}

static const struct host_options options = {
  .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 10 * SECOND },
           { UTCP_OPTION_DEAD_TIMEOUT, 30 * SECOND },
           { UTCP_OPTION_MEMORY_BUDGET, 1 << 20 },
           { UTCP_OPTION_MAX_CIRCUITS, 10 } },
};

static void
live(uint64_t seed, unsigned steps)
{
  struct net *net = net_new(seed * 977 + 13);
  struct world world = { .net = net }, *w = &world;
  for (int i = 0; i < HOSTS; i++) {
    w->hosts[i] = host_new(net, &options);
    set_up_host(w, w->hosts[i]);
  }
  net->loss = (unsigned)pick(w, 60);
  net->reorder = (unsigned)pick(w, 100);
  net->duplicate = (unsigned)pick(w, 50);
  net->corrupt = (unsigned)pick(w, 30);
  for (unsigned i = 0; i < steps; i++) {
    size_t at = pick(w, HOSTS);
    if (!pick(w, 400) && net->host_count < 40) {
      host_stop(w->hosts[at]);
      w->hosts[at] = host_restart(w->hosts[at], &options);
      set_up_host(w, w->hosts[at]);
    }
    for (uint64_t n = pick(w, 4); n > 0; n--)
      operation(w, w->hosts[at]);
    if (pick(w, 10))
      for (uint64_t n = pick(w, 10); n > 0; n--)
        net_step(net, net->now + SECOND);
    else
      run_for(net, pick(w, 3 * SECOND));
  }

  /* The end: a sound network, nobody does anything any more, and all handles are freed. */
  net->loss = net->reorder = net->duplicate = net->corrupt = 0;
  for (size_t i = 0; i < net->host_count; i++) {
    struct host *h = net->hosts[i];
    memset(h->hook, 0, sizeof h->hook);
    h->tx_limit = SIZE_MAX;
    for (size_t j = 0; j < h->stream_count; j++)
      w->octets += h->streams[j]->in_done;
    for (size_t j = 0; j < h->stream_count; j++)
      if (h->streams[j]->wrong)
        fail_msg("seed %llu: %d octets of a circuit are wrong", (unsigned long long)seed, h->streams[j]->wrong);
    while (h->handle_count) {
      void *handle = h->handles[0].handle;
      int is_circuit = h->handles[0].is_circuit;
      host_untrack(h, handle);
      w->failed_frees += (is_circuit ? utcp_circuit_free(handle) : utcp_connection_free(handle)) != UTCP_OK;
    }
    h->answer[EV_INCOMING] = 1;
    if (h->endpoint)
      utcp_endpoint_process(h->endpoint, net->now);
  }
  run_for(net, 600 * SECOND);
  if (w->unexpected)
    fail_msg("seed %llu: an answer that should not be, in line %d", (unsigned long long)seed, w->unexpected);
  assert_int_equal(w->failed_frees, 0);
  for (int i = 0; i < HOSTS; i++) {
    struct host *h = w->hosts[i];
    utcp_endpoint_stats s = endpoint_stats(h);
    if (s.connections || s.half_open || s.circuits || s.memory || s.output_queue)
      fail_msg("seed %llu, host %d: %llu connections, %llu half open, %llu circuits, %llu octets, %llu datagrams left",
               (unsigned long long)seed, i, (unsigned long long)s.connections, (unsigned long long)s.half_open,
               (unsigned long long)s.circuits, (unsigned long long)s.memory, (unsigned long long)s.output_queue);
    if (utcp_endpoint_next_deadline(h->endpoint) != UINT64_MAX)
      fail_msg("seed %llu, host %d: a deadline is left", (unsigned long long)seed, i);
    assert_int_equal(h->tx_invalid + h->tx_reordered, 0);
  }
  print_message("seed %llu: %u operations, %llu octets\n", (unsigned long long)seed, w->operations,
                (unsigned long long)w->octets);
  assert_true(w->operations > steps / 4);
  assert_int_equal(net_free(net), 0);
}

static void
anything_at_any_time(void **state)
{
  (void)state;
  const char *one = getenv("UTCP_TEST_SEED");
  if (one) {
    live(strtoull(one, NULL, 10), 2000);
    return;
  }
  for (uint64_t seed = 1; seed <= scaled(20, 2); seed++)
    live(seed, scaled(2000, 400));
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(anything_at_any_time),
  };
  return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
