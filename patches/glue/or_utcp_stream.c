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
 * Backpressure: a stream that has no room says so
 * (or_utcp_stream_is_full()), and Tor keeps the cells of that circuit; while
 * the cell queue on the other side of a circuit is long, its stream is not
 * read.  Neither concerns any other circuit.
 **/

#include "or_utcp_glue_internal.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/** Cells read from a stream at once. */
#define CELLS_PER_READ 16
/** Reads from one stream in a row, before others get their turn. */
#define READS_PER_TURN 8

/* Cells in wire format: number, command, payload. */

static size_t
cell_len(const or_utcp_link_t *link)
{
  return or_utcp_tor_circ_id_len(link->conn) + OR_UTCP_CELL_BODY_LEN;
}

static uint32_t
cell_number(const or_utcp_link_t *link, const uint8_t *cell)
{
  const size_t len = or_utcp_tor_circ_id_len(link->conn);
  uint32_t number = 0;
  size_t i;
  for (i = 0; i < len; ++i)
    number = number << 8 | cell[i];
  return number;
}

static uint8_t
cell_command(const or_utcp_link_t *link, const uint8_t *cell)
{
  return cell[or_utcp_tor_circ_id_len(link->conn)];
}

/* The streams of a link. */

static int
compare(const void *a, const void *b)
{
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static or_utcp_stream_t *
stream_find(const or_utcp_link_t *link, uint32_t number)
{
  or_utcp_stream_t **found = tfind(&number, &link->by_number, compare);
  return found ? *found : NULL;
}

/** Make a stream for <b>circuit</b>, which has no number in this link yet. */
static or_utcp_stream_t *
stream_new(or_utcp_link_t *link, utcp_circuit *circuit, uint32_t number)
{
  or_utcp_stream_t *s = or_utcp_alloc(sizeof(*s));
  s->link = link;
  s->circuit = circuit;
  s->number = number;
  or_utcp_list_init(&s->all);
  or_utcp_list_init(&s->unread);
  if (!tsearch(s, &link->by_number, compare)) {
    free(s);
    return NULL;
  }
  or_utcp_list_add(&link->streams, &s->all);
  utcp_circuit_set_user(circuit, s);
  return s;
}

void
or_utcp_stream_discard_backlog(or_utcp_stream_t *s)
{
  if (s->pending)
    evbuffer_free(s->pending);
  s->pending = NULL;
}

static void
stream_free_if_idle(or_utcp_stream_t *s)
{
  if (s->busy)
    return;
  or_utcp_stream_discard_backlog(s);
  free(s->partial);
  free(s);
}

/** Free the library's half of <b>s</b>: an open circuit is reset. */
static void
stream_drop(or_utcp_stream_t *s)
{
  if (s->dead)
    return;
  s->dead = 1;
  tdelete(s, &s->link->by_number, compare);
  or_utcp_list_remove(&s->all);
  or_utcp_list_remove(&s->unread);
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
  s->linger_until = or_utcp_tor_now() + OR_UTCP_LINGER_USEC;
  or_utcp_stream_discard_backlog(s);
  utcp_circuit_close(s->circuit);
  or_utcp_schedule_flush();
}

/** Tell Tor that the circuit <b>number</b> of <b>link</b> is gone, as if the
 * peer had said so. */
static void
circuit_is_lost(or_utcp_link_t *link, uint32_t number)
{
  if (or_utcp_link_is_usable(link))
    or_utcp_tor_circuit_lost(link->conn, number);
}

/** The same at the end of the loop turn: while its cells are being written,
 * Tor is not ready to lose a circuit. */
static void
circuit_is_lost_later(or_utcp_link_t *link, uint32_t number)
{
  or_utcp_lost_t *lost = or_utcp_alloc(sizeof(*lost));
  lost->number = number;
  or_utcp_list_init(&lost->node);
  or_utcp_list_add(&link->lost, &lost->node);
  or_utcp_link_active(link);
}

void
or_utcp_tell_lost_circuits(or_utcp_link_t *link)
{
  or_utcp_list_t *node;

  while ((node = or_utcp_list_pop(&link->lost))) {
    or_utcp_lost_t *lost = OR_UTCP_ENTRY(node, or_utcp_lost_t, node);
    const uint32_t number = lost->number;
    free(lost);
    circuit_is_lost(link, number);
  }
}

/** The stream broke: drop it, and tell Tor unless it knows. */
static void
stream_lost(or_utcp_stream_t *s)
{
  or_utcp_link_t *link = s->link;
  const uint32_t number = s->number;
  const bool known = s->linger_until != 0;
  stream_drop(s);
  if (!known)
    circuit_is_lost(link, number);
}

/* Reading. */

/** Are cells of <b>s</b> of any use to Tor? */
static bool
stream_is_live(const or_utcp_stream_t *s)
{
  return !s->dead && !s->linger_until && or_utcp_link_is_usable(s->link);
}

/** May <b>s</b> be read now? */
static bool
stream_may_read(const or_utcp_stream_t *s)
{
  return stream_is_live(s) && !s->held_by_circuit && !s->held_by_bandwidth;
}

/** Is a cell of this kind allowed at this place of the stream? */
static bool
cell_is_expected(const or_utcp_stream_t *s, or_utcp_cell_t kind)
{
  if (!s->begun && !s->opened_here)
    return kind == OR_UTCP_CELL_CREATE;
  return kind == OR_UTCP_CELL_CIRCUIT || kind == OR_UTCP_CELL_DESTROY;
}

/** Hand <b>cell</b> to Tor.  The stream may be gone afterwards. */
static void
deliver_cell(or_utcp_stream_t *s, const uint8_t *cell)
{
  struct or_connection_t *conn = s->link->conn;
  const uint32_t number = cell_number(s->link, cell);
  const uint8_t command = cell_command(s->link, cell);
  const or_utcp_cell_t kind = or_utcp_tor_cell_kind(command);

  if (number != s->number || !cell_is_expected(s, kind)) {
    or_utcp_tor_log(OR_UTCP_PROTOCOL, "Cell of circuit %" PRIu32 " with "
                    "command %d in the stream of circuit %" PRIu32 " from %s."
                    " Closing the circuit.", number, command, s->number,
                    or_utcp_tor_describe(conn));
    stream_lost(s);
    return;
  }
  s->begun = 1;
  if (kind == OR_UTCP_CELL_DESTROY)
    stream_finish(s);
  or_utcp_tor_cell_received(conn, cell);
}

/** Read <b>s</b> until nothing is left, or it has to wait.  The library tells
 * of new data only after a read that found none: who stops earlier has to go
 * on by himself. */
static void
stream_read(or_utcp_stream_t *s)
{
  uint8_t buf[CELLS_PER_READ * OR_UTCP_MAX_CELL_LEN];
  int reads = 0;

  if (s->busy)
    return; /* Further up the stack somebody is reading it already. */
  s->busy = 1;
  while (stream_may_read(s)) {
    const size_t size = cell_len(s->link);
    size_t have = s->partial_len, got = 0, off = 0;
    if (s->link->reading_stopped) {
      s->held_by_bandwidth = 1;
      break;
    }
    if (++reads > READS_PER_TURN) {
      or_utcp_read_later(s);
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
        or_utcp_tor_log(OR_UTCP_PROTOCOL, "The stream of circuit %" PRIu32
                        " from %s ended within a cell.", s->number,
                        or_utcp_link_describe(s->link));
      stream_lost(s);
      break;
    }
    if (!r)
      or_utcp_link_active(s->link);

    while (stream_is_live(s) && have - off >= size) {
      deliver_cell(s, buf + off);
      off += size;
    }
    if (stream_is_live(s) && have > off) {
      if (!s->partial)
        s->partial = or_utcp_alloc(OR_UTCP_MAX_CELL_LEN);
      s->partial_len = (uint16_t)(have - off);
      memcpy(s->partial, buf + off, s->partial_len);
    } else {
      free(s->partial);
      s->partial = NULL;
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
  or_utcp_stream_t *old;
  (void)user;

  if (!link || !or_utcp_link_is_usable(link) ||
      !or_utcp_tor_is_open(link->conn) ||
      (or_utcp_tor_circ_id_len(link->conn) == 2 && number > UINT16_MAX))
    return -1;
  old = stream_find(link, number);
  if (old) {
    if (old->opened_here && !old->linger_until)
      return -1; /* This number is ours. */
    /* For the peer the old circuit is over. */
    stream_lost(old);
    if (!or_utcp_link_is_usable(link))
      return -1;
  }
  return stream_new(link, circuit, number) ? 0 : -1;
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

/** Go on reading <b>s</b> at the end of the loop turn. */
void
or_utcp_read_later(or_utcp_stream_t *s)
{
  or_utcp_list_add(&s->link->unread, &s->unread);
  or_utcp_link_active(s->link);
}

/** Read the streams that were put off. */
void
or_utcp_read_on(or_utcp_link_t *link)
{
  or_utcp_list_t streams, *node;

  /* A list of its own: some are put off once more. */
  or_utcp_list_init(&streams);
  or_utcp_list_move(&streams, &link->unread);
  while ((node = or_utcp_list_pop(&streams))) {
    or_utcp_stream_t *s = OR_UTCP_ENTRY(node, or_utcp_stream_t, unread);
    if (s->is_control)
      or_utcp_control_read(link);
    else
      stream_read(s);
  }
}

/** There is bandwidth again: go on reading the streams of <b>link</b>. */
void
or_utcp_streams_resume(or_utcp_link_t *link)
{
  or_utcp_list_t *node;

  if (link->control.held_by_bandwidth) {
    link->control.held_by_bandwidth = 0;
    or_utcp_read_later(&link->control);
  }
  for (node = link->streams.next; node != &link->streams; node = node->next) {
    or_utcp_stream_t *s = OR_UTCP_ENTRY(node, or_utcp_stream_t, all);
    if (s->held_by_bandwidth) {
      s->held_by_bandwidth = 0;
      or_utcp_read_later(s);
    }
  }
  or_utcp_schedule_flush();
}

/** Circuit <b>number</b> goes on to somewhere slow (<b>hold</b>), or not any
 * more: do not read, or go on reading, its stream. */
void
or_utcp_stream_hold(or_utcp_link_t *link, uint32_t number, bool hold)
{
  or_utcp_stream_t *s = stream_find(link, number);

  if (!s || s->linger_until || (bool)s->held_by_circuit == hold)
    return;
  s->held_by_circuit = hold;
  if (!hold && !s->held_by_bandwidth)
    or_utcp_read_later(s);
}

/** The peer destroyed a circuit by the control circuit: it has reset, or is
 * about to reset, the stream. */
void
or_utcp_destroy_received(or_utcp_link_t *link, uint32_t number)
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
  or_utcp_tor_log(OR_UTCP_DEBUG, "Stream of circuit %" PRIu32
                  " is closed: %s.", s->number, utcp_error_string(reason));
  stream_lost(s);
}

/* Writing. */

/** Write <b>len</b> octets, or keep them until there is room. */
void
or_utcp_stream_write(or_utcp_stream_t *s, const void *data, size_t len)
{
  size_t written = 0;

  if (!s->pending) /* An error leaves written at 0. */
    utcp_circuit_write(s->circuit, data, len, &written);
  if (written < len) {
    if (!s->pending)
      s->pending = evbuffer_new();
    if (!s->pending ||
        evbuffer_add(s->pending, (const char *)data + written, len - written))
      abort(); /* No memory. */
  }
  or_utcp_link_active(s->link);
}

/** Octets that <b>s</b> had no room for. */
size_t
or_utcp_stream_backlog(const or_utcp_stream_t *s)
{
  return s->pending ? evbuffer_get_length(s->pending) : 0;
}

/** Write what <b>s</b> had no room for.  Return true if nothing is left. */
static bool
write_backlog(or_utcp_stream_t *s)
{
  char chunk[4096];
  ev_ssize_t n;

  if (!s->pending)
    return true;
  while ((n = evbuffer_copyout(s->pending, chunk, sizeof(chunk))) > 0) {
    size_t written = 0;
    utcp_circuit_write(s->circuit, (uint8_t *)chunk, (size_t)n, &written);
    evbuffer_drain(s->pending, written);
    if (written)
      or_utcp_link_active(s->link);
    if (written < (size_t)n)
      return false;
  }
  or_utcp_stream_discard_backlog(s);
  return true;
}

/** Library callback: a stream has room again. */
void
or_utcp_cb_circuit_writable(void *user, utcp_circuit *circuit)
{
  or_utcp_stream_t *s = utcp_circuit_user(circuit);
  (void)user;

  if (!s || !or_utcp_link_is_usable(s->link))
    return;
  if (write_backlog(s) && !s->is_control && !s->linger_until)
    or_utcp_tor_circuit_has_room(s->link->conn, s->number);
}

/** Send DESTROY: as the last cell of its stream if there is room for it, else
 * by the control circuit. */
static void
write_destroy(or_utcp_link_t *link, or_utcp_stream_t *s, const uint8_t *cell)
{
  const size_t len = cell_len(link);

  if (!s || s->linger_until)
    return; /* The peer has ended the circuit itself. */
  if (!s->pending) {
    or_utcp_stream_write(s, cell, len);
    if (!s->pending) {
      s->destroy_sent = 1;
      stream_finish(s);
      return;
    }
  }
  stream_drop(s);
  or_utcp_link_write(link, cell, len);
}

/** Open a stream for circuit <b>number</b>, whose first cell is about to be
 * written.  NULL: it cannot be. */
static or_utcp_stream_t *
open_stream(or_utcp_link_t *link, uint32_t number)
{
  utcp_circuit *circuit = NULL;
  or_utcp_stream_t *s = stream_find(link, number);

  if (s)
    stream_drop(s); /* The rest of an earlier circuit. */
  const int r = utcp_connection_open_circuit(link->transport, number,
                                             &circuit);
  s = r ? NULL : stream_new(link, circuit, number);
  if (!s) {
    or_utcp_tor_log(OR_UTCP_INFO, "Could not open a stream to %s: %s.",
                    or_utcp_link_describe(link),
                    utcp_error_string(r ? r : UTCP_ERR_MEMORY));
    utcp_circuit_free(circuit);
    circuit_is_lost_later(link, number);
    return NULL;
  }
  s->opened_here = 1;
  return s;
}

/** Send <b>cell</b>, in wire format: by the stream of its circuit, or by the
 * control circuit if it belongs to none. */
void
or_utcp_link_write_cell(or_utcp_link_t *link, const void *cell)
{
  if (!link->control.circuit)
    return; /* The connection is about to be closed. */
  const uint32_t number = cell_number(link, cell);
  const or_utcp_cell_t kind =
    or_utcp_tor_cell_kind(cell_command(link, cell));

  if (number == 0) {
    or_utcp_link_write(link, cell, cell_len(link));
    return;
  }
  or_utcp_stream_t *s = kind == OR_UTCP_CELL_CREATE ?
    open_stream(link, number) : stream_find(link, number);
  if (kind == OR_UTCP_CELL_DESTROY)
    write_destroy(link, s, cell);
  else if (s && !s->linger_until)
    or_utcp_stream_write(s, cell, cell_len(link));
}

/** Has the stream of circuit <b>number</b> no room for a cell?  Once it has,
 * or_utcp_tor_circuit_has_room() says so. */
bool
or_utcp_stream_is_full(const or_utcp_link_t *link, uint32_t number)
{
  const or_utcp_stream_t *s = stream_find(link, number);
  return s && s->pending && !s->linger_until;
}

/* Ends. */

/** Drop all streams of <b>link</b>; Tor knows, or is about to hear. */
void
or_utcp_streams_free(or_utcp_link_t *link)
{
  or_utcp_list_t *node;

  while (!or_utcp_list_is_empty(&link->streams))
    stream_drop(OR_UTCP_ENTRY(link->streams.next, or_utcp_stream_t, all));
  while ((node = or_utcp_list_pop(&link->lost)))
    free(OR_UTCP_ENTRY(node, or_utcp_lost_t, node));
}

/** Once a second: a DESTROY that does not get through in its stream goes by
 * the control circuit. */
void
or_utcp_streams_check(or_utcp_link_t *link, uint64_t now)
{
  or_utcp_list_t *node, *next;

  for (node = link->streams.next; node != &link->streams; node = next) {
    or_utcp_stream_t *s = OR_UTCP_ENTRY(node, or_utcp_stream_t, all);
    next = node->next;
    if (!s->linger_until || s->linger_until >= now)
      continue;
    if (s->destroy_sent) {
      uint8_t cell[OR_UTCP_MAX_CELL_LEN] = { 0 };
      size_t len = or_utcp_tor_circ_id_len(link->conn), i;
      for (i = 0; i < len; ++i)
        cell[i] = (uint8_t)(s->number >> 8 * (len - 1 - i));
      cell[len] = OR_UTCP_DESTROY;
      or_utcp_link_write(link, cell, cell_len(link));
    }
    stream_drop(s);
  }
}
