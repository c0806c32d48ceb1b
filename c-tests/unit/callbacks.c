/* What the relay may do from inside of each callback, and what it may not.
 *
 * Each test lives a whole life (connect, circuits, data both ways, close) in which one callback of one side does
 * something once. Afterwards the endpoint must still serve another peer. */
#include "pair.h"

struct act {
  const char *name;
  /* Returns 0 if every call answered as it should. */
  int (*run)(struct host *host, const struct event *event);
  int for_circuits; /* makes sense only where a circuit is at hand */
};

/* The one thing that is done in the life at hand. */
struct scene {
  const struct act *act;
  int done;
  int result;
};

/* Notes the line of the first call that answered otherwise. */
#define EXPECT(call, expected)              \
  do {                                      \
    if ((call) != (expected))               \
      return __LINE__;                      \
  } while (0)

static utcp_connection *
connection_of(const struct event *event)
{
  return event->connection ? event->connection : utcp_circuit_connection(event->circuit);
}

/* ---- acts ---- */

static int
act_banned(struct host *h, const struct event *event)
{
  (void)event;
  uint8_t data[20] = { 0 };
  utcp_datagram datagram = { .address = host_address(h), .address_len = h->address_len, .data = data,
                             .len = sizeof data };
  uint64_t now = h->net->now;
  EXPECT(utcp_endpoint_inject(h->endpoint, now, host_address(h), h->address_len, data, sizeof data), UTCP_ERR_BUSY);
  EXPECT(utcp_endpoint_inject_batch(h->endpoint, now, &datagram, 1), UTCP_ERR_BUSY);
  EXPECT(utcp_endpoint_process(h->endpoint, now), UTCP_ERR_BUSY);
  EXPECT(utcp_endpoint_free(h->endpoint), UTCP_ERR_BUSY);
  return 0;
}

/* Everything that only looks, or sets what is set already. */
static int
act_look(struct host *h, const struct event *event)
{
  utcp_connection *connection = connection_of(event), *found = NULL;
  utcp_endpoint_stats endpoint = { .size = sizeof endpoint };
  utcp_connection_stats stats = { .size = sizeof stats };
  struct sockaddr_in6 address;
  socklen_t len = sizeof address;
  uint64_t shed = 1;
  utcp_endpoint_next_deadline(h->endpoint);
  utcp_endpoint_memory(h->endpoint);
  EXPECT(utcp_endpoint_get_stats(h->endpoint, &endpoint), UTCP_OK);
  EXPECT(utcp_endpoint_set_accepting(h->endpoint, 1), UTCP_OK);
  EXPECT(utcp_endpoint_set_certificate(h->endpoint, h->identity->chain, h->identity->chain_len, h->identity->key,
                                       h->identity->key_len), UTCP_OK);
  EXPECT(utcp_endpoint_shed(h->endpoint, 0, &shed), UTCP_OK);
  EXPECT(utcp_endpoint_set_memory_budget(h->endpoint, 1 << 20), UTCP_OK);
  EXPECT(shed, 0);
  EXPECT(utcp_connection_address(connection, (struct sockaddr *)&address, &len), UTCP_OK);
  EXPECT(utcp_connection_get_stats(connection, &stats), UTCP_OK);
  if (event->kind != EV_CLOSED) {
    EXPECT(utcp_endpoint_find(h->endpoint, (struct sockaddr *)&address, len, &found), UTCP_OK);
    EXPECT(found == connection, 1);
    EXPECT(utcp_connection_role(connection) > 0, 1);
    EXPECT(utcp_connection_hold(connection, 0), UTCP_OK);
  }
  if (event->kind == EV_VERIFY)
    EXPECT(utcp_connection_ssl(connection) == event->ssl, 1);
  void *user = utcp_connection_user(connection);
  utcp_connection_set_user(connection, user);
  if (event->circuit) {
    utcp_circuit_info info = { .size = sizeof info };
    EXPECT(utcp_circuit_get_info(event->circuit, &info), UTCP_OK);
    EXPECT(info.number == utcp_circuit_number(event->circuit), 1);
    utcp_circuit_readable(event->circuit);
    utcp_circuit_room(event->circuit);
    if (event->kind != EV_CIRCUIT_CLOSED) {
      EXPECT(utcp_circuit_set_events(event->circuit, UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE), UTCP_OK);
      EXPECT(utcp_circuit_set_priority(event->circuit, 16), UTCP_OK);
      EXPECT(utcp_circuit_set_rate(event->circuit, 0), UTCP_OK);
      EXPECT(utcp_circuit_set_congestion(event->circuit, UTCP_CONGESTION_CUBIC), UTCP_OK);
    }
  }
  return 0;
}

