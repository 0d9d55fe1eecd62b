/* A preloaded library that records the state of a folder after a power cut.
 *
 * POSIX guarantees the content of a file as of its last fsync or fdatasync, and a name as of the last fsync of
 * its folder. So each of these calls copies the data that it makes durable (the bytes of a file or the entries
 * of a folder) from POWERCUT_ROOT to POWERCUT_MIRROR, under the number and birth time of the inode. The copy
 * counts once the real call has returned. powercut.rs rebuilds the folder from these copies alone.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Simulates a slow disk, to expose replies that are sent before the sync has returned. */
#define DISK_MICROSECONDS 20000

typedef int call(int);

static call *real_fsync, *real_fdatasync;
static const char *root, *mirror;

__attribute__((constructor)) static void begin(void)
{
    real_fsync = (call *)dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (call *)dlsym(RTLD_NEXT, "fdatasync");
    root = getenv("POWERCUT_ROOT");
    mirror = getenv("POWERCUT_MIRROR");
}

static int is_inside(int fd)
{
    char link[64], path[PATH_MAX];
    if (!root || !mirror)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    size_t prefix = strlen(root);
    return !strncmp(path, root, prefix) && (path[prefix] == '/' || !path[prefix]);
}

/* Writes the inode's name in the mirror to `key`; returns 'd', 'f' or '?'. */
static char identify(int fd, const char *path, char *key, size_t size)
{
    struct statx it;
    int flags = AT_SYMLINK_NOFOLLOW | (*path ? 0 : AT_EMPTY_PATH);
    if (statx(fd, path, flags, STATX_INO | STATX_TYPE | STATX_BTIME, &it))
        return '?';
    snprintf(key, size, "%llu-%lld-%u", (unsigned long long)it.stx_ino,
             (long long)it.stx_btime.tv_sec, it.stx_btime.tv_nsec);
    return S_ISDIR(it.stx_mode) ? 'd' : S_ISREG(it.stx_mode) ? 'f' : '?';
}

static void copy_bytes(int fd, FILE *to)
{
    char link[64], piece[1 << 16];
    size_t bytes;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    FILE *from = fopen(link, "re");
    while (from && (bytes = fread(piece, 1, sizeof piece, from)) > 0)
        fwrite(piece, 1, bytes, to);
    if (from)
        fclose(from);
}

static void copy_entries(int fd, FILE *to)
{
    char key[96];
    struct dirent *entry;
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = own < 0 ? NULL : fdopendir(own);
    while (folder && (entry = readdir(folder))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char kind = identify(own, entry->d_name, key, sizeof key);
        if (kind != '?')
            fprintf(to, "%c %s %s\n", kind, key, entry->d_name);
    }
    if (folder)
        closedir(folder);
}

static int keep(int fd, call *sync)
{
    char key[96], lock[PATH_MAX], fresh[PATH_MAX], kept[PATH_MAX];
    if (!is_inside(fd))
        return sync(fd);
    char kind = identify(fd, "", key, sizeof key);
    if (kind == '?')
        return sync(fd);
    snprintf(lock, sizeof lock, "%s/lock", mirror);
    snprintf(kept, sizeof kept, "%s/%s", mirror, key);
    snprintf(fresh, sizeof fresh, "%s/%s.new", mirror, key);
    /* Serializes the copies: of two copies of a folder the later one must survive. */
    int held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    flock(held, LOCK_EX);
    FILE *to = fopen(fresh, "we");
    if (to) {
        kind == 'd' ? copy_entries(fd, to) : copy_bytes(fd, to);
        fclose(to);
    }
    usleep(DISK_MICROSECONDS);
    int result = sync(fd), error = errno;
    if (!result)
        rename(fresh, kept);
    close(held);
    errno = error;
    return result;
}

int fsync(int fd)
{
    return keep(fd, real_fsync);
}

int fdatasync(int fd)
{
    return keep(fd, real_fdatasync);
}
