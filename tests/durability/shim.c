/* Watches the file calls of one process on what lies under one folder: counts them, kills at one, makes one fail, logs them.
 *
 * Loaded by LD_PRELOAD; driven by the functions at the end, which are reached through ctypes. All threads share one count.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL_BEFORE, KILL_WITHIN, FAIL_ONCE, FAIL_ON };
enum { MAX_FDS = 4096, MAX_PATH = 1024, MAX_KINDS = 1 << 16 };

static char root[MAX_PATH];
static size_t root_length;
static atomic_int mode;
static atomic_long calls, at;
static atomic_int error;
static atomic_int counts_closes;
static int log_fd = -1;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char *paths[MAX_FDS];
static unsigned char kinds[MAX_KINDS];

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* ---- which path ----------------------------------------------------------------------------------------------------- */

static const char *path_of(int fd) {
    return fd >= 0 && fd < MAX_FDS ? paths[fd] : NULL;
}

static void remember(int fd, const char *path) {
    if (fd < 0 || fd >= MAX_FDS) return;
    free(paths[fd]);
    paths[fd] = path ? strdup(path) : NULL;
}

/* Returns the absolute path under the folder, or NULL. */
static const char *watched(int folder, const char *path, char *out) {
    if (!root_length || !path || atomic_load(&mode) == OFF) return NULL;
    if (path[0] == '/') {
        snprintf(out, MAX_PATH, "%s", path);
    } else if (folder == AT_FDCWD) {
        char cwd[MAX_PATH / 2];
        if (!getcwd(cwd, sizeof cwd)) return NULL;
        snprintf(out, MAX_PATH, "%s/%s", cwd, path);
    } else {
        const char *above = path_of(folder);
        if (!above) return NULL;
        snprintf(out, MAX_PATH, "%s/%s", above, path);
    }
    if (strncmp(out, root, root_length) || (out[root_length] != '/' && out[root_length])) return NULL;
    return out;
}

/* ---- the log: a line a call, "kind result offset length path path2", followed by the bytes of a write --------------- */

static void tell(const char *kind, long result, off_t offset, const char *path, const char *path2, const struct iovec *parts,
                 int number) {
    char line[3 * MAX_PATH];
    size_t length = 0, left;
    for (int i = 0; i < number; i++) length += parts[i].iov_len;
    if (result >= 0 && number && (size_t)result < length) length = (size_t)result;
    if (result < 0) length = 0;
    int size = snprintf(line, sizeof line, "%s\t%ld\t%ld\t%zu\t%s\t%s\n", kind, result, (long)offset, length, path,
                        path2 ? path2 : "");
    syscall(SYS_write, log_fd, line, size);
    left = length;
    for (int i = 0; i < number && left; i++) {
        size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;
        syscall(SYS_write, log_fd, parts[i].iov_base, part);
        left -= part;
    }
}

/* What a call is logged with has to be what happened, in the order in which it happened. */
#define LOGGED(result, kind, offset, path, path2, parts, number) \
    do { \
        if (log_fd >= 0) { \
            int kept = errno; \
            tell(kind, (long)(result), offset, path, path2, parts, number); \
            errno = kept; \
        } \
    } while (0)

static void hold(void) {
    if (log_fd >= 0) pthread_mutex_lock(&log_lock);
}

static void release(void) {
    if (log_fd >= 0) pthread_mutex_unlock(&log_lock);
}

/* ---- the count ------------------------------------------------------------------------------------------------------ */

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

enum { GO_ON, FAIL, TEAR };

/* Counts a call and returns what becomes of it. */
static int counted(char kind) {
    int now = atomic_load(&mode);
    if (now == OFF) return GO_ON;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (number < MAX_KINDS) kinds[number] = (unsigned char)kind;
    if (now == KILL_BEFORE && number == atomic_load(&at)) die();
    if (now == KILL_WITHIN && number == atomic_load(&at)) {
        if (kind == 'w') return TEAR;
        die();
    }
    if ((now == FAIL_ONCE && number == atomic_load(&at)) || (now == FAIL_ON && number >= atomic_load(&at))) return FAIL;
    return GO_ON;
}

/* ---- open, close ---------------------------------------------------------------------------------------------------- */

