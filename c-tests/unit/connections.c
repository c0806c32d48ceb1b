/* Connections: making, finding, refusing, simultaneous open, restart of a peer, ends. */
#include "pair.h"

static void
connect_and_look(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  utcp_connection *ab = connect_to(a, b, NULL);
  utcp_circuit *circuit = NULL;
  /* Nothing was sent or told inside of connect. */
  assert_int_equal(a->tx_calls, 0);
  assert_int_equal(a->event_count, 0);
  assert_true(utcp_endpoint_next_deadline(a->endpoint) <= net->now);
  /* Before it is ready. */
  assert_int_equal(connection_stats(ab).state, UTCP_CONNECTION_HANDSHAKING);
  assert_null(utcp_connection_control(ab));
  assert_int_equal(utcp_connection_open_circuit(ab, 1, &circuit), UTCP_ERR_STATE);
  assert_null(circuit);

  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  utcp_connection *ba = host_last(b, EV_READY)->connection;
  assert_ptr_equal(host_last(a, EV_READY)->connection, ab);
  assert_ptr_equal(host_last(b, EV_INCOMING)->connection, ba);
  assert_ptr_equal(host_last(b, EV_VERIFY)->connection, ba);
  assert_int_equal(host_count(a, EV_INCOMING), 0);
  assert_int_equal(utcp_connection_role(ab), UTCP_ROLE_CLIENT);
  assert_int_equal(utcp_connection_role(ba), UTCP_ROLE_SERVER);
  assert_int_equal(connection_stats(ab).state, UTCP_CONNECTION_READY);
  assert_int_equal(connection_stats(ab).role, UTCP_ROLE_CLIENT);
  assert_int_equal(connection_stats(ab).circuits, 1);
  assert_non_null(utcp_connection_ssl(ab));
  assert_non_null(utcp_connection_control(ab));
  assert_ptr_equal(utcp_connection_control(ab), utcp_connection_control(ab));
  assert_ptr_equal(utcp_circuit_connection(utcp_connection_control(ab)), ab);

  struct sockaddr_in address;
  socklen_t len = sizeof address;
  assert_int_equal(utcp_connection_address(ba, (struct sockaddr *)&address, &len), UTCP_OK);
  assert_int_equal(len, sizeof address);
  assert_int_equal(address.sin_port, ((const struct sockaddr_in *)host_address(a))->sin_port);

  /* Each kind of user data belongs to its handle. */
  int x, y;
  assert_null(utcp_connection_user(ab));
  utcp_connection_set_user(ab, &x);
  utcp_connection_set_user(ba, &y);
  assert_ptr_equal(utcp_connection_user(ab), &x);
  assert_ptr_equal(utcp_connection_user(ba), &y);
  utcp_connection_set_user(ab, NULL);
  assert_null(utcp_connection_user(ab));
}

static void
over_ipv6(void **state)
{
  static const struct host_options v6 = { .ipv6 = 1 };
  struct pair p = pair_new(*state, &v6, &v6);
  struct sockaddr_in6 address;
  socklen_t len = sizeof(struct sockaddr_in);
  assert_int_equal(utcp_connection_address(p.ab, (struct sockaddr *)&address, &len), UTCP_ERR_ARGUMENT);
  len = sizeof address;
  assert_int_equal(utcp_connection_address(p.ab, (struct sockaddr *)&address, &len), UTCP_OK);
  assert_int_equal(len, sizeof address);
  assert_int_equal(address.sin6_family, AF_INET6);
  assert_memory_equal(&address.sin6_addr, &in6addr_loopback, 16);
  pair_open(&p, 4);
}

