/* Every exported function against pointers, lengths and numbers that no caller should pass. */
#include <limits.h>
#include <net/if.h>
#include <sys/un.h>

#include "pair.h"

/* ---- NULL ---- */

static void
null_config(void **state)
{
  struct net *net = *state;
  const struct identity *id = net_identity(net, 0);
  uint8_t seed[32] = { 0 };
  assert_int_equal(utcp_config_free(NULL), UTCP_OK); /* as free() */
  assert_int_equal(utcp_config_set(NULL, UTCP_OPTION_SEND_BUFFER, 65536), UTCP_ERR_NULL);
  assert_int_equal(utcp_config_set_certificate(NULL, id->chain, id->chain_len, id->key, id->key_len), UTCP_ERR_NULL);
  assert_int_equal(utcp_config_set_seed(NULL, seed, sizeof seed), UTCP_ERR_NULL);
}

static void
null_endpoint(void **state)
{
  struct net *net = *state;
  const struct identity *id = net_identity(net, 0);
  static const struct host_options plain;
  utcp_callbacks callbacks = host_callbacks(&plain);
  utcp_config *config = host_config(&plain, id);
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(0x7f000001) };
  const struct sockaddr *sa = (struct sockaddr *)&address;
  uint8_t data[4] = { 0 };
  utcp_datagram datagram = { .address = sa, .address_len = sizeof address, .data = data, .len = sizeof data };
  utcp_endpoint *endpoint = (utcp_endpoint *)&address;
  utcp_connection *connection = (utcp_connection *)&address;
  uint64_t shed = 77;

  assert_int_equal(utcp_endpoint_new(NULL, &callbacks, NULL, &endpoint), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_new(config, NULL, NULL, &endpoint), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_new(config, &callbacks, NULL, NULL), UTCP_ERR_NULL);
  assert_ptr_equal(endpoint, &address);
  assert_int_equal(utcp_config_free(config), UTCP_OK);

  assert_int_equal(utcp_endpoint_free(NULL), UTCP_OK); /* as free() */
  assert_int_equal(utcp_endpoint_inject(NULL, 1, sa, sizeof address, data, sizeof data), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_inject_batch(NULL, 1, &datagram, 1), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_process(NULL, 1), UTCP_ERR_NULL);
  assert_true(utcp_endpoint_next_deadline(NULL) == UINT64_MAX);
  assert_int_equal(utcp_endpoint_connect(NULL, 1, sa, sizeof address, NULL, &connection), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_find(NULL, sa, sizeof address, &connection), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_set_certificate(NULL, id->chain, id->chain_len, id->key, id->key_len),
                   UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_set_accepting(NULL, 1), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_memory(NULL), 0);
  assert_int_equal(utcp_endpoint_shed(NULL, 1, &shed), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_set_memory_budget(NULL, 65536), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_set_capture(NULL, NULL, NULL), UTCP_ERR_NULL);
  utcp_endpoint_stats stats = { .size = sizeof stats, .circuits = 77 };
  assert_int_equal(utcp_endpoint_get_stats(NULL, &stats), UTCP_ERR_NULL);
  assert_int_equal(stats.circuits, 77);
  assert_ptr_equal(connection, &address);
  assert_int_equal(shed, 77);
}

