/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * \file private_timing.h
 * \brief How long authorities, caches and clients wait, in seconds, in a
 * private network that shall work soon after it was started.
 *
 * Included by the files that use these constants, after their definitions.
 * Without ./configure --enable-private-timing it is empty. An authority with
 * it may be configured to vote so often that others do not take its votes.
 */
/* No include guard: each part applies to what is defined where it is read. */

#ifdef PRIVATE_TIMING

/* Least time for votes, for signatures, and between two consensuses. */
#ifdef MIN_VOTE_SECONDS
#undef MIN_VOTE_SECONDS
#define MIN_VOTE_SECONDS 2
#endif
#ifdef MIN_DIST_SECONDS
#undef MIN_DIST_SECONDS
#define MIN_DIST_SECONDS 2
#endif
#ifdef MIN_VOTE_INTERVAL
#undef MIN_VOTE_INTERVAL
#define MIN_VOTE_INTERVAL 10
#endif

/* The first consensus is made at a multiple of this; a quarter of it each for
 * votes and signatures. */
#ifdef DEFAULT_VOTING_INTERVAL_WHEN_NO_CONSENSUS
#undef DEFAULT_VOTING_INTERVAL_WHEN_NO_CONSENSUS
#define DEFAULT_VOTING_INTERVAL_WHEN_NO_CONSENSUS 20
#endif

/* From when on authorities vote about who is running. */
#ifdef DIRSERV_TIME_TO_GET_REACHABILITY_INFO
#undef DIRSERV_TIME_TO_GET_REACHABILITY_INFO
#define DIRSERV_TIME_TO_GET_REACHABILITY_INFO 0
#endif

/* Caches fetch a consensus this long after the one before is not fresh. */
#ifdef CONSENSUS_MIN_SECONDS_BEFORE_CACHING
#undef CONSENSUS_MIN_SECONDS_BEFORE_CACHING
#define CONSENSUS_MIN_SECONDS_BEFORE_CACHING 2
#endif

/* How old a descriptor must be before clients ask for it. */
#ifdef ESTIMATED_PROPAGATION_TIME
#undef ESTIMATED_PROPAGATION_TIME
#define ESTIMATED_PROPAGATION_TIME 0
#endif

/* How often descriptors, and with them all documents, are looked after: before
 * circuits can be built, and after; and how long clients wait until what they
 * lack is worth a request. */
#ifdef GREEDY_DESCRIPTOR_RETRY_INTERVAL
#undef GREEDY_DESCRIPTOR_RETRY_INTERVAL
#define GREEDY_DESCRIPTOR_RETRY_INTERVAL 2
#endif
#ifdef LAZY_DESCRIPTOR_RETRY_INTERVAL
#undef LAZY_DESCRIPTOR_RETRY_INTERVAL
#define LAZY_DESCRIPTOR_RETRY_INTERVAL 5
#endif
#ifdef MAX_CLIENT_INTERVAL_WITHOUT_REQUEST
#undef MAX_CLIENT_INTERVAL_WITHOUT_REQUEST
#define MAX_CLIENT_INTERVAL_WITHOUT_REQUEST 5
#endif

/* What is not there yet is asked for again after the first of these, then the
 * second, and then always after the third; and nobody gives up. Failures are
 * counted in eight bits. */
#undef PRIVATE_RETRIES
#define PRIVATE_RETRIES { 0, 2, 5 }
#ifdef MAX_ROUTERDESC_DOWNLOAD_FAILURES
#undef MAX_ROUTERDESC_DOWNLOAD_FAILURES
#define MAX_ROUTERDESC_DOWNLOAD_FAILURES 256
#endif
#ifdef CONSENSUS_NETWORKSTATUS_MAX_DL_TRIES
#undef CONSENSUS_NETWORKSTATUS_MAX_DL_TRIES
#define CONSENSUS_NETWORKSTATUS_MAX_DL_TRIES 256
#endif
#ifdef MAX_CERT_DL_FAILURES
#undef MAX_CERT_DL_FAILURES
#define MAX_CERT_DL_FAILURES 256
#endif

#endif /* PRIVATE_TIMING */
