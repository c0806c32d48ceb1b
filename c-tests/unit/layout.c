/* The ABI as this header's first version published it: callers compiled against it must go on working. */
#include <stddef.h>

#include "pair.h"

/* Sizes on LP64, the only data model supported so far. */
_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "layouts below are LP64's");

#define SIZE(type, expected) assert_int_equal(sizeof(type), expected)
#define AT(type, member, expected) assert_int_equal(offsetof(type, member), expected)
#define MEMBER(type, member, offset, width)                   \
  do {                                                        \
    assert_int_equal(offsetof(type, member), offset);         \
    assert_int_equal(sizeof(((type *)0)->member), width);     \
  } while (0)

static void
datagram_layout(void **state)
{
  (void)state;
  SIZE(utcp_datagram, 40);
  MEMBER(utcp_datagram, address, 0, 8);
  MEMBER(utcp_datagram, address_len, 8, 4);
  MEMBER(utcp_datagram, data, 16, 8);
  MEMBER(utcp_datagram, len, 24, 8);
  MEMBER(utcp_datagram, ecn, 32, 1);
}

static void
callbacks_layout(void **state)
{
  (void)state;
  SIZE(utcp_callbacks, 88);
  assert_int_equal(UTCP_CALLBACKS_SIZE_V1, 80);
  AT(utcp_callbacks, size, 0);
  AT(utcp_callbacks, tx, 8);
  AT(utcp_callbacks, connection_incoming, 16);
  AT(utcp_callbacks, connection_verify, 24);
  AT(utcp_callbacks, connection_ready, 32);
  AT(utcp_callbacks, connection_closed, 40);
  AT(utcp_callbacks, circuit_incoming, 48);
  AT(utcp_callbacks, circuit_readable, 56);
  AT(utcp_callbacks, circuit_writable, 64);
  AT(utcp_callbacks, circuit_closed, 72);
  AT(utcp_callbacks, memory_pressure, 80);
}

static void
circuit_info_layout(void **state)
{
  (void)state;
  SIZE(utcp_circuit_info, 288);
  assert_int_equal(UTCP_CIRCUIT_INFO_SIZE_V1, 232);
  MEMBER(utcp_circuit_info, size, 0, 8);
  MEMBER(utcp_circuit_info, number, 8, 4);
  MEMBER(utcp_circuit_info, wire_id, 12, 4);
  MEMBER(utcp_circuit_info, state, 16, 4);
  MEMBER(utcp_circuit_info, congestion, 20, 4);
  MEMBER(utcp_circuit_info, mss, 24, 4);
  MEMBER(utcp_circuit_info, reserved, 28, 4);
#define NEXT(member, index) MEMBER(utcp_circuit_info, member, 32 + 8 * (index), 8)
  NEXT(cwnd, 0);
  NEXT(ssthresh, 1);
  NEXT(bytes_in_flight, 2);
  NEXT(send_window, 3);
  NEXT(receive_window, 4);
  NEXT(srtt, 5);
  NEXT(rttvar, 6);
  NEXT(min_rtt, 7);
  NEXT(rto, 8);
  NEXT(send_queue, 9);
  NEXT(unsent, 10);
  NEXT(receive_queue, 11);
  NEXT(out_of_order, 12);
  NEXT(bytes_sent, 13);
  NEXT(bytes_acked, 14);
  NEXT(bytes_received, 15);
  NEXT(bytes_retransmitted, 16);
  NEXT(segments_sent, 17);
  NEXT(segments_received, 18);
  NEXT(segments_retransmitted, 19);
  NEXT(timeouts, 20);
  NEXT(fast_recoveries, 21);
  NEXT(duplicate_segments, 22);
  NEXT(rejected_segments, 23);
  NEXT(delivery_rate, 24);
  NEXT(pacing_rate, 25);
  NEXT(tail_loss_probes, 26);
  NEXT(spurious_recoveries, 27);
  NEXT(ecn, 28);
  NEXT(ce_reported, 29);
  NEXT(ce_received, 30);
  NEXT(coupled, 31);
#undef NEXT
}

