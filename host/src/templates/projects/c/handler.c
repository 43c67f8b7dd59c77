// The handler: sends a message for each issue that is opened on GitHub. What it decides is in
// `rule.c`.
//
// A host function borrows its strings for the time of the call. What it returns belongs to the
// caller, and the end of the run releases all of it.
#include "bindings/handler.h"

#include <stdio.h>
#include <string.h>

#include "rule.h"

#define TEXT(s) (&(handler_string_t){(uint8_t *)(s), strlen(s)})

static bool fail(handler_failure_t *failure, uint8_t tag, const char *reason) {
  failure->tag = tag;
  handler_string_dup(tag == WEIR_HANDLER_TYPES_FAILURE_RETRY ? &failure->val.retry : &failure->val.reject, reason);
  return false;
}

static bool send(const char *text, int64_t count, handler_failure_t *failure) {
  char message[4096];
  handler_string_t destination, id;
  // The text is a piece of JSON already.
  snprintf(message, sizeof message, "{\"text\":\"%s\",\"count\":%lld}", text, (long long)count);
  if (!weir_handler_config_get(TEXT("destination"), &destination)) destination = *TEXT("inbox");
  return weir_handler_outbox_send_json(&destination, TEXT(message), &id, failure);
}

void exports_handler_describe(void) {
  weir_handler_manifest_about(TEXT("Sends a message for each new issue."));
  weir_handler_manifest_subscribe(TEXT("github:issues"));
}

// False means failure, as it does for the host functions.
bool exports_handler_handle(handler_event_t *event, handler_failure_t *failure) {
  (void)event;
  handler_string_t paused, body;
  if (weir_handler_config_get(TEXT("paused"), &paused) && paused.len == 4 && memcmp(paused.ptr, "true", 4) == 0) {
    return fail(failure, WEIR_HANDLER_TYPES_FAILURE_RETRY, "paused in [config]");
  }
  if (!weir_handler_request_text(&body, failure)) return false;
  struct decision decision = decide((const char *)body.ptr, body.len);
  if (decision.kind == REJECT) return fail(failure, WEIR_HANDLER_TYPES_FAILURE_REJECT, decision.reason);
  if (decision.kind == SKIP) return true;

  char text[512];
  int64_t count;
  snprintf(text, sizeof text, "opened/%s", decision.repository);
  if (!weir_handler_state_add(TEXT(text), 1, &count, failure)) return false;
  snprintf(text, sizeof text, "issue number %lld of %s", (long long)count, decision.repository);
  weir_handler_log_info(TEXT(text));

  if (!send(decision.text, count, failure)) return false;
  snprintf(text, sizeof text, "%s has an urgent issue", decision.repository);
  return !decision.urgent || send(text, count, failure);
}
