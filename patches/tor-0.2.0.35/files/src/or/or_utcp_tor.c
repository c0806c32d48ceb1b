/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * \file or_utcp_tor.c
 * \brief Between this version of Tor and the glue: the hooks that Tor calls
 * (or_utcp.h), and what the glue needs of Tor (or_utcp_glue.h).
 *
 * Both sides present link and identity certificate in the DTLS handshake, as
 * at the end of this version's TLS handshake with its renegotiation.  There
 * Tor takes over: it verifies them (connection_tls_finish_handshake()), and
 * its VERSIONS and NETINFO cells run in the control circuit.
 *
 * Nothing is put on the outbuf of such a connection.  The queues and the ring
 * of active circuits are Tor's own, but it is the stream of a circuit that
 * says whether another cell of that circuit may be taken off its queue.
 **/

#include "or.h"
#include "or_utcp_glue.h"
#include "or_utcp_tls.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <time.h>
#include <utcp.h>

/** Is <b>conn</b> an OR connection that has a link in place of a socket? */
int
or_utcp_is_link(const connection_t *conn)
{
  return conn->type == CONN_TYPE_OR &&
         TO_OR_CONN((connection_t *)conn)->utcp_link != NULL;
}

/* Making connections. */

/** May <b>conn</b> be made by UDP?  If so, to which port? */
static uint16_t
peer_udp_port(const or_connection_t *conn)
{
  or_options_t *options = get_options();
  const routerinfo_t *ri;

  if (!or_utcp_endpoint_is_open() || options->HttpsProxy ||
      we_are_hibernating())
    return 0;
  /* An authority that tests whether relays can be reached tests TCP. */
  if (authdir_mode_tests_reachability(options))
    return 0;
  ri = router_get_by_digest(conn->identity_digest);
  if (!ri || !ri->or_udp_port || ri->addr != conn->_base.addr ||
      or_utcp_failed_recently((const uint8_t *)conn->identity_digest))
    return 0;
  return ri->or_udp_port;
}

/** A new outgoing connection is about to be made: if the descriptor of the
 * peer has a UDP port, start DTLS and return true. */
int
or_utcp_try_connect(or_connection_t *conn)
{
  const uint16_t port = peer_udp_port(conn);
  struct sockaddr_in sin;

  if (!port)
    return 0;
  memset(&sin, 0, sizeof(sin));
  sin.sin_family = AF_INET;
  sin.sin_addr.s_addr = htonl(conn->_base.addr);
  sin.sin_port = htons(port);
  conn->utcp_link = or_utcp_link_connect(conn, (struct sockaddr *)&sin,
                                         sizeof(sin));
  if (!conn->utcp_link) {
    conn->utcp_fell_back = 1;
    return 0;
  }
  connection_add(TO_CONN(conn));
  return 1;
}

/** Is <b>conn</b> a TCP connection that was made before we knew of the peer's
 * UDP port?  Then a circuit had better wait for a new one.  A connection that
 * fell back from UDP is good for as long as it lives. */
int
or_utcp_would_replace(const or_connection_t *conn)
{
  return !conn->utcp_link && !conn->utcp_fell_back && peer_udp_port(conn);
}

/** Which of two connections to the same relay, open or obsolete both or
 * neither, is better for its transport?  Return 1 for <b>a</b>, -1 for
 * <b>b</b>, 0 for neither. */
int
or_utcp_compare(const or_connection_t *a, const or_connection_t *b)
{
  if (a->_base.or_is_obsolete != b->_base.or_is_obsolete ||
      (a->_base.state == OR_CONN_STATE_OPEN) !=
      (b->_base.state == OR_CONN_STATE_OPEN))
    return 0;
  return (a->utcp_link != NULL) - (b->utcp_link != NULL);
}

