/* Copyright (c) 2026, the utcp contributors. */
/* See LICENSE for licensing information */

/**
 * @file or_utcp_list.h
 * @brief Doubly linked lists whose nodes are members of what they list: each
 * version of Tor brings other ones, and some C libraries none.
 **/

#ifndef TOR_OR_UTCP_LIST_H
#define TOR_OR_UTCP_LIST_H

#include <stdbool.h>
#include <stddef.h>

/** A list, or a node of one.  A node that is in no list points to itself. */
typedef struct or_utcp_list_t {
  struct or_utcp_list_t *next, *prev;
} or_utcp_list_t;

/** What <b>node</b> is the member <b>member</b> of. */
#define OR_UTCP_ENTRY(node, type, member) \
  ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void
or_utcp_list_init(or_utcp_list_t *list)
{
  list->next = list->prev = list;
}

static inline bool
or_utcp_list_is_empty(const or_utcp_list_t *list)
{
  return list->next == list;
}

/** Take <b>node</b> out of the list that it is in, if any. */
static inline void
or_utcp_list_remove(or_utcp_list_t *node)
{
  node->prev->next = node->next;
  node->next->prev = node->prev;
  or_utcp_list_init(node);
}

/** Put <b>node</b> at the end of <b>list</b>, unless it is in a list. */
static inline void
or_utcp_list_add(or_utcp_list_t *list, or_utcp_list_t *node)
{
  if (!or_utcp_list_is_empty(node))
    return;
  node->prev = list->prev;
  node->next = list;
  list->prev->next = node;
  list->prev = node;
}

/** Take the first node out of <b>list</b>; NULL: there is none. */
static inline or_utcp_list_t *
or_utcp_list_pop(or_utcp_list_t *list)
{
  or_utcp_list_t *node = list->next;
  if (node == list)
    return NULL;
  or_utcp_list_remove(node);
  return node;
}

/** Move all nodes of <b>from</b> to the end of <b>to</b>. */
static inline void
or_utcp_list_move(or_utcp_list_t *to, or_utcp_list_t *from)
{
  if (or_utcp_list_is_empty(from))
    return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  or_utcp_list_init(from);
}

#endif /* !defined(TOR_OR_UTCP_LIST_H) */
