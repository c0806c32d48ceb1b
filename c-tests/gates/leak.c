/* Deliberately wrong: loses what it allocated. */
#include <stdlib.h>

int
main(void)
{
  void *volatile p = malloc(64);
  p = NULL;
  return p != NULL;
}
