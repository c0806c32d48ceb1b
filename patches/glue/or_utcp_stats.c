/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_stats.c
 * @brief For the operator: what connections have moved by each transport.
 **/

#include "or_utcp_glue_internal.h"

#include <event2/buffer.h>
#include <inttypes.h>
#ifdef __linux__
#include <netinet/in.h>
#include <netinet/tcp.h>
#endif

/** Add what <b>link</b> has moved, in octets of UDP payload. */
void
or_utcp_link_add_figures(const or_utcp_link_t *link, or_utcp_figures_t *sum)
{
  utcp_connection_stats stats = { .size = sizeof(stats) };

  ++sum->links;
  if (!link->transport ||
      utcp_connection_get_stats(link->transport, &stats) != UTCP_OK)
    return;
  sum->sent += stats.bytes_sent;
  sum->received += stats.bytes_received;
  sum->retransmits += stats.segments_retransmitted;
}

/** Count a TLS connection, and what the kernel has retransmitted for it.  Its
 * octets, Tor counts itself. */
void
or_utcp_tcp_add_figures(int socket, or_utcp_figures_t *sum)
{
  ++sum->links;
#if defined(__linux__) && defined(TCP_INFO)
  struct tcp_info info;
  socklen_t len = sizeof(info);
  if (socket >= 0 &&
      getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
    sum->retransmits += info.tcpi_total_retrans;
#else
  (void)socket;
#endif
}

static void
end_line(struct evbuffer *out)
{
  if (evbuffer_get_length(out))
    evbuffer_add(out, "\r\n", 2);
}

/** Add a line for GETINFO utcp/links: fingerprint address transport direction
 * circuits bytes-sent bytes-received retransmits state. */
void
or_utcp_describe_connection(struct evbuffer *out, or_utcp_line_t *line)
{
  if (line->link)
    or_utcp_link_add_figures(line->link, &line->figures);
  end_line(out);
  evbuffer_add_printf(out, "%s %s:%d %s %s %d %" PRIu64 " %" PRIu64
                      " %" PRIu64 " %s",
                      line->fingerprint ? line->fingerprint : "-",
                      line->address, line->port,
                      line->link ? "utcp" : "tls",
                      line->outgoing ? "out" : "in", line->circuits,
                      line->figures.sent, line->figures.received,
                      line->figures.retransmits, line->state);
}

/** Add a line for each stream of <b>link</b>, for GETINFO utcp/circuits:
 * address of the peer, number of the circuit, state of its TCP.  The window
 * of a coupled circuit is that of all coupled circuits of the link. */
void
or_utcp_describe_streams(struct evbuffer *out, const or_utcp_link_t *link,
                         const char *address, uint16_t port)
{
  utcp_connection_stats together = { .size = sizeof(together) };
  const or_utcp_list_t *node;

  if (!link->transport ||
      utcp_connection_get_stats(link->transport, &together) != UTCP_OK)
    return;
  for (node = link->streams.next; node != &link->streams; node = node->next) {
    const or_utcp_stream_t *s = OR_UTCP_ENTRY(node, or_utcp_stream_t, all);
    utcp_circuit_info info = { .size = sizeof(info) };
    if (utcp_circuit_get_info(s->circuit, &info) != UTCP_OK)
      continue;
    end_line(out);
    if (info.coupled) {
      info.cwnd = together.coupled_cwnd;
      info.congestion = (uint32_t)together.coupled_congestion;
    }
    evbuffer_add_printf(out, "%s:%d %" PRIu32 " state=%u congestion=%s"
      " cwnd=%" PRIu64 " flight=%" PRIu64 " queued=%" PRIu64 " unsent=%" PRIu64
      " window=%" PRIu64 " unread=%" PRIu64 " held=%" PRIu64
      " srtt=%" PRIu64 " rto=%" PRIu64 " retransmits=%" PRIu64 "%s%s%s%s",
      address, port, s->number, info.state,
      or_utcp_congestion_name(info.congestion, info.coupled), info.cwnd,
      info.bytes_in_flight, info.send_queue, info.unsent, info.send_window, info.receive_queue,
      info.out_of_order, info.srtt, info.rto, info.segments_retransmitted,
      s->pending ? " FULL" : "", s->held_by_circuit ? " BLOCKED" : "",
      s->held_by_bandwidth ? " LIMITED" : "",
      s->linger_until ? " DESTROYED" : "");
  }
}

/** Log how many open connections there are of each transport, and what they
 * have moved. */
void
or_utcp_log_figures(const or_utcp_figures_t *utcp,
                    const or_utcp_figures_t *tls)
{
  utcp_endpoint_stats stats = { .size = sizeof(stats) };

  if (!or_utcp_endpoint)
    return;
  or_utcp_tor_log(OR_UTCP_NOTICE, "Open OR connections: %u over UDP, which "
                  "have sent %" PRIu64 " kB and received %" PRIu64 " kB, with "
                  "%" PRIu64 " segments retransmitted; %u over TLS, which "
                  "have sent %" PRIu64 " kB and received %" PRIu64 " kB.",
                  utcp->links, utcp->sent / 1000, utcp->received / 1000,
                  utcp->retransmits, tls->links, tls->sent / 1000,
                  tls->received / 1000);
  if (utcp_endpoint_get_stats(or_utcp_endpoint, &stats) == UTCP_OK)
    or_utcp_tor_log(OR_UTCP_INFO, "UDP: %" PRIu64 " circuits, %" PRIu64
                    " bytes queued of %" PRIu64 ", %" PRIu64 " at most; "
                    "for lack of memory, %" PRIu64 " writes cut short and "
                    "%" PRIu64 " segments dropped; %" PRIu64 " handshakes "
                    "completed, %" PRIu64 " failed.", stats.circuits,
                    stats.memory, stats.memory_budget, stats.memory_peak,
                    stats.writes_refused,
                    stats.dropped_out_of_order + stats.dropped_in_order,
                    stats.handshakes_completed, stats.handshakes_failed);
}
