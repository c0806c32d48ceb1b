/*
 * utcp: TCP over DTLS for relays. One TCP connection for each circuit, one UDP socket for all peers.
 *
 * Generated from src/ffi by `make header`; changes belong there.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * THE MODEL
 *
 * The library does no I/O of its own, starts no thread and reads no clock. The program owns one UDP socket and an event
 * loop:
 *
 *   - a datagram has arrived      -> utcp_endpoint_inject() or utcp_endpoint_inject_batch()
 *   - the deadline has come       -> utcp_endpoint_process()
 *   - the socket is writable
 *     after it was full           -> utcp_endpoint_process()
 *   - after any of these, and after other calls from outside of callbacks
 *                                 -> utcp_endpoint_next_deadline(), and set the timer to it
 *
 * From inside inject (and utcp_socket_receive(), which injects) and process, and from nowhere else, the library calls the
 * functions of utcp_callbacks: tx with datagrams to send, and the others with what has happened. All other functions only
 * queue their effects.
 *
 * The system calls on the socket are the program's, or those of utcp_socket_receive() and utcp_socket_send(), which read
 * and write in batches with what the system offers for that. The event loop is the program's in either case.
 *
 * An endpoint (utcp_endpoint) is one UDP socket and all peers behind it. A connection (utcp_connection) is one peer:
 * a DTLS session. A circuit (utcp_circuit) is a stream of bytes in both directions, with a TCP connection of its own,
 * so that a lost datagram delays no other circuit. The program names circuits by numbers of its own, unique on their
 * connection; number 0 is the control circuit, which every ready connection has. Circuits are not ordered against
 * each other.
 *
 * TIMES
 *
 * All times and spans are microseconds. Points in time are on a monotonic clock of the caller's choice, which is the
 * same in all calls of an endpoint. A deadline is absolute; 0 means at once, UINT64_MAX none. Early, late and
 * repeated calls of utcp_endpoint_process() are harmless. A time before the latest that was handed in counts as the
 * latest.
 *
 * THREADS
 *
 * An endpoint, its connections and its circuits are used by one thread at a time. Different endpoints are
 * independent. A configuration and a utcp_socket are used by one thread at a time. The functions of the log may be
 * called by any thread.
 *
 * INSIDE CALLBACKS
 *
 * Every function may be called from inside a callback, on any handle, with five exceptions: utcp_endpoint_inject(),
 * utcp_endpoint_inject_batch(), utcp_socket_receive(), utcp_endpoint_process() and utcp_endpoint_free() give
 * UTCP_ERR_BUSY, and so does utcp_socket_free() for the socket that is being received from. A handle may be freed inside
 * its own callback. A callback must return: neither longjmp() nor a C++ exception may leave it. The hook of the log is no
 * such callback: it must not call the library at all.
 *
 * EVENTS ARE EDGES
 *
 * circuit_readable comes when something new has arrived, and not again for what was left unread. circuit_writable comes
 * once after a write that was cut short. So: read until UTCP_ERR_WOULD_BLOCK or UTCP_ERR_END, and write until a write
 * takes less than all. What is not wanted for the moment is masked with utcp_circuit_set_events(): a masked event is
 * not lost, it comes when it is unmasked. A program that stops reading before the end without masking must come back
 * of its own accord.
 *
 * One call delivers a bounded number of events. When something is left over, the next deadline is 0.
 *
 * HANDLES AND MEMORY
 *
 * Who gets a handle frees it: from utcp_config_new(), utcp_endpoint_new(), utcp_socket_new(), utcp_endpoint_connect()
 * and utcp_connection_open_circuit(), and from connection_incoming, circuit_incoming and (where connection_incoming is
 * NULL) whichever callback shows a connection first. Exceptions: what a callback refuses, the library frees;
 * utcp_endpoint_find(), utcp_circuit_connection() and utcp_connection_control() lend a handle.
 *
 * Nothing is freed behind the caller's back: a handle stays valid after its connection or circuit has ended, and
 * after utcp_endpoint_free(), until it is freed. Until then calls give UTCP_ERR_CLOSED. Using a connection or circuit
 * after free gives UTCP_ERR_HANDLE as long as the library has not given the same place to another handle; that is for
 * finding mistakes, not to be relied on. Freeing NULL does nothing. Some memory of an endpoint is kept until the
 * endpoint and all its handles are freed.
 *
 * What is passed in is copied, never kept. What a callback is passed is valid until it returns.
 *
 * ERRORS
 *
 * Functions that return int give UTCP_OK (0) or a UTCP_ERR_* number (negative); utcp_connection_role() gives a role
 * or an error. Outputs are written only on success. NULL with length 0 is an empty buffer; NULL with a length is
 * UTCP_ERR_NULL. Functions that return a pointer give NULL, and those that return a count 0, when there is none or
 * the handle is not live.
 *
 *   mistakes of the caller          UTCP_ERR_NULL, _ARGUMENT, _RANGE, _SIZE, _HANDLE, _BUSY: mend the program
 *   it has ended                    UTCP_ERR_CLOSED: free the handle
 *   not now                         UTCP_ERR_WOULD_BLOCK: a callback tells when; UTCP_ERR_STATE; UTCP_ERR_END: all
 *                                   was read
 *   not possible                    UTCP_ERR_IN_USE, _LIMIT, _MEMORY, _CERTIFICATE, _TLS, _SOCKET: see there
 *   a bug of the library            UTCP_ERR_INTERNAL: the endpoint refuses all further work. Free it and its handles
 *                                   (freeing still works), and go on with a new one or without.
 *
 * Errors of peers never come back from a call: they end a circuit or a connection, with a reason UTCP_CLOSE_*, or are
 * counted in the statistics. utcp_error_string() has a text for both kinds of numbers.
 *
 * STRUCTS THAT GROW
 *
 * utcp_callbacks, utcp_circuit_info, utcp_connection_stats, utcp_endpoint_stats and utcp_socket_stats start with their
 * size, which the caller sets to sizeof. Later versions add members at the end. A library that is newer than the caller
 * leaves alone what the caller has no room for; one that is older sets what it does not know to 0 (statistics), or
 * refuses it with UTCP_ERR_SIZE unless it is 0 (callbacks). UTCP_*_SIZE_V1 are the sizes of the first version, the
 * smallest accepted.
 */


#ifndef UTCP_H
#define UTCP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>


struct ssl_st; /* OpenSSL's SSL */

/* Sizes of the first version of the structs that grow. */
#define UTCP_CALLBACKS_SIZE_V1 (offsetof(utcp_callbacks, circuit_closed) + sizeof(void (*)(void)))
#define UTCP_CIRCUIT_INFO_SIZE_V1 (offsetof(utcp_circuit_info, delivery_rate) + sizeof(uint64_t))
#define UTCP_CONNECTION_STATS_SIZE_V1 (offsetof(utcp_connection_stats, dropped_peer_handshake) + sizeof(uint64_t))
#define UTCP_ENDPOINT_STATS_SIZE_V1 (offsetof(utcp_endpoint_stats, dropped_address) + sizeof(uint64_t))
#define UTCP_SOCKET_STATS_SIZE_V1 (offsetof(utcp_socket_stats, receive_errors) + sizeof(uint64_t))


/**
 * Major version that this header belongs to: changes when old callers would break.
 */
#define UTCP_VERSION_MAJOR 0

/**
 * Minor version that this header belongs to: something was added.
 */
#define UTCP_VERSION_MINOR 1

/**
 * Patch version that this header belongs to.
 */
#define UTCP_VERSION_PATCH 0

/**
 * The call did what was asked.
 */
#define UTCP_OK 0

/**
 * A required pointer is NULL, or a pointer is NULL while its length is not 0. A mistake in the caller's code.
 */
#define UTCP_ERR_NULL -10

/**
 * A length, address or value is not acceptable. A mistake in the caller's code or in what its user configured.
 */
#define UTCP_ERR_ARGUMENT -11

/**
 * An enumeration value is unknown: to this version of the library, at least.
 */
#define UTCP_ERR_RANGE -12

/**
 * The `size` member of a struct is not set, is smaller than the oldest version of the struct, or is so large that
 * it cannot have been set; or a member that this version of the library does not know is not zero.
 */
#define UTCP_ERR_SIZE -13

/**
 * The handle was freed already, or is of another kind. A mistake in the caller's code.
 */
#define UTCP_ERR_HANDLE -14

/**
 * Not possible in the present state, such as opening a circuit before its connection is ready.
 */
#define UTCP_ERR_STATE -20

/**
 * The endpoint, connection or circuit has ended. Free the handle; nothing else makes sense.
 */
#define UTCP_ERR_CLOSED -21

/**
 * Not allowed from inside a callback: call it when the callback has returned.
 */
#define UTCP_ERR_BUSY -22

/**
 * Nothing to read, or no room to write, at the moment. Wait for circuit_readable or circuit_writable.
 */
#define UTCP_ERR_WOULD_BLOCK -23

