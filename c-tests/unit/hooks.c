/* The log hook and the capture hook. */
#include <unistd.h>

#include "pair.h"

/* ---- log ---- */

struct log {
  unsigned count[6];
  unsigned bad;
  void *self;
  int nested; /* what utcp_log_set answered from inside */
};

static void
on_log(void *user, int level, const char *target, const char *message)
{
  struct log *log = user;
  if (log->self != log || level < 1 || level > 5 || !target || !message || !*message)
    log->bad++;
  else
    log->count[level]++;
}

static unsigned
total(const struct log *log)
{
  unsigned n = 0;
  for (int i = 1; i <= 5; i++)
    n += log->count[i];
  return n;
}

/* A connection, a transfer, a datagram that is not DTLS, and a peer whose certificate is refused. */
static void
activity(void)
{
  struct net *net = net_new(5);
  struct pair p = pair_new(net, NULL, NULL);
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_sink;
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 3));
  s->out_seed = 3;
  s->out_total = 10000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(net, 20 * SECOND, p.b->stream_count && p.b->streams[0]->end);
  uint8_t garbage[50] = { 0xff };
  assert_int_equal(net_inject(p.b, host_address(p.a), p.a->address_len, garbage, sizeof garbage), UTCP_OK);
  assert_int_equal(utcp_connection_close(p.ab), UTCP_OK);
  run_for(net, SECOND);
  p.a->answer[EV_VERIFY] = 1;
  connect_to(p.a, p.b, NULL);
  run_for(net, SECOND);
  assert_int_equal(net_free(net), 0);
}

static void
log_arguments(void **state)
{
  (void)state;
  struct log log = { .self = &log };
  const int bad[] = { -1, 6, 100, INT32_MAX, INT32_MIN, 0 };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(utcp_log_set(on_log, &log, bad[i]), UTCP_ERR_RANGE);
  activity();
  assert_int_equal(total(&log), 0); /* a refused hook is not called */
  assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);
  assert_int_equal(utcp_log_set(NULL, NULL, 99), UTCP_OK); /* off is off */
}

static void
log_levels(void **state)
{
  (void)state;
  unsigned before = 0;
  for (int level = 1; level <= 5; level++) {
    struct log log = { .self = &log };
    assert_int_equal(utcp_log_set(on_log, &log, level), UTCP_OK);
    activity();
    assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);
    assert_int_equal(log.bad, 0);
    for (int above = level + 1; above <= 5; above++)
      assert_int_equal(log.count[above], 0);
    assert_true(total(&log) >= before);
    before = total(&log);
  }
  assert_true(before > 0);
}

static void
log_can_be_replaced_and_turned_off(void **state)
{
  (void)state;
  struct log first = { .self = &first }, second = { .self = &second };
  assert_int_equal(utcp_log_set(on_log, &first, 5), UTCP_OK);
  activity();
  unsigned seen = total(&first);
  assert_true(seen > 0);
  assert_int_equal(utcp_log_set(on_log, &second, 5), UTCP_OK);
  activity();
  assert_int_equal(total(&first), seen);
  assert_true(total(&second) > 0);
  seen = total(&second);
  assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);
  activity();
  assert_int_equal(total(&second), seen);
  assert_int_equal(first.bad + second.bad, 0);
}

static const char *wanted;
static unsigned found;

static void
look_for(void *user, int level, const char *target, const char *message)
{
  (void)user, (void)level, (void)target;
  found += strstr(message, wanted) != NULL;
}

static void
payload_is_not_logged(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 3);
  size_t len;
  wanted = "attack at dawn";
  found = 0;
  assert_int_equal(utcp_log_set(look_for, NULL, 5), UTCP_OK);
  assert_int_equal(utcp_circuit_write(c.a, (const uint8_t *)wanted, strlen(wanted), &len), UTCP_OK);
  RUN_UNTIL(p.net, 10 * SECOND, utcp_circuit_readable(c.b) == strlen(wanted));
  assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);
  assert_int_equal(found, 0);
}

static void
setting_inside_hook(void *user, int level, const char *target, const char *message)
{
  (void)level, (void)target, (void)message;
  struct log *log = user;
  log->count[1]++;
  log->nested = utcp_log_set(NULL, NULL, 0);
}

