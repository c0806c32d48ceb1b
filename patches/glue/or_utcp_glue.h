/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_glue.h
 * @brief What carries OR connections over libutcp, for any version of Tor.
 *
 * A link is what an OR connection has in place of a socket: a DTLS session
 * with the peer, a stream (a TCP connection of the library's) for each of its
 * circuits, and the control circuit for all that belongs to no circuit.
 *
 * The first half of this file is what Tor calls.  The second half,
 * or_utcp_tor_*(), is what the glue needs of Tor: each version of Tor
 * implements it in its own or_utcp_tor.c, and a test has a stand-in.  The
 * glue knows nothing else of Tor.  All of it runs in the main thread.
 **/

#ifndef TOR_OR_UTCP_GLUE_H
#define TOR_OR_UTCP_GLUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct evbuffer;
struct ssl_st;
/** Tor's connection.  The glue never looks inside. */
struct or_connection_t;
/** What the connection has in place of a socket. */
typedef struct or_utcp_link_t or_utcp_link_t;

/** Length of the digest of a relay's identity key. */
#define OR_UTCP_IDENTITY_LEN 20

/* Endpoint: or_utcp_endpoint.c.  There is one in a process, or none. */

/** How the endpoint is to be. */
typedef struct or_utcp_settings_t {
  /** To bind the socket to; the port is not 0. */
  const struct sockaddr *address;
  socklen_t address_len;
  /** What this relay presents in DTLS: certificates, leaf first, as
   * concatenated DER, and the leaf's private key as DER. */
  const uint8_t *chain;
  size_t chain_len;
  const uint8_t *key;
  size_t key_len;
  /** The side that connects presents them, too. */
  bool mutual;
  /** Of OpenSSL, 0 to 5. */
  int security_level;
  /** Seconds from the first datagram until a handshake is given up. */
  int handshake_timeout;
  int max_links;
  /** Octets per second that this relay is to move, from which the sizes of a
   * circuit's buffers follow. */
  uint64_t rate;
  /** Octets that all queues may hold together. */
  uint64_t memory;
  /** Congestion control: a name that or_utcp_congestion_is_known(). */
  const char *congestion;
} or_utcp_settings_t;

bool or_utcp_endpoint_open(const or_utcp_settings_t *settings);
void or_utcp_endpoint_close(bool exiting);
bool or_utcp_endpoint_is_open(void);
bool or_utcp_congestion_is_known(const char *name);
bool or_utcp_congestion_is_in_use(const char *name);
const char *or_utcp_congestion_name(uint64_t algorithm, bool coupled);
bool or_utcp_endpoint_use_certificate(const uint8_t *chain, size_t chain_len,
                                      const uint8_t *key, size_t key_len);
void or_utcp_endpoint_set_memory(uint64_t octets);
size_t or_utcp_memory(void);
size_t or_utcp_shed(size_t octets);
void or_utcp_free_glue(void);

/* Links: or_utcp_link.c */

or_utcp_link_t *or_utcp_link_connect(struct or_connection_t *conn,
                                     const struct sockaddr *address,
                                     socklen_t address_len);
void or_utcp_link_free(or_utcp_link_t *link);
void or_utcp_link_opened(or_utcp_link_t *link);
void or_utcp_link_start_reading(or_utcp_link_t *link);
void or_utcp_link_stop_reading(or_utcp_link_t *link);
void or_utcp_link_write(or_utcp_link_t *link, const void *data, size_t len);
bool or_utcp_link_is_up(const or_utcp_link_t *link);
struct ssl_st *or_utcp_link_ssl(const or_utcp_link_t *link);

/* Circuits: or_utcp_stream.c */

void or_utcp_link_write_cell(or_utcp_link_t *link, const void *cell);
bool or_utcp_stream_is_full(const or_utcp_link_t *link, uint32_t number);
void or_utcp_stream_hold(or_utcp_link_t *link, uint32_t number, bool hold);
void or_utcp_destroy_received(or_utcp_link_t *link, uint32_t number);

/* Which relays UDP has failed to: or_utcp_fallback.c */

void or_utcp_note_failure(const uint8_t *identity);
bool or_utcp_failed_recently(const uint8_t *identity);

/* For the operator: or_utcp_stats.c */

/** What connections of one kind have moved. */
typedef struct or_utcp_figures_t {
  unsigned int links;
  uint64_t sent, received, retransmits;
} or_utcp_figures_t;

/** One OR connection, of whatever transport. */
typedef struct or_utcp_line_t {
  /** NULL: TLS. */
  const or_utcp_link_t *link;
  /** NULL: not known yet. */
  const char *fingerprint;
  const char *address;
  uint16_t port;
  bool outgoing;
  int circuits;
  /** Without a link; else they are filled in. */
  or_utcp_figures_t figures;
  const char *state;
} or_utcp_line_t;

void or_utcp_link_add_figures(const or_utcp_link_t *link,
                              or_utcp_figures_t *sum);
void or_utcp_tcp_add_figures(int socket, or_utcp_figures_t *sum);
void or_utcp_describe_connection(struct evbuffer *out, or_utcp_line_t *line);
void or_utcp_describe_streams(struct evbuffer *out,
                              const or_utcp_link_t *link,
                              const char *address, uint16_t port);
void or_utcp_log_figures(const or_utcp_figures_t *utcp,
                         const or_utcp_figures_t *tls);

/* What the glue needs of Tor: or_utcp_tor.c of each version. */

typedef enum or_utcp_severity_t {
  OR_UTCP_WARN,     /**< The operator ought to act. */
  OR_UTCP_NOTICE,   /**< The operator wants to know. */
  OR_UTCP_PROTOCOL, /**< A peer does what it must not do. */
  OR_UTCP_INFO,
  OR_UTCP_DEBUG
} or_utcp_severity_t;

/** What a command means for the stream of a circuit. */
typedef enum or_utcp_cell_t {
  OR_UTCP_CELL_NONE,    /**< It has no place there. */
  OR_UTCP_CELL_CREATE,  /**< The first one of the side that opens it. */
  OR_UTCP_CELL_CIRCUIT, /**< Any later one. */
  OR_UTCP_CELL_DESTROY  /**< The last one. */
} or_utcp_cell_t;

/** A clock that never goes back, in microseconds. */
uint64_t or_utcp_tor_now(void);
/** Where the glue's events are to be added. */
struct event_base *or_utcp_tor_event_base(void);
/** Are peers welcome that want to connect now? */
bool or_utcp_tor_is_accepting(void);
/** Is this one?  Its address is proven. */
bool or_utcp_tor_accepts_from(const struct sockaddr *address, socklen_t len);
void or_utcp_tor_log(or_utcp_severity_t severity, const char *format, ...)
#if defined(__GNUC__)
  __attribute__((format(printf, 2, 3)))
#endif
  ;
/** Is OR_UTCP_DEBUG written anywhere? */
bool or_utcp_tor_logs_debug(void);
or_utcp_cell_t or_utcp_tor_cell_kind(uint8_t command);

/* About a connection. */

/** False once it is marked to be closed: nothing is done with it any more. */
bool or_utcp_tor_is_usable(const struct or_connection_t *conn);
/** Is the link handshake done? */
bool or_utcp_tor_is_open(const struct or_connection_t *conn);
/** Is it waiting for DTLS (or for another connection to the same relay)? */
bool or_utcp_tor_is_connecting(const struct or_connection_t *conn);
/** Have we made it? */
bool or_utcp_tor_is_outgoing(const struct or_connection_t *conn);
/** Octets of a circuit's number in a cell, 2 or 4. */
size_t or_utcp_tor_circ_id_len(const struct or_connection_t *conn);
/** OR_UTCP_IDENTITY_LEN octets: who the peer is, or ought to be.  All 0: not
 * known. */
const uint8_t *or_utcp_tor_identity(const struct or_connection_t *conn);
/** The peer, for a log line; valid until the next call. */
const char *or_utcp_tor_describe(const struct or_connection_t *conn);

/* What happens to a connection.  Each of these may close it, by marking it,
 * but must not free it. */

/** A peer has connected: make a connection whose link is <b>link</b>.  NULL:
 * it is not wanted. */
struct or_connection_t *or_utcp_tor_accept(or_utcp_link_t *link,
                                           const struct sockaddr *address,
                                           socklen_t len);
/** DTLS is complete, with us in the server's role or in the client's: begin
 * Tor's own handshake. */
void or_utcp_tor_begin_handshake(struct or_connection_t *conn,
                                 bool is_server);
/** These octets have come on the control circuit. */
void or_utcp_tor_control_received(struct or_connection_t *conn,
                                  const void *data, size_t len);
/** UDP did not work, or not in time: make the same connection by TCP.  Its
 * link is gone. */
void or_utcp_tor_connect_by_tcp(struct or_connection_t *conn);
/** Close the connection; <b>reason</b> is one of UTCP_CLOSE_*. */
void or_utcp_tor_close(struct or_connection_t *conn, int reason);
/** This much UDP payload has been moved: token buckets, accounting. */
void or_utcp_tor_moved(struct or_connection_t *conn, size_t received,
                       size_t sent);

/* What happens to a circuit of a connection. */

/** This cell has come, in wire format; its number and its command are right
 * for the stream. */
void or_utcp_tor_cell_received(struct or_connection_t *conn,
                               const void *cell);
/** The circuit is gone without a DESTROY: if Tor knows it, act as if one had
 * come. */
void or_utcp_tor_circuit_lost(struct or_connection_t *conn, uint32_t number);
/** The stream is not full any more: cells of this circuit may be written. */
void or_utcp_tor_circuit_has_room(struct or_connection_t *conn,
                                  uint32_t number);

#endif /* !defined(TOR_OR_UTCP_GLUE_H) */
