/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_link.c
 * @brief Links: their making, control circuit, limits and end.
 *
 * The glue accepts every certificate in DTLS.  As over TLS, relays prove
 * their identity by what Tor's own link handshake looks at: the session's
 * certificates, and what runs in the control circuit.
 *
 * While DTLS is under way an outgoing connection is connecting; if DTLS
 * fails, the same connection is made by TCP.
 **/

#include "or_utcp_glue_internal.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static or_utcp_link_t *
link_new(struct or_connection_t *conn, utcp_connection *transport)
{
  or_utcp_link_t *link = or_utcp_alloc(sizeof(*link));
  link->conn = conn;
  link->transport = transport;
  link->control.link = link;
  link->control.is_control = 1;
  or_utcp_list_init(&link->control.all);
  or_utcp_list_init(&link->control.unread);
  or_utcp_list_init(&link->streams);
  or_utcp_list_init(&link->unread);
  or_utcp_list_init(&link->lost);
  or_utcp_list_init(&link->all);
  or_utcp_list_init(&link->active);
  or_utcp_list_init(&link->falling_back);
  if (transport) {
    utcp_connection_set_user(transport, link);
    utcp_connection_hold(transport, 1);
  }
  or_utcp_list_add(&or_utcp_links, &link->all);
  return link;
}

/** Is there a connection for <b>link</b> that is not about to be closed? */
bool
or_utcp_link_is_usable(const or_utcp_link_t *link)
{
  return link->conn && or_utcp_tor_is_usable(link->conn);
}

/** The peer, for a log line. */
const char *
or_utcp_link_describe(const or_utcp_link_t *link)
{
  return link->conn ? or_utcp_tor_describe(link->conn) : "an unknown peer";
}

/** Take the DTLS session and all streams away from <b>link</b>, closing them.
 * A link that no connection owns is freed. */
void
or_utcp_link_detach(or_utcp_link_t *link)
{
  or_utcp_streams_free(link);
  or_utcp_list_remove(&link->control.unread);
  or_utcp_stream_discard_backlog(&link->control);
  link->control.circuit = NULL;
  if (link->transport) {
    utcp_connection_set_user(link->transport, NULL);
    utcp_connection_close(link->transport);
    utcp_connection_free(link->transport);
    link->transport = NULL;
    or_utcp_schedule_flush();
  }
  if (link->awaiting) {
    link->awaiting->awaited_by = NULL;
    link->awaiting = NULL;
  }
  if (link->awaited_by) {
    or_utcp_link_t *waiting = link->awaited_by;
    waiting->awaiting = NULL;
    link->awaited_by = NULL;
    or_utcp_fall_back_later(waiting);
  }
  if (link->conn)
    return;
  or_utcp_list_remove(&link->all);
  or_utcp_list_remove(&link->active);
  or_utcp_list_remove(&link->falling_back);
  free(link);
}

/** The connection of <b>link</b> is being freed. */
void
or_utcp_link_free(or_utcp_link_t *link)
{
  link->conn = NULL;
  or_utcp_link_detach(link);
}

/** Is there a DTLS session? */
bool
or_utcp_link_is_up(const or_utcp_link_t *link)
{
  return link->control.circuit != NULL;
}

/** The DTLS session, borrowed until this call into the glue or from it
 * returns; NULL: there is none. */
struct ssl_st *
or_utcp_link_ssl(const or_utcp_link_t *link)
{
  return link->transport ? utcp_connection_ssl(link->transport) : NULL;
}

/* Making connections. */

/** The connection of <b>outgoing</b> is to wait until <b>theirs</b>, which
 * the peer has made at the same time, is open. */
static void
await_link(or_utcp_link_t *outgoing, or_utcp_link_t *theirs)
{
  theirs->awaited_by = outgoing;
  outgoing->awaiting = theirs;
  or_utcp_tor_log(OR_UTCP_INFO, "%s connects to us by UDP, too. Waiting for "
                  "that.", or_utcp_link_describe(outgoing));
}

/** Make the link of an outgoing connection to a relay that takes UDP at
 * <b>address</b>.  NULL: use TCP. */
or_utcp_link_t *
or_utcp_link_connect(struct or_connection_t *conn,
                     const struct sockaddr *address, socklen_t address_len)
{
  utcp_connection *transport = NULL;
  or_utcp_link_t *link;
  int r;

  if (!or_utcp_endpoint)
    return NULL;
  r = utcp_endpoint_connect(or_utcp_endpoint, or_utcp_tor_now(), address,
                            address_len, NULL, &transport);
  if (r == UTCP_ERR_IN_USE &&
      utcp_endpoint_find(or_utcp_endpoint, address, address_len,
                         &transport) == UTCP_OK) {
    or_utcp_link_t *theirs = utcp_connection_user(transport);
    if (theirs && !theirs->released && !theirs->awaited_by &&
        !theirs->awaiting) {
      /* The peer was faster. */
      link = link_new(conn, NULL);
      await_link(link, theirs);
      return link;
    }
  }
  if (r) {
    /* There is an older link to the same peer that Tor does not want to use
     * for new circuits. */
    or_utcp_tor_log(OR_UTCP_INFO, "Cannot connect to %s by UDP (%s); using "
                    "TCP.", or_utcp_tor_describe(conn), utcp_error_string(r));
    return NULL;
  }
  link = link_new(conn, transport);
  or_utcp_tor_log(OR_UTCP_INFO, "Connecting to %s by UDP.",
                  or_utcp_tor_describe(conn));
  or_utcp_schedule_flush();
  return link;
}

