#include "loopback.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

uint64_t clock_now;
struct event_base *loop_base;
struct send_script sending;
struct failure_script failing;

static struct peer *peers;
static uint16_t next_port;
static struct identity *peer_identity;
static unsigned idle; /* turns since a datagram moved */
static uint64_t moved;

/* ---- in place of the C library's ---- */

/* libevent asks this clock what time it is. */
int
clock_gettime(clockid_t id, struct timespec *ts)
{
  if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE)
    return (int)syscall(SYS_clock_gettime, id, ts);
  ts->tv_sec = (time_t)(clock_now / SECOND);
  ts->tv_nsec = (long)(clock_now % SECOND) * 1000;
  return 0;
}

/* ---- in place of the library (the linker's --wrap) ---- */

int __real_utcp_connection_open_circuit(utcp_connection *connection, uint32_t number, utcp_circuit **circuit);
int __wrap_utcp_connection_open_circuit(utcp_connection *connection, uint32_t number, utcp_circuit **circuit);
int __real_utcp_endpoint_process(utcp_endpoint *endpoint, uint64_t now);
int __wrap_utcp_endpoint_process(utcp_endpoint *endpoint, uint64_t now);
size_t __real_utcp_socket_send(utcp_socket *socket, const utcp_datagram *batch, size_t count);
size_t __wrap_utcp_socket_send(utcp_socket *socket, const utcp_datagram *batch, size_t count);

int
__wrap_utcp_connection_open_circuit(utcp_connection *connection, uint32_t number, utcp_circuit **circuit)
{
  return failing.open_circuit ? failing.open_circuit : __real_utcp_connection_open_circuit(connection, number, circuit);
}

int
__wrap_utcp_endpoint_process(utcp_endpoint *endpoint, uint64_t now)
{
  int answer = failing.process;
  failing.process = UTCP_OK;
  return answer ? answer : __real_utcp_endpoint_process(endpoint, now);
}

size_t
__wrap_utcp_socket_send(utcp_socket *socket, const utcp_datagram *batch, size_t count)
{
  size_t lost = 0;
  if (sending.full) {
    sending.full--;
    return 0;
  }
  if (sending.lost && count) {
    sending.lost--;
    lost = 1;
  }
  if (sending.limit && count > sending.limit)
    count = sending.limit;
  size_t done = __real_utcp_socket_send(socket, batch + lost, count - lost);
  moved += done;
  return lost + done;
}

/* ---- cells ---- */

static void
cell_payload(uint8_t *out, uint32_t number, uint32_t seq)
{
  uint32_t x = number * 2654435761u ^ (seq + 1) * 2246822519u;
  for (size_t i = 0; i < CELL_PAYLOAD; i++) {
    x = x * 1664525u + 1013904223u;
    out[i] = (uint8_t)(x >> 24);
  }
  for (unsigned i = 0; i < 4; i++)
    out[i] = (uint8_t)(seq >> (24 - 8 * i));
}

size_t
cell_pack(uint8_t *out, size_t id_len, uint32_t number, uint8_t command, uint32_t seq)
{
  for (size_t i = 0; i < id_len; i++)
    out[i] = (uint8_t)(number >> 8 * (id_len - 1 - i));
  out[id_len] = command;
  cell_payload(out + id_len + 1, number, seq);
  return cell_size(id_len);
}

void
cell_unpack(const uint8_t *in, size_t id_len, struct cell *cell)
{
  cell->number = 0;
  for (size_t i = 0; i < id_len; i++)
    cell->number = cell->number << 8 | in[i];
  cell->command = in[id_len];
  memcpy(cell->payload, in + id_len + 1, CELL_PAYLOAD);
}

bool
cell_is(const struct cell *cell, uint32_t number, uint8_t command, uint32_t seq)
{
  uint8_t payload[CELL_PAYLOAD];
  cell_payload(payload, number, seq);
  return cell->number == number && cell->command == command && !memcmp(cell->payload, payload, sizeof payload);
}

/* ---- octets ---- */

void
octets_add(struct octets *octets, const void *data, size_t len)
{
  if (octets->room - octets->len < len) {
    octets->room = 2 * octets->room + len;
    octets->data = realloc(octets->data, octets->room);
    if (!octets->data)
      abort();
  }
  if (len)
    memcpy(octets->data + octets->len, data, len);
  octets->len += len;
}

void
octets_free(struct octets *octets)
{
  free(octets->data);
  *octets = (struct octets){ .data = NULL };
}

/* ---- circuits ---- */