static void
find(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  utcp_connection *found = NULL, *second = NULL;
  assert_int_equal(utcp_endpoint_find(a->endpoint, host_address(b), b->address_len, &found), UTCP_ERR_CLOSED);
  assert_null(found);
  utcp_connection *ab = connect_to(a, b, NULL);
  assert_int_equal(utcp_endpoint_find(a->endpoint, host_address(b), b->address_len, &found), UTCP_OK);
  assert_ptr_equal(found, ab);
  /* One connection for a pair of addresses, from the first moment on. */
  assert_int_equal(utcp_endpoint_connect(a->endpoint, net->now, host_address(b), b->address_len, NULL, &second),
                   UTCP_ERR_IN_USE);
  assert_null(second);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  assert_int_equal(utcp_endpoint_find(b->endpoint, host_address(a), a->address_len, &found), UTCP_OK);
  assert_ptr_equal(found, host_last(b, EV_READY)->connection);
  assert_int_equal(utcp_endpoint_connect(b->endpoint, net->now, host_address(a), a->address_len, NULL, &second),
                   UTCP_ERR_IN_USE);
  assert_null(second);

  assert_int_equal(utcp_connection_close(ab), UTCP_OK);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_CLOSED) && host_count(b, EV_CLOSED));
  found = NULL;
  assert_int_equal(utcp_endpoint_find(a->endpoint, host_address(b), b->address_len, &found), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_endpoint_find(b->endpoint, host_address(a), a->address_len, &found), UTCP_ERR_CLOSED);
  assert_null(found);
  /* And again, with handles of the first one still held. */
  size_t ready = host_count(b, EV_READY);
  utcp_connection *again = connect_to(a, b, NULL);
  assert_ptr_not_equal(again, ab);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) == 2 && host_count(b, EV_READY) == ready + 1);
  assert_int_equal(utcp_connection_close(ab), UTCP_ERR_CLOSED);
  assert_int_equal(connection_stats(again).state, UTCP_CONNECTION_READY);
}

static void
close_is_told_to_both(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  RUN_UNTIL(p.net, 20 * SECOND, host_closed(p.a, p.ab) && host_closed(p.b, p.ba));
  assert_int_equal(host_closed(p.a, p.ab), UTCP_CLOSE_LOCAL);
  assert_int_equal(host_closed(p.b, p.ba), UTCP_CLOSE_PEER);
  assert_int_equal(host_circuit_closed(p.a, c.a), UTCP_CLOSE_CONNECTION);
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_CONNECTION);
  /* Circuits before their connection, and the connection last. */
  assert_int_equal(p.a->events[p.a->event_count - 1].kind, EV_CLOSED);
  assert_int_equal(p.b->events[p.b->event_count - 1].kind, EV_CLOSED);
  run_for(p.net, 300 * SECOND);
  assert_int_equal(host_count(p.a, EV_CLOSED), 1);
  assert_int_equal(host_count(p.b, EV_CLOSED), 1);
  assert_int_equal(host_count_circuit(p.a, EV_CIRCUIT_CLOSED, c.a), 1);
  assert_true(utcp_endpoint_next_deadline(p.a->endpoint) == UINT64_MAX);

  /* What a closed handle answers. */
  utcp_circuit *opened = NULL;
  struct sockaddr_in address;
  socklen_t len = sizeof address;
  assert_int_equal(utcp_connection_close(p.ab), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_connection_hold(p.ab, 1), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_connection_open_circuit(p.ab, 4, &opened), UTCP_ERR_CLOSED);
  assert_null(opened);
  assert_null(utcp_connection_ssl(p.ab));
  assert_null(utcp_connection_control(p.ab));
  /* Still known: who it was, and how it went. */
  assert_int_equal(utcp_connection_address(p.ab, (struct sockaddr *)&address, &len), UTCP_OK);
  assert_int_equal(connection_stats(p.ab).state, UTCP_CONNECTION_CLOSED);
  assert_int_equal(connection_stats(p.ab).circuits, 0);
  assert_true(connection_stats(p.ab).datagrams_sent > 0);
  assert_ptr_equal(utcp_circuit_connection(c.a), p.ab);
  free_connection(p.a, p.ab);
  assert_null(utcp_circuit_connection(c.a));
}

