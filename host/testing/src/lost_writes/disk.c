// Logs a program's unsynced writes below a folder, so that they can be undone as if the power had failed.
//
// Preload it into the program (LD_PRELOAD). LOST_WRITES_BELOW names the folder. LOST_WRITES_UNDO names another folder on the
// same file system. There, every written file gets a hard link named by its inode. Before each change, `log` gets a record with
// the old content. After each sync, a record says up to which offset of the log the sync covers changes. If LOST_WRITES_LIE is
// set, syncs are not recorded, like on a disk that reports syncs that it did not do.
//
// A file is identified by its inode. The hard link keeps the inode from being reused. A name is durable once its folder is
// synced, content once its file is synced. Shared memory is not logged, paths must be absolute, and folders can be created but
// not removed or renamed. SQLite and the host need no more.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// The kinds of records, which `lost_writes.rs` reads. `length` bytes of content or of a path follow the head.
enum {
    STOOD = 1,         // the file `inode` had this `size`, and these bytes at `at`; zeros beyond its end
    NAMED = 2,         // this path named the file `inode`; 0 if there was none
    SYNCED = 3,        // the file `inode` is durable as of when the log had `at` bytes
    SYNCED_FOLDER = 4, // the names in this folder are durable as of then
};

struct head {
    uint64_t kind, inode, at, size, length;
};

// A written file, and a descriptor that is never closed, because closing one releases the program's locks on the file.
struct known {
    ino_t inode;
    int fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *below, *undo;
static dev_t device;
static int log_fd = -1, lies;
static struct known files[4096];
static size_t count;

static void fail(const char *what) {
    fprintf(stderr, "lost writes: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    char path[PATH_MAX];
    struct stat folder;
    below = getenv("LOST_WRITES_BELOW");
    undo = getenv("LOST_WRITES_UNDO");
    lies = getenv("LOST_WRITES_LIE") != NULL;
    if (!below || !undo) return;
    if (stat(undo, &folder) != 0) fail(undo);
    device = folder.st_dev;
    snprintf(path, sizeof path, "%s/log", undo);
    log_fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) fail(path);
}

static void record(struct head head, const void *bytes) {
    struct iovec parts[] = {{&head, sizeof head}, {(void *)bytes, head.length}};
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(sizeof head + head.length)) fail("log");
}

