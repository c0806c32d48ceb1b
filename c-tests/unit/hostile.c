/* Datagrams from someone who wants harm: established circuits are untouched, nothing is allocated or answered beyond
 * what came in, and each kind is counted. */
#include "pair.h"

/* What went to a host, kept. */
struct tape {
  struct host *to;
  struct { uint8_t data[1500]; size_t len; } cut[64];
  size_t count;
};

static int
record_tape(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len)
{
  (void)from;
  struct tape *tape = net->user;
  if (to && to == tape->to && len <= sizeof tape->cut[0].data && tape->count < 64) {
    memcpy(tape->cut[tape->count].data, data, len);
    tape->cut[tape->count++].len = len;
  }
  return 0;
}

struct fixture {
  struct pair p;
  struct tape tape;
  struct stream *s;
};

static struct fixture *
fixture_new(struct net *net)
{
  struct fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  net->filter = record_tape;
  net->user = &f->tape;
  struct host *a = HOST(net), *b = HOST(net);
  f->tape.to = b;
  f->p = (struct pair){ .net = net, .a = a, .b = b, .ab = connect_to(a, b, NULL) };
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  f->p.ba = host_last(b, EV_READY)->connection;
  b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  f->s = stream_new(a, open_circuit(a, f->p.ab, 3));
  f->s->out_seed = f->s->in_seed = 3;
  f->s->out_total = 200000;
  f->s->finish = 1;
  stream_pump(f->s);
  RUN_UNTIL(net, 20 * SECOND, f->s->in_done > 20000);
  return f;
}

/* The transfer ends as if nothing had happened. */
static void
fixture_finish(struct fixture *f)
{
  RUN_UNTIL(f->p.net, 60 * SECOND, f->s->closed);
  assert_int_equal(f->s->closed, UTCP_CLOSE_DONE);
  assert_int_equal(f->s->in_done, 200000);
  assert_int_equal(f->s->wrong, 0);
  assert_int_equal(host_count(f->p.a, EV_CLOSED) + host_count(f->p.b, EV_CLOSED), 0);
  assert_int_equal(host_count(f->p.b, EV_INCOMING), 1);
  assert_int_equal(endpoint_stats(f->p.b).connections, 1);
  f->p.net->filter = NULL;
  free(f);
}

static struct sockaddr_in
stranger(uint16_t port)
{
  return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x0a0000fe) };
}

/* All drops that the endpoint and the connection have counted. */
static uint64_t
drops(const struct fixture *f)
{
  utcp_endpoint_stats e = endpoint_stats(f->p.b);
  utcp_connection_stats c = connection_stats(f->p.ba);
  return e.dropped_not_dtls + e.dropped_unknown_peer + e.dropped_bad_cookie + e.dropped_refusing + e.dropped_limit +
         e.dropped_address + c.dropped_record + c.dropped_plaintext_alert + c.dropped_version + c.dropped_malformed +
         c.dropped_unknown_circuit + c.dropped_out_of_window + c.dropped_limit + c.dropped_peer_handshake;
}

static void
throw_at(struct fixture *f, const struct sockaddr *from, socklen_t from_len, const uint8_t *data, size_t len)
{
  assert_int_equal(net_inject(f->p.b, from, from_len, data, len), UTCP_OK);
}

