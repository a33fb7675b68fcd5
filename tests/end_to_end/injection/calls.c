/* A library for LD_PRELOAD: counts the system calls of a process that concern files below one
 * folder, writes each into a log, and lets one of them fail, come short, or kill the process.
 *
 *   DIN_INJECT_BELOW   folder (absolute, without links); calls on other files are left alone
 *   DIN_INJECT_LOG     file to which a line `kind path` is appended for each call that is counted,
 *                      and `hit kind path` for the one that is disturbed
 *   DIN_INJECT_KIND    kind of the call to disturb: open, read, write, fsync, rename, ...
 *   DIN_INJECT_AT      which call of that kind, from 1
 *   DIN_INJECT_WITH    a number: the call fails with this errno. `kill`, `term`: SIGKILL or SIGTERM
 *                      before the call.
 *                      `short`: a read or write of half the bytes (at least one)
 *                      `sleep5`: the call takes 5 seconds longer
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fate { PASS, FAIL, SHORT };

static const char *below, *log_path, *kind_wanted, *with;
static long at;
static atomic_long seen;

__attribute__((constructor)) static void begin(void) {
    below = getenv("DIN_INJECT_BELOW");
    log_path = getenv("DIN_INJECT_LOG");
    kind_wanted = getenv("DIN_INJECT_KIND");
    with = getenv("DIN_INJECT_WITH");
    const char *text = getenv("DIN_INJECT_AT");
    at = text ? atol(text) : 0;
}

static void note(const char *prefix, const char *kind, const char *path) {
    char line[PATH_MAX + 64];
    int n = snprintf(line, sizeof line, "%s%s %s\n", prefix, kind, path);
    long fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || syscall(SYS_write, fd, line, (size_t)n) != n) abort();
    syscall(SYS_close, fd);
}

/* What shall happen to a call of `kind` on `path` (absolute). */
static enum fate decide(const char *kind, const char *path) {
    if (!below || !log_path) return PASS;
    size_t n = strlen(below);
    if (strncmp(path, below, n) || (path[n] && path[n] != '/')) return PASS;
    note("", kind, path);
    if (!kind_wanted || strcmp(kind, kind_wanted)) return PASS;
    if (atomic_fetch_add(&seen, 1) + 1 != at) return PASS;
    note("hit ", kind, path);
    if (!strcmp(with, "kill")) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (!strcmp(with, "term")) {
        kill(getpid(), SIGTERM);
        return PASS;
    }
    if (!strcmp(with, "short")) return SHORT;
    if (!strncmp(with, "sleep", 5)) {
        sleep(atoi(with + 5));
        return PASS;
    }
    errno = atoi(with);
    return FAIL;
}

static enum fate decide_at(const char *kind, int folder, const char *path) {
    char whole[2 * PATH_MAX], link[64], base[PATH_MAX];
    if (path[0] == '/') return decide(kind, path);
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return PASS;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        long n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (n <= 0) return PASS;
        base[n] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return decide(kind, whole);
}

static enum fate decide_path(const char *kind, const char *path) {
    return decide_at(kind, AT_FDCWD, path);
}