/* Opening, writing, reading, finishing, connecting: what relaying is. */
static int
act_work(struct host *h, const struct event *event)
{
  utcp_connection *connection = connection_of(event), *elsewhere = NULL;
  struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_port = htons(99), .sin_addr.s_addr = htonl(0x0a000009) };
  EXPECT(utcp_endpoint_connect(h->endpoint, h->net->now, (struct sockaddr *)&nobody, sizeof nobody, NULL, &elsewhere),
         UTCP_OK);
  host_track_connection(h, elsewhere);
  utcp_circuit *circuit = NULL;
  int expected = event->kind == EV_INCOMING || event->kind == EV_VERIFY ? UTCP_ERR_STATE
                 : event->kind == EV_CLOSED                             ? UTCP_ERR_CLOSED
                                                                        : UTCP_OK;
  EXPECT(utcp_connection_open_circuit(connection, 77, &circuit), expected);
  if (circuit) {
    uint8_t data[3000];
    size_t len = 0;
    host_track_circuit(h, circuit);
    pattern(77, 0, data, sizeof data);
    EXPECT(utcp_circuit_write(circuit, data, sizeof data, &len), UTCP_OK);
    EXPECT(len, sizeof data);
    EXPECT(utcp_circuit_read(circuit, data, sizeof data, &len), UTCP_ERR_WOULD_BLOCK);
    EXPECT(utcp_circuit_finish(circuit), UTCP_OK);
    EXPECT(utcp_circuit_write(utcp_connection_control(connection), data, 5, &len), UTCP_OK);
  }
  return 0;
}

static int
act_free_circuit(struct host *h, const struct event *event)
{
  host_untrack(h, event->circuit);
  EXPECT(utcp_circuit_free(event->circuit), UTCP_OK);
  EXPECT(utcp_circuit_free(event->circuit), UTCP_ERR_HANDLE);
  return 0;
}

static int
act_close_circuit(struct host *h, const struct event *event)
{
  (void)h;
  EXPECT(utcp_circuit_close(event->circuit), event->kind == EV_CIRCUIT_CLOSED ? UTCP_ERR_CLOSED : UTCP_OK);
  return 0;
}

static int
act_abort_circuit(struct host *h, const struct event *event)
{
  (void)h;
  EXPECT(utcp_circuit_abort(event->circuit), event->kind == EV_CIRCUIT_CLOSED ? UTCP_ERR_CLOSED : UTCP_OK);
  EXPECT(utcp_circuit_abort(event->circuit), UTCP_ERR_CLOSED);
  return 0;
}

static int
act_close_connection(struct host *h, const struct event *event)
{
  (void)h;
  utcp_connection *connection = connection_of(event);
  EXPECT(utcp_connection_close(connection), event->kind == EV_CLOSED ? UTCP_ERR_CLOSED : UTCP_OK);
  EXPECT(utcp_connection_close(connection), UTCP_ERR_CLOSED);
  return 0;
}