static void
random_octets(void **state)
{
  struct fixture *f = fixture_new(*state);
  struct net *net = *state;
  uint64_t before = drops(f), memory = utcp_endpoint_memory(f->p.b->endpoint);
  uint8_t data[1500];
  unsigned n = scaled(3000, 200);
  for (unsigned i = 0; i < n; i++) {
    size_t len = net_random(net) % sizeof data;
    for (size_t j = 0; j < len; j++)
      data[j] = (uint8_t)net_random(net);
    /* Some look like DTLS at first sight. */
    if (i % 3 == 0 && len > 13) {
      data[0] = (uint8_t)(20 + net_random(net) % 5);
      data[1] = 254;
      data[2] = 253;
      data[11] = (uint8_t)((len - 13) >> 8);
      data[12] = (uint8_t)(len - 13);
    }
    struct sockaddr_in from = stranger((uint16_t)(1 + i));
    if (i % 2)
      throw_at(f, (struct sockaddr *)&from, sizeof from, data, len);
    else
      throw_at(f, host_address(f->p.a), f->p.a->address_len, data, len);
  }
  assert_true(drops(f) - before >= n * 9 / 10);
  assert_true(endpoint_stats(f->p.b).dropped_not_dtls > 0);
  assert_true(utcp_endpoint_memory(f->p.b->endpoint) <= memory);
  assert_int_equal(endpoint_stats(f->p.b).half_open, 0);
  fixture_finish(f);
}

static void
truncated_and_bent_copies(void **state)
{
  struct fixture *f = fixture_new(*state);
  struct net *net = *state;
  uint64_t before = drops(f);
  unsigned thrown = 0;
  for (size_t i = 0; i < f->tape.count; i += scaled(1, 8)) {
    const uint8_t *data = f->tape.cut[i].data;
    /* A bent ClientHello with the address's own cookie is a peer that begins anew: see below. */
    if (data[0] == 22 && data[13] == 1)
      continue;
    size_t len = f->tape.cut[i].len;
    uint8_t bent[1500];
    for (size_t keep = 0; keep < len; keep += 1 + net_random(net) % 64, thrown++)
      throw_at(f, host_address(f->p.a), f->p.a->address_len, data, keep);
    for (int j = 0; j < 8; j++, thrown++) {
      memcpy(bent, data, len);
      bent[net_random(net) % len] ^= (uint8_t)(1 + net_random(net) % 255);
      throw_at(f, host_address(f->p.a), f->p.a->address_len, bent, len);
    }
  }
  assert_true(thrown > 100);
  assert_true(drops(f) > before);
  assert_true(connection_stats(f->p.ba).dropped_record > 0);
  fixture_finish(f);
}

static void
replays(void **state)
{
  struct fixture *f = fixture_new(*state);
  /* Until all of the tape has arrived: then each is a replay. */
  RUN_UNTIL(f->p.net, 60 * SECOND, f->s->closed);
  run_for(f->p.net, SECOND);
  uint64_t before = connection_stats(f->p.ba).dropped_record, segments = connection_stats(f->p.ba).segments_received;
  uint64_t unknown = endpoint_stats(f->p.b).dropped_unknown_peer, records = 0;
  for (size_t i = 0; i < f->tape.count; i++) {
    struct sockaddr_in from = stranger(77);
    if (f->tape.cut[i].data[0] != 23)
      continue;
    records++;
    throw_at(f, host_address(f->p.a), f->p.a->address_len, f->tape.cut[i].data, f->tape.cut[i].len);
    throw_at(f, (struct sockaddr *)&from, sizeof from, f->tape.cut[i].data, f->tape.cut[i].len);
  }
  assert_true(records > 5);
  assert_int_equal(connection_stats(f->p.ba).dropped_record - before, records);
  assert_int_equal(endpoint_stats(f->p.b).dropped_unknown_peer - unknown, records);
  assert_int_equal(connection_stats(f->p.ba).segments_received, segments);
  fixture_finish(f);
}

static const uint8_t fatal_alert[] = { 21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40 };
static const uint8_t close_notify[] = { 21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0 };

static void
plaintext_alerts(void **state)
{
  struct fixture *f = fixture_new(*state);
  uint64_t before = connection_stats(f->p.ba).dropped_plaintext_alert;
  for (int i = 0; i < 10; i++) {
    throw_at(f, host_address(f->p.a), f->p.a->address_len, fatal_alert, sizeof fatal_alert);
    throw_at(f, host_address(f->p.a), f->p.a->address_len, close_notify, sizeof close_notify);
  }
  assert_int_equal(connection_stats(f->p.ba).dropped_plaintext_alert - before, 20);
  fixture_finish(f);
}

