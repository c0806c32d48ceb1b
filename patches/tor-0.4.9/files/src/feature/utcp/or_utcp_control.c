/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_control.c
 * @brief Which transport OR connections use, for the operator: GETINFO
 * utcp/links and utcp/circuits, ORCONN, the heartbeat.
 **/

#define CHANNEL_OBJECT_PRIVATE
#include "core/or/or.h"

#include "core/mainloop/connection.h"
#include "core/mainloop/mainloop.h"
#include "core/or/channel.h"
#include "core/or/channeltls.h"
#include "core/or/connection_or.h"
#include "core/or/or_connection_st.h"
#include "feature/utcp/or_utcp.h"
#include "lib/container/smartlist.h"
#include "lib/encoding/binascii.h"
#include "lib/net/address.h"

#include <event2/buffer.h>

/** The transport as an argument of an ORCONN event. */
const char *
or_utcp_transport_keyword(const or_connection_t *conn)
{
  return conn->utcp_link ? " TRANSPORT=utcp" : " TRANSPORT=tls";
}

/** Add what a connection by TLS has moved, in cells. */
static void
add_tls_figures(const or_connection_t *conn, or_utcp_figures_t *figures)
{
  if (conn->chan) {
    const channel_t *chan = TLS_CHAN_TO_BASE(conn->chan);
    figures->sent += chan->n_bytes_xmitted;
    figures->received += chan->n_bytes_recved;
  }
  or_utcp_tcp_add_figures(conn->base_.s, figures);
}

static void
describe_connection(struct evbuffer *out, or_connection_t *conn)
{
  const connection_t *base = TO_CONN(conn);
  char fingerprint[HEX_DIGEST_LEN + 1];
  or_utcp_line_t line;

  memset(&line, 0, sizeof(line));
  line.link = conn->utcp_link;
  line.address = fmt_and_decorate_addr(&base->addr);
  line.port = base->port;
  line.outgoing = conn->is_outgoing;
  line.circuits = connection_or_get_num_circuits(conn);
  line.state = base->state == OR_CONN_STATE_OPEN ? "open" :
               base->state == OR_CONN_STATE_CONNECTING ? "connecting" :
                                                         "handshaking";
  if (!conn->utcp_link)
    add_tls_figures(conn, &line.figures);
  if (!tor_digest_is_zero(conn->identity_digest)) {
    base16_encode(fingerprint, sizeof(fingerprint), conn->identity_digest,
                  DIGEST_LEN);
    line.fingerprint = fingerprint;
  }
  or_utcp_describe_connection(out, &line);
}

/** GETINFO utcp/links: one line for each OR connection, TLS ones too.
 * GETINFO utcp/circuits: one line for each stream. */
int
getinfo_helper_utcp(struct control_connection_t *control_conn,
                    const char *question, char **answer, const char **errmsg)
{
  (void)control_conn;
  const bool links = !strcmp(question, "utcp/links");
  if (!links && strcmp(question, "utcp/circuits"))
    return 0;
  struct evbuffer *out = evbuffer_new();
  if (!out) {
    *errmsg = "Out of memory";
    return -1;
  }
  SMARTLIST_FOREACH_BEGIN(get_connection_array(), connection_t *, conn) {
    if (conn->type != CONN_TYPE_OR || conn->marked_for_close)
      continue;
    if (links)
      describe_connection(out, TO_OR_CONN(conn));
    else if (or_utcp_is_link(conn))
      or_utcp_describe_streams(out, TO_OR_CONN(conn)->utcp_link,
                               fmt_and_decorate_addr(&conn->addr),
                               conn->port);
  } SMARTLIST_FOREACH_END(conn);
  const size_t len = evbuffer_get_length(out);
  *answer = tor_malloc_zero(len + 1);
  evbuffer_remove(out, *answer, len);
  evbuffer_free(out);
  return 0;
}

/** Log how many links there are of each transport, and what they moved. */
void
or_utcp_log_heartbeat(void)
{
  or_utcp_figures_t utcp, tls;

  if (!or_utcp_endpoint_is_open())
    return;
  memset(&utcp, 0, sizeof(utcp));
  memset(&tls, 0, sizeof(tls));
  SMARTLIST_FOREACH_BEGIN(get_connection_array(), connection_t *, conn) {
    if (conn->type != CONN_TYPE_OR || conn->marked_for_close ||
        conn->state != OR_CONN_STATE_OPEN)
      continue;
    const or_connection_t *or_conn = CONST_TO_OR_CONN(conn);
    if (or_conn->utcp_link)
      or_utcp_link_add_figures(or_conn->utcp_link, &utcp);
    else
      add_tls_figures(or_conn, &tls);
  } SMARTLIST_FOREACH_END(conn);
  or_utcp_log_figures(&utcp, &tls);
}
