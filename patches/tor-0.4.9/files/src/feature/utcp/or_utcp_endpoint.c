/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_endpoint.c
 * @brief The UDP socket and the library's endpoint: set-up, events, timers.
 *
 * One unconnected socket serves all peers.  What arrives is handed to the
 * library in batches; everything else the library has to do is done once at
 * the end of the loop turn in which it was asked for (flush_cb()).
 **/

#define TORTLS_PRIVATE
#include "core/or/or.h"

#ifdef USE_UTCP
#include "app/config/config.h"
#include "core/mainloop/connection.h"
#include "core/mainloop/mainloop.h"
#include "core/mainloop/netstatus.h"
#include "core/or/connection_or.h"
#include "core/or/or_connection_st.h"
#include "core/or/port_cfg_st.h"
#include "feature/hibernate/hibernate.h"
#include "feature/relay/routermode.h"
#include "feature/utcp/or_utcp.h"
#include "feature/utcp/or_utcp_internal.h"
#include "lib/container/smartlist.h"
#include "lib/crypt_ops/crypto_rsa.h"
#include "lib/crypt_ops/crypto_util.h"
#include "lib/evloop/compat_libevent.h"
#include "lib/net/address.h"
#include "lib/net/socket.h"
#include "lib/sandbox/sandbox.h"
#include "lib/time/compat_time.h"
#include "lib/tls/tortls.h"
#include "lib/tls/tortls_st.h"
#include "lib/tls/x509.h"

#include <event2/event.h>
#ifdef HAVE_SYS_SOCKET_H
#include <sys/socket.h>
#endif
#ifdef HAVE_SYS_UIO_H
#include <sys/uio.h>
#endif

/** Datagrams handed over in one call. */
#define BATCH 64
/** Batches read in one loop turn, so that other connections get theirs. */
#define MAX_BATCHES_PER_TURN 8
/** Room for one datagram; a longer one is none of ours. */
#define DATAGRAM_ROOM 2048
/** Between two looks at all links, in microseconds. */
#define CHECK_INTERVAL_USEC UINT64_C(1000000)

/** The endpoint, or NULL while this relay has none. */
utcp_endpoint *or_utcp_endpoint = NULL;
/** All or_utcp_link_t, or NULL. */
smartlist_t *or_utcp_links = NULL;

static tor_socket_t udp_socket = TOR_INVALID_SOCKET;
static uint16_t udp_port = 0;
static struct event *read_ev = NULL;
static struct event *write_ev = NULL;
static mainloop_event_t *flush_ev = NULL;
static mainloop_event_t *timer_ev = NULL;
/** The kernel took no more datagrams: waiting for write_ev. */
static bool tx_blocked = false;
static bool accepting = true;
static uint64_t next_check = 0;
/** Links that moved data in this turn, or have something left to do. */
static smartlist_t *active_links = NULL;
/** Links whose or_connection_t is to be connected by TCP instead. */
static smartlist_t *fall_backs = NULL;

static void close_endpoint(bool exiting);

/** The library's clock: monotonic microseconds. */
uint64_t
or_utcp_now(void)
{
  return monotime_absolute_usec();
}

/** Let the library work at the end of this loop turn. */
void
or_utcp_schedule_flush(void)
{
  if (flush_ev)
    mainloop_event_activate(flush_ev);
}

/** Take what this link moves in this turn out of the token buckets. */
void
or_utcp_link_active(or_utcp_link_t *link)
{
  if (!link->active && active_links) {
    link->active = 1;
    smartlist_add(active_links, link);
  }
  or_utcp_schedule_flush();
}

/** Connect <b>link</b>'s connection by TCP at the end of this turn. */
void
or_utcp_fall_back_later(or_utcp_link_t *link)
{
  if (fall_backs && !smartlist_contains(fall_backs, link))
    smartlist_add(fall_backs, link);
  or_utcp_schedule_flush();
}

/** <b>link</b> is about to be freed: take it off the lists of this turn. */
void
or_utcp_link_forget(or_utcp_link_t *link)
{
  if (active_links)
    smartlist_remove(active_links, link);
  if (fall_backs)
    smartlist_remove(fall_backs, link);
}

/* Sending and receiving. */

/** An error of one send: true if the datagram is to be offered again. */
static bool
send_should_wait(int e)
{
  /* Anything else is this datagram's own bad luck, and UDP's: it counts as
   * sent, and is retransmitted as if the network had lost it. */
  return ERRNO_IS_EAGAIN(e);
}

