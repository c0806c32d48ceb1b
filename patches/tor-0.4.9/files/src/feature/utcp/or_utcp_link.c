/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_link.c
 * @brief OR connections over libutcp: their making, link handshake, control
 * circuit, limits and end.
 *
 * DTLS says nothing about who the peer is: its certificate is accepted
 * unseen.  As over TLS, relays prove their identity in Tor's own link
 * handshake (VERSIONS, CERTS, AUTH_CHALLENGE, AUTHENTICATE, NETINFO), which
 * runs in the control circuit and is bound to the DTLS session by the link
 * certificate and by exported keying material.  For that the connection gets
 * a tor_tls_t that borrows the session's SSL object while handshake cells are
 * processed, and holds none at other times.
 *
 * While DTLS is under way an outgoing connection is in state CONNECTING; if
 * DTLS fails, the same connection is made by TCP.
 **/

#define CHANNEL_OBJECT_PRIVATE
#define TORTLS_PRIVATE
#include "core/or/or.h"

#ifdef USE_UTCP
#include "app/config/config.h"
#include "core/mainloop/connection.h"
#include "core/mainloop/mainloop.h"
#include "core/mainloop/netstatus.h"
#include "core/or/cell_st.h"
#include "core/or/channel.h"
#include "core/or/channeltls.h"
#include "core/or/command.h"
#include "core/or/connection_or.h"
#include "core/or/dos.h"
#include "core/or/or_connection_st.h"
#include "core/or/reasons.h"
#include "core/or/scheduler.h"
#include "core/or/status.h"
#include "core/or/var_cell_st.h"
#include "core/proto/proto_cell.h"
#include "feature/dirauth/authmode.h"
#include "feature/hibernate/hibernate.h"
#include "feature/nodelist/routerinfo_st.h"
#include "feature/nodelist/routerlist.h"
#include "feature/utcp/or_utcp.h"
#include "feature/utcp/or_utcp_internal.h"
#include "lib/buf/buffers.h"
#include "lib/container/smartlist.h"
#include "lib/crypt_ops/crypto_util.h"
#include "lib/net/address.h"
#include "lib/tls/tortls.h"
#include "lib/tls/tortls_st.h"

/** Is <b>conn</b> an OR connection that has a link in place of a socket? */
bool
or_utcp_is_link(const connection_t *conn)
{
  return conn->type == CONN_TYPE_OR && CONST_TO_OR_CONN(conn)->utcp_link;
}

static or_utcp_link_t *
link_new(or_connection_t *conn, utcp_connection *transport)
{
  or_utcp_link_t *link = tor_malloc_zero(sizeof(*link));
  link->conn = conn;
  link->transport = transport;
  link->control.link = link;
  link->control.is_control = 1;
  link->lost = smartlist_new();
  link->unread = smartlist_new();
  if (conn)
    conn->utcp_link = link;
  if (transport) {
    utcp_connection_set_user(transport, link);
    utcp_connection_hold(transport, 1);
  }
  smartlist_add(or_utcp_links, link);
  return link;
}

/** Take the DTLS session and all streams away from <b>link</b>, closing them.
 * A link that no connection owns is freed. */
void
or_utcp_link_detach(or_utcp_link_t *link)
{
  or_utcp_streams_free(link);
  link->control.circuit = NULL;
  if (link->transport) {
    utcp_connection_set_user(link->transport, NULL);
    utcp_connection_close(link->transport);
    utcp_connection_free(link->transport);
    link->transport = NULL;
    or_utcp_schedule_flush();
  }
  if (link->awaiting) {
    link->awaiting->awaited_by = NULL;
    link->awaiting = NULL;
  }
  if (link->awaited_by) {
    or_utcp_link_t *waiting = link->awaited_by;
    waiting->awaiting = NULL;
    link->awaited_by = NULL;
    if (or_utcp_links)
      or_utcp_fall_back_later(waiting);
  }
  if (link->conn)
    return;
  if (or_utcp_links)
    smartlist_remove(or_utcp_links, link);
  or_utcp_link_forget(link);
  smartlist_free(link->lost);
  smartlist_free(link->unread);
  tor_free(link);
}

