/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_fallback.c
 * @brief Remembers to which relays UDP did not work, for ten minutes.
 **/

#include "or_utcp_glue_internal.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/** How long a relay is reached by TCP after UDP has failed, in
 * microseconds. */
#define FAILURE_LIFETIME_USEC (600 * UINT64_C(1000000))

typedef struct failure_t {
  /** First, since a search compares this alone. */
  uint8_t identity[OR_UTCP_IDENTITY_LEN];
  or_utcp_list_t node;
  uint64_t until;
} failure_t;

/** A tree of tsearch(3). */
static void *by_identity = NULL;
/** The same ones, the oldest first. */
static or_utcp_list_t by_age = { &by_age, &by_age };

static int
compare(const void *a, const void *b)
{
  return memcmp(a, b, OR_UTCP_IDENTITY_LEN);
}

static void
forget(failure_t *failure)
{
  tdelete(failure, &by_identity, compare);
  or_utcp_list_remove(&failure->node);
  free(failure);
}

/** Forget the failures that are over at <b>now</b>. */
static void
forget_until(uint64_t now)
{
  while (!or_utcp_list_is_empty(&by_age)) {
    failure_t *oldest = OR_UTCP_ENTRY(by_age.next, failure_t, node);
    if (oldest->until > now)
      break;
    forget(oldest);
  }
}

/** UDP did not work to the relay with this identity: use TCP for a while. */
void
or_utcp_note_failure(const uint8_t *identity)
{
  static const uint8_t unknown[OR_UTCP_IDENTITY_LEN];
  const uint64_t now = or_utcp_tor_now();
  failure_t *failure;

  if (!memcmp(identity, unknown, sizeof(unknown)))
    return;
  forget_until(now);
  failure_t **found = tfind(identity, &by_identity, compare);
  if (found) {
    failure = *found;
    or_utcp_list_remove(&failure->node);
  } else {
    failure = or_utcp_alloc(sizeof(*failure));
    memcpy(failure->identity, identity, OR_UTCP_IDENTITY_LEN);
    or_utcp_list_init(&failure->node);
    if (!tsearch(failure, &by_identity, compare)) {
      free(failure); /* No memory: UDP will be tried again. */
      return;
    }
  }
  failure->until = now + FAILURE_LIFETIME_USEC;
  or_utcp_list_add(&by_age, &failure->node);
}

/** Is this relay to be reached by TCP, because UDP has failed? */
bool
or_utcp_failed_recently(const uint8_t *identity)
{
  forget_until(or_utcp_tor_now());
  return tfind(identity, &by_identity, compare) != NULL;
}

/** Forget all failures. */
void
or_utcp_forget_failures(void)
{
  forget_until(UINT64_MAX);
}