static void
connection_stats_layout(void **state)
{
  (void)state;
  SIZE(utcp_connection_stats, 264);
  assert_int_equal(UTCP_CONNECTION_STATS_SIZE_V1, 208);
  MEMBER(utcp_connection_stats, size, 0, 8);
  MEMBER(utcp_connection_stats, role, 8, 4);
  MEMBER(utcp_connection_stats, state, 12, 4);
  MEMBER(utcp_connection_stats, circuits, 16, 4);
  MEMBER(utcp_connection_stats, datagram_size, 20, 4);
#define NEXT(member, index) MEMBER(utcp_connection_stats, member, 24 + 8 * (index), 8)
  NEXT(srtt, 0);
  NEXT(min_rtt, 1);
  NEXT(datagrams_sent, 2);
  NEXT(datagrams_received, 3);
  NEXT(bytes_sent, 4);
  NEXT(bytes_received, 5);
  NEXT(payload_sent, 6);
  NEXT(payload_received, 7);
  NEXT(segments_sent, 8);
  NEXT(segments_received, 9);
  NEXT(segments_retransmitted, 10);
  NEXT(circuits_opened, 11);
  NEXT(circuits_accepted, 12);
  NEXT(circuits_reset, 13);
  NEXT(dropped_record, 14);
  NEXT(dropped_plaintext_alert, 15);
  NEXT(dropped_version, 16);
  NEXT(dropped_malformed, 17);
  NEXT(dropped_unknown_circuit, 18);
  NEXT(dropped_out_of_window, 19);
  NEXT(dropped_limit, 20);
  NEXT(dropped_memory, 21);
  NEXT(dropped_peer_handshake, 22);
  NEXT(path_probes_sent, 23);
  NEXT(path_black_holes, 24);
  NEXT(dropped_path_probe, 25);
  NEXT(coupled_cwnd, 26);
  NEXT(coupled_in_flight, 27);
  NEXT(coupled_congestion, 28);
  NEXT(memory, 29);
#undef NEXT
}

static void
endpoint_stats_layout(void **state)
{
  (void)state;
  SIZE(utcp_endpoint_stats, 224);
  assert_int_equal(UTCP_ENDPOINT_STATS_SIZE_V1, 168);
  MEMBER(utcp_endpoint_stats, size, 0, 8);
#define NEXT(member, index) MEMBER(utcp_endpoint_stats, member, 8 + 8 * (index), 8)
  NEXT(connections, 0);
  NEXT(half_open, 1);
  NEXT(circuits, 2);
  NEXT(memory, 3);
  NEXT(datagrams_sent, 4);
  NEXT(datagrams_received, 5);
  NEXT(bytes_sent, 6);
  NEXT(bytes_received, 7);
  NEXT(output_queue, 8);
  NEXT(handshakes_started, 9);
  NEXT(handshakes_completed, 10);
  NEXT(handshakes_failed, 11);
  NEXT(cookies_sent, 12);
  NEXT(dropped_not_dtls, 13);
  NEXT(dropped_unknown_peer, 14);
  NEXT(dropped_bad_cookie, 15);
  NEXT(dropped_refusing, 16);
  NEXT(dropped_limit, 17);
  NEXT(dropped_output_full, 18);
  NEXT(dropped_address, 19);
  NEXT(memory_budget, 20);
  NEXT(memory_peak, 21);
  NEXT(writes_refused, 22);
  NEXT(windows_held, 23);
  NEXT(bytes_reneged, 24);
  NEXT(dropped_out_of_order, 25);
  NEXT(dropped_in_order, 26);
#undef NEXT
}

static void
socket_stats_layout(void **state)
{
  (void)state;
  SIZE(utcp_socket_stats, 144);
  assert_int_equal(UTCP_SOCKET_STATS_SIZE_V1, 144);
  MEMBER(utcp_socket_stats, size, 0, 8);
#define NEXT(member, index) MEMBER(utcp_socket_stats, member, 8 + 8 * (index), 8)
  NEXT(send_calls, 0);
  NEXT(datagrams_sent, 1);
  NEXT(bytes_sent, 2);
  NEXT(segmented_sent, 3);
  NEXT(full, 4);
  NEXT(lost_too_large, 5);
  NEXT(lost_unreachable, 6);
  NEXT(lost_refused, 7);
  NEXT(lost_no_buffers, 8);
  NEXT(lost_other, 9);
  NEXT(receive_calls, 10);
  NEXT(datagrams_received, 11);
  NEXT(bytes_received, 12);
  NEXT(coalesced_received, 13);
  NEXT(truncated, 14);
  NEXT(dropped_address, 15);
  NEXT(receive_errors, 16);
#undef NEXT
}