/**
 * The peer has finished sending, and everything was read. This side may still write.
 */
#define UTCP_ERR_END -24

/**
 * The circuit number is taken by an open circuit, or there is a connection to this address already: find it with
 * utcp_endpoint_find(). For the log: somebody else's hook or logger is in place.
 */
#define UTCP_ERR_IN_USE -30

/**
 * A configured limit is reached. Try again when something has ended, or use another transport.
 */
#define UTCP_ERR_LIMIT -31

/**
 * Out of memory, or over the memory budget. Read what can be read, or see utcp_endpoint_shed().
 */
#define UTCP_ERR_MEMORY -33

/**
 * The certificate or the key could not be used: not parsed, not matching, or too weak for the security level.
 */
#define UTCP_ERR_CERTIFICATE -40

/**
 * OpenSSL failed. The log has its words.
 */
#define UTCP_ERR_TLS -41

/**
 * The operating system refuses the socket: it is none, closed, or not one of UDP over IPv4 or IPv6. The log says more.
 */
#define UTCP_ERR_SOCKET -50

/**
 * A bug in the library was caught. The endpoint refuses all further work: free it and everything of it.
 */
#define UTCP_ERR_INTERNAL -90

/**
 * Orderly: both directions finished.
 */
#define UTCP_CLOSE_DONE 1

/**
 * This side closed the connection or the circuit.
 */
#define UTCP_CLOSE_LOCAL 2

/**
 * The peer closed the connection.
 */
#define UTCP_CLOSE_PEER 3

/**
 * The peer reset the circuit.
 */
#define UTCP_CLOSE_RESET 4

/**
 * The peer does not answer any more.
 */
#define UTCP_CLOSE_TIMEOUT 5

/**
 * The DTLS handshake failed, or did not complete in time. Fall back to another transport.
 */
#define UTCP_CLOSE_HANDSHAKE 6

/**
 * The peer's certificate was not accepted, by connection_verify or by the pin.
 */
#define UTCP_CLOSE_VERIFY 7

/**
 * The peer has restarted: a new session replaced this one, or the peer has lost it. Connecting again may succeed.
 */
#define UTCP_CLOSE_RESTARTED 8

/**
 * Circuits only: the connection ended; connection_closed tells why.
 */
#define UTCP_CLOSE_CONNECTION 9

/**
 * The peer, or its accept callback, refused.
 */
#define UTCP_CLOSE_REFUSED 10

/**
 * Shed for lack of memory.
 */
#define UTCP_CLOSE_MEMORY 11

/**
 * A bug on this side.
 */
#define UTCP_CLOSE_INTERNAL 12

/**
 * Certificate of the side that connects: 0 none (default), 1 requested, 2 required. 1 and 2 also make this side
 * present its own when it connects.
 */
#define UTCP_OPTION_CLIENT_CERTIFICATE 1

/**
 * OpenSSL's security level, 0 to 5, default 2.
 */
#define UTCP_OPTION_SECURITY_LEVEL 2

/**
 * Connections at once, 1 to 1048576, default 65536.
 */
#define UTCP_OPTION_MAX_CONNECTIONS 3

/**
 * Handshakes at once in which this side is the server, 1 to 1048576, default 1024.
 */
#define UTCP_OPTION_MAX_HALF_OPEN 4

/**
 * Circuits at once on one connection, control included, 1 to 16777216, default 65536.
 */
#define UTCP_OPTION_MAX_CIRCUITS 5

/**
 * Bytes that a circuit holds for sending, unacknowledged and unsent, 4096 to 1073741824, default 16777216. Of unsent
 * ones it takes in no more than a congestion window, or 16384 if that is larger: what waits, waits with the relay.
 */
#define UTCP_OPTION_SEND_BUFFER 6

/**
 * Largest receive window of a circuit in bytes, 4096 to 1073741824, default 16777216.
 */
#define UTCP_OPTION_RECEIVE_BUFFER 7

/**
 * Congestion control of new circuits, UTCP_CONGESTION_*, default UTCP_CONGESTION_CUBIC.
 */
#define UTCP_OPTION_CONGESTION 8

/**
 * Largest UDP payload sent before the path was probed, or at all if it is not; bytes, 576 to 65507, default 1432.
 */
#define UTCP_OPTION_DATAGRAM_SIZE 9

/**
 * Time that a handshake may take, microseconds, 100000 to 3600000000, default 20000000.
 */
#define UTCP_OPTION_HANDSHAKE_TIMEOUT 10

/**
 * Time without any answer to sent data after which a circuit, or with the control circuit the connection, is given
 * up; microseconds, 1000000 to 86400000000, default 180000000.
 */
#define UTCP_OPTION_DEAD_TIMEOUT 11

/**
 * Bytes of queued data that the endpoint may hold, at least 65536, default 1073741824. It can be changed later:
 * utcp_endpoint_set_memory_budget().
 */
#define UTCP_OPTION_MEMORY_BUDGET 12

/**
 * Whether explicit congestion notification (RFC 3168) is offered to peers, and used with those that offer it too: 0 or
 * 1, default 0. Routers then mark datagrams instead of dropping them, and senders slow down without loss.
 *
 * With 1 the program has to do two things for every datagram. Sent: give the IP header the ECN field that
 * utcp_datagram.ecn says (IP_TOS or IPV6_TCLASS, as an option of the socket or with each sendmsg()). Received: say what
 * it was (IP_RECVTOS, IPV6_RECVTCLASS), with utcp_endpoint_inject_batch(). The second matters more: a program that
 * sets 1 and does not pass the marks on makes its peers' traffic ignore congestion, at the cost of all others on the
 * path. If only the first is missing, nothing is gained. utcp_socket_send() and utcp_socket_receive() do both, if
 * utcp_socket_abilities() has UTCP_SOCKET_ECN.
 */
#define UTCP_OPTION_ECN 13

/**
 * Whether new circuits share one congestion window with the others of their connection that do: 0 or 1, default 0. With 0
 * each has a window of its own. See utcp_circuit_set_coupled().
 */
#define UTCP_OPTION_COUPLED 14

/**
 * How many flows the circuits of a connection that share a window claim together, whatever their number: 1 to 64,
 * default 1. Beside other traffic they get about as much as so many TCP connections would. With UTCP_CONGESTION_BBR it
 * is always one.
 */
#define UTCP_OPTION_COUPLED_FLOWS 15

/**
 * How much of the memory budget one connection may hold, both directions together: percent of what all other
 * connections leave, 1 to 100, default 50. 32 KiB are allowed to each, as long as there are any.
 *
 * So a peer whose data is not read, or that acknowledges nothing, takes half of the budget at most, two of them a third
 * each, and however many there are, something is left for one more. Of what a connection may hold, data received takes
 * three quarters at most, and so does data to be sent. As the rest becomes little, its receive windows stop growing,
 * then data that came out of order is thrown away, then data that arrives is dropped, which slows its senders down;
 * writes give UTCP_ERR_WOULD_BLOCK, and circuit_writable comes when there is room.
 */
#define UTCP_OPTION_CONNECTION_SHARE 16

/**
 * Whether the largest datagram that the path to a peer carries is found by probing (RFC 8899): 0 or 1, default 1. The
 * socket should not let datagrams be fragmented (see utcp_callbacks.tx).
 */
#define UTCP_OPTION_PATH_MTU_DISCOVERY 20

/**
 * Largest UDP payload that is probed for if it is more than UTCP_OPTION_DATAGRAM_SIZE, bytes, 576 to 16421, default 0
 * for what Ethernet carries, 1472 to IPv4 peers and 1452 to IPv6 peers. For jumbo frames, set it on both sides: it
 * also says how large the segments may be that the peer sends.
 */
#define UTCP_OPTION_LARGEST_DATAGRAM 21

/**
 * NewReno, RFC 5681.
 */
#define UTCP_CONGESTION_NEWRENO 1

/**
 * CUBIC, RFC 9438.
 */
#define UTCP_CONGESTION_CUBIC 2

/**
 * BBR version 3, draft-ietf-ccwg-bbr: fills lossy links, where the others cannot, and keeps queues short. Tolerates 5 %
 * of loss before it slows down, which loss-based flows beside it at a shallow buffer pay for (docs/congestion.md).
 */
#define UTCP_CONGESTION_BBR 3

/**
 * No more than half of the memory budget was in use; or use was higher, and has fallen below three eighths.
 */
#define UTCP_MEMORY_NORMAL 0

/**
 * More than half of the memory budget was in use, and no less than three eighths since.
 */
#define UTCP_MEMORY_HIGH 1

/**
 * More than seven eighths of the memory budget were in use, and no less than three quarters since.
 */
#define UTCP_MEMORY_CRITICAL 2

/**
 * This side sent the ClientHello.
 */
#define UTCP_ROLE_CLIENT 1

/**
 * This side answered it.
 */
#define UTCP_ROLE_SERVER 2

/**
 * circuit_readable is called.
 */
#define UTCP_EVENT_READABLE 1

/**
 * circuit_writable is called.
 */