/* Data that was written before the close is not waited for; but an orderly end of circuits first loses nothing. */
/* Too many circuits to be reported by one call: nobody finds one alive meanwhile, and the connection comes last. */
static void
close_with_very_many_circuits(void **state)
{
  enum { COUNT = 3000, FREED = 1000 };
  struct pair p = pair_new(*state, NULL, NULL);
  utcp_circuit **circuits = calloc(COUNT, sizeof *circuits);
  assert_non_null(circuits);
  for (uint32_t i = 0; i < COUNT; i++) {
    assert_int_equal(utcp_connection_open_circuit(p.ab, i + 1, &circuits[i]), UTCP_OK);
    host_track_circuit(p.a, circuits[i]);
  }
  size_t before = p.a->event_count;
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  assert_int_equal(utcp_endpoint_process(p.a->endpoint, p.net->now), UTCP_OK);
  size_t told = host_count(p.a, EV_CIRCUIT_CLOSED);
  assert_true(told > 0 && told < FREED);
  assert_int_equal(p.a->event_count, before + told);
  assert_true(utcp_endpoint_next_deadline(p.a->endpoint) <= p.net->now + 1);

  size_t written = 0;
  utcp_circuit_info info = { .size = sizeof info };
  utcp_circuit *last = circuits[COUNT - 1];
  assert_int_equal(utcp_circuit_room(last), 0);
  assert_int_equal(utcp_circuit_get_info(last, &info), UTCP_OK);
  assert_int_equal(info.state, UTCP_TCP_CLOSED);
  assert_int_equal(utcp_circuit_write(last, (const uint8_t *)"hello", 5, &written), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_connection_open_circuit(p.ab, COUNT + 1, &last), UTCP_ERR_CLOSED);
  /* Of handles that are freed now, nothing is told any more. */
  for (uint32_t i = COUNT - 1 - FREED; i < COUNT - 1; i++) {
    host_untrack(p.a, circuits[i]);
    assert_int_equal(utcp_circuit_free(circuits[i]), UTCP_OK);
  }
  /* The peer's address is free. */
  connect_to(p.a, p.b, NULL);
  RUN_UNTIL(p.net, 20 * SECOND, host_closed(p.a, p.ab) && host_count(p.a, EV_READY) == 2);
  assert_int_equal(host_count(p.a, EV_CIRCUIT_CLOSED), COUNT - FREED);
  size_t closed = 0;
  for (size_t i = before; i < p.a->event_count; i++) {
    const struct event *event = &p.a->events[i];
    closed += event->kind == EV_CIRCUIT_CLOSED;
    if (event->kind == EV_CIRCUIT_CLOSED)
      assert_int_equal(event->reason, UTCP_CLOSE_CONNECTION);
    if (event->kind == EV_CLOSED)
      assert_int_equal(closed, COUNT - FREED);
  }
  free(circuits);
}

/* The same when the connection's handle is freed in the middle, and the endpoint then. */
static void
free_with_very_many_circuits(void **state)
{
  enum { COUNT = 3000 };
  struct pair p = pair_new(*state, NULL, NULL);
  uint8_t cell[514] = { 0 };
  size_t written = 0;
  utcp_circuit *circuit = NULL;
  for (uint32_t i = 0; i < COUNT; i++) {
    assert_int_equal(utcp_connection_open_circuit(p.ab, i + 1, &circuit), UTCP_OK);
    host_track_circuit(p.a, circuit);
    assert_int_equal(utcp_circuit_write(circuit, cell, sizeof cell, &written), UTCP_OK);
  }
  host_untrack(p.a, p.ab);
  size_t before = p.a->event_count;
  assert_int_equal(utcp_connection_free(p.ab), UTCP_OK);
  uint64_t held = utcp_endpoint_memory(p.a->endpoint);
  assert_true(held > 0);
  assert_int_equal(utcp_circuit_write(circuit, cell, sizeof cell, &written), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_endpoint_process(p.a->endpoint, p.net->now), UTCP_OK);
  assert_true(utcp_endpoint_memory(p.a->endpoint) < held);
  RUN_UNTIL(p.net, 20 * SECOND, utcp_endpoint_memory(p.a->endpoint) == 0);
  for (size_t i = before; i < p.a->event_count; i++)
    assert_int_equal(p.a->events[i].kind, EV_MEMORY);
  /* What the peer has of it ends by itself. */
  RUN_UNTIL(p.net, 20 * SECOND, host_closed(p.b, p.ba));
  host_stop(p.a);
}