static int
act_free_connection(struct host *h, const struct event *event)
{
  utcp_connection *connection = connection_of(event);
  utcp_circuit *opened = NULL;
  host_untrack(h, connection);
  EXPECT(utcp_connection_free(connection), UTCP_OK);
  EXPECT(utcp_connection_free(connection), UTCP_ERR_HANDLE);
  EXPECT(utcp_connection_open_circuit(connection, 78, &opened), UTCP_ERR_HANDLE);
  if (event->circuit) {
    uint8_t data[4];
    size_t len;
    EXPECT(utcp_circuit_connection(event->circuit) == NULL, 1);
    EXPECT(utcp_circuit_read(event->circuit, data, sizeof data, &len), UTCP_ERR_CLOSED);
    EXPECT(utcp_circuit_write(event->circuit, data, sizeof data, &len), UTCP_ERR_CLOSED);
  }
  return 0;
}

/* All handles of this endpoint: the one at hand, its siblings, other peers'. */
static int
act_free_everything(struct host *h, const struct event *event)
{
  (void)event;
  while (h->handle_count) {
    void *handle = h->handles[h->handle_count - 1].handle;
    int is_circuit = h->handles[h->handle_count - 1].is_circuit;
    host_untrack(h, handle);
    if (is_circuit)
      EXPECT(utcp_circuit_free(handle), UTCP_OK);
    else
      EXPECT(utcp_connection_free(handle), UTCP_OK);
  }
  return 0;
}

static const struct act acts[] = {
  { "banned", act_banned, 0 },
  { "look", act_look, 0 },
  { "work", act_work, 0 },
  { "free the circuit", act_free_circuit, 1 },
  { "close the circuit", act_close_circuit, 1 },
  { "abort the circuit", act_abort_circuit, 1 },
  { "close the connection", act_close_connection, 0 },
  { "free the connection", act_free_connection, 0 },
  { "free everything", act_free_everything, 0 },
};

static const char *const kinds[EV_KINDS] = { "connection_incoming", "connection_verify", "connection_ready",
                                             "connection_closed",   "circuit_incoming",  "circuit_readable",
                                             "circuit_writable",    "circuit_closed",    "memory_pressure" };

/* ---- lives ---- */

static int
act_once(struct host *h, const struct event *event)
{
  struct scene *scene = h->user;
  if (!scene->done && scene->act->for_circuits && !event->circuit)
    return 0;
  int first = !scene->done;
  if (first) {
    scene->done = 1;
    scene->result = scene->act->run(h, event);
  }
  /* Go on as usual with what is left. */
  if (event->circuit && host_holds(h, event->circuit)) {
    if (event->kind == EV_CIRCUIT_INCOMING)
      return accept_echo(h, event);
    if ((event->kind == EV_READABLE || event->kind == EV_WRITABLE) && !first)
      stream_on_event(event);
  }
  return 0;
}

static void
start_stream(struct host *h, utcp_connection *connection, uint32_t number, uint64_t total)
{
  utcp_circuit *circuit = NULL;
  if (utcp_connection_open_circuit(connection, number, &circuit))
    return; /* the act has ended it all */
  host_track_circuit(h, circuit);
  struct stream *s = stream_new(h, circuit);
  s->out_seed = s->in_seed = number;
  s->out_total = total;
  s->finish = 1;
  stream_pump(s);
}

static utcp_connection *
find_connection(struct host *h, struct host *peer)
{
  utcp_connection *connection = NULL;
  utcp_endpoint_find(h->endpoint, host_address(peer), peer->address_len, &connection);
  return connection;
}