static void
null_connection(void **state)
{
  (void)state;
  struct sockaddr_storage address;
  memset(&address, 0x5a, sizeof address);
  socklen_t len = sizeof address;
  utcp_circuit *circuit = (utcp_circuit *)&address;
  utcp_connection_stats stats = { .size = sizeof stats, .circuits = 77 };
  assert_int_equal(utcp_connection_role(NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_connection_close(NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_connection_free(NULL), UTCP_OK); /* as free() */
  assert_int_equal(utcp_connection_hold(NULL, 1), UTCP_ERR_NULL);
  assert_null(utcp_connection_ssl(NULL));
  assert_int_equal(utcp_connection_address(NULL, (struct sockaddr *)&address, &len), UTCP_ERR_NULL);
  assert_null(utcp_connection_control(NULL));
  assert_int_equal(utcp_connection_open_circuit(NULL, 1, &circuit), UTCP_ERR_NULL);
  utcp_connection_set_user(NULL, &len);
  assert_null(utcp_connection_user(NULL));
  assert_int_equal(utcp_connection_set_congestion(NULL, UTCP_CONGESTION_CUBIC), UTCP_ERR_NULL);
  assert_int_equal(utcp_connection_get_stats(NULL, &stats), UTCP_ERR_NULL);
  assert_int_equal(stats.circuits, 77);
  assert_ptr_equal(circuit, &address);
  assert_int_equal(len, sizeof address);
  for (size_t i = 0; i < sizeof address; i++)
    assert_int_equal(((uint8_t *)&address)[i], 0x5a);
}

static void
null_circuit(void **state)
{
  (void)state;
  uint8_t data[8] = { 1, 2, 3 };
  size_t len = 77;
  utcp_circuit_info info = { .size = sizeof info, .number = 77 };
  assert_int_equal(utcp_circuit_read(NULL, data, sizeof data, &len), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_write(NULL, data, sizeof data, &len), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_readable(NULL), 0);
  assert_int_equal(utcp_circuit_room(NULL), 0);
  assert_int_equal(utcp_circuit_finish(NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_close(NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_abort(NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_free(NULL), UTCP_OK); /* as free() */
  assert_int_equal(utcp_circuit_set_events(NULL, UTCP_EVENT_READABLE), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_number(NULL), 0);
  assert_null(utcp_circuit_connection(NULL));
  assert_int_equal(utcp_circuit_set_congestion(NULL, UTCP_CONGESTION_CUBIC), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_set_coupled(NULL, 1), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_set_rate(NULL, 0), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_set_send_buffer(NULL, 65536), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_set_receive_buffer(NULL, 65536), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_set_priority(NULL, 16), UTCP_ERR_NULL);
  utcp_circuit_set_user(NULL, data);
  assert_null(utcp_circuit_user(NULL));
  assert_int_equal(utcp_circuit_get_info(NULL, &info), UTCP_ERR_NULL);
  assert_int_equal(info.number, 77);
  assert_int_equal(len, 77);
  assert_int_equal(data[0], 1);
}

/* NULL where data or an output belongs, with good handles. */
static void
null_data_and_outputs(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  const struct sockaddr *to = host_address(p.b);
  socklen_t to_len = p.b->address_len;
  uint8_t data[16] = { 0 };
  size_t len = 77;

  /* No octets need no memory; octets do. */
  assert_int_equal(utcp_circuit_write(c.a, NULL, 0, &len), UTCP_OK);
  assert_int_equal(len, 0);
  len = 77;
  assert_int_equal(utcp_circuit_write(c.a, NULL, 1, &len), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_write(c.a, data, 1, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_read(c.a, NULL, 1, &len), UTCP_ERR_NULL);
  assert_int_equal(utcp_circuit_read(c.a, data, 1, NULL), UTCP_ERR_NULL);
  assert_int_equal(len, 77);
  assert_int_equal(utcp_circuit_get_info(c.a, NULL), UTCP_ERR_NULL);

  socklen_t address_len = sizeof(struct sockaddr_in6);
  struct sockaddr_in6 address;
  assert_int_equal(utcp_connection_address(p.ab, NULL, &address_len), UTCP_ERR_NULL);
  assert_int_equal(utcp_connection_address(p.ab, (struct sockaddr *)&address, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_connection_open_circuit(p.ab, 9, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_connection_get_stats(p.ab, NULL), UTCP_ERR_NULL);

  utcp_endpoint *e = p.a->endpoint;
  utcp_connection *connection = NULL;
  assert_int_equal(utcp_endpoint_inject(e, p.net->now, NULL, to_len, data, sizeof data), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_inject(e, p.net->now, to, to_len, NULL, 1), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_inject(e, p.net->now, to, to_len, NULL, 0), UTCP_OK);
  assert_int_equal(utcp_endpoint_inject_batch(e, p.net->now, NULL, 0), UTCP_OK);
  assert_int_equal(utcp_endpoint_inject_batch(e, p.net->now, NULL, 1), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_connect(e, p.net->now, NULL, to_len, NULL, &connection), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_connect(e, p.net->now, to, to_len, NULL, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_find(e, NULL, to_len, &connection), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_find(e, to, to_len, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_shed(e, 0, NULL), UTCP_OK); /* who does not want to know */
  assert_int_equal(utcp_endpoint_set_memory_budget(e, 65535), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_endpoint_set_memory_budget(e, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_endpoint_set_memory_budget(e, UINT64_MAX), UTCP_OK);
  assert_int_equal(utcp_endpoint_set_memory_budget(e, 65536), UTCP_OK);
  assert_int_equal(utcp_endpoint_get_stats(e, NULL), UTCP_ERR_NULL);
  assert_null(connection);

  /* The number was not burnt by the call without an output. */
  open_circuit(p.a, p.ab, 9);
}

/* ---- handles of another kind ---- */

static void
handles_of_another_kind(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  uint8_t data[4] = { 0 };
  size_t len = 77;
  utcp_circuit *opened = NULL;

  assert_int_equal(utcp_circuit_read((utcp_circuit *)p.ab, data, sizeof data, &len), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_write((utcp_circuit *)p.a->endpoint, data, sizeof data, &len), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_free((utcp_circuit *)p.ab), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_free((utcp_connection *)c.a), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_open_circuit((utcp_connection *)c.a, 4, &opened), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_close((utcp_connection *)p.a->endpoint), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_role((utcp_connection *)c.a), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_connection_set_congestion((utcp_connection *)c.a, UTCP_CONGESTION_BBR), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_set_coupled((utcp_circuit *)p.ab, 1), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_process((utcp_endpoint *)p.ab, p.net->now), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_endpoint_free((utcp_endpoint *)c.a), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_config_free((utcp_config *)p.a->endpoint), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_config_set((utcp_config *)p.ab, UTCP_OPTION_SEND_BUFFER, 65536), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_circuit_readable((utcp_circuit *)p.ab), 0);
  assert_null(utcp_circuit_connection((utcp_circuit *)p.ab));
  assert_null(utcp_connection_control((utcp_connection *)c.a));
  assert_true(utcp_endpoint_next_deadline((utcp_endpoint *)c.a) == UINT64_MAX);
  assert_int_equal(len, 77);
  assert_null(opened);

  /* All of them still work. */
  struct stream *s = stream_new(p.b, c.b);
  s->in_seed = 1;
  struct stream *t = stream_new(p.a, c.a);
  t->out_seed = 1;
  t->out_total = 10000;
  stream_pump(t);
  RUN_UNTIL(p.net, 20 * SECOND, s->in_done == 10000);
  assert_int_equal(s->wrong, 0);
}

/* ---- configuration values ---- */

struct bound {
  int option;
  uint64_t least, most;
};

static const struct bound bounds[] = {
  { UTCP_OPTION_SECURITY_LEVEL, 0, 5 },
  { UTCP_OPTION_MAX_CONNECTIONS, 1, 1 << 20 },
  { UTCP_OPTION_MAX_HALF_OPEN, 1, 1 << 20 },
  { UTCP_OPTION_MAX_CIRCUITS, 1, 1 << 24 },
  { UTCP_OPTION_SEND_BUFFER, 4096, 1 << 30 },
  { UTCP_OPTION_RECEIVE_BUFFER, 4096, 1 << 30 },
  { UTCP_OPTION_DATAGRAM_SIZE, 576, 65507 },
  { UTCP_OPTION_HANDSHAKE_TIMEOUT, 100000, 3600 * UINT64_C(1000000) },
  { UTCP_OPTION_DEAD_TIMEOUT, 1000000, 86400 * UINT64_C(1000000) },
  { UTCP_OPTION_MEMORY_BUDGET, 65536, UINT64_MAX },
  { UTCP_OPTION_ECN, 0, 1 },
  { UTCP_OPTION_COUPLED, 0, 1 },
  { UTCP_OPTION_COUPLED_FLOWS, 1, 64 },
  { UTCP_OPTION_CONNECTION_SHARE, 1, 100 },
  { UTCP_OPTION_PATH_MTU_DISCOVERY, 0, 1 },
  { UTCP_OPTION_LARGEST_DATAGRAM, 576, 16421 },
};

/* Whether a configuration with this value is refused, by the setter or at the latest by the endpoint. */
static int
outcome(struct net *net, int option, uint64_t value)
{
  static const struct host_options plain;
  utcp_config *config = host_config(&plain, net_identity(net, 0));
  utcp_callbacks callbacks = host_callbacks(&plain);
  utcp_endpoint *endpoint = NULL;
  int rc = utcp_config_set(config, option, value);
  if (!rc)
    rc = utcp_endpoint_new(config, &callbacks, NULL, &endpoint);
  assert_true((rc == UTCP_OK) == (endpoint != NULL));
  if (endpoint)
    assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
  return rc;
}

static void
option_bounds(void **state)
{
  for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
    const struct bound *b = &bounds[i];
    /* Above 2 OpenSSL itself may find a P-256 certificate too weak; the value as such is fine. */
    if (b->option != UTCP_OPTION_SECURITY_LEVEL)
      assert_int_equal(outcome(*state, b->option, b->most), UTCP_OK);
    assert_int_equal(outcome(*state, b->option, b->least), UTCP_OK);
    if (b->least)
      assert_int_equal(outcome(*state, b->option, b->least - 1), UTCP_ERR_ARGUMENT);
    if (b->most < UINT64_MAX) {
      assert_int_equal(outcome(*state, b->option, b->most + 1), UTCP_ERR_ARGUMENT);
      assert_int_equal(outcome(*state, b->option, UINT64_MAX), UTCP_ERR_ARGUMENT);
      /* Not taken for a small number by a narrower type inside. */
      assert_int_equal(outcome(*state, b->option, (UINT64_C(1) << 32) + b->least + (UINT64_C(1) << 40)),
                       UTCP_ERR_ARGUMENT);
    }
  }
}

static void
option_enumerations(void **state)
{
  for (uint64_t i = 0; i <= 2; i++)
    assert_int_equal(outcome(*state, UTCP_OPTION_CLIENT_CERTIFICATE, i), UTCP_OK);
  assert_int_equal(outcome(*state, UTCP_OPTION_CLIENT_CERTIFICATE, 3), UTCP_ERR_RANGE);
  assert_int_equal(outcome(*state, UTCP_OPTION_CLIENT_CERTIFICATE, UINT64_C(1) << 32), UTCP_ERR_RANGE);
  assert_int_equal(outcome(*state, UTCP_OPTION_CONGESTION, UTCP_CONGESTION_NEWRENO), UTCP_OK);
  assert_int_equal(outcome(*state, UTCP_OPTION_CONGESTION, UTCP_CONGESTION_CUBIC), UTCP_OK);
  assert_int_equal(outcome(*state, UTCP_OPTION_CONGESTION, UTCP_CONGESTION_BBR), UTCP_OK);
  assert_int_equal(outcome(*state, UTCP_OPTION_CONGESTION, 0), UTCP_ERR_RANGE);
  assert_int_equal(outcome(*state, UTCP_OPTION_CONGESTION, 1000), UTCP_ERR_RANGE);
  assert_int_equal(outcome(*state, UTCP_OPTION_CONGESTION, (UINT64_C(1) << 32) + 1), UTCP_ERR_RANGE);
  const int unknown[] = { 0, -1, 1000, INT_MAX, INT_MIN };
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
    assert_int_equal(outcome(*state, unknown[i], 1), UTCP_ERR_RANGE);
}

/* A refused value leaves the one before. */
static void
refused_option_changes_nothing(void **state)
{
  static const struct host_options plain;
  utcp_config *config = host_config(&plain, net_identity(*state, 0));
  utcp_callbacks callbacks = host_callbacks(&plain);
  for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
    if (bounds[i].least)
      assert_int_equal(utcp_config_set(config, bounds[i].option, bounds[i].least - 1), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_config_set(config, UTCP_OPTION_CONGESTION, 99), UTCP_ERR_RANGE);
  utcp_endpoint *endpoint = NULL;
  assert_int_equal(utcp_endpoint_new(config, &callbacks, NULL, &endpoint), UTCP_OK);
  assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
}

static void
seed_lengths(void **state)
{
  (void)state;
  utcp_config *config = utcp_config_new();
  assert_non_null(config);
  uint8_t seed[64] = { 1 };
  assert_int_equal(utcp_config_set_seed(config, seed, 32), UTCP_OK);
  assert_int_equal(utcp_config_set_seed(config, seed, 31), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_config_set_seed(config, seed, 33), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_config_set_seed(config, seed, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_config_set_seed(config, seed, SIZE_MAX), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_config_set_seed(config, NULL, 32), UTCP_ERR_NULL);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
}

/* ---- addresses ---- */

static void
addresses(void **state)
{
  struct net *net = *state;
  struct host *h = HOST(net);
  utcp_connection *connection = NULL;
  uint8_t data[32] = { 22, 254, 253 };
  struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(5), .sin_addr.s_addr = htonl(0x7f000001) };
  struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(5), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
  struct sockaddr_un other = { .sun_family = AF_UNIX };
  const struct { const void *address; socklen_t len; } bad[] = {
    { &v4, 0 }, { &v4, 1 }, { &v4, sizeof(sa_family_t) }, { &v4, sizeof v4 - 1 }, { &v6, sizeof v6 - 1 },
    { &v6, sizeof v4 }, { &other, sizeof other },
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const struct sockaddr *sa = bad[i].address;
    assert_int_equal(utcp_endpoint_connect(h->endpoint, net->now, sa, bad[i].len, NULL, &connection),
                     UTCP_ERR_ARGUMENT);
    assert_int_equal(utcp_endpoint_find(h->endpoint, sa, bad[i].len, &connection), UTCP_ERR_ARGUMENT);
    assert_int_equal(utcp_endpoint_inject(h->endpoint, net->now, sa, bad[i].len, data, sizeof data),
                     UTCP_ERR_ARGUMENT);
  }
  assert_null(connection);

  /* Nobody can be reached at port 0. */
  v4.sin_port = 0;
  assert_int_equal(utcp_endpoint_connect(h->endpoint, net->now, (struct sockaddr *)&v4, sizeof v4, NULL, &connection),
                   UTCP_ERR_ARGUMENT);
  assert_null(connection);
  /* More room than the family needs is what recvmsg hands out with a sockaddr_storage. */
  struct sockaddr_storage roomy = { 0 };
  v4.sin_port = htons(5);
  memcpy(&roomy, &v4, sizeof v4);
  assert_int_equal(utcp_endpoint_find(h->endpoint, (struct sockaddr *)&roomy, sizeof roomy, &connection),
                   UTCP_ERR_CLOSED);
  assert_null(connection);
  assert_int_equal(h->event_count, 0);
}

/* One bad datagram does not take the others of its batch with it, and is counted. */
static void
batch_with_bad_members(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  uint8_t data[4] = { 1, 2, 3, 4 };
  struct sockaddr_un other = { .sun_family = AF_UNIX };
  utcp_datagram batch[] = {
    { .address = (struct sockaddr *)&other, .address_len = sizeof other, .data = data, .len = sizeof data },
    { .address = host_address(p.b), .address_len = p.b->address_len, .data = NULL, .len = 4 },
    { .address = NULL, .address_len = 0, .data = data, .len = sizeof data },
    { .address = host_address(p.b), .address_len = p.b->address_len, .data = data, .len = sizeof data, .ecn = 255 },
    { .address = host_address(p.b), .address_len = p.b->address_len, .data = data, .len = sizeof data, .ecn = 3 },
  };
  int rc = utcp_endpoint_inject_batch(p.a->endpoint, p.net->now, batch, sizeof batch / sizeof *batch);
  assert_in_set((unsigned long)(long)rc,
                ((unsigned long[]){ (unsigned long)(long)UTCP_ERR_ARGUMENT, (unsigned long)(long)UTCP_ERR_NULL }), 2);
  struct circuits c = pair_open(&p, 8);
  assert_non_null(c.b);
  assert_int_equal(host_count(p.a, EV_CLOSED), 0);
}

/* UINT64_MAX says "never" as a deadline: it is no time. */
static void
never_is_no_time(void **state)
{
  struct net *net = *state;
  struct host *h = HOST(net);
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(5), .sin_addr.s_addr = htonl(0x7f000001) };
  uint8_t data[4] = { 0 };
  utcp_connection *connection = NULL;
  assert_int_equal(utcp_endpoint_process(h->endpoint, UINT64_MAX), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_endpoint_inject(h->endpoint, UINT64_MAX, (struct sockaddr *)&to, sizeof to, data, 4),
                   UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_endpoint_inject_batch(h->endpoint, UINT64_MAX, NULL, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_endpoint_connect(h->endpoint, UINT64_MAX, (struct sockaddr *)&to, sizeof to, NULL,
                                         &connection), UTCP_ERR_ARGUMENT);
  assert_null(connection);
}

/* ---- circuits ---- */

static void
circuit_values(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  assert_int_equal(utcp_circuit_set_congestion(c.a, 0), UTCP_ERR_RANGE);
  assert_int_equal(utcp_circuit_set_congestion(c.a, -1), UTCP_ERR_RANGE);
  assert_int_equal(utcp_circuit_set_congestion(c.a, INT_MAX), UTCP_ERR_RANGE);
  assert_int_equal(utcp_circuit_set_events(c.a, 4), UTCP_ERR_RANGE);
  assert_int_equal(utcp_circuit_set_events(c.a, UINT_MAX), UTCP_ERR_RANGE);
  assert_int_equal(utcp_circuit_set_priority(c.a, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_priority(c.a, 256), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_priority(c.a, UINT_MAX), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 4095), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, (1u << 30) + 1), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_receive_buffer(c.a, 4095), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_receive_buffer(c.a, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_circuit_set_receive_buffer(c.a, SIZE_MAX), UTCP_ERR_ARGUMENT);

  assert_int_equal(utcp_circuit_set_congestion(c.a, UTCP_CONGESTION_NEWRENO), UTCP_OK);
  assert_int_equal(circuit_info(c.a).congestion, UTCP_CONGESTION_NEWRENO);
  assert_int_equal(utcp_circuit_set_congestion(c.a, UTCP_CONGESTION_CUBIC), UTCP_OK);
  assert_int_equal(circuit_info(c.a).congestion, UTCP_CONGESTION_CUBIC);
  for (unsigned mask = 0; mask <= 3; mask++)
    assert_int_equal(utcp_circuit_set_events(c.a, mask), UTCP_OK);
  assert_int_equal(utcp_circuit_set_priority(c.a, 1), UTCP_OK);
  assert_int_equal(utcp_circuit_set_priority(c.a, 255), UTCP_OK);
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 4096), UTCP_OK);
  assert_int_equal(utcp_circuit_set_send_buffer(c.a, 1u << 30), UTCP_OK);
  assert_int_equal(utcp_circuit_set_receive_buffer(c.a, 4096), UTCP_OK);
  assert_int_equal(utcp_circuit_set_receive_buffer(c.a, 1u << 30), UTCP_OK);
  assert_int_equal(utcp_circuit_set_rate(c.a, 0), UTCP_OK);
  assert_int_equal(utcp_circuit_set_rate(c.a, UINT64_MAX), UTCP_OK);
  assert_int_equal(utcp_circuit_set_rate(c.a, 1), UTCP_OK);
}

static void
reading_nothing(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  uint8_t data[8] = { 9, 9 };
  size_t len = 77;
  assert_int_equal(utcp_circuit_read(c.a, data, sizeof data, &len), UTCP_ERR_WOULD_BLOCK);
  assert_int_equal(len, 77);
  assert_int_equal(data[0], 9);

  /* No room is not the end of the stream. */
  assert_int_equal(utcp_circuit_write(c.b, data, 5, &len), UTCP_OK);
  assert_int_equal(len, 5);
  RUN_UNTIL(p.net, 10 * SECOND, utcp_circuit_readable(c.a) == 5);
  assert_int_equal(utcp_circuit_read(c.a, NULL, 0, &len), UTCP_OK);
  assert_int_equal(len, 0);
  assert_int_equal(utcp_circuit_readable(c.a), 5);
  assert_int_equal(utcp_circuit_read(c.a, data, sizeof data, &len), UTCP_OK);
  assert_int_equal(len, 5);
}

static void
circuit_number_zero_is_control(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  utcp_circuit *circuit = NULL;
  assert_int_equal(utcp_connection_open_circuit(p.ab, 0, &circuit), UTCP_ERR_ARGUMENT);
  assert_null(circuit);
  assert_int_equal(utcp_circuit_number(utcp_connection_control(p.ab)), 0);
  /* The largest number is as good as any. */
  struct circuits c = pair_open(&p, UINT32_MAX);
  assert_true(utcp_circuit_number(c.a) == UINT32_MAX);
  assert_true(utcp_circuit_number(c.b) == UINT32_MAX);
}

static void
address_room(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct sockaddr_storage out;
  const socklen_t need = sizeof(struct sockaddr_in);
  for (socklen_t room = 0; room < need; room++) {
    memset(&out, 0x5a, sizeof out);
    socklen_t len = room;
    assert_int_equal(utcp_connection_address(p.ab, (struct sockaddr *)&out, &len), UTCP_ERR_ARGUMENT);
    assert_int_equal(len, room);
    for (size_t i = 0; i < sizeof out; i++)
      assert_int_equal(((uint8_t *)&out)[i], 0x5a);
  }
  memset(&out, 0x5a, sizeof out);
  socklen_t len = need;
  assert_int_equal(utcp_connection_address(p.ab, (struct sockaddr *)&out, &len), UTCP_OK);
  assert_int_equal(len, need);
  for (size_t i = need; i < sizeof out; i++)
    assert_int_equal(((uint8_t *)&out)[i], 0x5a);
  const struct sockaddr_in *got = (struct sockaddr_in *)&out, *expected = (const struct sockaddr_in *)host_address(p.b);
  assert_int_equal(got->sin_family, AF_INET);
  assert_int_equal(got->sin_port, expected->sin_port);
  assert_int_equal(got->sin_addr.s_addr, expected->sin_addr.s_addr);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(null_config),
    NET_TEST(null_endpoint),
    cmocka_unit_test(null_connection),
    cmocka_unit_test(null_circuit),
    NET_TEST(null_data_and_outputs),
    NET_TEST(handles_of_another_kind),
    NET_TEST(option_bounds),
    NET_TEST(option_enumerations),
    NET_TEST(refused_option_changes_nothing),
    cmocka_unit_test(seed_lengths),
    NET_TEST(addresses),
    NET_TEST(batch_with_bad_members),
    NET_TEST(never_is_no_time),
    NET_TEST(circuit_values),
    NET_TEST(reading_nothing),
    NET_TEST(circuit_number_zero_is_control),
    NET_TEST(address_room),
  };
  return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}
