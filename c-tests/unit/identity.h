/* Certificates and keys made at run time: nothing secret or expiring is checked in. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

/* Who a host is: a chain of DER certificates, leaf first, and the leaf's key. */
struct identity {
  EVP_PKEY *pkey;
  X509 *leaf;
  uint8_t *chain; /* concatenated DER */
  size_t chain_len;
  uint8_t *key; /* DER: SEC1 (EC) or PKCS#1 (RSA) */
  size_t key_len;
  uint8_t pin[32]; /* SHA-256 of the leaf */
};

/* Self-signed, P-256. NULL if OpenSSL fails. */
struct identity *identity_new(const char *name);
/* Self-signed, RSA with 2048 bits. */
struct identity *identity_new_rsa(const char *name);
/* P-256, signed by `issuer`, whose certificate follows the leaf in the chain. */
struct identity *identity_new_signed(const char *name, const struct identity *issuer);
void identity_free(struct identity *identity);

/* Other encodings; malloc'ed, the caller frees. NULL if OpenSSL fails. */
uint8_t *identity_chain_pem(const struct identity *identity, size_t *len);
uint8_t *identity_key_pem(const struct identity *identity, size_t *len);
uint8_t *identity_key_pkcs8(const struct identity *identity, size_t *len);

#endif
