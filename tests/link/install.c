/* Links with an installed library, and uses it a little. */
#include <stdio.h>
#include <string.h>

#include <utcp.h>

int
main(void)
{
  utcp_callbacks callbacks;
  utcp_config *config = utcp_config_new();
  utcp_endpoint *endpoint = NULL;
  uint32_t header = (UTCP_VERSION_MAJOR << 16) | (UTCP_VERSION_MINOR << 8) | UTCP_VERSION_PATCH;

  memset(&callbacks, 0, sizeof callbacks);
  callbacks.size = sizeof callbacks;
  if (utcp_version() != header || config == NULL)
    return 1;
  /* Without a certificate there is no endpoint. */
  if (utcp_endpoint_new(config, &callbacks, NULL, &endpoint) != UTCP_ERR_CERTIFICATE || endpoint != NULL)
    return 2;
  callbacks.size = UTCP_CALLBACKS_SIZE_V1 - 1;
  if (utcp_endpoint_new(config, &callbacks, NULL, &endpoint) != UTCP_ERR_SIZE)
    return 3;
  if (utcp_config_free(config) != UTCP_OK)
    return 4;
  printf("%s\n", utcp_error_string(UTCP_ERR_CERTIFICATE));
  return 0;
}