/* Alerts into handshakes in progress, in both directions, at every step. */
static void
plaintext_alerts_in_handshakes(void **state)
{
  struct net *net = *state;
  for (int round = 0; round < 3; round++) {
    struct host *a = HOST(net), *b = HOST(net);
    connect_to(a, b, NULL);
    unsigned thrown = 0;
    while (!(host_count(a, EV_READY) && host_count(b, EV_READY)) && net_step(net, net->now + 20 * SECOND)) {
      assert_int_equal(net_inject(a, host_address(b), b->address_len, fatal_alert, sizeof fatal_alert), UTCP_OK);
      assert_int_equal(net_inject(b, host_address(a), a->address_len, fatal_alert, sizeof fatal_alert), UTCP_OK);
      assert_int_equal(net_inject(a, host_address(b), b->address_len, close_notify, sizeof close_notify), UTCP_OK);
      thrown++;
    }
    assert_int_equal(host_count(a, EV_READY), 1);
    assert_int_equal(host_count(b, EV_READY), 1);
    assert_int_equal(host_count(a, EV_CLOSED) + host_count(b, EV_CLOSED), 0);
    assert_true(thrown > 2);
  }
}

/* The source of a datagram can be forged to what nobody can be: counted, and not an error of the relay's. */
static void
impossible_sources(void **state)
{
  struct fixture *f = fixture_new(*state);
  struct sockaddr_in port_0 = stranger(0), any = stranger(7), multicast = stranger(7);
  any.sin_addr.s_addr = 0;
  multicast.sin_addr.s_addr = htonl(0xe0000001);
  struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
  const utcp_datagram batch[] = {
    { .address = (struct sockaddr *)&port_0, .address_len = sizeof port_0, .data = f->tape.cut[0].data,
      .len = f->tape.cut[0].len },
    { .address = (struct sockaddr *)&any, .address_len = sizeof any, .data = f->tape.cut[0].data,
      .len = f->tape.cut[0].len },
    { .address = (struct sockaddr *)&multicast, .address_len = sizeof multicast, .data = f->tape.cut[0].data,
      .len = f->tape.cut[0].len },
    { .address = (struct sockaddr *)&any6, .address_len = sizeof any6, .data = f->tape.cut[0].data,
      .len = f->tape.cut[0].len },
  };
  uint64_t before = endpoint_stats(f->p.b).dropped_address, cookies = endpoint_stats(f->p.b).cookies_sent;
  assert_int_equal(utcp_endpoint_inject_batch(f->p.b->endpoint, f->p.net->now, batch, 4), UTCP_OK);
  assert_int_equal(endpoint_stats(f->p.b).dropped_address - before, 4);
  assert_int_equal(endpoint_stats(f->p.b).cookies_sent, cookies);
  fixture_finish(f);
}

/* ClientHellos without a cookie: one answer each at most, not larger than the question, and no state. */
static void
forged_client_hellos(void **state)
{
  struct fixture *f = fixture_new(*state);
  struct net *net = *state;
  const uint8_t *hello = f->tape.cut[0].data;
  size_t len = f->tape.cut[0].len;
  assert_int_equal(hello[0], 22);
  RUN_UNTIL(net, 60 * SECOND, f->s->closed); /* so that only answers are counted */
  run_for(net, 10 * SECOND);
  uint64_t out = f->p.b->tx_octets, cookies = endpoint_stats(f->p.b).cookies_sent;
  uint64_t started = endpoint_stats(f->p.b).handshakes_started;
  unsigned n = scaled(1000, 100);
  for (unsigned i = 0; i < n; i++) {
    struct sockaddr_in from = stranger((uint16_t)(1 + i));
    throw_at(f, (struct sockaddr *)&from, sizeof from, hello, len);
  }
  run_for(net, SECOND);
  utcp_endpoint_stats e = endpoint_stats(f->p.b);
  assert_true(f->p.b->tx_octets - out <= n * len);
  assert_int_equal(e.cookies_sent - cookies, n);
  assert_int_equal(e.handshakes_started, started);
  assert_int_equal(e.half_open, 0);
  assert_int_equal(e.memory, 0);
  assert_int_equal(e.connections, 1);
  fixture_finish(f);
}

