/* Who the peer is: encodings, verification, pins, certificates of the connecting side, rotation. */
#include <openssl/ssl.h>

#include "pair.h"

/* ---- encodings ---- */

struct encoding {
  const uint8_t *chain;
  size_t chain_len;
  const uint8_t *key;
  size_t key_len;
};

/* What becomes of it in the setter, or at the latest in the endpoint. */
static int
outcome(const struct encoding *e)
{
  static const struct host_options plain;
  utcp_config *config = utcp_config_new();
  assert_non_null(config);
  utcp_callbacks callbacks = host_callbacks(&plain);
  utcp_endpoint *endpoint = NULL;
  int rc = utcp_config_set_certificate(config, e->chain, e->chain_len, e->key, e->key_len);
  if (!rc)
    rc = utcp_endpoint_new(config, &callbacks, NULL, &endpoint);
  assert_true((rc == UTCP_OK) == (endpoint != NULL));
  if (endpoint)
    assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
  return rc;
}

static void
all_encodings_are_taken(void **state)
{
  struct net *net = *state;
  struct identity *rsa = identity_new_rsa("rsa");
  struct identity *chained = identity_new_signed("leaf", net_identity(net, 0));
  const struct identity *ids[] = { net_identity(net, 0), rsa, chained };
  for (size_t i = 0; i < 3; i++) {
    const struct identity *id = ids[i];
    assert_non_null(id);
    size_t pem_chain_len = 0, pem_key_len = 0, pkcs8_len = 0;
    uint8_t *pem_chain = identity_chain_pem(id, &pem_chain_len);
    uint8_t *pem_key = identity_key_pem(id, &pem_key_len);
    uint8_t *pkcs8 = identity_key_pkcs8(id, &pkcs8_len);
    assert_true(pem_chain && pem_key && pkcs8);
    assert_int_equal(outcome(&(struct encoding){ id->chain, id->chain_len, id->key, id->key_len }), UTCP_OK);
    assert_int_equal(outcome(&(struct encoding){ id->chain, id->chain_len, pkcs8, pkcs8_len }), UTCP_OK);
    assert_int_equal(outcome(&(struct encoding){ pem_chain, pem_chain_len, pem_key, pem_key_len }), UTCP_OK);
    assert_int_equal(outcome(&(struct encoding){ pem_chain, pem_chain_len, id->key, id->key_len }), UTCP_OK);
    free(pem_chain);
    free(pem_key);
    free(pkcs8);
  }
  identity_free(rsa);
  identity_free(chained);
}

static void
bad_encodings_are_refused(void **state)
{
  struct net *net = *state;
  const struct identity *id = net_identity(net, 0), *other = net_identity(net, 1);
  struct identity *chained = identity_new_signed("leaf", id);
  assert_non_null(chained);
  uint8_t garbage[200];
  for (size_t i = 0; i < sizeof garbage; i++)
    garbage[i] = (uint8_t)net_random(net);
  const struct { struct encoding e; int expected; } cases[] = {
    { { NULL, 0, NULL, 0 }, UTCP_ERR_ARGUMENT },
    { { NULL, 1, id->key, id->key_len }, UTCP_ERR_NULL },
    { { id->chain, id->chain_len, NULL, 1 }, UTCP_ERR_NULL },
    { { id->chain, 0, id->key, id->key_len }, UTCP_ERR_ARGUMENT },
    { { id->chain, SIZE_MAX, id->key, id->key_len }, UTCP_ERR_ARGUMENT },
    { { id->chain, id->chain_len, id->key, 0 }, UTCP_ERR_ARGUMENT },
    { { garbage, sizeof garbage, id->key, id->key_len }, UTCP_ERR_CERTIFICATE },
    { { id->chain, id->chain_len, garbage, sizeof garbage }, UTCP_ERR_CERTIFICATE },
    { { id->chain, id->chain_len - 1, id->key, id->key_len }, UTCP_ERR_CERTIFICATE },
    { { id->chain, id->chain_len, id->key, id->key_len - 1 }, UTCP_ERR_CERTIFICATE },
    { { id->chain, 1, id->key, id->key_len }, UTCP_ERR_CERTIFICATE },
    { { id->chain, id->chain_len, other->key, other->key_len }, UTCP_ERR_CERTIFICATE },
    { { id->key, id->key_len, id->chain, id->chain_len }, UTCP_ERR_CERTIFICATE },
    /* The leaf's chain with the issuer's key. */
    { { chained->chain, chained->chain_len, id->key, id->key_len }, UTCP_ERR_CERTIFICATE },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int rc = outcome(&cases[i].e);
    if (rc != cases[i].expected)
      fail_msg("case %zu: %d instead of %d", i, rc, cases[i].expected);
  }
  identity_free(chained);
}

