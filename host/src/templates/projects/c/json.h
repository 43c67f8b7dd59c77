// Reads values out of JSON text. Nothing is copied: a value is a piece of the text.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

struct json {
  const char *at;
  size_t size;
};

// True if the text is one JSON value. The other functions ask for text that is.
bool json_valid(struct json text);

// The value of an object's field; false if there is none.
bool json_field(struct json object, const char *name, struct json *value);

// The next item of an array; `*after` is 0 for the first. False at the end.
bool json_item(struct json array, size_t *after, struct json *item);

// True if the value is this text.
bool json_is(struct json value, const char *text);

// The text between the quotes of a string, still escaped; or empty.
struct json json_inner(struct json value);

#endif