/* The cookie of one address is worth nothing at another one. */
static void
stolen_cookie(void **state)
{
  struct fixture *f = fixture_new(*state);
  struct net *net = *state;
  RUN_UNTIL(net, 60 * SECOND, f->s->closed);
  run_for(net, 10 * SECOND);
  /* The second datagram of the connecting side carries the cookie. */
  const uint8_t *hello = f->tape.cut[1].data;
  size_t len = f->tape.cut[1].len;
  assert_int_equal(hello[0], 22);
  uint64_t out = f->p.b->tx_octets, bad = endpoint_stats(f->p.b).dropped_bad_cookie;
  for (uint16_t i = 1; i <= 100; i++) {
    struct sockaddr_in from = stranger(i);
    throw_at(f, (struct sockaddr *)&from, sizeof from, hello, len);
  }
  run_for(net, SECOND);
  assert_int_equal(endpoint_stats(f->p.b).half_open, 0);
  assert_int_equal(endpoint_stats(f->p.b).dropped_bad_cookie - bad, 100);
  assert_true(f->p.b->tx_octets - out <= 100 * len);
  fixture_finish(f);
}

/* Its own address in a ClientHello of someone else: the session stays, whether the cookie is there or not. */
static void
client_hello_from_the_peers_address(void **state)
{
  struct fixture *f = fixture_new(*state);
  for (int i = 0; i < 20; i++)
    throw_at(f, host_address(f->p.a), f->p.a->address_len, f->tape.cut[i % 2].data, f->tape.cut[i % 2].len);
  run_for(*state, 100 * MS);
  fixture_finish(f);
}

static int
drop_big_flight_of_server(struct net *net, struct host *from, struct host *to, const uint8_t *data, size_t len)
{
  (void)to, (void)data;
  return from == net->user && len > 200;
}

/* More handshakes than allowed: the limit holds, and those who were turned away succeed later. */
static void
limit_of_half_open(void **state)
{
  struct net *net = *state;
  struct host *server = HOST(net, .set = { { UTCP_OPTION_MAX_HALF_OPEN, 4 },
                                           { UTCP_OPTION_HANDSHAKE_TIMEOUT, 10 * SECOND } });
  net->user = server;
  /* The server's big flight does not arrive: all of them stay half open. */
  net->filter = drop_big_flight_of_server;
  struct host *clients[8];
  for (unsigned i = 0; i < 8; i++) {
    clients[i] = HOST(net, .set = { { UTCP_OPTION_HANDSHAKE_TIMEOUT, 100 * SECOND } });
    connect_to(clients[i], server, NULL);
  }
  uint64_t most = 0;
  for (int i = 0; i < 300 && net_step(net, net->now + SECOND); i++) {
    uint64_t half_open = endpoint_stats(server).half_open;
    most = half_open > most ? half_open : most;
  }
  assert_int_equal(most, 4);
  assert_true(endpoint_stats(server).dropped_limit > 0);
  net->filter = NULL;
  for (unsigned i = 0; i < 8; i++)
    RUN_UNTIL(net, 120 * SECOND, host_count(clients[i], EV_READY));
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(random_octets),
    NET_TEST(truncated_and_bent_copies),
    NET_TEST(replays),
    NET_TEST(plaintext_alerts),
    NET_TEST(plaintext_alerts_in_handshakes),
    NET_TEST(impossible_sources),
    NET_TEST(forged_client_hellos),
    NET_TEST(stolen_cookie),
    NET_TEST(client_hello_from_the_peers_address),
    NET_TEST(limit_of_half_open),
  };
  return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
