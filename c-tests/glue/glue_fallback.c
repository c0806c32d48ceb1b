/* When UDP does not work: TCP instead, and the memory of that; both sides connecting at once. */
#include "tor_stand_in.h"

/* ---- the memory ---- */

static void
remembered_for_ten_minutes(void **state)
{
  (void)state;
  uint8_t identity[3][OR_UTCP_IDENTITY_LEN];
  for (unsigned i = 0; i < 3; i++)
    memset(identity[i], 7, sizeof identity[i]);
  identity[1][OR_UTCP_IDENTITY_LEN - 1] = 8;
  memset(identity[2], 0, sizeof identity[2]);

  assert_false(or_utcp_failed_recently(identity[0]));
  or_utcp_note_failure(identity[0]);
  assert_true(or_utcp_failed_recently(identity[0]));
  assert_false(or_utcp_failed_recently(identity[1]));
  clock_now += 300 * SECOND;
  or_utcp_note_failure(identity[1]);
  clock_now += 299 * SECOND;
  assert_true(or_utcp_failed_recently(identity[0]));
  clock_now += 2 * SECOND;
  assert_false(or_utcp_failed_recently(identity[0]));
  assert_true(or_utcp_failed_recently(identity[1]));
  /* Another failure, another ten minutes. */
  or_utcp_note_failure(identity[1]);
  clock_now += 599 * SECOND;
  assert_true(or_utcp_failed_recently(identity[1]));
  clock_now += 2 * SECOND;
  assert_false(or_utcp_failed_recently(identity[1]));
  /* Whom we do not know has not failed. */
  or_utcp_note_failure(identity[2]);
  assert_false(or_utcp_failed_recently(identity[2]));
}

/* One that failed again is forgotten later than one that did not. */
static void
forgotten_in_their_order(void **state)
{
  (void)state;
  const uint8_t a[OR_UTCP_IDENTITY_LEN] = { 1 }, b[OR_UTCP_IDENTITY_LEN] = { 2 };
  or_utcp_note_failure(a);
  clock_now += 100 * SECOND;
  or_utcp_note_failure(b);
  clock_now += 400 * SECOND;
  or_utcp_note_failure(a);
  clock_now += 250 * SECOND;
  assert_false(or_utcp_failed_recently(b));
  assert_true(or_utcp_failed_recently(a));
}

static void
many_failures(void **state)
{
  (void)state;
  uint8_t identity[OR_UTCP_IDENTITY_LEN] = { 1 };
  const unsigned n = 5000;
  for (unsigned i = 0; i < n; i++) {
    memcpy(identity + 3, &i, sizeof i);
    or_utcp_note_failure(identity);
    clock_now += SECOND / 5;
  }
  /* 1000 s: the first 2000 are forgotten. */
  for (unsigned i = 0; i < n; i++) {
    memcpy(identity + 3, &i, sizeof i);
    assert_int_equal(or_utcp_failed_recently(identity), i >= n - 3000 + 1);
  }
  or_utcp_free_glue();
  assert_false(or_utcp_failed_recently(identity));
}

static void
outlives_the_endpoint(void **state)
{
  (void)state;
  uint8_t identity[OR_UTCP_IDENTITY_LEN] = { 1 };
  or_utcp_note_failure(identity);
  or_utcp_endpoint_close(false);
  assert_true(or_utcp_failed_recently(identity));
  tor_open_endpoint();
  assert_true(or_utcp_failed_recently(identity));
}

/* ---- falling back ---- */

static void
no_answer(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer->deaf = true;
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  run_for(4 * SECOND);
  assert_int_equal(conn->state, TOR_CONNECTING);
  assert_false(or_utcp_failed_recently(conn->identity));
  RUN_UNTIL(3 * SECOND, conn->calls[CALL_TCP]);
  assert_true(or_utcp_failed_recently(conn->identity));
  assert_null(conn->link);
  run_for(300 * SECOND);
  assert_int_equal(conn->calls[CALL_TCP], 1);
  assert_int_equal(conn->calls[CALL_CLOSE] + conn->calls[CALL_HANDSHAKE], 0);
  assert_true(or_utcp_failed_recently(conn->identity));
  run_for(310 * SECOND);
  assert_false(or_utcp_failed_recently(conn->identity));
  /* Then UDP is tried again. */
  peer->deaf = false;
  conn = tor_connect(peer, 0x11);
  RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING);
}