/** The connection is being freed, or goes over to TCP: free its link. */
static void
link_free(or_utcp_link_t *link)
{
  or_connection_t *conn = link->conn;
  if (conn->tls) {
    conn->tls->ssl = NULL; /* Borrowed. */
    tor_free(conn->tls->address);
    tor_free(conn->tls);
  }
  conn->utcp_link = NULL;
  link->conn = NULL;
  or_utcp_link_detach(link);
}

void
or_utcp_conn_freed(or_connection_t *conn)
{
  if (conn->utcp_link)
    link_free(conn->utcp_link);
}

/* Making connections. */

/** May <b>conn</b>'s peer be reached by UDP?  If so, at which port? */
static uint16_t
peer_udp_port(const char *identity_digest, const tor_addr_t *addr)
{
  const routerinfo_t *ri = router_get_by_id_digest(identity_digest);

  if (!or_utcp_endpoint || !ri || !ri->or_udp_port ||
      tor_addr_family(addr) != AF_INET ||
      !tor_addr_eq(&ri->ipv4_addr, addr) ||
      or_utcp_failed_recently(identity_digest))
    return 0;
  /* An authority that tests whether relays can be reached tests TCP. */
  if (authdir_mode_tests_reachability(get_options()))
    return 0;
  return ri->or_udp_port;
}

/** The connection of <b>outgoing</b> is to wait until <b>theirs</b>, which
 * the peer has made at the same time, is open. */
static void
await_link(or_utcp_link_t *outgoing, or_utcp_link_t *theirs)
{
  theirs->awaited_by = outgoing;
  outgoing->awaiting = theirs;
  log_info(LD_OR, "%s connects to us by UDP, too. Waiting for that.",
           connection_describe_peer(TO_CONN(outgoing->conn)));
}

/** A new outgoing connection is about to be made: if the descriptor of the
 * peer has a UDP port, start DTLS and return true. */
bool
or_utcp_try_connect(or_connection_t *conn)
{
  connection_t *base = TO_CONN(conn);
  struct sockaddr_storage sa;
  utcp_connection *transport = NULL;
  const uint16_t port = peer_udp_port(conn->identity_digest, &base->addr);

  if (!port || conn->proxy_type != PROXY_NONE || net_is_disabled() ||
      we_are_hibernating())
    return false;

  const socklen_t len = tor_addr_to_sockaddr(&base->addr, port,
                                             (struct sockaddr *)&sa,
                                             sizeof(sa));
  const int r = utcp_endpoint_connect(or_utcp_endpoint, or_utcp_now(),
                                      (struct sockaddr *)&sa, len, NULL,
                                      &transport);
  if (r == UTCP_ERR_IN_USE &&
      utcp_endpoint_find(or_utcp_endpoint, (struct sockaddr *)&sa, len,
                         &transport) == UTCP_OK) {
    or_utcp_link_t *theirs = utcp_connection_user(transport);
    if (theirs && !theirs->released && !theirs->awaited_by &&
        !theirs->awaiting) {
      /* The peer was faster. */
      await_link(link_new(conn, NULL), theirs);
      connection_add(base);
      return true;
    }
  }
  if (r) {
    /* There is an older link to the same peer that Tor does not want to use
     * for new circuits. */
    log_info(LD_OR, "Cannot connect to %s by UDP (%s); using TCP.",
             connection_describe_peer(base), utcp_error_string(r));
    conn->utcp_fell_back = 1;
    return false;
  }
  link_new(conn, transport);
  connection_add(base);
  note_connection(false /* outbound */, base);
  log_info(LD_OR, "Connecting to %s by UDP, port %d.",
           connection_describe_peer(base), port);
  or_utcp_schedule_flush();
  return true;
}