static void
log_cannot_be_set_from_inside(void **state)
{
  (void)state;
  struct log log = { .nested = 1 };
  assert_int_equal(utcp_log_set(setting_inside_hook, &log, 5), UTCP_OK);
  activity();
  assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);
  assert_true(log.count[1] > 0);
  assert_int_equal(log.nested, UTCP_ERR_BUSY);
}

static void
log_to_stderr(void **state)
{
  (void)state;
  struct log log = { .self = &log };
  assert_int_equal(utcp_log_set(on_log, &log, 3), UTCP_OK);
  assert_int_equal(utcp_log_env(), UTCP_ERR_IN_USE);
  assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);

  /* What it prints goes to a file for a moment. */
  FILE *file = tmpfile();
  assert_non_null(file);
  fflush(stderr);
  int saved = dup(2);
  assert_true(saved >= 0 && dup2(fileno(file), 2) == 2);
  setenv("RUST_LOG", "trace", 1);
  int rc = utcp_log_env();
  activity();
  dup2(saved, 2);
  close(saved);
  assert_int_equal(rc, UTCP_OK);
  assert_true(fseek(file, 0, SEEK_END) == 0 && ftell(file) > 0);
  fclose(file);
  /* A hook takes over again. */
  assert_int_equal(utcp_log_set(on_log, &log, 5), UTCP_OK);
  activity();
  assert_true(total(&log) > 0);
  assert_int_equal(utcp_log_set(NULL, NULL, 0), UTCP_OK);
}

/* ---- capture ---- */

struct capture {
  uint8_t *data;
  size_t len;
  unsigned calls;
};

static void
on_capture(void *user, const uint8_t *data, size_t len)
{
  struct capture *c = user;
  uint8_t *grown = realloc(c->data, c->len + len);
  if (!grown)
    abort();
  memcpy(grown + c->len, data, len);
  c->data = grown;
  c->len += len;
  c->calls++;
}

