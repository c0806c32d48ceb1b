/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_stream.c
 * @brief Circuits of OR connections over libutcp: a TCP connection for each.
 *
 * A stream carries the cells of one circuit in their ordinary wire format.  A
 * CREATE cell opens it, under the circuit's number; a DESTROY cell is its last
 * one in either direction.  A stream that ends without DESTROY counts as one.
 * A stream that has no room for a DESTROY is reset, and the cell goes by the
 * control circuit.
 *
 * Backpressure: while a stream has no room, the circuitmux hears that its
 * circuit has no cells; while the cell queue on the other side of a circuit is
 * long, its stream is not read.  Neither concerns any other circuit.
 **/

#define CHANNEL_OBJECT_PRIVATE
#include "core/or/or.h"

#ifdef USE_UTCP
#include "app/config/config.h"
#include "core/mainloop/connection.h"
#include "core/or/cell_st.h"
#include "core/or/channel.h"
#include "core/or/channeltls.h"
#include "core/or/circuit_st.h"
#include "core/or/circuitlist.h"
#include "core/or/connection_or.h"
#include "core/or/or_circuit_st.h"
#include "core/or/or_connection_st.h"
#include "core/or/relay.h"
#include "core/or/scheduler.h"
#include "feature/utcp/or_utcp.h"
#include "feature/utcp/or_utcp_internal.h"
#include "lib/buf/buffers.h"
#include "lib/container/smartlist.h"
#include "lib/net/address.h"

/** Cells read from a stream at once. */
#define CELLS_PER_READ 16
/** Reads from one stream in a row, before others get their turn. */
#define READS_PER_TURN 8
/** As many cells a channel may write in one run of the scheduler. */
#define MAX_CELLS_WRITEABLE 4096

static inline int
stream_eq(const or_utcp_stream_t *a, const or_utcp_stream_t *b)
{
  return a->number == b->number;
}

static inline unsigned int
stream_hash(const or_utcp_stream_t *s)
{
  /* The peer chooses half of these numbers. */
  return (unsigned) siphash24g(&s->number, sizeof(s->number));
}

HT_PROTOTYPE(or_utcp_stream_map, or_utcp_stream_t, node, stream_hash,
             stream_eq);
HT_GENERATE2(or_utcp_stream_map, or_utcp_stream_t, node, stream_hash,
             stream_eq, 0.6, tor_reallocarray_, tor_free_);

static or_utcp_stream_t *
stream_find(or_utcp_link_t *link, circid_t number)
{
  or_utcp_stream_t key = { .number = number };
  return HT_FIND(or_utcp_stream_map, &link->streams, &key);
}

static or_utcp_stream_t *
stream_new(or_utcp_link_t *link, utcp_circuit *circuit, circid_t number)
{
  or_utcp_stream_t *s = tor_malloc_zero(sizeof(*s));
  s->link = link;
  s->circuit = circuit;
  s->number = number;
  HT_INSERT(or_utcp_stream_map, &link->streams, s);
  utcp_circuit_set_user(circuit, s);
  return s;
}

static void
stream_free_if_idle(or_utcp_stream_t *s)
{
  if (s->busy)
    return;
  buf_free(s->pending);
  tor_free(s->partial);
  tor_free(s);
}

/** Free the library's half of <b>s</b>: an open circuit is reset. */
static void
stream_drop(or_utcp_stream_t *s)
{
  if (s->dead)
    return;
  s->dead = 1;
  if (s->link)
    HT_REMOVE(or_utcp_stream_map, &s->link->streams, s);
  s->link = NULL;
  utcp_circuit_set_user(s->circuit, NULL);
  utcp_circuit_abort(s->circuit);
  utcp_circuit_free(s->circuit);
  s->circuit = NULL;
  or_utcp_schedule_flush();
  stream_free_if_idle(s);
}

/** A DESTROY cell was sent or received: end the stream in good order. */
static void
stream_finish(or_utcp_stream_t *s)
{
  if (s->linger_until)
    return;
  s->linger_until = or_utcp_now() + OR_UTCP_LINGER_USEC;
  buf_free(s->pending);
  utcp_circuit_close(s->circuit);
  or_utcp_schedule_flush();
}

