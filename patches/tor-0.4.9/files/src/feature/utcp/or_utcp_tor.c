/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_tor.c
 * @brief Between this version of Tor and the glue: the hooks that Tor calls
 * (or_utcp.h), and what the glue needs of Tor (or_utcp_glue.h).
 *
 * DTLS says nothing about who the peer is: its certificate is accepted
 * unseen.  As over TLS, relays prove their identity in Tor's own link
 * handshake (VERSIONS, CERTS, AUTH_CHALLENGE, AUTHENTICATE, NETINFO), which
 * runs in the control circuit and is bound to the DTLS session by the link
 * certificate and by exported keying material.  For that the connection gets
 * a tor_tls_t that borrows the session's SSL object while handshake cells are
 * processed, and holds none at other times.
 **/

#define CHANNEL_OBJECT_PRIVATE
#define TORTLS_PRIVATE
#include "core/or/or.h"

#include "app/config/config.h"
#include "core/mainloop/connection.h"
#include "core/mainloop/mainloop.h"
#include "core/mainloop/netstatus.h"
#include "core/or/cell_st.h"
#include "core/or/channel.h"
#include "core/or/channeltls.h"
#include "core/or/circuit_st.h"
#include "core/or/circuitlist.h"
#include "core/or/command.h"
#include "core/or/connection_or.h"
#include "core/or/dos.h"
#include "core/or/or_circuit_st.h"
#include "core/or/or_connection_st.h"
#include "core/or/reasons.h"
#include "core/or/relay.h"
#include "core/or/scheduler.h"
#include "core/or/status.h"
#include "core/or/var_cell_st.h"
#include "core/proto/proto_cell.h"
#include "feature/dirauth/authmode.h"
#include "feature/hibernate/hibernate.h"
#include "feature/nodelist/routerinfo_st.h"
#include "feature/nodelist/routerlist.h"
#include "feature/utcp/or_utcp.h"
#include "lib/buf/buffers.h"
#include "lib/evloop/compat_libevent.h"
#include "lib/net/address.h"
#include "lib/time/compat_time.h"
#include "lib/tls/tortls.h"
#include "lib/tls/tortls_st.h"

#include <utcp.h>

/** As many cells a channel may write in one run of the scheduler. */
#define MAX_CELLS_WRITEABLE 4096

/** Is <b>conn</b> an OR connection that has a link in place of a socket? */
bool
or_utcp_is_link(const connection_t *conn)
{
  return conn->type == CONN_TYPE_OR && CONST_TO_OR_CONN(conn)->utcp_link;
}

/* Making connections. */

/** May the peer with this identity and address be reached by UDP?  If so, at
 * which port? */
static uint16_t
peer_udp_port(const char *identity_digest, const tor_addr_t *addr)
{
  const routerinfo_t *ri = router_get_by_id_digest(identity_digest);

  if (!or_utcp_endpoint_is_open() || !ri || !ri->or_udp_port ||
      tor_addr_family(addr) != AF_INET ||
      !tor_addr_eq(&ri->ipv4_addr, addr) ||
      or_utcp_failed_recently((const uint8_t *)identity_digest))
    return 0;
  /* An authority that tests whether relays can be reached tests TCP. */
  if (authdir_mode_tests_reachability(get_options()))
    return 0;
  return ri->or_udp_port;
}

/** A new outgoing connection is about to be made: if the descriptor of the
 * peer has a UDP port, start DTLS and return true. */
bool
or_utcp_try_connect(or_connection_t *conn)
{
  connection_t *base = TO_CONN(conn);
  struct sockaddr_storage sa;
  const uint16_t port = peer_udp_port(conn->identity_digest, &base->addr);

  if (!port || conn->proxy_type != PROXY_NONE || net_is_disabled() ||
      we_are_hibernating())
    return false;
  const socklen_t len = tor_addr_to_sockaddr(&base->addr, port,
                                             (struct sockaddr *)&sa,
                                             sizeof(sa));
  conn->utcp_link = or_utcp_link_connect(conn, (struct sockaddr *)&sa, len);
  if (!conn->utcp_link) {
    conn->utcp_fell_back = 1;
    return false;
  }
  connection_add(base);
  note_connection(false /* outbound */, base);
  return true;
}

