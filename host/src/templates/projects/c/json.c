#include "json.h"

#include <ctype.h>
#include <string.h>

// Values inside of values. More is refused, so that no text can exhaust the stack.
#define DEPTH_MAX 64

static const char *skip_space(const char *at, const char *end) {
  while (at < end && isspace((unsigned char)*at)) at++;
  return at;
}

// The end of the value that begins at `at`, or NULL if it is not JSON.
static const char *skip_value(const char *at, const char *end, int depth) {
  if (at == end || depth == DEPTH_MAX) return NULL;
  if (*at == '"') {
    for (at++; at < end && *at != '"'; at++) {
      if ((unsigned char)*at < ' ') return NULL;
      if (*at == '\\') at++;
    }
    return at < end ? at + 1 : NULL;
  }
  if (*at == '{' || *at == '[') {
    bool object = *at == '{';
    char close = object ? '}' : ']';
    at = skip_space(at + 1, end);
    if (at < end && *at == close) return at + 1;
    for (;;) {
      if (object) {
        if (at == end || *at != '"' || !(at = skip_value(at, end, depth + 1))) return NULL;
        at = skip_space(at, end);
        if (at == end || *at++ != ':') return NULL;
        at = skip_space(at, end);
      }
      if (!(at = skip_value(at, end, depth + 1))) return NULL;
      at = skip_space(at, end);
      if (at == end) return NULL;
      if (*at == close) return at + 1;
      if (*at++ != ',') return NULL;
      at = skip_space(at, end);
    }
  }
  const char *start = at;
  while (at < end && (isalnum((unsigned char)*at) || (*at != '\0' && strchr("+-.", *at)))) at++;
  return at > start ? at : NULL;
}

bool json_valid(struct json text) {
  const char *end = text.at + text.size;
  const char *after = skip_value(skip_space(text.at, end), end, 0);
  return after && skip_space(after, end) == end;
}

// The first item or name inside of an array or object, or NULL if this is none.
static const char *inside(struct json value, char open) {
  const char *end = value.at + value.size, *at = skip_space(value.at, end);
  return at < end && *at == open ? skip_space(at + 1, end) : NULL;
}

static const char *next(const char *at, const char *end) {
  at = skip_space(at, end);
  return at < end && *at == ',' ? skip_space(at + 1, end) : at;
}

bool json_field(struct json object, const char *name, struct json *value) {
  const char *end = object.at + object.size;
  for (const char *at = inside(object, '{'); at && at < end && *at == '"';) {
    const char *after = skip_value(at, end, 0);
    if (!after) return false;
    struct json key = {at, (size_t)(after - at)};
    at = skip_space(after, end) + 1;
    at = skip_space(at, end);
    after = skip_value(at, end, 0);
    if (!after) return false;
    if (json_is(key, name)) {
      *value = (struct json){at, (size_t)(after - at)};
      return true;
    }
    at = next(after, end);
  }
  return false;
}

bool json_item(struct json array, size_t *after, struct json *item) {
  const char *end = array.at + array.size;
  const char *at = *after == 0 ? inside(array, '[') : next(array.at + *after, end);
  if (!at || at >= end || *at == ']') return false;
  const char *last = skip_value(at, end, 0);
  if (!last) return false;
  *item = (struct json){at, (size_t)(last - at)};
  *after = (size_t)(last - array.at);
  return true;
}

struct json json_inner(struct json value) {
  if (value.size < 2 || value.at[0] != '"') return (struct json){"", 0};
  return (struct json){value.at + 1, value.size - 2};
}

bool json_is(struct json value, const char *text) {
  struct json inner = json_inner(value);
  return value.size >= 2 && inner.size == strlen(text) && memcmp(inner.at, text, inner.size) == 0;
}