/** UDP did not work: make the connection of <b>link</b> by TCP. */
void
or_utcp_link_fall_back(or_utcp_link_t *link)
{
  or_connection_t *conn = link->conn;
  connection_t *base = TO_CONN(conn);
  tor_addr_t addr;
  int socket_error = 0;

  if (base->marked_for_close)
    return; /* Freed with its link soon. */
  tor_assert(base->state == OR_CONN_STATE_CONNECTING);
  log_info(LD_OR, "No connection to %s by UDP; trying TCP.",
           connection_describe_peer(base));

  link_free(link);
  conn->utcp_fell_back = 1;
  connection_remove(base);
  base->conn_array_index = -1;
  tor_addr_copy(&addr, &base->addr);
  switch (connection_connect(base, base->address, &addr, base->port,
                             &socket_error)) {
    case -1:
      connection_or_connect_failed(conn,
                                   errno_to_orconn_end_reason(socket_error),
                                   tor_socket_strerror(socket_error));
      connection_or_close_for_error(conn, 0);
      break;
    case 0:
      connection_watch_events(base, READ_EVENT | WRITE_EVENT);
      break;
    default:
      /* On failure it is marked for close. */
      connection_or_finished_connecting(conn);
      break;
  }
}

/** DTLS is complete: begin Tor's link handshake, as the side that answers if
 * <b>is_server</b>. */
static void
start_link_handshake(or_utcp_link_t *link, bool is_server)
{
  or_connection_t *conn = link->conn;

  link->handshake_until = or_utcp_now() + OR_UTCP_LINK_HANDSHAKE_USEC;
  link->control.circuit = utcp_connection_control(link->transport);
  utcp_circuit_set_user(link->control.circuit, &link->control);

  conn->tls = tor_malloc_zero(sizeof(tor_tls_t));
  conn->tls->magic = TOR_TLS_MAGIC;
  conn->tls->socket = TOR_INVALID_SOCKET;
  conn->tls->state = TOR_TLS_ST_OPEN;
  conn->tls->isServer = is_server;
  tor_tls_set_logged_address(conn->tls,
                             connection_describe_peer(TO_CONN(conn)));

  log_info(LD_HANDSHAKE, "DTLS with %s is complete.",
           connection_describe_peer(TO_CONN(conn)));
  connection_or_change_state(conn, OR_CONN_STATE_TLS_HANDSHAKING);
  if (is_server)
    connection_or_change_state(conn, OR_CONN_STATE_SERVER_VERSIONS_WAIT);
  else if (connection_or_launch_v3_or_handshake(conn) < 0)
    connection_or_close_for_error(conn, 0);
}

/** Make an or_connection_t for a peer that has connected to us. */
static void
accept_link(or_utcp_link_t *link)
{
  struct sockaddr_storage sa;
  socklen_t len = sizeof(sa);
  tor_addr_t addr;
  uint16_t port = 0;

  if (utcp_connection_address(link->transport, (struct sockaddr *)&sa, &len)
      || tor_addr_from_sockaddr(&addr, (struct sockaddr *)&sa, &port) < 0) {
    or_utcp_link_detach(link);
    return;
  }

  or_connection_t *conn = or_connection_new(CONN_TYPE_OR,
                                            tor_addr_family(&addr));
  connection_t *base = TO_CONN(conn);
  tor_addr_copy(&base->addr, &addr);
  base->port = port;
  base->address = tor_addr_to_str_dup(&addr);
  base->from_listener = 1;
  conn->utcp_link = link;
  link->conn = conn;
  connection_add(base);
  connection_or_event_status(conn, OR_CONN_EVENT_NEW, 0);

  channel_listener_t *listener = channel_tls_get_listener();
  if (!listener) {
    listener = channel_tls_start_listener();
    command_setup_listener(listener);
  }
  channel_listener_queue_incoming(listener,
                                  channel_tls_handle_incoming(conn));
  note_connection(true /* inbound */, base);
  start_link_handshake(link, true);
}

/** Library callback: a peer whose address is proven wants to connect. */
int
or_utcp_cb_incoming(void *user, utcp_connection *transport,
                    const struct sockaddr *address, socklen_t len)
{
  tor_addr_t addr;
  uint16_t port;
  (void)user; (void)len;

  if (tor_addr_from_sockaddr(&addr, address, &port) < 0 ||
      we_are_hibernating() || net_is_disabled() ||
      dos_conn_addr_get_defense_type(&addr) != DOS_CONN_DEFENSE_NONE)
    return -1;
  link_new(NULL, transport);
  return 0;
}

/** Library callback: every certificate is accepted; see the file's head. */
int
or_utcp_cb_verify(void *user, utcp_connection *transport, struct ssl_st *ssl)
{
  (void)user; (void)transport; (void)ssl;
  return 0;
}