#define UTCP_EVENT_WRITABLE 2

/**
 * Several messages for each system call: sendmmsg() and recvmmsg() (Linux).
 */
#define UTCP_SOCKET_BATCH 1

/**
 * Several datagrams for one peer are handed to the kernel as one message, which it or the network card cuts into
 * datagrams (UDP_SEGMENT; Linux 4.18 and later).
 */
#define UTCP_SOCKET_SEGMENT 2

/**
 * Datagrams of one peer that arrive together are handed over by the kernel as one message (UDP_GRO; Linux 5.0 and
 * later).
 */
#define UTCP_SOCKET_COALESCE 4

/**
 * The ECN field of datagrams is set and read (Linux): UTCP_OPTION_ECN may be switched on.
 */
#define UTCP_SOCKET_ECN 8

/**
 * The socket is bound to all addresses of the machine, and each peer is answered from the one that it speaks to
 * (Linux).
 */
#define UTCP_SOCKET_LOCAL_ADDRESS 16

/**
 * Datagrams are dropped rather than fragmented, and what the kernel believes of a path's MTU is not looked at, as
 * UTCP_OPTION_PATH_MTU_DISCOVERY would have it (Linux; in part FreeBSD and macOS).
 */
#define UTCP_SOCKET_DONT_FRAGMENT 32

/**
 * TCP state (RFC 9293) SYN-SENT: the request to open was sent.
 */
#define UTCP_TCP_SYN_SENT 1

/**
 * TCP state (RFC 9293) SYN-RECEIVED: both sides have asked to open, or the answer to the peer's request was sent.
 */
#define UTCP_TCP_SYN_RECEIVED 2

/**
 * TCP state (RFC 9293) ESTABLISHED: open.
 */
#define UTCP_TCP_ESTABLISHED 3

/**
 * TCP state (RFC 9293) FIN-WAIT-1: this side has finished.
 */
#define UTCP_TCP_FIN_WAIT_1 4

/**
 * TCP state (RFC 9293) FIN-WAIT-2: this side has finished, and the peer knows.
 */
#define UTCP_TCP_FIN_WAIT_2 5

/**
 * TCP state (RFC 9293) CLOSE-WAIT: the peer has finished.
 */
#define UTCP_TCP_CLOSE_WAIT 6

/**
 * TCP state (RFC 9293) CLOSING: both have finished at the same time.
 */
#define UTCP_TCP_CLOSING 7

/**
 * TCP state (RFC 9293) LAST-ACK: both have finished, the peer first.
 */
#define UTCP_TCP_LAST_ACK 8

/**
 * TCP state (RFC 9293) TIME-WAIT: ended; late segments are waited for.
 */
#define UTCP_TCP_TIME_WAIT 9

/**
 * TCP state (RFC 9293) CLOSED: ended.
 */
#define UTCP_TCP_CLOSED 10

/**
 * The DTLS handshake, or its verification, is under way.
 */
#define UTCP_CONNECTION_HANDSHAKING 1

/**
 * Circuits can be opened.
 */
#define UTCP_CONNECTION_READY 2

/**
 * Ended.
 */
#define UTCP_CONNECTION_CLOSED 3

/**
 * Something went wrong that needs attention.
 */
#define UTCP_LOG_ERROR 1

/**
 * Something is unusual.
 */
#define UTCP_LOG_WARN 2

/**
 * What an operator wants to know.
 */
#define UTCP_LOG_INFO 3

/**
 * What a developer wants to know.
 */
#define UTCP_LOG_DEBUG 4

/**
 * Everything.
 */
#define UTCP_LOG_TRACE 5

/**
 * One circuit: a TCP connection of its own.
 */
typedef struct utcp_circuit utcp_circuit;

/**
 * Configuration of endpoints to come.
 */
typedef struct utcp_config utcp_config;

/**
 * One peer relay: a DTLS session and its circuits.
 */
typedef struct utcp_connection utcp_connection;

/**
 * One UDP socket and all peers behind it.
 */
typedef struct utcp_endpoint utcp_endpoint;

/**
 * Batched reading and writing of the program's UDP socket.
 */
typedef struct utcp_socket utcp_socket;

/**
 * A datagram, in either direction.
 *
 * The library keeps no pointer to one that it was given. Those that it hands out are valid during the callback.
 */
typedef struct utcp_datagram {
  /**
   * The peer's address: a struct sockaddr_in or sockaddr_in6, and no larger than that.
   *
   * An IPv4 address mapped into IPv6, as a dual-stack socket reports it, is the IPv4 address: the library hands
   * out sockaddr_in for it, which Linux accepts on such a socket.
   */
  const struct sockaddr *address;
  /**
   * Its length in bytes.
   */
  socklen_t address_len;
  /**
   * UDP payload.
   */
  const uint8_t *data;
  /**
   * Its length in bytes.
   */
  size_t len;
  /**
   * ECN field of the IP header (RFC 3168 section 5), 0 to 3: the low two bits of the type of service (IPv4) or traffic
   * class (IPv6). Handed out: what it should be, 0 or 2, always 0 without UTCP_OPTION_ECN. Handed in: what it was, 0
   * if it is not known.
   */
  uint8_t ecn;
} utcp_datagram;

/**
 * What the relay wants to be called for. Any member may be NULL.
 *
 * `user` is what was given to utcp_endpoint_new(). Callbacks come only from inside utcp_endpoint_inject(),
 * utcp_endpoint_inject_batch() and utcp_endpoint_process(), on the thread that called. They must return: neither
 * longjmp() nor a C++ exception may leave one.
 */
typedef struct utcp_callbacks {
  /**
   * sizeof(utcp_callbacks), set by the relay.
   */
  size_t size;
  /**
   * Sends `count` (1 to 64) datagrams, oldest first, and returns how many of them, from the front, it is done
   * with.
   *
   * Fewer than `count` means that the socket is full: the rest is offered again by the next inject or process, so
   * call process when the socket is writable again. A datagram that the socket refuses for good (EMSGSIZE,
   * EHOSTUNREACH and the like) counts as sent: it is lost, as datagrams are. Without tx, datagrams wait, up to a
   * bound, and then the newest are dropped.
   *
   * Datagrams may be larger than the path carries: it is found out by sending such ones, and EMSGSIZE needs no
   * special care. So that what is too large is dropped instead of fragmented, set IP_MTU_DISCOVER to
   * IP_PMTUDISC_PROBE and IPV6_MTU_DISCOVER to IPV6_PMTUDISC_PROBE on the socket (Linux), or IP_DONTFRAG and
   * IPV6_DONTFRAG elsewhere. With fragments the library works too, but takes the path for wider than it is.
   *
   * The ECN field may differ from one datagram of a batch to the next; datagrams that leave by one system call of
   * segmentation offload have to have the same.
   *
   * utcp_socket_send() does all of this, for programs that do not want to do it themselves.
   */
  size_t (*tx)(void *user, const struct utcp_datagram *batch, size_t count);
  /**
   * A peer with a proven address wants to connect. 0 accepts: the handle is the relay's from now on, to be freed
   * when it is done with it. Any other value refuses: the library frees the handle. NULL accepts.
   */
  int (*connection_incoming)(void *user,
                             struct utcp_connection *connection,
                             const struct sockaddr *address,
                             socklen_t address_len);
  /**
   * The handshake is complete: is this peer acceptable? 0 accepts, any other value ends the connection with
   * UTCP_CLOSE_VERIFY.
   *
   * `ssl` is lent for the callback: get the peer's certificate and export keying material from it, and change
   * nothing. Not called for connections with a pin, which decides alone. NULL: only those are accepted.
   */
  int (*connection_verify)(void *user, struct utcp_connection *connection, struct ssl_st *ssl);
  /**
   * Circuits can be opened, and the control circuit is usable.
   */
  void (*connection_ready)(void *user, struct utcp_connection *connection);
  /**
   * The connection has ended, for the reason UTCP_CLOSE_*; its circuits have been reported closed before it, if they
   * are very many by several calls of process. Free the handle, here or later.
   *
   * If connection_incoming is NULL, this may be the first that the relay hears of a connection.
   */
  void (*connection_closed)(void *user, struct utcp_connection *connection, int reason);
  /**
   * The peer opened a circuit. 0 takes it: the handle is the relay's from now on, to be freed when it is done with
   * it. Any other value refuses: the circuit is reset and the library frees the handle. NULL refuses all.
   */
  int (*circuit_incoming)(void *user,
                          struct utcp_connection *connection,
                          struct utcp_circuit *circuit,
                          uint32_t number);
  /**
   * There is something to read, or the end of the stream.
   *
   * Edge-triggered: called when something new has arrived, and not again for what was left unread. So read until
   * utcp_circuit_read() returns UTCP_ERR_WOULD_BLOCK or UTCP_ERR_END, or come back of your own accord.
   */
  void (*circuit_readable)(void *user, struct utcp_circuit *circuit);
  /**
   * There is room to write again.
   *
   * Edge-triggered: called once after a write that took less than it was given, when half of the room is free.
   */
  void (*circuit_writable)(void *user, struct utcp_circuit *circuit);
  /**
   * The circuit has ended, for the reason UTCP_CLOSE_*. Free the handle, here or later. Not called for the control
   * circuit, which ends with its connection.
   */
  void (*circuit_closed)(void *user, struct utcp_circuit *circuit, int reason);
  /**
   * More, or less, of the memory budget is in use than when this was called last: UTCP_MEMORY_*, at first
   * UTCP_MEMORY_NORMAL. Called once when use has risen above a mark, and once when it has fallen well below it.
   *
   * The library slows peers down by itself. The relay may read faster, close circuits, raise the budget
   * (utcp_endpoint_set_memory_budget()) or have circuits reset (utcp_endpoint_shed()).
   */
  void (*memory_pressure)(void *user, int level);
} utcp_callbacks;