/** UDP did not work: make the connection of <b>link</b> by TCP. */
void
or_utcp_link_fall_back(or_utcp_link_t *link)
{
  struct or_connection_t *conn = link->conn;

  if (!or_utcp_link_is_usable(link))
    return; /* Freed with its connection soon. */
  or_utcp_tor_log(OR_UTCP_INFO, "No connection to %s by UDP; trying TCP.",
                  or_utcp_tor_describe(conn));
  or_utcp_link_free(link);
  or_utcp_tor_connect_by_tcp(conn);
}

/** DTLS is complete: begin Tor's link handshake, as the side that answers if
 * <b>is_server</b>. */
static void
start_link_handshake(or_utcp_link_t *link, bool is_server)
{
  link->handshake_until = or_utcp_tor_now() + OR_UTCP_LINK_HANDSHAKE_USEC;
  link->control.circuit = utcp_connection_control(link->transport);
  utcp_circuit_set_user(link->control.circuit, &link->control);
  or_utcp_tor_log(OR_UTCP_INFO, "DTLS with %s is complete.",
                  or_utcp_link_describe(link));
  or_utcp_tor_begin_handshake(link->conn, is_server);
}

/** Make a connection for a peer that has connected to us. */
static void
accept_link(or_utcp_link_t *link)
{
  struct sockaddr_storage address;
  socklen_t len = sizeof(address);

  if (!utcp_connection_address(link->transport, (struct sockaddr *)&address,
                               &len))
    link->conn = or_utcp_tor_accept(link, (struct sockaddr *)&address, len);
  if (!link->conn)
    or_utcp_link_detach(link);
  else if (or_utcp_link_is_usable(link))
    start_link_handshake(link, true);
}

/** Library callback: a peer whose address is proven wants to connect. */
int
or_utcp_cb_incoming(void *user, utcp_connection *transport,
                    const struct sockaddr *address, socklen_t len)
{
  (void)user;
  if (!or_utcp_tor_is_accepting() || !or_utcp_tor_accepts_from(address, len))
    return -1;
  link_new(NULL, transport);
  return 0;
}

/** Library callback: every certificate is accepted; see the file's head. */
int
or_utcp_cb_verify(void *user, utcp_connection *transport, struct ssl_st *ssl)
{
  (void)user; (void)transport; (void)ssl;
  return 0;
}

/** Library callback: DTLS is complete. */
void
or_utcp_cb_ready(void *user, utcp_connection *transport)
{
  or_utcp_link_t *link = utcp_connection_user(transport);
  const bool is_server =
    utcp_connection_role(transport) == UTCP_ROLE_SERVER;
  (void)user;

  if (!link)
    return;
  utcp_connection_hold(transport, 1);
  if (!link->conn) {
    accept_link(link);
  } else if (!or_utcp_link_is_usable(link)) {
    return;
  } else if (!is_server) {
    start_link_handshake(link, false);
  } else {
    /* Both sides connected at once, and the peer has the client's part: it
     * will prove its identity as somebody who connects to us does, and there
     * is no telling yet whether it is the relay that our connection is for.
     * So the session gets a connection of its own.  Ours waits for that one
     * to open, whereupon the circuits that wait for ours are served by it. */
    or_utcp_link_t *outgoing = link;
    link->transport = NULL;
    link = link_new(NULL, transport);
    await_link(outgoing, link);
    accept_link(link);
  }
}

/** Library callback: the session has ended, and its circuits before it. */
void
or_utcp_cb_closed(void *user, utcp_connection *transport, int reason)
{
  or_utcp_link_t *link = utcp_connection_user(transport);
  (void)user;

  if (!link)
    return;
  struct or_connection_t *conn = link->conn;
  or_utcp_link_detach(link); /* Frees a link without a connection. */
  if (!conn || !or_utcp_tor_is_usable(conn))
    return;

  or_utcp_tor_log(OR_UTCP_INFO, "DTLS session with %s has ended: %s.",
                  or_utcp_tor_describe(conn), utcp_error_string(reason));
  if (!or_utcp_tor_is_open(conn) && or_utcp_tor_is_outgoing(conn))
    or_utcp_note_failure(or_utcp_tor_identity(conn));
  if (or_utcp_tor_is_connecting(conn))
    or_utcp_fall_back_later(link);
  else
    or_utcp_tor_close(conn, reason);
}

