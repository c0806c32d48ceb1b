#include "identity.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

static int
append_der(struct identity *id, X509 *certificate)
{
  unsigned char *der = NULL;
  int len = i2d_X509(certificate, &der);
  if (len <= 0)
    return 0;
  uint8_t *grown = realloc(id->chain, id->chain_len + (size_t)len);
  if (grown) {
    memcpy(grown + id->chain_len, der, (size_t)len);
    id->chain = grown;
    id->chain_len += (size_t)len;
  }
  OPENSSL_free(der);
  return grown != NULL;
}

static X509 *
certify(const char *name, EVP_PKEY *subject_key, X509 *issuer, EVP_PKEY *issuer_key)
{
  static long serial;
  X509 *x = X509_new();
  if (!x)
    return NULL;
  X509_NAME *subject = X509_get_subject_name(x);
  int ok = X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial) &&
           X509_gmtime_adj(X509_getm_notBefore(x), -86400) &&
           X509_gmtime_adj(X509_getm_notAfter(x), 30 * 86400L) && X509_set_pubkey(x, subject_key) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) &&
           X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject) &&
           X509_sign(x, issuer_key, EVP_sha256()) > 0;
  if (!ok) {
    X509_free(x);
    return NULL;
  }
  return x;
}

/* Takes the key over. */
static struct identity *
identity_make(const char *name, EVP_PKEY *pkey, const struct identity *issuer)
{
  struct identity *id = calloc(1, sizeof *id);
  if (!id || !pkey) {
    free(id);
    EVP_PKEY_free(pkey);
    return NULL;
  }
  id->pkey = pkey;
  id->leaf = certify(name, pkey, issuer ? issuer->leaf : NULL, issuer ? issuer->pkey : pkey);
  unsigned int digest_len = sizeof id->pin;
  unsigned char *der = NULL;
  int der_len = i2d_PrivateKey(pkey, &der);
  if (der_len > 0 && (id->key = malloc((size_t)der_len))) {
    memcpy(id->key, der, (size_t)der_len);
    id->key_len = (size_t)der_len;
  }
  OPENSSL_free(der);
  if (!id->leaf || !id->key || !append_der(id, id->leaf) || (issuer && !append_der(id, issuer->leaf)) ||
      !X509_digest(id->leaf, EVP_sha256(), id->pin, &digest_len)) {
    identity_free(id);
    return NULL;
  }
  return id;
}

struct identity *
identity_new(const char *name)
{
  return identity_make(name, EVP_EC_gen("P-256"), NULL);
}

struct identity *
identity_new_rsa(const char *name)
{
  return identity_make(name, EVP_RSA_gen(2048), NULL);
}

struct identity *
identity_new_signed(const char *name, const struct identity *issuer)
{
  return identity_make(name, EVP_EC_gen("P-256"), issuer);
}

void
identity_free(struct identity *id)
{
  if (!id)
    return;
  EVP_PKEY_free(id->pkey);
  X509_free(id->leaf);
  free(id->chain);
  free(id->key);
  free(id);
}

/* Takes the BIO over. */
static uint8_t *
bio_contents(BIO *bio, int ok, size_t *len)
{
  char *data = NULL;
  long n = bio ? BIO_get_mem_data(bio, &data) : 0;
  uint8_t *copy = ok && n > 0 ? malloc((size_t)n) : NULL;
  if (copy) {
    memcpy(copy, data, (size_t)n);
    *len = (size_t)n;
  }
  BIO_free(bio);
  return copy;
}

uint8_t *
identity_chain_pem(const struct identity *id, size_t *len)
{
  BIO *bio = BIO_new(BIO_s_mem());
  const unsigned char *der = id->chain;
  const unsigned char *end = id->chain + id->chain_len;
  int ok = bio != NULL;
  while (ok && der < end) {
    X509 *x = d2i_X509(NULL, &der, end - der);
    ok = x && PEM_write_bio_X509(bio, x);
    X509_free(x);
  }
  return bio_contents(bio, ok, len);
}

uint8_t *
identity_key_pem(const struct identity *id, size_t *len)
{
  BIO *bio = BIO_new(BIO_s_mem());
  int ok = bio && PEM_write_bio_PrivateKey(bio, id->pkey, NULL, NULL, 0, NULL, NULL);
  return bio_contents(bio, ok, len);
}

uint8_t *
identity_key_pkcs8(const struct identity *id, size_t *len)
{
  BIO *bio = BIO_new(BIO_s_mem());
  int ok = bio && i2d_PKCS8PrivateKey_bio(bio, id->pkey, NULL, NULL, 0, NULL, NULL);
  return bio_contents(bio, ok, len);
}