/* Datagrams get lost, and are sent again in time: the glue wakes up by itself. */
static void
answer_after_losses(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer->lose_next = 2;
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING);
  assert_int_equal(conn->calls[CALL_TCP], 0);
}

static void
peer_goes_away_within_dtls(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  RUN_UNTIL(5 * SECOND, peer->incoming);
  peer->deaf = peer->mute = true;
  RUN_UNTIL(7 * SECOND, conn->calls[CALL_TCP]);
  run_for(60 * SECOND);
  assert_int_equal(conn->calls[CALL_TCP], 1);
  assert_true(or_utcp_failed_recently(conn->identity));
}

static void
many_at_once(void **state)
{
  (void)state;
  struct or_connection_t *conn[20];
  for (unsigned i = 0; i < 20; i++) {
    struct peer *peer = PEER();
    peer->deaf = i % 4 != 0 && i % 8 != 1;
    conn[i] = tor_connect(peer, (uint8_t)(1 + i));
    if (i % 4 == 1)
      conn[i]->marked = true; /* closed in the meantime, but not freed yet */
  }
  run_for(20 * SECOND);
  for (unsigned i = 0; i < 20; i++) {
    assert_int_equal(conn[i]->calls[CALL_TCP], i % 4 > 1);
    assert_int_equal(conn[i]->calls[CALL_HANDSHAKE], i % 4 == 0);
    assert_int_equal(or_utcp_failed_recently(conn[i]->identity), i % 4 > 1);
  }
}

/* Once Tor's own handshake is under way the connection is closed, not made anew; UDP has failed, though. */
static void
peer_closes_within_the_handshake(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  RUN_UNTIL(5 * SECOND, conn->state == TOR_HANDSHAKING && peer->ready);
  assert_int_equal(utcp_connection_close(peer->connection), UTCP_OK);
  RUN_UNTIL(5 * SECOND, conn->marked);
  assert_int_equal(conn->close_reason, UTCP_CLOSE_PEER);
  assert_true(or_utcp_failed_recently(conn->identity));

  struct peer *theirs = PEER();
  peer_connect(theirs);
  RUN_UNTIL(5 * SECOND, tor_accepted() && theirs->ready);
  struct or_connection_t *in = tor_accepted();
  memset(in->identity, 0x22, sizeof in->identity);
  assert_int_equal(utcp_connection_close(theirs->connection), UTCP_OK);
  RUN_UNTIL(5 * SECOND, in->marked);
  assert_false(or_utcp_failed_recently(in->identity));
}

static void
mark_it(struct or_connection_t *conn, enum tor_call call, uint32_t number)
{
  (void)number;
  if (call == CALL_TCP)
    tor_mark(conn);
}

/* TCP fails, too, and at once. */
static void
closed_while_falling_back(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer->deaf = true;
  struct or_connection_t *conn = tor_connect(peer, 0x11);
  conn->hook = mark_it;
  RUN_UNTIL(10 * SECOND, conn->marked);
  run_for(10 * SECOND);
  assert_int_equal(conn->calls[CALL_TCP], 1);
}

/* ---- both sides connect at once ---- */

/* Who has the client's part is left to chance: as many attempts as it takes for us to become `role`. Our connection
 * is *ours; returns the one on which the peer will prove itself, if we are the server. */
static struct or_connection_t *
cross(int role, struct peer **peer, struct or_connection_t **ours)
{
  for (unsigned attempt = 0; attempt < 100; attempt++) {
    *peer = PEER();
    size_t before = tor_accepted_count();
    /* Both hellos are on their way before either arrives. */
    (*peer)->asleep = true;
    *ours = tor_connect(*peer, 0x11);
    assert_non_null(*ours);
    event_base_loop(loop_base, EVLOOP_NONBLOCK);
    peer_connect(*peer);
    (*peer)->asleep = false;
    RUN_UNTIL(20 * SECOND, (*peer)->ready);
    RUN_UNTIL(20 * SECOND, (*ours)->state == TOR_HANDSHAKING || tor_accepted_count() > before);
    assert_int_equal(utcp_connection_role((*peer)->connection), (*peer)->role);
    int is = (*peer)->role == UTCP_ROLE_CLIENT ? UTCP_ROLE_SERVER : UTCP_ROLE_CLIENT;
    assert_int_equal(is == UTCP_ROLE_SERVER, tor_accepted_count() > before);
    assert_int_equal(is == UTCP_ROLE_CLIENT, (*ours)->state == TOR_HANDSHAKING);
    if (is == role)
      return is == UTCP_ROLE_SERVER ? tor_accepted() : NULL;
    tor_mark(*ours);
    if (is == UTCP_ROLE_SERVER)
      tor_mark(tor_accepted());
    run_turns(5);
    if (tor.conn_count > 100)
      break;
  }
  fail_msg("never in role %d", role);
  return NULL;
}

