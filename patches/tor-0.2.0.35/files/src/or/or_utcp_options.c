/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * \file or_utcp_options.c
 * \brief Opens, closes and moves the UDP socket as the configuration says,
 * and keeps its certificates those of TLS.
 **/

#include "or.h"
#include "or_utcp_glue.h"
#include "or_utcp_tls.h"

/** Octets that all queues of the library may hold together.  This version of
 * Tor has no limit of its own from which that could follow. */
#define QUEUE_MEMORY (UINT64_C(256) << 20)

/** The port of the socket that is open. */
static uint16_t udp_port = 0;

/** True if the configuration asks for a UDP socket: public relays only. */
static bool
is_wanted(or_options_t *options)
{
  return options->command == CMD_RUN_TOR && options->ORUDPPort > 0 &&
         server_mode(options) && !options->BridgeRelay;
}

/** Choose the address to bind to: peers have to see the one that our
 * descriptor names, so take the one that the ORPort is bound to. */
static void
choose_address(const or_options_t *options, struct sockaddr_in *sin)
{
  uint32_t addr = 0;
  uint16_t or_port;

  memset(sin, 0, sizeof(*sin));
  sin->sin_family = AF_INET;
  sin->sin_port = htons((uint16_t)options->ORUDPPort);
  if (options->ORListenAddress) {
    if (parse_addr_port(LOG_WARN, options->ORListenAddress->value, NULL,
                        &addr, &or_port) < 0)
      addr = 0;
    sin->sin_addr.s_addr = htonl(addr);
  }
  if (!addr && options->OutboundBindAddress &&
      !tor_inet_aton(options->OutboundBindAddress, &sin->sin_addr))
    sin->sin_addr.s_addr = htonl(INADDR_ANY);
}

/** Open the socket, once there are keys.  Until then, do nothing. */
static void
open_endpoint(const or_options_t *options)
{
  or_utcp_settings_t settings;
  or_utcp_credentials_t credentials;
  struct sockaddr_in sin;

  if (or_utcp_credentials_get(&credentials) < 0)
    return;
  choose_address(options, &sin);
  memset(&settings, 0, sizeof(settings));
  settings.address = (struct sockaddr *)&sin;
  settings.address_len = sizeof(sin);
  settings.chain = credentials.chain;
  settings.chain_len = credentials.chain_len;
  settings.key = credentials.key;
  settings.key_len = credentials.key_len;
  /* A relay shows who it is by the certificates of the session alone. */
  settings.mutual = true;
  /* They are signed with SHA-1, by keys of 1024 bits. */
  settings.security_level = 0;
  settings.handshake_timeout = options->ORUDPHandshakeTimeout;
  settings.max_links = options->_ConnLimit;
  settings.rate = options->RelayBandwidthRate ? options->RelayBandwidthRate :
                                                options->BandwidthRate;
  settings.memory = QUEUE_MEMORY;
  settings.congestion = options->ORUDPCongestion;
  if (or_utcp_endpoint_open(&settings))
    udp_port = (uint16_t)options->ORUDPPort;
  or_utcp_credentials_clear(&credentials);
}

/** What is wrong with <b>options</b>, or NULL. */
const char *
or_utcp_options_problem(const or_options_t *options)
{
  if (options->ORUDPPort < 0 || options->ORUDPPort > 65535)
    return "ORUDPPort option out of bounds.";
  if (!or_utcp_congestion_is_known(options->ORUDPCongestion))
    return "ORUDPCongestion has to be bbr, cubic or newreno, or one of these "
           "after coupled-.";
  return NULL;
}

/** The configuration was read: open or close the socket accordingly. */
void
or_utcp_options_changed(void)
{
  or_options_t *options = get_options();
  const bool want = is_wanted(options);

  if (or_utcp_endpoint_is_open() &&
      (!want || udp_port != options->ORUDPPort ||
       !or_utcp_congestion_is_in_use(options->ORUDPCongestion))) {
    log_notice(LD_NET, "Closing ORUDPPort %d.", udp_port);
    or_utcp_endpoint_close(false);
  }
  if (options->ORUDPPort > 0 && !want && options->command == CMD_RUN_TOR)
    log_notice(LD_CONFIG, "ORUDPPort is for public relays; ignoring it.");
  if (want && !or_utcp_endpoint_is_open())
    open_endpoint(options);
}

/** The TLS context is new: set up the endpoint if there should be one, or
 * let it present the new certificates from now on. */
void
or_utcp_tls_context_changed(void)
{
  or_utcp_credentials_t credentials;

  if (!or_utcp_endpoint_is_open()) {
    or_utcp_options_changed();
    return;
  }
  if (or_utcp_credentials_get(&credentials) < 0)
    return;
  or_utcp_endpoint_use_certificate(credentials.chain, credentials.chain_len,
                                   credentials.key, credentials.key_len);
  or_utcp_credentials_clear(&credentials);
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