/** <b>conn</b> has no link any more. */
static void
forget_link(or_connection_t *conn)
{
  conn->utcp_link = NULL;
  if (conn->tls)
    or_utcp_tls_free(conn->tls);
  conn->tls = NULL;
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

  forget_link(conn);
  conn->utcp_fell_back = 1;
  connection_remove(base);
  base->conn_array_index = -1;
  switch (connection_connect(base, base->address, base->addr, base->port)) {
    case -1:
      conn->tls_error = TOR_TLS_ERROR_CONNREFUSED;
      connection_mark_for_close(base);
      break;
    case 0:
      connection_watch_events(base, EV_READ | EV_WRITE);
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
  const struct sockaddr_in *sin = (const struct sockaddr_in *)address;
  or_connection_t *conn;
  connection_t *base;

  if (!or_utcp_tor_accepts_from(address, len))
    return NULL;
  conn = TO_OR_CONN(connection_new(CONN_TYPE_OR, AF_INET));
  base = TO_CONN(conn);
  base->addr = ntohl(sin->sin_addr.s_addr);
  base->port = ntohs(sin->sin_port);
  base->address = tor_dup_addr(base->addr);
  base->state = OR_CONN_STATE_TLS_HANDSHAKING;
  conn->utcp_link = link;
  conn->tls = or_utcp_tls_new(1);
  connection_add(base);
  control_event_or_conn_status(conn, OR_CONN_EVENT_NEW, 0);
  return conn;
}

void
or_utcp_tor_begin_handshake(or_connection_t *conn, bool is_server)
{
  struct ssl_st *ssl = or_utcp_link_ssl(conn->utcp_link);
  int r = -1;

  if (!conn->tls)
    conn->tls = or_utcp_tls_new(is_server);
  tor_tls_set_logged_address(conn->tls,
                             escaped_safe_str(conn->_base.address));
  conn->_base.state = OR_CONN_STATE_TLS_HANDSHAKING;
  note_crypto_pk_op(is_server ? TLS_HANDSHAKE_S : TLS_HANDSHAKE_C);
  if (ssl) {
    or_utcp_tls_lend(conn->tls, ssl);
    r = connection_or_finish_utcp_handshake(conn);
    or_utcp_tls_lend(conn->tls, NULL);
  }
  if (r < 0 && !conn->_base.marked_for_close)
    connection_mark_for_close(TO_CONN(conn));
}

void
or_utcp_tor_close(or_connection_t *conn, int reason)
{
  conn->tls_error = reason == UTCP_CLOSE_TIMEOUT ? TOR_TLS_ERROR_TIMEOUT :
                    reason == UTCP_CLOSE_RESTARTED ? TOR_TLS_ERROR_CONNRESET :
                    TOR_TLS_CLOSE;
  if (reason == UTCP_CLOSE_DONE) {
    conn->utcp_gave_way = 1;
    control_event_or_conn_status(conn, OR_CONN_EVENT_CLOSED,
                                 END_OR_CONN_REASON_DONE);
  }
  connection_mark_for_close(TO_CONN(conn));
  if (reason == UTCP_CLOSE_LOCAL)
    conn->_base.hold_open_until_flushed = 1; /* We mean it: no failure. */
}

/* Cells. */

/** Read a cell in wire format. */
static void
unpack_cell(cell_t *cell, const char *body)
{
  memset(cell, 0, sizeof(*cell));
  cell->circ_id = ntohs(get_uint16(body));
  cell->command = (uint8_t)body[2];
  memcpy(cell->payload, body + 3, CELL_PAYLOAD_SIZE);
}

static bool
is_allowed_on_control(const cell_t *cell)
{
  /* A DESTROY whose stream could not deliver it any more. */
  if (cell->circ_id)
    return cell->command == CELL_DESTROY;
  return cell->command == CELL_PADDING || cell->command == CELL_NETINFO;
}

/** Take one cell off the inbuf of <b>conn</b>, and handle it.  Return false
 * if there is none. */
static bool
process_control_cell(or_connection_t *conn)
{
  connection_t *base = TO_CONN(conn);
  char body[CELL_NETWORK_SIZE];
  var_cell_t *var_cell = NULL;
  cell_t cell;

  if (fetch_var_cell_from_buf(base->inbuf, &var_cell, conn->link_proto)) {
    if (!var_cell)
      return false;
    command_process_var_cell(var_cell, conn);
    var_cell_free(var_cell);
    return true;
  }
  if (buf_datalen(base->inbuf) < CELL_NETWORK_SIZE)
    return false;
  connection_fetch_from_buf(body, CELL_NETWORK_SIZE, base);
  unpack_cell(&cell, body);
  if (!is_allowed_on_control(&cell)) {
    log_fn(LOG_PROTOCOL_WARN, LD_PROTOCOL, "Cell with command %d of circuit "
           "%d in the control circuit of %s. Dropping.", cell.command,
           cell.circ_id, or_utcp_tor_describe(conn));
    return true;
  }
  if (cell.command == CELL_DESTROY)
    or_utcp_destroy_received(conn->utcp_link, cell.circ_id);
  command_process_cell(&cell, conn);
  return true;
}

void
or_utcp_tor_control_received(or_connection_t *conn, const void *data,
                             size_t len)
{
  connection_t *base = TO_CONN(conn);

  base->timestamp_lastread = time(NULL);
  write_to_buf(data, len, base->inbuf);
  while (or_utcp_link_is_up(conn->utcp_link) && !base->marked_for_close &&
         process_control_cell(conn))
    ;
}

/** Tor writes <b>data</b>, which is no whole cell of fixed length, to
 * <b>conn</b>: if that is a link, send it on the control circuit and return
 * true. */
int
or_utcp_write_to_buf(connection_t *conn, const char *data, size_t len)
{
  if (!or_utcp_is_link(conn))
    return 0;
  or_utcp_link_write(TO_OR_CONN(conn)->utcp_link, data, len);
  conn->timestamp_lastwritten = time(NULL);
  return 1;
}

/** If <b>conn</b> is a link, send the cell at <b>body</b> and return true. */
int
or_utcp_write_cell(or_connection_t *conn, const char *body)
{
  if (!conn->utcp_link)
    return 0;
  if (!conn->_base.marked_for_close) {
    or_utcp_link_write_cell(conn->utcp_link, body);
    conn->_base.timestamp_lastwritten = time(NULL);
  }
  return 1;
}

or_utcp_cell_t
or_utcp_tor_cell_kind(uint8_t command)
{
  switch (command) {
    case CELL_CREATE:
    case CELL_CREATE_FAST:
      return OR_UTCP_CELL_CREATE;
    case CELL_CREATED:
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

void
or_utcp_tor_cell_received(or_connection_t *conn, const void *body)
{
  cell_t cell;

  conn->_base.timestamp_lastread = time(NULL);
  unpack_cell(&cell, body);
  command_process_cell(&cell, conn);
}

/* Circuits. */

void
or_utcp_tor_circuit_lost(or_connection_t *conn, uint32_t number)
{
  cell_t cell;

  if (!circuit_get_by_circid_orconn((uint16_t)number, conn))
    return;
  memset(&cell, 0, sizeof(cell));
  cell.circ_id = (uint16_t)number;
  cell.command = CELL_DESTROY;
  cell.payload[0] = END_CIRC_REASON_OR_CONN_CLOSED;
  command_process_cell(&cell, conn);
}

/** Is the stream of <b>circ</b> full on <b>conn</b>'s side?  Then its other
 * cells stay where they are until or_utcp_tor_circuit_has_room(). */
int
or_utcp_circuit_is_full(const circuit_t *circ, const or_connection_t *conn)
{
  if (!conn->utcp_link)
    return 0;
  return or_utcp_stream_is_full(conn->utcp_link, circ->n_conn == conn ?
                     circ->n_circ_id :
                     TO_OR_CIRCUIT((circuit_t *)circ)->p_circ_id);
}

/** If <b>conn</b> is a link, write as many queued cells of <b>circ</b> to it
 * as its stream and the bandwidth allow, and return true. */
int
or_utcp_flush_circuit(circuit_t *circ, or_connection_t *conn)
{
  circuit_t *next;

  if (!conn->utcp_link)
    return 0;
  next = circ->n_conn == conn ? circ->next_active_on_n_conn :
           TO_OR_CIRCUIT(circ)->next_active_on_p_conn;
  if (!next || conn->_base.marked_for_close ||
      conn->_base.write_blocked_on_bw || or_utcp_circuit_is_full(circ, conn))
    return 1;
  conn->active_circuits = circ; /* It is a ring. */
  connection_or_flush_from_first_active_circuit(conn, INT_MAX, time(NULL));
  return 1;
}

void
or_utcp_tor_circuit_has_room(or_connection_t *conn, uint32_t number)
{
  circuit_t *circ = circuit_get_by_circid_orconn((uint16_t)number, conn);
  if (circ)
    or_utcp_flush_circuit(circ, conn);
}

/** There is bandwidth again: write what has waited. */
static void
flush_all_circuits(or_connection_t *conn)
{
  smartlist_t *waiting = smartlist_create();
  circuit_t *circ = conn->active_circuits;

  while (circ) {
    smartlist_add(waiting, circ);
    circ = circ->n_conn == conn ? circ->next_active_on_n_conn :
             TO_OR_CIRCUIT(circ)->next_active_on_p_conn;
    if (circ == conn->active_circuits)
      break;
  }
  SMARTLIST_FOREACH(waiting, circuit_t *, c, {
    if (c->n_conn == conn ||
        (!CIRCUIT_IS_ORIGIN(c) && TO_OR_CIRCUIT(c)->p_conn == conn))
      or_utcp_flush_circuit(c, conn);
  });
  smartlist_free(waiting);
}

/** Do not read (<b>hold</b>), or read, the stream of <b>circ</b> on its side
 * towards <b>conn</b>. */
static void
hold_stream(or_connection_t *conn, uint16_t number, bool hold)
{
  if (conn && conn->utcp_link)
    or_utcp_stream_hold(conn->utcp_link, number, hold);
}

/** The cell queue towards <b>conn</b> has become long (<b>block</b>) or short
 * again: do not read, or go on reading, what comes from the other side. */
void
or_utcp_circuit_blocked(circuit_t *circ, const or_connection_t *conn,
                        int block)
{
  or_circuit_t *or_circ;

  if (CIRCUIT_IS_ORIGIN(circ))
    return;
  or_circ = TO_OR_CIRCUIT(circ);
  if (circ->n_conn == conn)
    hold_stream(or_circ->p_conn, or_circ->p_circ_id, block);
  else
    hold_stream(circ->n_conn, circ->n_circ_id, block);
}

/** <b>circ</b> has got another connection in this direction, or none: no
 * queue there is long now, and none gets short.  What comes from the other
 * side, maybe a DESTROY, is read again. */
void
or_utcp_circuit_detached(circuit_t *circ, int direction)
{
  or_circuit_t *or_circ;

  if (CIRCUIT_IS_ORIGIN(circ))
    return;
  or_circ = TO_OR_CIRCUIT(circ);
  if (direction == CELL_DIRECTION_OUT)
    hold_stream(or_circ->p_conn, or_circ->p_circ_id, false);
  else
    hold_stream(circ->n_conn, circ->n_circ_id, false);
}

/* Limits. */

/** Tor wants to read <b>conn</b>: it has become open, or there is bandwidth
 * again. */
int
or_utcp_start_reading(connection_t *conn)
{
  or_utcp_link_t *link;

  if (!or_utcp_is_link(conn))
    return 0;
  link = TO_OR_CONN(conn)->utcp_link;
  if (conn->state == OR_CONN_STATE_OPEN)
    or_utcp_link_opened(link);
  or_utcp_link_start_reading(link);
  return 1;
}

/** Tor does not want to read <b>conn</b>: no bandwidth is left. */
int
or_utcp_stop_reading(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return 0;
  or_utcp_link_stop_reading(TO_OR_CONN(conn)->utcp_link);
  return 1;
}

/** Tor wants to write to <b>conn</b>: there is bandwidth again. */
int
or_utcp_start_writing(connection_t *conn)
{
  if (!or_utcp_is_link(conn))
    return 0;
  flush_all_circuits(TO_OR_CONN(conn));
  return 1;
}

/** Tor does not want to write to <b>conn</b>: no bandwidth is left.
 * write_blocked_on_bw says so where cells are written. */
int
or_utcp_stop_writing(connection_t *conn)
{
  return or_utcp_is_link(conn);
}

void
or_utcp_tor_moved(or_connection_t *conn, size_t received, size_t sent)
{
  connection_note_bytes_without_socket(TO_CONN(conn),
                                       MIN(received, INT_MAX - 1),
                                       MIN(sent, INT_MAX - 1));
}

/* What the glue asks. */

uint64_t
or_utcp_tor_now(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct event_base *
or_utcp_tor_event_base(void)
{
  /* Tor uses the base that libevent takes when it is told of none. */
  struct event ev;
  event_set(&ev, -1, 0, NULL, NULL);
  return event_get_base(&ev);
}

bool
or_utcp_tor_is_accepting(void)
{
  return !we_are_hibernating();
}

bool
or_utcp_tor_accepts_from(const struct sockaddr *address, socklen_t len)
{
  return address->sa_family == AF_INET &&
         len >= (socklen_t)sizeof(struct sockaddr_in);
}

void
or_utcp_tor_log(or_utcp_severity_t severity, const char *format, ...)
{
  const int level = severity == OR_UTCP_WARN ? LOG_WARN :
                    severity == OR_UTCP_NOTICE ? LOG_NOTICE :
                    severity == OR_UTCP_PROTOCOL ? LOG_PROTOCOL_WARN :
                    severity == OR_UTCP_INFO ? LOG_INFO : LOG_DEBUG;
  char message[1024];
  va_list ap;

  if (level > _log_global_min_severity)
    return;
  va_start(ap, format);
  vsnprintf(message, sizeof(message), format, ap);
  va_end(ap);
  log(level, severity == OR_UTCP_PROTOCOL ? LD_PROTOCOL : LD_OR, "%s",
      message);
}

bool
or_utcp_tor_logs_debug(void)
{
  return _log_global_min_severity == LOG_DEBUG;
}

bool
or_utcp_tor_is_usable(const or_connection_t *conn)
{
  return !conn->_base.marked_for_close;
}

bool
or_utcp_tor_is_open(const or_connection_t *conn)
{
  return conn->_base.state == OR_CONN_STATE_OPEN;
}

bool
or_utcp_tor_is_connecting(const or_connection_t *conn)
{
  return conn->_base.state == OR_CONN_STATE_CONNECTING;
}

bool
or_utcp_tor_is_outgoing(const or_connection_t *conn)
{
  return connection_or_nonopen_was_started_here((or_connection_t *)conn);
}

size_t
or_utcp_tor_circ_id_len(const or_connection_t *conn)
{
  (void)conn;
  return 2;
}

const uint8_t *
or_utcp_tor_identity(const or_connection_t *conn)
{
  return (const uint8_t *)conn->identity_digest;
}

const char *
or_utcp_tor_describe(const or_connection_t *conn)
{
  static char buf[MAX_NICKNAME_LEN + HEX_DIGEST_LEN + 64];
  tor_snprintf(buf, sizeof(buf), "%s:%d (%s)",
               tor_digest_is_zero(conn->identity_digest) ?
                 safe_str(conn->_base.address) : conn->_base.address,
               conn->_base.port, conn->nickname ? conn->nickname : "unknown");
  return buf;
}
