/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp.h
 * @brief What the rest of Tor calls to carry OR connections over libutcp.
 *
 * A link over libutcp is an ordinary or_connection_t and channel_tls_t without
 * a socket: its cells travel in one DTLS session with the peer, every circuit
 * in a TCP connection of its own, the rest in the session's control circuit.
 * Built with --enable-utcp; without it, every function here is an empty
 * inline function.  All of this may be called from the main thread only.
 *
 * The files or_utcp_{endpoint,link,stream,fallback,stats}.c are the same for
 * all versions of Tor; what they need of this one is in or_utcp_tor.c.
 **/

#ifndef TOR_FEATURE_UTCP_OR_UTCP_H
#define TOR_FEATURE_UTCP_OR_UTCP_H

#include "core/or/or.h"

struct control_connection_t;

#ifdef USE_UTCP
#include "feature/utcp/or_utcp_glue.h"

/* Set-up: or_utcp_options.c */
void or_utcp_tls_context_changed(void);
void or_utcp_options_changed(void);
const char *or_utcp_options_problem(const or_options_t *options);
uint16_t or_utcp_published_port(void);
void or_utcp_free_all(void);

/* Connections and circuits: or_utcp_tor.c */
bool or_utcp_is_link(const connection_t *conn);
bool or_utcp_try_connect(or_connection_t *conn);
bool or_utcp_start_reading(connection_t *conn);
bool or_utcp_stop_reading(connection_t *conn);
bool or_utcp_start_writing(connection_t *conn);
bool or_utcp_outbuf_added(connection_t *conn);
void or_utcp_conn_freed(or_connection_t *conn);
int or_utcp_compare_channels(const channel_t *a, const channel_t *b);
bool or_utcp_would_replace(const channel_t *chan);
bool or_utcp_write_packed_cell(or_connection_t *conn, const char *body);
int or_utcp_cells_ready(const channel_t *chan, const circuit_t *circ, int n);
void or_utcp_circuit_blocked(circuit_t *circ, const channel_t *chan,
                             int block);
void or_utcp_circuit_detached(circuit_t *circ, int direction);
int or_utcp_num_cells_writeable(const or_connection_t *conn, int n);
void or_utcp_destroy_queued(channel_t *chan);

/* For the operator: or_utcp_control.c */
const char *or_utcp_transport_keyword(const or_connection_t *conn);
void or_utcp_log_heartbeat(void);
int getinfo_helper_utcp(struct control_connection_t *control_conn,
                        const char *question, char **answer,
                        const char **errmsg);

#else /* !defined(USE_UTCP) */

static inline void or_utcp_tls_context_changed(void) {}
static inline void or_utcp_options_changed(void) {}
static inline const char *
or_utcp_options_problem(const or_options_t *options)
{ (void)options; return NULL; }
static inline uint16_t or_utcp_published_port(void) { return 0; }
static inline void or_utcp_free_all(void) {}
static inline size_t or_utcp_memory(void) { return 0; }
static inline size_t or_utcp_shed(size_t bytes) { (void)bytes; return 0; }

static inline bool
or_utcp_is_link(const connection_t *conn) { (void)conn; return false; }
static inline bool
or_utcp_try_connect(or_connection_t *conn) { (void)conn; return false; }
static inline bool
or_utcp_start_reading(connection_t *conn) { (void)conn; return false; }
static inline bool
or_utcp_stop_reading(connection_t *conn) { (void)conn; return false; }
static inline bool
or_utcp_start_writing(connection_t *conn) { (void)conn; return false; }
static inline bool
or_utcp_outbuf_added(connection_t *conn) { (void)conn; return false; }
static inline void
or_utcp_conn_freed(or_connection_t *conn) { (void)conn; }
static inline int
or_utcp_compare_channels(const channel_t *a, const channel_t *b)
{ (void)a; (void)b; return 0; }
static inline bool
or_utcp_would_replace(const channel_t *chan) { (void)chan; return false; }

static inline bool
or_utcp_write_packed_cell(or_connection_t *conn, const char *body)
{ (void)conn; (void)body; return false; }
static inline int
or_utcp_cells_ready(const channel_t *chan, const circuit_t *circ, int n)
{ (void)chan; (void)circ; return n; }
static inline void
or_utcp_circuit_blocked(circuit_t *circ, const channel_t *chan, int block)
{ (void)circ; (void)chan; (void)block; }
static inline void
or_utcp_circuit_detached(circuit_t *circ, int direction)
{ (void)circ; (void)direction; }
static inline int
or_utcp_num_cells_writeable(const or_connection_t *conn, int n)
{ (void)conn; return n; }
static inline void or_utcp_destroy_queued(channel_t *chan) { (void)chan; }

static inline const char *
or_utcp_transport_keyword(const or_connection_t *conn)
{ (void)conn; return ""; }
static inline void or_utcp_log_heartbeat(void) {}

#endif /* defined(USE_UTCP) */

#endif /* !defined(TOR_FEATURE_UTCP_OR_UTCP_H) */
