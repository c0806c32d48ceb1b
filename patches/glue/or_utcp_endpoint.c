/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_endpoint.c
 * @brief The UDP socket and the library's endpoint: set-up, events, timers.
 *
 * One unconnected socket serves all peers, read and written in batches by the
 * library's utcp_socket; everything else the library has to do is done once
 * at the end of the loop turn in which it was asked for (flush_cb()).
 **/

#include "or_utcp_glue_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Datagrams read in one loop turn, so that other connections get theirs. */
#define DATAGRAMS_PER_TURN 512
/** Between two looks at all links, in microseconds. */
#define CHECK_INTERVAL_USEC UINT64_C(1000000)
/** While the kernel takes no datagrams, nothing is in a hurry. */
#define BLOCKED_INTERVAL_USEC 10000

/** The endpoint, or NULL while there is none. */
utcp_endpoint *or_utcp_endpoint = NULL;
/** All links. */
or_utcp_list_t or_utcp_links = { &or_utcp_links, &or_utcp_links };

static evutil_socket_t udp_fd = -1;
static utcp_socket *udp_socket = NULL;
static struct event *read_ev = NULL;
static struct event *write_ev = NULL;
/** At the end of this loop turn, or at the next deadline. */
static struct event *flush_ev = NULL;
/** flush_ev is added for the end of this loop turn. */
static bool flush_scheduled = false;
/** The kernel took no more datagrams: waiting for write_ev. */
static bool tx_blocked = false;
static bool accepting = true;
/** Congestion control of the endpoint. */
static const struct congestion_t *congestion_in_use = NULL;
static uint64_t next_check = 0;
/** Links that moved data in this turn, or have something left to do. */
static or_utcp_list_t active_links = { &active_links, &active_links };
/** Links whose connection is to be made by TCP instead. */
static or_utcp_list_t fall_backs = { &fall_backs, &fall_backs };

/** Memory, all 0.  Like Tor, the glue does not live on without. */
void *
or_utcp_alloc(size_t size)
{
  void *p = calloc(1, size);
  if (!p)
    abort();
  return p;
}

/** Have flush_cb() called in <b>usec</b> microseconds. */
static void
flush_in(uint64_t usec)
{
  const struct timeval tv = { (time_t)(usec / 1000000),
                              (suseconds_t)(usec % 1000000) };
  event_add(flush_ev, &tv);
}

/** Let the library work at the end of this loop turn: timers that are due run
 * after the sockets of the turn. */
void
or_utcp_schedule_flush(void)
{
  if (!flush_ev || flush_scheduled)
    return;
  flush_scheduled = true;
  flush_in(0);
}

/** <b>link</b> has moved data, or has something to do at the end of this
 * turn. */
void
or_utcp_link_active(or_utcp_link_t *link)
{
  if (or_utcp_endpoint)
    or_utcp_list_add(&active_links, &link->active);
  or_utcp_schedule_flush();
}

/** Connect <b>link</b>'s connection by TCP at the end of this turn. */
void
or_utcp_fall_back_later(or_utcp_link_t *link)
{
  if (or_utcp_endpoint)
    or_utcp_list_add(&fall_backs, &link->falling_back);
  or_utcp_schedule_flush();
}

/* Sending and receiving. */

/** The library's tx callback: give datagrams to the kernel. */
static size_t
tx_cb(void *user, const utcp_datagram *batch, size_t count)
{
  size_t done;
  (void)user;

  if (tx_blocked)
    return 0;
  done = utcp_socket_send(udp_socket, batch, count);
  if (done < count) {
    tx_blocked = true;
    event_add(write_ev, NULL);
  }
  return done;
}

static void
write_cb(evutil_socket_t fd, short what, void *arg)
{
  (void)fd; (void)what; (void)arg;
  tx_blocked = false;
  or_utcp_schedule_flush();
}