/**
 * Takes `len` bytes of a capture: append them to the file. `data` is valid during the call.
 *
 * Called from inside utcp_endpoint_inject(), utcp_endpoint_inject_batch() and utcp_endpoint_process(); what is said
 * of the other callbacks goes for it too.
 */
typedef void (*utcp_capture_fn)(void *user, const uint8_t *data, size_t len);

/**
 * What a socket has sent and received since its handle was made.
 */
typedef struct utcp_socket_stats {
  /**
   * sizeof(utcp_socket_stats), set by the caller before the call.
   */
  size_t size;
  /**
   * System calls that sent, or tried to.
   */
  uint64_t send_calls;
  /**
   * Datagrams that the kernel took.
   */
  uint64_t datagrams_sent;
  /**
   * Their UDP payload, bytes.
   */
  uint64_t bytes_sent;
  /**
   * Messages of several datagrams (UTCP_SOCKET_SEGMENT) that the kernel took.
   */
  uint64_t segmented_sent;
  /**
   * Times that the socket was full (EAGAIN).
   */
  uint64_t full;
  /**
   * Datagrams lost: larger than the interface or the path takes (EMSGSIZE). Probes of the path's MTU among them.
   */
  uint64_t lost_too_large;
  /**
   * Datagrams lost: no way to the peer (ENETUNREACH, EHOSTUNREACH and the like).
   */
  uint64_t lost_unreachable;
  /**
   * Datagrams lost: a packet filter or a sandbox does not let them out (EPERM, EACCES).
   */
  uint64_t lost_refused;
  /**
   * Datagrams lost: the kernel had no room for them (ENOBUFS, ENOMEM).
   */
  uint64_t lost_no_buffers;
  /**
   * Datagrams lost: other errors.
   */
  uint64_t lost_other;
  /**
   * System calls that received, or tried to.
   */
  uint64_t receive_calls;
  /**
   * Datagrams received and injected.
   */
  uint64_t datagrams_received;
  /**
   * Their UDP payload, bytes.
   */
  uint64_t bytes_received;
  /**
   * Messages of several datagrams (UTCP_SOCKET_COALESCE) received.
   */
  uint64_t coalesced_received;
  /**
   * Messages dropped: longer than any datagram should be.
   */
  uint64_t truncated;
  /**
   * Messages dropped: from neither an IPv4 nor an IPv6 address.
   */
  uint64_t dropped_address;
  /**
   * Errors of receiving, such as what routers have reported of datagrams sent before.
   */
  uint64_t receive_errors;
} utcp_socket_stats;

/**
 * A circuit's TCP from the inside, as Linux's struct tcp_info.
 */
typedef struct utcp_circuit_info {
  /**
   * sizeof(utcp_circuit_info), set by the caller before the call.
   */
  size_t size;
  /**
   * The relay's number of the circuit; 0 is the control circuit.
   */
  uint32_t number;
  /**
   * The number under which the circuit travels, as a capture shows it.
   */
  uint32_t wire_id;
  /**
   * UTCP_TCP_*.
   */
  uint32_t state;
  /**
   * UTCP_CONGESTION_*.
   */
  uint32_t congestion;
  /**
   * Largest payload of a segment, bytes.
   */
  uint32_t mss;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Congestion window, bytes. Its own, also while the circuit shares another (utcp_connection_stats.coupled_cwnd).
   */
  uint64_t cwnd;
  /**
   * Slow start threshold, bytes; UINT64_MAX before the first loss.
   */
  uint64_t ssthresh;
  /**
   * Bytes sent and neither acknowledged nor found lost.
   */
  uint64_t bytes_in_flight;
  /**
   * The peer's receive window, bytes.
   */
  uint64_t send_window;
  /**
   * The window that the peer was told, bytes.
   */
  uint64_t receive_window;
  /**
   * Smoothed round-trip time, microseconds; 0: no sample yet.
   */
  uint64_t srtt;
  /**
   * Its variation, microseconds.
   */
  uint64_t rttvar;
  /**
   * Smallest round-trip time seen, microseconds; 0: no sample yet.
   */
  uint64_t min_rtt;
  /**
   * Retransmission timeout, microseconds.
   */
  uint64_t rto;
  /**
   * Bytes written and not yet acknowledged.
   */
  uint64_t send_queue;
  /**
   * Bytes of these that were not sent yet.
   */
  uint64_t unsent;
  /**
   * Bytes received in order and not read yet.
   */
  uint64_t receive_queue;
  /**
   * Bytes received out of order and held.
   */
  uint64_t out_of_order;
  /**
   * Payload bytes sent, each once.
   */
  uint64_t bytes_sent;
  /**
   * Payload bytes acknowledged by the peer.
   */
  uint64_t bytes_acked;
  /**
   * Payload bytes received in order, each once.
   */
  uint64_t bytes_received;
  /**
   * Payload bytes sent again.
   */
  uint64_t bytes_retransmitted;
  /**
   * Segments sent, with retransmissions and pure acknowledgements.
   */
  uint64_t segments_sent;
  /**
   * Segments received.
   */
  uint64_t segments_received;
  /**
   * Segments sent again.
   */
  uint64_t segments_retransmitted;
  /**
   * Retransmission timeouts.
   */
  uint64_t timeouts;
  /**
   * Times that loss was found without a timeout.
   */
  uint64_t fast_recoveries;
  /**
   * Segments received that brought only what was there already.
   */
  uint64_t duplicate_segments;
  /**
   * Segments dropped: out of the window, or acknowledging what was never sent.
   */
  uint64_t rejected_segments;
  /**
   * Bytes per second that reached the peer, latest estimate; 0: none yet.
   */
  uint64_t delivery_rate;
  /**
   * Bytes per second at which it may send at most, of congestion control and utcp_circuit_set_rate() the lesser; 0:
   * no limit but the windows.
   */
  uint64_t pacing_rate;
  /**
   * Times that the last segments were sent again because nothing was heard of them, ahead of a timeout.
   */
  uint64_t tail_loss_probes;
  /**
   * Times that what was held to be lost turned out not to be, and the slowing down was taken back.
   */
  uint64_t spurious_recoveries;
  /**
   * 1 if explicit congestion notification is in use (UTCP_OPTION_ECN), 0 if not.
   */
  uint64_t ecn;
  /**
   * Segments that the peer has reported as marked by a congested router.
   */
  uint64_t ce_reported;
  /**
   * Segments received with such a mark, and reported to the peer; modulo 2^32.
   */
  uint64_t ce_received;
  /**
   * 1 if the circuit shares a congestion window, 0 if it has its own.
   */
  uint64_t coupled;
} utcp_circuit_info;

/**
 * State and counters of a connection.
 */