static int opened(int folder, const char *path, int flags, mode_t permissions) {
    char full[MAX_PATH];
    const char *seen = watched(folder, path, full);
    if (!seen) {
        int fd = (int)syscall(SYS_openat, folder, path, flags, permissions);
        if (fd >= 0) remember(fd, NULL);
        return fd;
    }
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    hold();
    if (counted(writes ? 'o' : 'r') == FAIL) {
        release();
        errno = atomic_load(&error);
        return -1;
    }
    struct stat before;
    int there = syscall(SYS_newfstatat, AT_FDCWD, full, &before, 0) == 0;
    int fd = (int)syscall(SYS_openat, folder, path, flags, permissions);
    if (fd >= 0) {
        remember(fd, full);
        if (!there) LOGGED(fd, "create", 0, full, NULL, NULL, 0);
        else if (flags & O_TRUNC) LOGGED(0, "truncate", 0, full, NULL, NULL, 0);
    }
    release();
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        mode_t permissions = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list list; \
            va_start(list, flags); \
            permissions = va_arg(list, mode_t); \
            va_end(list); \
        } \
        return opened(AT_FDCWD, path, flags, permissions); \
    }
#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        mode_t permissions = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list list; \
            va_start(list, flags); \
            permissions = va_arg(list, mode_t); \
            va_end(list); \
        } \
        return opened(folder, path, flags, permissions); \
    }
#define CREAT(name) \
    int name(const char *path, mode_t permissions) { \
        return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, permissions); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
CREAT(creat)
CREAT(creat64)

int close(int fd) {
    int fails = path_of(fd) && atomic_load(&counts_closes) && counted('c') == FAIL;
    if (path_of(fd)) remember(fd, NULL);
    int result = (int)syscall(SYS_close, fd);
    if (!fails) return result;
    errno = atomic_load(&error);
    return -1;
}

DIR *opendir(const char *path) {
    char full[MAX_PATH];
    REAL(opendir);
    if (watched(AT_FDCWD, path, full) && counted('r') == FAIL) {
        errno = atomic_load(&error);
        return NULL;
    }
    return real(path);
}

/* ---- write ---------------------------------------------------------------------------------------------------------- */

static ssize_t put(int fd, const struct iovec *parts, int number, off_t offset) {
    return offset < 0 ? syscall(SYS_writev, fd, parts, number) : syscall(SYS_pwritev, fd, parts, number, (long)offset, 0L);
}

static ssize_t written(int fd, const struct iovec *parts, int number, off_t offset) {
    const char *path = path_of(fd);
    if (!path) return put(fd, parts, number, offset);
    hold();
    int fate = counted('w');
    if (fate == FAIL) {
        release();
        errno = atomic_load(&error);
        return -1;
    }
    if (fate == TEAR) {
        size_t length = 0;
        for (int i = 0; i < number; i++) length += parts[i].iov_len;
        size_t left = length / 2;
        for (int i = 0; i < number && left; i++) {
            struct iovec half = {parts[i].iov_base, parts[i].iov_len < left ? parts[i].iov_len : left};
            put(fd, &half, 1, offset);
            if (offset >= 0) offset += (off_t)half.iov_len;
            left -= half.iov_len;
        }
        die();
    }
    off_t place = offset;
    if (log_fd >= 0 && offset < 0) {
        struct stat now;
        if (fcntl(fd, F_GETFL) & O_APPEND) place = fstat(fd, &now) ? 0 : now.st_size;
        else place = lseek(fd, 0, SEEK_CUR);
    }
    ssize_t result = put(fd, parts, number, offset);
    LOGGED(result, "write", place, path, NULL, parts, number);
    release();
    return result;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!path_of(fd)) return syscall(SYS_write, fd, data, length);
    struct iovec part = {(void *)data, length};
    return written(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    return written(fd, parts, number, -1);
}

#define PWRITE(name, type) \
    ssize_t name(int fd, const void *data, size_t length, type offset) { \
        struct iovec part = {(void *)data, length}; \
        return written(fd, &part, 1, (off_t)offset); \
    }
