/* DRAFT CONTRACT, to be replaced by cbindgen's output of src/ffi. */
#ifndef UTCP_H
#define UTCP_H
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#ifdef __cplusplus
extern "C" {
#endif

struct ssl_st; /* OpenSSL's SSL */

#define UTCP_VERSION_MAJOR 0
#define UTCP_VERSION_MINOR 1
#define UTCP_VERSION_PATCH 0
uint32_t utcp_version(void);            /* (major<<16)|(minor<<8)|patch of the library in use */
const char *utcp_error_string(int error);  /* static text for error numbers AND close reasons; never NULL */

/* ---- errors: every int-returning function gives 0 or one of these ---- */
#define UTCP_OK                 0
#define UTCP_ERR_NULL         (-10)  /* a required pointer is NULL, or NULL with a length */
#define UTCP_ERR_ARGUMENT     (-11)  /* a length, address or value is not acceptable */
#define UTCP_ERR_RANGE        (-12)  /* an enumeration value is unknown */
#define UTCP_ERR_SIZE         (-13)  /* a struct's size member is smaller than the oldest known, or not set */
#define UTCP_ERR_HANDLE       (-14)  /* the handle was freed, or is of another kind */
#define UTCP_ERR_STATE        (-20)  /* not possible in this state (e.g. open circuit before ready) */
#define UTCP_ERR_CLOSED       (-21)  /* connection/circuit/endpoint is gone; only free makes sense */
#define UTCP_ERR_BUSY         (-22)  /* called from inside a callback where it is not allowed */
#define UTCP_ERR_WOULD_BLOCK  (-23)  /* nothing to read / no room to write now; an event will tell */
#define UTCP_ERR_END          (-24)  /* the peer has finished sending and all was read */
#define UTCP_ERR_IN_USE       (-30)  /* number is taken by an open circuit; or a connection to this address exists */
#define UTCP_ERR_LIMIT        (-31)  /* a configured limit is reached */
#define UTCP_ERR_REFUSING     (-32)  /* endpoint refuses new peers */
#define UTCP_ERR_MEMORY       (-33)
#define UTCP_ERR_CERTIFICATE  (-40)  /* certificate or key could not be used */
#define UTCP_ERR_TLS          (-41)  /* OpenSSL failed; see the log */
#define UTCP_ERR_INTERNAL     (-90)  /* a bug: a panic was caught; the endpoint refuses further work */

/* ---- close reasons (positive; for connection_closed, circuit_closed) ---- */
#define UTCP_CLOSE_DONE            1  /* orderly: both directions finished */
#define UTCP_CLOSE_LOCAL           2  /* this side closed the connection */
#define UTCP_CLOSE_PEER            3  /* the peer closed the connection (DTLS close) */
#define UTCP_CLOSE_RESET           4  /* the peer reset the circuit */
#define UTCP_CLOSE_TIMEOUT         5  /* the peer does not answer any more */
#define UTCP_CLOSE_HANDSHAKE       6  /* the DTLS handshake failed or did not complete in time */
#define UTCP_CLOSE_VERIFY          7  /* the peer's certificate was not accepted (callback or pin) */
#define UTCP_CLOSE_RESTARTED       8  /* the peer has restarted: a new session replaced this one, or it lost ours */
#define UTCP_CLOSE_CONNECTION      9  /* (circuits) the connection ended */
#define UTCP_CLOSE_REFUSED        10  /* the peer or the accept callback refused */
#define UTCP_CLOSE_MEMORY         11  /* shed: out of memory */
#define UTCP_CLOSE_INTERNAL       12

typedef struct utcp_config utcp_config;
typedef struct utcp_endpoint utcp_endpoint;
typedef struct utcp_connection utcp_connection;
typedef struct utcp_circuit utcp_circuit;

/* ---- configuration ---- */
#define UTCP_OPTION_CLIENT_CERTIFICATE  1 /* 0 none, 1 requested, 2 required (default 0); >=1: the connecting side presents its own too */
#define UTCP_OPTION_SECURITY_LEVEL      2 /* OpenSSL security level 0..5, default 2 */
#define UTCP_OPTION_MAX_CONNECTIONS     3 /* default 65536 */
#define UTCP_OPTION_MAX_HALF_OPEN       4 /* handshakes in progress as server, default 1024 */
#define UTCP_OPTION_MAX_CIRCUITS        5 /* per connection, default 65536 */
#define UTCP_OPTION_SEND_BUFFER         6 /* bytes per circuit, default 262144 */
#define UTCP_OPTION_RECEIVE_BUFFER      7 /* largest receive window per circuit, bytes, default 4194304 */
#define UTCP_OPTION_CONGESTION          8 /* UTCP_CONGESTION_*, default CUBIC */
#define UTCP_OPTION_DATAGRAM_SIZE       9 /* largest UDP payload sent, bytes, 576..65507, default 1432 */
#define UTCP_OPTION_HANDSHAKE_TIMEOUT  10 /* microseconds, default 20000000 */
#define UTCP_OPTION_DEAD_TIMEOUT       11 /* microseconds without an answer to sent data until the circuit / (control:) connection is given up, default 180000000 */
#define UTCP_OPTION_MEMORY_BUDGET      12 /* bytes of queued data the endpoint may hold, default 1 GiB */

#define UTCP_CONGESTION_NEWRENO 1
#define UTCP_CONGESTION_CUBIC   2

utcp_config *utcp_config_new(void);
int utcp_config_free(utcp_config *config);   /* the endpoint copies: free any time after endpoint_new */
int utcp_config_set(utcp_config *config, int option, uint64_t value);
/* chain: certificates leaf first, concatenated DER, or PEM; key: DER (PKCS#1/SEC1/PKCS#8) or PEM. Copied. */
int utcp_config_set_certificate(utcp_config *config, const uint8_t *chain, size_t chain_len,
                                const uint8_t *key, size_t key_len);
int utcp_config_set_seed(utcp_config *config, const uint8_t *seed, size_t len /* 32 */); /* default: from OpenSSL */

/* ---- datagrams ---- */
typedef struct utcp_datagram {
  const struct sockaddr *address;  /* the peer's */
  socklen_t address_len;
  const uint8_t *data;
  size_t len;
  uint8_t ecn;                     /* ECN field of the IP header, 0..3 */
} utcp_datagram;

/* ---- callbacks. `user` is the endpoint's. Any may be NULL. All are called only from inside
 * utcp_endpoint_inject, _inject_batch and _process, when the library's state is consistent. Inside, every call
 * is allowed except inject, inject_batch, process and endpoint_free (UTCP_ERR_BUSY). ---- */
typedef struct utcp_callbacks {
  size_t size;                     /* sizeof(utcp_callbacks) */
  /* Takes datagrams in order; returns how many it took. The rest is offered again by the next
   * inject/process: call process when the socket is writable again. Memory valid during the call only. */
  size_t (*tx)(void *user, const utcp_datagram *batch, size_t count);
  /* A peer with a proven address wants to connect; non-zero refuses. NULL: accept. */
  int (*connection_incoming)(void *user, utcp_connection *connection, const struct sockaddr *address, socklen_t address_len);
  /* Handshake complete; is this peer acceptable? 0 accepts. ssl may be used for certificate and keying material.
   * NULL: only pinned outgoing connections are accepted. Not called for pinned outgoing connections. */
  int (*connection_verify)(void *user, utcp_connection *connection, struct ssl_st *ssl);
  void (*connection_ready)(void *user, utcp_connection *connection);   /* control circuit is usable */
  void (*connection_closed)(void *user, utcp_connection *connection, int reason);
  /* The peer opened a circuit. 0 takes it (handle is now the relay's to free), non-zero refuses (library frees). NULL: refuse. */
  int (*circuit_incoming)(void *user, utcp_connection *connection, utcp_circuit *circuit, uint32_t number);
  void (*circuit_readable)(void *user, utcp_circuit *circuit);  /* edge: new data or end of stream since the last read returned WOULD_BLOCK */
  void (*circuit_writable)(void *user, utcp_circuit *circuit);  /* edge: room again after a write was cut short (hysteresis: half the buffer) */
  void (*circuit_closed)(void *user, utcp_circuit *circuit, int reason);
} utcp_callbacks;

/* ---- endpoint ---- */
int utcp_endpoint_new(const utcp_config *config, const utcp_callbacks *callbacks, void *user, utcp_endpoint **endpoint);
int utcp_endpoint_free(utcp_endpoint *endpoint);  /* handles of connections and circuits stay valid ("closed") until freed */
int utcp_endpoint_inject(utcp_endpoint *endpoint, uint64_t now, const struct sockaddr *from, socklen_t from_len,
                         const uint8_t *data, size_t len);
int utcp_endpoint_inject_batch(utcp_endpoint *endpoint, uint64_t now, const utcp_datagram *batch, size_t count);
int utcp_endpoint_process(utcp_endpoint *endpoint, uint64_t now);   /* timers due, pending events, pending output */
uint64_t utcp_endpoint_next_deadline(const utcp_endpoint *endpoint); /* absolute; 0: now; UINT64_MAX: none */
/* pin: SHA-256 of the peer's leaf certificate (DER), 32 bytes, or NULL */
int utcp_endpoint_connect(utcp_endpoint *endpoint, uint64_t now, const struct sockaddr *peer, socklen_t peer_len,
                          const uint8_t *pin, utcp_connection **connection);
int utcp_endpoint_find(utcp_endpoint *endpoint, const struct sockaddr *peer, socklen_t peer_len, utcp_connection **connection); /* ERR_CLOSED if none */
int utcp_endpoint_set_certificate(utcp_endpoint *endpoint, const uint8_t *chain, size_t chain_len, const uint8_t *key, size_t key_len);
int utcp_endpoint_set_accepting(utcp_endpoint *endpoint, int accepting); /* 0: refuse new peers, keep old; outgoing still allowed */
uint64_t utcp_endpoint_memory(const utcp_endpoint *endpoint);  /* bytes held in queues */
int utcp_endpoint_shed(utcp_endpoint *endpoint, uint64_t bytes, uint64_t *shed); /* free at least bytes: out-of-order data first, then the circuits holding most are reset (UTCP_CLOSE_MEMORY) */
/* pcap: append the octets of each call to a file. fn NULL stops. Called from inject/process. */
typedef void (*utcp_capture_fn)(void *user, const uint8_t *data, size_t len);
int utcp_endpoint_set_capture(utcp_endpoint *endpoint, utcp_capture_fn fn, void *user);

/* ---- connection ---- */
#define UTCP_ROLE_CLIENT 1
#define UTCP_ROLE_SERVER 2
int utcp_connection_role(const utcp_connection *connection); /* DTLS role (may differ from who called connect: simultaneous open), or negative error */
int utcp_connection_close(utcp_connection *connection);
int utcp_connection_free(utcp_connection *connection);       /* closes first if open; control circuit's handle dies with it */
int utcp_connection_hold(utcp_connection *connection, int hold); /* while held: no circuit_incoming, circuit_readable, circuit_closed for circuits other than control */
struct ssl_st *utcp_connection_ssl(const utcp_connection *connection);     /* borrowed, NULL when closed or handshake not yet under way */
int utcp_connection_address(const utcp_connection *connection, struct sockaddr *address, socklen_t *len); /* in: room, out: length */
utcp_circuit *utcp_connection_control(utcp_connection *connection);        /* borrowed; NULL before ready */
int utcp_connection_open_circuit(utcp_connection *connection, uint32_t number, utcp_circuit **circuit);
void utcp_connection_set_user(utcp_connection *connection, void *user);
void *utcp_connection_user(const utcp_connection *connection);

/* ---- circuit ---- */
int utcp_circuit_read(utcp_circuit *circuit, uint8_t *buffer, size_t room, size_t *len);
int utcp_circuit_write(utcp_circuit *circuit, const uint8_t *data, size_t len, size_t *written);
size_t utcp_circuit_readable(const utcp_circuit *circuit);   /* bytes readable now */
size_t utcp_circuit_room(const utcp_circuit *circuit);       /* bytes writable now; asking and finding less than wanted arms nothing, a short write does */
int utcp_circuit_finish(utcp_circuit *circuit);              /* half-close: FIN after what was written */
int utcp_circuit_close(utcp_circuit *circuit);               /* finish, and discard what still arrives; circuit_closed follows */
int utcp_circuit_abort(utcp_circuit *circuit);               /* reset at once, no event */
int utcp_circuit_free(utcp_circuit *circuit);                /* abort if open (after close(): let it finish by itself), free handle */
#define UTCP_EVENT_READABLE 1
#define UTCP_EVENT_WRITABLE 2
int utcp_circuit_set_events(utcp_circuit *circuit, unsigned mask);  /* default both; unmasking delivers what is pending at the next process */
uint32_t utcp_circuit_number(const utcp_circuit *circuit);
utcp_connection *utcp_circuit_connection(const utcp_circuit *circuit); /* NULL once the connection's handle was freed */
int utcp_circuit_set_congestion(utcp_circuit *circuit, int algorithm);
int utcp_circuit_set_rate(utcp_circuit *circuit, uint64_t bytes_per_second);  /* cap, 0 none */
int utcp_circuit_set_send_buffer(utcp_circuit *circuit, size_t bytes);
int utcp_circuit_set_receive_buffer(utcp_circuit *circuit, size_t bytes);
int utcp_circuit_set_priority(utcp_circuit *circuit, unsigned weight);        /* 1..255, default 16: share in the round robin */
void utcp_circuit_set_user(utcp_circuit *circuit, void *user);
void *utcp_circuit_user(const utcp_circuit *circuit);

/* ---- statistics: set size to sizeof(struct) before the call ---- */
#define UTCP_TCP_SYN_SENT 1 /* ... RFC 9293 states */
typedef struct utcp_circuit_info {
  size_t size;
  uint32_t number, wire_id;
  uint32_t state;            /* 1 SYN-SENT 2 SYN-RECEIVED 3 ESTABLISHED 4 FIN-WAIT-1 5 FIN-WAIT-2 6 CLOSE-WAIT 7 CLOSING 8 LAST-ACK 9 TIME-WAIT 10 CLOSED */
  uint32_t congestion;       /* UTCP_CONGESTION_* */
  uint32_t mss;
  uint32_t reserved;
  uint64_t cwnd, ssthresh, bytes_in_flight, send_window, receive_window; /* bytes */
  uint64_t srtt, rttvar, min_rtt, rto;             /* microseconds; srtt 0: no sample yet */
  uint64_t send_queue, unsent, receive_queue, out_of_order; /* bytes */
  uint64_t bytes_sent, bytes_acked, bytes_received, bytes_retransmitted; /* payload */
  uint64_t segments_sent, segments_received, segments_retransmitted, timeouts, fast_recoveries, duplicate_segments, rejected_segments;
  uint64_t delivery_rate;    /* bytes per second, latest estimate */
} utcp_circuit_info;
int utcp_circuit_get_info(const utcp_circuit *circuit, utcp_circuit_info *info);

typedef struct utcp_connection_stats {
  size_t size;
  uint32_t role, state;      /* state: 1 handshaking 2 ready 3 closed */
  uint32_t circuits;         /* open now, control included */
  uint32_t datagram_size;    /* largest UDP payload */
  uint64_t srtt, min_rtt;
  uint64_t datagrams_sent, datagrams_received, bytes_sent, bytes_received;  /* UDP payload */
  uint64_t payload_sent, payload_received;                                   /* circuits' bytes, first transmissions / delivered in order */
  uint64_t segments_sent, segments_received, segments_retransmitted;
  uint64_t circuits_opened, circuits_accepted, circuits_reset;
  uint64_t dropped_record, dropped_plaintext_alert, dropped_version, dropped_malformed, dropped_unknown_circuit, dropped_out_of_window, dropped_limit, dropped_memory, dropped_peer_handshake;
} utcp_connection_stats;
int utcp_connection_get_stats(const utcp_connection *connection, utcp_connection_stats *stats);

typedef struct utcp_endpoint_stats {
  size_t size;
  uint64_t connections, half_open, circuits, memory;
  uint64_t datagrams_sent, datagrams_received, bytes_sent, bytes_received, output_queue;
  uint64_t handshakes_started, handshakes_completed, handshakes_failed, cookies_sent;
  uint64_t dropped_not_dtls, dropped_unknown_peer, dropped_bad_cookie, dropped_refusing, dropped_limit, dropped_output_full, dropped_address;
} utcp_endpoint_stats;
int utcp_endpoint_get_stats(const utcp_endpoint *endpoint, utcp_endpoint_stats *stats);

/* ---- log (process-wide, replaceable; fn NULL: off). Levels 1 error 2 warn 3 info 4 debug 5 trace.
 * fn may be called from inside any call, and must not call the library. ---- */
typedef void (*utcp_log_fn)(void *user, int level, const char *target, const char *message);
int utcp_log_set(utcp_log_fn fn, void *user, int max_level);
int utcp_log_env(void);   /* env_logger, configured by RUST_LOG, to stderr; UTCP_ERR_IN_USE if a hook is set */

#ifdef __cplusplus
}
#endif
#endif