/** Tell Tor that the circuit <b>number</b> of <b>link</b> is gone, as if the
 * peer had said so. */
static void
circuit_is_lost(or_utcp_link_t *link, circid_t number)
{
  cell_t cell;

  if (!link->conn || TO_CONN(link->conn)->marked_for_close ||
      !link->conn->chan ||
      !circuit_get_by_circid_channel(number,
                                     TLS_CHAN_TO_BASE(link->conn->chan)))
    return;
  memset(&cell, 0, sizeof(cell));
  cell.circ_id = number;
  cell.command = CELL_DESTROY;
  cell.payload[0] = END_CIRC_REASON_CHANNEL_CLOSED;
  channel_tls_handle_cell(&cell, link->conn);
}

/** The same at the end of the loop turn: while cells are being written the
 * circuitmux is not ready to lose a circuit. */
static void
circuit_is_lost_later(or_utcp_link_t *link, circid_t number)
{
  smartlist_add(link->lost, (void *)(uintptr_t)number);
  or_utcp_link_active(link);
}

void
or_utcp_tell_lost_circuits(or_utcp_link_t *link)
{
  while (smartlist_len(link->lost)) {
    void *number = smartlist_pop_last(link->lost);
    circuit_is_lost(link, (circid_t)(uintptr_t)number);
  }
}

/** The stream broke: drop it, and tell Tor unless it knows. */
static void
stream_lost(or_utcp_stream_t *s)
{
  or_utcp_link_t *link = s->link;
  const circid_t number = s->number;
  const bool known = s->linger_until != 0;
  stream_drop(s);
  if (!known)
    circuit_is_lost(link, number);
}

/* Reading. */

/** May <b>s</b> be read now? */
static bool
stream_may_read(const or_utcp_stream_t *s)
{
  return !s->dead && !s->linger_until && !s->held_by_circuit &&
         !s->held_by_bandwidth && s->link->conn &&
         !TO_CONN(s->link->conn)->marked_for_close;
}

static bool
is_create(uint8_t command)
{
  return command == CELL_CREATE || command == CELL_CREATE2 ||
         command == CELL_CREATE_FAST;
}

/** Is a cell with this command allowed at this place of the stream? */
static bool
cell_is_expected(const or_utcp_stream_t *s, uint8_t command)
{
  if (!s->begun && !s->opened_here)
    return is_create(command);
  switch (command) {
    case CELL_CREATED:
    case CELL_CREATED2:
    case CELL_CREATED_FAST:
    case CELL_RELAY:
    case CELL_RELAY_EARLY:
    case CELL_DESTROY:
      return true;
    default:
      return false;
  }
}

/** Hand the cell at <b>body</b> to Tor.  The stream may be gone afterwards. */
static void
deliver_cell(or_utcp_stream_t *s, const uint8_t *body)
{
  or_connection_t *conn = s->link->conn;
  cell_t cell;

  memset(&cell, 0, sizeof(cell));
  if (conn->wide_circ_ids) {
    cell.circ_id = ntohl(get_uint32(body));
    body += 4;
  } else {
    cell.circ_id = ntohs(get_uint16(body));
    body += 2;
  }
  cell.command = get_uint8(body);

  if (cell.circ_id != s->number || !cell_is_expected(s, cell.command)) {
    log_fn(LOG_PROTOCOL_WARN, LD_PROTOCOL, "Cell of circuit %u with command "
           "%d in the stream of circuit %u from %s. Closing the circuit.",
           (unsigned)cell.circ_id, cell.command, (unsigned)s->number,
           connection_describe_peer(TO_CONN(conn)));
    stream_lost(s);
    return;
  }
  memcpy(cell.payload, body + 1, CELL_PAYLOAD_SIZE);
  s->begun = 1;
  if (conn->chan)
    channel_timestamp_active(TLS_CHAN_TO_BASE(conn->chan));
  if (cell.command == CELL_DESTROY)
    stream_finish(s);
  channel_tls_handle_cell(&cell, conn);
}