static void
crossing_as_client(void **state)
{
  (void)state;
  struct peer *peer;
  struct or_connection_t *ours;
  size_t before = tor_accepted_count();
  cross(UTCP_ROLE_CLIENT, &peer, &ours);
  assert_false(ours->is_server);
  tor_opened(ours);
  tor_cell(ours, 9, CELL_CREATE2, 0);
  RUN_UNTIL(5 * SECOND, peer_circuit(peer, 9));
  run_for(60 * SECOND);
  assert_false(ours->marked);
  assert_int_equal(ours->calls[CALL_TCP], 0);
  for (size_t i = before; i < tor.conn_count; i++)
    assert_true(tor.conns[i] == ours || tor.conns[i]->marked);
}

static void
crossing_as_server(void **state)
{
  (void)state;
  struct peer *peer;
  struct or_connection_t *ours, *theirs = cross(UTCP_ROLE_SERVER, &peer, &ours);
  assert_true(theirs->is_server);
  assert_int_equal(ours->state, TOR_CONNECTING);
  assert_false(or_utcp_link_is_up(ours->link));
  assert_null(or_utcp_link_ssl(ours->link));
  or_utcp_link_start_reading(ours->link);
  or_utcp_link_write(ours->link, "x", 1);
  run_for(10 * SECOND);
  assert_int_equal(ours->state, TOR_CONNECTING);
  assert_false(ours->marked);
  /* The peer proves to be whom ours is for. */
  memset(theirs->identity, 0x11, sizeof theirs->identity);
  tor_opened(theirs);
  RUN_UNTIL(SECOND, ours->marked);
  assert_int_equal(ours->calls[CALL_CLOSE], 1);
  assert_int_equal(ours->calls[CALL_TCP] + ours->calls[CALL_HANDSHAKE], 0);
  assert_false(or_utcp_failed_recently(ours->identity));
  tor_cell(theirs, 9, CELL_CREATE2, 0);
  RUN_UNTIL(5 * SECOND, peer_circuit(peer, 9));
  run_for(60 * SECOND);
  assert_false(theirs->marked);
}

static void
crossing_with_another_relay(void **state)
{
  (void)state;
  struct peer *peer;
  struct or_connection_t *ours, *theirs = cross(UTCP_ROLE_SERVER, &peer, &ours);
  memset(theirs->identity, 0x33, sizeof theirs->identity);
  tor_opened(theirs);
  RUN_UNTIL(SECOND, ours->calls[CALL_TCP]);
  run_for(60 * SECOND);
  assert_int_equal(ours->calls[CALL_TCP], 1);
  assert_int_equal(ours->calls[CALL_CLOSE], 0);
  assert_true(or_utcp_failed_recently(ours->identity));
  assert_false(or_utcp_failed_recently(theirs->identity));
  assert_false(theirs->marked);
}

static void
crossing_and_theirs_fails(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 3; i++) {
    struct peer *peer;
    struct or_connection_t *ours, *theirs = cross(UTCP_ROLE_SERVER, &peer, &ours);
    if (i == 0)
      assert_int_equal(utcp_connection_close(peer->connection), UTCP_OK);
    else if (i == 1)
      tor_mark(theirs); /* Tor does not like its handshake */
    /* else it takes too long */
    RUN_UNTIL(40 * SECOND, ours->calls[CALL_TCP]);
    run_for(5 * SECOND);
    assert_int_equal(ours->calls[CALL_TCP], 1);
    assert_int_equal(ours->calls[CALL_CLOSE], 0);
    assert_true(theirs->marked);
  }
}

