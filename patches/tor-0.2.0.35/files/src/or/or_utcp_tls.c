/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * \file or_utcp_tls.c
 * \brief A tor_tls_t for a DTLS session of libutcp.  Part of tortls.c, which
 * includes this file: nothing else may look into a tor_tls_t.
 *
 * Tor asks a tor_tls_t who the peer is once, when the handshake is complete.
 * For that time it has the session's SSL object, which the library owns and
 * may free at any later call; at other times it has none.  It is not in the
 * tlsmap.
 **/

#include "or_utcp_tls.h"

static void tls_log_errors(tor_tls_t *tls, int severity, const char *doing);

/** Make a tor_tls_t for a session whose handshake is complete, with us in the
 * server's role or in the client's. */
tor_tls_t *
or_utcp_tls_new(int is_server)
{
  tor_tls_t *tls = tor_malloc_zero(sizeof(tor_tls_t));
  tls->socket = -1;
  tls->state = TOR_TLS_ST_OPEN;
  tls->isServer = is_server ? 1 : 0;
  tls->wasV2Handshake = 1; /* VERSIONS and NETINFO follow. */
  return tls;
}

/** Lend <b>ssl</b> to <b>tls</b>; NULL takes it back. */
void
or_utcp_tls_lend(tor_tls_t *tls, SSL *ssl)
{
  tls->ssl = ssl;
}

void
or_utcp_tls_free(tor_tls_t *tls)
{
  tor_free(tls->address);
  tor_free(tls);
}

/** Add what has gone over the socket of <b>tls</b>, in octets. */
void
or_utcp_tls_count(const tor_tls_t *tls, uint64_t *received, uint64_t *sent)
{
  *received += BIO_number_read(SSL_get_rbio(tls->ssl));
  *sent += BIO_number_written(SSL_get_wbio(tls->ssl));
}

/** Append the DER of <b>cert</b> to <b>out</b>.  Return -1 on failure. */
static int
or_utcp_add_certificate(or_utcp_credentials_t *out, X509 *cert)
{
  uint8_t *der = NULL;
  const int len = i2d_X509(cert, &der);
  if (len <= 0)
    return -1;
  out->chain = tor_realloc(out->chain, out->chain_len + len);
  memcpy(out->chain + out->chain_len, der, len);
  out->chain_len += len;
  OPENSSL_free(der);
  return 0;
}

/** Copy what the current TLS context presents.  Return -1 if there is none,
 * else 0; the caller then clears <b>out</b>. */
int
or_utcp_credentials_get(or_utcp_credentials_t *out)
{
  const tor_tls_context_t *context = global_tls_context;
  EVP_PKEY *pkey = NULL;
  uint8_t *der = NULL;
  int len = 0;

  memset(out, 0, sizeof(*out));
  if (!context)
    return -1;
  pkey = _crypto_pk_env_get_evp_pkey(context->key, 1);
  if (pkey)
    len = i2d_PrivateKey(pkey, &der);
  if (len > 0) {
    out->key = tor_malloc(len);
    out->key_len = len;
    memcpy(out->key, der, len);
    OPENSSL_clear_free(der, len);
  }
  EVP_PKEY_free(pkey);
  if (len > 0 &&
      or_utcp_add_certificate(out, context->my_cert) == 0 &&
      or_utcp_add_certificate(out, context->my_id_cert) == 0)
    return 0;
  tls_log_errors(NULL, LOG_WARN, "encoding our certificates for DTLS");
  or_utcp_credentials_clear(out);
  return -1;
}

void
or_utcp_credentials_clear(or_utcp_credentials_t *credentials)
{
  tor_free(credentials->chain);
  if (credentials->key)
    OPENSSL_cleanse(credentials->key, credentials->key_len);
  tor_free(credentials->key);
  memset(credentials, 0, sizeof(*credentials));
}