static enum fate decide_fd(const char *kind, int fd) {
    char link[64], path[PATH_MAX];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = kept;
    if (n <= 0) return PASS;
    path[n] = 0;
    return decide(kind, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OR_FAIL(fate, result) if ((fate) == FAIL) return result

#define OPEN(name)                                                                                \
    int name(const char *path, int flags, ...) {                                                  \
        va_list rest;                                                                             \
        va_start(rest, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                   \
        va_end(rest);                                                                             \
        OR_FAIL(decide_path("open", path), -1);                                                   \
        return NEXT(name)(path, flags, mode);                                                     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                              \
    int name(int folder, const char *path, int flags, ...) {                                      \
        va_list rest;                                                                             \
        va_start(rest, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                   \
        va_end(rest);                                                                             \
        OR_FAIL(decide_at("open", folder, path), -1);                                             \
        return NEXT(name)(folder, path, flags, mode);                                             \
    }
OPENAT(openat)
OPENAT(openat64)

DIR *opendir(const char *path) {
    OR_FAIL(decide_path("open", path), NULL);
    return NEXT(opendir)(path);
}

struct dirent64 *readdir64(DIR *folder) {
    OR_FAIL(decide_fd("readdir", dirfd(folder)), NULL);
    return NEXT(readdir64)(folder);
}

static size_t half(enum fate fate, size_t bytes) {
    return fate == SHORT && bytes > 1 ? bytes / 2 : bytes;
}

ssize_t read(int fd, void *to, size_t bytes) {
    enum fate fate = decide_fd("read", fd);
    OR_FAIL(fate, -1);
    return NEXT(read)(fd, to, half(fate, bytes));
}

ssize_t pread64(int fd, void *to, size_t bytes, off64_t offset) {
    enum fate fate = decide_fd("read", fd);
    OR_FAIL(fate, -1);
    return NEXT(pread64)(fd, to, half(fate, bytes), offset);
}

ssize_t write(int fd, const void *from, size_t bytes) {
    enum fate fate = decide_fd("write", fd);
    OR_FAIL(fate, -1);
    return NEXT(write)(fd, from, half(fate, bytes));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    enum fate fate = decide_fd("write", fd);
    OR_FAIL(fate, -1);
    return NEXT(writev)(fd, parts, fate == SHORT && count > 1 ? count / 2 : count);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t bytes, unsigned flags) {
    OR_FAIL(decide_fd("write", out), -1);
    return NEXT(copy_file_range)(in, in_at, out, out_at, bytes, flags);
}

int fsync(int fd) {
    OR_FAIL(decide_fd("fsync", fd), -1);
    return NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    OR_FAIL(decide_fd("fsync", fd), -1);
    return NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
    OR_FAIL(decide_path("rename", to), -1);
    return NEXT(rename)(from, to);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    OR_FAIL(decide_at("rename", to_at, to), -1);
    return NEXT(renameat2)(from_at, from, to_at, to, flags);
}

int stat64(const char *path, struct stat64 *to) {
    OR_FAIL(decide_path("stat", path), -1);
    return NEXT(stat64)(path, to);
}

int lstat64(const char *path, struct stat64 *to) {
    OR_FAIL(decide_path("stat", path), -1);
    return NEXT(lstat64)(path, to);
}

int fstat64(int fd, struct stat64 *to) {
    OR_FAIL(decide_fd("stat", fd), -1);
    return NEXT(fstat64)(fd, to);
}

int fstatat64(int folder, const char *path, struct stat64 *to, int flags) {
    OR_FAIL(path[0] ? decide_at("stat", folder, path) : decide_fd("stat", folder), -1);
    return NEXT(fstatat64)(folder, path, to, flags);
}

int statx(int folder, const char *path, int flags, unsigned mask, struct statx *to) {
    /* Rust's library asks once, with nulls, whether the kernel has this call. */
    const char *volatile given = path;
    if (given) OR_FAIL(path[0] ? decide_at("stat", folder, path) : decide_fd("stat", folder), -1);
    return NEXT(statx)(folder, path, flags, mask, to);
}

int mkdir(const char *path, mode_t mode) {
    OR_FAIL(decide_path("mkdir", path), -1);
    return NEXT(mkdir)(path, mode);
}

int unlink(const char *path) {
    OR_FAIL(decide_path("unlink", path), -1);
    return NEXT(unlink)(path);
}

int unlinkat(int folder, const char *path, int flags) {
    OR_FAIL(decide_at("unlink", folder, path), -1);
    return NEXT(unlinkat)(folder, path, flags);
}

int rmdir(const char *path) {
    OR_FAIL(decide_path("unlink", path), -1);
    return NEXT(rmdir)(path);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    OR_FAIL(decide_at("link", to_at, to), -1);
    return NEXT(linkat)(from_at, from, to_at, to, flags);
}

int ftruncate64(int fd, off64_t length) {
    OR_FAIL(decide_fd("truncate", fd), -1);
    return NEXT(ftruncate64)(fd, length);
}

void *mmap64(void *where, size_t bytes, int access, int flags, int fd, off64_t offset) {
    if (fd >= 0) OR_FAIL(decide_fd("mmap", fd), MAP_FAILED);
    return NEXT(mmap64)(where, bytes, access, flags, fd, offset);
}

int flock(int fd, int operation) {
    OR_FAIL(decide_fd("flock", fd), -1);
    return NEXT(flock)(fd, operation);
}

int fchmod(int fd, mode_t mode) {
    OR_FAIL(decide_fd("chmod", fd), -1);
    return NEXT(fchmod)(fd, mode);
}