/** Read <b>s</b> until nothing is left, or it has to wait.  The library tells
 * of new data only after a read that found none: who stops earlier has to go
 * on by himself. */
static void
stream_read(or_utcp_stream_t *s)
{
  uint8_t buf[CELLS_PER_READ * CELL_MAX_NETWORK_SIZE];
  int reads = 0;

  if (s->busy)
    return; /* Further up the stack somebody is reading it already. */
  s->busy = 1;
  while (stream_may_read(s)) {
    const size_t size = get_cell_network_size(s->link->conn->wide_circ_ids);
    size_t have = s->partial_len, got = 0;
    if (s->link->reading_stopped) {
      s->held_by_bandwidth = 1;
      break;
    }
    if (++reads > READS_PER_TURN) {
      or_utcp_read_later(s->link, s->number);
      break;
    }
    if (have)
      memcpy(buf, s->partial, have);
    s->partial_len = 0;
    const int r = utcp_circuit_read(s->circuit, buf + have,
                                    CELLS_PER_READ * size - have, &got);
    have += r ? 0 : got;
    if (r && r != UTCP_ERR_WOULD_BLOCK) {
      /* It ended without DESTROY, perhaps within a cell. */
      if (have)
        log_fn(LOG_PROTOCOL_WARN, LD_PROTOCOL, "The stream of circuit %u "
               "from %s ended within a cell.", (unsigned)s->number,
               connection_describe_peer(TO_CONN(s->link->conn)));
      stream_lost(s);
      break;
    }
    if (!r)
      or_utcp_link_active(s->link);

    size_t off = 0;
    while (!s->dead && !s->linger_until && have - off >= size) {
      deliver_cell(s, buf + off);
      off += size;
    }
    if (!s->dead && !s->linger_until && have > off) {
      if (!s->partial)
        s->partial = tor_malloc(CELL_MAX_NETWORK_SIZE);
      s->partial_len = (uint16_t)(have - off);
      memcpy(s->partial, buf + off, s->partial_len);
    } else {
      tor_free(s->partial);
    }
    if (r || got == 0)
      break;
  }
  s->busy = 0;
  if (s->dead)
    stream_free_if_idle(s);
}

/** Library callback: the peer has opened a circuit. */
int
or_utcp_cb_circuit_incoming(void *user, utcp_connection *transport,
                            utcp_circuit *circuit, uint32_t number)
{
  or_utcp_link_t *link = utcp_connection_user(transport);
  (void)user;

  if (!link || !link->conn || TO_CONN(link->conn)->marked_for_close ||
      TO_CONN(link->conn)->state != OR_CONN_STATE_OPEN ||
      (!link->conn->wide_circ_ids && number > UINT16_MAX))
    return -1;
  or_utcp_stream_t *old = stream_find(link, number);
  if (old) {
    if (old->opened_here && !old->linger_until)
      return -1; /* This number is ours. */
    /* For the peer the old circuit is over. */
    stream_lost(old);
  }
  stream_new(link, circuit, number);
  return 0;
}

void
or_utcp_cb_circuit_readable(void *user, utcp_circuit *circuit)
{
  or_utcp_stream_t *s = utcp_circuit_user(circuit);
  (void)user;
  if (!s)
    return;
  if (s->is_control)
    or_utcp_control_read(s->link);
  else
    stream_read(s);
}

/** Go on reading stream <b>number</b> of <b>link</b> at the end of the loop
 * turn. */
void
or_utcp_read_later(or_utcp_link_t *link, circid_t number)
{
  smartlist_add(link->unread, (void *)(uintptr_t)number);
  or_utcp_link_active(link);
}

/** Read the streams that were put off. */
void
or_utcp_read_on(or_utcp_link_t *link)
{
  smartlist_t *numbers = link->unread;

  if (!smartlist_len(numbers))
    return;
  link->unread = smartlist_new(); /* For what is put off once more. */
  SMARTLIST_FOREACH_BEGIN(numbers, void *, p) {
    const circid_t number = (circid_t)(uintptr_t)p;
    or_utcp_stream_t *s = number ? stream_find(link, number) : NULL;
    if (!number)
      or_utcp_control_read(link);
    else if (s)
      stream_read(s);
  } SMARTLIST_FOREACH_END(p);
  smartlist_free(numbers);
}

