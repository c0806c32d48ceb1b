/* The header in C++: included twice, in a namespace-free translation unit, and used. */
#include <utcp.h>
#include <utcp.h>

#include <cstdio>
#include <cstring>
#include <type_traits>

static_assert(std::is_standard_layout<utcp_callbacks>::value, "a plain struct");
static_assert(std::is_trivially_copyable<utcp_circuit_info>::value, "a plain struct");

namespace {

extern "C" std::size_t take_all(void *, const utcp_datagram *, std::size_t count) { return count; }
extern "C" void count_line(void *user, int, const char *, const char *) { ++*static_cast<int *>(user); }

int failures = 0;

void expect(bool ok, const char *what) {
  std::printf("%s %s\n", ok ? "ok    " : "FAILED", what);
  failures += !ok;
}

}  // namespace

int main() {
  expect(utcp_version() >> 16 == UTCP_VERSION_MAJOR, "version");
  expect(std::strlen(utcp_error_string(UTCP_ERR_WOULD_BLOCK)) > 0, "error text");
  int lines = 0;
  expect(utcp_log_set(count_line, &lines, 1) == UTCP_OK, "log hook");

  utcp_config *config = utcp_config_new();
  expect(config != nullptr, "configuration");
  expect(utcp_config_set(config, UTCP_OPTION_CONGESTION, UTCP_CONGESTION_NEWRENO) == UTCP_OK, "option");
  expect(utcp_config_set(config, -1, 0) == UTCP_ERR_RANGE, "unknown option");

  utcp_callbacks callbacks{};
  callbacks.size = sizeof callbacks;
  callbacks.tx = take_all;
  utcp_endpoint *endpoint = nullptr;
  /* Without a certificate there is no endpoint. */
  expect(utcp_endpoint_new(config, &callbacks, nullptr, &endpoint) < 0 && !endpoint, "endpoint is refused");
  expect(utcp_config_free(config) == UTCP_OK, "free");
  expect(utcp_log_set(nullptr, nullptr, 0) == UTCP_OK, "log off");
  return failures != 0;
}
