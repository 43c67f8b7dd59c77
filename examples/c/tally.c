// Counts events by type, and sends each count to a destination.
#include "handler.h"
#include <stdio.h>
#include <string.h>

// A host function borrows its strings for the time of the call.
#define TEXT(s) (&(handler_string_t){ (uint8_t *)(s), strlen(s) })

void exports_handler_describe(void) {
  weir_handler_manifest_about(TEXT("Counts events by their type."));
  weir_handler_manifest_subscribe(TEXT("*:*"));
}

// False returns the failure that a host function stored in `failure`.
bool exports_handler_handle(handler_event_t *event, handler_failure_t *failure) {
  char type[256], message[384];
  int64_t count;
  handler_string_t destination, id;

  snprintf(type, sizeof type, "%.*s:%.*s", (int)event->source.len, (char *)event->source.ptr,
           (int)event->type.len, (char *)event->type.ptr);
  if (!weir_handler_state_add(TEXT(type), 1, &count, failure)) return false;

  snprintf(message, sizeof message, "{\"type\":\"%s\",\"count\":%lld}", type, (long long)count);
  weir_handler_log_info(TEXT(message));
  if (!weir_handler_config_get(TEXT("destination"), &destination)) destination = *TEXT("inbox");
  return weir_handler_outbox_send_json(&destination, TEXT(message), &id, failure);
}
