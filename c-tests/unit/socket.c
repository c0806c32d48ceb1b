/* The batched socket I/O: endpoints over real sockets on loopback, with all that the system offers and with less.
 *
 * The time is made up: it moves to the next deadline when no socket has anything. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pair.h"

#define ALL                                                                                                            \
  (UTCP_SOCKET_BATCH | UTCP_SOCKET_SEGMENT | UTCP_SOCKET_COALESCE | UTCP_SOCKET_ECN | UTCP_SOCKET_LOCAL_ADDRESS |      \
   UTCP_SOCKET_DONT_FRAGMENT)

/* One side: a socket, an endpoint, one circuit. What the callbacks saw is looked at outside of them. */
struct end {
  int fd, full;
  struct sockaddr_in address;
  utcp_socket *socket;
  utcp_endpoint *endpoint;
  utcp_connection *connection;
  utcp_circuit *circuit;
  int ready, closed, reason;
  uint64_t out_total, out_done, in_done;
  int wrong, error;
  int in_receive; /* answers from inside of utcp_socket_receive: -100 before */
  int in_free, in_stats;
};

struct world {
  uint64_t now;
  struct identity *identity;
  struct end a, b; /* a connects to b */
};

static size_t
on_tx(void *user, const utcp_datagram *batch, size_t count)
{
  struct end *end = user;
  size_t sent = utcp_socket_send(end->socket, batch, count);
  end->full |= sent < count;
  return sent;
}

static int
on_incoming(void *user, utcp_connection *connection, const struct sockaddr *address, socklen_t len)
{
  struct end *end = user;
  (void)address, (void)len;
  if (end->connection)
    return 1;
  end->connection = connection;
  return 0;
}

static int
on_verify(void *user, utcp_connection *connection, struct ssl_st *ssl)
{
  (void)user, (void)connection, (void)ssl;
  return 0;
}

static void
on_ready(void *user, utcp_connection *connection)
{
  (void)connection;
  ((struct end *)user)->ready = 1;
}

static void
on_closed(void *user, utcp_connection *connection, int reason)
{
  struct end *end = user;
  (void)connection;
  end->closed = 1;
  end->reason = reason;
}

static void
pump_out(struct end *end)
{
  uint8_t data[8192];
  while (end->circuit && end->out_done < end->out_total) {
    size_t want = sizeof data, n;
    if (want > end->out_total - end->out_done)
      want = (size_t)(end->out_total - end->out_done);
    pattern(1, end->out_done, data, want);
    if (utcp_circuit_write(end->circuit, data, want, &n) != UTCP_OK)
      return;
    end->out_done += n;
    if (n < want)
      return;
  }
}

static int
on_circuit(void *user, utcp_connection *connection, utcp_circuit *circuit, uint32_t number)
{
  struct end *end = user;
  (void)connection, (void)number;
  end->circuit = circuit;
  return 0;
}

static void
on_readable(void *user, utcp_circuit *circuit)
{
  struct end *end = user;
  uint8_t data[8192], expected[8192];
  size_t n;
  if (circuit != end->circuit)
    return;
  if (end->in_receive == -100) {
    utcp_socket_stats stats = { .size = sizeof stats };
    end->in_receive = utcp_socket_receive(end->socket, end->endpoint, 0, 1, &n);
    end->in_free = utcp_socket_free(end->socket);
    end->in_stats = utcp_socket_get_stats(end->socket, &stats);
  }
  while (utcp_circuit_read(circuit, data, sizeof data, &n) == UTCP_OK) {
    pattern(1, end->in_done, expected, n);
    end->wrong |= memcmp(data, expected, n) != 0;
    end->in_done += n;
  }
}

static void
on_writable(void *user, utcp_circuit *circuit)
{
  (void)circuit;
  pump_out(user);
}

static void
on_circuit_closed(void *user, utcp_circuit *circuit, int reason)
{
  struct end *end = user;
  (void)reason;
  utcp_circuit_free(circuit);
  if (end->circuit == circuit)
    end->circuit = NULL;
}