static struct circuit *
circuit_new(struct peer *peer, utcp_circuit *handle, uint32_t number, bool incoming)
{
  struct circuit *c = calloc(1, sizeof *c);
  if (!c)
    abort();
  *c = (struct circuit){ .peer = peer, .handle = handle, .number = number, .incoming = incoming };
  c->next = peer->circuits;
  peer->circuits = c;
  utcp_circuit_set_user(handle, c);
  return c;
}

static void
circuit_read(struct circuit *c)
{
  uint8_t buffer[16384];
  while (!c->paused && !c->end && c->handle) {
    size_t n = 0;
    int rc = utcp_circuit_read(c->handle, buffer, sizeof buffer, &n);
    if (rc == UTCP_ERR_END)
      c->end = true;
    if (rc)
      return;
    octets_add(&c->in, buffer, n);
  }
}

static void
circuit_push(struct circuit *c)
{
  while (c->handle && c->out_done < c->out.len) {
    size_t n = 0;
    if (utcp_circuit_write(c->handle, c->out.data + c->out_done, c->out.len - c->out_done, &n))
      return;
    c->out_done += n;
    if (c->out_done < c->out.len)
      return;
  }
  if (c->handle && c->finish) {
    c->finish = false;
    utcp_circuit_finish(c->handle);
  }
}

void
circuit_write(struct circuit *c, const void *data, size_t len)
{
  octets_add(&c->out, data, len);
  circuit_push(c);
}

void
circuit_cells(struct circuit *c, size_t id_len, uint8_t command, uint32_t seq, size_t count)
{
  uint8_t cell[CELL_ROOM];
  while (count--) {
    size_t size = cell_pack(cell, id_len, c->number, command, seq++);
    octets_add(&c->out, cell, size);
  }
  circuit_push(c);
}

void
circuit_finish(struct circuit *c)
{
  c->finish = true;
  circuit_push(c);
}

void
circuit_abort(struct circuit *c)
{
  if (c->handle)
    utcp_circuit_abort(c->handle);
}

size_t
circuit_count(const struct circuit *c, size_t id_len)
{
  return c->in.len / cell_size(id_len);
}

struct cell
circuit_cell(const struct circuit *c, size_t id_len, size_t index)
{
  struct cell cell;
  assert_true(index < circuit_count(c, id_len));
  cell_unpack(c->in.data + index * cell_size(id_len), id_len, &cell);
  return cell;
}

utcp_circuit_info
circuit_info(const struct circuit *c)
{
  utcp_circuit_info info = { .size = sizeof info };
  assert_int_equal(utcp_circuit_get_info(c->handle, &info), UTCP_OK);
  return info;
}

bool
circuit_is_delivered(const struct circuit *c)
{
  utcp_circuit_info info = { .size = sizeof info };
  return !c->handle || c->closed || utcp_circuit_get_info(c->handle, &info) ||
         (c->out_done == c->out.len && !info.send_queue);
}

/* ---- what the library tells a peer ---- */

static size_t
on_tx(void *user, const utcp_datagram *batch, size_t count)
{
  struct peer *p = user;
  for (size_t i = 0; i < count && !p->mute; i++) {
    struct iovec iov = { .iov_base = (void *)(uintptr_t)batch[i].data, .iov_len = batch[i].len };
    struct msghdr msg = { .msg_name = (void *)(uintptr_t)batch[i].address, .msg_namelen = batch[i].address_len,
                          .msg_iov = &iov, .msg_iovlen = 1 };
    p->tx += sendmsg(p->fd, &msg, MSG_DONTWAIT) >= 0;
    moved++;
  }
  return count;
}

static void
peer_track(struct peer *p, utcp_connection *connection)
{
  utcp_connection **grown = realloc(p->connections, (p->connection_count + 1) * sizeof *grown);
  if (!grown)
    abort();
  p->connections = grown;
  p->connections[p->connection_count++] = connection;
  p->connection = connection;
}

static int
on_incoming(void *user, utcp_connection *connection, const struct sockaddr *address, socklen_t len)
{
  struct peer *p = user;
  (void)address;
  (void)len;
  p->incoming++;
  peer_track(p, connection);
  return 0;
}

static int
on_verify(void *user, utcp_connection *connection, struct ssl_st *ssl)
{
  struct peer *p = user;
  unsigned int len = sizeof p->seen;
  X509 *certificate = SSL_get1_peer_certificate(ssl);
  (void)connection;
  memset(p->seen, 0, sizeof p->seen);
  if (certificate)
    X509_digest(certificate, EVP_sha256(), p->seen, &len);
  X509_free(certificate);
  return 0;
}

