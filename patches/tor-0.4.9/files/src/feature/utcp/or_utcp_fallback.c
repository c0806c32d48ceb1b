/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_fallback.c
 * @brief Remembers to which relays UDP did not work, for ten minutes.
 **/

#include "core/or/or.h"

#ifdef USE_UTCP
#include "feature/utcp/or_utcp_internal.h"
#include "lib/container/map.h"
#include "lib/wallclock/approx_time.h"

/** How long a relay is reached by TCP after UDP has failed, in seconds. */
#define FAILURE_LIFETIME (10 * 60)

typedef struct or_utcp_failure_t {
  time_t until;
} or_utcp_failure_t;

/** From identity digest to or_utcp_failure_t, or NULL. */
static digestmap_t *failures = NULL;
/** When to look for old entries next. */
static time_t next_cleanup = 0;

static void
failure_free(void *failure)
{
  tor_free(failure);
}

/** UDP did not work to the relay with this identity: use TCP for a while. */
void
or_utcp_note_failure(const char *identity_digest)
{
  const time_t now = approx_time();

  if (tor_digest_is_zero(identity_digest))
    return;
  if (!failures)
    failures = digestmap_new();

  if (now >= next_cleanup) {
    DIGESTMAP_FOREACH_MODIFY(failures, key, or_utcp_failure_t *, old) {
      if (old->until <= now) {
        failure_free(old);
        MAP_DEL_CURRENT(key);
      }
    } DIGESTMAP_FOREACH_END;
    next_cleanup = now + FAILURE_LIFETIME;
  }

  or_utcp_failure_t *failure = digestmap_get(failures, identity_digest);
  if (!failure) {
    failure = tor_malloc_zero(sizeof(*failure));
    digestmap_set(failures, identity_digest, failure);
  }
  failure->until = now + FAILURE_LIFETIME;
}

/** Is this relay to be reached by TCP, because UDP has failed? */
bool
or_utcp_failed_recently(const char *identity_digest)
{
  const or_utcp_failure_t *failure =
    failures ? digestmap_get(failures, identity_digest) : NULL;
  return failure && failure->until > approx_time();
}

/** Forget all failures. */
void
or_utcp_forget_failures(void)
{
  digestmap_free(failures, failure_free);
  failures = NULL;
}
#endif /* defined(USE_UTCP) */
