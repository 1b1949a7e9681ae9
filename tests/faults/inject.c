/* Preloaded into a process, makes file operations fail as a bad disk would.
 *
 * FOURBIT_FAULT=OPERATION:NUMBER:KIND, OPERATION one of pread, pwrite, fsync, rename, fallocate.
 *   KIND eio, enospc: call NUMBER (from 1) fails with that error; so do all later ones of that operation.
 *   KIND short: every call reads or writes at most half of what was asked, NUMBER is ignored.
 *   KIND eintr: every other call is interrupted.
 *   KIND count: nothing fails; at the end the number of calls is written to $FOURBIT_FAULT_COUNT.
 * Only regular files count, so a process can still say what happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char operation[16];
static char kind[16];
static long number;
static atomic_long calls;

__attribute__((constructor)) static void read_environment(void) {
    const char* text = getenv("FOURBIT_FAULT");
    if (text && sscanf(text, "%15[a-z]:%ld:%15[a-z]", operation, &number, kind) != 3) {
        fprintf(stderr, "FOURBIT_FAULT=%s: expected OPERATION:NUMBER:KIND\n", text);
        abort();
    }
}

__attribute__((destructor)) static void write_count(void) {
    const char* path = getenv("FOURBIT_FAULT_COUNT");
    FILE* file = path && strcmp(kind, "count") == 0 ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", atomic_load(&calls));
        fclose(file);
    }
}

static int is_file(int fd) {
    struct stat stat;
    return fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
}

/* Whether this call fails; then errno is set. `count` is halved where transfers are to be short. */
static int fails(const char* name, size_t* count) {
    if (strcmp(operation, name) != 0) {
        return 0;
    }
    const long call = atomic_fetch_add(&calls, 1) + 1;
    if (count && strcmp(kind, "short") == 0 && *count > 1) {
        *count /= 2;
    }
    if (strcmp(kind, "eintr") == 0 && call % 2 == 1) {
        errno = EINTR;
        return 1;
    }
    if (call < number || (strcmp(kind, "eio") != 0 && strcmp(kind, "enospc") != 0)) {
        return 0;
    }
    errno = strcmp(kind, "eio") == 0 ? EIO : ENOSPC;
    return 1;
}

#define NEXT(name) ((__typeof__(name)*)dlsym(RTLD_NEXT, #name))

ssize_t pread64(int fd, void* buffer, size_t count, off64_t offset) {
    return is_file(fd) && fails("pread", &count) ? -1 : NEXT(pread64)(fd, buffer, count, offset);
}

ssize_t pwrite64(int fd, const void* buffer, size_t count, off64_t offset) {
    return is_file(fd) && fails("pwrite", &count) ? -1 : NEXT(pwrite64)(fd, buffer, count, offset);
}

int fsync(int fd) {
    return is_file(fd) && fails("fsync", NULL) ? -1 : NEXT(fsync)(fd);
}

int rename(const char* from, const char* to) {
    return fails("rename", NULL) ? -1 : NEXT(rename)(from, to);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    int (*next)(int, int, off_t, off_t) = (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate");
    return fails("fallocate", NULL) ? -1 : next(fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    int (*next)(int, int, off64_t, off64_t) =
        (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT, "fallocate64");
    return fails("fallocate", NULL) ? -1 : next(fd, mode, offset, length);
}