/** <b>conn</b> has no link any more. */
static void
forget_link(or_connection_t *conn)
{
  conn->utcp_link = NULL;
  if (conn->tls) {
    conn->tls->ssl = NULL; /* Borrowed. */
    tor_free(conn->tls->address);
    tor_free(conn->tls);
  }
}

/** <b>conn</b> is being freed: free its link. */
void
or_utcp_conn_freed(or_connection_t *conn)
{
  if (!conn->utcp_link)
    return;
  or_utcp_link_free(conn->utcp_link);
  forget_link(conn);
}

void
or_utcp_tor_connect_by_tcp(or_connection_t *conn)
{
  connection_t *base = TO_CONN(conn);
  tor_addr_t addr;
  int socket_error = 0;

  forget_link(conn);
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

or_connection_t *
or_utcp_tor_accept(or_utcp_link_t *link, const struct sockaddr *address,
                   socklen_t len)
{
  tor_addr_t addr;
  uint16_t port = 0;
  (void)len;

  if (tor_addr_from_sockaddr(&addr, address, &port) < 0)
    return NULL;
  or_connection_t *conn = or_connection_new(CONN_TYPE_OR,
                                            tor_addr_family(&addr));
  connection_t *base = TO_CONN(conn);
  tor_addr_copy(&base->addr, &addr);
  base->port = port;
  base->address = tor_addr_to_str_dup(&addr);
  base->from_listener = 1;
  conn->utcp_link = link;
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
  return conn;
}

void
or_utcp_tor_begin_handshake(or_connection_t *conn, bool is_server)
{
  conn->tls = tor_malloc_zero(sizeof(tor_tls_t));
  conn->tls->magic = TOR_TLS_MAGIC;
  conn->tls->socket = TOR_INVALID_SOCKET;
  conn->tls->state = TOR_TLS_ST_OPEN;
  conn->tls->isServer = is_server;
  tor_tls_set_logged_address(conn->tls,
                             connection_describe_peer(TO_CONN(conn)));

  connection_or_change_state(conn, OR_CONN_STATE_TLS_HANDSHAKING);
  if (is_server)
    connection_or_change_state(conn, OR_CONN_STATE_SERVER_VERSIONS_WAIT);
  else if (connection_or_launch_v3_or_handshake(conn) < 0)
    connection_or_close_for_error(conn, 0);
}

void
or_utcp_tor_close(or_connection_t *conn, int reason)
{
  conn->tls_error = reason == UTCP_CLOSE_TIMEOUT ? TOR_TLS_ERROR_TIMEOUT :
                    reason == UTCP_CLOSE_RESTARTED ? TOR_TLS_ERROR_CONNRESET :
                    TOR_TLS_CLOSE;
  if (reason == UTCP_CLOSE_PEER || reason == UTCP_CLOSE_LOCAL ||
      reason == UTCP_CLOSE_DONE)
    connection_or_close_normally(conn, 0);
  else
    connection_or_close_for_error(conn, 0);
}

/* Cells. */

/** Read a cell in wire format. */
static void
unpack_cell(cell_t *cell, const or_connection_t *conn, const char *body)
{
  memset(cell, 0, sizeof(*cell));
  if (conn->wide_circ_ids) {
    cell->circ_id = ntohl(get_uint32(body));
    body += 4;
  } else {
    cell->circ_id = ntohs(get_uint16(body));
    body += 2;
  }
  cell->command = get_uint8(body);
  memcpy(cell->payload, body + 1, CELL_PAYLOAD_SIZE);
}

static void
handle_cell(or_connection_t *conn, cell_t *cell)
{
  if (conn->chan)
    channel_timestamp_active(TLS_CHAN_TO_BASE(conn->chan));
  channel_tls_handle_cell(cell, conn);
}

static bool
is_allowed_on_control(const cell_t *cell)
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
process_control_cell(or_connection_t *conn)
{
  buf_t *inbuf = TO_CONN(conn)->inbuf;
  const size_t size = get_cell_network_size(conn->wide_circ_ids);
  char body[CELL_MAX_NETWORK_SIZE];
  var_cell_t *var_cell = NULL;
  cell_t cell;

  if (fetch_var_cell_from_buf(inbuf, &var_cell, conn->link_proto)) {
    if (!var_cell)
      return false;
    if (conn->chan)
      channel_timestamp_active(TLS_CHAN_TO_BASE(conn->chan));
    channel_tls_handle_var_cell(var_cell, conn);
    var_cell_free(var_cell);
    return true;
  }
  if (buf_datalen(inbuf) < size)
    return false;
  buf_get_bytes(inbuf, body, size);
  unpack_cell(&cell, conn, body);
  if (!is_allowed_on_control(&cell)) {
    log_fn(LOG_PROTOCOL_WARN, LD_PROTOCOL, "Cell with command %d of circuit "
           "%u in the control circuit of %s. Dropping.", cell.command,
           (unsigned)cell.circ_id, connection_describe_peer(TO_CONN(conn)));
    return true;
  }
  if (cell.command == CELL_DESTROY)
    or_utcp_destroy_received(conn->utcp_link, cell.circ_id);
  handle_cell(conn, &cell);
  return true;
}

void
or_utcp_tor_control_received(or_connection_t *conn, const void *data,
                             size_t len)
{
  bool more = true;

  buf_add(TO_CONN(conn)->inbuf, data, len);
  while (more && or_utcp_link_is_up(conn->utcp_link) &&
         !TO_CONN(conn)->marked_for_close) {
    conn->tls->ssl = or_utcp_link_ssl(conn->utcp_link);
    more = conn->tls->ssl && process_control_cell(conn);
    conn->tls->ssl = NULL;
  }
}

/** Called when something was put on <b>conn</b>'s outbuf: it belongs to the
 * control circuit. */
bool
or_utcp_outbuf_added(connection_t *conn)
{
  char chunk[4096];
  size_t n;

  if (!or_utcp_is_link(conn))
    return false;
  while ((n = MIN(buf_datalen(conn->outbuf), sizeof(chunk)))) {
    buf_get_bytes(conn->outbuf, chunk, n);
    or_utcp_link_write(TO_OR_CONN(conn)->utcp_link, chunk, n);
  }
  conn->timestamp_last_write_allowed = approx_time();
  return true;
}

or_utcp_cell_t
or_utcp_tor_cell_kind(uint8_t command)
{
  switch (command) {
    case CELL_CREATE:
    case CELL_CREATE2:
    case CELL_CREATE_FAST:
      return OR_UTCP_CELL_CREATE;
    case CELL_CREATED:
    case CELL_CREATED2:
    case CELL_CREATED_FAST:
    case CELL_RELAY:
    case CELL_RELAY_EARLY:
      return OR_UTCP_CELL_CIRCUIT;
    case CELL_DESTROY:
      return OR_UTCP_CELL_DESTROY;
    default:
      return OR_UTCP_CELL_NONE;
  }
}

/** If <b>conn</b> is a link over libutcp, send the cell at <b>body</b> and
 * return true. */
bool
or_utcp_write_packed_cell(or_connection_t *conn, const char *body)
{
  if (!conn->utcp_link)
    return false;
  or_utcp_link_write_cell(conn->utcp_link, body);
  TO_CONN(conn)->timestamp_last_write_allowed = approx_time();
  return true;
}

void
or_utcp_tor_cell_received(or_connection_t *conn, const void *body)
{
  cell_t cell;
  unpack_cell(&cell, conn, body);
  handle_cell(conn, &cell);
}

/* Circuits. */

void
or_utcp_tor_circuit_lost(or_connection_t *conn, uint32_t number)
{
  cell_t cell;

  if (!conn->chan || !circuit_get_by_circid_channel(number,
                                              TLS_CHAN_TO_BASE(conn->chan)))
    return;
  memset(&cell, 0, sizeof(cell));
  cell.circ_id = number;
  cell.command = CELL_DESTROY;
  cell.payload[0] = END_CIRC_REASON_CHANNEL_CLOSED;
  channel_tls_handle_cell(&cell, conn);
}

void
or_utcp_tor_circuit_has_room(or_connection_t *conn, uint32_t number)
{
  if (!conn->chan)
    return;
  channel_t *chan = TLS_CHAN_TO_BASE(conn->chan);
  circuit_t *circ = circuit_get_by_circid_channel(number, chan);
  if (!circ)
    return;
  update_circuit_on_cmux(circ, circ->n_chan == chan &&
                               circ->n_circ_id == number ?
                               CELL_DIRECTION_OUT : CELL_DIRECTION_IN);
  scheduler_channel_has_waiting_cells(chan);
}

/** The connection of <b>chan</b> if it goes over libutcp, else NULL. */
static or_connection_t *
utcp_conn(const channel_t *chan)
{
  if (!chan || chan->magic != TLS_CHAN_MAGIC)
    return NULL;
  or_connection_t *conn = CONST_BASE_CHAN_TO_TLS(chan)->conn;
  return conn && conn->utcp_link ? conn : NULL;
}

/** How many of the <b>n</b> cells that <b>circ</b> has for <b>chan</b> can be
 * written now?  None while its stream has no room. */
int
or_utcp_cells_ready(const channel_t *chan, const circuit_t *circ, int n)
{
  const or_connection_t *conn = n ? utcp_conn(chan) : NULL;
  if (!conn)
    return n;
  return or_utcp_stream_is_full(conn->utcp_link, circ->n_chan == chan ?
           circ->n_circ_id : CONST_TO_OR_CIRCUIT(circ)->p_circ_id) ? 0 : n;
}

/** Do not read (<b>hold</b>), or read, the stream of circuit <b>number</b> of
 * <b>chan</b>. */
static void
hold_stream(const channel_t *chan, circid_t number, bool hold)
{
  or_connection_t *conn = utcp_conn(chan);
  if (conn)
    or_utcp_stream_hold(conn->utcp_link, number, hold);
}

/** The cell queue towards <b>chan</b> has become long (<b>block</b>) or short
 * again: do not read, or go on reading, what comes from the other side. */
void
or_utcp_circuit_blocked(circuit_t *circ, const channel_t *chan, int block)
{
  if (CIRCUIT_IS_ORIGIN(circ))
    return;
  const or_circuit_t *or_circ = TO_OR_CIRCUIT(circ);
  if (circ->n_chan == chan)
    hold_stream(or_circ->p_chan, or_circ->p_circ_id, block != 0);
  else
    hold_stream(circ->n_chan, circ->n_circ_id, block != 0);
}

/** <b>circ</b> has got another channel in this direction, or none: no queue
 * there is long now, and none gets short.  What comes from the other side,
 * maybe a DESTROY, is read again. */
void
or_utcp_circuit_detached(circuit_t *circ, int direction)
{
  if (CIRCUIT_IS_ORIGIN(circ))
    return;
  const or_circuit_t *or_circ = TO_OR_CIRCUIT(circ);
  if (direction == CELL_DIRECTION_OUT)
    hold_stream(or_circ->p_chan, or_circ->p_circ_id, false);
  else
    hold_stream(circ->n_chan, circ->n_circ_id, false);
}

/** How many cells may be written to <b>conn</b> now?  <b>n</b> is the answer
 * for a socket.  Streams say themselves when they have no room; here only
 * the bandwidth matters, and that one channel does not take a whole turn. */
int
or_utcp_num_cells_writeable(const or_connection_t *conn, int n)
{
  if (!conn->utcp_link)
    return n;
  return conn->base_.write_blocked_on_bw ? 0 : MAX_CELLS_WRITEABLE;
}

/** A DESTROY cell was queued for <b>chan</b>.  Tor writes it at once if the
 * channel is idle, but of several that are queued together only the first;
 * the others wait for whatever is sent next.  A session that a restarted peer
 * has lost takes many circuits with it, some of them just being built: their
 * clients ought to hear of it. */
void
or_utcp_destroy_queued(channel_t *chan)
{
  if (or_utcp_endpoint_is_open())
    scheduler_channel_has_waiting_cells(chan);
}

/* Limits. */

/** Tor wants to read <b>conn</b>: it has become open, or there is bandwidth
 * again. */
bool
or_utcp_start_reading(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return false;
  if (conn->state == OR_CONN_STATE_OPEN)
    or_utcp_link_opened(TO_OR_CONN(conn)->utcp_link);
  or_utcp_link_start_reading(TO_OR_CONN(conn)->utcp_link);
  return true;
}

/** Tor does not want to read <b>conn</b>: no bandwidth is left. */
bool
or_utcp_stop_reading(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return false;
  or_utcp_link_stop_reading(TO_OR_CONN(conn)->utcp_link);
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

void
or_utcp_tor_moved(or_connection_t *conn, size_t received, size_t sent)
{
  connection_note_bytes_without_socket(TO_CONN(conn),
                                       MIN(received, INT_MAX - 1),
                                       MIN(sent, INT_MAX - 1));
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
  const or_connection_t *ca = channel_conn(a), *cb = channel_conn(b);
  return (ca && ca->utcp_link) - (cb && cb->utcp_link);
}

/** Is <b>chan</b> a TCP connection that was made before we knew of the peer's
 * UDP port?  Then a circuit had better wait for a new one.  A connection that
 * fell back from UDP is good for as long as it lives. */
bool
or_utcp_would_replace(const channel_t *chan)
{
  const or_connection_t *conn = channel_conn(chan);
  return conn && !conn->utcp_link && !conn->utcp_fell_back &&
         conn->proxy_type == PROXY_NONE && !net_is_disabled() &&
         !we_are_hibernating() &&
         peer_udp_port(conn->identity_digest, &TO_CONN(conn)->addr);
}

/* What the glue asks. */

uint64_t
or_utcp_tor_now(void)
{
  return monotime_absolute_usec();
}

struct event_base *
or_utcp_tor_event_base(void)
{
  return tor_libevent_get_base();
}

bool
or_utcp_tor_is_accepting(void)
{
  return !we_are_hibernating() && !net_is_disabled();
}

bool
or_utcp_tor_accepts_from(const struct sockaddr *address, socklen_t len)
{
  tor_addr_t addr;
  uint16_t port;
  (void)len;
  return tor_addr_from_sockaddr(&addr, address, &port) == 0 &&
         dos_conn_addr_get_defense_type(&addr) == DOS_CONN_DEFENSE_NONE;
}

void
or_utcp_tor_log(or_utcp_severity_t severity, const char *format, ...)
{
  const int level = severity == OR_UTCP_WARN ? LOG_WARN :
                    severity == OR_UTCP_NOTICE ? LOG_NOTICE :
                    severity == OR_UTCP_PROTOCOL ? LOG_PROTOCOL_WARN :
                    severity == OR_UTCP_INFO ? LOG_INFO : LOG_DEBUG;
  char *message = NULL;
  va_list ap;

  if (level > log_global_min_severity_)
    return;
  va_start(ap, format);
  tor_vasprintf(&message, format, ap);
  va_end(ap);
  log_fn(level, severity == OR_UTCP_PROTOCOL ? LD_PROTOCOL : LD_OR, "%s",
         message);
  tor_free(message);
}

bool
or_utcp_tor_logs_debug(void)
{
  return debug_logging_enabled();
}

bool
or_utcp_tor_is_usable(const or_connection_t *conn)
{
  return !conn->base_.marked_for_close;
}

bool
or_utcp_tor_is_open(const or_connection_t *conn)
{
  return conn->base_.state == OR_CONN_STATE_OPEN;
}

bool
or_utcp_tor_is_connecting(const or_connection_t *conn)
{
  return conn->base_.state == OR_CONN_STATE_CONNECTING;
}

bool
or_utcp_tor_is_outgoing(const or_connection_t *conn)
{
  return conn->is_outgoing;
}

size_t
or_utcp_tor_circ_id_len(const or_connection_t *conn)
{
  return conn->wide_circ_ids ? 4 : 2;
}

const uint8_t *
or_utcp_tor_identity(const or_connection_t *conn)
{
  return (const uint8_t *)conn->identity_digest;
}

const char *
or_utcp_tor_describe(const or_connection_t *conn)
{
  return connection_describe_peer(&conn->base_);
}