static void
freeing_an_open_connection_closes_it(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  size_t before = p.a->event_count;
  uint8_t data[4];
  size_t len;
  free_connection(p.a, p.ab);
  assert_null(utcp_circuit_connection(c.a));
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)"x", 1, &len), UTCP_ERR_CLOSED);
  assert_int_equal(utcp_circuit_read(c.a, data, sizeof data, &len), UTCP_ERR_CLOSED);
  RUN_UNTIL(p.net, 20 * SECOND, host_closed(p.b, p.ba));
  assert_int_equal(host_closed(p.b, p.ba), UTCP_CLOSE_PEER);
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_CONNECTION);
  /* A freed handle is not spoken of again. */
  for (size_t i = before; i < p.a->event_count; i++)
    assert_int_not_equal(p.a->events[i].kind, EV_CLOSED);
  assert_int_equal(endpoint_stats(p.a).connections, 0);
}

/* ---- refusing ---- */

static void
incoming_refused(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 5 * SECOND } }), *b = HOST(net);
  b->answer[EV_INCOMING] = 1;
  utcp_connection *ab = connect_to(a, b, NULL);
  uint64_t start = net->now;
  RUN_UNTIL(net, 60 * SECOND, host_closed(a, ab));
  const unsigned long reasons[] = { UTCP_CLOSE_HANDSHAKE, UTCP_CLOSE_REFUSED };
  assert_in_set((unsigned long)host_closed(a, ab), reasons, 2);
  assert_true(host_last(a, EV_CLOSED)->time - start <= 6 * SECOND);
  assert_true(host_count(b, EV_INCOMING) >= 1);
  assert_int_equal(host_count(b, EV_VERIFY), 0);
  assert_int_equal(host_count(b, EV_CLOSED), 0);
  assert_int_equal(endpoint_stats(b).connections, 0);
  assert_int_equal(endpoint_stats(b).half_open, 0);
}

static void
new_peers_refused(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct net *net = p.net;
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  assert_int_equal(utcp_endpoint_set_accepting(p.b->endpoint, 0), UTCP_OK);
  struct host *c = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 5 * SECOND } });
  utcp_connection *cb = connect_to(c, p.b, NULL);
  RUN_UNTIL(net, 60 * SECOND, host_closed(c, cb));
  assert_int_equal(host_count(p.b, EV_INCOMING), 1); /* a's, from before */
  assert_true(endpoint_stats(p.b).dropped_refusing > 0);
  /* The connection from before goes on, also with new circuits. */
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 6));
  s->out_seed = s->in_seed = 6;
  s->out_total = 20000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(net, 60 * SECOND, s->closed);
  assert_int_equal(s->in_done, 20000);
  assert_int_equal(s->wrong, 0);
  /* Connections of its own go out. */
  struct host *d = HOST(net);
  connect_to(p.b, d, NULL);
  RUN_UNTIL(net, 60 * SECOND, host_count(d, EV_READY) == 1);
  /* And back. */
  assert_int_equal(utcp_endpoint_set_accepting(p.b->endpoint, 1), UTCP_OK);
  connect_to(c, p.b, NULL);
  RUN_UNTIL(net, 60 * SECOND, host_count(c, EV_READY) == 1);
}

static void
limit_of_connections(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net, .set = { { UTCP_OPTION_MAX_CONNECTIONS, 2 } });
  struct host *b = HOST(net), *c = HOST(net), *d = HOST(net);
  connect_to(a, b, NULL);
  utcp_connection *ac = connect_to(a, c, NULL), *third = NULL;
  assert_int_equal(utcp_endpoint_connect(a->endpoint, net->now, host_address(d), d->address_len, NULL, &third),
                   UTCP_ERR_LIMIT);
  assert_null(third);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) == 2);
  /* Nor from outside. */
  utcp_connection *da = connect_to(d, a, NULL);
  RUN_UNTIL(net, 60 * SECOND, host_closed(d, da));
  assert_int_equal(host_count(a, EV_READY), 2);
  assert_true(endpoint_stats(a).dropped_limit > 0);
  /* A place becomes free. */
  free_connection(a, ac);
  run_for(net, SECOND);
  connect_to(a, d, NULL);
  RUN_UNTIL(net, 60 * SECOND, host_count(a, EV_READY) == 3);
}

