#include "pair.h"

struct flight {
  uint64_t due, order;
  struct sockaddr_in6 from, to;
  socklen_t from_len, to_len;
  uint8_t *data;
  size_t len;
  uint8_t ecn;
};

/* ---- network ---- */

struct net *
net_new(uint64_t seed)
{
  struct net *net = calloc(1, sizeof *net);
  if (!net)
    abort();
  net->now = SECOND; /* 0 has a meaning of its own as a deadline */
  net->random = seed ? seed : 1;
  net->delay = 10 * MS;
  return net;
}

/* xorshift64*: enough for dice. */
uint64_t
net_random(struct net *net)
{
  uint64_t x = net->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  net->random = x;
  return x * UINT64_C(0x2545F4914F6CDD1D);
}

const struct identity *
net_identity(struct net *net, size_t index)
{
  struct identity **id = &net->identities[index % 2];
  if (!*id && !(*id = identity_new(index % 2 ? "bob" : "alice")))
    abort();
  return *id;
}

static int
before(const struct flight *a, const struct flight *b)
{
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

/* A binary heap: the earliest flight is first. */
static void
flight_push(struct net *net, struct flight flight)
{
  if (net->flight_count == net->flight_room) {
    net->flight_room = net->flight_room ? 2 * net->flight_room : 64;
    net->flights = realloc(net->flights, net->flight_room * sizeof *net->flights);
    if (!net->flights)
      abort();
  }
  size_t i = net->flight_count++;
  while (i > 0 && before(&flight, &net->flights[(i - 1) / 2])) {
    net->flights[i] = net->flights[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  net->flights[i] = flight;
}

static struct flight
flight_pop(struct net *net)
{
  struct flight first = net->flights[0];
  struct flight last = net->flights[--net->flight_count];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= net->flight_count)
      break;
    if (child + 1 < net->flight_count && before(&net->flights[child + 1], &net->flights[child]))
      child++;
    if (!before(&net->flights[child], &last))
      break;
    net->flights[i] = net->flights[child];
    i = child;
  }
  net->flights[i] = last;
  return first;
}

static int
same_address(const void *a, const void *b)
{
  const struct sockaddr *x = a, *y = b;
  if (x->sa_family != y->sa_family)
    return 0;
  if (x->sa_family == AF_INET) {
    const struct sockaddr_in *p = a, *q = b;
    return p->sin_port == q->sin_port && p->sin_addr.s_addr == q->sin_addr.s_addr;
  }
  const struct sockaddr_in6 *p = a, *q = b;
  return p->sin6_port == q->sin6_port && !memcmp(&p->sin6_addr, &q->sin6_addr, sizeof p->sin6_addr);
}

/* The newest host at an address: a restarted one stands in front of its earlier self. */
static struct host *
host_at(struct net *net, const void *address)
{
  for (size_t i = net->host_count; i-- > 0;)
    if (net->hosts[i]->endpoint && same_address(&net->hosts[i]->address, address))
      return net->hosts[i];
  return NULL;
}

static int
chance(struct net *net, unsigned thousandths)
{
  return thousandths && net_random(net) % 1000 < thousandths;
}

static void
net_send(struct net *net, struct host *from, const utcp_datagram *d)
{
  struct flight f = { .len = d->len, .ecn = d->ecn, .from = from->address, .from_len = from->address_len,
                      .to_len = d->address_len };
  memcpy(&f.to, d->address, d->address_len);
  if (net->filter && net->filter(net, from, host_at(net, &f.to), d->data, d->len)) {
    net->lost++;
    return;
  }
  if (chance(net, net->loss)) {
    net->lost++;
    return;
  }
  int copies = chance(net, net->duplicate) ? 2 : 1;
  while (copies--) {
    f.data = malloc(d->len ? d->len : 1);
    if (!f.data)
      abort();
    memcpy(f.data, d->data, d->len);
    if (d->len && chance(net, net->corrupt))
      f.data[net_random(net) % d->len] ^= (uint8_t)(1u << net_random(net) % 8);
    f.due = net->now + net->delay;
    if (chance(net, net->reorder))
      f.due += net->delay / 4 + net_random(net) % (net->delay / 2 + 1);
    f.order = net->order++;
    flight_push(net, f);
  }
}

int
net_inject(struct host *to, const struct sockaddr *from, socklen_t from_len, const uint8_t *data, size_t len)
{
  to->rx_datagrams++;
  to->rx_octets += len;
  return utcp_endpoint_inject(to->endpoint, to->net->now, from, from_len, data, len);
}

/* Hands over everything that has arrived; several datagrams for one host as a batch. */
static void
deliver(struct net *net)
{
  enum { MOST = 32 };
  while (net->flight_count && net->flights[0].due <= net->now) {
    struct flight taken[MOST];
    utcp_datagram batch[MOST];
    size_t n = 0;
    struct host *to = NULL;
    while (n < MOST && net->flight_count && net->flights[0].due <= net->now) {
      struct host *next = host_at(net, &net->flights[0].to);
      if (n && next != to)
        break;
      to = next;
      taken[n] = flight_pop(net);
      uint8_t ecn = net->mark && to ? net->mark(net, to, taken[n].ecn) : taken[n].ecn;
      batch[n] = (utcp_datagram){ .data = taken[n].data, .len = taken[n].len, .ecn = ecn,
                                  .address = (struct sockaddr *)&taken[n].from, .address_len = taken[n].from_len };
      n++;
    }
    if (to) {
      to->rx_datagrams += n;
      for (size_t i = 0; i < n; i++)
        to->rx_octets += taken[i].len;
      if (n == 1 && !batch[0].ecn)
        utcp_endpoint_inject(to->endpoint, net->now, batch[0].address, batch[0].address_len, batch[0].data,
                             batch[0].len);
      else
        utcp_endpoint_inject_batch(to->endpoint, net->now, batch, n);
    } else {
      net->lost += n;
    }
    while (n--)
      free(taken[n].data);
  }
}

int
net_step(struct net *net, uint64_t limit)
{
  uint64_t next = net->flight_count ? net->flights[0].due : UINT64_MAX;
  for (size_t i = 0; i < net->host_count; i++) {
    struct host *h = net->hosts[i];
    if (!h->endpoint)
      continue;
    uint64_t due = utcp_endpoint_next_deadline(h->endpoint);
    if (h->wake < due)
      due = h->wake;
    if (due < next)
      next = due;
  }
  if (next > limit) {
    net->now = limit;
    net->still = 0;
    return 0;
  }
  if (next > net->now) {
    net->now = next;
    net->still = 0;
  } else if (++net->still > 100000) {
    print_error("an endpoint wants to be called again and again without time passing\n");
    net->still = 0;
    net->now = limit;
    return 0;
  }
  deliver(net);
  for (size_t i = 0; i < net->host_count; i++) {
    struct host *h = net->hosts[i];
    if (!h->endpoint)
      continue;
    if (h->wake <= net->now) {
      h->wake = UINT64_MAX;
      utcp_endpoint_process(h->endpoint, net->now);
    } else if (utcp_endpoint_next_deadline(h->endpoint) <= net->now) {
      utcp_endpoint_process(h->endpoint, net->now);
    }
  }
  return 1;
}

void
net_describe(const struct net *net)
{
  static const char *const kinds[] = { "connection_incoming", "connection_verify", "connection_ready",
                                       "connection_closed",   "circuit_incoming",  "circuit_readable",
                                       "circuit_writable",    "circuit_closed",    "memory_pressure" };
  print_error("%llu us, %zu datagrams in the air, %llu lost\n", (unsigned long long)net->now, net->flight_count,
              (unsigned long long)net->lost);
  for (size_t i = 0; i < net->host_count; i++) {
    const struct host *h = net->hosts[i];
    print_error("host %zu: %llu datagrams out, %llu in\n", i, (unsigned long long)h->tx_datagrams,
                (unsigned long long)h->rx_datagrams);
    for (size_t j = h->event_count > 8 ? h->event_count - 8 : 0; j < h->event_count; j++)
      print_error("  %10llu %s connection %p circuit %p reason %d number %u\n",
                  (unsigned long long)h->events[j].time, kinds[h->events[j].kind], (void *)h->events[j].connection,
                  (void *)h->events[j].circuit, h->events[j].reason, h->events[j].number);
    utcp_endpoint_stats s = { .size = sizeof s };
    if (h->endpoint && utcp_endpoint_get_stats(h->endpoint, &s) == UTCP_OK) {
      const uint64_t *counter = &s.connections;
      print_error("  counters from `connections` on:");
      for (; (const uint8_t *)counter < (const uint8_t *)&s + sizeof s; counter++)
        print_error(" %llu", (unsigned long long)*counter);
      print_error("\n");
    }
  }
}

void
run_for(struct net *net, uint64_t span)
{
  uint64_t end = net->now + span;
  while (net_step(net, end)) {
  }
}

static int
host_release(struct host *h)
{
  int failed = 0;
  /* Handles outlive their endpoint: one host has it freed first, the next last. */
  int endpoint_first = ((struct sockaddr_in *)&h->address)->sin_port & htons(1);
  if (endpoint_first && h->endpoint)
    failed += utcp_endpoint_free(h->endpoint) != UTCP_OK;
  for (size_t i = 0; i < h->handle_count; i++)
    failed += (h->handles[i].is_circuit ? utcp_circuit_free(h->handles[i].handle)
                                        : utcp_connection_free(h->handles[i].handle)) != UTCP_OK;
  if (!endpoint_first && h->endpoint)
    failed += utcp_endpoint_free(h->endpoint) != UTCP_OK;
  for (size_t i = 0; i < h->stream_count; i++)
    free(h->streams[i]);
  free(h->streams);
  free(h->handles);
  free(h->events);
  free(h->refused);
  free(h);
  return failed;
}

int
net_free(struct net *net)
{
  int failed = 0;
  for (size_t i = 0; i < net->host_count; i++)
    failed += host_release(net->hosts[i]);
  while (net->flight_count)
    free(net->flights[--net->flight_count].data);
  free(net->flights);
  identity_free(net->identities[0]);
  identity_free(net->identities[1]);
  free(net);
  return failed;
}

/* ---- callbacks ---- */

static void
track(struct host *h, void *handle, int is_circuit)
{
  if (!handle)
    return;
  for (size_t i = 0; i < h->handle_count; i++)
    if (h->handles[i].handle == handle)
      return;
  if (h->handle_count == h->handle_room) {
    h->handle_room = h->handle_room ? 2 * h->handle_room : 16;
    h->handles = realloc(h->handles, h->handle_room * sizeof *h->handles);
    if (!h->handles)
      abort();
  }
  h->handles[h->handle_count].handle = handle;
  h->handles[h->handle_count++].is_circuit = is_circuit;
}

void
host_track_connection(struct host *h, utcp_connection *connection)
{
  track(h, connection, 0);
}

void
host_track_circuit(struct host *h, utcp_circuit *circuit)
{
  track(h, circuit, 1);
}

void
host_untrack(struct host *h, const void *handle)
{
  for (size_t i = 0; i < h->handle_count; i++)
    if (h->handles[i].handle == handle) {
      h->handles[i] = h->handles[--h->handle_count];
      return;
    }
}

int
host_holds(const struct host *h, const void *handle)
{
  for (size_t i = 0; i < h->handle_count; i++)
    if (h->handles[i].handle == handle)
      return 1;
  return 0;
}

static int
record(struct host *h, struct event event)
{
  event.time = h->net->now;
  if (h->event_count == h->event_room) {
    h->event_room = h->event_room ? 2 * h->event_room : 64;
    h->events = realloc(h->events, h->event_room * sizeof *h->events);
    if (!h->events)
      abort();
  }
  h->events[h->event_count++] = event;
  return h->hook[event.kind] ? h->hook[event.kind](h, &event) : h->answer[event.kind];
}

static int
on_incoming(void *user, utcp_connection *connection, const struct sockaddr *address, socklen_t len)
{
  (void)address;
  (void)len;
  struct host *h = user;
  /* Tracked before the hook, which may free it. */
  track(h, connection, 0);
  int answer = record(h, (struct event){ .kind = EV_INCOMING, .connection = connection });
  if (answer)
    host_untrack(h, connection);
  return answer;
}

static int
on_verify(void *user, utcp_connection *connection, struct ssl_st *ssl)
{
  track(user, connection, 0);
  return record(user, (struct event){ .kind = EV_VERIFY, .connection = connection, .ssl = ssl });
}

static void
on_ready(void *user, utcp_connection *connection)
{
  track(user, connection, 0);
  record(user, (struct event){ .kind = EV_READY, .connection = connection });
}

static void
on_closed(void *user, utcp_connection *connection, int reason)
{
  track(user, connection, 0);
  record(user, (struct event){ .kind = EV_CLOSED, .connection = connection, .reason = reason });
}

static int
on_circuit_incoming(void *user, utcp_connection *connection, utcp_circuit *circuit, uint32_t number)
{
  struct host *h = user;
  track(h, circuit, 1);
  int answer = record(h, (struct event){ .kind = EV_CIRCUIT_INCOMING, .connection = connection, .circuit = circuit,
                                         .number = number });
  if (answer)
    host_untrack(h, circuit);
  return answer;
}

static void stream_read(struct stream *s);
static void stream_write(struct stream *s);

void
stream_on_event(const struct event *event)
{
  struct stream *s = stream_of(event->circuit);
  if (!s)
    return;
  if (event->kind == EV_READABLE)
    stream_read(s);
  if (event->kind == EV_WRITABLE || s->echo)
    stream_write(s);
}

static void
on_readable(void *user, utcp_circuit *circuit)
{
  struct host *h = user;
  struct event event = { .kind = EV_READABLE, .circuit = circuit };
  record(h, event);
  if (!h->hook[EV_READABLE])
    stream_on_event(&event);
}

static void
on_writable(void *user, utcp_circuit *circuit)
{
  struct host *h = user;
  struct event event = { .kind = EV_WRITABLE, .circuit = circuit };
  record(h, event);
  if (!h->hook[EV_WRITABLE])
    stream_on_event(&event);
}

static void
on_circuit_closed(void *user, utcp_circuit *circuit, int reason)
{
  struct host *h = user;
  struct stream *s = stream_of(circuit);
  if (s)
    s->closed = reason;
  record(h, (struct event){ .kind = EV_CIRCUIT_CLOSED, .circuit = circuit, .reason = reason });
}

static void
on_memory_pressure(void *user, int level)
{
  record(user, (struct event){ .kind = EV_MEMORY, .reason = level });
}

static size_t
on_tx(void *user, const utcp_datagram *batch, size_t count)
{
  struct host *h = user;
  size_t taken = count < h->tx_limit ? count : h->tx_limit;
  h->tx_calls++;
  if (!count || !batch)
    h->tx_invalid++;
  if (h->refused && count) {
    if (batch[0].len != h->refused_len || memcmp(batch[0].data, h->refused, h->refused_len))
      h->tx_reordered++;
    free(h->refused);
    h->refused = NULL;
  }
  for (size_t i = 0; i < taken; i++) {
    const utcp_datagram *d = &batch[i];
    if (!d->address || d->address_len > sizeof h->address || !d->data || !d->len || d->len > 65507 || d->ecn > 3) {
      h->tx_invalid++;
      continue;
    }
    h->tx_datagrams++;
    h->tx_ecn[d->ecn]++;
    h->tx_octets += d->len;
    net_send(h->net, h, d);
  }
  if (taken < count) {
    h->tx_short++;
    h->wake = h->net->now + MS / 2;
    h->refused_len = batch[taken].len;
    h->refused = malloc(h->refused_len ? h->refused_len : 1);
    if (!h->refused)
      abort();
    memcpy(h->refused, batch[taken].data, h->refused_len);
  }
  if (h->tx_hook)
    h->tx_hook(h);
  return taken + h->tx_overstate;
}

/* ---- hosts ---- */

utcp_callbacks
host_callbacks(const struct host_options *o)
{
  return (utcp_callbacks){
    .size = sizeof(utcp_callbacks),
    .tx = o->without_tx ? NULL : on_tx,
    .connection_incoming = o->without & 1u << EV_INCOMING ? NULL : on_incoming,
    .connection_verify = o->without & 1u << EV_VERIFY ? NULL : on_verify,
    .connection_ready = o->without & 1u << EV_READY ? NULL : on_ready,
    .connection_closed = o->without & 1u << EV_CLOSED ? NULL : on_closed,
    .circuit_incoming = o->without & 1u << EV_CIRCUIT_INCOMING ? NULL : on_circuit_incoming,
    .circuit_readable = o->without & 1u << EV_READABLE ? NULL : on_readable,
    .circuit_writable = o->without & 1u << EV_WRITABLE ? NULL : on_writable,
    .circuit_closed = o->without & 1u << EV_CIRCUIT_CLOSED ? NULL : on_circuit_closed,
    .memory_pressure = o->without & 1u << EV_MEMORY ? NULL : on_memory_pressure,
  };
}

utcp_config *
host_config(const struct host_options *o, const struct identity *id)
{
  utcp_config *config = utcp_config_new();
  assert_non_null(config);
  assert_int_equal(utcp_config_set_certificate(config, id->chain, id->chain_len, id->key, id->key_len), UTCP_OK);
  for (size_t i = 0; i < sizeof o->set / sizeof *o->set && o->set[i].option; i++)
    assert_int_equal(utcp_config_set(config, o->set[i].option, o->set[i].value), UTCP_OK);
  return config;
}

struct host *
host_new(struct net *net, const struct host_options *o)
{
  struct host *h = calloc(1, sizeof *h);
  assert_non_null(h);
  assert_true(net->host_count < sizeof net->hosts / sizeof *net->hosts);
  h->net = net;
  h->tx_limit = SIZE_MAX;
  h->wake = UINT64_MAX;
  h->identity = o->identity ? o->identity : net_identity(net, net->host_count);
  uint16_t port = o->port ? o->port : (uint16_t)(9000 + net->host_count);
  if (o->ipv6) {
    struct sockaddr_in6 *address = &h->address;
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(port);
    address->sin6_addr = in6addr_loopback;
    h->address_len = sizeof *address;
  } else {
    struct sockaddr_in *address = (struct sockaddr_in *)&h->address;
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    address->sin_addr.s_addr = htonl(0x0a000001);
    h->address_len = sizeof *address;
  }
  net->hosts[net->host_count++] = h;

  utcp_config *config = host_config(o, h->identity);
  uint8_t seed[32] = { 0 };
  for (size_t i = 0; i < sizeof seed; i++)
    seed[i] = (uint8_t)net_random(net);
  assert_int_equal(utcp_config_set_seed(config, seed, sizeof seed), UTCP_OK);
  utcp_callbacks callbacks = host_callbacks(o);
  assert_int_equal(utcp_endpoint_new(config, &callbacks, h, &h->endpoint), UTCP_OK);
  assert_non_null(h->endpoint);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
  return h;
}

void
host_stop(struct host *h)
{
  utcp_endpoint *endpoint = h->endpoint;
  h->endpoint = NULL;
  assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
}

struct host *
host_restart(struct host *h, const struct host_options *o)
{
  struct host_options options = *o;
  options.port = ntohs(((struct sockaddr_in *)&h->address)->sin_port);
  options.ipv6 = h->address.sin6_family == AF_INET6;
  if (!options.identity)
    options.identity = h->identity;
  return host_new(h->net, &options);
}

const struct sockaddr *
host_address(const struct host *h)
{
  return (const struct sockaddr *)&h->address;
}

size_t
host_count(const struct host *h, enum event_kind kind)
{
  size_t n = 0;
  for (size_t i = 0; i < h->event_count; i++)
    n += h->events[i].kind == kind;
  return n;
}

size_t
host_count_circuit(const struct host *h, enum event_kind kind, const utcp_circuit *circuit)
{
  size_t n = 0;
  for (size_t i = 0; i < h->event_count; i++)
    n += h->events[i].kind == kind && h->events[i].circuit == circuit;
  return n;
}

size_t
host_count_connection(const struct host *h, enum event_kind kind, const utcp_connection *connection)
{
  size_t n = 0;
  for (size_t i = 0; i < h->event_count; i++)
    n += h->events[i].kind == kind && h->events[i].connection == connection;
  return n;
}

const struct event *
host_last(const struct host *h, enum event_kind kind)
{
  for (size_t i = h->event_count; i-- > 0;)
    if (h->events[i].kind == kind)
      return &h->events[i];
  return NULL;
}

int
host_closed(const struct host *h, const utcp_connection *connection)
{
  for (size_t i = h->event_count; i-- > 0;)
    if (h->events[i].kind == EV_CLOSED && h->events[i].connection == connection)
      return h->events[i].reason;
  return 0;
}

int
host_circuit_closed(const struct host *h, const utcp_circuit *circuit)
{
  for (size_t i = h->event_count; i-- > 0;)
    if (h->events[i].kind == EV_CIRCUIT_CLOSED && h->events[i].circuit == circuit)
      return h->events[i].reason;
  return 0;
}

utcp_connection *
connect_to(struct host *from, struct host *to, const uint8_t *pin)
{
  utcp_connection *connection = NULL;
  assert_int_equal(utcp_endpoint_connect(from->endpoint, from->net->now, host_address(to), to->address_len, pin,
                                         &connection), UTCP_OK);
  assert_non_null(connection);
  host_track_connection(from, connection);
  return connection;
}

utcp_circuit *
open_circuit(struct host *h, utcp_connection *connection, uint32_t number)
{
  utcp_circuit *circuit = NULL;
  assert_int_equal(utcp_connection_open_circuit(connection, number, &circuit), UTCP_OK);
  assert_non_null(circuit);
  host_track_circuit(h, circuit);
  return circuit;
}

void
free_circuit(struct host *h, utcp_circuit *circuit)
{
  host_untrack(h, circuit);
  assert_int_equal(utcp_circuit_free(circuit), UTCP_OK);
}

void
free_connection(struct host *h, utcp_connection *connection)
{
  host_untrack(h, connection);
  assert_int_equal(utcp_connection_free(connection), UTCP_OK);
}

utcp_circuit_info
circuit_info(const utcp_circuit *circuit)
{
  utcp_circuit_info info = { .size = sizeof info };
  assert_int_equal(utcp_circuit_get_info(circuit, &info), UTCP_OK);
  return info;
}

utcp_connection_stats
connection_stats(const utcp_connection *connection)
{
  utcp_connection_stats stats = { .size = sizeof stats };
  assert_int_equal(utcp_connection_get_stats(connection, &stats), UTCP_OK);
  return stats;
}

utcp_endpoint_stats
endpoint_stats(const struct host *h)
{
  utcp_endpoint_stats stats = { .size = sizeof stats };
  assert_int_equal(utcp_endpoint_get_stats(h->endpoint, &stats), UTCP_OK);
  return stats;
}

struct pair
pair_new(struct net *net, const struct host_options *a, const struct host_options *b)
{
  static const struct host_options plain;
  struct pair p = { .net = net };
  p.a = host_new(net, a ? a : &plain);
  p.b = host_new(net, b ? b : &plain);
  p.ab = connect_to(p.a, p.b, NULL);
  RUN_UNTIL(net, 20 * SECOND, host_count(p.a, EV_READY) && host_count(p.b, EV_READY));
  p.ba = host_last(p.b, EV_READY)->connection;
  return p;
}

struct circuits
pair_open(struct pair *p, uint32_t number)
{
  size_t seen = host_count(p->b, EV_CIRCUIT_INCOMING);
  struct circuits c = { .a = open_circuit(p->a, p->ab, number) };
  RUN_UNTIL(p->net, 20 * SECOND, host_count(p->b, EV_CIRCUIT_INCOMING) > seen);
  c.b = host_last(p->b, EV_CIRCUIT_INCOMING)->circuit;
  assert_int_equal(host_last(p->b, EV_CIRCUIT_INCOMING)->number, number);
  return c;
}

/* ---- streams ---- */

void
pattern(uint64_t seed, uint64_t offset, uint8_t *buffer, size_t len)
{
  for (size_t i = 0; i < len; i++) {
    uint64_t x = (seed << 40 ^ (offset + i) / 8) + UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    buffer[i] = (uint8_t)((x ^ x >> 31) >> 8 * ((offset + i) % 8));
  }
}

struct stream *
stream_new(struct host *h, utcp_circuit *circuit)
{
  struct stream *s = calloc(1, sizeof *s);
  struct stream **grown = realloc(h->streams, (h->stream_count + 1) * sizeof *grown);
  if (!s || !grown)
    abort();
  h->streams = grown;
  h->streams[h->stream_count++] = s;
  s->host = h;
  s->circuit = circuit;
  utcp_circuit_set_user(circuit, s);
  return s;
}

struct stream *
stream_of(const utcp_circuit *circuit)
{
  return utcp_circuit_user(circuit);
}

static void
stream_write(struct stream *s)
{
  uint8_t buffer[4096];
  uint64_t total = s->echo ? s->in_done : s->out_total;
  while (s->out_done < total) {
    size_t n = total - s->out_done < sizeof buffer ? (size_t)(total - s->out_done) : sizeof buffer;
    size_t written = 0;
    pattern(s->echo ? s->in_seed : s->out_seed, s->out_done, buffer, n);
    int rc = utcp_circuit_write(s->circuit, buffer, n, &written);
    if (rc == UTCP_ERR_WOULD_BLOCK)
      break;
    if (rc) {
      s->error = rc;
      return;
    }
    s->out_done += written;
    if (written < n)
      break; /* cut short: an event will tell */
  }
  if (!s->finished && s->out_done == total && (s->echo ? s->end : s->finish)) {
    s->finished = 1;
    int rc = utcp_circuit_finish(s->circuit);
    if (rc)
      s->error = rc;
  }
}

static void
stream_read(struct stream *s)
{
  uint8_t buffer[4096], expected[4096];
  while (!s->paused && !s->end) {
    size_t len = 0;
    int rc = utcp_circuit_read(s->circuit, buffer, sizeof buffer, &len);
    if (rc == UTCP_ERR_WOULD_BLOCK)
      return;
    if (rc == UTCP_ERR_END) {
      s->end = 1;
      return;
    }
    if (rc || !len) {
      s->error = rc ? rc : 1;
      return;
    }
    pattern(s->in_seed, s->in_done, expected, len);
    for (size_t i = 0; i < len; i++)
      s->wrong += buffer[i] != expected[i];
    s->in_done += len;
  }
}

void
stream_pump(struct stream *s)
{
  stream_read(s);
  stream_write(s);
}

int
accept_sink(struct host *h, const struct event *event)
{
  stream_new(h, event->circuit)->in_seed = event->number;
  return 0;
}

int
accept_echo(struct host *h, const struct event *event)
{
  struct stream *s = stream_new(h, event->circuit);
  s->in_seed = event->number;
  s->echo = 1;
  return 0;
}

/* ---- cmocka ---- */

int
setup_net(void **state)
{
  *state = net_new(42);
  return 0;
}

int
teardown_net(void **state)
{
  int failed = net_free(*state);
  if (failed)
    print_error("%d handles could not be freed at the end of the test\n", failed);
  return failed != 0;
}

unsigned
scaled(unsigned full, unsigned small)
{
  return getenv("UTCP_TEST_SMALL") ? small : full;
}