static void
read_cb(evutil_socket_t fd, short what, void *arg)
{
  const bool want = or_utcp_tor_is_accepting();
  size_t received;
  (void)fd; (void)what; (void)arg;

  if (want != accepting) {
    accepting = want;
    utcp_endpoint_set_accepting(or_utcp_endpoint, accepting);
  }
  /* What is left is read in the next turn. */
  utcp_socket_receive(udp_socket, or_utcp_endpoint, or_utcp_tor_now(),
                      DATAGRAMS_PER_TURN, &received);
  or_utcp_schedule_flush();
}

/* The end of a loop turn, and timers. */

/** Look after all links, once a second. */
static void
check_links(uint64_t now)
{
  or_utcp_list_t *node, *next;

  if (now < next_check)
    return;
  next_check = now + CHECK_INTERVAL_USEC;
  for (node = or_utcp_links.next; node != &or_utcp_links; node = next) {
    or_utcp_link_t *link = OR_UTCP_ENTRY(node, or_utcp_link_t, all);
    next = node->next;
    or_utcp_link_check(link, now);
    or_utcp_link_charge(link);
  }
}

/** Do what was asked for in this turn, and find out when to wake up. */
static void
flush_cb(evutil_socket_t fd, short what, void *arg)
{
  or_utcp_list_t turn, *node;
  uint64_t now, deadline, delay;
  (void)fd; (void)what; (void)arg;

  flush_scheduled = false;
  or_utcp_list_init(&turn);
  or_utcp_list_move(&turn, &active_links);
  while ((node = or_utcp_list_pop(&turn))) {
    or_utcp_link_t *link = OR_UTCP_ENTRY(node, or_utcp_link_t, active);
    or_utcp_link_active(link); /* To be charged below. */
    or_utcp_tell_lost_circuits(link);
    or_utcp_read_on(link);
  }

  now = or_utcp_tor_now();
  if (utcp_endpoint_process(or_utcp_endpoint, now) == UTCP_ERR_INTERNAL) {
    or_utcp_tor_log(OR_UTCP_WARN, "libutcp reports an internal error. OR "
                    "connections over UDP are closed, and not made again "
                    "before the next reload.");
    or_utcp_endpoint_close(false);
    return;
  }

  or_utcp_list_move(&turn, &active_links);
  flush_scheduled = false;
  while ((node = or_utcp_list_pop(&turn))) {
    or_utcp_link_t *link = OR_UTCP_ENTRY(node, or_utcp_link_t, active);
    or_utcp_link_charge(link);
    if (!or_utcp_list_is_empty(&link->lost) ||
        !or_utcp_list_is_empty(&link->unread))
      or_utcp_link_active(link); /* It came too late for this turn. */
  }
  while ((node = or_utcp_list_pop(&fall_backs)))
    or_utcp_link_fall_back(OR_UTCP_ENTRY(node, or_utcp_link_t,
                                         falling_back));
  check_links(now);

  if (flush_scheduled)
    return;
  deadline = utcp_endpoint_next_deadline(or_utcp_endpoint);
  if (!or_utcp_list_is_empty(&or_utcp_links) && deadline > next_check)
    deadline = next_check;
  if (deadline == UINT64_MAX) {
    event_del(flush_ev);
    return;
  }
  now = or_utcp_tor_now();
  delay = deadline > now ? deadline - now : 0;
  if (tx_blocked && delay < BLOCKED_INTERVAL_USEC)
    delay = BLOCKED_INTERVAL_USEC;
  flush_in(delay);
}

static void
log_cb(void *user, int level, const char *target, const char *message)
{
  (void)user;
  /* What the library warns of, a peer can cause: not for the operator. */
  or_utcp_tor_log(level <= 1 ? OR_UTCP_WARN :
                  level <= 3 ? OR_UTCP_INFO : OR_UTCP_DEBUG,
                  "libutcp %s: %s", target, message);
}

/* Set-up. */

