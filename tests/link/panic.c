/* A panic inside the library is caught, reported to the log hook only, and ends the endpoint only.
 * Needs a library with the feature fault-injection. Arguments: certificate and key, PEM. */
#include <stdio.h>
#include <string.h>

#include <utcp.h>

int utcp_test_panic(utcp_endpoint *endpoint);

static int logged;

static void
hook(void *user, int level, const char *target, const char *message)
{
  (void)target;
  if (user == &logged && level == UTCP_LOG_ERROR && strstr(message, "panic at ") != NULL)
    logged++;
}

static size_t
slurp(const char *path, uint8_t *buffer, size_t room)
{
  FILE *file = fopen(path, "rb");
  size_t len = file != NULL ? fread(buffer, 1, room, file) : 0;

  if (file != NULL)
    fclose(file);
  return len;
}

#define CHECK(condition)                                   \
  do {                                                     \
    if (!(condition)) {                                    \
      printf("%d: %s\n", __LINE__, #condition);            \
      return 1;                                            \
    }                                                      \
  } while (0)

int
main(int argc, char **argv)
{
  static uint8_t chain[65536], key[65536];
  utcp_callbacks callbacks;
  utcp_config *config = utcp_config_new();
  utcp_endpoint *endpoint = NULL, *other = NULL;
  size_t chain_len, key_len;

  CHECK(argc == 3);
  chain_len = slurp(argv[1], chain, sizeof chain);
  key_len = slurp(argv[2], key, sizeof key);
  memset(&callbacks, 0, sizeof callbacks);
  callbacks.size = sizeof callbacks;
  CHECK(utcp_config_set_certificate(config, chain, chain_len, key, key_len) == UTCP_OK);
  CHECK(utcp_endpoint_new(config, &callbacks, NULL, &endpoint) == UTCP_OK);
  CHECK(utcp_endpoint_new(config, &callbacks, NULL, &other) == UTCP_OK);
  CHECK(utcp_config_free(config) == UTCP_OK);
  CHECK(utcp_endpoint_process(endpoint, 1) == UTCP_OK);

  /* Once without a hook: nothing may be printed. */
  CHECK(utcp_test_panic(other) == UTCP_ERR_INTERNAL);
  CHECK(utcp_log_set(hook, &logged, UTCP_LOG_ERROR) == UTCP_OK);
  CHECK(utcp_test_panic(endpoint) == UTCP_ERR_INTERNAL);
  CHECK(logged == 1);
  CHECK(utcp_test_panic(endpoint) == UTCP_ERR_INTERNAL);
  CHECK(logged == 1);
  CHECK(utcp_endpoint_process(endpoint, 2) == UTCP_ERR_INTERNAL);
  CHECK(utcp_endpoint_next_deadline(endpoint) == UINT64_MAX);
  CHECK(utcp_endpoint_free(endpoint) == UTCP_OK);
  CHECK(utcp_endpoint_free(other) == UTCP_OK);
  CHECK(utcp_log_set(NULL, NULL, 0) == UTCP_OK);
  return 0;
}
