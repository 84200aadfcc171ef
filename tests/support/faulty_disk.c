/* Stands between a program and the disk (LD_PRELOAD): counts the writes and syncs of one database, and at the one that the
 * control file names it kills the whole process group, or lets the operation fail.
 *
 * FAULTY_DISK names the control file, which all processes of the group map: struct control, as tests/support/faulty_disk.py
 * writes it. FAULTY_DISK_FILE is how the names of the watched files begin (the database, its -wal and -journal).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2 };

struct control {
    int64_t writes;      /* operations so far */
    int64_t syncs;
    int64_t kill_write;  /* the write, or sync, before which the group dies; 0: none */
    int64_t kill_sync;
    int64_t error;       /* errno of operations that fail; 0: they work */
    int64_t failing;     /* which: WRITES | SYNCS */
    int64_t skip;        /* so many of them still work */
    int64_t faults;      /* how many are to fail before all works again; 0: all of them */
    int64_t torn;        /* 1: of the first write that fails, half gets onto the disk */
    int64_t failed;      /* operations that were made to fail */
    int64_t commits;     /* writes that came after a sync: a commit begins with one and ends with the other */
    int64_t kill_commit; /* the commit before whose first write the group dies; 0: none */
    int64_t within;      /* 1 between the two */
    int64_t hanging;     /* operations that do not come back until this is 0: WRITES | SYNCS */
};

static struct control *control;
static const char *watched;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTY_DISK");
    watched = getenv("FAULTY_DISK_FILE");
    if (!path || !watched) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED) control = map;
}

static int is_watched(int descriptor) {
    char link[64], name[PATH_MAX];
    if (!control) return 0;
    strcpy(link, "/proc/self/fd/");
    char digits[16];
    int at = sizeof digits - 1, number = descriptor;
    digits[at] = 0;
    do { digits[--at] = (char)('0' + number % 10); number /= 10; } while (number);
    strcat(link, digits + at);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length <= 0) return 0;
    name[length] = 0;
    return strncmp(name, watched, strlen(watched)) == 0 && !strstr(name, "-shm");
}

enum { WORKS, FAILS, TORN };

/* FAILS: with errno set. */
static int verdict(int descriptor, int kind) {
    if (!is_watched(descriptor)) return WORKS;
    int64_t number = __atomic_add_fetch(kind == WRITES ? &control->writes : &control->syncs, 1, __ATOMIC_SEQ_CST);
    int begins = __atomic_exchange_n(&control->within, kind == WRITES, __ATOMIC_SEQ_CST) == 0 && kind == WRITES;
    if (begins && __atomic_add_fetch(&control->commits, 1, __ATOMIC_SEQ_CST) == control->kill_commit) kill(0, SIGKILL);
    if (number == (kind == WRITES ? control->kill_write : control->kill_sync)) kill(0, SIGKILL);
    while (__atomic_load_n(&control->hanging, __ATOMIC_SEQ_CST) & kind)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    int error = (int)control->error;
    if (!error || !(control->failing & kind)) return WORKS;
    if (__atomic_sub_fetch(&control->skip, 1, __ATOMIC_SEQ_CST) >= 0) return WORKS;
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&control->torn, 0, __ATOMIC_SEQ_CST)) return TORN;
    if (control->faults && __atomic_sub_fetch(&control->faults, 1, __ATOMIC_SEQ_CST) == 0) control->error = 0;
    errno = error;
    return FAILS;
}

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    NEXT(pwrite64);
    int said = verdict(descriptor, WRITES);
    return said == FAILS ? -1 : next(descriptor, data, said == TORN ? size / 2 : size, at);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) {
    NEXT(pwrite);
    int said = verdict(descriptor, WRITES);
    return said == FAILS ? -1 : next(descriptor, data, said == TORN ? size / 2 : size, at);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    NEXT(write);
    int said = verdict(descriptor, WRITES);
    return said == FAILS ? -1 : next(descriptor, data, said == TORN ? size / 2 : size);
}

int fdatasync(int descriptor) {
    NEXT(fdatasync);
    return verdict(descriptor, SYNCS) == FAILS ? -1 : next(descriptor);
}

int fsync(int descriptor) {
    NEXT(fsync);
    return verdict(descriptor, SYNCS) == FAILS ? -1 : next(descriptor);
}