/** The library's tx callback: give datagrams to the kernel. */
static size_t
tx_cb(void *user, const utcp_datagram *batch, size_t count)
{
  size_t done = 0;
  (void)user;

  if (!SOCKET_OK(udp_socket))
    return count;
  if (tx_blocked)
    return 0;

#ifdef __linux__
  const bool use_mmsg = !sandbox_is_active();
#endif
  while (done < count) {
    int n;
#ifdef __linux__
    if (use_mmsg) {
      struct mmsghdr msgs[BATCH];
      struct iovec iov[BATCH];
      const int m = (int) MIN(count - done, (size_t)BATCH);
      memset(msgs, 0, sizeof(msgs[0]) * m);
      for (int i = 0; i < m; ++i) {
        const utcp_datagram *d = &batch[done + i];
        iov[i].iov_base = (void *)d->data;
        iov[i].iov_len = d->len;
        msgs[i].msg_hdr.msg_name = (void *)d->address;
        msgs[i].msg_hdr.msg_namelen = d->address_len;
        msgs[i].msg_hdr.msg_iov = &iov[i];
        msgs[i].msg_hdr.msg_iovlen = 1;
      }
      n = sendmmsg(udp_socket, msgs, m, MSG_DONTWAIT);
    } else
#endif /* defined(__linux__) */
    {
      const utcp_datagram *d = &batch[done];
      n = sendto(udp_socket, (const void *)d->data, d->len, 0,
                 d->address, d->address_len) < 0 ? -1 : 1;
    }
    if (n > 0) {
      done += n;
    } else if (send_should_wait(tor_socket_errno(udp_socket))) {
      tx_blocked = true;
      event_add(write_ev, NULL);
      break;
    } else {
      ++done;
    }
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

/** Receive up to BATCH datagrams and hand them over; return their number. */
static int
receive_batch(void)
{
  static uint8_t buffers[BATCH][DATAGRAM_ROOM];
  static struct sockaddr_storage from[BATCH];
  utcp_datagram batch[BATCH];
  int n = 0, received = 0;

#ifdef __linux__
  if (!sandbox_is_active()) {
    struct mmsghdr msgs[BATCH];
    struct iovec iov[BATCH];
    memset(msgs, 0, sizeof(msgs));
    for (int i = 0; i < BATCH; ++i) {
      iov[i].iov_base = buffers[i];
      iov[i].iov_len = DATAGRAM_ROOM;
      msgs[i].msg_hdr.msg_name = &from[i];
      msgs[i].msg_hdr.msg_namelen = sizeof(from[i]);
      msgs[i].msg_hdr.msg_iov = &iov[i];
      msgs[i].msg_hdr.msg_iovlen = 1;
    }
    received = recvmmsg(udp_socket, msgs, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < received; ++i) {
      if (msgs[i].msg_hdr.msg_flags & MSG_TRUNC)
        continue;
      batch[n].address = (struct sockaddr *)&from[i];
      batch[n].address_len = msgs[i].msg_hdr.msg_namelen;
      batch[n].data = buffers[i];
      batch[n].len = msgs[i].msg_len;
      batch[n].ecn = 0;
      ++n;
    }
  } else
#endif /* defined(__linux__) */
  {
    for (; received < BATCH; ++received) {
      socklen_t len = sizeof(from[n]);
      const ssize_t got =
        recvfrom(udp_socket, (void *)buffers[n], DATAGRAM_ROOM, 0,
                 (struct sockaddr *)&from[n], &len);
      if (got < 0)
        break;
      batch[n].address = (struct sockaddr *)&from[n];
      batch[n].address_len = len;
      batch[n].data = buffers[n];
      batch[n].len = got;
      batch[n].ecn = 0;
      ++n;
    }
  }
  if (n > 0)
    utcp_endpoint_inject_batch(or_utcp_endpoint, or_utcp_now(), batch, n);
  return received;
}

static void
read_cb(evutil_socket_t fd, short what, void *arg)
{
  (void)fd; (void)what; (void)arg;

  const bool want = !we_are_hibernating() && !net_is_disabled();
  if (want != accepting) {
    accepting = want;
    utcp_endpoint_set_accepting(or_utcp_endpoint, accepting);
  }
  for (int i = 0; i < MAX_BATCHES_PER_TURN; ++i) {
    if (receive_batch() < BATCH)
      break;
  }
  or_utcp_schedule_flush();
}

/* The end of a loop turn, and timers. */

/** Look after all links, once a second. */
static void
check_links(uint64_t now)
{
  if (now < next_check)
    return;
  next_check = now + CHECK_INTERVAL_USEC;
  SMARTLIST_FOREACH(or_utcp_links, or_utcp_link_t *, link, {
    or_utcp_link_check(link, now);
    or_utcp_link_charge(link);
  });
}

/** Do what was asked for in this turn, and find out when to wake up. */
static void
flush_cb(mainloop_event_t *event, void *arg)
{
  (void)event; (void)arg;
  if (!or_utcp_endpoint)
    return;

  SMARTLIST_FOREACH(active_links, or_utcp_link_t *, link, {
    or_utcp_tell_lost_circuits(link);
    or_utcp_read_on(link);
  });

  uint64_t now = or_utcp_now();
  if (utcp_endpoint_process(or_utcp_endpoint, now) == UTCP_ERR_INTERNAL) {
    log_warn(LD_BUG, "libutcp reports an internal error. OR connections over "
             "UDP are closed, and not made again before the next reload.");
    close_endpoint(false);
    return;
  }

  smartlist_t *links = active_links;
  active_links = smartlist_new();
  SMARTLIST_FOREACH_BEGIN(links, or_utcp_link_t *, link) {
    link->active = 0;
    or_utcp_link_charge(link);
    if (smartlist_len(link->lost) || smartlist_len(link->unread))
      or_utcp_link_active(link); /* It came too late for this turn. */
  } SMARTLIST_FOREACH_END(link);
  smartlist_free(links);

  while (smartlist_len(fall_backs)) {
    or_utcp_link_t *link = smartlist_pop_last(fall_backs);
    or_utcp_link_fall_back(link);
  }

  check_links(now);

  uint64_t deadline = utcp_endpoint_next_deadline(or_utcp_endpoint);
  if (smartlist_len(or_utcp_links) && deadline > next_check)
    deadline = next_check;
  if (deadline == UINT64_MAX) {
    mainloop_event_cancel(timer_ev);
    return;
  }
  now = or_utcp_now();
  uint64_t delay = deadline > now ? deadline - now : 0;
  /* While the kernel takes no datagrams, nothing is in a hurry. */
  if (tx_blocked && delay < 10 * 1000)
    delay = 10 * 1000;
  if (delay == 0) {
    or_utcp_schedule_flush();
  } else {
    const struct timeval tv = { (time_t)(delay / 1000000),
                                (int)(delay % 1000000) };
    mainloop_event_schedule(timer_ev, &tv);
  }
}

static void
log_cb(void *user, int level, const char *target, const char *message)
{
  (void)user;
  /* What the library warns of, a peer can cause: not for the operator. */
  const int severity = level <= 1 ? LOG_WARN :
                       level <= 3 ? LOG_INFO : LOG_DEBUG;
  log_fn(severity, LD_NET, "libutcp %s: %s", target, message);
}

/* Set-up. */

/** True if the configuration asks for a UDP socket: public relays only. */
static bool
is_wanted(const or_options_t *options)
{
  return options->command == CMD_RUN_TOR && options->ORUDPPort > 0 &&
         public_server_mode(options);
}

/** Choose the address to bind to: peers have to see the one that our
 * descriptor names, so take the one that the ORPort is bound to. */
static void
choose_address(const or_options_t *options, tor_addr_t *addr)
{
  const tor_addr_t *outbound;

  tor_addr_make_null(addr, AF_INET);
  SMARTLIST_FOREACH_BEGIN(get_configured_ports(), const port_cfg_t *, port) {
    if (port->type == CONN_TYPE_OR_LISTENER && !port->is_unix_addr &&
        !port->server_cfg.no_listen && tor_addr_family(&port->addr) == AF_INET
        && !tor_addr_is_null(&port->addr)) {
      tor_addr_copy(addr, &port->addr);
      return;
    }
  } SMARTLIST_FOREACH_END(port);

  outbound = &options->OutboundBindAddresses[OUTBOUND_ADDR_OR][0];
  if (tor_addr_is_null(outbound))
    outbound = &options->OutboundBindAddresses[OUTBOUND_ADDR_ANY][0];
  if (tor_addr_family(outbound) == AF_INET)
    tor_addr_copy(addr, outbound);
}

static tor_socket_t
open_socket(const or_options_t *options)
{
  tor_addr_t addr;
  struct sockaddr_storage sa;
  const int buffer = 4 << 20;

  tor_socket_t s = tor_open_socket_nonblocking(AF_INET, SOCK_DGRAM,
                                               IPPROTO_UDP);
  if (!SOCKET_OK(s)) {
    log_warn(LD_NET, "Could not make a UDP socket: %s",
             tor_socket_strerror(errno));
    return s;
  }
  choose_address(options, &addr);
  const socklen_t len = tor_addr_to_sockaddr(&addr, options->ORUDPPort,
                                             (struct sockaddr *)&sa,
                                             sizeof(sa));
  if (bind(s, (struct sockaddr *)&sa, len) < 0) {
    log_warn(LD_NET, "Could not bind ORUDPPort %s:%d: %s. OR connections "
             "use TCP only.", fmt_addr(&addr), options->ORUDPPort,
             tor_socket_strerror(tor_socket_errno(s)));
    tor_close_socket(s);
    return TOR_INVALID_SOCKET;
  }
  /* As much as the system allows; less is no error. */
  setsockopt(s, SOL_SOCKET, SO_RCVBUF, (void *)&buffer, sizeof(buffer));
  setsockopt(s, SOL_SOCKET, SO_SNDBUF, (void *)&buffer, sizeof(buffer));
  log_notice(LD_NET, "Accepting OR connections by UDP on %s:%d.",
             fmt_addr(&addr), options->ORUDPPort);
  return s;
}

/** Give <b>set</b> exactly the certificate that TLS connections present: the
 * peer checks it against the CERTS cell.  Return 0 or an error. */
static int
with_link_certificate(int (*set)(const uint8_t *, size_t,
                                 const uint8_t *, size_t, void *), void *arg)
{
  const tor_tls_context_t *context = tor_tls_context_get(1);
  const uint8_t *certificate = NULL;
  size_t certificate_len = 0;
  char key[4096];
  int r = UTCP_ERR_CERTIFICATE;

  if (!context || !context->my_link_cert || !context->link_key)
    return r;
  tor_x509_cert_get_der(context->my_link_cert, &certificate,
                        &certificate_len);
  const int key_len = crypto_pk_asn1_encode_private(context->link_key, key,
                                                    sizeof(key));
  if (key_len > 0)
    r = set(certificate, certificate_len, (uint8_t *)key, key_len, arg);
  memwipe(key, 0, sizeof(key));
  return r;
}

static int
set_config_certificate(const uint8_t *chain, size_t chain_len,
                       const uint8_t *key, size_t key_len, void *config)
{
  return utcp_config_set_certificate(config, chain, chain_len, key, key_len);
}

static int
set_endpoint_certificate(const uint8_t *chain, size_t chain_len,
                         const uint8_t *key, size_t key_len, void *arg)
{
  (void)arg;
  return utcp_endpoint_set_certificate(or_utcp_endpoint, chain, chain_len,
                                       key, key_len);
}

/** Make the library's endpoint.  Return 0 or an error. */
static int
make_endpoint(const or_options_t *options)
{
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
  /* The token buckets cannot take back what the library has been given: let
   * it hold a quarter of a second's worth, or what a fast circuit needs. */
  const uint64_t rate = options->RelayBandwidthRate ?
    options->RelayBandwidthRate : options->BandwidthRate;
  const uint64_t send_buffer = CLAMP(32768, rate / 4, 262144);
  const uint64_t receive_buffer = CLAMP(65536, rate, 4194304);
  const int max_links = options->ConnLimit_ > 1024 ? options->ConnLimit_ :
                                                     1024;
  utcp_config *config = utcp_config_new();
  int r = UTCP_ERR_MEMORY;

  if (!config)
    return r;
  if ((r = with_link_certificate(set_config_certificate, config)) ||
      (r = utcp_config_set(config, UTCP_OPTION_HANDSHAKE_TIMEOUT,
             (uint64_t)MAX(1, options->ORUDPHandshakeTimeout) * 1000000)) ||
      (r = utcp_config_set(config, UTCP_OPTION_MAX_CONNECTIONS, max_links)) ||
      (r = utcp_config_set(config, UTCP_OPTION_SEND_BUFFER, send_buffer)) ||
      (r = utcp_config_set(config, UTCP_OPTION_RECEIVE_BUFFER,
                           receive_buffer)) ||
      (r = utcp_config_set(config, UTCP_OPTION_MEMORY_BUDGET,
                           MAX(options->MaxMemInQueues / 4, 1 << 24))) ||
      (r = utcp_endpoint_new(config, &callbacks, NULL, &or_utcp_endpoint))) {
    or_utcp_endpoint = NULL;
  }
  utcp_config_free(config);
  return r;
}

/** Open the socket and the endpoint.  On failure, say so and use TCP only. */
static void
open_endpoint(const or_options_t *options)
{
  udp_socket = open_socket(options);
  if (!SOCKET_OK(udp_socket))
    return;

  const int r = make_endpoint(options);
  if (r) {
    log_warn(LD_NET, "Could not set up OR connections by UDP: %s",
             utcp_error_string(r));
    tor_close_socket(udp_socket);
    udp_socket = TOR_INVALID_SOCKET;
    return;
  }
  utcp_log_set(log_cb, NULL, debug_logging_enabled() ? 4 : 3);

  udp_port = options->ORUDPPort;
  tx_blocked = false;
  accepting = true;
  or_utcp_links = smartlist_new();
  active_links = smartlist_new();
  fall_backs = smartlist_new();
  flush_ev = mainloop_event_postloop_new(flush_cb, NULL);
  timer_ev = mainloop_event_new(flush_cb, NULL);
  read_ev = tor_event_new(tor_libevent_get_base(), udp_socket,
                          EV_READ|EV_PERSIST, read_cb, NULL);
  write_ev = tor_event_new(tor_libevent_get_base(), udp_socket, EV_WRITE,
                           write_cb, NULL);
  event_add(read_ev, NULL);
}

/** Close all links, tell the peers, and close the socket. */
static void
close_endpoint(bool exiting)
{
  if (!or_utcp_endpoint)
    return;

  smartlist_t *links = or_utcp_links;
  or_utcp_links = NULL;
  SMARTLIST_FOREACH_BEGIN(links, or_utcp_link_t *, link) {
    or_connection_t *conn = link->conn;
    or_utcp_link_detach(link); /* Frees those that have no connection. */
    if (!conn || exiting || TO_CONN(conn)->marked_for_close)
      continue;
    if (TO_CONN(conn)->state == OR_CONN_STATE_CONNECTING)
      or_utcp_link_fall_back(link);
    else
      connection_or_close_normally(conn, 0);
  } SMARTLIST_FOREACH_END(link);
  smartlist_free(links);

  /* Close alerts leave now or never. */
  utcp_endpoint_process(or_utcp_endpoint, or_utcp_now());
  utcp_endpoint_free(or_utcp_endpoint);
  or_utcp_endpoint = NULL;
  utcp_log_set(NULL, NULL, 0);

  mainloop_event_free(flush_ev);
  mainloop_event_free(timer_ev);
  tor_event_free(read_ev);
  tor_event_free(write_ev);
  read_ev = write_ev = NULL;
  tor_close_socket(udp_socket);
  udp_socket = TOR_INVALID_SOCKET;
  udp_port = 0;
  smartlist_free(active_links);
  smartlist_free(fall_backs);
}

/** The TLS context is new: set up the endpoint if there should be one, or
 * let it present the new certificate from now on. */
void
or_utcp_tls_context_changed(void)
{
  if (!or_utcp_endpoint) {
    or_utcp_options_changed();
    return;
  }
  const int r = with_link_certificate(set_endpoint_certificate, NULL);
  if (r)
    log_warn(LD_NET, "Could not use the new link certificate for UDP: %s",
             utcp_error_string(r));
}

/** The configuration was read: open or close the socket accordingly.  Before
 * there are keys, do nothing. */
void
or_utcp_options_changed(void)
{
  const or_options_t *options = get_options();
  const bool want = is_wanted(options);

  if (or_utcp_endpoint && (!want || udp_port != options->ORUDPPort)) {
    log_notice(LD_NET, "Closing ORUDPPort %d.", udp_port);
    close_endpoint(false);
  }
  if (options->ORUDPPort > 0 && !want && options->command == CMD_RUN_TOR)
    log_notice(LD_CONFIG, "ORUDPPort is for public relays; ignoring it.");
  const tor_tls_context_t *context = want ? tor_tls_context_get(1) : NULL;
  if (!or_utcp_endpoint && context && context->my_link_cert)
    open_endpoint(options);
}

/** The UDP port for our descriptor, or 0. */
uint16_t
or_utcp_published_port(void)
{
  return or_utcp_endpoint ? udp_port : 0;
}

/** Octets that the library's queues hold. */
size_t
or_utcp_memory(void)
{
  return or_utcp_endpoint ?
    (size_t)utcp_endpoint_memory(or_utcp_endpoint) : 0;
}

/** Out of memory: make the library free <b>bytes</b>.  Return how many. */
size_t
or_utcp_shed(size_t bytes)
{
  uint64_t shed = 0;
  if (!or_utcp_endpoint ||
      utcp_endpoint_shed(or_utcp_endpoint, bytes, &shed))
    return 0;
  or_utcp_schedule_flush();
  log_notice(LD_GENERAL, "Removed %"PRIu64" bytes by closing circuits of OR "
             "connections over UDP.", shed);
  return (size_t)shed;
}

/** Exit: say good-bye to all peers and free everything. */
void
or_utcp_free_all(void)
{
  close_endpoint(true);
  or_utcp_forget_failures();
}
#endif /* defined(USE_UTCP) */
