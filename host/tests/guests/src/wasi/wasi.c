// Tries each function of WASI and sends the results to `sink`. Only two streams and a frozen clock
// may work.
#include "handler.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT(s) (&(handler_string_t){ (uint8_t *)(s), strlen(s) })

void exports_handler_describe(void) {
  weir_handler_manifest_about(TEXT("Tries what WASI offers."));
  weir_handler_manifest_subscribe(TEXT("*:*"));
}

static long long milliseconds(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time)) return -1;
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

bool exports_handler_handle(handler_event_t *event, handler_failure_t *failure) {
  (void)event;
  printf("said on stdout\n");
  fflush(stdout);
  fprintf(stderr, "said on stderr\n");

  bool file = fopen("/etc/passwd", "r") != NULL;
  bool folder = opendir("/") != NULL;
  long long before = milliseconds(CLOCK_REALTIME), monotonic = milliseconds(CLOCK_MONOTONIC);
  // `[config] sleep` in seconds: may be long, because sleeping takes no time.
  handler_string_t wanted;
  char seconds[16] = "0";
  if (weir_handler_config_get(TEXT("sleep"), &wanted))
    snprintf(seconds, sizeof seconds, "%.*s", (int)wanted.len, (char *)wanted.ptr);
  if (atoi(seconds) > 0) sleep((unsigned)atoi(seconds));
  long long after = milliseconds(CLOCK_REALTIME), later = milliseconds(CLOCK_MONOTONIC);
  unsigned char random[8] = { 0 };
  bool entropy = getentropy(random, sizeof random) == 0;
  const char *variable = getenv("destination");

  char message[512];
  handler_string_t id;
  snprintf(message, sizeof message,
           "{\"file\":%s,\"folder\":%s,\"now\":%lld,\"slept_wall\":%lld,\"slept_monotonic\":%lld,"
           "\"entropy\":%s,\"random\":\"%02x%02x%02x%02x%02x%02x%02x%02x\",\"environment\":\"%s\"}",
           file ? "true" : "false", folder ? "true" : "false", before, after - before, later - monotonic,
           entropy ? "true" : "false", random[0], random[1], random[2], random[3], random[4], random[5],
           random[6], random[7], variable ? variable : "");
  return weir_handler_outbox_send_json(TEXT("sink"), TEXT(message), &id, failure);
}
