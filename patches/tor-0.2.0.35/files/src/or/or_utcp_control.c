/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * \file or_utcp_control.c
 * \brief Which transport OR connections use, for the operator: GETINFO
 * utcp/links and utcp/circuits, and lines in the log.
 **/

#include "or.h"
#include "or_utcp_glue.h"
#include "or_utcp_tls.h"

#include <event2/buffer.h>

/** Between two lines that count connections, in seconds. */
#define LOG_INTERVAL (60*60)

/** Write the address of the other side to <b>buf</b>. */
static void
format_address(const or_connection_t *conn, char buf[INET_NTOA_BUF_LEN])
{
  struct in_addr in;
  in.s_addr = htonl(conn->_base.addr);
  tor_inet_ntoa(&in, buf, INET_NTOA_BUF_LEN);
}

/** Add what a connection by TLS has moved, in octets of TLS. */
static void
add_tls_figures(const or_connection_t *conn, or_utcp_figures_t *figures)
{
  if (conn->tls)
    or_utcp_tls_count(conn->tls, &figures->received, &figures->sent);
  or_utcp_tcp_add_figures(conn->_base.s, figures);
}

static void
describe_connection(struct evbuffer *out, or_connection_t *conn)
{
  char fingerprint[HEX_DIGEST_LEN+1];
  char address[INET_NTOA_BUF_LEN];
  or_utcp_line_t line;

  memset(&line, 0, sizeof(line));
  format_address(conn, address);
  line.link = conn->utcp_link;
  line.address = address;
  line.port = conn->_base.port;
  line.outgoing = connection_or_nonopen_was_started_here(conn);
  line.circuits = conn->n_circuits;
  line.state = conn->_base.state == OR_CONN_STATE_OPEN ? "open" :
               conn->_base.state == OR_CONN_STATE_CONNECTING ? "connecting" :
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
getinfo_helper_utcp(control_connection_t *control_conn, const char *question,
                    char **answer)
{
  const bool links = !strcmp(question, "utcp/links");
  struct evbuffer *out;
  size_t len;
  (void)control_conn;

  if (!links && strcmp(question, "utcp/circuits"))
    return 0;
  if (!(out = evbuffer_new()))
    return -1;
  SMARTLIST_FOREACH(get_connection_array(), connection_t *, base, {
    if (base->type != CONN_TYPE_OR || base->marked_for_close)
      continue;
    or_connection_t *conn = TO_OR_CONN(base);
    if (links) {
      describe_connection(out, conn);
    } else if (conn->utcp_link) {
      char address[INET_NTOA_BUF_LEN];
      format_address(conn, address);
      or_utcp_describe_streams(out, conn->utcp_link, address, base->port);
    }
  });
  len = evbuffer_get_length(out);
  *answer = tor_malloc_zero(len + 1);
  evbuffer_remove(out, *answer, len);
  evbuffer_free(out);
  return 0;
}

/** Log how many connections there are of each transport, and what they have
 * moved. */
static void
log_figures(void)
{
  or_utcp_figures_t utcp, tls;

  memset(&utcp, 0, sizeof(utcp));
  memset(&tls, 0, sizeof(tls));
  SMARTLIST_FOREACH(get_connection_array(), connection_t *, base, {
    if (base->type != CONN_TYPE_OR || base->marked_for_close ||
        base->state != OR_CONN_STATE_OPEN)
      continue;
    if (or_utcp_is_link(base))
      or_utcp_link_add_figures(TO_OR_CONN(base)->utcp_link, &utcp);
    else
      add_tls_figures(TO_OR_CONN(base), &tls);
  });
  or_utcp_log_figures(&utcp, &tls);
}

/** Called once a second: log the figures once an hour. */
void
or_utcp_log_hourly(time_t now)
{
  static time_t time_to_log = 0;

  if (!or_utcp_endpoint_is_open() || now < time_to_log)
    return;
  if (time_to_log)
    log_figures();
  time_to_log = now + LOG_INTERVAL;
}

/** SIGUSR1: log the figures, and the memory that the library uses. */
void
or_utcp_dump_usage(int severity)
{
  if (!or_utcp_endpoint_is_open())
    return;
  log_figures();
  log(severity, LD_GENERAL, "In libutcp's queues: %lu bytes.",
      (unsigned long)or_utcp_memory());
}
