#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "rule.h"

static struct decision of_sample(const char *path) {
  static char body[65536];
  FILE *file = fopen(path, "rb");
  assert(file);
  size_t size = fread(body, 1, sizeof body, file);
  fclose(file);
  return decide(body, size);
}

static struct decision of_text(const char *body) { return decide(body, strlen(body)); }

int main(void) {
  struct decision opened = of_sample("samples/opened.json");
  assert(opened.kind == SEND && !opened.urgent);
  assert(strcmp(opened.repository, "acme/river") == 0);
  assert(strcmp(opened.text, "acme/river: The gate does not open https://github.com/acme/river/issues/7") == 0);

  assert(of_sample("samples/urgent.json").urgent);
  assert(of_sample("samples/closed.json").kind == SKIP);

  assert(strcmp(of_text("{}").reason, "the body has no issue") == 0);
  for (size_t i = 0; i < 4; i++) {
    const char *wrong[] = {"no JSON", "{\"issue\":", "[1,]", "{\"a\" 1}"};
    assert(of_text(wrong[i]).kind == REJECT);
  }
  puts("4 tests passed");
}