/** Our own connection waited for the peer's, <b>opened</b>, to open. */
static void
awaited_link_opened(or_utcp_link_t *opened)
{
  or_utcp_link_t *outgoing = opened->awaited_by;

  opened->awaited_by = NULL;
  outgoing->awaiting = NULL;
  if (!or_utcp_link_is_usable(outgoing))
    return;
  if (!memcmp(or_utcp_tor_identity(opened->conn),
              or_utcp_tor_identity(outgoing->conn), OR_UTCP_IDENTITY_LEN)) {
    /* The waiting circuits are attached to it by now. */
    or_utcp_tor_close(outgoing->conn, UTCP_CLOSE_DONE);
  } else {
    /* Some other relay lives at that address. */
    or_utcp_note_failure(or_utcp_tor_identity(outgoing->conn));
    or_utcp_fall_back_later(outgoing);
  }
}

/** Tor's handshake is done: circuits may come.  Cells of theirs may be here
 * already, since streams are not ordered against the control circuit. */
void
or_utcp_link_opened(or_utcp_link_t *link)
{
  if (link->released || !link->transport)
    return;
  link->released = 1;
  link->handshake_until = 0;
  utcp_connection_hold(link->transport, 0);
  or_utcp_schedule_flush();
  or_utcp_tor_log(OR_UTCP_INFO, "Connection with %s is open, over UDP.",
                  or_utcp_link_describe(link));
  if (link->awaited_by)
    awaited_link_opened(link);
}

/* The control circuit. */

/** Read the control circuit for as long as there is something. */
void
or_utcp_control_read(or_utcp_link_t *link)
{
  uint8_t buf[4096];

  while (link->control.circuit && or_utcp_link_is_usable(link)) {
    size_t n = 0;
    if (link->reading_stopped) {
      link->control.held_by_bandwidth = 1;
      return;
    }
    const int r = utcp_circuit_read(link->control.circuit, buf, sizeof(buf),
                                    &n);
    if (r == UTCP_ERR_END) {
      or_utcp_tor_close(link->conn, UTCP_CLOSE_PEER);
      return;
    }
    if (r || n == 0)
      return; /* If it is gone, connection_closed follows. */
    or_utcp_link_active(link);
    or_utcp_tor_control_received(link->conn, buf, n);
  }
}

/** Send <b>len</b> octets on the control circuit.  What it has no room for is
 * kept. */
void
or_utcp_link_write(or_utcp_link_t *link, const void *data, size_t len)
{
  if (link->control.circuit)
    or_utcp_stream_write(&link->control, data, len);
}

/* Limits. */

/** There is bandwidth to read. */
void
or_utcp_link_start_reading(or_utcp_link_t *link)
{
  link->reading_stopped = 0;
  or_utcp_streams_resume(link);
}

/** No bandwidth is left.  Streams are not read, so that their windows close.
 * The socket is: what it brings acknowledges what we send, and belongs to
 * other connections too. */
void
or_utcp_link_stop_reading(or_utcp_link_t *link)
{
  link->reading_stopped = 1;
}

/** Take what went over the wire since last time out of the token buckets, and
 * count it. */
void
or_utcp_link_charge(or_utcp_link_t *link)
{
  utcp_connection_stats stats = { .size = sizeof(stats) };

  if (!or_utcp_link_is_usable(link) || !link->transport ||
      utcp_connection_get_stats(link->transport, &stats))
    return;
  const uint64_t received = stats.bytes_received - link->charged_received;
  const uint64_t sent = stats.bytes_sent - link->charged_sent;
  if (!received && !sent)
    return;
  link->charged_received = stats.bytes_received;
  link->charged_sent = stats.bytes_sent;
  or_utcp_tor_moved(link->conn, (size_t)received, (size_t)sent);
}

/** Once a second: give up what takes too long. */
void
or_utcp_link_check(or_utcp_link_t *link, uint64_t now)
{
  if (!or_utcp_link_is_usable(link))
    return;
  or_utcp_streams_check(link, now);
  if (link->handshake_until && link->handshake_until < now) {
    or_utcp_tor_log(OR_UTCP_INFO, "Link handshake with %s over UDP takes too "
                    "long.", or_utcp_link_describe(link));
    link->handshake_until = 0;
    if (or_utcp_tor_is_outgoing(link->conn))
      or_utcp_note_failure(or_utcp_tor_identity(link->conn));
    or_utcp_tor_close(link->conn, UTCP_CLOSE_TIMEOUT);
  } else if (or_utcp_stream_backlog(&link->control) >
             OR_UTCP_MAX_CONTROL_BACKLOG) {
    or_utcp_tor_log(OR_UTCP_INFO, "%s does not read its control circuit. "
                    "Closing.", or_utcp_link_describe(link));
    or_utcp_tor_close(link->conn, UTCP_CLOSE_TIMEOUT);
  }
}