static void
live(enum event_kind kind, int side, const struct act *act)
{
  struct net *net = net_new(99);
  struct host_options small = { .set = { { UTCP_OPTION_SEND_BUFFER, 8192 } } };
  struct host *a = host_new(net, &small), *b = host_new(net, &small), *c = host_new(net, &small);
  struct host *actor = side ? b : a, *other = side ? a : b;
  struct scene scene = { .act = act };
  actor->user = &scene;
  a->hook[EV_CIRCUIT_INCOMING] = b->hook[EV_CIRCUIT_INCOMING] = c->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  actor->hook[kind] = act_once;

  connect_to(a, b, NULL);
  run_for(net, 2 * SECOND);
  utcp_connection *connection = find_connection(a, b);
  if (connection)
    start_stream(a, connection, 5, 40000);
  connection = find_connection(b, a);
  if (connection)
    start_stream(b, connection, 6, 40000);
  run_for(net, 5 * SECOND);
  connection = find_connection(a, b);
  if (connection)
    utcp_connection_close(connection);
  run_for(net, 5 * SECOND);
  if (!scene.done)
    fail_msg("%s of side %d was never called (%s)", kinds[kind], side, act->name);
  if (scene.result)
    fail_msg("%s in %s of side %d: a call at line %d answered otherwise", act->name, kinds[kind], side, scene.result);

  /* The actor serves others, whatever it did; and so does its peer. */
  actor->hook[kind] = kind == EV_CIRCUIT_INCOMING ? accept_echo : NULL;
  struct host *servers[] = { actor, other };
  for (unsigned i = 0; i < 2; i++) {
    utcp_connection *fresh = connect_to(c, servers[i], NULL);
    RUN_UNTIL(net, 30 * SECOND, host_count_connection(c, EV_READY, fresh));
    start_stream(c, fresh, 9, 20000);
    struct stream *s = c->streams[i];
    RUN_UNTIL(net, 30 * SECOND, s->closed);
    assert_int_equal(s->closed, UTCP_CLOSE_DONE);
    assert_int_equal(s->in_done, 20000);
    assert_int_equal(s->wrong, 0);
  }
  assert_int_equal(a->tx_invalid + b->tx_invalid + c->tx_invalid, 0);
  assert_int_equal(net_free(net), 0);
}

static void
all_acts_in(enum event_kind kind, int both_sides)
{
  for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
    if (acts[i].for_circuits && kind < EV_CIRCUIT_INCOMING)
      continue;
    live(kind, 1, &acts[i]);
    if (both_sides && scaled(1, 0))
      live(kind, 0, &acts[i]);
  }
}

static void in_connection_incoming(void **state) { (void)state; all_acts_in(EV_INCOMING, 0); }
static void in_connection_verify(void **state) { (void)state; all_acts_in(EV_VERIFY, 1); }
static void in_connection_ready(void **state) { (void)state; all_acts_in(EV_READY, 1); }
static void in_connection_closed(void **state) { (void)state; all_acts_in(EV_CLOSED, 1); }
static void in_circuit_incoming(void **state) { (void)state; all_acts_in(EV_CIRCUIT_INCOMING, 1); }
static void in_circuit_readable(void **state) { (void)state; all_acts_in(EV_READABLE, 1); }
static void in_circuit_writable(void **state) { (void)state; all_acts_in(EV_WRITABLE, 1); }
static void in_circuit_closed(void **state) { (void)state; all_acts_in(EV_CIRCUIT_CLOSED, 1); }

/* ---- tx and capture are callbacks as well ---- */

struct in_tx {
  utcp_circuit *circuit;
  int result, calls;
};

static void
tx_that_calls(struct host *h)
{
  struct in_tx *t = h->user;
  uint8_t data[100];
  size_t len;
  pattern(3, 100 * (uint64_t)t->calls, data, sizeof data);
  int result = act_banned(h, NULL);
  if (!result && t->calls < 50 && utcp_circuit_write(t->circuit, data, sizeof data, &len) != UTCP_OK)
    result = __LINE__;
  t->calls++;
  if (result && !t->result)
    t->result = result;
}

/* A write from inside tx goes out too, though nothing else happens. */
static void
in_tx(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  struct in_tx t = { .circuit = open_circuit(p.a, p.ab, 3) };
  p.a->user = &t;
  p.a->tx_hook = tx_that_calls;
  RUN_UNTIL(p.net, 60 * SECOND, t.calls >= 50);
  p.a->tx_hook = NULL;
  assert_int_equal(t.result, 0);
  RUN_UNTIL(p.net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->in_done == 5000);
  assert_int_equal(p.b->streams[0]->wrong, 0);
}