/** There is bandwidth again: go on reading the streams of <b>link</b>. */
void
or_utcp_streams_resume(or_utcp_link_t *link)
{
  or_utcp_stream_t **p;

  if (link->control.held_by_bandwidth) {
    link->control.held_by_bandwidth = 0;
    or_utcp_read_later(link, 0);
  }
  HT_FOREACH(p, or_utcp_stream_map, &link->streams) {
    if ((*p)->held_by_bandwidth) {
      (*p)->held_by_bandwidth = 0;
      or_utcp_read_later(link, (*p)->number);
    }
  }
  or_utcp_schedule_flush();
}

/** The cell queue towards <b>chan</b> has become long (<b>block</b>) or short
 * again: do not read, or go on reading, what comes from the other side. */
void
or_utcp_circuit_blocked(circuit_t *circ, const channel_t *chan, int block)
{
  const channel_t *other;
  circid_t number;

  if (!or_utcp_endpoint || CIRCUIT_IS_ORIGIN(circ))
    return;
  or_circuit_t *or_circ = TO_OR_CIRCUIT(circ);
  if (circ->n_chan == chan) {
    other = or_circ->p_chan;
    number = or_circ->p_circ_id;
  } else {
    other = circ->n_chan;
    number = circ->n_circ_id;
  }
  if (!other || other->magic != TLS_CHAN_MAGIC)
    return;
  or_connection_t *conn = CONST_BASE_CHAN_TO_TLS(other)->conn;
  or_utcp_stream_t *s =
    conn && conn->utcp_link ? stream_find(conn->utcp_link, number) : NULL;
  if (!s || s->linger_until || (bool)s->held_by_circuit == (bool)block)
    return;

  s->held_by_circuit = !!block;
  if (!block && !s->held_by_bandwidth)
    or_utcp_read_later(conn->utcp_link, number);
}

/** The peer destroyed a circuit by the control circuit: it has reset, or is
 * about to reset, the stream. */
void
or_utcp_destroy_received(or_utcp_link_t *link, circid_t number)
{
  or_utcp_stream_t *s = stream_find(link, number);
  if (s)
    stream_drop(s);
}

/** Library callback: a circuit has ended. */
void
or_utcp_cb_circuit_closed(void *user, utcp_circuit *circuit, int reason)
{
  or_utcp_stream_t *s = utcp_circuit_user(circuit);
  (void)user;
  if (!s || s->is_control)
    return; /* connection_closed follows. */
  log_debug(LD_OR, "Stream of circuit %u is closed: %s.",
            (unsigned)s->number, utcp_error_string(reason));
  stream_lost(s);
}

/* Writing. */

/** The circuit of <b>s</b> may have cells written, or not any more. */
static void
update_circuitmux(or_utcp_stream_t *s)
{
  channel_t *chan = TLS_CHAN_TO_BASE(s->link->conn->chan);
  circuit_t *circ = circuit_get_by_circid_channel(s->number, chan);

  if (!circ)
    return;
  update_circuit_on_cmux(circ, circ->n_chan == chan &&
                               circ->n_circ_id == s->number ?
                               CELL_DIRECTION_OUT : CELL_DIRECTION_IN);
  scheduler_channel_has_waiting_cells(chan);
}

/** Write <b>len</b> octets, or keep them until there is room. */
static void
stream_write(or_utcp_stream_t *s, const char *data, size_t len)
{
  size_t written = 0;

  if (!s->pending) /* An error leaves written at 0. */
    utcp_circuit_write(s->circuit, (const uint8_t *)data, len, &written);
  if (written < len) {
    if (!s->pending)
      s->pending = buf_new();
    buf_add(s->pending, data + written, len - written);
  }
  or_utcp_link_active(s->link);
}