static void
bind_socket(struct end *end, const char *address)
{
  socklen_t len = sizeof end->address;
  int size = 1 << 20;
  end->address = (struct sockaddr_in){ .sin_family = AF_INET };
  assert_int_equal(inet_pton(AF_INET, address, &end->address.sin_addr), 1);
  end->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* blocking, which must not matter */
  assert_true(end->fd >= 0);
  setsockopt(end->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  assert_int_equal(bind(end->fd, (struct sockaddr *)&end->address, len), 0);
  assert_int_equal(getsockname(end->fd, (struct sockaddr *)&end->address, &len), 0);
}

static void
end_new(struct world *w, struct end *end, const char *address, uint32_t without)
{
  utcp_callbacks callbacks = {
    .size = sizeof callbacks,
    .tx = on_tx,
    .connection_incoming = on_incoming,
    .connection_verify = on_verify,
    .connection_ready = on_ready,
    .connection_closed = on_closed,
    .circuit_incoming = on_circuit,
    .circuit_readable = on_readable,
    .circuit_writable = on_writable,
    .circuit_closed = on_circuit_closed,
  };
  utcp_config *config = utcp_config_new();
  bind_socket(end, address);
  assert_int_equal(utcp_socket_new(end->fd, without, &end->socket), UTCP_OK);
  assert_int_equal(utcp_config_set_certificate(config, w->identity->chain, w->identity->chain_len, w->identity->key,
                                               w->identity->key_len), UTCP_OK);
  if (utcp_socket_abilities(end->socket) & UTCP_SOCKET_ECN)
    assert_int_equal(utcp_config_set(config, UTCP_OPTION_ECN, 1), UTCP_OK);
  assert_int_equal(utcp_endpoint_new(config, &callbacks, end, &end->endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
}

static void
end_free(struct end *end)
{
  if (end->circuit)
    assert_int_equal(utcp_circuit_free(end->circuit), UTCP_OK);
  if (end->connection)
    assert_int_equal(utcp_connection_free(end->connection), UTCP_OK);
  assert_int_equal(utcp_endpoint_free(end->endpoint), UTCP_OK);
  assert_int_equal(utcp_socket_free(end->socket), UTCP_OK);
  close(end->fd);
}

/* The callbacks know its address: it stays where it is. */
static void
world_new(struct world *w, const char *a, const char *b, uint32_t without)
{
  *w = (struct world){ .now = SECOND, .identity = identity_new("relay") };
  assert_non_null(w->identity);
  end_new(w, &w->a, a, without);
  end_new(w, &w->b, b, without);
}

static void
world_free(struct world *w)
{
  end_free(&w->a);
  end_free(&w->b);
  identity_free(w->identity);
}

static void
end_connect(struct world *w, const char *to)
{
  struct sockaddr_in peer = w->b.address;
  assert_int_equal(inet_pton(AF_INET, to, &peer.sin_addr), 1);
  assert_int_equal(utcp_endpoint_connect(w->a.endpoint, w->now, (struct sockaddr *)&peer, sizeof peer,
                                         w->identity->pin, &w->a.connection), UTCP_OK);
  assert_int_equal(utcp_endpoint_process(w->a.endpoint, w->now), UTCP_OK);
}

/* What an event loop does in one turn. */
static void
turn(struct world *w)
{
  struct end *ends[2] = { &w->a, &w->b };
  struct pollfd polls[2] = { { .fd = w->a.fd, .events = POLLIN }, { .fd = w->b.fd, .events = POLLIN } };
  uint64_t deadline = UINT64_MAX;
  for (int i = 0; i < 2; i++) {
    uint64_t own = utcp_endpoint_next_deadline(ends[i]->endpoint);
    deadline = own < deadline ? own : deadline;
  }
  /* A datagram may be on its way between the sockets: it is given a moment before the clock is moved. */
  if (poll(polls, 2, deadline > w->now ? 5 : 0) == 0 && deadline > w->now && deadline != UINT64_MAX)
    w->now = deadline;
  w->now += 10;
  for (int i = 0; i < 2; i++) {
    size_t received = 0;
    if (polls[i].revents) {
      assert_int_equal(utcp_socket_receive(ends[i]->socket, ends[i]->endpoint, w->now, 256, &received), UTCP_OK);
    }
    ends[i]->full = 0;
    assert_int_equal(utcp_endpoint_process(ends[i]->endpoint, w->now), UTCP_OK);
  }
}

#define TURN_UNTIL(w_, expr)                                                                                          \
  do {                                                                                                                 \
    unsigned left__ = 100000;                                                                                          \
    while (!(expr) && --left__)                                                                                        \
      turn(w_);                                                                                                        \
    if (!left__)                                                                                                       \
      fail_msg("never: %s", #expr);                                                                                    \
  } while (0)

static utcp_socket_stats
stats_of(const struct end *end)
{
  utcp_socket_stats stats = { .size = sizeof stats };
  assert_int_equal(utcp_socket_get_stats(end->socket, &stats), UTCP_OK);
  return stats;
}

static void
transfer(struct world *w, uint64_t octets)
{
  TURN_UNTIL(w, w->a.ready && w->b.ready);
  assert_int_equal(utcp_connection_open_circuit(w->a.connection, 7, &w->a.circuit), UTCP_OK);
  w->a.out_total = octets;
  pump_out(&w->a);
  TURN_UNTIL(w, w->b.in_done == octets);
  w->b.out_total = octets;
  pump_out(&w->b);
  TURN_UNTIL(w, w->a.in_done == octets);
  assert_int_equal(w->a.wrong + w->b.wrong, 0);
}

static void
data_passes_in_all_ways(void **state)
{
  (void)state;
  const uint64_t octets = scaled(1000000, 100000);
  const uint32_t without[] = {
    0, UTCP_SOCKET_SEGMENT, UTCP_SOCKET_COALESCE, UTCP_SOCKET_BATCH, UTCP_SOCKET_SEGMENT | UTCP_SOCKET_COALESCE, ALL,
  };
  for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
    struct world w;
    world_new(&w, "127.0.0.1", "127.0.0.1", without[i]);
    /* Bound to one address, there is no other to answer from. */
    assert_int_equal(utcp_socket_abilities(w.a.socket), ALL & ~(without[i] | UTCP_SOCKET_LOCAL_ADDRESS));
    end_connect(&w, "127.0.0.1");
    transfer(&w, octets);
    utcp_endpoint_stats ea = { .size = sizeof ea }, eb = { .size = sizeof eb };
    assert_int_equal(utcp_endpoint_get_stats(w.a.endpoint, &ea), UTCP_OK);
    assert_int_equal(utcp_endpoint_get_stats(w.b.endpoint, &eb), UTCP_OK);
    utcp_socket_stats a = stats_of(&w.a), b = stats_of(&w.b);
    assert_int_equal(a.datagrams_sent, ea.datagrams_sent);
    assert_int_equal(a.bytes_sent, ea.bytes_sent);
    assert_int_equal(a.datagrams_received, ea.datagrams_received);
    assert_int_equal(b.datagrams_received, eb.datagrams_received);
    assert_int_equal(b.bytes_received, eb.bytes_received);
    assert_int_equal(a.truncated + a.dropped_address + a.receive_errors + a.lost_too_large + a.lost_unreachable +
                     a.lost_refused + a.lost_no_buffers + a.lost_other, 0);
    /* Many datagrams of a bulk transfer share a message. */
    if (!(without[i] & UTCP_SOCKET_SEGMENT)) {
      assert_true(a.segmented_sent > 0);
      assert_true(a.send_calls < a.datagrams_sent / 2);
      assert_int_equal(b.coalesced_received > 0, !(without[i] & UTCP_SOCKET_COALESCE));
    } else {
      assert_int_equal(a.segmented_sent, 0);
    }
    if (utcp_socket_abilities(w.a.socket) & UTCP_SOCKET_ECN) {
      utcp_circuit_info info = { .size = sizeof info };
      assert_int_equal(utcp_circuit_get_info(w.a.circuit, &info), UTCP_OK);
      assert_int_equal(info.ecn, 1);
    }
    world_free(&w);
  }
}

static void
a_peer_is_answered_from_where_it_spoke_to(void **state)
{
  (void)state;
  struct world w;
  world_new(&w, "127.0.0.1", "0.0.0.0", 0);
  assert_int_equal(utcp_socket_abilities(w.b.socket), ALL);
  end_connect(&w, "127.0.0.2");
  transfer(&w, 10000);
  world_free(&w);

  /* Without it, answers come from 127.0.0.1, and are a stranger's. */
  world_new(&w, "127.0.0.1", "0.0.0.0", UTCP_SOCKET_LOCAL_ADDRESS);
  end_connect(&w, "127.0.0.2");
  TURN_UNTIL(&w, w.a.closed);
  assert_int_equal(w.a.ready, 0);
  assert_int_equal(w.a.reason, UTCP_CLOSE_HANDSHAKE);
  world_free(&w);
}

static void
from_inside_callbacks(void **state)
{
  (void)state;
  struct world w;
  world_new(&w, "127.0.0.1", "127.0.0.1", 0);
  end_connect(&w, "127.0.0.1");
  w.b.in_receive = w.b.in_free = w.b.in_stats = -100;
  transfer(&w, 5000);
  assert_int_equal(w.b.in_receive, UTCP_ERR_BUSY);
  assert_int_equal(w.b.in_free, UTCP_ERR_BUSY);
  assert_int_equal(w.b.in_stats, UTCP_OK);
  world_free(&w);
}

/* Lets all system calls pass but sendmmsg, recvmmsg and `third`. */
static int
enter_sandbox(unsigned third)
{
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sendmmsg, 3, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_recvmmsg, 2, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, third, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Of the child's exit status: which of its steps went wrong. */
static int
in_sandbox(struct world *w, unsigned third)
{
  unsigned left = 100000;
  if (enter_sandbox(third))
    return 1;
  if (sendmmsg(w->a.fd, NULL, 0, 0) != -1 || errno != EPERM)
    return 2;
  utcp_connection *connection;
  if (utcp_endpoint_connect(w->a.endpoint, w->now, (struct sockaddr *)&w->b.address, sizeof w->b.address,
                            w->identity->pin, &connection) != UTCP_OK)
    return 3;
  w->a.connection = connection;
  while (!(w->a.ready && w->b.ready) && --left)
    turn(w);
  if (!left)
    return 4;
  if (utcp_connection_open_circuit(connection, 7, &w->a.circuit) != UTCP_OK)
    return 5;
  w->a.out_total = 100000;
  pump_out(&w->a);
  while (w->b.in_done < 100000 && --left)
    turn(w);
  if (!left || w->b.wrong)
    return 6;
  utcp_socket_stats stats = { .size = sizeof stats };
  if (utcp_socket_get_stats(w->a.socket, &stats) != UTCP_OK || stats.lost_refused || stats.receive_errors)
    return 7;
  if (stats.segmented_sent == 0)
    return 8;
  if (utcp_socket_abilities(w->b.socket) & UTCP_SOCKET_BATCH)
    return 9;
  return 0;
}

static void
check_sandbox(unsigned third)
{
  struct world w;
  world_new(&w, "127.0.0.1", "127.0.0.1", 0);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    int wrong = in_sandbox(&w, third);
    world_free(&w);
    _exit(wrong);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  world_free(&w);
}

static void
a_sandbox_without_batches_is_coped_with(void **state)
{
  (void)state;
  check_sandbox(__NR_recvmmsg);
  /* What goes alone goes by sendto, where it can. */
  check_sandbox(__NR_sendto);
}

static void
arguments_are_checked(void **state)
{
  (void)state;
  struct world w;
  world_new(&w, "127.0.0.1", "127.0.0.1", 0);
  utcp_socket *none = (utcp_socket *)&w;
  size_t n = 99;
  utcp_socket_stats stats = { .size = 0 };

  assert_int_equal(utcp_socket_new(w.a.fd, 0, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_socket_new(w.a.fd, ALL + 1, &none), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_socket_new(w.a.fd, UINT32_MAX, &none), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_socket_new(-1, 0, &none), UTCP_ERR_SOCKET);
  int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_int_equal(utcp_socket_new(other, 0, &none), UTCP_ERR_SOCKET);
  close(other);
  other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(utcp_socket_new(other, 0, &none), UTCP_ERR_SOCKET);
  close(other);
  assert_ptr_equal(none, (utcp_socket *)&w);

  assert_int_equal(utcp_socket_receive(NULL, w.a.endpoint, w.now, 1, &n), UTCP_ERR_NULL);
  assert_int_equal(utcp_socket_receive(w.a.socket, NULL, w.now, 1, &n), UTCP_ERR_NULL);
  assert_int_equal(utcp_socket_receive(w.a.socket, w.a.endpoint, w.now, 1, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_socket_receive(w.a.socket, w.a.endpoint, w.now, 0, &n), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_socket_receive(w.a.socket, w.a.endpoint, UINT64_MAX, 1, &n), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_socket_receive((utcp_socket *)(void *)w.a.endpoint, w.a.endpoint, w.now, 1, &n),
                   UTCP_ERR_HANDLE);
  assert_int_equal(utcp_socket_receive(w.a.socket, (utcp_endpoint *)(void *)w.a.socket, w.now, 1, &n),
                   UTCP_ERR_HANDLE);
  assert_int_equal(n, 99);
  assert_int_equal(utcp_socket_receive(w.a.socket, w.a.endpoint, w.now, SIZE_MAX, &n), UTCP_OK);
  assert_int_equal(n, 0);

  assert_int_equal(utcp_socket_get_stats(w.a.socket, NULL), UTCP_ERR_NULL);
  assert_int_equal(utcp_socket_get_stats(w.a.socket, &stats), UTCP_ERR_SIZE);
  stats.size = UTCP_SOCKET_STATS_SIZE_V1 - 1;
  assert_int_equal(utcp_socket_get_stats(w.a.socket, &stats), UTCP_ERR_SIZE);
  stats.size = sizeof stats;
  assert_int_equal(utcp_socket_get_stats(NULL, &stats), UTCP_ERR_NULL);
  assert_int_equal(utcp_socket_get_stats((utcp_socket *)(void *)w.a.endpoint, &stats), UTCP_ERR_HANDLE);

  assert_int_equal(utcp_socket_abilities(NULL), 0);
  assert_int_equal(utcp_socket_abilities((utcp_socket *)(void *)w.a.endpoint), 0);
  assert_int_equal(utcp_socket_free(NULL), UTCP_OK);
  assert_int_equal(utcp_socket_free((utcp_socket *)(void *)w.a.endpoint), UTCP_ERR_HANDLE);
  assert_int_equal(utcp_socket_free((utcp_socket *)((uintptr_t)w.a.socket + 1)), UTCP_ERR_HANDLE);
  world_free(&w);
}

static void
datagrams_that_cannot_be_are_lost_and_others_arrive(void **state)
{
  (void)state;
  struct world w;
  world_new(&w, "127.0.0.1", "127.0.0.1", 0);
  static uint8_t data[65536];
  const struct sockaddr *to = (struct sockaddr *)&w.b.address;
  const socklen_t len = sizeof w.b.address;
  const utcp_datagram batch[] = {
    { .address = to, .address_len = len, .data = data, .len = 10 },
    { .address = NULL, .address_len = len, .data = data, .len = 11 },
    { .address = to, .address_len = 3, .data = data, .len = 12 },
    { .address = to, .address_len = len, .data = NULL, .len = 13 },
    { .address = to, .address_len = len, .data = data, .len = 65536 },
    { .address = to, .address_len = len, .data = data, .len = 14, .ecn = 4 },
    { .address = to, .address_len = len, .data = NULL, .len = 0 },
    { .address = to, .address_len = len, .data = data, .len = 15, .ecn = 3 },
  };
  const size_t count = sizeof batch / sizeof *batch;
  assert_int_equal(utcp_socket_send(NULL, batch, count), 0);
  assert_int_equal(utcp_socket_send((utcp_socket *)(void *)w.a.endpoint, batch, count), 0);
  assert_int_equal(utcp_socket_send(w.a.socket, NULL, 1), 0);
  assert_int_equal(utcp_socket_send(w.a.socket, NULL, 0), 0);
  assert_int_equal(utcp_socket_send(w.a.socket, batch, 0), 0);
  assert_int_equal(utcp_socket_send(w.a.socket, batch, count), count);
  utcp_socket_stats a = stats_of(&w.a);
  assert_int_equal(a.datagrams_sent, 3);
  assert_int_equal(a.bytes_sent, 25);
  assert_int_equal(a.lost_other, 5);
  size_t n = 0, total = 0;
  for (unsigned i = 0; i < 1000 && total < 3; i++, total += n) {
    struct pollfd p = { .fd = w.b.fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 60000), 1);
    assert_int_equal(utcp_socket_receive(w.b.socket, w.b.endpoint, w.now, 100, &n), UTCP_OK);
  }
  assert_int_equal(total, 3);
  assert_int_equal(stats_of(&w.b).bytes_received, 25);
  world_free(&w);
}

static void
a_socket_that_was_closed_is_told(void **state)
{
  (void)state;
  struct world w;
  world_new(&w, "127.0.0.1", "127.0.0.1", 0);
  uint8_t octet = 1;
  const utcp_datagram datagram = { .address = (struct sockaddr *)&w.b.address, .address_len = sizeof w.b.address,
                                   .data = &octet, .len = 1 };
  size_t n = 99;
  close(w.a.fd);
  assert_int_equal(utcp_socket_receive(w.a.socket, w.a.endpoint, w.now, 1, &n), UTCP_ERR_SOCKET);
  assert_int_equal(n, 99);
  assert_int_equal(utcp_socket_send(w.a.socket, &datagram, 1), 1);
  assert_int_equal(stats_of(&w.a).lost_other, 1);
  assert_int_equal(stats_of(&w.a).receive_errors, 1);
  w.a.fd = -1;
  world_free(&w);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(data_passes_in_all_ways),
    cmocka_unit_test(a_peer_is_answered_from_where_it_spoke_to),
    cmocka_unit_test(from_inside_callbacks),
    cmocka_unit_test(a_sandbox_without_batches_is_coped_with),
    cmocka_unit_test(arguments_are_checked),
    cmocka_unit_test(datagrams_that_cannot_be_are_lost_and_others_arrive),
    cmocka_unit_test(a_socket_that_was_closed_is_told),
  };
  return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