/** Library callback: DTLS is complete. */
void
or_utcp_cb_ready(void *user, utcp_connection *transport)
{
  or_utcp_link_t *link = utcp_connection_user(transport);
  const bool is_server =
    utcp_connection_role(transport) == UTCP_ROLE_SERVER;
  (void)user;

  if (!link)
    return;
  utcp_connection_hold(transport, 1);
  if (!link->conn) {
    accept_link(link);
  } else if (TO_CONN(link->conn)->marked_for_close) {
    return;
  } else if (!is_server) {
    start_link_handshake(link, false);
  } else {
    /* Both sides connected at once, and the peer has the client's part: it
     * will prove its identity as somebody who connects to us does, and there
     * is no telling yet whether it is the relay that our connection is for.
     * So the session gets a connection of its own.  Ours waits for that one
     * to open, whereupon the circuits that wait for ours are served by it. */
    or_utcp_link_t *outgoing = link;
    link->transport = NULL;
    link = link_new(NULL, transport);
    await_link(outgoing, link);
    accept_link(link);
  }
}

/** Library callback: the session has ended, and its circuits before it. */
void
or_utcp_cb_closed(void *user, utcp_connection *transport, int reason)
{
  or_utcp_link_t *link = utcp_connection_user(transport);
  (void)user;

  if (!link)
    return;
  or_connection_t *conn = link->conn;
  or_utcp_link_detach(link); /* Frees a link without a connection. */
  if (!conn || TO_CONN(conn)->marked_for_close)
    return;

  log_info(LD_OR, "DTLS session with %s has ended: %s.",
           connection_describe_peer(TO_CONN(conn)), utcp_error_string(reason));
  if (TO_CONN(conn)->state != OR_CONN_STATE_OPEN && conn->is_outgoing)
    or_utcp_note_failure(conn->identity_digest);

  if (TO_CONN(conn)->state == OR_CONN_STATE_CONNECTING) {
    or_utcp_fall_back_later(link);
    return;
  }
  conn->tls_error = reason == UTCP_CLOSE_TIMEOUT ? TOR_TLS_ERROR_TIMEOUT :
                    reason == UTCP_CLOSE_RESTARTED ? TOR_TLS_ERROR_CONNRESET :
                    TOR_TLS_CLOSE;
  if (reason == UTCP_CLOSE_PEER || reason == UTCP_CLOSE_LOCAL)
    connection_or_close_normally(conn, 0);
  else
    connection_or_close_for_error(conn, 0);
}

/** Our own connection <b>outgoing</b> waited for the peer's to open. */
static void
awaited_link_opened(or_utcp_link_t *opened)
{
  or_utcp_link_t *outgoing = opened->awaited_by;

  opened->awaited_by = NULL;
  outgoing->awaiting = NULL;
  if (TO_CONN(outgoing->conn)->marked_for_close)
    return;
  if (tor_memeq(opened->conn->identity_digest,
                outgoing->conn->identity_digest, DIGEST_LEN)) {
    /* The waiting circuits are attached to it by now. */
    connection_or_close_normally(outgoing->conn, 0);
  } else {
    /* Some other relay lives at that address. */
    or_utcp_note_failure(outgoing->conn->identity_digest);
    or_utcp_fall_back_later(outgoing);
  }
}

/* The control circuit. */

static bool
circuit_cell_allowed_on_control(const cell_t *cell)
{
  /* A DESTROY whose stream could not deliver it any more. */
  if (cell->circ_id)
    return cell->command == CELL_DESTROY;
  switch (cell->command) {
    case CELL_PADDING:
    case CELL_NETINFO:
    case CELL_PADDING_NEGOTIATE:
      return true;
    default:
      return false;
  }
}

/** Take one cell off the inbuf of <b>conn</b>, and handle it.  Return false
 * if there is none. */
