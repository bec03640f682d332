/* A publisher for Oyez: POSTs events over one kept-alive HTTP connection, each request after the last one's answer.
 *
 * usage: publish PORT PATH TOKEN COUNT BURST INTERVAL_US
 *
 * Sends COUNT events `news` to room `room` with a payload of about 200 bytes, BURST of them in each request (as a
 * list when more than one), INTERVAL_US between the starts of two requests (0: at once). Prints one line of JSON, then
 * the last answer's body. Any answer but 2xx ends it with exit code 3 and the answer's text. */

#define _GNU_SOURCE
#include "stats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT_LENGTH = 168, EVENT_SIZE = 320, MOST_BURST = 1000, ANSWER_SIZE = 1 << 20, ANSWER_SECONDS = 30 };

static char body[MOST_BURST * EVENT_SIZE + 16], head[4096], answer[ANSWER_SIZE + 1], text[TEXT_LENGTH + 1];

static void stop(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "publish: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(code);
}

static int connect_to(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = ANSWER_SECONDS};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) stop(3, "connect to port %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return fd;
}

static size_t build_body(uint64_t burst) {
    size_t length = 0;
    if (burst > 1) body[length++] = '[';
    for (uint64_t index = 0; index < burst; index++) {
        if (index > 0) body[length++] = ',';
        length += (size_t)snprintf(body + length, EVENT_SIZE,
                                   "{\"event\":\"news\",\"to\":[\"room\"],\"data\":{\"sent\":%" PRIu64 ",\"text\":\"%s\"}}",
                                   now_ns(), text);
    }
    if (burst > 1) body[length++] = ']';
    return length;
}

static void send_all(int fd, const char *data, size_t length, int flags) {
    while (length > 0) {
        ssize_t count = send(fd, data, length, MSG_NOSIGNAL | flags);
        if (count < 0 && errno != EINTR) stop(5, "send: %s", strerror(errno));
        if (count > 0) data += count, length -= (size_t)count;
    }
}

/* Reads one answer with a Content-Length; returns where its body starts. */
static const char *receive_answer(int fd) {
    size_t length = 0, wanted = 0;
    const char *content = NULL;
    while (content == NULL || length < wanted) {
        ssize_t count = recv(fd, answer + length, ANSWER_SIZE - length, 0);
        if (count == 0) stop(5, "the server closed the connection before its answer was complete");
        if (count < 0) stop(errno == EAGAIN ? 4 : 5, "no answer in %d s: %s", ANSWER_SECONDS, strerror(errno));
        length += (size_t)count;
        answer[length] = '\0';
        char *end = content ? NULL : strstr(answer, "\r\n\r\n");
        if (end == NULL) continue;
        const char *field = strcasestr(answer, "\r\ncontent-length:");
        if (field == NULL || field > end) stop(5, "an answer without Content-Length: %.200s", answer);
        content = end + 4;
        wanted = (size_t)(content - answer) + strtoull(field + 17, NULL, 10);
        if (wanted > ANSWER_SIZE) stop(5, "an answer of %zu bytes", wanted);
    }
    if (strncmp(answer, "HTTP/1.1 2", 10) != 0) stop(3, "%.12s: %.400s", answer, content);
    return content;
}

static uint64_t number(const char *argument, uint64_t least, uint64_t most) {
    char *end;
    uint64_t value = strtoull(argument, &end, 10);
    if (*argument == '\0' || *end != '\0' || value < least || value > most)
        stop(2, "'%s' is not a whole number from %" PRIu64 " to %" PRIu64, argument, least, most);
    return value;
}

static void wait_until(uint64_t due_ns) {
    struct timespec at = {.tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

int main(int argc, char **argv) {
    if (argc != 7) stop(2, "usage: publish PORT PATH TOKEN COUNT BURST INTERVAL_US");
    uint16_t port = (uint16_t)number(argv[1], 1, 65535);
    uint64_t count = number(argv[4], 1, UINT32_MAX), burst = number(argv[5], 1, MOST_BURST);
    uint64_t interval_ns = number(argv[6], 0, UINT32_MAX) * 1000, published = 0, posts = 0;
    memset(text, 'x', TEXT_LENGTH);
    int fd = connect_to(port);
    const char *content = "";
    for (uint64_t begun = now_ns(); published < count; posts++) {
        if (interval_ns > 0) wait_until(begun + posts * interval_ns);
        uint64_t size = count - published < burst ? count - published : burst;
        size_t length = build_body(size);
        int head_length = snprintf(head, sizeof head,
                                   "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
                                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", argv[2], argv[3], length);
        if (head_length >= (int)sizeof head) stop(2, "PATH and TOKEN are too long");
        send_all(fd, head, (size_t)head_length, MSG_MORE);
        send_all(fd, body, length, 0);
        content = receive_answer(fd);
        published += size;
    }
    struct cpu_time cpu = cpu_now();
    printf("{\"events\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"cpu_user\":%.6f,\"cpu_system\":%.6f}\n%s\n", published,
           posts, cpu.user, cpu.system, content);
    return 0;
}
