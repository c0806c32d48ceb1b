/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * \file or_utcp_tls.h
 * \brief What the or_utcp_*.c files need of tortls.c.
 **/

#ifndef _TOR_OR_UTCP_TLS_H
#define _TOR_OR_UTCP_TLS_H

#include <stddef.h>
#include <stdint.h>

struct ssl_st;
struct tor_tls_t;

/** What this relay presents in DTLS, in DER. */
typedef struct or_utcp_credentials_t {
  /** Link certificate, then identity certificate. */
  uint8_t *chain;
  size_t chain_len;
  /** The link certificate's private key. */
  uint8_t *key;
  size_t key_len;
} or_utcp_credentials_t;

int or_utcp_credentials_get(or_utcp_credentials_t *out);
void or_utcp_credentials_clear(or_utcp_credentials_t *credentials);

struct tor_tls_t *or_utcp_tls_new(int is_server);
void or_utcp_tls_lend(struct tor_tls_t *tls, struct ssl_st *ssl);
void or_utcp_tls_free(struct tor_tls_t *tls);

void or_utcp_tls_count(const struct tor_tls_t *tls, uint64_t *received,
                       uint64_t *sent);

#endif /* !defined(_TOR_OR_UTCP_TLS_H) */