static void
crossing_and_ours_is_closed(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 3; i++) {
    struct peer *peer;
    struct or_connection_t *ours, *theirs = cross(UTCP_ROLE_SERVER, &peer, &ours);
    if (i == 1) {
      tor_mark(ours);
      run_turns(3);
      assert_null(ours->link);
    } else {
      ours->marked = true; /* and not freed yet */
    }
    if (i == 2) {
      assert_int_equal(utcp_connection_close(peer->connection), UTCP_OK);
      RUN_UNTIL(5 * SECOND, theirs->marked);
      run_for(5 * SECOND);
      assert_int_equal(ours->calls[CALL_TCP] + ours->calls[CALL_CLOSE], 0);
      continue;
    }
    memset(theirs->identity, 0x11, sizeof theirs->identity);
    tor_opened(theirs);
    run_for(60 * SECOND);
    assert_int_equal(ours->calls[CALL_TCP] + ours->calls[CALL_CLOSE], 0);
    assert_false(theirs->marked);
  }
}

/* The peer's hello is here first. */
static void
peer_was_faster(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 3; i++) {
    struct peer *peer = PEER();
    size_t before = tor_accepted_count();
    peer_connect(peer);
    RUN_UNTIL(5 * SECOND, tor_accepted_count() > before);
    struct or_connection_t *theirs = tor_accepted();
    struct or_connection_t *ours = tor_connect(peer, 0x11);
    assert_non_null(ours);
    assert_false(or_utcp_link_is_up(ours->link));
    /* One may wait, not two. */
    assert_null(tor_connect(peer, 0x12));
    memset(theirs->identity, i == 1 ? 0x33 : 0x11, sizeof theirs->identity);
    if (i < 2)
      tor_opened(theirs);
    else
      tor_mark(theirs);
    run_for(5 * SECOND);
    assert_int_equal(ours->calls[CALL_CLOSE], i == 0);
    assert_int_equal(ours->calls[CALL_TCP], i != 0);
    assert_int_equal(ours->calls[CALL_HANDSHAKE], 0);
    assert_int_equal(theirs->calls[CALL_CLOSE], 0);
    /* What is open is not waited for. */
    if (i < 2)
      assert_null(tor_connect(peer, 0x11));
  }
}

/* Even before DTLS is complete on the peer's. */
static void
peer_was_faster_by_little(void **state)
{
  (void)state;
  struct peer *peer = PEER();
  peer_connect(peer);
  struct or_connection_t *ours = NULL;
  for (unsigned i = 0; i < 100 && !tor_accepted(); i++) {
    run_turns(1);
    utcp_endpoint_stats stats = { .size = sizeof stats };
    assert_int_equal(utcp_endpoint_get_stats(peer->endpoint, &stats), UTCP_OK);
    if (!ours && peer->rx >= 2 && !tor_accepted())
      ours = tor_connect(peer, 0x11);
  }
  assert_non_null(ours);
  RUN_UNTIL(20 * SECOND, tor_accepted() || ours->state == TOR_HANDSHAKING);
  struct or_connection_t *theirs = tor_accepted();
  if (theirs) {
    memset(theirs->identity, 0x11, sizeof theirs->identity);
    tor_opened(theirs);
    RUN_UNTIL(SECOND, ours->marked);
  }
  run_for(10 * SECOND);
  assert_int_equal(ours->calls[CALL_TCP], 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tor_setup, tor_teardown)
  const struct CMUnitTest tests[] = {
    TEST(remembered_for_ten_minutes),
    TEST(forgotten_in_their_order),
    TEST(many_failures),
    TEST(outlives_the_endpoint),
    TEST(no_answer),
    TEST(answer_after_losses),
    TEST(peer_goes_away_within_dtls),
    TEST(many_at_once),
    TEST(peer_closes_within_the_handshake),
    TEST(closed_while_falling_back),
    TEST(crossing_as_client),
    TEST(crossing_as_server),
    TEST(crossing_with_another_relay),
    TEST(crossing_and_theirs_fails),
    TEST(crossing_and_ours_is_closed),
    TEST(peer_was_faster),
    TEST(peer_was_faster_by_little),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
