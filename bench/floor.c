/* What the kernel alone takes for a fan-out: the least that any server on this machine can spend for each recipient.
 *
 * usage: floor SOCKETS BYTES BURST COUNT SEND_CORE RECEIVE_CORE
 *
 * One process connects to itself over loopback; a child on the other core reads everything. The parent writes BYTES
 * to each socket in turn, one `send` for a burst of 1, one `writev` of BURST buffers otherwise, until each
 * has got COUNT messages, and prints its processor time for all of them. A core of -1 means: do not pin. */

#define _GNU_SOURCE
#include "stats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_BURST = 64 };

static void check(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (core < 0) return;
    CPU_SET(core, &set);
    check(sched_setaffinity(0, sizeof set, &set) == 0, "pinning");
}

/* The child: takes what comes, ends with its parent. */
static void receive(int count, const struct sockaddr_in *address, _Atomic uint64_t *received) {
    static char buffer[256 << 10];
    struct epoll_event events[512];
    int epoll_fd = epoll_create1(0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int index = 0; index < count; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = socket(AF_INET, SOCK_STREAM, 0)};
        check(connect(event.data.fd, (const struct sockaddr *)address, sizeof *address) == 0, "connect");
        check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event) == 0, "epoll_ctl");
    }
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 512, -1);
        for (int index = 0; index < ready; index++) {
            ssize_t length = recv(events[index].data.fd, buffer, sizeof buffer, 0);
            check(length > 0, "recv");
            *received += (uint64_t)length;
        }
    }
}

static void send_rounds(const int *sockets, int count, size_t size, int burst, uint64_t messages,
                        const _Atomic uint64_t *received) {
    static char message[65536];
    struct iovec parts[MOST_BURST];
    for (int index = 0; index < burst; index++) parts[index] = (struct iovec){message, size};
    uint64_t begun = now_ns(), sent = 0;
    struct cpu_time before = cpu_now();
    while (sent < messages * (uint64_t)count) {
        for (int index = 0; index < count; index++) {
            ssize_t length = burst == 1 ? send(sockets[index], message, size, 0) : writev(sockets[index], parts, burst);
            check(length == (ssize_t)size * burst, "send");
        }
        sent += (uint64_t)count * (uint64_t)burst;
        /* Four turns ahead at most: sending to a reader that is far behind is cheaper than any server has it. */
        while (sent * size > *received + 4 * (uint64_t)count * (uint64_t)burst * size) usleep(100);
    }
    struct cpu_time after = cpu_now();
    double elapsed = (double)(now_ns() - begun) / 1e9;
    printf("{\"sockets\":%d,\"bytes\":%zu,\"burst\":%d,\"operations\":%" PRIu64 ",\"seconds\":%.6f,"
           "\"user\":%.6f,\"system\":%.6f}\n", count, size, burst, sent, elapsed, after.user - before.user,
           after.system - before.system);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: floor SOCKETS BYTES BURST COUNT SEND_CORE RECEIVE_CORE\n");
        return 2;
    }
    int count = atoi(argv[1]), burst = atoi(argv[3]), messages = atoi(argv[4]), on = 1;
    size_t size = (size_t)atoi(argv[2]);
    if (count < 1 || messages < 1 || burst < 1 || burst > MOST_BURST || size < 1 || size > 65536) {
        fprintf(stderr, "floor: SOCKETS and COUNT at least 1, BYTES 1 to 65536, BURST 1 to %d\n", MOST_BURST);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), *sockets = calloc((size_t)count, sizeof *sockets);
    _Atomic uint64_t *received = mmap(NULL, sizeof *received, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(sockets != NULL && received != MAP_FAILED, "memory");
    check(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 4096) == 0, "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        pin(atoi(argv[6]));
        receive(count, &address, received);
    }
    pin(atoi(argv[5]));
    for (int index = 0; index < count; index++) {
        sockets[index] = accept(listener, NULL, NULL);
        check(sockets[index] >= 0, "accept");
        setsockopt(sockets[index], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    send_rounds(sockets, count, size, burst, (uint64_t)messages, received);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
