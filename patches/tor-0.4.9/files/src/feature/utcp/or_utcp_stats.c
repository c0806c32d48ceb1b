/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_stats.c
 * @brief Which transport OR connections use, for the operator: GETINFO
 * utcp/links, the heartbeat, names for the log.
 **/

#define CHANNEL_OBJECT_PRIVATE
#include "core/or/or.h"

#ifdef USE_UTCP
#include "core/mainloop/connection.h"
#include "core/mainloop/mainloop.h"
#include "core/or/channel.h"
#include "core/or/channeltls.h"
#include "core/or/connection_or.h"
#include "core/or/or_connection_st.h"
#include "feature/utcp/or_utcp.h"
#include "feature/utcp/or_utcp_internal.h"
#include "lib/container/smartlist.h"
#include "lib/encoding/binascii.h"
#include "lib/net/address.h"

#ifdef HAVE_NETINET_TCP_H
#include <netinet/tcp.h>
#endif

typedef struct link_figures_t {
  uint64_t sent, received, retransmits;
} link_figures_t;

/** "utcp" or "tls". */
const char *
or_utcp_transport_name(const or_connection_t *conn)
{
  return conn->utcp_link ? "utcp" : "tls";
}

/** The same as an argument of an ORCONN event. */
const char *
or_utcp_transport_keyword(const or_connection_t *conn)
{
  return conn->utcp_link ? " TRANSPORT=utcp" : " TRANSPORT=tls";
}

/** Add what a connection has moved: UDP payload, or cells over TLS. */
static void
add_figures(const or_connection_t *conn, link_figures_t *figures)
{
  const or_utcp_link_t *link = conn->utcp_link;

  if (link) {
    utcp_connection_stats stats = { .size = sizeof(stats) };
    if (link->transport &&
        utcp_connection_get_stats(link->transport, &stats) == UTCP_OK) {
      figures->sent += stats.bytes_sent;
      figures->received += stats.bytes_received;
      figures->retransmits += stats.segments_retransmitted;
    }
    return;
  }
  if (conn->chan) {
    const channel_t *chan = TLS_CHAN_TO_BASE(conn->chan);
    figures->sent += chan->n_bytes_xmitted;
    figures->received += chan->n_bytes_recved;
  }
#if defined(__linux__) && defined(TCP_INFO)
  struct tcp_info info;
  socklen_t len = sizeof(info);
  if (SOCKET_OK(conn->base_.s) &&
      getsockopt(conn->base_.s, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
    figures->retransmits += info.tcpi_total_retrans;
#endif /* defined(__linux__) && defined(TCP_INFO) */
}

static void
add_link_line(smartlist_t *lines, or_connection_t *conn)
{
  char fingerprint[HEX_DIGEST_LEN + 1] = "-";
  link_figures_t figures = { 0, 0, 0 };
  const uint8_t state = TO_CONN(conn)->state;
  const char *name = state == OR_CONN_STATE_OPEN ? "open" :
                     state == OR_CONN_STATE_CONNECTING ? "connecting" :
                                                         "handshaking";

  add_figures(conn, &figures);
  if (!tor_digest_is_zero(conn->identity_digest))
    base16_encode(fingerprint, sizeof(fingerprint), conn->identity_digest,
                  DIGEST_LEN);
  smartlist_add_asprintf(lines, "%s %s:%d %s %s %d %"PRIu64" %"PRIu64
                         " %"PRIu64" %s",
                         fingerprint,
                         fmt_and_decorate_addr(&TO_CONN(conn)->addr),
                         TO_CONN(conn)->port, or_utcp_transport_name(conn),
                         conn->is_outgoing ? "out" : "in",
                         connection_or_get_num_circuits(conn),
                         figures.sent, figures.received, figures.retransmits,
                         name);
}

/** GETINFO utcp/links: one line for each OR connection, TLS ones too:
 * fingerprint address transport direction circuits bytes-sent bytes-received
 * retransmits state.
 *
 * GETINFO utcp/circuits: one line for each stream: address of the peer,
 * number of the circuit, state of its TCP. */
int
getinfo_helper_utcp(struct control_connection_t *control_conn,
                    const char *question, char **answer, const char **errmsg)
{
  (void)control_conn; (void)errmsg;
  const bool links = !strcmp(question, "utcp/links");
  if (!links && strcmp(question, "utcp/circuits"))
    return 0;
  smartlist_t *lines = smartlist_new();
  SMARTLIST_FOREACH_BEGIN(get_connection_array(), connection_t *, conn) {
    if (conn->type != CONN_TYPE_OR || conn->marked_for_close)
      continue;
    if (links)
      add_link_line(lines, TO_OR_CONN(conn));
    else if (or_utcp_is_link(conn))
      or_utcp_streams_describe(TO_OR_CONN(conn)->utcp_link, lines);
  } SMARTLIST_FOREACH_END(conn);
  *answer = smartlist_join_strings(lines, "\r\n", 0, NULL);
  SMARTLIST_FOREACH(lines, char *, cp, tor_free(cp));
  smartlist_free(lines);
  return 0;
}

/** Log how many links there are of each transport, and what they moved. */
void
or_utcp_log_heartbeat(void)
{
  int n[2] = { 0, 0 };
  link_figures_t sum[2];
  utcp_endpoint_stats stats = { .size = sizeof(stats) };

  if (!or_utcp_endpoint)
    return;
  memset(sum, 0, sizeof(sum));
  SMARTLIST_FOREACH_BEGIN(get_connection_array(), connection_t *, conn) {
    if (conn->type != CONN_TYPE_OR || conn->marked_for_close ||
        conn->state != OR_CONN_STATE_OPEN)
      continue;
    const or_connection_t *or_conn = CONST_TO_OR_CONN(conn);
    const int i = or_conn->utcp_link ? 1 : 0;
    ++n[i];
    add_figures(or_conn, &sum[i]);
  } SMARTLIST_FOREACH_END(conn);

  log_notice(LD_HEARTBEAT, "Open OR connections: %d over UDP, which have sent "
             "%"PRIu64" kB and received %"PRIu64" kB, with %"PRIu64
             " segments retransmitted; %d over TLS, which have sent %"PRIu64
             " kB and received %"PRIu64" kB.",
             n[1], sum[1].sent / 1000, sum[1].received / 1000,
             sum[1].retransmits, n[0], sum[0].sent / 1000,
             sum[0].received / 1000);
  if (utcp_endpoint_get_stats(or_utcp_endpoint, &stats) == UTCP_OK)
    log_info(LD_HEARTBEAT, "UDP: %"PRIu64" circuits, %"PRIu64" bytes queued, "
             "%"PRIu64" handshakes completed, %"PRIu64" failed.",
             stats.circuits, stats.memory, stats.handshakes_completed,
             stats.handshakes_failed);
}
#endif /* defined(USE_UTCP) */