static void
numbers_are_the_published_ones(void **state)
{
  (void)state;
  const struct { int number, expected; } numbers[] = {
    { UTCP_OK, 0 }, { UTCP_ERR_NULL, -10 }, { UTCP_ERR_ARGUMENT, -11 }, { UTCP_ERR_RANGE, -12 },
    { UTCP_ERR_SIZE, -13 }, { UTCP_ERR_HANDLE, -14 }, { UTCP_ERR_STATE, -20 }, { UTCP_ERR_CLOSED, -21 },
    { UTCP_ERR_BUSY, -22 }, { UTCP_ERR_WOULD_BLOCK, -23 }, { UTCP_ERR_END, -24 }, { UTCP_ERR_IN_USE, -30 },
    { UTCP_ERR_LIMIT, -31 }, { UTCP_ERR_MEMORY, -33 }, { UTCP_ERR_CERTIFICATE, -40 },
    { UTCP_ERR_TLS, -41 }, { UTCP_ERR_SOCKET, -50 }, { UTCP_ERR_INTERNAL, -90 },
    { UTCP_SOCKET_BATCH, 1 }, { UTCP_SOCKET_SEGMENT, 2 }, { UTCP_SOCKET_COALESCE, 4 }, { UTCP_SOCKET_ECN, 8 },
    { UTCP_SOCKET_LOCAL_ADDRESS, 16 }, { UTCP_SOCKET_DONT_FRAGMENT, 32 },
    { UTCP_CLOSE_DONE, 1 }, { UTCP_CLOSE_LOCAL, 2 }, { UTCP_CLOSE_PEER, 3 }, { UTCP_CLOSE_RESET, 4 },
    { UTCP_CLOSE_TIMEOUT, 5 }, { UTCP_CLOSE_HANDSHAKE, 6 }, { UTCP_CLOSE_VERIFY, 7 }, { UTCP_CLOSE_RESTARTED, 8 },
    { UTCP_CLOSE_CONNECTION, 9 }, { UTCP_CLOSE_REFUSED, 10 }, { UTCP_CLOSE_MEMORY, 11 }, { UTCP_CLOSE_INTERNAL, 12 },
    { UTCP_OPTION_CLIENT_CERTIFICATE, 1 }, { UTCP_OPTION_SECURITY_LEVEL, 2 }, { UTCP_OPTION_MAX_CONNECTIONS, 3 },
    { UTCP_OPTION_MAX_HALF_OPEN, 4 }, { UTCP_OPTION_MAX_CIRCUITS, 5 }, { UTCP_OPTION_SEND_BUFFER, 6 },
    { UTCP_OPTION_RECEIVE_BUFFER, 7 }, { UTCP_OPTION_CONGESTION, 8 }, { UTCP_OPTION_DATAGRAM_SIZE, 9 },
    { UTCP_OPTION_HANDSHAKE_TIMEOUT, 10 }, { UTCP_OPTION_DEAD_TIMEOUT, 11 }, { UTCP_OPTION_MEMORY_BUDGET, 12 },
    { UTCP_OPTION_ECN, 13 }, { UTCP_OPTION_COUPLED, 14 }, { UTCP_OPTION_COUPLED_FLOWS, 15 },
    { UTCP_OPTION_CONNECTION_SHARE, 16 },
    { UTCP_OPTION_PATH_MTU_DISCOVERY, 20 }, { UTCP_OPTION_LARGEST_DATAGRAM, 21 },
    { UTCP_CONGESTION_NEWRENO, 1 }, { UTCP_CONGESTION_CUBIC, 2 }, { UTCP_CONGESTION_BBR, 3 },
    { UTCP_MEMORY_NORMAL, 0 }, { UTCP_MEMORY_HIGH, 1 }, { UTCP_MEMORY_CRITICAL, 2 },
    { UTCP_ROLE_CLIENT, 1 }, { UTCP_ROLE_SERVER, 2 },
    { UTCP_EVENT_READABLE, 1 }, { UTCP_EVENT_WRITABLE, 2 },
    { UTCP_TCP_SYN_SENT, 1 }, { UTCP_TCP_SYN_RECEIVED, 2 }, { UTCP_TCP_ESTABLISHED, 3 }, { UTCP_TCP_FIN_WAIT_1, 4 },
    { UTCP_TCP_FIN_WAIT_2, 5 }, { UTCP_TCP_CLOSE_WAIT, 6 }, { UTCP_TCP_CLOSING, 7 }, { UTCP_TCP_LAST_ACK, 8 },
    { UTCP_TCP_TIME_WAIT, 9 }, { UTCP_TCP_CLOSED, 10 },
    { UTCP_CONNECTION_HANDSHAKING, 1 }, { UTCP_CONNECTION_READY, 2 }, { UTCP_CONNECTION_CLOSED, 3 },
    { UTCP_LOG_ERROR, 1 }, { UTCP_LOG_WARN, 2 }, { UTCP_LOG_INFO, 3 }, { UTCP_LOG_DEBUG, 4 }, { UTCP_LOG_TRACE, 5 },
  };
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    assert_int_equal(numbers[i].number, numbers[i].expected);
}