typedef struct utcp_connection_stats {
  /**
   * sizeof(utcp_connection_stats), set by the caller before the call.
   */
  size_t size;
  /**
   * UTCP_ROLE_*.
   */
  uint32_t role;
  /**
   * UTCP_CONNECTION_*.
   */
  uint32_t state;
  /**
   * Circuits open now, the control circuit included.
   */
  uint32_t circuits;
  /**
   * Largest UDP payload sent, bytes: what the path is known, or expected, to carry.
   */
  uint32_t datagram_size;
  /**
   * Smoothed round-trip time over all circuits, microseconds; 0: no sample yet.
   */
  uint64_t srtt;
  /**
   * Smallest round-trip time seen, microseconds; 0: no sample yet.
   */
  uint64_t min_rtt;
  /**
   * Datagrams sent.
   */
  uint64_t datagrams_sent;
  /**
   * Datagrams received.
   */
  uint64_t datagrams_received;
  /**
   * UDP payload sent, bytes.
   */
  uint64_t bytes_sent;
  /**
   * UDP payload received, bytes.
   */
  uint64_t bytes_received;
  /**
   * Bytes of circuits sent, each once.
   */
  uint64_t payload_sent;
  /**
   * Bytes of circuits received in order, each once.
   */
  uint64_t payload_received;
  /**
   * TCP segments sent.
   */
  uint64_t segments_sent;
  /**
   * TCP segments received.
   */
  uint64_t segments_received;
  /**
   * TCP segments sent again.
   */
  uint64_t segments_retransmitted;
  /**
   * Circuits opened by this side.
   */
  uint64_t circuits_opened;
  /**
   * Circuits opened by the peer and taken by this side.
   */
  uint64_t circuits_accepted;
  /**
   * Circuits that ended by a reset of either side.
   */
  uint64_t circuits_reset;
  /**
   * Datagrams dropped: not a DTLS record of this session, not authentic, or a replay.
   */
  uint64_t dropped_record;
  /**
   * Datagrams dropped: an alert that is not encrypted, which anyone can forge.
   */
  uint64_t dropped_plaintext_alert;
  /**
   * Records dropped: unknown version of the segment format.
   */
  uint64_t dropped_version;
  /**
   * Records or segments dropped: malformed.
   */
  uint64_t dropped_malformed;
  /**
   * Segments dropped: of no circuit that is known.
   */
  uint64_t dropped_unknown_circuit;
  /**
   * Segments dropped: out of the receive window.
   */
  uint64_t dropped_out_of_window;
  /**
   * Requests to open a circuit refused: too many circuits.
   */
  uint64_t dropped_limit;
  /**
   * Segments dropped: memory budget.
   */
  uint64_t dropped_memory;
  /**
   * Handshake messages dropped: in a session that is established.
   */
  uint64_t dropped_peer_handshake;
  /**
   * Probes of the path's MTU sent.
   */
  uint64_t path_probes_sent;
  /**
   * Times that datagrams of the size in use were found not to arrive (any more), while small ones did.
   */
  uint64_t path_black_holes;
  /**
   * Path probes dropped: more at once than are answered; and answers that nothing waits for.
   */
  uint64_t dropped_path_probe;
  /**
   * The congestion window that circuits share, bytes; 0: none ever did.
   */
  uint64_t coupled_cwnd;
  /**
   * What of it is in the network, bytes.
   */
  uint64_t coupled_in_flight;
  /**
   * Its congestion control, UTCP_CONGESTION_*; 0: none ever did.
   */
  uint64_t coupled_congestion;
  /**
   * Bytes held in the queues of its circuits, in whole blocks: what UTCP_OPTION_CONNECTION_SHARE limits.
   */
  uint64_t memory;
} utcp_connection_stats;

/**
 * What an endpoint holds, and its counters since it was made.
 */
typedef struct utcp_endpoint_stats {
  /**
   * sizeof(utcp_endpoint_stats), set by the caller before the call.
   */
  size_t size;
  /**
   * Connections that have not ended.
   */
  uint64_t connections;
  /**
   * Handshakes in progress in which this side is the server.
   */
  uint64_t half_open;
  /**
   * Circuits open now, control circuits included.
   */
  uint64_t circuits;
  /**
   * Bytes held in queues.
   */
  uint64_t memory;
  /**
   * Datagrams that tx took.
   */
  uint64_t datagrams_sent;
  /**
   * Datagrams injected.
   */
  uint64_t datagrams_received;
  /**
   * UDP payload sent, bytes.
   */
  uint64_t bytes_sent;
  /**
   * UDP payload injected, bytes.
   */
  uint64_t bytes_received;
  /**
   * Datagrams waiting for tx.
   */
  uint64_t output_queue;
  /**
   * DTLS handshakes started, by either side.
   */
  uint64_t handshakes_started;
  /**
   * DTLS handshakes completed and accepted.
   */
  uint64_t handshakes_completed;
  /**
   * DTLS handshakes that failed, timed out or were not accepted.
   */
  uint64_t handshakes_failed;
  /**
   * Cookies sent to addresses that were not proven.
   */
  uint64_t cookies_sent;
  /**
   * Datagrams dropped: no DTLS record.
   */
  uint64_t dropped_not_dtls;
  /**
   * Datagrams dropped: neither from a known peer nor a ClientHello.
   */
  uint64_t dropped_unknown_peer;
  /**
   * ClientHellos dropped or answered anew: their cookie is wrong or old.
   */
  uint64_t dropped_bad_cookie;
  /**
   * ClientHellos dropped: new peers are refused.
   */
  uint64_t dropped_refusing;
  /**
   * ClientHellos dropped: too many connections or handshakes.
   */
  uint64_t dropped_limit;
  /**
   * Datagrams dropped: too many wait for tx.
   */
  uint64_t dropped_output_full;
  /**
   * Datagrams dropped: from an address that cannot be a peer's.
   */
  uint64_t dropped_address;
  /**
   * Bytes that queues may hold, as configured or set last.
   */
  uint64_t memory_budget;
  /**
   * Bytes held in queues, the most ever.
   */
  uint64_t memory_peak;
  /**
   * Writes that took less than they were given, or nothing, because memory was short.
   */
  uint64_t writes_refused;
  /**
   * Short of memory, first: times that a receive window would have grown and did not.
   */
  uint64_t windows_held;
  /**
   * Short of memory, second: bytes received out of order, held, and thrown away. Also those that went in
   * utcp_endpoint_shed().
   */
  uint64_t bytes_reneged;
  /**
   * Short of memory, second: segments dropped that arrived out of order.
   */
  uint64_t dropped_out_of_order;
  /**
   * Short of memory, third: segments dropped that arrived in order.
   */
  uint64_t dropped_in_order;
} utcp_endpoint_stats;

/**
 * Takes one log record: its level UTCP_LOG_*, the part of the library that it comes from, and its text.
 *
 * Both strings are valid during the call. It may come from inside any function, on any thread that uses the library.
 * It must not call the library (what it calls fails with UTCP_ERR_BUSY where that can be told), and must not wait
 * for a thread that calls utcp_log_set().
 */
typedef void (*utcp_log_fn)(void *user, int level, const char *target, const char *message);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library in use, `(major << 16) | (minor << 8) | patch`; compare it with UTCP_VERSION_* of the
 * header to find a library that is older than what the program was compiled for.
 */
uint32_t utcp_version(void);

/**
 * A short English text for an error number or a close reason.
 *
 * The text is static: it is never freed and never changes. Any number gives a text, never NULL.
 */
const char *utcp_error_string(int error);

/**
 * A configuration with all defaults, which needs a certificate at least. NULL only after an internal error.
 */
struct utcp_config *utcp_config_new(void);

/**
 * Frees a configuration. Endpoints made from it have copies. NULL is allowed and does nothing.
 *
 * UTCP_ERR_HANDLE: not a configuration. Do not rely on it to catch a second free.
 */
int utcp_config_free(struct utcp_config *config);

/**
 * Sets an option, UTCP_OPTION_*, which says the unit and the acceptable values.
 *
 * UTCP_ERR_RANGE: unknown option or enumeration value. UTCP_ERR_ARGUMENT: the value is not acceptable; the option
 * keeps the one it had. UTCP_ERR_NULL, UTCP_ERR_HANDLE: `config` is not a configuration.
 */
int utcp_config_set(struct utcp_config *config,
                    int option,
                    uint64_t value);

/**
 * Sets the certificate chain and the key that this side presents. Both are copied.
 *
 * `chain`: certificates, leaf first, as concatenated DER or as PEM. `key`: the leaf's private key as DER (PKCS#1,
 * SEC1 or PKCS#8) or PEM, without a passphrase. They are looked at by utcp_endpoint_new() only.
 *
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be. UTCP_ERR_ARGUMENT: a length is 0 or beyond 1
 * MiB.
 */
int utcp_config_set_certificate(struct utcp_config *config,
                                const uint8_t *chain,
                                size_t chain_len,
                                const uint8_t *key,
                                size_t key_len);

/**
 * Sets the seed of all random choices that the library makes itself (initial sequence numbers, cookies), 32 bytes.
 * DTLS keys do not depend on it. Only tests want this, to repeat a run exactly: without a seed, each endpoint takes
 * one from OpenSSL.
 *
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be. UTCP_ERR_ARGUMENT: `len` is not 32.
 */
int utcp_config_set_seed(struct utcp_config *config,
                         const uint8_t *seed,
                         size_t len);

/**
 * Makes an endpoint: `config` and `callbacks` are copied and may be freed, `user` is handed to the callbacks.
 * It does nothing until it is called. The handle goes to `*endpoint`, and is freed with utcp_endpoint_free().
 *
 * UTCP_ERR_NULL: `config`, `callbacks` or `endpoint` is NULL. UTCP_ERR_SIZE: callbacks->size is not set, or a member
 * that this version of the library does not know is not NULL. UTCP_ERR_CERTIFICATE: no certificate or key is set, or
 * they cannot be used. UTCP_ERR_TLS: OpenSSL failed. UTCP_ERR_HANDLE: `config` is not a configuration.
 */
int utcp_endpoint_new(const struct utcp_config *config,
                      const struct utcp_callbacks *callbacks,
                      void *user,
                      struct utcp_endpoint **endpoint);