static bool
process_control_cell(or_utcp_link_t *link)
{
  or_connection_t *conn = link->conn;
  buf_t *inbuf = TO_CONN(conn)->inbuf;
  var_cell_t *var_cell = NULL;

  if (fetch_var_cell_from_buf(inbuf, &var_cell, conn->link_proto)) {
    if (!var_cell)
      return false;
    if (conn->chan)
      channel_timestamp_active(TLS_CHAN_TO_BASE(conn->chan));
    channel_tls_handle_var_cell(var_cell, conn);
    var_cell_free(var_cell);
    return true;
  }

  char body[CELL_MAX_NETWORK_SIZE];
  const char *p = body;
  const size_t size = get_cell_network_size(conn->wide_circ_ids);
  cell_t cell;

  if (buf_datalen(inbuf) < size)
    return false;
  buf_get_bytes(inbuf, body, size);
  memset(&cell, 0, sizeof(cell));
  if (conn->wide_circ_ids) {
    cell.circ_id = ntohl(get_uint32(p));
    p += 4;
  } else {
    cell.circ_id = ntohs(get_uint16(p));
    p += 2;
  }
  cell.command = get_uint8(p++);
  memcpy(cell.payload, p, CELL_PAYLOAD_SIZE);

  if (!circuit_cell_allowed_on_control(&cell)) {
    log_fn(LOG_PROTOCOL_WARN, LD_PROTOCOL, "Cell with command %d of circuit "
           "%u in the control circuit of %s. Dropping.", cell.command,
           (unsigned)cell.circ_id, connection_describe_peer(TO_CONN(conn)));
    return true;
  }
  if (conn->chan)
    channel_timestamp_active(TLS_CHAN_TO_BASE(conn->chan));
  if (cell.command == CELL_DESTROY)
    or_utcp_destroy_received(link, cell.circ_id);
  channel_tls_handle_cell(&cell, conn);
  return true;
}

/** Read the control circuit for as long as there is something. */
void
or_utcp_control_read(or_utcp_link_t *link)
{
  or_connection_t *conn = link->conn;
  char buf[4096];

  while (link->transport && conn && !TO_CONN(conn)->marked_for_close) {
    size_t n = 0;
    if (link->reading_stopped) {
      link->control.held_by_bandwidth = 1;
      return;
    }
    const int r = utcp_circuit_read(link->control.circuit, (uint8_t *)buf,
                                    sizeof(buf), &n);
    if (r == UTCP_ERR_END) {
      connection_or_close_normally(conn, 0);
      return;
    }
    if (r || n == 0)
      return; /* If it is gone, connection_closed follows. */
    or_utcp_link_active(link);
    buf_add(TO_CONN(conn)->inbuf, buf, n);

    /* What is in the buffer now is at most one cell and what we just read. */
    while (link->transport && !TO_CONN(conn)->marked_for_close) {
      conn->tls->ssl = utcp_connection_ssl(link->transport);
      const bool more = conn->tls->ssl && process_control_cell(link);
      conn->tls->ssl = NULL;
      if (!more)
        break;
    }
  }
}

/** Move what is on the outbuf to the control circuit. */
void
or_utcp_control_flush(or_utcp_link_t *link)
{
  connection_t *base = TO_CONN(link->conn);
  char chunk[4096];

  while (link->control.circuit && buf_datalen(base->outbuf)) {
    const size_t n = MIN(buf_datalen(base->outbuf), sizeof(chunk));
    size_t written = 0;
    buf_peek(base->outbuf, chunk, n);
    const int r = utcp_circuit_write(link->control.circuit, (uint8_t *)chunk,
                                     n, &written);
    if (written)
      buf_drain(base->outbuf, written);
    if (r || written < n)
      break;
  }
  base->timestamp_last_write_allowed = approx_time();
  or_utcp_link_active(link);
}

/** Called when something was put on <b>conn</b>'s outbuf. */
bool
or_utcp_outbuf_added(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return false;
  or_utcp_control_flush(TO_OR_CONN(conn)->utcp_link);
  return true;
}

/* Limits. */

/** Tor wants to read <b>conn</b>: it has become open, or there is bandwidth
 * again. */
bool
or_utcp_start_reading(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return false;
  or_utcp_link_t *link = TO_OR_CONN(conn)->utcp_link;

  link->reading_stopped = 0;
  if (conn->state == OR_CONN_STATE_OPEN && !link->released &&
      link->transport) {
    /* Cells of circuits may be here already: streams are not ordered against
     * the control circuit. */
    link->released = 1;
    link->handshake_until = 0;
    utcp_connection_hold(link->transport, 0);
    log_info(LD_OR, "Connection with %s is open, over UDP.",
             connection_describe_peer(conn));
    if (link->awaited_by)
      awaited_link_opened(link);
  }
  or_utcp_streams_resume(link);
  return true;
}

