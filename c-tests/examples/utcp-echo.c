/* utcp-echo: how a program with an event loop uses utcp.
 *
 *   utcp-echo serve ADDRESS:PORT            sends back whatever arrives on every circuit
 *   utcp-echo send ADDRESS:PORT [options]   opens circuits, sends a seeded pattern on each, checks what comes back
 *
 * Port 0 lets the kernel choose; the server prints the address that it has. The parts, from top to bottom:
 *
 *   1. socket and timer   the library waits for nothing and reads no clock: it is told when the socket is readable and
 *                         what time it is; datagrams come out through the tx callback, the next deadline through a
 *                         function. utcp_socket makes the system calls, in batches; it need not be used
 *   2. the echo server    incoming circuits, reading, backpressure
 *   3. the client         connecting, opening circuits, writing, reading, reconnecting
 *   4. setting up         certificate, configuration, callbacks, signals
 *
 * libevent is used here because Tor uses it; any loop that can wait for a socket and for a time will do.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <event2/event.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <utcp.h>

#define PER_WAKE 512 /* datagrams, then other events get a turn */
#define CHUNK 16384  /* octets moved at a time */

/* Everything that belongs to one socket. The callbacks get it as `user`. */
struct app {
  struct event_base *base;
  struct event *readable, *writable, *timer, *sigint, *sigterm;
  int fd;
  utcp_socket *socket;
  utcp_endpoint *endpoint;
  int stopping;
  int result; /* exit status */
  struct peer *peers;
  struct client *client; /* NULL in the server */
};