/* The caller's memory is its own again after each call. */
static void
configuration_is_copied(void **state)
{
  struct net *net = *state;
  static const struct host_options plain;
  const struct identity *id = net_identity(net, 0);
  uint8_t *chain = malloc(id->chain_len), *key = malloc(id->key_len);
  assert_true(chain && key);
  memcpy(chain, id->chain, id->chain_len);
  memcpy(key, id->key, id->key_len);
  uint8_t seed[32] = { 1 };
  utcp_config *config = utcp_config_new();
  assert_int_equal(utcp_config_set_certificate(config, chain, id->chain_len, key, id->key_len), UTCP_OK);
  assert_int_equal(utcp_config_set_seed(config, seed, sizeof seed), UTCP_OK);
  memset(chain, 0, id->chain_len);
  memset(key, 0, id->key_len);
  free(chain);
  free(key);
  struct host *b = HOST(net, .identity = id);
  /* The endpoint of b again, out of the configuration whose sources are gone, and that goes itself. */
  host_stop(b);
  utcp_callbacks callbacks = host_callbacks(&plain);
  assert_int_equal(utcp_endpoint_new(config, &callbacks, b, &b->endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
  memset(&callbacks, 0, sizeof callbacks);
  struct host *a = HOST(net);
  connect_to(a, b, id->pin);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
}

/* ---- verification ---- */

struct seen {
  uint8_t digest[32];
  unsigned chain, asked, no_certificate;
  uint8_t exported[32];
  int exported_ok;
};

static int
look_at_certificate(struct host *h, const struct event *event)
{
  struct seen *seen = h->user;
  unsigned len = sizeof seen->digest;
  seen->asked++;
  X509 *leaf = SSL_get1_peer_certificate(event->ssl);
  if (leaf)
    X509_digest(leaf, EVP_sha256(), seen->digest, &len);
  else
    seen->no_certificate++;
  X509_free(leaf);
  STACK_OF(X509) *chain = SSL_get_peer_cert_chain(event->ssl);
  seen->chain = chain ? (unsigned)sk_X509_num(chain) : 0;
  static const char label[] = "EXPORTER utcp test";
  seen->exported_ok = SSL_export_keying_material(event->ssl, seen->exported, sizeof seen->exported, label,
                                                 sizeof label - 1, NULL, 0, 0);
  return 0;
}

static void
verify_sees_certificate_and_keying_material(void **state)
{
  struct net *net = *state;
  struct identity *chained = identity_new_signed("leaf", net_identity(net, 1));
  struct seen at_a = { .asked = 0 }, at_b = { .asked = 0 };
  struct host *a = HOST(net);
  struct host *b = HOST(net, .identity = chained);
  a->hook[EV_VERIFY] = b->hook[EV_VERIFY] = look_at_certificate;
  a->user = &at_a;
  b->user = &at_b;
  utcp_connection *ab = connect_to(a, b, NULL);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  assert_int_equal(at_a.asked, 1);
  assert_int_equal(at_b.asked, 1);
  assert_memory_equal(at_a.digest, chained->pin, 32);
  assert_int_equal(at_a.chain, 2);
  assert_int_equal(at_b.no_certificate, 1); /* not asked for by default */
  assert_true(at_a.exported_ok == 1 && at_b.exported_ok == 1);
  assert_memory_equal(at_a.exported, at_b.exported, 32);

  /* The same through the borrowed SSL, later on. */
  SSL *ssl = utcp_connection_ssl(ab);
  assert_non_null(ssl);
  X509 *leaf = SSL_get1_peer_certificate(ssl);
  assert_non_null(leaf);
  assert_int_equal(X509_cmp(leaf, chained->leaf), 0);
  X509_free(leaf);
  assert_int_equal(SSL_version(ssl), DTLS1_2_VERSION);
  identity_free(chained);
}

/* Ends refused: one side is told that it did not accept, the other one that it is over; nothing was opened. */
static void
expect_refusal(struct net *net, struct host *refuser, struct host *other)
{
  RUN_UNTIL(net, 30 * SECOND, host_count(refuser, EV_CLOSED) == 1);
  assert_int_equal(host_last(refuser, EV_CLOSED)->reason, UTCP_CLOSE_VERIFY);
  assert_int_equal(host_count(refuser, EV_READY), 0);
  RUN_UNTIL(net, 200 * SECOND, host_count(other, EV_CLOSED) == 1);
  const unsigned long reasons[] = { UTCP_CLOSE_PEER, UTCP_CLOSE_HANDSHAKE, UTCP_CLOSE_REFUSED };
  assert_in_set((unsigned long)host_last(other, EV_CLOSED)->reason, reasons, 3);
  assert_int_equal(endpoint_stats(refuser).connections, 0);
  assert_int_equal(endpoint_stats(other).connections, 0);
}

static void
connecting_side_refuses(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  a->answer[EV_VERIFY] = 1;
  utcp_connection *ab = connect_to(a, b, NULL);
  expect_refusal(net, a, b);
  utcp_circuit *circuit = NULL;
  assert_int_equal(utcp_connection_open_circuit(ab, 1, &circuit), UTCP_ERR_CLOSED);
  assert_null(circuit);
}

static int
open_and_write(struct host *h, const struct event *event)
{
  utcp_circuit *circuit = NULL;
  size_t written;
  if (!utcp_connection_open_circuit(event->connection, 7, &circuit)) {
    host_track_circuit(h, circuit);
    utcp_circuit_write(circuit, (const uint8_t *)"secret", 6, &written);
  }
  return 0;
}

static void
accepting_side_refuses(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  b->answer[EV_VERIFY] = -1; /* any non-zero value */
  /* The connecting side may believe in the connection for a moment: what it sends must not be looked at. */
  a->hook[EV_READY] = open_and_write;
  connect_to(a, b, NULL);
  expect_refusal(net, b, a);
  assert_int_equal(host_count(b, EV_CIRCUIT_INCOMING), 0);
  assert_int_equal(host_count(b, EV_READABLE), 0);
}

static void
without_verify_nobody_is_accepted(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net, .without = 1u << EV_VERIFY);
  connect_to(a, b, NULL);
  expect_refusal(net, b, a);
}

static void
without_verify_unpinned_peer_is_refused(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net, .without = 1u << EV_VERIFY), *b = HOST(net);
  connect_to(a, b, NULL);
  expect_refusal(net, a, b);
}