/**
 * Frees an endpoint: its connections end at once and no callback comes any more. NULL is allowed and does nothing.
 *
 * Handles of connections and circuits stay valid, and calls with them give UTCP_ERR_CLOSED, until they are freed;
 * some memory is kept until then. Peers are not told: to tell them, close the connections, and call process until
 * the datagrams are sent.
 *
 * UTCP_ERR_BUSY: called from inside a callback; the endpoint lives on. UTCP_ERR_HANDLE: the endpoint was freed
 * already (found out as long as any handle of it is not freed).
 */
int utcp_endpoint_free(struct utcp_endpoint *endpoint);

/**
 * Takes in one datagram that came from the socket, at the time `now` (microseconds). Its ECN field counts as not
 * known, see utcp_endpoint_inject_batch(). Then does what utcp_endpoint_process() does.
 *
 * Whatever the datagram is, it is not an error: what cannot be used is dropped and counted.
 *
 * UTCP_ERR_BUSY: called from inside a callback. UTCP_ERR_ARGUMENT: the address is neither IPv4 nor IPv6 or too
 * short, `len` is beyond 65535, or `now` is UINT64_MAX. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it
 * should be. UTCP_ERR_INTERNAL: free everything.
 */
int utcp_endpoint_inject(struct utcp_endpoint *endpoint,
                         uint64_t now,
                         const struct sockaddr *from,
                         socklen_t from_len,
                         const uint8_t *data,
                         size_t len);

/**
 * Takes in `count` datagrams that came from the socket, in this order, at the time `now` (microseconds): as
 * utcp_endpoint_inject(), but cheaper than one by one, and with the ECN field of each. The addresses and the data
 * are only looked at during the call.
 *
 * Errors are those of utcp_endpoint_inject(); UTCP_ERR_ARGUMENT also if an ECN field is beyond 3. If any datagram of
 * the batch is not acceptable, none is taken in.
 */
int utcp_endpoint_inject_batch(struct utcp_endpoint *endpoint,
                               uint64_t now,
                               const struct utcp_datagram *batch,
                               size_t count);

/**
 * Does what is due at the time `now` (microseconds), calls back for what has happened, and offers datagrams to tx.
 *
 * Call it when the deadline has come, when the socket is writable again after tx did not take all, and after calls
 * from outside of callbacks (writing, connecting, closing), which queue their effects; utcp_endpoint_next_deadline()
 * is 0 then. Early, late and repeated calls are harmless; a time earlier than one handed in before counts as that
 * one.
 *
 * UTCP_ERR_BUSY: called from inside a callback. UTCP_ERR_ARGUMENT: `now` is UINT64_MAX. UTCP_ERR_NULL,
 * UTCP_ERR_HANDLE: not an endpoint. UTCP_ERR_INTERNAL: free everything.
 */
int utcp_endpoint_process(struct utcp_endpoint *endpoint,
                          uint64_t now);

/**
 * When utcp_endpoint_process() has to be called next: an absolute time in microseconds, on the clock of the `now`
 * that was handed in. 0: at once. UINT64_MAX: there is no deadline (also if `endpoint` is not a live endpoint).
 *
 * Set the timer anew after every inject and process, and after other calls from outside of callbacks.
 */
uint64_t utcp_endpoint_next_deadline(const struct utcp_endpoint *endpoint);

/**
 * Starts a connection to the peer's UDP address, at the time `now` (microseconds). The handle goes to `*connection`,
 * and is the caller's to free. connection_ready or connection_closed follows; to send the first datagram, call
 * process.
 *
 * `pin`: the SHA-256 of the peer's leaf certificate (DER), 32 bytes, or NULL. With a pin, the peer is who has that
 * certificate, and connection_verify is not called.
 *
 * UTCP_ERR_IN_USE: there is a connection with this address already (perhaps the peer was faster): see
 * utcp_endpoint_find(). UTCP_ERR_LIMIT: too many connections. UTCP_ERR_ARGUMENT: the address is not one of a peer
 * (its port is 0, it is multicast or unspecified, not IPv4 or IPv6), or `now` is UINT64_MAX. UTCP_ERR_TLS: OpenSSL
 * failed. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
 */
int utcp_endpoint_connect(struct utcp_endpoint *endpoint,
                          uint64_t now,
                          const struct sockaddr *peer,
                          socklen_t peer_len,
                          const uint8_t *pin,
                          struct utcp_connection **connection);

/**
 * Finds the connection with a peer's UDP address, whoever started it, as long as it has not ended. The handle in
 * `*connection` is the one that is known already; it needs no free of its own.
 *
 * UTCP_ERR_CLOSED: there is none. UTCP_ERR_ARGUMENT: not an IPv4 or IPv6 address. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a
 * pointer is not what it should be.
 */
int utcp_endpoint_find(struct utcp_endpoint *endpoint,
                       const struct sockaddr *peer,
                       socklen_t peer_len,
                       struct utcp_connection **connection);

/**
 * Takes a new certificate chain and key, in the forms of utcp_config_set_certificate(), for the handshakes that
 * start from now on. Connections that exist go on as they are. Both are copied.
 *
 * UTCP_ERR_CERTIFICATE: they cannot be used; the old ones stay. UTCP_ERR_ARGUMENT: a length is 0 or beyond 1 MiB.
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
 */
int utcp_endpoint_set_certificate(struct utcp_endpoint *endpoint,
                                  const uint8_t *chain,
                                  size_t chain_len,
                                  const uint8_t *key,
                                  size_t key_len);

/**
 * Whether new peers may connect to this endpoint; at first they may. With 0 their datagrams are dropped and counted,
 * while connections that exist, and those that this side starts, go on.
 *
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an endpoint.
 */
int utcp_endpoint_set_accepting(struct utcp_endpoint *endpoint,
                                int accepting);

/**
 * Bytes held in the queues of all circuits, both directions, in whole blocks. 0 if `endpoint` is not a live endpoint.
 */
uint64_t utcp_endpoint_memory(const struct utcp_endpoint *endpoint);

/**
 * Changes the memory budget, UTCP_OPTION_MEMORY_BUDGET, in bytes; what connections may hold of it follows.
 *
 * Less than what is held already takes nothing away by itself: nothing more is taken in until less is held, and data
 * that arrives is treated as when memory runs short (UTCP_OPTION_CONNECTION_SHARE). To free some at once, call
 * utcp_endpoint_shed(). More lets writers go on that wait for memory; they hear of it from the next process.
 *
 * UTCP_ERR_ARGUMENT: `bytes` is below 65536; the budget stays as it was. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an
 * endpoint.
 */
int utcp_endpoint_set_memory_budget(struct utcp_endpoint *endpoint,
                                    uint64_t bytes);

/**
 * Frees at least `bytes` of what utcp_endpoint_memory() counts, or all there is: first data that arrived out of
 * order, which peers send again; then the circuits that hold most are reset, and circuit_closed comes for them, with
 * UTCP_CLOSE_MEMORY, from the next process. What was freed, in bytes, goes to `*shed`, which may be NULL.
 *
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an endpoint.
 */
int utcp_endpoint_shed(struct utcp_endpoint *endpoint,
                       uint64_t bytes,
                       uint64_t *shed);

/**
 * Captures the inner TCP segments of all circuits, as TCP/IP packets in pcap format: `capture` gets the bytes of a
 * file, from its header on, with `user`. They are not encrypted: the file shows what circuits carry. NULL stops;
 * what was not handed out yet is dropped then.
 *
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: not an endpoint.
 */
int utcp_endpoint_set_capture(struct utcp_endpoint *endpoint,
                              utcp_capture_fn capture,
                              void *user);

/**
 * This side's part in the DTLS handshake, UTCP_ROLE_*, or an error number (which is negative). When both sides
 * connect at the same time, the one that called utcp_endpoint_connect() may become the server.
 *
 * UTCP_ERR_CLOSED: the endpoint was freed. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a connection.
 */
int utcp_connection_role(const struct utcp_connection *connection);

/**
 * Ends a connection: the peer is told, its circuits are reported closed with UTCP_CLOSE_CONNECTION, and
 * connection_closed follows with UTCP_CLOSE_LOCAL, all from the next process. If there are very many circuits, it takes
 * several calls of process, each due at once, until all were reported. Meanwhile they have all ended: calls with any of
 * them give UTCP_ERR_CLOSED, and the peer can be connected to again. The handle stays valid until it is freed.
 *
 * UTCP_ERR_CLOSED: it has ended already. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a connection.
 */
int utcp_connection_close(struct utcp_connection *connection);

/**
 * Frees a connection's handle, and ends the connection first if it has not ended. No callback comes any more for it
 * or its circuits, which end too. The handle of its control circuit goes with it; those of its other circuits stay
 * valid, as closed, until they are freed. If there are very many, what they hold is given back by the next calls of
 * process. NULL is allowed and does nothing.
 *
 * UTCP_ERR_HANDLE: it was freed already. UTCP_ERR_BUSY: called from inside the log hook; nothing was freed.
 */
int utcp_connection_free(struct utcp_connection *connection);

