/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_glue_internal.h
 * @brief Structures shared by the files of the glue, and by nobody else.
 **/

#ifndef TOR_OR_UTCP_GLUE_INTERNAL_H
#define TOR_OR_UTCP_GLUE_INTERNAL_H

#include <utcp.h>

#include "or_utcp_glue.h"
#include "or_utcp_list.h"

/** How long a link may take from the end of the DTLS handshake until Tor's
 * own handshake is done, in microseconds. */
#define OR_UTCP_LINK_HANDSHAKE_USEC (30 * UINT64_C(1000000))
/** How long a stream may take to deliver a DESTROY cell before the cell goes
 * by the control circuit, in microseconds. */
#define OR_UTCP_LINGER_USEC (30 * UINT64_C(1000000))
/** A control circuit that holds more than this is stuck. */
#define OR_UTCP_MAX_CONTROL_BACKLOG (4u << 20)

/** Octets of a cell behind the circuit's number: command and payload. */
#define OR_UTCP_CELL_BODY_LEN (1 + 509)
/** DESTROY, in every version of the protocol. */
#define OR_UTCP_DESTROY 4
/** The longest cell: its circuit's number has four octets. */
#define OR_UTCP_MAX_CELL_LEN (4 + OR_UTCP_CELL_BODY_LEN)

/** One circuit of a link, or the link's control circuit. */
typedef struct or_utcp_stream_t {
  /** First, since a search compares this alone. */
  uint32_t number;
  /** NULL once the stream was taken out of its link. */
  or_utcp_link_t *link;
  utcp_circuit *circuit;
  /** In the link's list of streams. */
  or_utcp_list_t all;
  /** In the link's list of streams that were not read to their end. */
  or_utcp_list_t unread;
  /** Nonzero: DESTROY was sent or received; no more cells either way. The
   * time at which to give up waiting for the peer's end. */
  uint64_t linger_until;
  /** The beginning of a cell whose end has not arrived yet, or NULL. */
  uint8_t *partial;
  uint16_t partial_len;
  /** Octets that did not fit, or NULL: the stream is full. */
  struct evbuffer *pending;
  unsigned int is_control : 1;
  unsigned int opened_here : 1;
  /** The first cell has arrived. */
  unsigned int begun : 1;
  /** Not read because the circuit's other side is slow. */
  unsigned int held_by_circuit : 1;
  /** Not read because the connection has no bandwidth left. */
  unsigned int held_by_bandwidth : 1;
  /** We sent the DESTROY: the peer may still need it. */
  unsigned int destroy_sent : 1;
  /** Being read: not to be freed now. */
  unsigned int busy : 1;
  /** Taken out of its link, and to be freed. */
  unsigned int dead : 1;
} or_utcp_stream_t;

/** The number of a circuit that is lost, in a link's list. */
typedef struct or_utcp_lost_t {
  or_utcp_list_t node;
  uint32_t number;
} or_utcp_lost_t;

struct or_utcp_link_t {
  /** NULL: incoming, and DTLS is not complete. */
  struct or_connection_t *conn;
  /** NULL: the DTLS session is gone, or (see awaiting) never was. */
  utcp_connection *transport;
  or_utcp_stream_t control;
  /** Streams but the control circuit: a tree of tsearch(3) by number, since
   * the peer chooses half of the numbers, and a list. */
  void *by_number;
  or_utcp_list_t streams;
  /** Streams that are read on at the end of the loop turn. */
  or_utcp_list_t unread;
  /** or_utcp_lost_t: circuits that were lost while their cells were being
   * written. They are told at the end of the loop turn. */
  or_utcp_list_t lost;
  /** In the endpoint's lists: of all links, of those that have something to
   * do at the end of this loop turn, of those to be connected by TCP. */
  or_utcp_list_t all, active, falling_back;
  /** Both sides connected at once and ours became the DTLS server: the link
   * on which the peer authenticates itself to us, and the other way round. */
  or_utcp_link_t *awaiting, *awaited_by;
  /** When to give up Tor's link handshake; 0 once it is done. */
  uint64_t handshake_until;
  /** UDP payload already taken out of the token buckets. */
  uint64_t charged_sent, charged_received;
  unsigned int reading_stopped : 1;
  unsigned int released : 1; /**< Circuits are not held back any more. */
};

/* or_utcp_endpoint.c */
extern utcp_endpoint *or_utcp_endpoint;
extern or_utcp_list_t or_utcp_links;
void *or_utcp_alloc(size_t size);
void or_utcp_schedule_flush(void);
void or_utcp_link_active(or_utcp_link_t *link);
void or_utcp_fall_back_later(or_utcp_link_t *link);

/* or_utcp_link.c */
int or_utcp_cb_incoming(void *user, utcp_connection *transport,
                        const struct sockaddr *address, socklen_t len);
int or_utcp_cb_verify(void *user, utcp_connection *transport,
                      struct ssl_st *ssl);
void or_utcp_cb_ready(void *user, utcp_connection *transport);
void or_utcp_cb_closed(void *user, utcp_connection *transport, int reason);
void or_utcp_link_fall_back(or_utcp_link_t *link);
void or_utcp_link_detach(or_utcp_link_t *link);
void or_utcp_link_check(or_utcp_link_t *link, uint64_t now);
void or_utcp_link_charge(or_utcp_link_t *link);
void or_utcp_control_read(or_utcp_link_t *link);
bool or_utcp_link_is_usable(const or_utcp_link_t *link);
const char *or_utcp_link_describe(const or_utcp_link_t *link);

/* or_utcp_stream.c */
int or_utcp_cb_circuit_incoming(void *user, utcp_connection *transport,
                                utcp_circuit *circuit, uint32_t number);
void or_utcp_cb_circuit_readable(void *user, utcp_circuit *circuit);
void or_utcp_cb_circuit_writable(void *user, utcp_circuit *circuit);
void or_utcp_cb_circuit_closed(void *user, utcp_circuit *circuit, int reason);
void or_utcp_stream_write(or_utcp_stream_t *stream, const void *data,
                          size_t len);
size_t or_utcp_stream_backlog(const or_utcp_stream_t *stream);
void or_utcp_stream_discard_backlog(or_utcp_stream_t *stream);
void or_utcp_streams_free(or_utcp_link_t *link);
void or_utcp_read_later(or_utcp_stream_t *stream);
void or_utcp_read_on(or_utcp_link_t *link);
void or_utcp_streams_resume(or_utcp_link_t *link);
void or_utcp_streams_check(or_utcp_link_t *link, uint64_t now);
void or_utcp_tell_lost_circuits(or_utcp_link_t *link);

/* or_utcp_fallback.c */
void or_utcp_forget_failures(void);

#endif /* !defined(TOR_OR_UTCP_GLUE_INTERNAL_H) */