/** "ADDRESS:PORT", valid until the next call. */
static const char *
describe_address(const struct sockaddr *address)
{
  static char text[INET6_ADDRSTRLEN + 10];
  char host[INET6_ADDRSTRLEN] = "?";
  uint16_t port = 0;

  if (address->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const void *)address;
    evutil_inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    port = ntohs(in->sin_port);
  } else if (address->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const void *)address;
    evutil_inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    port = ntohs(in6->sin6_port);
  }
  evutil_snprintf(text, sizeof(text),
                  address->sa_family == AF_INET6 ? "[%s]:%d" : "%s:%d", host,
                  port);
  return text;
}

static bool
open_socket(const or_utcp_settings_t *settings)
{
  const int buffer = 4 << 20;
  int r;

  udp_fd = socket(settings->address->sa_family, SOCK_DGRAM, IPPROTO_UDP);
  if (udp_fd < 0) {
    or_utcp_tor_log(OR_UTCP_WARN, "Could not make a UDP socket: %s",
                    evutil_socket_error_to_string(errno));
    return false;
  }
  if (evutil_make_socket_nonblocking(udp_fd) ||
      evutil_make_socket_closeonexec(udp_fd) ||
      bind(udp_fd, settings->address, settings->address_len) < 0) {
    or_utcp_tor_log(OR_UTCP_WARN, "Could not bind ORUDPPort %s: %s. OR "
                    "connections use TCP only.",
                    describe_address(settings->address),
                    evutil_socket_error_to_string(errno));
    return false;
  }
  /* As much as the system allows; less is no error. */
  setsockopt(udp_fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
  setsockopt(udp_fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
  r = utcp_socket_new(udp_fd, 0, &udp_socket);
  if (r)
    or_utcp_tor_log(OR_UTCP_WARN, "Could not use ORUDPPort %s: %s. OR "
                    "connections use TCP only.",
                    describe_address(settings->address),
                    utcp_error_string(r));
  return r == UTCP_OK;
}

/** How circuits share a path: each with a window of its own, or all circuits
 * of a link with a common one. */
static const struct congestion_t {
  const char *name;
  uint64_t algorithm;
  bool coupled;
} congestions[] = {
  { "coupled-bbr", UTCP_CONGESTION_BBR, true },
  { "coupled-cubic", UTCP_CONGESTION_CUBIC, true },
  { "coupled-newreno", UTCP_CONGESTION_NEWRENO, true },
  { "bbr", UTCP_CONGESTION_BBR, false },
  { "cubic", UTCP_CONGESTION_CUBIC, false },
  { "newreno", UTCP_CONGESTION_NEWRENO, false },
};

static const struct congestion_t *
find_congestion(const char *name)
{
  size_t i;
  for (i = 0; i < sizeof(congestions) / sizeof(congestions[0]); ++i)
    if (name && !evutil_ascii_strcasecmp(congestions[i].name, name))
      return &congestions[i];
  return NULL;
}

/** Is <b>name</b> one that or_utcp_endpoint_open() takes? */
bool
or_utcp_congestion_is_known(const char *name)
{
  return find_congestion(name) != NULL;
}

/** Is it that of the endpoint that is open? */
bool
or_utcp_congestion_is_in_use(const char *name)
{
  return or_utcp_endpoint && find_congestion(name) == congestion_in_use;
}

/** The name of what the library says that a circuit uses. */
const char *
or_utcp_congestion_name(uint64_t algorithm, bool coupled)
{
  size_t i;
  for (i = 0; i < sizeof(congestions) / sizeof(congestions[0]); ++i)
    if (congestions[i].algorithm == algorithm &&
        congestions[i].coupled == coupled)
      return congestions[i].name;
  return "unknown";
}

static uint64_t
clamp(uint64_t low, uint64_t value, uint64_t high)
{
  return value < low ? low : value > high ? high : value;
}

/** What the library's queues may hold, when Tor would allow <b>octets</b>. */
static uint64_t
memory_budget(uint64_t octets)
{
  return clamp(1 << 24, octets, UINT64_MAX);
}

/** Make the library's endpoint.  Return 0 or an error. */
static int
make_endpoint(const or_utcp_settings_t *settings)
{
  const struct congestion_t *congestion =
    find_congestion(settings->congestion);
  static const utcp_callbacks callbacks = {
    .size = sizeof(utcp_callbacks),
    .tx = tx_cb,
    .connection_incoming = or_utcp_cb_incoming,
    .connection_verify = or_utcp_cb_verify,
    .connection_ready = or_utcp_cb_ready,
    .connection_closed = or_utcp_cb_closed,
    .circuit_incoming = or_utcp_cb_circuit_incoming,
    .circuit_readable = or_utcp_cb_circuit_readable,
    .circuit_writable = or_utcp_cb_circuit_writable,
    .circuit_closed = or_utcp_cb_circuit_closed,
  };
  const struct {
    int option;
    uint64_t value;
  } options[] = {
    { UTCP_OPTION_CLIENT_CERTIFICATE, settings->mutual },
    { UTCP_OPTION_SECURITY_LEVEL, (uint64_t)settings->security_level },
    { UTCP_OPTION_HANDSHAKE_TIMEOUT,
      clamp(1, (uint64_t)settings->handshake_timeout, 3600) * 1000000 },
    { UTCP_OPTION_MAX_CONNECTIONS, clamp(1024, (uint64_t)settings->max_links, 1048576) },
    /* The token buckets cannot take back what the library has been given: let
     * it hold a quarter of a second's worth, or what a fast circuit needs. */
    { UTCP_OPTION_SEND_BUFFER, clamp(32768, settings->rate / 4, 262144) },
    { UTCP_OPTION_RECEIVE_BUFFER, clamp(65536, settings->rate, 4194304) },
    { UTCP_OPTION_CONGESTION, congestion ? congestion->algorithm : 0 },
    { UTCP_OPTION_COUPLED, congestion && congestion->coupled },
    { UTCP_OPTION_ECN,
      utcp_socket_abilities(udp_socket) & UTCP_SOCKET_ECN ? 1 : 0 },
    { UTCP_OPTION_MEMORY_BUDGET, memory_budget(settings->memory) },
  };
  utcp_config *config = utcp_config_new();
  size_t i;
  int r;

  if (!config)
    return UTCP_ERR_MEMORY;
  congestion_in_use = congestion;
  r = utcp_config_set_certificate(config, settings->chain,
                                  settings->chain_len, settings->key,
                                  settings->key_len);
  for (i = 0; !r && i < sizeof(options) / sizeof(options[0]); ++i)
    r = utcp_config_set(config, options[i].option, options[i].value);
  if (!r)
    r = utcp_endpoint_new(config, &callbacks, NULL, &or_utcp_endpoint);
  if (r)
    or_utcp_endpoint = NULL;
  utcp_config_free(config);
  return r;
}

/** Free what or_utcp_endpoint_open() made, the endpoint excepted. */
static void
release_socket(void)
{
  struct event **events[] = { &read_ev, &write_ev, &flush_ev };
  size_t i;

  for (i = 0; i < sizeof(events) / sizeof(events[0]); ++i) {
    if (*events[i])
      event_free(*events[i]);
    *events[i] = NULL;
  }
  utcp_socket_free(udp_socket);
  udp_socket = NULL;
  if (udp_fd >= 0)
    close(udp_fd);
  udp_fd = -1;
  flush_scheduled = tx_blocked = false;
}

/** Open the socket and the endpoint.  On failure, say why, and return
 * false. */
bool
or_utcp_endpoint_open(const or_utcp_settings_t *settings)
{
  struct event_base *base = or_utcp_tor_event_base();
  int r;

  if (or_utcp_endpoint)
    return true;
  if (!open_socket(settings)) {
    release_socket();
    return false;
  }
  r = make_endpoint(settings);
  if (r) {
    or_utcp_tor_log(OR_UTCP_WARN, "Could not set up OR connections by UDP: "
                    "%s", utcp_error_string(r));
    release_socket();
    return false;
  }
  flush_ev = event_new(base, -1, 0, flush_cb, NULL);
  read_ev = event_new(base, udp_fd, EV_READ | EV_PERSIST, read_cb, NULL);
  write_ev = event_new(base, udp_fd, EV_WRITE, write_cb, NULL);
  if (!flush_ev || !read_ev || !write_ev)
    abort(); /* No memory. */
  event_add(read_ev, NULL);
  accepting = true;
  next_check = 0;
  utcp_log_set(log_cb, NULL, or_utcp_tor_logs_debug() ? 4 : 3);
  or_utcp_tor_log(OR_UTCP_NOTICE, "Accepting OR connections by UDP on %s.",
                  describe_address(settings->address));
  return true;
}

/** Close all links, tell the peers, and close the socket.  When not
 * <b>exiting</b>, connections that are connecting go over to TCP. */
void
or_utcp_endpoint_close(bool exiting)
{
  utcp_endpoint *endpoint = or_utcp_endpoint;
  or_utcp_list_t links, *node;

  if (!endpoint)
    return;
  /* Whoever hears that a connection ends may want another one: it is to get
   * no link any more. */
  or_utcp_endpoint = NULL;
  or_utcp_list_init(&links);
  or_utcp_list_move(&links, &or_utcp_links);
  while ((node = or_utcp_list_pop(&links))) {
    or_utcp_link_t *link = OR_UTCP_ENTRY(node, or_utcp_link_t, all);
    struct or_connection_t *conn = link->conn;
    or_utcp_link_detach(link); /* Frees those that have no connection. */
    if (!conn || exiting || !or_utcp_tor_is_usable(conn))
      continue;
    if (or_utcp_tor_is_connecting(conn))
      or_utcp_link_fall_back(link);
    else
      or_utcp_tor_close(conn, UTCP_CLOSE_LOCAL);
  }

  /* Close alerts leave now or never. */
  utcp_endpoint_process(endpoint, or_utcp_tor_now());
  utcp_endpoint_free(endpoint);
  utcp_log_set(NULL, NULL, 0);
  release_socket();
  /* Links that their connections still own are of no endpoint any more. */
  while (or_utcp_list_pop(&active_links) || or_utcp_list_pop(&fall_backs))
    ;
}

bool
or_utcp_endpoint_is_open(void)
{
  return or_utcp_endpoint != NULL;
}

/** Present this certificate from now on; see or_utcp_settings_t.  On failure,
 * say why, and return false. */
bool
or_utcp_endpoint_use_certificate(const uint8_t *chain, size_t chain_len,
                                 const uint8_t *key, size_t key_len)
{
  const int r = utcp_endpoint_set_certificate(or_utcp_endpoint, chain,
                                              chain_len, key, key_len);
  if (r)
    or_utcp_tor_log(OR_UTCP_WARN, "Could not use the new link certificate "
                    "for UDP: %s", utcp_error_string(r));
  return !r;
}

/** From now on, all queues may hold <b>octets</b> together; see
 * or_utcp_settings_t.  What they hold already stays. */
void
or_utcp_endpoint_set_memory(uint64_t octets)
{
  if (or_utcp_endpoint &&
      !utcp_endpoint_set_memory_budget(or_utcp_endpoint,
                                       memory_budget(octets)))
    or_utcp_schedule_flush(); /* There may be room for who waits. */
}

/** Octets that the library's queues hold. */
size_t
or_utcp_memory(void)
{
  return or_utcp_endpoint ?
    (size_t)utcp_endpoint_memory(or_utcp_endpoint) : 0;
}

/** Out of memory: make the library free <b>octets</b>.  Return how many. */
size_t
or_utcp_shed(size_t octets)
{
  uint64_t shed = 0;
  if (!or_utcp_endpoint ||
      utcp_endpoint_shed(or_utcp_endpoint, octets, &shed))
    return 0;
  or_utcp_schedule_flush();
  or_utcp_tor_log(OR_UTCP_NOTICE, "Removed %" PRIu64 " bytes by closing "
                  "circuits of OR connections over UDP.", shed);
  return (size_t)shed;
}

/** Exit: say good-bye to all peers and free everything. */
void
or_utcp_free_glue(void)
{
  or_utcp_endpoint_close(true);
  or_utcp_forget_failures();
}