static void
version_of_library_is_that_of_header(void **state)
{
  (void)state;
  assert_int_equal(utcp_version(), UTCP_VERSION_MAJOR << 16 | UTCP_VERSION_MINOR << 8 | UTCP_VERSION_PATCH);
}

static void
every_number_has_a_text_of_its_own(void **state)
{
  (void)state;
  const int numbers[] = { 0, -10, -11, -12, -13, -14, -20, -21, -22, -23, -24, -30, -31, -33, -40, -41, -90,
                          1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
  size_t n = sizeof numbers / sizeof *numbers;
  const char *unknown = utcp_error_string(-12345);
  assert_non_null(unknown);
  assert_true(strlen(unknown) > 0);
  for (size_t i = 0; i < n; i++) {
    const char *text = utcp_error_string(numbers[i]);
    assert_non_null(text);
    assert_true(strlen(text) > 0);
    assert_string_not_equal(text, unknown);
    /* Static: the same octets at the same place. */
    assert_ptr_equal(text, utcp_error_string(numbers[i]));
    for (size_t j = 0; j < i; j++)
      assert_string_not_equal(text, utcp_error_string(numbers[j]));
  }
  const int others[] = { INT32_MIN, INT32_MAX, -1, -9, -15, 13, -32, -91 };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_string_equal(utcp_error_string(others[i]), unknown);
}

/* ---- the size member: V1 exactly, smaller, larger ---- */

#define CANARY 64
#define FILL 0xa5

/* One published struct and the call that fills it. */
struct filled {
  const char *name;
  size_t v1, now;
  int (*call)(const void *handle, void *out);
  const void *handle;
};

static int
fill_circuit(const void *handle, void *out)
{
  return utcp_circuit_get_info(handle, out);
}

static int
fill_connection(const void *handle, void *out)
{
  return utcp_connection_get_stats(handle, out);
}

static int
fill_endpoint(const void *handle, void *out)
{
  return utcp_endpoint_get_stats(handle, out);
}

static int
is_filled_with(const uint8_t *p, size_t len, uint8_t with)
{
  for (size_t i = 0; i < len; i++)
    if (p[i] != with)
      return 0;
  return 1;
}

static void
statistics_of_all_sizes(void **state)
{
  struct pair p = pair_new(*state, NULL, NULL);
  struct circuits c = pair_open(&p, 5);
  const struct filled all[] = {
    { "circuit_info", 232, sizeof(utcp_circuit_info), fill_circuit, c.a },
    { "connection_stats", 208, sizeof(utcp_connection_stats), fill_connection, p.ab },
    { "endpoint_stats", 168, sizeof(utcp_endpoint_stats), fill_endpoint, p.a->endpoint },
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const struct filled *f = &all[i];
    const size_t refused[] = { 0, 1, 7, 8, f->v1 / 2, f->v1 - 1 };
    for (size_t j = 0; j < sizeof refused / sizeof *refused; j++) {
      uint8_t *out = malloc(f->v1);
      assert_non_null(out);
      memset(out, FILL, f->v1);
      memcpy(out, &refused[j], sizeof(size_t));
      assert_int_equal(f->call(f->handle, out), UTCP_ERR_SIZE);
      assert_true(is_filled_with(out + sizeof(size_t), f->v1 - sizeof(size_t), FILL));
      assert_memory_equal(out, &refused[j], sizeof(size_t));
      free(out);
    }
    /* Exactly V1, on the heap, so that valgrind sees an octet too many as well. */
    uint8_t *v1 = malloc(f->v1);
    assert_non_null(v1);
    memset(v1, FILL, f->v1);
    memcpy(v1, &f->v1, sizeof(size_t));
    assert_int_equal(f->call(f->handle, v1), UTCP_OK);
    /* All of it is written: no counter keeps the filling. */
    for (size_t at = sizeof(size_t); at < f->v1; at += 8)
      assert_false(is_filled_with(v1 + at, 8, FILL));
    size_t size;
    memcpy(&size, v1, sizeof size);
    assert_int_equal(size, f->v1);

    /* The same with room behind that must stay as it is. */
    uint8_t *guarded = malloc(f->v1 + CANARY);
    assert_non_null(guarded);
    memset(guarded, FILL, f->v1 + CANARY);
    memcpy(guarded, &f->v1, sizeof(size_t));
    assert_int_equal(f->call(f->handle, guarded), UTCP_OK);
    assert_true(is_filled_with(guarded + f->v1, CANARY, FILL));
    assert_memory_equal(guarded, v1, f->v1);
    free(guarded);

    /* A newer caller finds zeroes where this library knows nothing, and its own octets behind that. */
    size_t larger = f->now + 512;
    uint8_t *future = malloc(larger + CANARY);
    assert_non_null(future);
    memset(future, FILL, larger + CANARY);
    memcpy(future, &larger, sizeof larger);
    assert_int_equal(f->call(f->handle, future), UTCP_OK);
    assert_memory_equal(future + sizeof(size_t), v1 + sizeof(size_t), f->v1 - sizeof(size_t));
    for (size_t at = f->v1; at < f->now; at += 8)
      assert_false(is_filled_with(future + at, 8, FILL));
    assert_true(is_filled_with(future + f->now, larger - f->now, 0));
    assert_true(is_filled_with(future + larger, CANARY, FILL));
    free(future);
    free(v1);
  }
}

static void
callbacks_of_all_sizes(void **state)
{
  struct net *net = *state;
  static const struct host_options plain;
  utcp_config *config = host_config(&plain, net_identity(net, 0));
  const utcp_callbacks callbacks = host_callbacks(&plain);
  const size_t v1 = 80;

  const size_t refused[] = { 0, 1, 8, 16, v1 - 8, v1 - 1 };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    utcp_callbacks small = callbacks;
    small.size = refused[i];
    utcp_endpoint *endpoint = (utcp_endpoint *)&small;
    assert_int_equal(utcp_endpoint_new(config, &small, NULL, &endpoint), UTCP_ERR_SIZE);
    assert_ptr_equal(endpoint, &small);
  }
  /* Exactly V1, on the heap: an octet read behind it would be seen. */
  uint8_t *exact = malloc(v1);
  assert_non_null(exact);
  memcpy(exact, &callbacks, v1);
  memcpy(exact, &v1, sizeof v1);
  utcp_endpoint *endpoint = NULL;
  assert_int_equal(utcp_endpoint_new(config, (const utcp_callbacks *)exact, NULL, &endpoint), UTCP_OK);
  free(exact);
  assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);

  /* A newer caller: members that this library does not know must be NULL, for they would never be called. */
  size_t larger = v1 + 256;
  uint8_t *future = calloc(1, larger);
  assert_non_null(future);
  memcpy(future, &callbacks, v1);
  memcpy(future, &larger, sizeof larger);
  assert_int_equal(utcp_endpoint_new(config, (const utcp_callbacks *)future, NULL, &endpoint), UTCP_OK);
  future[larger - 8] = 1;
  utcp_endpoint *none = NULL;
  assert_int_equal(utcp_endpoint_new(config, (const utcp_callbacks *)future, NULL, &none), UTCP_ERR_SIZE);
  assert_null(none);
  free(future);
  assert_int_equal(utcp_endpoint_free(endpoint), UTCP_OK);
  assert_int_equal(utcp_config_free(config), UTCP_OK);
}

int
main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(datagram_layout),
    cmocka_unit_test(callbacks_layout),
    cmocka_unit_test(circuit_info_layout),
    cmocka_unit_test(connection_stats_layout),
    cmocka_unit_test(endpoint_stats_layout),
    cmocka_unit_test(socket_stats_layout),
    cmocka_unit_test(numbers_are_the_published_ones),
    cmocka_unit_test(version_of_library_is_that_of_header),
    cmocka_unit_test(every_number_has_a_text_of_its_own),
    NET_TEST(statistics_of_all_sizes),
    NET_TEST(callbacks_of_all_sizes),
  };
  return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