/** Library callback: a stream has room again. */
void
or_utcp_cb_circuit_writable(void *user, utcp_circuit *circuit)
{
  or_utcp_stream_t *s = utcp_circuit_user(circuit);
  char chunk[CELL_MAX_NETWORK_SIZE];
  (void)user;

  if (!s || !s->link || !s->link->conn ||
      TO_CONN(s->link->conn)->marked_for_close)
    return;
  if (s->is_control) {
    or_utcp_control_flush(s->link);
    return;
  }
  while (s->pending && buf_datalen(s->pending)) {
    const size_t n = MIN(buf_datalen(s->pending), sizeof(chunk));
    size_t written = 0;
    buf_peek(s->pending, chunk, n);
    const int r = utcp_circuit_write(circuit, (uint8_t *)chunk, n, &written);
    if (!r && written)
      buf_drain(s->pending, written);
    if (r || written < n)
      return;
  }
  buf_free(s->pending);
  or_utcp_link_active(s->link);
  if (!s->linger_until && s->link->conn->chan)
    update_circuitmux(s);
}

/** Send DESTROY: as the last cell of its stream if there is room for it, else
 * by the control circuit. */
static void
write_destroy(or_utcp_link_t *link, or_utcp_stream_t *s, const char *body,
              size_t size)
{
  if (!s || s->linger_until)
    return; /* The peer has ended the circuit itself. */
  if (!s->pending) {
    stream_write(s, body, size);
    if (!s->pending) {
      s->destroy_sent = 1;
      stream_finish(s);
      return;
    }
  }
  stream_drop(s);
  connection_buf_add(body, size, TO_CONN(link->conn));
}

/** If <b>conn</b> is a link over libutcp, send the cell at <b>body</b> and
 * return true. */
bool
or_utcp_write_packed_cell(or_connection_t *conn, const char *body)
{
  or_utcp_link_t *link = conn->utcp_link;
  if (!link)
    return false;

  const size_t size = get_cell_network_size(conn->wide_circ_ids);
  const circid_t number = conn->wide_circ_ids ? ntohl(get_uint32(body)) :
                                                ntohs(get_uint16(body));
  const uint8_t command = get_uint8(body + (conn->wide_circ_ids ? 4 : 2));

  if (number == 0) {
    connection_buf_add(body, size, TO_CONN(conn));
    return true;
  }
  if (!link->transport)
    return true; /* The connection is about to be closed. */
  or_utcp_stream_t *s = stream_find(link, number);

  if (is_create(command)) {
    utcp_circuit *circuit = NULL;
    if (s)
      stream_drop(s); /* The rest of an earlier circuit. */
    const int r = utcp_connection_open_circuit(link->transport, number,
                                               &circuit);
    if (r) {
      log_info(LD_OR, "Could not open a stream to %s: %s.",
               connection_describe_peer(TO_CONN(conn)), utcp_error_string(r));
      circuit_is_lost_later(link, number);
      return true;
    }
    s = stream_new(link, circuit, number);
    s->opened_here = 1;
  }

  if (command == CELL_DESTROY)
    write_destroy(link, s, body, size);
  else if (s && !s->linger_until)
    stream_write(s, body, size);
  TO_CONN(conn)->timestamp_last_write_allowed = approx_time();
  return true;
}

/** How many of the <b>n</b> cells that <b>circ</b> has for <b>chan</b> can be
 * written now?  None while its stream has no room. */
int
or_utcp_cells_ready(const channel_t *chan, const circuit_t *circ, int n)
{
  if (!n || !or_utcp_endpoint || chan->magic != TLS_CHAN_MAGIC)
    return n;
  const or_connection_t *conn = CONST_BASE_CHAN_TO_TLS(chan)->conn;
  if (!conn || !conn->utcp_link)
    return n;
  const circid_t number = circ->n_chan == chan ? circ->n_circ_id :
                                      CONST_TO_OR_CIRCUIT(circ)->p_circ_id;
  const or_utcp_stream_t *s = stream_find(conn->utcp_link, number);
  return s && s->pending && !s->linger_until ? 0 : n;
}

/** How many cells may be written to <b>conn</b> now?  <b>n</b> is the answer
 * for a socket.  Streams say themselves when they have no room; here only
 * the bandwidth matters, and that one channel does not take a whole turn. */