/* ---- pins ---- */

static void
right_pin_needs_no_callback(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net, .without = 1u << EV_VERIFY), *b = HOST(net);
  connect_to(a, b, b->identity->pin);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
}

static void
pinned_peer_is_not_asked_about(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  a->answer[EV_VERIFY] = 1; /* would refuse */
  connect_to(a, b, b->identity->pin);
  RUN_UNTIL(net, 20 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
  assert_int_equal(host_count(a, EV_VERIFY), 0);
  assert_int_equal(host_count(b, EV_VERIFY), 1);
}

static void
wrong_pin(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  uint8_t pin[32];
  memcpy(pin, b->identity->pin, sizeof pin);
  pin[31] ^= 1;
  connect_to(a, b, pin);
  expect_refusal(net, a, b);
  assert_int_equal(host_count(a, EV_VERIFY), 0); /* the callback cannot overrule the pin */
}

/* The pin is of the leaf, not of anything else in the chain. */
static void
pin_of_issuer_does_not_match(void **state)
{
  struct net *net = *state;
  struct identity *chained = identity_new_signed("leaf", net_identity(net, 1));
  struct host *a = HOST(net), *b = HOST(net, .identity = chained);
  connect_to(a, b, net_identity(net, 1)->pin);
  expect_refusal(net, a, b);
  identity_free(chained);
}

/* ---- certificates of the connecting side ---- */

static void
client_certificate(struct net *net, uint64_t at_a, uint64_t at_b, int complete, int shown)
{
  struct seen seen = { .asked = 0 };
  struct host *a = HOST(net, .set = { { UTCP_OPTION_CLIENT_CERTIFICATE, at_a } });
  struct host *b = HOST(net, .set = { { UTCP_OPTION_CLIENT_CERTIFICATE, at_b } });
  b->hook[EV_VERIFY] = look_at_certificate;
  b->user = &seen;
  connect_to(a, b, NULL);
  if (complete) {
    RUN_UNTIL(net, 30 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
    assert_int_equal(seen.asked, 1);
    assert_int_equal(seen.no_certificate, !shown);
    if (shown)
      assert_memory_equal(seen.digest, a->identity->pin, 32);
  } else {
    RUN_UNTIL(net, 60 * SECOND, host_count(a, EV_CLOSED) == 1);
    assert_int_equal(host_last(a, EV_CLOSED)->reason, UTCP_CLOSE_HANDSHAKE);
    RUN_UNTIL(net, 60 * SECOND, endpoint_stats(b).half_open == 0 && endpoint_stats(b).connections == 0);
    assert_int_equal(seen.asked, 0);
    assert_int_equal(host_count(b, EV_READY), 0);
    assert_true(endpoint_stats(b).handshakes_failed >= 1);
  }
}

static void client_certificate_not_asked(void **state) { client_certificate(*state, 2, 0, 1, 0); }
static void client_certificate_asked(void **state) { client_certificate(*state, 1, 1, 1, 1); }
static void client_certificate_asked_but_absent(void **state) { client_certificate(*state, 0, 1, 1, 0); }
static void client_certificate_required(void **state) { client_certificate(*state, 2, 2, 1, 1); }
static void client_certificate_required_but_absent(void **state) { client_certificate(*state, 0, 2, 0, 0); }

/* ---- security level ---- */

static void
weak_key_needs_a_lower_level(void **state)
{
  (void)state;
  EVP_PKEY *weak = EVP_RSA_gen(1024);
  assert_non_null(weak);
  X509 *x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -10);
  X509_gmtime_adj(X509_getm_notAfter(x), 86400);
  X509_set_pubkey(x, weak);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"w", -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  assert_true(X509_sign(x, weak, EVP_sha256()) > 0);
  uint8_t *chain = NULL, *key = NULL;
  int chain_len = i2d_X509(x, &chain), key_len = i2d_PrivateKey(weak, &key);
  assert_true(chain_len > 0 && key_len > 0);
  static const struct host_options plain;
  utcp_callbacks callbacks = host_callbacks(&plain);
  utcp_config *config = utcp_config_new();
  utcp_endpoint *endpoint = NULL;
  int rc = utcp_config_set_certificate(config, chain, (size_t)chain_len, key, (size_t)key_len);
  if (!rc)
    rc = utcp_endpoint_new(config, &callbacks, NULL, &endpoint);
  assert_int_equal(rc, UTCP_ERR_CERTIFICATE);
  assert_null(endpoint);
  assert_int_equal(utcp_config_set(config, UTCP_OPTION_SECURITY_LEVEL, 0), UTCP_OK);
  assert_int_equal(utcp_config_set_certificate(config, chain, (size_t)chain_len, key, (size_t)key_len), UTCP_OK);
  assert_int_equal(utcp_endpoint_new(config, &callbacks, NULL, &endpoint), UTCP_OK);
  assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
  OPENSSL_free(chain);
  OPENSSL_free(key);
  X509_free(x);
  EVP_PKEY_free(weak);
}

/* ---- rotation ---- */

static void
rotation_is_for_new_connections(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct net *net = p.net;
  const struct identity *old = p.b->identity;
  struct identity *new = identity_new("bob again");
  assert_non_null(new);
  assert_int_equal(utcp_endpoint_set_certificate(p.b->endpoint, new->chain, new->chain_len, new->key, new->key_len),
                   UTCP_OK);

  /* The connection from before goes on. */
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 5));
  s->out_seed = 5;
  s->out_total = 50000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(net, 60 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  assert_int_equal(p.b->streams[0]->in_done, 50000);
  assert_int_equal(p.b->streams[0]->wrong, 0);

  /* New ones see the new certificate and not the old one. */
  struct host *c = HOST(net), *d = HOST(net);
  connect_to(c, p.b, new->pin);
  connect_to(d, p.b, old->pin);
  RUN_UNTIL(net, 60 * SECOND, host_count(c, EV_READY) && host_count(d, EV_CLOSED));
  assert_int_equal(host_last(d, EV_CLOSED)->reason, UTCP_CLOSE_VERIFY);
  assert_int_equal(host_count(d, EV_READY), 0);

  /* Connections that it starts itself as well (it shows none by default: only that they still work). */
  struct host *e = HOST(net);
  connect_to(p.b, e, e->identity->pin);
  RUN_UNTIL(net, 60 * SECOND, host_count(e, EV_READY));
  identity_free(new);
}

