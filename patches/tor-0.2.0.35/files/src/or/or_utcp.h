/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * \file or_utcp.h
 * \brief What the rest of Tor calls to carry OR connections over libutcp.
 *
 * A link over libutcp is an ordinary or_connection_t without a socket: its
 * cells travel in one DTLS session with the peer, every circuit in a TCP
 * connection of its own, the rest in the session's control circuit.  Built
 * with --enable-utcp; without it, every function here is an empty inline
 * function.  All of this may be called from the main thread only.
 *
 * or.h includes this file at its end.
 **/

#ifndef _TOR_OR_UTCP_H
#define _TOR_OR_UTCP_H

#ifdef USE_UTCP

/* Set-up: or_utcp_options.c */
void or_utcp_tls_context_changed(void);
void or_utcp_options_changed(void);
const char *or_utcp_options_problem(const or_options_t *options);
uint16_t or_utcp_published_port(void);
void or_utcp_free_all(void);

/* Connections and their circuits: or_utcp_tor.c */
int or_utcp_is_link(const connection_t *conn);
int or_utcp_try_connect(or_connection_t *conn);
int or_utcp_would_replace(const or_connection_t *conn);
int or_utcp_compare(const or_connection_t *a, const or_connection_t *b);
int or_utcp_start_reading(connection_t *conn);
int or_utcp_stop_reading(connection_t *conn);
int or_utcp_start_writing(connection_t *conn);
int or_utcp_stop_writing(connection_t *conn);
int or_utcp_write_to_buf(connection_t *conn, const char *data, size_t len);
void or_utcp_conn_freed(or_connection_t *conn);

int or_utcp_write_cell(or_connection_t *conn, const char *body);
int or_utcp_flush_circuit(circuit_t *circ, or_connection_t *conn);
int or_utcp_circuit_is_full(const circuit_t *circ,
                            const or_connection_t *conn);
void or_utcp_circuit_blocked(circuit_t *circ, const or_connection_t *conn,
                             int block);
void or_utcp_circuit_detached(circuit_t *circ, int direction);

/* For the operator: or_utcp_control.c */
int getinfo_helper_utcp(control_connection_t *control_conn,
                        const char *question, char **answer);
void or_utcp_log_hourly(time_t now);
void or_utcp_dump_usage(int severity);

/* In connection.c and connection_or.c, for or_utcp_tor.c. */
void connection_note_bytes_without_socket(connection_t *conn, size_t n_read,
                                          size_t n_written);
int connection_or_finish_utcp_handshake(or_connection_t *conn);

#else /* !defined(USE_UTCP) */

static INLINE void or_utcp_tls_context_changed(void) {}
static INLINE void or_utcp_options_changed(void) {}
static INLINE const char *
or_utcp_options_problem(const or_options_t *options)
{ (void)options; return NULL; }
static INLINE uint16_t or_utcp_published_port(void) { return 0; }
static INLINE void or_utcp_free_all(void) {}

static INLINE int
or_utcp_is_link(const connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_try_connect(or_connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_would_replace(const or_connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_compare(const or_connection_t *a, const or_connection_t *b)
{ (void)a; (void)b; return 0; }
static INLINE int
or_utcp_start_reading(connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_stop_reading(connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_start_writing(connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_stop_writing(connection_t *conn) { (void)conn; return 0; }
static INLINE int
or_utcp_write_to_buf(connection_t *conn, const char *data, size_t len)
{ (void)conn; (void)data; (void)len; return 0; }
static INLINE void
or_utcp_conn_freed(or_connection_t *conn) { (void)conn; }

static INLINE int
or_utcp_write_cell(or_connection_t *conn, const char *body)
{ (void)conn; (void)body; return 0; }
static INLINE int
or_utcp_flush_circuit(circuit_t *circ, or_connection_t *conn)
{ (void)circ; (void)conn; return 0; }
static INLINE int
or_utcp_circuit_is_full(const circuit_t *circ, const or_connection_t *conn)
{ (void)circ; (void)conn; return 0; }
static INLINE void
or_utcp_circuit_blocked(circuit_t *circ, const or_connection_t *conn,
                        int block)
{ (void)circ; (void)conn; (void)block; }
static INLINE void
or_utcp_circuit_detached(circuit_t *circ, int direction)
{ (void)circ; (void)direction; }

static INLINE void or_utcp_log_hourly(time_t now) { (void)now; }
static INLINE void or_utcp_dump_usage(int severity) { (void)severity; }

#endif /* defined(USE_UTCP) */

#endif /* !defined(_TOR_OR_UTCP_H) */