static void
capture_that_calls(void *user, const uint8_t *data, size_t len)
{
  (void)data, (void)len;
  struct host *h = user;
  struct in_tx *t = h->user;
  size_t written;
  int result = act_banned(h, NULL);
  if (!result && t->calls++ == 0 && utcp_circuit_write(t->circuit, (const uint8_t *)"x", 1, &written) != UTCP_OK)
    result = __LINE__;
  /* It may even take itself off. */
  if (!result && t->calls > 3 && utcp_endpoint_set_capture(h->endpoint, NULL, NULL) != UTCP_OK)
    result = __LINE__;
  if (result && !t->result)
    t->result = result;
}

static void
in_capture(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  struct in_tx t = { .circuit = c.a };
  p.a->user = &t;
  assert_int_equal(utcp_endpoint_set_capture(p.a->endpoint, capture_that_calls, p.a), UTCP_OK);
  size_t len;
  for (int i = 0; i < 10; i++) {
    assert_int_equal(utcp_circuit_write(c.b, (const uint8_t *)"y", 1, &len), UTCP_OK);
    run_for(p.net, SECOND);
  }
  assert_int_equal(t.result, 0);
  assert_int_equal(t.calls, 4);
  assert_int_equal(utcp_circuit_readable(c.b), 1);
}

/* ---- a relay that wants to hear of nothing ---- */

static void
without_any_callback(void **state)
{
  struct net *net = *state;
  utcp_callbacks none = { .size = sizeof none };
  static const struct host_options plain;
  struct host *a = HOST(net), *b = HOST(net);
  host_stop(b);
  utcp_config *config = host_config(&plain, b->identity);
  assert_int_equal(utcp_endpoint_new(config, &none, NULL, &b->endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
  utcp_connection *ab = connect_to(a, b, NULL), *ba = NULL;
  run_for(net, SECOND);
  /* Nothing gets out of it, but nothing breaks either. */
  assert_int_equal(utcp_endpoint_connect(b->endpoint, net->now, host_address(a), a->address_len, NULL, &ba), UTCP_OK);
  run_for(net, 300 * SECOND);
  assert_int_equal(host_closed(a, ab), UTCP_CLOSE_HANDSHAKE);
  assert_int_equal(connection_stats(ba).state, 3);
  assert_true(endpoint_stats(b).output_queue <= 1024);
  assert_int_equal(utcp_connection_free(ba), UTCP_OK);
}

/* Only verify and tx: connections come and go without anybody freeing handles that it never saw. */
static void
accepting_without_being_told(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net);
  struct host *b = HOST(net, .without = 1u << EV_INCOMING | 1u << EV_READY | 1u << EV_CLOSED |
                                        1u << EV_CIRCUIT_INCOMING | 1u << EV_CIRCUIT_CLOSED);
  for (int i = 0; i < 3; i++) {
    utcp_connection *ab = connect_to(a, b, NULL);
    RUN_UNTIL(net, 20 * SECOND, host_count_connection(a, EV_READY, ab));
    open_circuit(a, ab, 3);
    run_for(net, SECOND);
    free_connection(a, ab);
    RUN_UNTIL(net, 20 * SECOND, endpoint_stats(b).connections == 0);
  }
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(in_connection_incoming),
    cmocka_unit_test(in_connection_verify),
    cmocka_unit_test(in_connection_ready),
    cmocka_unit_test(in_connection_closed),
    cmocka_unit_test(in_circuit_incoming),
    cmocka_unit_test(in_circuit_readable),
    cmocka_unit_test(in_circuit_writable),
    cmocka_unit_test(in_circuit_closed),
    NET_TEST(in_tx),
    NET_TEST(in_capture),
    NET_TEST(without_any_callback),
    NET_TEST(accepting_without_being_told),
  };
  return cmocka_run_group_tests_name("callbacks", tests, NULL, NULL);
}