static int is_below(const char *path) {
    size_t length = strlen(below);
    return log_fd >= 0 && strncmp(path, below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

// Creates the hard link of a file.
static struct known *keep(const char *path, ino_t inode) {
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/%llu", undo, (unsigned long long)inode);
    if (link(path, name) != 0 && errno != EEXIST) return NULL;
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0 || count == sizeof files / sizeof *files) fail(name);
    files[count] = (struct known){inode, fd};
    return &files[count++];
}

static struct known *find(ino_t inode) {
    for (size_t at = 0; at < count; at++)
        if (files[at].inode == inode) return &files[at];
    return NULL;
}

// The file of a descriptor and its status. NULL if it is not a file below the folder.
static struct known *watched(int fd, struct stat *now) {
    char path[PATH_MAX];
    if (log_fd < 0 || fstat(fd, now) != 0 || !S_ISREG(now->st_mode) || now->st_dev != device) return NULL;
    struct known *file = find(now->st_ino);
    if (!file && path_of(fd, path) && is_below(path)) file = keep(path, now->st_ino);
    return file;
}

static void note_bytes(struct known *file, struct stat *now, off_t at, size_t length) {
    char *bytes = calloc(1, length + 1);
    if (!bytes || pread(file->fd, bytes, length, at) < 0) fail("what stood there");
    record((struct head){STOOD, file->inode, at, now->st_size, length}, bytes);
    free(bytes);
}

// Begins a write: logs the old content and takes a lock until `end`, if the file is watched. A negative offset means the
// current position.
static int begin(int fd, off_t at, size_t length) {
    struct stat now;
    int before = errno;
    pthread_mutex_lock(&lock);
    struct known *file = watched(fd, &now);
    if (!file) {
        pthread_mutex_unlock(&lock);
        errno = before;
        return 0;
    }
    if (at < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? now.st_size : lseek(fd, 0, SEEK_CUR);
    note_bytes(file, &now, at, length);
    return 1;
}

static long end(int began, long result) {
    int after = errno;
    if (began) pthread_mutex_unlock(&lock);
    errno = after;
    return result;
}

static size_t sum(const struct iovec *parts, int number) {
    size_t length = 0;
    for (int part = 0; part < number; part++) length += parts[part].iov_len;
    return length;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    int began = begin(fd, -1, length);
    return end(began, syscall(SYS_write, fd, bytes, length));
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    int began = begin(fd, -1, sum(parts, number));
    return end(began, syscall(SYS_writev, fd, parts, number));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    int began = begin(fd, at, length);
    return end(began, syscall(SYS_pwrite64, fd, bytes, length, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    return pwrite(fd, bytes, length, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int number, off_t at) {
    int began = begin(fd, at, sum(parts, number));
    return end(began, syscall(SYS_pwritev, fd, parts, number, at, 0));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int number, off64_t at) {
    return pwritev(fd, parts, number, at);
}

int ftruncate(int fd, off_t size) {
    struct stat now;
    pthread_mutex_lock(&lock);
    struct known *file = watched(fd, &now);
    if (file) note_bytes(file, &now, size, now.st_size > size ? now.st_size - size : 0);
    return end(1, syscall(SYS_ftruncate, fd, size));
}

int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

static int sync_with(long call, int fd) {
    struct stat now, log;
    char path[PATH_MAX];
    struct known *file = NULL;
    int folder = 0;
    if (log_fd < 0) return syscall(call, fd);
    pthread_mutex_lock(&lock);
    file = watched(fd, &now);
    if (!file) folder = fstat(fd, &now) == 0 && S_ISDIR(now.st_mode) && path_of(fd, path);
    if (fstat(log_fd, &log) != 0) fail("log");
    pthread_mutex_unlock(&lock);
    int result = syscall(call, fd), after = errno;
    if (result == 0 && !lies && (file || folder)) {
        pthread_mutex_lock(&lock);
        if (file) record((struct head){SYNCED, file->inode, log.st_size, 0, 0}, "");
        else record((struct head){SYNCED_FOLDER, 0, log.st_size, 0, strlen(path)}, path);
        pthread_mutex_unlock(&lock);
    }
    errno = after;
    return result;
}

int fsync(int fd) {
    return sync_with(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return sync_with(SYS_fdatasync, fd);
}

// Logs which file a name referred to, if any, and creates the file's hard link.
static void note_name(const char *path) {
    struct stat now;
    ino_t inode = 0;
    if (lstat(path, &now) == 0) {
        if (!S_ISREG(now.st_mode)) return;
        inode = now.st_ino;
        if (!find(inode) && !keep(path, inode)) fail(path);
    }
    record((struct head){NAMED, inode, 0, 0, strlen(path)}, path);
}

static int open_with(const char *path, int flags, mode_t mode) {
    if (!(flags & (O_CREAT | O_TRUNC)) || !is_below(path)) return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    pthread_mutex_lock(&lock);
    if ((flags & O_CREAT) && access(path, F_OK) != 0) note_name(path);
    int fd = end(1, syscall(SYS_openat, AT_FDCWD, path, flags & ~O_TRUNC, mode));
    if (fd >= 0 && (flags & O_TRUNC)) ftruncate(fd, 0);
    return fd;
}

// The mode is passed only if a file may be created.
#define OPEN(name)                                       \
    int name(const char *path, int flags, ...) {         \
        va_list rest;                                    \
        va_start(rest, flags);                           \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                    \
        return open_with(path, flags, mode);             \
    }
OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
    int watches = is_below(path);
    if (watches) pthread_mutex_lock(&lock);
    if (watches && access(path, F_OK) != 0) note_name(path);
    return end(watches, syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int unlink(const char *path) {
    int watches = is_below(path);
    if (watches) pthread_mutex_lock(&lock);
    if (watches) note_name(path);
    return end(watches, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int rename(const char *from, const char *to) {
    int watches = is_below(from) && is_below(to);
    if (watches) pthread_mutex_lock(&lock);
    if (watches) note_name(to);
    if (watches) note_name(from);
    return end(watches, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
