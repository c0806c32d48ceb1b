/* Deliberately wrong: reads behind the end of the heap. A checker that lets this pass checks nothing. */
#include <stdlib.h>

int
main(void)
{
  volatile unsigned char *p = malloc(16);
  volatile size_t at = 16;
  int value = p ? p[at] : 0;
  free((void *)p);
  return value & 0;
}
