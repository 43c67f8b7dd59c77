/* A disk that is slow, fails or is full, and a clock that is wrong: preloaded into the hub, this stands between it and
 * the system's calls.
 *
 * WEIR_FAULTS names a control file, which a test writes and removes as it goes:
 *
 *   slow N   a sync takes N milliseconds longer; when it is done, a byte is added to the control file's name.synced
 *   fail     the next sync does nothing and answers EIO, and removes the control file: it fails once
 *   full     writes answer ENOSPC
 *   room N   writes that would make the files of the store larger than N bytes in all answer ENOSPC
 *   clock N  the wall clock is N seconds off; the others are not
 *
 * They happen to the files of the store and to no others: the first three to weir.db and its log, the next to the
 * reserve too, and `room` to all that lie beside it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef ssize_t (*write_call)(int, const void *, size_t);
typedef ssize_t (*pwrite_call)(int, const void *, size_t, off_t);
typedef int (*sync_call)(int);

static void *next_of(const char *name) { return dlsym(RTLD_NEXT, name); }

/* The name of a descriptor's file, with the slash before it, in `path`. */
static char *name_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length <= 0) return NULL;
  path[length] = 0;
  return strrchr(path, '/');
}

/* Whether a descriptor is the database or its log. */
static int is_of_store(int fd) {
  char path[4096];
  const char *name = name_of(fd, path, sizeof path);
  return name && (!strcmp(name, "/weir.db") || !strcmp(name, "/weir.db-wal"));
}

static int is_reserve(int fd) {
  char path[4096];
  const char *name = name_of(fd, path, sizeof path);
  return name && !strcmp(name, "/weir.db-reserve");
}

/* Whether a write would make the files of the store larger than `room` in all. */
static int is_too_much(int fd, size_t length, off_t at, off_t room) {
  char path[4096], file[8192];
  struct stat found;
  char *name = name_of(fd, path, sizeof path);
  if (!name || strncmp(name, "/weir.db", 8) || fstat(fd, &found) != 0) return 0;
  off_t end = at + (off_t)length, all = end - found.st_size;
  if (all <= 0) return 0;
  *name = 0;
  DIR *folder = opendir(path);
  if (!folder) return 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
    if (!strncmp(entry->d_name, "weir.db", 7) && stat(file, &found) == 0) all += found.st_size;
  }
  closedir(folder);
  return all > room;
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

/* Whether there is no room for a write. */
static int is_full(int fd, size_t length, off_t at) {
  char word[16];
  long number;
  ordered(word, &number);
  if (!strcmp(word, "room")) return is_too_much(fd, length, at, number);
  return !strcmp(word, "full") && (is_of_store(fd) || is_reserve(fd));
}

ssize_t write(int fd, const void *from, size_t length) {
  if (is_full(fd, length, lseek(fd, 0, SEEK_CUR))) {
    errno = ENOSPC;
    return -1;
  }
  return ((write_call)next_of("write"))(fd, from, length);
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t at) {
  if (is_full(fd, length, at)) {
    errno = ENOSPC;
    return -1;
  }
  return ((pwrite_call)next_of("pwrite"))(fd, from, length, at);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off_t at) {
  if (is_full(fd, length, at)) {
    errno = ENOSPC;
    return -1;
  }
  return ((pwrite_call)next_of("pwrite64"))(fd, from, length, at);
}