/** Tor does not want to read <b>conn</b>: no bandwidth is left.  Streams are
 * not read, so that their windows close.  The socket is: what it brings
 * acknowledges what we send, and belongs to other connections too. */
bool
or_utcp_stop_reading(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return false;
  TO_OR_CONN(conn)->utcp_link->reading_stopped = 1;
  return true;
}

/** Tor wants to write to <b>conn</b>, after there was no bandwidth. */
bool
or_utcp_start_writing(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return false;
  or_connection_t *or_conn = TO_OR_CONN(conn);
  conn->write_blocked_on_bw = 0;
  if (or_conn->chan && conn->state == OR_CONN_STATE_OPEN)
    scheduler_channel_wants_writes(TLS_CHAN_TO_BASE(or_conn->chan));
  return true;
}

/** Take what went over the wire since last time out of the token buckets, and
 * count it. */
void
or_utcp_link_charge(or_utcp_link_t *link)
{
  utcp_connection_stats stats = { .size = sizeof(stats) };

  if (!link->conn || !link->transport ||
      TO_CONN(link->conn)->marked_for_close ||
      utcp_connection_get_stats(link->transport, &stats))
    return;
  const uint64_t received = stats.bytes_received - link->charged_received;
  const uint64_t sent = stats.bytes_sent - link->charged_sent;
  if (!received && !sent)
    return;
  link->charged_received = stats.bytes_received;
  link->charged_sent = stats.bytes_sent;
  connection_note_bytes_without_socket(TO_CONN(link->conn),
                                       (size_t)MIN(received, INT_MAX - 1),
                                       (size_t)MIN(sent, INT_MAX - 1));
}

/** Once a second: give up what takes too long. */
void
or_utcp_link_check(or_utcp_link_t *link, uint64_t now)
{
  or_connection_t *conn = link->conn;

  if (!conn || TO_CONN(conn)->marked_for_close)
    return;
  or_utcp_streams_check(link, now);
  if (link->handshake_until && link->handshake_until < now) {
    log_info(LD_OR, "Link handshake with %s over UDP takes too long.",
             connection_describe_peer(TO_CONN(conn)));
    link->handshake_until = 0;
    if (conn->is_outgoing)
      or_utcp_note_failure(conn->identity_digest);
    connection_or_close_for_error(conn, 0);
  } else if (buf_datalen(TO_CONN(conn)->outbuf) >
             OR_UTCP_MAX_CONTROL_BACKLOG) {
    log_info(LD_OR, "%s does not read its control circuit. Closing.",
             connection_describe_peer(TO_CONN(conn)));
    connection_or_close_for_error(conn, 0);
  }
}

/* Choice of channels. */

static const or_connection_t *
channel_conn(const channel_t *chan)
{
  return chan->magic == TLS_CHAN_MAGIC ?
    CONST_BASE_CHAN_TO_TLS(chan)->conn : NULL;
}

/** Which of two channels to the same relay is better for its transport?
 * Return 1 for <b>a</b>, -1 for <b>b</b>, 0 for neither. */
int
or_utcp_compare_channels(const channel_t *a, const channel_t *b)
{
  if (!or_utcp_endpoint)
    return 0;
  const or_connection_t *ca = channel_conn(a), *cb = channel_conn(b);
  return (ca && ca->utcp_link) - (cb && cb->utcp_link);
}

/** Is <b>chan</b> a TCP connection that was made before we knew of the peer's
 * UDP port?  Then a circuit had better wait for a new one.  A connection that
 * fell back from UDP is good for as long as it lives. */
bool
or_utcp_would_replace(const channel_t *chan)
{
  if (!or_utcp_endpoint)
    return false;
  const or_connection_t *conn = channel_conn(chan);
  return conn && !conn->utcp_link && !conn->utcp_fell_back &&
         conn->proxy_type == PROXY_NONE && !net_is_disabled() &&
         !we_are_hibernating() &&
         peer_udp_port(conn->identity_digest, &TO_CONN(conn)->addr);
}
#endif /* defined(USE_UTCP) */
