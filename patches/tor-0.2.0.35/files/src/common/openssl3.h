/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * \file openssl3.h
 * \brief What crypto.c and tortls.c need with an OpenSSL whose structures are
 * opaque (1.1 and later, made for 3.0).
 *
 * Older ones define nothing here but OPENSSL_IS_OPAQUE as 0, and Tor's own
 * lines are compiled.
 */
#ifndef _TOR_OPENSSL3_H
#define _TOR_OPENSSL3_H

#include <openssl/opensslv.h>

#if OPENSSL_VERSION_NUMBER >= 0x10100000L && \
  !defined(LIBRESSL_VERSION_NUMBER)
#define OPENSSL_IS_OPAQUE 1
#else
#define OPENSSL_IS_OPAQUE 0
#endif

#if OPENSSL_IS_OPAQUE

#include <openssl/bn.h>
#include <openssl/dh.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

/* RSA and DH are deprecated from 3.0 on. They work, and are what Tor of this
 * age is written for. */
#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

/** Return true iff <b>rsa</b> is a key, with a modulus. */
static inline int
rsa_has_public(const RSA *rsa)
{
  const BIGNUM *n = NULL;
  if (rsa)
    RSA_get0_key(rsa, &n, NULL, NULL);
  return n != NULL;
}

/** Return true iff <b>rsa</b> is a key, with its prime factors. */
static inline int
rsa_has_private(const RSA *rsa)
{
  const BIGNUM *p = NULL;
  if (rsa)
    RSA_get0_factors(rsa, &p, NULL);
  return p != NULL;
}

/** Order the public keys of <b>a</b> and <b>b</b>, by modulus, then by
 * exponent. Return a negative number, 0, or a positive number. */
static inline int
rsa_cmp_public(const RSA *a, const RSA *b)
{
  const BIGNUM *a_n, *a_e, *b_n, *b_e;
  int order;
  RSA_get0_key(a, &a_n, &a_e, NULL);
  RSA_get0_key(b, &b_n, &b_e, NULL);
  order = BN_cmp(a_n, b_n);
  return order ? order : BN_cmp(a_e, b_e);
}

/** Give <b>dh</b> copies of the modulus <b>p</b> and the generator <b>g</b>,
 * and let it make private keys of <b>bits</b> bits. Return 1 on success, 0 if
 * memory runs out. */
static inline int
dh_set_group(DH *dh, const BIGNUM *p, const BIGNUM *g, int bits)
{
  BIGNUM *own_p = BN_dup(p), *own_g = BN_dup(g);
  if (!own_p || !own_g || !DH_set0_pqg(dh, own_p, NULL, own_g)) {
    BN_free(own_p);
    BN_free(own_g);
    return 0;
  }
  return DH_set_length(dh, bits);
}

/** Return the public key of <b>dh</b>, which stays its owner, or NULL if it
 * has none. The caller must not change it. */
static inline BIGNUM *
dh_public(const DH *dh)
{
  const BIGNUM *public_key = NULL;
  DH_get0_key(dh, &public_key, NULL);
  return (BIGNUM *) public_key;
}

/** Replace *<b>dh</b> by one of the same group without keys: there is no way
 * to take the keys out. Return 1 on success, 0 if memory runs out. */
static inline int
dh_forget_keys(DH **dh)
{
  const BIGNUM *p, *g;
  DH *fresh = DH_new();
  DH_get0_pqg(*dh, &p, NULL, &g);
  if (!fresh || !dh_set_group(fresh, p, g, (int) DH_get_length(*dh))) {
    DH_free(fresh);
    return 0;
  }
  DH_free(*dh);
  *dh = fresh;
  return 1;
}

/** Encode <b>srclen</b> bytes at <b>src</b> in base 64 to <b>dest</b>, which
 * has room for it. Set *<b>body</b> to the bytes written for whole lines and
 * *<b>rest</b> to those that follow. Without memory, write nothing. */
static inline void
base64_encode_lines(char *dest, int *body, int *rest,
                    const char *src, int srclen)
{
  EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
  *body = *rest = 0;
  if (!ctx)
    return;
  EVP_EncodeInit(ctx);
  EVP_EncodeUpdate(ctx, (unsigned char *) dest, body,
                   (const unsigned char *) src, srclen);
  EVP_EncodeFinal(ctx, (unsigned char *) dest + *body, rest);
  EVP_ENCODE_CTX_free(ctx);
}

/** Let connections of <b>ctx</b> do what Tor's link handshake of this age is
 * made of, whatever the system's configuration of OpenSSL says: RSA keys of
 * 1024 bits signed with SHA-1, and a second handshake that the client asks
 * for. TLS 1.3 has no such thing, so 1.2 is the last version; a session that
 * is resumed would have no certificates to look at. Return 1 on success. */
static inline int
ssl_ctx_allow_tor_links(SSL_CTX *ctx)
{
  SSL_CTX_set_security_level(ctx, 0);
  SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
#ifdef SSL_OP_ALLOW_CLIENT_RENEGOTIATION
  SSL_CTX_set_options(ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
#endif
  return SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION) &&
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
}

/** Return the name of a cipher that the client of <b>ssl</b> has offered and
 * that clients of the first link handshake do not know, or NULL if there is
 * none. Those know DHE-RSA with 3DES or AES and SHA-1; numbers instead of
 * names, since OpenSSL has changed names. */
static inline const char *
ssl_client_newer_cipher(const SSL *ssl)
{
  STACK_OF(SSL_CIPHER) *offered = SSL_get_client_ciphers(ssl);
  int i;
  /* -1 without a list, which ends the loop. */
  for (i = 0; i < sk_SSL_CIPHER_num(offered); ++i) {
    const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(offered, i);
    switch (SSL_CIPHER_get_id(cipher) & 0xffff) {
      case 0x0016: case 0x0033: case 0x0039:
        break;
      default:
        return SSL_CIPHER_get_name(cipher);
    }
  }
  return NULL;
}

#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif

#endif /* OPENSSL_IS_OPAQUE */

#endif /* _TOR_OPENSSL3_H */