#define PWRITEV(name, type) \
    ssize_t name(int fd, const struct iovec *parts, int number, type offset) { \
        return written(fd, parts, number, (off_t)offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

/* What is copied inside the kernel is refused where it would be written unseen; Python then writes by itself. */
#define UNSEEN(type, name, parameters, arguments, target) \
    type name parameters { \
        REAL(name); \
        if (path_of(target)) { \
            errno = EINVAL; \
            return -1; \
        } \
        return real arguments; \
    }
UNSEEN(ssize_t, sendfile, (int out, int in, off_t *offset, size_t length), (out, in, offset, length), out)
UNSEEN(ssize_t, sendfile64, (int out, int in, off64_t *offset, size_t length), (out, in, offset, length), out)
UNSEEN(ssize_t, copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t length, unsigned int flags),
       (in, from, out, to, length, flags), out)

/* ---- fsync, truncate ------------------------------------------------------------------------------------------------ */

#define ON_FD(type, name, parameters, arguments, letter, word, offset) \
    type name parameters { \
        REAL(name); \
        const char *path = path_of(fd); \
        if (!path) return real arguments; \
        hold(); \
        if (counted(letter) == FAIL) { \
            release(); \
            errno = atomic_load(&error); \
            return -1; \
        } \
        int result = real arguments; \
        if (result == 0) LOGGED(0, word, offset, path, NULL, NULL, 0); \
        release(); \
        return result; \
    }
ON_FD(int, fsync, (int fd), (fd), 's', "fsync", 0)
ON_FD(int, fdatasync, (int fd), (fd), 's', "fsync", 0)
ON_FD(int, ftruncate, (int fd, off_t length), (fd, length), 't', "truncate", length)
ON_FD(int, ftruncate64, (int fd, off64_t length), (fd, length), 't', "truncate", length)

/* ---- names ---------------------------------------------------------------------------------------------------------- */

#define ON_PATH(name, parameters, arguments, folder, letter, word, offset) \
    int name parameters { \
        char full[MAX_PATH]; \
        REAL(name); \
        if (!watched(folder, path, full)) return real arguments; \
        hold(); \
        if (counted(letter) == FAIL) { \
            release(); \
            errno = atomic_load(&error); \
            return -1; \
        } \
        int result = real arguments; \
        if (result == 0) LOGGED(0, word, offset, full, NULL, NULL, 0); \
        release(); \
        return result; \
    }
ON_PATH(truncate, (const char *path, off_t length), (path, length), AT_FDCWD, 't', "truncate", length)
ON_PATH(truncate64, (const char *path, off64_t length), (path, length), AT_FDCWD, 't', "truncate", length)
ON_PATH(unlink, (const char *path), (path), AT_FDCWD, 'u', "unlink", 0)
ON_PATH(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, 'u',
        flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0)
ON_PATH(mkdir, (const char *path, mode_t permissions), (path, permissions), AT_FDCWD, 'm', "mkdir", 0)
ON_PATH(mkdirat, (int folder, const char *path, mode_t permissions), (folder, path, permissions), folder, 'm', "mkdir", 0)
ON_PATH(rmdir, (const char *path), (path), AT_FDCWD, 'd', "rmdir", 0)

#define RENAME(name, parameters, arguments, folder, folder2) \
    int name parameters { \
        char full[MAX_PATH], full2[MAX_PATH]; \
        REAL(name); \
        const char *from = watched(folder, path, full), *to = watched(folder2, path2, full2); \
        if (!from && !to) return real arguments; \
        hold(); \
        if (counted('n') == FAIL) { \
            release(); \
            errno = atomic_load(&error); \
            return -1; \
        } \
        int result = real arguments; \
        if (result == 0) LOGGED(0, "rename", 0, from ? full : "", to ? full2 : "", NULL, 0); \
        release(); \
        return result; \
    }
RENAME(rename, (const char *path, const char *path2), (path, path2), AT_FDCWD, AT_FDCWD)
RENAME(renameat, (int folder, const char *path, int folder2, const char *path2), (folder, path, folder2, path2), folder, folder2)
RENAME(renameat2, (int folder, const char *path, int folder2, const char *path2, unsigned int flags),
       (folder, path, folder2, path2, flags), folder, folder2)

/* ---- how it is driven ----------------------------------------------------------------------------------------------- */

/* Watches a folder from now on, and counts anew. Without closes, a call is one that changes what is on the disk, or opens. */
void shim_watch(const char *folder, int closes) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    atomic_store(&counts_closes, closes);
    atomic_store(&calls, 0);
    atomic_store(&mode, COUNT);
}

void shim_arm(int what, long number, int code) {
    atomic_store(&at, number);
    atomic_store(&error, code);
    atomic_store(&mode, what);
}

/* Ends counting and everything else; what is open stays known. */
void shim_off(void) {
    atomic_store(&mode, OFF);
}

long shim_calls(void) {
    return atomic_load(&calls);
}

/* Returns what the calls were, a letter each, from the first on. */
const char *shim_kinds(void) {
    return (const char *)kinds + 1;
}

/* Logs to a descriptor that nothing else writes to. */
void shim_log(int fd) {
    log_fd = fd;
}

/* Puts a word of the program's into the log. */
void shim_mark(const char *text) {
    if (log_fd < 0) return;
    hold();
    tell("mark", 0, 0, text, NULL, NULL, 0);
    release();
}