/* ---- handshakes that do not complete ---- */

static int
drop_all(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len)
{
  (void)net, (void)from, (void)to, (void)data, (void)len;
  return 1;
}

static void
nobody_answers(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 7 * SECOND } }), *b = HOST(net);
  net->filter = drop_all;
  uint64_t start = net->now;
  utcp_connection *ab = connect_to(a, b, NULL);
  RUN_UNTIL(net, 60 * SECOND, host_closed(a, ab));
  assert_int_equal(host_closed(a, ab), UTCP_CLOSE_HANDSHAKE);
  assert_in_range(host_last(a, EV_CLOSED)->time - start, 7 * SECOND, 8 * SECOND);
  assert_true(a->tx_datagrams >= 2); /* it has tried again */
  assert_int_equal(endpoint_stats(a).handshakes_failed, 1);
  assert_true(utcp_endpoint_next_deadline(a->endpoint) == UINT64_MAX);
}

static void
handshake_under_loss(void **state)
{
  struct net *net = *state;
  net->loss = 200;
  net->duplicate = 100;
  net->reorder = 200;
  unsigned rounds = scaled(20, 4);
  struct host *b = HOST(net);
  for (unsigned i = 0; i < rounds; i++) {
    struct host *a = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 120 * SECOND } });
    connect_to(a, b, NULL);
    RUN_UNTIL(net, 121 * SECOND, host_count(a, EV_READY) == 1);
  }
  net->loss = 0;
  RUN_UNTIL(net, 60 * SECOND, host_count(b, EV_READY) >= rounds);
}

/* The big answer of the server (ServerHello and certificate) never arrives. */
static int
drop_beyond_first_flight(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len)
{
  (void)to, (void)data;
  return from == net->hosts[1] && len > 200;
}

/* The accepting side gives up on a peer that does not go on, and tells its relay. */
static void
half_open_times_out(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 60 * SECOND } });
  struct host *b = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 4 * SECOND } });
  net->filter = drop_beyond_first_flight;
  connect_to(a, b, NULL);
  RUN_UNTIL(net, 5 * SECOND, host_count(b, EV_INCOMING));
  utcp_connection *ba = host_last(b, EV_INCOMING)->connection;
  assert_int_equal(endpoint_stats(b).half_open, 1);
  RUN_UNTIL(net, 10 * SECOND, host_closed(b, ba));
  assert_int_equal(host_closed(b, ba), UTCP_CLOSE_HANDSHAKE);
  assert_int_equal(endpoint_stats(b).handshakes_failed, 1);
}

/* ---- both at once ---- */

