// Makes a program's writes or syncs below a folder fail while a control file exists. `w 5` in the file makes every write fail
// with errno 5, `s 5` every sync.
//
// Preload it into the program (LD_PRELOAD). FAILS_BELOW names the folder and FAILS_WHEN the control file.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int fd, char what) {
    const char *below = getenv("FAILS_BELOW"), *when = getenv("FAILS_WHEN");
    char link[64], path[PATH_MAX], order[16] = "";
    if (!below || !when) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, when, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return 0;
    ssize_t read_bytes = read(file, order, sizeof order - 1);
    close(file);
    if (read_bytes < 3 || order[0] != what) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, below, strlen(below)) != 0) return 0;
    errno = atoi(order + 2);
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    return fails(fd, 'w') ? -1 : syscall(SYS_write, fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    return fails(fd, 'w') ? -1 : syscall(SYS_writev, fd, parts, number);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return fails(fd, 'w') ? -1 : syscall(SYS_pwrite64, fd, bytes, length, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    return pwrite(fd, bytes, length, at);
}

int ftruncate(int fd, off_t size) {
    return fails(fd, 'w') ? -1 : syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

int fsync(int fd) {
    return fails(fd, 's') ? -1 : syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return fails(fd, 's') ? -1 : syscall(SYS_fdatasync, fd);
}