int
or_utcp_num_cells_writeable(const or_connection_t *conn, int n)
{
  if (!conn->utcp_link)
    return n;
  return TO_CONN((or_connection_t *)conn)->write_blocked_on_bw ? 0 :
    MAX_CELLS_WRITEABLE;
}

/** A DESTROY cell was queued for <b>chan</b>.  Tor writes it at once if the
 * channel is idle, but of several that are queued together only the first;
 * the others wait for whatever is sent next.  A session that a restarted peer
 * has lost takes many circuits with it, some of them just being built: their
 * clients ought to hear of it. */
void
or_utcp_destroy_queued(channel_t *chan)
{
  if (or_utcp_endpoint)
    scheduler_channel_has_waiting_cells(chan);
}

/** Add a line for each stream of <b>link</b>, for GETINFO utcp/circuits. */
void
or_utcp_streams_describe(or_utcp_link_t *link, smartlist_t *lines)
{
  or_utcp_stream_t **p;

  HT_FOREACH(p, or_utcp_stream_map, &link->streams) {
    const or_utcp_stream_t *s = *p;
    utcp_circuit_info info = { .size = sizeof(info) };
    if (utcp_circuit_get_info(s->circuit, &info) != UTCP_OK)
      continue;
    smartlist_add_asprintf(lines, "%s:%d %u state=%u cwnd=%"PRIu64
      " flight=%"PRIu64" queued=%"PRIu64" unsent=%"PRIu64" window=%"PRIu64
      " unread=%"PRIu64" held=%"PRIu64" srtt=%"PRIu64" rto=%"PRIu64
      " retransmits=%"PRIu64"%s%s%s%s",
      fmt_and_decorate_addr(&TO_CONN(link->conn)->addr),
      TO_CONN(link->conn)->port, (unsigned)s->number, info.state, info.cwnd,
      info.bytes_in_flight, info.send_queue, info.unsent, info.send_window,
      info.receive_queue, info.out_of_order, info.srtt, info.rto,
      info.segments_retransmitted, s->pending ? " FULL" : "",
      s->held_by_circuit ? " BLOCKED" : "",
      s->held_by_bandwidth ? " LIMITED" : "",
      s->linger_until ? " DESTROYED" : "");
  }
}

/* Ends. */

/** Drop all streams of <b>link</b>; Tor knows, or is about to hear. */
void
or_utcp_streams_free(or_utcp_link_t *link)
{
  or_utcp_stream_t **p, **next;

  for (p = HT_START(or_utcp_stream_map, &link->streams); p; p = next) {
    or_utcp_stream_t *s = *p;
    next = HT_NEXT_RMV(or_utcp_stream_map, &link->streams, p);
    s->link = NULL;
    stream_drop(s);
  }
  HT_CLEAR(or_utcp_stream_map, &link->streams);
}

/** Once a second: a DESTROY that does not get through in its stream goes by
 * the control circuit. */
void
or_utcp_streams_check(or_utcp_link_t *link, uint64_t now)
{
  smartlist_t *late = NULL;
  or_utcp_stream_t **p;

  HT_FOREACH(p, or_utcp_stream_map, &link->streams) {
    if ((*p)->linger_until && (*p)->linger_until < now) {
      if (!late)
        late = smartlist_new();
      smartlist_add(late, *p);
    }
  }
  if (!late)
    return;
  SMARTLIST_FOREACH_BEGIN(late, or_utcp_stream_t *, s) {
    if (s->destroy_sent) {
      cell_t cell;
      packed_cell_t packed;
      memset(&cell, 0, sizeof(cell));
      cell.circ_id = s->number;
      cell.command = CELL_DESTROY;
      cell_pack(&packed, &cell, link->conn->wide_circ_ids);
      connection_buf_add(packed.body,
                         get_cell_network_size(link->conn->wide_circ_ids),
                         TO_CONN(link->conn));
    }
    stream_drop(s);
  } SMARTLIST_FOREACH_END(s);
  smartlist_free(late);
}
#endif /* defined(USE_UTCP) */