static void
simultaneous(struct net *net, uint64_t seed, int impaired)
{
  net->random = seed * 7919 + 1;
  net->loss = impaired ? 100 : 0;
  net->reorder = impaired ? 200 : 0;
  net->duplicate = impaired ? 100 : 0;
  struct host *a = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 120 * SECOND } });
  struct host *b = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 120 * SECOND } });
  utcp_connection *ab = connect_to(a, b, NULL);
  if (seed % 3)
    run_for(net, net_random(net) % (2 * net->delay));
  utcp_connection *ba = NULL;
  int rc = utcp_endpoint_connect(b->endpoint, net->now, host_address(a), a->address_len, NULL, &ba);
  if (rc == UTCP_ERR_IN_USE) {
    /* a's attempt was here already: that one it is. */
    assert_int_equal(utcp_endpoint_find(b->endpoint, host_address(a), a->address_len, &ba), UTCP_OK);
  } else {
    assert_int_equal(rc, UTCP_OK);
    host_track_connection(b, ba);
  }
  RUN_UNTIL(net, 121 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  net->loss = net->reorder = net->duplicate = 0;
  run_for(net, 10 * SECOND);
  /* One connection, which is the one that both asked for, with opposite roles. */
  assert_int_equal(host_count(a, EV_READY), 1);
  assert_int_equal(host_count(b, EV_READY), 1);
  assert_int_equal(host_count(a, EV_CLOSED), 0);
  assert_int_equal(host_count(b, EV_CLOSED), 0);
  assert_ptr_equal(host_last(a, EV_READY)->connection, ab);
  assert_ptr_equal(host_last(b, EV_READY)->connection, ba);
  assert_int_equal(endpoint_stats(a).connections, 1);
  assert_int_equal(endpoint_stats(b).connections, 1);
  assert_int_equal(utcp_connection_role(ab) + utcp_connection_role(ba), UTCP_ROLE_CLIENT + UTCP_ROLE_SERVER);

  /* Both may open circuits, with different numbers, at the same time. */
  a->hook[EV_CIRCUIT_INCOMING] = b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  struct stream *s = stream_new(a, open_circuit(a, ab, 1));
  struct stream *t = stream_new(b, open_circuit(b, ba, 2));
  s->out_seed = s->in_seed = 1;
  t->out_seed = t->in_seed = 2;
  s->out_total = t->out_total = 30000;
  s->finish = t->finish = 1;
  stream_pump(s);
  stream_pump(t);
  RUN_UNTIL(net, 60 * SECOND, s->closed && t->closed);
  assert_int_equal(s->in_done + t->in_done, 60000);
  assert_int_equal(s->wrong + t->wrong, 0);
}

static void
simultaneous_open(void **state)
{
  for (unsigned i = 0; i < scaled(12, 2); i++)
    simultaneous(*state, i, 0);
}

static void
simultaneous_open_impaired(void **state)
{
  for (unsigned i = 0; i < scaled(12, 2); i++)
    simultaneous(*state, i, 1);
}

/* ---- a peer that starts again ---- */

static void
restarted_peer_connects(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  host_stop(p.a);
  struct host *again = host_restart(p.a, &(struct host_options){ .port = 0 });
  connect_to(again, p.b, NULL);
  RUN_UNTIL(p.net, 60 * SECOND, host_count(again, EV_READY) == 1 && host_count(p.b, EV_READY) == 2);
  RUN_UNTIL(p.net, SECOND, host_closed(p.b, p.ba));
  assert_int_equal(host_closed(p.b, p.ba), UTCP_CLOSE_RESTARTED);
  assert_int_equal(host_circuit_closed(p.b, c.b), UTCP_CLOSE_CONNECTION);
  utcp_connection *fresh = host_last(p.b, EV_READY)->connection;
  assert_ptr_not_equal(fresh, p.ba);
  utcp_connection *found = NULL;
  assert_int_equal(utcp_endpoint_find(p.b->endpoint, host_address(again), again->address_len, &found), UTCP_OK);
  assert_ptr_equal(found, fresh);
  assert_int_equal(endpoint_stats(p.b).connections, 1);
  /* The number of the lost circuit is free. */
  utcp_circuit *circuit = open_circuit(p.b, fresh, 3);
  RUN_UNTIL(p.net, 10 * SECOND, host_count(again, EV_CIRCUIT_INCOMING) == 1);
  assert_int_equal(circuit_info(circuit).number, 3);
}

/* Nobody takes over a session by speaking from its address: the old one stays until the new one is accepted. */
static void
impostor_at_the_same_address(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  p.b->answer[EV_VERIFY] = 1; /* from now on */
  struct host *impostor = host_restart(p.a, &(struct host_options){ .port = 0 });
  utcp_connection *attempt = connect_to(impostor, p.b, NULL);
  for (unsigned i = 0; i < 400 && !host_closed(impostor, attempt); i++)
    run_for(p.net, SECOND / 10);
  assert_true(host_closed(impostor, attempt) != 0);
  assert_int_equal(host_closed(p.b, p.ba), 0);
  assert_int_equal(host_count(p.b, EV_READY), 1);
  /* The address is the real one's again. */
  host_stop(impostor);
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 6));
  s->out_seed = s->in_seed = 6;
  s->out_total = 20000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(p.net, 60 * SECOND, s->closed);
  assert_int_equal(s->closed, UTCP_CLOSE_DONE);
  assert_int_equal(s->in_done, 20000);
  assert_int_equal(s->wrong, 0);
}

