/* What the operator is told. */
#include "tor_stand_in.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <unistd.h>

/* What was written, as a string; the caller frees. */
static char *
text(struct evbuffer *out)
{
  evbuffer_add(out, "", 1);
  char *copy = strdup((const char *)evbuffer_pullup(out, -1));
  assert_non_null(copy);
  evbuffer_drain(out, evbuffer_get_length(out));
  return copy;
}

static struct circuit *
begin(struct pair *p, uint32_t number)
{
  struct circuit *c = peer_open(p->peer, number);
  circuit_cells(c, 4, CELL_CREATE2, 0, 1);
  RUN_UNTIL(5 * SECOND, tor_count(p->conn, number) == 1);
  return c;
}

static void
lines_of_connections(void **state)
{
  (void)state;
  struct pair p = pair_out();
  begin(&p, 9);
  run_for(5 * SECOND);
  or_utcp_figures_t figures = { .links = 0 };
  or_utcp_link_add_figures(p.conn->link, &figures);
  assert_int_equal(figures.links, 1);
  assert_true(figures.sent && figures.received);

  struct evbuffer *out = evbuffer_new();
  or_utcp_line_t line = { .link = p.conn->link, .fingerprint = "0123456789ABCDEF", .address = "127.1.2.3", .port = 9001,
                          .outgoing = true, .circuits = 3, .state = "open" };
  or_utcp_describe_connection(out, &line);
  char *seen = text(out), expected[300];
  snprintf(expected, sizeof expected, "0123456789ABCDEF 127.1.2.3:9001 utcp out 3 %" PRIu64 " %" PRIu64 " %" PRIu64 " open",
           figures.sent, figures.received, figures.retransmits);
  assert_string_equal(seen, expected);
  free(seen);

  /* Several, and one without a link. */
  or_utcp_line_t tls = { .address = "[2001:db8::1]", .port = 65535, .circuits = 0, .state = "handshaking",
                         .figures = { .sent = UINT64_MAX, .received = 2, .retransmits = 3 } };
  or_utcp_describe_connection(out, &tls);
  or_utcp_describe_connection(out, &tls);
  seen = text(out);
  assert_string_equal(seen, "- [2001:db8::1]:65535 tls in 0 18446744073709551615 2 3 handshaking\r\n"
                            "- [2001:db8::1]:65535 tls in 0 18446744073709551615 2 3 handshaking");
  free(seen);

  /* A link that has no session of its own: it waits for the peer's. */
  struct peer *peer = PEER();
  peer_connect(peer);
  RUN_UNTIL(5 * SECOND, tor_accepted());
  struct or_connection_t *conn = tor_connect(peer, 0x22);
  or_utcp_line_t connecting = { .link = conn->link, .address = "127.1.2.3", .port = 1, .outgoing = true,
                                .state = "connecting" };
  or_utcp_describe_connection(out, &connecting);
  seen = text(out);
  assert_string_equal(seen, "- 127.1.2.3:1 utcp out 0 0 0 0 connecting");
  free(seen);
  evbuffer_free(out);
}

/* The line of one circuit; the caller frees. */
static char *
line_of(const struct or_connection_t *conn, uint32_t number)
{
  struct evbuffer *out = evbuffer_new();
  char head[64];
  snprintf(head, sizeof head, "10.0.0.1:77 %" PRIu32 " state=", number);
  or_utcp_describe_streams(out, conn->link, "10.0.0.1", 77);
  char *all = text(out), *line = NULL;
  evbuffer_free(out);
  for (char *at = all; at;) {
    char *end = strstr(at, "\r\n");
    if (end)
      *end = '\0';
    if (!strncmp(at, head, strlen(head))) {
      assert_null(line);
      line = strdup(at);
    }
    at = end ? end + 2 : NULL;
  }
  free(all);
  return line;
}

static bool
says(const struct or_connection_t *conn, uint32_t number, const char *word)
{
  char *line = line_of(conn, number);
  bool found = line && strstr(line, word);
  free(line);
  return found;
}

static void
lines_of_streams(void **state)
{
  (void)state;
  struct pair p = { .peer = PEER(.receive_buffer = 65536) };
  p.conn = tor_connect(p.peer, 0x11);
  RUN_UNTIL(5 * SECOND, p.conn->state == TOR_HANDSHAKING && p.peer->ready);
  tor_opened(p.conn);
  struct evbuffer *out = evbuffer_new();
  or_utcp_describe_streams(out, p.conn->link, "10.0.0.1", 77);
  assert_int_equal(evbuffer_get_length(out), 0);
  evbuffer_free(out);

  struct circuit *held = begin(&p, 9), *limited = begin(&p, 10);
  begin(&p, 4294967295u);
  tor_cell(p.conn, 11, CELL_CREATE2, 0);
  struct circuit *full;
  RUN_UNTIL(5 * SECOND, (full = peer_circuit(p.peer, 11)));
  full->paused = true;
  assert_true(says(p.conn, 4294967295u, " state=3 ")); /* established */
  assert_false(says(p.conn, 9, "FULL") || says(p.conn, 9, "BLOCKED") || says(p.conn, 9, "LIMITED") ||
               says(p.conn, 9, "DESTROYED"));
  static const char *const words[] = { " cwnd=", " flight=0 ", " queued=0 ", " unsent=0 ", " window=", " unread=0 ",
                                       " held=0 ", " srtt=", " rto=", " retransmits=0" };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!says(p.conn, 4294967295u, words[i]))
      fail_msg("no %s", words[i]);

  or_utcp_stream_hold(p.conn->link, 9, true);
  assert_true(says(p.conn, 9, " BLOCKED"));
  circuit_cells(held, 4, CELL_RELAY, 1, 2);
  RUN_UNTIL(5 * SECOND, says(p.conn, 9, " unread=1028 "));
  for (uint32_t i = 1; i < 2000; i++)
    tor_cell(p.conn, 11, CELL_RELAY, i);
  run_for(5 * SECOND);
  assert_true(says(p.conn, 11, " FULL"));
  assert_false(says(p.conn, 10, " FULL"));
  or_utcp_link_stop_reading(p.conn->link);
  circuit_cells(limited, 4, CELL_RELAY, 1, 2);
  RUN_UNTIL(5 * SECOND, says(p.conn, 10, " LIMITED"));
  tor_cell(p.conn, 4294967295u, CELL_DESTROY, 0);
  assert_true(says(p.conn, 4294967295u, " DESTROYED"));
  circuit_abort(limited);
  RUN_UNTIL(5 * SECOND, !says(p.conn, 10, " state="));
}