static void
refused_rotation_leaves_the_old_one(void **state)
{
  struct net *net = *state;
  struct host *a = HOST(net), *b = HOST(net);
  const struct identity *other = net_identity(net, 0), *id = b->identity;
  utcp_endpoint *e = b->endpoint;
  assert_int_equal(utcp_endpoint_set_certificate(e, id->chain, id->chain_len, other->key, other->key_len),
                   UTCP_ERR_CERTIFICATE);
  assert_int_equal(utcp_endpoint_set_certificate(e, id->chain, 10, id->key, id->key_len), UTCP_ERR_CERTIFICATE);
  assert_int_equal(utcp_endpoint_set_certificate(e, NULL, 0, NULL, 0), UTCP_ERR_ARGUMENT);
  assert_int_equal(utcp_endpoint_set_certificate(e, NULL, 5, id->key, id->key_len), UTCP_ERR_NULL);
  assert_int_equal(utcp_endpoint_set_certificate(e, id->chain, id->chain_len, NULL, 5), UTCP_ERR_NULL);
  connect_to(a, b, id->pin);
  RUN_UNTIL(net, 60 * SECOND, host_count(a, EV_READY) && host_count(b, EV_READY));
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    NET_TEST(all_encodings_are_taken),
    NET_TEST(bad_encodings_are_refused),
    NET_TEST(configuration_is_copied),
    NET_TEST(verify_sees_certificate_and_keying_material),
    NET_TEST(connecting_side_refuses),
    NET_TEST(accepting_side_refuses),
    NET_TEST(without_verify_nobody_is_accepted),
    NET_TEST(without_verify_unpinned_peer_is_refused),
    NET_TEST(right_pin_needs_no_callback),
    NET_TEST(pinned_peer_is_not_asked_about),
    NET_TEST(wrong_pin),
    NET_TEST(pin_of_issuer_does_not_match),
    NET_TEST(client_certificate_not_asked),
    NET_TEST(client_certificate_asked),
    NET_TEST(client_certificate_asked_but_absent),
    NET_TEST(client_certificate_required),
    NET_TEST(client_certificate_required_but_absent),
    cmocka_unit_test(weak_key_needs_a_lower_level),
    NET_TEST(rotation_is_for_new_connections),
    NET_TEST(refused_rotation_leaves_the_old_one),
  };
  return cmocka_run_group_tests_name("certificates", tests, NULL, NULL);
}