/**
 * While `hold` is not 0, the connection reports nothing of its circuits but the control circuit: no
 * circuit_incoming, circuit_readable, circuit_writable and circuit_closed. All of it comes once `hold` is 0 again.
 * For a relay that must finish a handshake of its own on the control circuit first: call it in connection_ready.
 *
 * UTCP_ERR_CLOSED: the connection has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a connection.
 */
int utcp_connection_hold(struct utcp_connection *connection,
                         int hold);

/**
 * The connection's OpenSSL session, to read the certificates and to export keying material. It is borrowed: do not
 * free or change it, and do not keep it beyond the next inject or process, or close or free of the connection. NULL:
 * there is none (not yet, or not any more), or `connection` is not a live connection.
 */
struct ssl_st *utcp_connection_ssl(const struct utcp_connection *connection);

/**
 * The peer's UDP address. `*len` is the room at `address` in bytes when called (28 are always enough, as
 * sizeof(struct sockaddr_storage) is), and the length of the address after. Known also after the connection has
 * ended.
 *
 * UTCP_ERR_ARGUMENT: there is not enough room; nothing is written. UTCP_ERR_CLOSED: the endpoint was freed.
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
 */
int utcp_connection_address(const struct utcp_connection *connection,
                            struct sockaddr *address,
                            socklen_t *len);

/**
 * The control circuit, number 0, which every ready connection has. The handle is borrowed: it is freed with the
 * connection's. NULL: the connection is not ready yet or has ended, or is not a live connection.
 */
struct utcp_circuit *utcp_connection_control(struct utcp_connection *connection);

/**
 * Opens a circuit under a number of the relay's, which no open circuit of this connection has. The handle goes to
 * `*circuit`, and is the caller's to free. It can be written to at once: that data travels with the request to open.
 * Whether the peer takes the circuit shows later: circuit_closed comes with UTCP_CLOSE_REFUSED if it does not.
 *
 * UTCP_ERR_IN_USE: the number is taken. UTCP_ERR_ARGUMENT: the number is 0. UTCP_ERR_STATE: the connection is not
 * ready. UTCP_ERR_CLOSED: it has ended. UTCP_ERR_LIMIT: too many circuits. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer
 * is not what it should be.
 */
int utcp_connection_open_circuit(struct utcp_connection *connection,
                                 uint32_t number,
                                 struct utcp_circuit **circuit);

/**
 * Switches the congestion control, UTCP_CONGESTION_*, of the window that circuits of the connection share (see
 * utcp_circuit_set_coupled()), also before there are any. At first it is UTCP_OPTION_CONGESTION. Circuits with a window
 * of their own have utcp_circuit_set_congestion().
 *
 * UTCP_ERR_RANGE: unknown value. UTCP_ERR_CLOSED: the connection has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
 * connection.
 */
int utcp_connection_set_congestion(struct utcp_connection *connection,
                                   int congestion);

/**
 * Keeps a pointer of the relay's with the handle, until the handle is freed. The library never follows it. Nothing
 * happens if `connection` is not a live handle.
 */
void utcp_connection_set_user(struct utcp_connection *connection,
                              void *user);

/**
 * The pointer that utcp_connection_set_user() has set; NULL if none was, or if `connection` is not a live handle.
 * Works in any state, also after UTCP_ERR_INTERNAL.
 */
void *utcp_connection_user(const struct utcp_connection *connection);

/**
 * Copies up to `room` bytes that were received, in order, to `buffer`, and their number to `*len` (at least 1,
 * unless `room` is 0).
 *
 * UTCP_ERR_WOULD_BLOCK: there is nothing at the moment; circuit_readable comes when there is. UTCP_ERR_END: the peer
 * has finished sending, and everything was read. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL,
 * UTCP_ERR_HANDLE: a pointer is not what it should be. Nothing is written to `*len` with any of them.
 */
int utcp_circuit_read(struct utcp_circuit *circuit,
                      uint8_t *buffer,
                      size_t room,
                      size_t *len);

/**
 * Queues data to be sent, as much of it as there is room for, and puts to `*written` how many bytes that were. They
 * are copied. If that is less than `len`, circuit_writable comes when there is room again.
 *
 * UTCP_ERR_WOULD_BLOCK: there is no room at all, or the endpoint is at its memory budget. UTCP_ERR_STATE:
 * utcp_circuit_finish() was called. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a
 * pointer is not what it should be. Nothing is queued, nor written to `*written`, with any of them.
 */
int utcp_circuit_write(struct utcp_circuit *circuit,
                       const uint8_t *data,
                       size_t len,
                       size_t *written);

/**
 * Bytes that can be read now. 0 if the circuit has ended or is not a live circuit.
 */
size_t utcp_circuit_readable(const struct utcp_circuit *circuit);

/**
 * Bytes that can be written now: what the send buffer, the congestion window (see UTCP_OPTION_SEND_BUFFER) and the
 * memory budget leave. 0 if the circuit has ended or is not a live circuit. Asking does not make
 * circuit_writable come: only a write that was cut short does.
 */
size_t utcp_circuit_room(const struct utcp_circuit *circuit);

/**
 * Half-close: the peer reads the end of the stream after what was written. Reading goes on. When both sides have
 * finished and everything was read, circuit_closed comes with UTCP_CLOSE_DONE.
 *
 * UTCP_ERR_STATE: it is the control circuit. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE:
 * not a circuit.
 */
int utcp_circuit_finish(struct utcp_circuit *circuit);

/**
 * Half-close, and discard what still arrives: this side is done with the circuit, but what was written still reaches
 * the peer. The number may be used again at once. circuit_closed follows at the end, unless the handle is freed
 * before.
 *
 * UTCP_ERR_STATE: it is the control circuit. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE:
 * not a circuit.
 */
int utcp_circuit_close(struct utcp_circuit *circuit);

/**
 * Resets a circuit: both directions end at once, and what was not sent or read is dropped. circuit_closed does not
 * come. The handle stays valid until it is freed.
 *
 * UTCP_ERR_STATE: it is the control circuit. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE:
 * not a circuit.
 */
int utcp_circuit_abort(struct utcp_circuit *circuit);

/**
 * Frees a circuit's handle. If the circuit has not ended: after utcp_circuit_close() it finishes by itself,
 * otherwise it is reset. No callback comes for it any more. NULL is allowed and does nothing.
 *
 * UTCP_ERR_STATE: it is a control circuit, whose handle is freed with its connection's. UTCP_ERR_HANDLE: it was
 * freed already. UTCP_ERR_BUSY: called from inside the log hook; nothing was freed.
 */
int utcp_circuit_free(struct utcp_circuit *circuit);

/**
 * Which events the circuit reports: UTCP_EVENT_READABLE and UTCP_EVENT_WRITABLE, or'ed; both at first. Unmasked
 * again, an event that is pending comes from the next process, and circuit_readable comes also for what was left
 * unread. A relay whose next hop is slow masks UTCP_EVENT_READABLE and stops reading: the peer's window closes, and
 * no other circuit notices.
 *
 * UTCP_ERR_RANGE: unknown bits. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
 * circuit.
 */
int utcp_circuit_set_events(struct utcp_circuit *circuit,
                            unsigned int mask);

/**
 * The relay's number of the circuit, also after it has ended; 0 for the control circuit, and if it is not a live
 * handle.
 */
uint32_t utcp_circuit_number(const struct utcp_circuit *circuit);

/**
 * The connection that the circuit belongs to, also after either has ended. NULL once the connection's handle was
 * freed, and if `circuit` is not a live handle.
 */
struct utcp_connection *utcp_circuit_connection(const struct utcp_circuit *circuit);

/**
 * Switches congestion control, UTCP_CONGESTION_*. For a circuit that shares a window it is what it uses once it has its
 * own again: see utcp_connection_set_congestion().
 *
 * UTCP_ERR_RANGE: unknown value. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
 * circuit.
 */
int utcp_circuit_set_congestion(struct utcp_circuit *circuit,
                                int congestion);

/**
 * Whether the circuit shares one congestion window with the others of its connection that do (not 0), or has its own (0);
 * at first as UTCP_OPTION_COUPLED says. Takes effect at once, also while data is on its way.
 *
 * With windows of their own, a hundred circuits take from a path what a hundred TCP connections would. Those that share
 * one take together what UTCP_OPTION_COUPLED_FLOWS says, each in proportion to its weight
 * (utcp_circuit_set_priority()), and queue up in the library and not in the network: the quiet ones stay quick. What is
 * lost on one of them slows all of them down.
 *
 * UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a circuit.
 */
int utcp_circuit_set_coupled(struct utcp_circuit *circuit,
                             int coupled);

/**
 * Caps the rate at which the circuit sends, in bytes per second of payload; 0 removes the cap.
 *
 * UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a circuit.
 */
int utcp_circuit_set_rate(struct utcp_circuit *circuit, uint64_t bytes_per_second);

/**
 * Sets how many bytes the circuit holds for sending, 4096 to 1073741824. What is held already stays.
 *
 * UTCP_ERR_ARGUMENT: outside of these bounds. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL,
 * UTCP_ERR_HANDLE: not a circuit.
 */