static void
congestion_control_by_name(void **state)
{
  (void)state;
  static const char *const names[] = { "bbr",         "cubic",         "newreno",
                                       "coupled-bbr", "coupled-cubic", "Coupled-NewReno" };
  static const char *const words[] = { " congestion=bbr ",         " congestion=cubic ",
                                       " congestion=newreno ",     " congestion=coupled-bbr ",
                                       " congestion=coupled-cubic ", " congestion=coupled-newreno " };
  for (unsigned i = 0; i < 6; i++) {
    or_utcp_endpoint_close(false);
    assert_false(or_utcp_congestion_is_in_use(names[i]));
    or_utcp_settings_t settings = tor_settings();
    settings.congestion = names[i];
    assert_true(or_utcp_congestion_is_known(names[i]));
    assert_true(or_utcp_endpoint_open(&settings));
    for (unsigned j = 0; j < 6; j++)
      assert_int_equal(or_utcp_congestion_is_in_use(names[j]), i == j);
    struct pair p = pair_out();
    begin(&p, 9);
    assert_true(says(p.conn, 9, words[i]));
    assert_false(says(p.conn, 9, " cwnd=0 "));
  }
  assert_false(or_utcp_congestion_is_known("coupled"));
  assert_false(or_utcp_congestion_is_known(""));
  assert_false(or_utcp_congestion_is_known(NULL));
}

static void
heartbeat(void **state)
{
  (void)state;
  or_utcp_figures_t utcp = { .links = 3, .sent = 1999, .received = 5000000, .retransmits = 7 };
  or_utcp_figures_t tls = { .links = 2, .sent = 12000, .received = 999 };
  struct pair p = pair_out();
  begin(&p, 9);
  or_utcp_log_figures(&utcp, &tls);
  assert_string_equal(tor.last_log[OR_UTCP_NOTICE],
                      "Open OR connections: 3 over UDP, which have sent 1 kB and received 5000 kB, with 7 segments "
                      "retransmitted; 2 over TLS, which have sent 12 kB and received 0 kB.");
  assert_non_null(strstr(tor.last_log[OR_UTCP_INFO], "UDP: 2 circuits, "));
  assert_non_null(strstr(tor.last_log[OR_UTCP_INFO], " 1 handshakes completed, 0 failed."));
}

static void
sums(void **state)
{
  (void)state;
  struct pair a = pair_out(), b = pair_in();
  begin(&a, 9);
  begin(&b, 9);
  run_for(5 * SECOND);
  or_utcp_figures_t one = { .links = 0 }, other = { .links = 0 }, both = { .links = 5, .sent = 1 };
  or_utcp_link_add_figures(a.conn->link, &one);
  or_utcp_link_add_figures(b.conn->link, &other);
  or_utcp_link_add_figures(a.conn->link, &both);
  or_utcp_link_add_figures(b.conn->link, &both);
  assert_int_equal(both.links, 7);
  assert_int_equal(both.sent, one.sent + other.sent + 1);
  assert_int_equal(both.received, one.received + other.received);
}

static void
retransmits_are_counted(void **state)
{
  (void)state;
  struct pair p = pair_out();
  tor_cell(p.conn, 9, CELL_CREATE2, 0);
  RUN_UNTIL(5 * SECOND, peer_circuit(p.peer, 9));
  run_for(SECOND);
  or_utcp_figures_t before = { .links = 0 }, after = { .links = 0 };
  or_utcp_link_add_figures(p.conn->link, &before);
  p.peer->lose_next = 1;
  tor_cell(p.conn, 9, CELL_RELAY, 1);
  RUN_UNTIL(20 * SECOND, circuit_count(peer_circuit(p.peer, 9), 4) == 2);
  or_utcp_link_add_figures(p.conn->link, &after);
  assert_true(after.retransmits > before.retransmits);
}

static void
figures_of_tcp(void **state)
{
  (void)state;
  or_utcp_figures_t figures = { .links = 0 };
  or_utcp_tcp_add_figures(-1, &figures); /* no socket any more */
  assert_int_equal(figures.links, 1);
  struct sockaddr_in address = loopback_address(0);
  socklen_t len = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0), s = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, len) | listen(listener, 1), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
  assert_int_equal(connect(s, (struct sockaddr *)&address, len), 0);
  or_utcp_tcp_add_figures(s, &figures);
  assert_int_equal(figures.links, 2);
  assert_int_equal(figures.retransmits, 0);
  assert_int_equal(figures.sent + figures.received, 0);
  close(s);
  close(listener);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(lines_of_connections),
    TEST(lines_of_streams),
    TEST(congestion_control_by_name),
    TEST(heartbeat),
    TEST(sums),
    TEST(retransmits_are_counted),
    TEST(figures_of_tcp),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
