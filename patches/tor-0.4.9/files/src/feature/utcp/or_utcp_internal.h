/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_internal.h
 * @brief Structures shared by the or_utcp_*.c files, and by nobody else.
 **/

#ifndef TOR_FEATURE_UTCP_OR_UTCP_INTERNAL_H
#define TOR_FEATURE_UTCP_OR_UTCP_INTERNAL_H

#include <utcp.h>

#include "core/or/or.h"
#include "ext/ht.h"

/** How long a link may take from the end of the DTLS handshake until Tor's
 * own handshake is done, in microseconds. */
#define OR_UTCP_LINK_HANDSHAKE_USEC (30 * UINT64_C(1000000))
/** How long a stream may take to deliver a DESTROY cell before the cell goes
 * by the control circuit, in microseconds. */
#define OR_UTCP_LINGER_USEC (30 * UINT64_C(1000000))
/** A control circuit that holds more than this is stuck. */
#define OR_UTCP_MAX_CONTROL_BACKLOG (4u << 20)

struct or_utcp_link_t;
struct buf_t;

/** One circuit of a link, or the link's control circuit. */
typedef struct or_utcp_stream_t {
  HT_ENTRY(or_utcp_stream_t) node;
  /** NULL once the stream was taken out of its link. */
  struct or_utcp_link_t *link;
  utcp_circuit *circuit;
  circid_t number;
  /** Nonzero: DESTROY was sent or received; no more cells either way. The
   * time at which to give up waiting for the peer's end. */
  uint64_t linger_until;
  /** The beginning of a cell whose end has not arrived yet, or NULL. */
  uint8_t *partial;
  uint16_t partial_len;
  /** Octets that did not fit, or NULL. While there are any, the circuitmux
   * hears that this circuit has no cells. */
  struct buf_t *pending;
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

typedef HT_HEAD(or_utcp_stream_map, or_utcp_stream_t) or_utcp_stream_map_t;

/** What an or_connection_t has in place of a socket. */
typedef struct or_utcp_link_t {
  /** NULL: incoming, and DTLS is not complete. */
  or_connection_t *conn;
  /** NULL: the DTLS session is gone, or (see awaiting) never was. */
  utcp_connection *transport;
  or_utcp_stream_t control;
  or_utcp_stream_map_t streams;
  /** Numbers of circuits that were lost while their cells were being written:
   * the circuits are told at the end of the loop turn. */
  struct smartlist_t *lost;
  /** Numbers of streams (0: the control circuit) that were not read to their
   * end, and are read on at the end of the loop turn. */
  struct smartlist_t *unread;
  /** Both sides connected at once and ours became the DTLS server: the link
   * on which the peer authenticates itself to us, and the other way round. */
  struct or_utcp_link_t *awaiting, *awaited_by;
  /** When to give up Tor's link handshake; 0 once it is done. */
  uint64_t handshake_until;
  /** UDP payload already taken out of the token buckets. */
  uint64_t charged_sent, charged_received;
  unsigned int reading_stopped : 1;
  unsigned int released : 1; /**< Circuits are not held back any more. */
  unsigned int active : 1; /**< Listed for the end of this loop turn. */
} or_utcp_link_t;

/* or_utcp_endpoint.c */
extern utcp_endpoint *or_utcp_endpoint;
extern struct smartlist_t *or_utcp_links;
uint64_t or_utcp_now(void);
void or_utcp_schedule_flush(void);
void or_utcp_link_active(or_utcp_link_t *link);
void or_utcp_fall_back_later(or_utcp_link_t *link);
void or_utcp_link_forget(or_utcp_link_t *link);

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
void or_utcp_control_flush(or_utcp_link_t *link);

/* or_utcp_stream.c */
int or_utcp_cb_circuit_incoming(void *user, utcp_connection *transport,
                                utcp_circuit *circuit, uint32_t number);
void or_utcp_cb_circuit_readable(void *user, utcp_circuit *circuit);
void or_utcp_cb_circuit_writable(void *user, utcp_circuit *circuit);
void or_utcp_cb_circuit_closed(void *user, utcp_circuit *circuit, int reason);
void or_utcp_streams_free(or_utcp_link_t *link);
void or_utcp_read_later(or_utcp_link_t *link, circid_t number);
void or_utcp_read_on(or_utcp_link_t *link);
void or_utcp_streams_resume(or_utcp_link_t *link);
void or_utcp_streams_check(or_utcp_link_t *link, uint64_t now);
void or_utcp_tell_lost_circuits(or_utcp_link_t *link);
void or_utcp_streams_describe(or_utcp_link_t *link, struct smartlist_t *lines);
void or_utcp_destroy_received(or_utcp_link_t *link, circid_t number);

/* or_utcp_fallback.c */
void or_utcp_note_failure(const char *identity_digest);
bool or_utcp_failed_recently(const char *identity_digest);
void or_utcp_forget_failures(void);

#endif /* !defined(TOR_FEATURE_UTCP_OR_UTCP_INTERNAL_H) */