/* The peer is back but does not connect by itself: this side finds out when it speaks. */
static void
peer_that_lost_the_session(void **state)
{
  struct host_options options = { .set = { { UTCP_OPTION_DEAD_TIMEOUT, 20 * SECOND } } };
  struct pair p = pair_new(*state, &options, &options);
  struct circuits c = pair_open(&p, 3);
  host_stop(p.b);
  host_restart(p.b, &options);
  size_t written;
  uint64_t start = p.net->now;
  uint8_t cell[514] = { 0 };
  assert_int_equal(utcp_circuit_write(c.a, cell, sizeof cell, &written), UTCP_OK);
  utcp_circuit *control = utcp_connection_control(p.ab);
  assert_int_equal(utcp_circuit_write(control, cell, sizeof cell, &written), UTCP_OK);
  RUN_UNTIL(p.net, 120 * SECOND, host_closed(p.a, p.ab));
  assert_int_equal(host_closed(p.a, p.ab), UTCP_CLOSE_RESTARTED);
  assert_true(p.net->now - start < 20 * SECOND); /* long before the timeout */
  assert_true(host_circuit_closed(p.a, c.a) != 0);
  /* And can come back. */
  connect_to(p.a, p.b, NULL);
  RUN_UNTIL(p.net, 60 * SECOND, host_count(p.a, EV_READY) == 2);
}

static void
peer_that_is_gone(void **state)
{
  struct host_options options = { .set = { { UTCP_OPTION_DEAD_TIMEOUT, 20 * SECOND } } };
  struct pair p = pair_new(*state, &options, &options);
  struct circuits c = pair_open(&p, 3);
  host_stop(p.b);
  size_t written;
  uint64_t start = p.net->now;
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)"hello", 5, &written), UTCP_OK);
  RUN_UNTIL(p.net, 120 * SECOND, host_circuit_closed(p.a, c.a));
  assert_int_equal(host_circuit_closed(p.a, c.a), UTCP_CLOSE_TIMEOUT);
  assert_true(p.net->now - start >= 19 * SECOND);
  if (!host_closed(p.a, p.ab)) {
    utcp_circuit *control = utcp_connection_control(p.ab);
    assert_int_equal(utcp_circuit_write(control, (const uint8_t *)"hello", 5, &written), UTCP_OK);
    RUN_UNTIL(p.net, 120 * SECOND, host_closed(p.a, p.ab));
  }
  assert_int_equal(host_closed(p.a, p.ab), UTCP_CLOSE_TIMEOUT);
  assert_int_equal(endpoint_stats(p.a).connections, 0);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(connect_and_look),
    NET_TEST(over_ipv6),
    NET_TEST(find),
    NET_TEST(close_is_told_to_both),
    NET_TEST(close_with_very_many_circuits),
    NET_TEST(free_with_very_many_circuits),
    NET_TEST(freeing_an_open_connection_closes_it),
    NET_TEST(incoming_refused),
    NET_TEST(new_peers_refused),
    NET_TEST(limit_of_connections),
    NET_TEST(nobody_answers),
    NET_TEST(handshake_under_loss),
    NET_TEST(half_open_times_out),
    NET_TEST(simultaneous_open),
    NET_TEST(simultaneous_open_impaired),
    NET_TEST(restarted_peer_connects),
    NET_TEST(impostor_at_the_same_address),
    NET_TEST(peer_that_lost_the_session),
    NET_TEST(peer_that_is_gone),
  };
  return cmocka_run_group_tests_name("connections", tests, NULL, NULL);
}