static void
on_ready(void *user, utcp_connection *connection)
{
  struct peer *p = user;
  p->ready++;
  p->connection = connection;
  p->role = utcp_connection_role(connection);
  p->control = circuit_new(p, utcp_connection_control(connection), 0, false);
}

static void
on_closed(void *user, utcp_connection *connection, int reason)
{
  struct peer *p = user;
  p->closed++;
  p->close_reason = reason;
  for (struct circuit *c = p->circuits; c; c = c->next)
    if (!c->number && !c->closed && c->handle && utcp_circuit_connection(c->handle) == connection)
      c->closed = reason;
}

static int
on_circuit_incoming(void *user, utcp_connection *connection, utcp_circuit *circuit, uint32_t number)
{
  struct peer *p = user;
  (void)connection;
  if (p->refuse_circuits) {
    p->refused_circuits++;
    return -1;
  }
  circuit_new(p, circuit, number, true);
  return 0;
}

static void
on_readable(void *user, utcp_circuit *circuit)
{
  (void)user;
  struct circuit *c = utcp_circuit_user(circuit);
  if (c)
    circuit_read(c);
}

static void
on_writable(void *user, utcp_circuit *circuit)
{
  (void)user;
  struct circuit *c = utcp_circuit_user(circuit);
  if (c)
    circuit_push(c);
}

static void
on_circuit_closed(void *user, utcp_circuit *circuit, int reason)
{
  (void)user;
  struct circuit *c = utcp_circuit_user(circuit);
  if (c)
    c->closed = reason;
}

/* ---- peers ---- */

struct sockaddr_in
loopback_address(uint16_t port)
{
  /* All of 127.0.0.0/8 is this machine: processes that run at the same time do not meet. */
  uint32_t id = (uint32_t)getpid();
  return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(0x7f000000 | (id & 0x7fffff)) };
}

