/* A disk that is slow, fails or is full, and a clock that is wrong: preloaded into the hub, this stands between it and
 * the system's calls.
 *
 * WEIR_FAULTS names a control file, which a test writes and removes as it goes:
 *
 *   slow N   a sync takes N milliseconds longer; when it is done, a byte is added to the control file's name.synced
 *   fail     the next sync does nothing and answers EIO, and removes the control file: it fails once
 *   full     writes answer ENOSPC
 *   clock N  the wall clock is N seconds off; the others are not
 *
 * The first three happen to the files of the store (weir.db and its log), and to no others.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef ssize_t (*write_call)(int, const void *, size_t);
typedef ssize_t (*pwrite_call)(int, const void *, size_t, off_t);
typedef int (*sync_call)(int);

static void *next_of(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Whether a descriptor is a file of the store. */
static int is_of_store(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  const char *name = strrchr(path, '/');
  return name && (!strcmp(name, "/weir.db") || !strcmp(name, "/weir.db-wal"));
}

/* What the control file says now. */
static void ordered(char *word, long *number) {
  word[0] = 0;
  *number = 0;
  const char *control = getenv("WEIR_FAULTS");
  int fd = control ? open(control, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  char text[64];
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return;
  text[length] = 0;
  sscanf(text, "%15s %ld", word, number);
}

static void note_synced(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s.synced", getenv("WEIR_FAULTS"));
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  ((write_call)next_of("write"))(fd, ".", 1);
  close(fd);
}

static int synced(int fd, sync_call real) {
  char word[16];
  long number;
  ordered(word, &number);
  if (!word[0] || !is_of_store(fd)) return real(fd);
  if (!strcmp(word, "fail") && unlink(getenv("WEIR_FAULTS")) == 0) {
    errno = EIO;
    return -1;
  }
  if (strcmp(word, "slow")) return real(fd);
  struct timespec wait = {number / 1000, number % 1000 * 1000000};
  while (nanosleep(&wait, &wait) < 0 && errno == EINTR) {
  }
  int done = real(fd);
  note_synced();
  return done;
}

int fsync(int fd) { return synced(fd, (sync_call)next_of("fsync")); }

int fdatasync(int fd) { return synced(fd, (sync_call)next_of("fdatasync")); }

typedef int (*clock_call)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *time) {
  int answer = ((clock_call)next_of("clock_gettime"))(clock, time);
  char word[16];
  long number;
  if (answer == 0 && clock == CLOCK_REALTIME) {
    ordered(word, &number);
    if (!strcmp(word, "clock")) time->tv_sec += number;
  }
  return answer;
}

static int is_full(int fd) {
  char word[16];
  long number;
  ordered(word, &number);
  return !strcmp(word, "full") && is_of_store(fd);
}

ssize_t write(int fd, const void *from, size_t length) {
  if (is_full(fd)) {
    errno = ENOSPC;
    return -1;
  }
  return ((write_call)next_of("write"))(fd, from, length);
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t at) {
  if (is_full(fd)) {
    errno = ENOSPC;
    return -1;
  }
  return ((pwrite_call)next_of("pwrite"))(fd, from, length, at);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off_t at) {
  if (is_full(fd)) {
    errno = ENOSPC;
    return -1;
  }
  return ((pwrite_call)next_of("pwrite64"))(fd, from, length, at);
}
