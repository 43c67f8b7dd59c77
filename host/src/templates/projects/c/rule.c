#include "rule.h"

#include <stdio.h>

#include "json.h"

// What printf needs for a piece of text.
#define PIECE(value) (int)(value).size, (value).at

static struct json string(struct json object, const char *name) {
  struct json value = {"", 0};
  json_field(object, name, &value);
  return json_inner(value);
}

static bool has_label(struct json issue, const char *wanted) {
  struct json labels, label, name;
  if (!json_field(issue, "labels", &labels)) return false;
  for (size_t after = 0; json_item(labels, &after, &label);) {
    if (json_field(label, "name", &name) && json_is(name, wanted)) return true;
  }
  return false;
}

struct decision decide(const char *body, size_t size) {
  struct decision decision = {.kind = REJECT};
  struct json event = {body, size}, issue, action, repository = {"", 0};
  if (!json_valid(event)) {
    decision.reason = "the body is not JSON";
    return decision;
  }
  if (!json_field(event, "issue", &issue)) {
    decision.reason = "the body has no issue";
    return decision;
  }
  decision.kind = SKIP;
  if (!json_field(event, "action", &action) || !json_is(action, "opened")) return decision;

  decision.kind = SEND;
  json_field(event, "repository", &repository);
  struct json name = string(repository, "full_name");
  struct json title = string(issue, "title"), url = string(issue, "html_url");
  snprintf(decision.repository, sizeof decision.repository, "%.*s", PIECE(name));
  snprintf(decision.text, sizeof decision.text, "%.*s: %.*s %.*s", PIECE(name), PIECE(title), PIECE(url));
  decision.urgent = has_label(issue, "urgent");
  return decision;
}