struct peer *
peer_new(const struct peer_options *o)
{
  static const utcp_callbacks callbacks = {
    .size = sizeof callbacks,
    .tx = on_tx,
    .connection_incoming = on_incoming,
    .connection_verify = on_verify,
    .connection_ready = on_ready,
    .connection_closed = on_closed,
    .circuit_incoming = on_circuit_incoming,
    .circuit_readable = on_readable,
    .circuit_writable = on_writable,
    .circuit_closed = on_circuit_closed,
  };
  struct peer *p = calloc(1, sizeof *p);
  utcp_config *config = utcp_config_new();
  const struct identity *id = o->identity ? o->identity : peer_identity;
  const int room = 8 << 20;

  assert_true(p && config && id);
  p->address = loopback_address(o->port ? o->port : next_port++);
  p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  assert_true(p->fd >= 0);
  if (setsockopt(p->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
    setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  assert_int_equal(bind(p->fd, (struct sockaddr *)&p->address, sizeof p->address), 0);
  assert_int_equal(utcp_config_set_certificate(config, id->chain, id->chain_len, id->key, id->key_len), UTCP_OK);
  assert_int_equal(utcp_config_set(config, UTCP_OPTION_CLIENT_CERTIFICATE, 1), UTCP_OK);
  if (o->receive_buffer)
    assert_int_equal(utcp_config_set(config, UTCP_OPTION_RECEIVE_BUFFER, o->receive_buffer), UTCP_OK);
  assert_int_equal(utcp_endpoint_new(config, &callbacks, p, &p->endpoint), UTCP_OK);
  utcp_config_free(config);
  p->next = peers;
  peers = p;
  return p;
}

void
peer_stop(struct peer *p)
{
  if (!p->endpoint)
    return;
  /* The handles first: of a control circuit, no call may come after. */
  for (struct circuit *c = p->circuits; c; c = c->next) {
    if (c->number)
      utcp_circuit_free(c->handle);
    c->handle = NULL;
  }
  /* Without a word: freeing a connection queues an alert, which nobody sends. */
  p->mute = true;
  for (size_t i = 0; i < p->connection_count; i++)
    utcp_connection_free(p->connections[i]);
  utcp_endpoint_free(p->endpoint);
  p->endpoint = NULL;
  p->connection = NULL;
  p->control = NULL;
  close(p->fd);
  p->fd = -1;
}

void
peer_connect(struct peer *p)
{
  struct sockaddr_in to = loopback_address(9001);
  utcp_connection *connection = NULL;
  assert_int_equal(utcp_endpoint_connect(p->endpoint, clock_now, (struct sockaddr *)&to, sizeof to, NULL, &connection),
                   UTCP_OK);
  peer_track(p, connection);
}

struct circuit *
peer_open(struct peer *p, uint32_t number)
{
  utcp_circuit *handle = NULL;
  assert_int_equal(utcp_connection_open_circuit(p->connection, number, &handle), UTCP_OK);
  return circuit_new(p, handle, number, false);
}

struct circuit *
peer_circuit(struct peer *p, uint32_t number)
{
  for (struct circuit *c = p->circuits; c; c = c->next)
    if (c->number == number && number)
      return c;
  return NULL;
}

static void
peer_pump(struct peer *p)
{
  uint8_t buffer[65536];
  struct sockaddr_in from;
  if (!p->endpoint || p->asleep)
    return;
  for (;;) {
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(p->fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &len);
    if (n < 0)
      break;
    moved++;
    if (p->deaf)
      continue;
    if (p->lose_next) {
      p->lose_next--;
      continue;
    }
    p->rx++;
    utcp_endpoint_inject(p->endpoint, clock_now, (struct sockaddr *)&from, len, buffer, (size_t)n);
  }
  for (unsigned i = 0; i < 100 && utcp_endpoint_next_deadline(p->endpoint) <= clock_now; i++)
    utcp_endpoint_process(p->endpoint, clock_now);
}

/* ---- running ---- */

bool
loopback_step(uint64_t limit)
{
  uint64_t before = moved;
  if (clock_now >= limit)
    return false;
  event_base_loop(loop_base, EVLOOP_NONBLOCK);
  for (struct peer *p = peers; p; p = p->next)
    peer_pump(p);

  uint64_t pause = 50;
  if (moved != before) {
    idle = 0;
  } else {
    /* The longer nothing happens, the longer the steps: whoever waits for long does not care for a little more. */
    uint64_t next = UINT64_MAX;
    for (struct peer *p = peers; p; p = p->next)
      if (p->endpoint && !p->asleep) {
        uint64_t due = utcp_endpoint_next_deadline(p->endpoint);
        next = due < next ? due : next;
      }
    if (idle++ > 1)
      pause = idle > 40 ? 100 * MS : idle > 20 ? 10 * MS : MS;
    if (next > clock_now && next - clock_now < pause)
      pause = next - clock_now;
  }
  clock_now = clock_now + pause < limit ? clock_now + pause : limit;
  return true;
}

void
run_for(uint64_t span)
{
  uint64_t end = clock_now + span;
  while (loopback_step(end)) {
  }
}

void
run_turns(unsigned count)
{
  while (count--) {
    idle = 0;
    loopback_step(clock_now + 10);
  }
}

void
loopback_describe(void)
{
  print_error("%llu us\n", (unsigned long long)clock_now);
  for (const struct peer *p = peers; p; p = p->next) {
    print_error("peer %u: %llu datagrams in, %llu out; %u incoming, %u ready, %u closed (%d)\n",
                ntohs(p->address.sin_port), (unsigned long long)p->rx, (unsigned long long)p->tx, p->incoming, p->ready,
                p->closed, p->close_reason);
    unsigned n = 0;
    for (const struct circuit *c = p->circuits; c && n < 8; c = c->next, n++)
      print_error("  circuit %u: %zu octets in, %zu of %zu out, end %d, closed %d\n", c->number, c->in.len, c->out_done,
                  c->out.len, c->end, c->closed);
  }
}

void
loopback_setup(void)
{
  struct event_config *config = event_config_new();
  clock_now = 1000 * SECOND;
  sending = (struct send_script){ .full = 0 };
  failing = (struct failure_script){ .process = UTCP_OK };
  next_port = 9100;
  idle = 0;
  assert_non_null(config);
  assert_int_equal(event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER), 0);
  loop_base = event_base_new_with_config(config);
  event_config_free(config);
  assert_non_null(loop_base);
  if (!peer_identity)
    peer_identity = identity_new("peer");
  assert_non_null(peer_identity);
}

void
loopback_teardown(void)
{
  while (peers) {
    struct peer *p = peers;
    peers = p->next;
    peer_stop(p);
    while (p->circuits) {
      struct circuit *c = p->circuits;
      p->circuits = c->next;
      octets_free(&c->in);
      octets_free(&c->out);
      free(c);
    }
    free(p->connections);
    free(p);
  }
  event_base_free(loop_base);
  loop_base = NULL;
  identity_free(peer_identity);
  peer_identity = NULL;
}

unsigned
scaled(unsigned full, unsigned small)
{
  return getenv("UTCP_TEST_SMALL") ? small : full;
}
