/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_options.c
 * @brief Opens, closes and moves the UDP socket as the configuration says,
 * and keeps its certificate that of TLS.
 **/

#define TORTLS_PRIVATE
#include "core/or/or.h"

#include "app/config/config.h"
#include "core/mainloop/connection.h"
#include "core/or/port_cfg_st.h"
#include "feature/relay/routermode.h"
#include "feature/utcp/or_utcp.h"
#include "lib/container/smartlist.h"
#include "lib/crypt_ops/crypto_rsa.h"
#include "lib/crypt_ops/crypto_util.h"
#include "lib/net/address.h"
#include "lib/tls/tortls.h"
#include "lib/tls/tortls_st.h"
#include "lib/tls/x509.h"

/** The port of the socket that is open. */
static uint16_t udp_port = 0;

/** True if the configuration asks for a UDP socket: public relays only. */
static bool
is_wanted(const or_options_t *options)
{
  return options->command == CMD_RUN_TOR && options->ORUDPPort > 0 &&
         public_server_mode(options);
}

/** Choose the address to bind to: peers have to see the one that our
 * descriptor names, so take the one that the ORPort is bound to. */
static void
choose_address(const or_options_t *options, tor_addr_t *addr)
{
  const tor_addr_t *outbound;

  tor_addr_make_null(addr, AF_INET);
  SMARTLIST_FOREACH_BEGIN(get_configured_ports(), const port_cfg_t *, port) {
    if (port->type == CONN_TYPE_OR_LISTENER && !port->is_unix_addr &&
        !port->server_cfg.no_listen && tor_addr_family(&port->addr) == AF_INET
        && !tor_addr_is_null(&port->addr)) {
      tor_addr_copy(addr, &port->addr);
      return;
    }
  } SMARTLIST_FOREACH_END(port);

  outbound = &options->OutboundBindAddresses[OUTBOUND_ADDR_OR][0];
  if (tor_addr_is_null(outbound))
    outbound = &options->OutboundBindAddresses[OUTBOUND_ADDR_ANY][0];
  if (tor_addr_family(outbound) == AF_INET)
    tor_addr_copy(addr, outbound);
}

/** Fill in exactly the certificate that TLS connections present: the peer
 * checks it against the CERTS cell.  The key is written to <b>key</b>.
 * Return false if there is none. */
static bool
get_link_certificate(or_utcp_settings_t *settings, char *key, size_t key_room)
{
  const tor_tls_context_t *context = tor_tls_context_get(1);

  if (!context || !context->my_link_cert || !context->link_key)
    return false;
  tor_x509_cert_get_der(context->my_link_cert, &settings->chain,
                        &settings->chain_len);
  const int key_len = crypto_pk_asn1_encode_private(context->link_key, key,
                                                    key_room);
  if (key_len <= 0)
    return false;
  settings->key = (const uint8_t *)key;
  settings->key_len = (size_t)key_len;
  return true;
}

/** What the library's queues may hold: the rest is for Tor's own. */
static uint64_t
queue_memory(const or_options_t *options)
{
  return options->MaxMemInQueues / 4;
}

static void
open_endpoint(const or_options_t *options)
{
  or_utcp_settings_t settings;
  struct sockaddr_storage address;
  tor_addr_t addr;
  char key[4096];

  memset(&settings, 0, sizeof(settings));
  choose_address(options, &addr);
  settings.address_len = tor_addr_to_sockaddr(&addr, options->ORUDPPort,
                                              (struct sockaddr *)&address,
                                              sizeof(address));
  settings.address = (struct sockaddr *)&address;
  settings.security_level = 2;
  settings.handshake_timeout = options->ORUDPHandshakeTimeout;
  settings.max_links = options->ConnLimit_;
  settings.rate = options->RelayBandwidthRate ? options->RelayBandwidthRate :
                                                options->BandwidthRate;
  settings.memory = queue_memory(options);
  settings.congestion = options->ORUDPCongestion;
  if (get_link_certificate(&settings, key, sizeof(key)) &&
      or_utcp_endpoint_open(&settings))
    udp_port = options->ORUDPPort;
  memwipe(key, 0, sizeof(key));
}

/** The TLS context is new: set up the endpoint if there should be one, or
 * let it present the new certificate from now on. */
void
or_utcp_tls_context_changed(void)
{
  or_utcp_settings_t settings;
  char key[4096];

  if (!or_utcp_endpoint_is_open()) {
    or_utcp_options_changed();
    return;
  }
  memset(&settings, 0, sizeof(settings));
  if (get_link_certificate(&settings, key, sizeof(key)))
    or_utcp_endpoint_use_certificate(settings.chain, settings.chain_len,
                                     settings.key, settings.key_len);
  memwipe(key, 0, sizeof(key));
}

/** What is wrong with <b>options</b>, or NULL. */
const char *
or_utcp_options_problem(const or_options_t *options)
{
  if (options->ORUDPPort > 65535)
    return "ORUDPPort is not a port.";
  if (!or_utcp_congestion_is_known(options->ORUDPCongestion))
    return "ORUDPCongestion has to be bbr, cubic or newreno, or one of these "
           "after coupled-.";
  return NULL;
}

/** The configuration was read: open or close the socket accordingly, and let
 * the memory of one that stays follow.  Before there are keys, do nothing. */
void
or_utcp_options_changed(void)
{
  const or_options_t *options = get_options();
  const bool want = is_wanted(options);

  if (or_utcp_endpoint_is_open() &&
      (!want || udp_port != options->ORUDPPort ||
       !or_utcp_congestion_is_in_use(options->ORUDPCongestion))) {
    log_notice(LD_NET, "Closing ORUDPPort %d.", udp_port);
    or_utcp_endpoint_close(false);
  }
  if (options->ORUDPPort > 0 && !want && options->command == CMD_RUN_TOR)
    log_notice(LD_CONFIG, "ORUDPPort is for public relays; ignoring it.");
  const tor_tls_context_t *context = want ? tor_tls_context_get(1) : NULL;
  if (or_utcp_endpoint_is_open())
    or_utcp_endpoint_set_memory(queue_memory(options));
  else if (context && context->my_link_cert)
    open_endpoint(options);
}

/** The UDP port for our descriptor, or 0. */
uint16_t
or_utcp_published_port(void)
{
  return or_utcp_endpoint_is_open() ? udp_port : 0;
}

/** Exit: say good-bye to all peers and free everything. */
void
or_utcp_free_all(void)
{
  or_utcp_free_glue();
}