static uint32_t
le32(const uint8_t *p)
{
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static unsigned
be16(const uint8_t *p)
{
  return (unsigned)p[0] << 8 | p[1];
}

static uint32_t
sum16(const uint8_t *p, size_t len, uint32_t sum)
{
  for (size_t i = 0; i + 1 < len; i += 2)
    sum += be16(p + i);
  if (len % 2)
    sum += (uint32_t)p[len - 1] << 8;
  return sum;
}

static unsigned
fold(uint32_t sum)
{
  while (sum >> 16)
    sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

struct parsed {
  unsigned packets, syn, fin, rst;
  uint64_t payload;
};

/* Reads a pcap file of raw IP packets as a strict reader would. */
static struct parsed
parse_pcap(const struct capture *c)
{
  struct parsed all = { 0, 0, 0, 0, 0 };
  assert_true(c->len >= 24);
  uint32_t magic = le32(c->data);
  assert_true(magic == 0xa1b2c3d4 || magic == 0xa1b23c4d);
  assert_int_equal(c->data[4] | c->data[5] << 8, 2);
  assert_int_equal(c->data[6] | c->data[7] << 8, 4);
  uint32_t snap = le32(c->data + 16), link = le32(c->data + 20);
  assert_true(link == 101 || link == 228 || link == 229);
  size_t at = 24;
  uint64_t last = 0;
  while (at < c->len) {
    assert_true(c->len - at >= 16);
    uint64_t time = (uint64_t)le32(c->data + at) * (magic == 0xa1b2c3d4 ? 1000000 : 1000000000) + le32(c->data + at + 4);
    uint32_t kept = le32(c->data + at + 8), original = le32(c->data + at + 12);
    assert_int_equal(kept, original);
    assert_true(kept <= snap);
    at += 16;
    assert_true(kept <= c->len - at);
    assert_true(time >= last);
    last = time;
    const uint8_t *ip = c->data + at, *tcp;
    size_t tcp_len;
    uint32_t pseudo;
    if (ip[0] >> 4 == 4) {
      size_t header = (size_t)(ip[0] & 15) * 4;
      assert_true(header >= 20 && header < kept);
      assert_int_equal(be16(ip + 2), kept);
      assert_int_equal(ip[9], 6);
      assert_int_equal(fold(sum16(ip, header, 0)), 0xffff);
      tcp = ip + header;
      tcp_len = kept - header;
      pseudo = sum16(ip + 12, 8, 6 + (uint32_t)tcp_len);
    } else {
      assert_int_equal(ip[0] >> 4, 6);
      assert_true(kept >= 40);
      assert_int_equal(be16(ip + 4), kept - 40);
      assert_int_equal(ip[6], 6);
      tcp = ip + 40;
      tcp_len = kept - 40;
      pseudo = sum16(ip + 8, 32, 6 + (uint32_t)tcp_len);
    }
    assert_true(tcp_len >= 20);
    size_t offset = (size_t)(tcp[12] >> 4) * 4;
    assert_true(offset >= 20 && offset <= tcp_len);
    assert_int_equal(fold(sum16(tcp, tcp_len, pseudo)), 0xffff);
    all.packets++;
    all.syn += tcp[13] >> 1 & 1;
    all.fin += tcp[13] & 1;
    all.rst += tcp[13] >> 2 & 1;
    all.payload += tcp_len - offset;
    at += kept;
  }
  assert_int_equal(at, c->len);
  return all;
}

static void
capture_is_a_pcap_file(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  run_for(p.net, SECOND);
  struct capture c = { .data = NULL };
  p.b->hook[EV_CIRCUIT_INCOMING] = accept_echo;
  utcp_connection_stats before = connection_stats(p.ab);
  assert_int_equal(utcp_endpoint_set_capture(p.a->endpoint, on_capture, &c), UTCP_OK);
  assert_int_equal(c.calls, 0); /* not from inside the call */
  struct stream *s = stream_new(p.a, open_circuit(p.a, p.ab, 3));
  s->out_seed = s->in_seed = 3;
  s->out_total = 50000;
  s->finish = 1;
  stream_pump(s);
  RUN_UNTIL(p.net, 20 * SECOND, s->closed);
  utcp_circuit *reset = open_circuit(p.a, p.ab, 4);
  run_for(p.net, SECOND);
  assert_int_equal(utcp_circuit_abort(reset), UTCP_OK);
  run_for(p.net, 10 * SECOND);
  utcp_connection_stats after = connection_stats(p.ab);
  assert_int_equal(utcp_endpoint_set_capture(p.a->endpoint, NULL, NULL), UTCP_OK);
  size_t len = c.len;
  open_circuit(p.a, p.ab, 5);
  run_for(p.net, SECOND);
  assert_int_equal(c.len, len); /* stopped */

  struct parsed parsed = parse_pcap(&c);
  assert_int_equal(parsed.packets, after.segments_sent + after.segments_received - before.segments_sent -
                                     before.segments_received);
  assert_int_equal(parsed.payload, 100000);
  assert_int_equal(parsed.syn, 4);
  assert_int_equal(parsed.fin, 2);
  assert_int_equal(parsed.rst, 2); /* ours, and the peer's confirmation */
  free(c.data);
}

/* Every capture is a file of its own, with a header. */
static void
capture_again(void **state)
{
  static const struct host_options v6 = { .ipv6 = 1 };
  struct pair p = pair_new(*state, &v6, &v6);
  for (uint32_t i = 0; i < 2; i++) {
    struct capture c = { .data = NULL };
    assert_int_equal(utcp_endpoint_set_capture(p.a->endpoint, on_capture, &c), UTCP_OK);
    open_circuit(p.a, p.ab, 7 + i);
    run_for(p.net, SECOND);
    assert_int_equal(utcp_endpoint_set_capture(p.a->endpoint, NULL, NULL), UTCP_OK);
    assert_int_equal(parse_pcap(&c).syn, 2);
    free(c.data);
  }
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(log_arguments),
    cmocka_unit_test(log_levels),
    cmocka_unit_test(log_can_be_replaced_and_turned_off),
    NET_TEST(payload_is_not_logged),
    cmocka_unit_test(log_cannot_be_set_from_inside),
    cmocka_unit_test(log_to_stderr),
    NET_TEST(capture_is_a_pcap_file),
    NET_TEST(capture_again),
  };
  return cmocka_run_group_tests_name("hooks", tests, NULL, NULL);
}