int utcp_circuit_set_send_buffer(struct utcp_circuit *circuit, size_t bytes);

/**
 * Sets the largest receive window in bytes, 4096 to 1073741824. What was promised to the peer is not taken back, and
 * no window can exceed the largest that could be told when the circuit was opened (its window scale).
 *
 * UTCP_ERR_ARGUMENT: outside of these bounds. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL,
 * UTCP_ERR_HANDLE: not a circuit.
 */
int utcp_circuit_set_receive_buffer(struct utcp_circuit *circuit,
                                    size_t bytes);

/**
 * Sets the circuit's weight, 1 to 255, at first 16: its share of the connection, against the other circuits' that
 * have something to send.
 *
 * UTCP_ERR_ARGUMENT: 0 or beyond 255. UTCP_ERR_CLOSED: the circuit has ended. UTCP_ERR_NULL, UTCP_ERR_HANDLE: not a
 * circuit.
 */
int utcp_circuit_set_priority(struct utcp_circuit *circuit,
                              unsigned int weight);

/**
 * Keeps a pointer of the relay's with the handle, until the handle is freed. The library never follows it. Nothing
 * happens if `circuit` is not a live handle.
 */
void utcp_circuit_set_user(struct utcp_circuit *circuit,
                           void *user);

/**
 * The pointer that utcp_circuit_set_user() has set; NULL if none was, or if `circuit` is not a live handle. Works in
 * any state, also after UTCP_ERR_INTERNAL.
 */
void *utcp_circuit_user(const struct utcp_circuit *circuit);

/**
 * Makes a handle for reading and writing the UDP socket `fd` in batches. Its use is optional: a program may as well
 * make the system calls itself, with utcp_endpoint_inject_batch() and utcp_callbacks.tx.
 *
 * `fd`: of IPv4 or IPv6, bound, not connected; blocking or not makes no difference. It stays the program's, which waits
 * for it in its event loop and closes it, after utcp_socket_free(). Meanwhile only this handle should read from it:
 * with UTCP_SOCKET_COALESCE, what a plain recv() gets may be several datagrams in one. No function here waits.
 *
 * Finds out what the system can do, and sets the options of the socket that it takes for that (on Linux UDP_GRO,
 * IP_RECVTOS, IP_PKTINFO if bound to all addresses, IP_MTU_DISCOVER, and their counterparts of IPv6). `without`:
 * UTCP_SOCKET_* added up that are not to be used nevertheless, usually 0. What the system does not have, or does not
 * let be used, is done without; with none of them, sendto() and recvfrom() do. In a sandbox that lets no options be
 * set, make the handle before entering it; one that knows no sendmmsg() and refuses it with an error is coped with.
 *
 * UTCP_ERR_SOCKET: `fd` cannot be used. UTCP_ERR_ARGUMENT: `without` has unknown bits. UTCP_ERR_NULL: `socket` is NULL.
 */
int utcp_socket_new(int fd,
                    uint32_t without,
                    struct utcp_socket **socket);

/**
 * Frees the handle; the socket stays open, with the options that were set. NULL is allowed and does nothing. Do not
 * free it twice.
 *
 * UTCP_ERR_BUSY: called from inside of utcp_socket_receive() with it. UTCP_ERR_HANDLE: it is of another kind.
 */
int utcp_socket_free(struct utcp_socket *socket);

/**
 * What is in use, UTCP_SOCKET_* added up. An ability that turns out not to work when it is used, such as segmentation
 * on an interface that computes no checksums, is given up for good. 0 if `socket` is not a live handle.
 */
uint32_t utcp_socket_abilities(const struct utcp_socket *socket);

/**
 * Sends datagrams, as utcp_callbacks.tx is asked to, and returns how many of them, from the front, it is done with.
 * A tx callback may consist of a call of this function, and of waiting for the socket to be writable if the result is
 * less than `count`; utcp_endpoint_process() is to be called then.
 *
 * Fewer than `count` means that the socket is full (EAGAIN): nothing is lost then, and nothing overtakes. What cannot
 * be sent for another reason counts as done: it is lost, as datagrams are, and counted in the statistics. ENOBUFS is
 * such a reason, too, since it is the queue of an interface that is full then: being writable says nothing of it, and
 * senders are to slow down. The order is kept. Neighbours that are equal in address, ECN field and length leave as one
 * message; so a batch is best that is not dealt out to peers one by one, as the library's are not.
 *
 * May be called from inside a callback. 0 if `socket` is not a live handle, or `batch` is NULL. A datagram with an
 * address, a length or an ECN field that cannot be counts as lost.
 */
size_t utcp_socket_send(struct utcp_socket *socket,
                        const struct utcp_datagram *batch,
                        size_t count);

/**
 * Receives datagrams and injects them, at the time `now` (microseconds), as utcp_endpoint_inject_batch() does, with
 * their ECN fields; then does what utcp_endpoint_process() does. Nothing is copied on the way.
 *
 * Receives until nothing is left, or `max_datagrams` are reached. How many it were goes to `*received`: fewer than
 * `max_datagrams` means that nothing is left for now. It may be a few more (up to 63), since what arrives together is
 * injected together. With a bound of some hundreds a busy socket leaves the event loop its other work; call again in
 * the next turn.
 *
 * With UTCP_SOCKET_LOCAL_ADDRESS, takes note of which of this machine's addresses each peer speaks to. What anybody can
 * claim in a peer's name is believed only until the connection is ready; from then on it stays.
 *
 * UTCP_ERR_SOCKET: the socket cannot be read (it was closed, for instance). UTCP_ERR_BUSY: called from inside a
 * callback. UTCP_ERR_ARGUMENT: `max_datagrams` is 0, or `now` is UINT64_MAX. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer
 * is not what it should be. UTCP_ERR_INTERNAL: free everything.
 */
int utcp_socket_receive(struct utcp_socket *socket,
                        struct utcp_endpoint *endpoint,
                        uint64_t now,
                        size_t max_datagrams,
                        size_t *received);

/**
 * Reads the counters of a socket. Set stats->size to sizeof(utcp_socket_stats) first, as for utcp_circuit_get_info().
 * May be called from inside a callback.
 *
 * UTCP_ERR_SIZE: stats->size is not set. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
 */
int utcp_socket_get_stats(const struct utcp_socket *socket,
                          struct utcp_socket_stats *stats);

/**
 * Reads the state of a circuit's TCP. Set info->size to sizeof(utcp_circuit_info) first: a caller with an older
 * header gets the members it knows, a caller with a newer one finds zeroes in those that this library does not know.
 * After the circuit has ended, these are the last values.
 *
 * UTCP_ERR_SIZE: info->size is not set. UTCP_ERR_CLOSED: the endpoint was freed, or the connection's handle was.
 * UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
 */
int utcp_circuit_get_info(const struct utcp_circuit *circuit,
                          struct utcp_circuit_info *info);

/**
 * Reads the state and the counters of a connection. Set stats->size to sizeof(utcp_connection_stats) first, as for
 * utcp_circuit_get_info(). After the connection has ended, these are the last values.
 *
 * UTCP_ERR_SIZE: stats->size is not set. UTCP_ERR_CLOSED: the endpoint was freed. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a
 * pointer is not what it should be.
 */
int utcp_connection_get_stats(const struct utcp_connection *connection,
                              struct utcp_connection_stats *stats);

/**
 * Reads the counters of an endpoint. Set stats->size to sizeof(utcp_endpoint_stats) first, as for
 * utcp_circuit_get_info().
 *
 * UTCP_ERR_SIZE: stats->size is not set. UTCP_ERR_NULL, UTCP_ERR_HANDLE: a pointer is not what it should be.
 */
int utcp_endpoint_get_stats(const struct utcp_endpoint *endpoint, struct utcp_endpoint_stats *stats);

/**
 * Sends log records up to `max_level` (UTCP_LOG_*) to `hook`, with `user`; `hook` NULL turns the log off, and
 * `max_level` has no meaning then.
 *
 * The log is the process's, not an endpoint's. It can be changed at any time, from any thread; when this has
 * returned, the function that was set before is not running and will not be called any more.
 *
 * UTCP_ERR_RANGE: unknown level. UTCP_ERR_BUSY: called from inside the hook. UTCP_ERR_IN_USE: the program is written
 * in Rust and has set a logger of its own, which gets the records.
 */
int utcp_log_set(utcp_log_fn hook,
                 void *user,
                 int max_level);

/**
 * Prints log records to stderr, as the environment variable RUST_LOG says (for instance `RUST_LOG=info` or
 * `RUST_LOG=utcp::dtls=trace`). Without a call of this function the library prints nothing, ever.
 *
 * UTCP_ERR_IN_USE: a hook is set (turn it off first), or the program has a logger of its own. UTCP_ERR_BUSY: called
 * from inside the hook.
 */
int utcp_log_env(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UTCP_H */
