// The decision about an event. It calls no host function, so that `./test.sh` runs it without a
// hub.
#ifndef RULE_H
#define RULE_H

#include <stdbool.h>
#include <stddef.h>

struct decision {
  enum { SEND, SKIP, REJECT } kind;
  // For REJECT.
  const char *reason;
  // For SEND: pieces of JSON strings, still escaped.
  char repository[256];
  char text[2048];
  bool urgent;
};

// Decides by the body of an event of the type `issues`.
struct decision decide(const char *body, size_t size);

#endif