/* A connection. Reachable from its handle through utcp_connection_user. */
struct peer {
  struct app *app;
  utcp_connection *connection;
  struct peer *next, **link;
};

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void
die(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fputs("utcp-echo: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(2);
}

/* For calls that cannot fail unless this program is wrong. */
static void
must(int rc, const char *what)
{
  if (rc != UTCP_OK)
    die("%s: %s", what, utcp_error_string(rc));
}

/* ---- 1. socket and timer ---- */

static uint64_t
now_us(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* To be called after anything that may have changed the deadline: inject, process, and whatever is called on handles
 * outside of callbacks. A timer that fires early or late does no harm. */
static void
set_timer(struct app *app)
{
  uint64_t deadline = utcp_endpoint_next_deadline(app->endpoint);
  if (deadline == UINT64_MAX) {
    event_del(app->timer);
    return;
  }
  uint64_t now = now_us();
  uint64_t wait = deadline > now ? deadline - now : 0;
  if (wait > 3600 * UINT64_C(1000000))
    wait = 3600 * UINT64_C(1000000);
  struct timeval tv = { .tv_sec = (time_t)(wait / 1000000), .tv_usec = (suseconds_t)(wait % 1000000) };
  event_add(app->timer, &tv);
}

/* The library hands over datagrams. Those that are not taken are kept and offered again by the next inject or process,
 * so a full socket needs no queue here: just a call of process when it is writable again. */
static size_t
on_tx(void *user, const utcp_datagram *batch, size_t count)
{
  struct app *app = user;
  size_t sent = utcp_socket_send(app->socket, batch, count);
  if (sent < count)
    event_add(app->writable, NULL);
  return sent;
}

static void
on_socket_writable(evutil_socket_t fd, short what, void *arg)
{
  (void)fd, (void)what;
  struct app *app = arg;
  must(utcp_endpoint_process(app->endpoint, now_us()), "process");
  set_timer(app);
}

static void
on_socket_readable(evutil_socket_t fd, short what, void *arg)
{
  (void)fd, (void)what;
  struct app *app = arg;
  size_t received;
  /* Injects them, so callbacks come from inside of this call. What is left over comes with the next event. */
  must(utcp_socket_receive(app->socket, app->endpoint, now_us(), PER_WAKE, &received), "receive");
  set_timer(app);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
  (void)fd, (void)what;
  struct app *app = arg;
  must(utcp_endpoint_process(app->endpoint, now_us()), "process");
  set_timer(app);
}

/* ---- connections, on both sides ---- */

static struct peer *
peer_new(struct app *app, utcp_connection *connection)
{
  struct peer *peer = calloc(1, sizeof *peer);
  if (!peer)
    die("out of memory");
  peer->app = app;
  peer->connection = connection;
  peer->next = app->peers;
  peer->link = &app->peers;
  if (peer->next)
    peer->next->link = &peer->next;
  app->peers = peer;
  utcp_connection_set_user(connection, peer);
  return peer;
}

static void
print_connection(const char *what, utcp_connection *connection, int reason)
{
  struct sockaddr_in address = { .sin_family = AF_INET };
  socklen_t len = sizeof address;
  char text[INET_ADDRSTRLEN] = "?";
  utcp_connection_stats s = { .size = sizeof s };
  if (utcp_connection_address(connection, (struct sockaddr *)&address, &len) == UTCP_OK)
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
  (void)utcp_connection_get_stats(connection, &s);
  printf("%s peer=%s:%u reason=%d circuits_accepted=%" PRIu64 " payload_sent=%" PRIu64 " payload_received=%" PRIu64
         " segments_retransmitted=%" PRIu64 " srtt=%" PRIu64 " dropped_record=%" PRIu64
         " dropped_plaintext_alert=%" PRIu64 " dropped_malformed=%" PRIu64 " dropped_peer_handshake=%" PRIu64 "\n",
         what, text, ntohs(address.sin_port), reason, s.circuits_accepted, s.payload_sent, s.payload_received,
         s.segments_retransmitted, s.srtt, s.dropped_record, s.dropped_plaintext_alert, s.dropped_malformed,
         s.dropped_peer_handshake);
  fflush(stdout);
}

static void
peer_free(struct peer *peer)
{
  *peer->link = peer->next;
  if (peer->next)
    peer->next->link = peer->link;
  /* The handle is ours until we free it, however the connection ended. */
  must(utcp_connection_free(peer->connection), "connection free");
  free(peer);
}

/* Somebody whose address is proven wants to connect. Here the handle is seen for the first time. */
static int
on_connection_incoming(void *user, utcp_connection *connection, const struct sockaddr *address, socklen_t address_len)
{
  (void)address, (void)address_len;
  struct app *app = user;
  if (app->client)
    return 1; /* a client takes nobody: the library frees the handle */
  peer_new(app, connection);
  return 0;
}

/* Is this the peer we want? A relay compares the certificate with what the directory says, or lets anybody in here and
 * authenticates inside, bound to this session by SSL_export_keying_material. */
static int
on_connection_verify(void *user, utcp_connection *connection, struct ssl_st *ssl)
{
  (void)user, (void)connection;
  return SSL_version(ssl) == DTLS1_2_VERSION ? 0 : 1;
}

/* ---- 2. the echo server ---- */

/* What was read and could not be written yet. */
struct echo {
  uint8_t data[CHUNK];
  size_t at, end;
  int ended;
};

/* Writes what is waiting. 1 if all of it went out. */
static int
echo_flush(utcp_circuit *circuit, struct echo *echo)
{
  while (echo->at < echo->end) {
    size_t written;
    int rc = utcp_circuit_write(circuit, echo->data + echo->at, echo->end - echo->at, &written);
    if (rc != UTCP_OK)
      return 0; /* WOULD_BLOCK: circuit_writable follows; CLOSED: circuit_closed follows */
    echo->at += written;
  }
  return 1;
}

static void
echo_pump(utcp_circuit *circuit, struct echo *echo)
{
  while (!echo->ended) {
    if (!echo_flush(circuit, echo)) {
      /* Backpressure: stop reading this circuit, and no other one. Its receive window fills up, and the peer stops
       * sending on it. */
      utcp_circuit_set_events(circuit, UTCP_EVENT_WRITABLE);
      return;
    }
    size_t len;
    int rc = utcp_circuit_read(circuit, echo->data, sizeof echo->data, &len);
    if (rc == UTCP_OK) {
      echo->at = 0;
      echo->end = len;
    } else if (rc == UTCP_ERR_END) {
      echo->ended = 1;
      utcp_circuit_finish(circuit);
    } else {
      break; /* WOULD_BLOCK: circuit_readable follows; CLOSED: circuit_closed follows */
    }
  }
}

static int
server_circuit_incoming(void *user, utcp_connection *connection, utcp_circuit *circuit, uint32_t number)
{
  (void)user, (void)connection, (void)number;
  struct echo *echo = calloc(1, sizeof *echo);
  if (!echo)
    return 1; /* refused: the library frees the handle */
  utcp_circuit_set_user(circuit, echo);
  return 0;
}

static void
server_circuit_readable(void *user, utcp_circuit *circuit)
{
  (void)user;
  struct echo *echo = utcp_circuit_user(circuit);
  if (echo) /* NULL: the control circuit, which this protocol does not use */
    echo_pump(circuit, echo);
}

static void
server_circuit_writable(void *user, utcp_circuit *circuit)
{
  (void)user;
  struct echo *echo = utcp_circuit_user(circuit);
  if (echo) {
    utcp_circuit_set_events(circuit, UTCP_EVENT_READABLE | UTCP_EVENT_WRITABLE);
    echo_pump(circuit, echo);
  }
}

static void
server_circuit_closed(void *user, utcp_circuit *circuit, int reason)
{
  (void)user, (void)reason;
  free(utcp_circuit_user(circuit));
  must(utcp_circuit_free(circuit), "circuit free");
}

static void
server_connection_ready(void *user, utcp_connection *connection)
{
  (void)user;
  print_connection("ready", connection, 0);
}

static void
server_connection_closed(void *user, utcp_connection *connection, int reason)
{
  (void)user;
  print_connection("closed", connection, reason);
  peer_free(utcp_connection_user(connection));
}

/* ---- 3. the client ---- */

struct client {
  struct sockaddr_in server;
  unsigned circuits, parallel;
  uint64_t bytes, seed;
  uint8_t pin[32];
  int pinned, retry, progress;

  struct flow *todo; /* not started, or to be started again */
  unsigned open, done, reconnects;
  uint64_t mismatches;
  utcp_connection_stats total; /* of the connections that have ended */
  int last_reason;
  struct event *reconnect;
};

/* What one circuit has to do. */
struct flow {
  struct flow *next;
  uint32_t number;
  uint64_t written, verified;
  int finished, ended;
};

/* Octets of the pattern, from `offset` on: a hash of seed, circuit and position. */
static void
fill(uint64_t seed, uint32_t number, uint64_t offset, uint8_t *out, size_t len)
{
  for (size_t i = 0; i < len; i++) {
    uint64_t x = (seed << 32 ^ number) + (offset + i) / 8 * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    out[i] = (uint8_t)(x >> 8 * ((offset + i) % 8));
  }
}

/* Writes until the library takes no more, then half-closes. */
static void
flow_write(struct client *client, utcp_circuit *circuit, struct flow *flow)
{
  uint8_t data[CHUNK];
  while (flow->written < client->bytes) {
    size_t len = client->bytes - flow->written < sizeof data ? (size_t)(client->bytes - flow->written) : sizeof data;
    size_t written;
    fill(client->seed, flow->number, flow->written, data, len);
    if (utcp_circuit_write(circuit, data, len, &written) != UTCP_OK)
      return;
    flow->written += written;
  }
  if (!flow->finished && utcp_circuit_finish(circuit) == UTCP_OK)
    flow->finished = 1;
}

static void
flow_read(struct client *client, utcp_circuit *circuit, struct flow *flow)
{
  uint8_t data[CHUNK], expected[CHUNK];
  for (;;) {
    size_t len;
    int rc = utcp_circuit_read(circuit, data, sizeof data, &len);
    if (rc == UTCP_ERR_END)
      flow->ended = 1;
    if (rc != UTCP_OK)
      return;
    fill(client->seed, flow->number, flow->verified, expected, len);
    for (size_t i = 0; i < len; i++)
      client->mismatches += data[i] != expected[i];
    flow->verified += len;
  }
}

/* Opens circuits until as many are open as wanted. What is written right after opening travels with the first
 * segment. */
static void
client_open(struct app *app, utcp_connection *connection)
{
  struct client *client = app->client;
  while (client->open < client->parallel && client->todo) {
    struct flow *flow = client->todo;
    utcp_circuit *circuit;
    int rc = utcp_connection_open_circuit(connection, flow->number, &circuit);
    if (rc != UTCP_OK)
      return; /* the connection is ending: its event follows */
    client->todo = flow->next;
    client->open++;
    flow->written = flow->verified = 0;
    flow->finished = flow->ended = 0;
    utcp_circuit_set_user(circuit, flow);
    flow_write(client, circuit, flow);
  }
}

static void
client_circuit_readable(void *user, utcp_circuit *circuit)
{
  struct app *app = user;
  struct flow *flow = utcp_circuit_user(circuit);
  if (flow)
    flow_read(app->client, circuit, flow);
}

static void
client_circuit_writable(void *user, utcp_circuit *circuit)
{
  struct app *app = user;
  struct flow *flow = utcp_circuit_user(circuit);
  if (flow)
    flow_write(app->client, circuit, flow);
}

static void
client_circuit_closed(void *user, utcp_circuit *circuit, int reason)
{
  struct app *app = user;
  struct client *client = app->client;
  struct flow *flow = utcp_circuit_user(circuit);
  utcp_connection *connection = utcp_circuit_connection(circuit);
  must(utcp_circuit_free(circuit), "circuit free");
  client->open--;
  if (reason == UTCP_CLOSE_DONE && flow->ended) {
    if (flow->verified != client->bytes)
      client->mismatches++; /* it ended in good order, but not with all octets */
    free(flow);
    client->done++;
    if (client->progress) {
      printf("done %u\n", client->done);
      fflush(stdout);
    }
    if (client->done == client->circuits)
      utcp_connection_close(connection); /* connection_closed follows */
    else
      client_open(app, connection);
    return;
  }
  /* Once more from the start, on this connection or the next one. */
  flow->next = client->todo;
  client->todo = flow;
  if (reason == UTCP_CLOSE_TIMEOUT)
    utcp_connection_close(connection); /* the peer does not answer: do not wait for its other circuits */
  else if (reason != UTCP_CLOSE_CONNECTION && !client->retry) {
    fprintf(stderr, "utcp-echo: circuit %u: %s\n", flow->number, utcp_error_string(reason));
    app->result = 1;
    utcp_connection_close(connection);
  } else if (reason != UTCP_CLOSE_CONNECTION) {
    client_open(app, connection);
  }
}

static void
client_connect(struct app *app)
{
  struct client *client = app->client;
  utcp_connection *connection;
  int rc = utcp_endpoint_connect(app->endpoint, now_us(), (struct sockaddr *)&client->server, sizeof client->server,
                                 client->pinned ? client->pin : NULL, &connection);
  must(rc, "connect");
  peer_new(app, connection);
  set_timer(app);
}

static void
client_connection_ready(void *user, utcp_connection *connection)
{
  client_open(user, connection);
}

static void
client_connection_closed(void *user, utcp_connection *connection, int reason)
{
  struct app *app = user;
  struct client *client = app->client;
  utcp_connection_stats s = { .size = sizeof s };
  if (utcp_connection_get_stats(connection, &s) == UTCP_OK) {
    client->total.datagrams_sent += s.datagrams_sent;
    client->total.datagrams_received += s.datagrams_received;
    client->total.segments_sent += s.segments_sent;
    client->total.segments_received += s.segments_received;
    client->total.segments_retransmitted += s.segments_retransmitted;
    client->total.dropped_record += s.dropped_record;
    client->total.min_rtt = s.min_rtt;
    client->total.srtt = s.srtt;
  }
  peer_free(utcp_connection_user(connection));
  if (client->done == client->circuits || app->stopping || app->result) {
    event_base_loopexit(app->base, NULL);
  } else if (client->retry) {
    printf("reconnecting reason=%d\n", reason);
    fflush(stdout);
    client->last_reason = reason;
    client->reconnects++;
    struct timeval soon = { .tv_usec = 200000 };
    event_add(client->reconnect, &soon);
  } else {
    fprintf(stderr, "utcp-echo: connection: %s\n", utcp_error_string(reason));
    app->result = 1;
    event_base_loopexit(app->base, NULL);
  }
}

static void
on_reconnect(evutil_socket_t fd, short what, void *arg)
{
  (void)fd, (void)what;
  client_connect(arg);
}

static int
client_summary(struct app *app)
{
  struct client *client = app->client;
  if (client->mismatches || client->done != client->circuits)
    app->result = 1;
  printf("%s circuits=%u/%u bytes=%" PRIu64 " mismatches=%" PRIu64 " reconnects=%u last_reason=%d datagrams_sent=%" PRIu64
         " datagrams_received=%" PRIu64 " segments_sent=%" PRIu64 " segments_received=%" PRIu64
         " segments_retransmitted=%" PRIu64 " dropped_record=%" PRIu64 " srtt=%" PRIu64 " min_rtt=%" PRIu64 "\n",
         app->result ? "FAILED" : "ok", client->done, client->circuits, client->done * client->bytes,
         client->mismatches, client->reconnects, client->last_reason, client->total.datagrams_sent,
         client->total.datagrams_received, client->total.segments_sent, client->total.segments_received,
         client->total.segments_retransmitted, client->total.dropped_record, client->total.srtt,
         client->total.min_rtt);
  return app->result;
}

static void
server_summary(struct app *app)
{
  utcp_endpoint_stats s = { .size = sizeof s };
  must(utcp_endpoint_get_stats(app->endpoint, &s), "statistics");
  printf("served handshakes_started=%" PRIu64 " handshakes_completed=%" PRIu64 " handshakes_failed=%" PRIu64
         " cookies_sent=%" PRIu64 " datagrams_sent=%" PRIu64 " datagrams_received=%" PRIu64 " bytes_sent=%" PRIu64
         " bytes_received=%" PRIu64 " memory=%" PRIu64 " dropped_not_dtls=%" PRIu64 " dropped_unknown_peer=%" PRIu64
         " dropped_bad_cookie=%" PRIu64 " dropped_limit=%" PRIu64 " dropped_output_full=%" PRIu64 "\n",
         s.handshakes_started, s.handshakes_completed, s.handshakes_failed, s.cookies_sent, s.datagrams_sent,
         s.datagrams_received, s.bytes_sent, s.bytes_received, s.memory, s.dropped_not_dtls, s.dropped_unknown_peer,
         s.dropped_bad_cookie, s.dropped_limit, s.dropped_output_full);
}

static void
socket_summary(struct app *app)
{
  utcp_socket_stats s = { .size = sizeof s };
  must(utcp_socket_get_stats(app->socket, &s), "statistics");
  printf("socket abilities=%" PRIu32 " send_calls=%" PRIu64 " datagrams_sent=%" PRIu64 " segmented_sent=%" PRIu64
         " full=%" PRIu64 " lost=%" PRIu64 " receive_calls=%" PRIu64 " datagrams_received=%" PRIu64
         " coalesced_received=%" PRIu64 " dropped=%" PRIu64 "\n",
         utcp_socket_abilities(app->socket), s.send_calls, s.datagrams_sent, s.segmented_sent, s.full,
         s.lost_too_large + s.lost_unreachable + s.lost_refused + s.lost_no_buffers + s.lost_other, s.receive_calls,
         s.datagrams_received, s.coalesced_received, s.truncated + s.dropped_address);
}

/* ---- 4. setting up ---- */

/* A certificate for this run. A relay has one for its identity, and changes it with utcp_endpoint_set_certificate. */
static void
set_certificate(utcp_config *config)
{
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *x = X509_new();
  unsigned char *chain = NULL, *secret = NULL;
  if (!key || !x || !X509_set_version(x, 2) || !ASN1_INTEGER_set(X509_get_serialNumber(x), 1) ||
      !X509_gmtime_adj(X509_getm_notBefore(x), -3600) || !X509_gmtime_adj(X509_getm_notAfter(x), 86400) ||
      !X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"utcp-echo", -1,
                                  -1, 0) ||
      !X509_set_issuer_name(x, X509_get_subject_name(x)) || !X509_set_pubkey(x, key) ||
      !X509_sign(x, key, EVP_sha256()))
    die("no certificate");
  int chain_len = i2d_X509(x, &chain), secret_len = i2d_PrivateKey(key, &secret);
  if (chain_len <= 0 || secret_len <= 0)
    die("no certificate");
  must(utcp_config_set_certificate(config, chain, (size_t)chain_len, secret, (size_t)secret_len), "certificate");

  uint8_t pin[32];
  unsigned pin_len = sizeof pin;
  X509_digest(x, EVP_sha256(), pin, &pin_len);
  fputs("pin ", stdout);
  for (unsigned i = 0; i < pin_len; i++)
    printf("%02x", pin[i]);
  putchar('\n');
  OPENSSL_free(chain);
  OPENSSL_clear_free(secret, (size_t)secret_len);
  X509_free(x);
  EVP_PKEY_free(key);
}

static struct sockaddr_in
parse_address(const char *text)
{
  struct sockaddr_in address = { .sin_family = AF_INET };
  const char *colon = strrchr(text, ':');
  char host[INET_ADDRSTRLEN];
  char *end;
  if (!colon || (size_t)(colon - text) >= sizeof host)
    die("%s is not ADDRESS:PORT", text);
  memcpy(host, text, (size_t)(colon - text));
  host[colon - text] = '\0';
  unsigned long port = strtoul(colon + 1, &end, 10);
  if (*end || !colon[1] || port > 65535 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
    die("%s is not ADDRESS:PORT", text);
  address.sin_port = htons((uint16_t)port);
  return address;
}

static uint64_t
parse_number(const char *option, const char *text, uint64_t least, uint64_t most)
{
  char *end;
  errno = 0;
  uint64_t value = strtoull(text, &end, 10);
  if (errno || *end || end == text || *text == '-' || value < least || value > most)
    die("%s: %s is not a number from %" PRIu64 " to %" PRIu64, option, text, least, most);
  return value;
}

static void
open_socket(struct app *app, struct sockaddr_in address)
{
  app->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (app->fd < 0)
    die("socket: %s", strerror(errno));
  int size = 4 << 20; /* bursts of many peers; what the kernel does not grant is not needed */
  setsockopt(app->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(app->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  if (bind(app->fd, (struct sockaddr *)&address, sizeof address))
    die("bind: %s", strerror(errno));
  must(utcp_socket_new(app->fd, 0, &app->socket), "socket handle");
  socklen_t len = sizeof address;
  char text[INET_ADDRSTRLEN];
  getsockname(app->fd, (struct sockaddr *)&address, &len);
  printf("listening %s:%u\n", inet_ntop(AF_INET, &address.sin_addr, text, sizeof text), ntohs(address.sin_port));
  fflush(stdout);
}

/* Closes all connections, so that peers do not have to find out by themselves, and leaves. */
static void
on_signal(evutil_socket_t number, short what, void *arg)
{
  (void)number, (void)what;
  struct app *app = arg;
  app->stopping = 1;
  for (struct peer *peer = app->peers; peer; peer = peer->next)
    utcp_connection_close(peer->connection);
  /* Sends the farewells, and calls connection_closed for each. */
  must(utcp_endpoint_process(app->endpoint, now_us()), "process");
  if (app->client)
    app->result = 1;
  event_base_loopexit(app->base, NULL);
}

static void
usage(void)
{
  fputs("usage: utcp-echo serve ADDRESS:PORT [--dead-timeout SECONDS]\n"
        "       utcp-echo send ADDRESS:PORT [--circuits N] [--bytes N] [--parallel N] [--seed N] [--pin HEX]\n"
        "                                   [--dead-timeout SECONDS] [--retry] [--progress]\n",
        stderr);
  exit(2);
}

int
main(int argc, char **argv)
{
  if (argc < 3)
    usage();
  int serving = !strcmp(argv[1], "serve");
  if (!serving && strcmp(argv[1], "send"))
    usage();
  struct sockaddr_in address = parse_address(argv[2]);
  struct client client = { .server = address, .circuits = 100, .parallel = 50, .bytes = 100000, .seed = 1 };
  struct app app = { .client = serving ? NULL : &client };
  uint64_t dead_timeout = 0;

  static const struct option options[] = {
    { "circuits", 1, NULL, 'c' }, { "bytes", 1, NULL, 'b' }, { "parallel", 1, NULL, 'p' }, { "seed", 1, NULL, 's' },
    { "pin", 1, NULL, 'i' },      { "retry", 0, NULL, 'r' }, { "progress", 0, NULL, 'g' },
    { "dead-timeout", 1, NULL, 'd' }, { NULL, 0, NULL, 0 },
  };
  optind = 3;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (o) {
    case 'c': client.circuits = (unsigned)parse_number("--circuits", optarg, 1, 1000000); break;
    case 'b': client.bytes = parse_number("--bytes", optarg, 0, UINT64_C(1) << 40); break;
    case 'p': client.parallel = (unsigned)parse_number("--parallel", optarg, 1, 60000); break;
    case 's': client.seed = parse_number("--seed", optarg, 0, UINT64_MAX); break;
    case 'd': dead_timeout = parse_number("--dead-timeout", optarg, 1, 86400); break;
    case 'r': client.retry = 1; break;
    case 'g': client.progress = 1; break;
    case 'i':
      client.pinned = 1;
      for (unsigned i = 0; i < 32; i++)
        if (strlen(optarg) != 64 || sscanf(optarg + 2 * i, "%2hhx", &client.pin[i]) != 1)
          die("--pin wants 64 hexadecimal digits");
      break;
    default: usage();
    }
  if (optind != argc)
    usage();

  /* Log records from the library, as RUST_LOG says. */
  must(utcp_log_env(), "log");

  utcp_config *config = utcp_config_new();
  if (!config)
    die("out of memory");
  set_certificate(config);
  open_socket(&app, serving ? address : (struct sockaddr_in){ .sin_family = AF_INET });
  /* Only where marks are passed on. */
  must(utcp_config_set(config, UTCP_OPTION_ECN, !!(utcp_socket_abilities(app.socket) & UTCP_SOCKET_ECN)), "ECN");
  if (dead_timeout)
    must(utcp_config_set(config, UTCP_OPTION_DEAD_TIMEOUT, dead_timeout * 1000000), "dead timeout");
  utcp_callbacks callbacks = {
    .size = sizeof callbacks,
    .tx = on_tx,
    .connection_incoming = on_connection_incoming,
    .connection_verify = on_connection_verify,
    .connection_ready = serving ? server_connection_ready : client_connection_ready,
    .connection_closed = serving ? server_connection_closed : client_connection_closed,
    .circuit_incoming = serving ? server_circuit_incoming : NULL,
    .circuit_readable = serving ? server_circuit_readable : client_circuit_readable,
    .circuit_writable = serving ? server_circuit_writable : client_circuit_writable,
    .circuit_closed = serving ? server_circuit_closed : client_circuit_closed,
  };
  must(utcp_endpoint_new(config, &callbacks, &app, &app.endpoint), "endpoint");
  must(utcp_config_free(config), "configuration free"); /* the endpoint has a copy */

  app.base = event_base_new();
  if (!app.base)
    die("no event loop");
  app.readable = event_new(app.base, app.fd, EV_READ | EV_PERSIST, on_socket_readable, &app);
  app.writable = event_new(app.base, app.fd, EV_WRITE, on_socket_writable, &app);
  app.timer = evtimer_new(app.base, on_timer, &app);
  app.sigint = evsignal_new(app.base, SIGINT, on_signal, &app);
  app.sigterm = evsignal_new(app.base, SIGTERM, on_signal, &app);
  client.reconnect = evtimer_new(app.base, on_reconnect, &app);
  event_add(app.readable, NULL);
  event_add(app.sigint, NULL);
  event_add(app.sigterm, NULL);

  if (!serving) {
    for (uint32_t number = client.circuits; number >= 1; number--) {
      struct flow *flow = calloc(1, sizeof *flow);
      if (!flow)
        die("out of memory");
      flow->number = number;
      flow->next = client.todo;
      client.todo = flow;
    }
    client_connect(&app);
  }
  event_base_dispatch(app.base);

  if (serving)
    server_summary(&app);
  else
    client_summary(&app);
  socket_summary(&app);
  /* Freeing the endpoint calls nobody: what is still there is freed by hand, in any order. */
  while (app.peers)
    peer_free(app.peers);
  must(utcp_endpoint_free(app.endpoint), "endpoint free");
  while (client.todo) {
    struct flow *flow = client.todo;
    client.todo = flow->next;
    free(flow);
  }
  struct event *events[] = { app.readable, app.writable, app.timer, app.sigint, app.sigterm, client.reconnect };
  for (size_t i = 0; i < sizeof events / sizeof *events; i++)
    event_free(events[i]);
  event_base_free(app.base);
  must(utcp_socket_free(app.socket), "socket handle free");
  close(app.fd);
  return app.result;
}
