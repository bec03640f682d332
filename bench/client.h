/* One Socket.IO client over WebSocket: its socket, its buffers and the way from TCP connect to the CONNECT
 * acknowledgement. What to do with events and acknowledgements is the including program's business. */

#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stats.h"
#include "wire.h"

enum state { IDLE, CONNECTING, UPGRADING, OPENING, JOINING, OPEN, LEAVING };
static const char *const state_names[] = {
    "idle", "in TCP connect", "in the WebSocket upgrade", "waiting for the Engine.IO handshake",
    "waiting for the CONNECT answer", "connected", "leaving",
};

struct command {
    uint32_t id;
    uint64_t sent_ns;
};

struct client {
    int fd;
    enum state state;
    uint32_t interest;           /* what epoll watches */
    struct bytes input, output;  /* an incomplete frame; what the socket would not take yet */
    uint32_t next_id;            /* of the next command */
    struct command *commands;    /* in flight, by id modulo the window */
    const char *connect_packet;  /* 40{...} */
    uint64_t started_ns;
};

enum { MAX_FRAME = 64 << 20, MIN_READ = 256 << 10 };
enum exit_code { EXIT_USAGE = 2, EXIT_REFUSED = 3, EXIT_TIMEOUT = 4, EXIT_LOST = 5, EXIT_LIMIT = 6 };

/* What the including program gives. */
static void on_open(struct client *client);
static void on_event(struct client *client, const char *packet, size_t length);
static void on_ack(struct client *client, const char *packet, size_t length);
static void on_left(struct client *client);
static void stop(enum exit_code code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

static int epoll_fd;
static struct sockaddr_in server_address;
static struct bytes request;     /* the upgrade request, the same for every client */
static struct bytes read_buffer; /* shared: a client keeps only an incomplete frame */

static void watch(struct client *client, int operation, uint32_t interest) {
    struct epoll_event event = {.events = interest, .data.ptr = client};
    client->interest = interest;
    if (epoll_ctl(epoll_fd, operation, client->fd, &event) < 0) stop(EXIT_LIMIT, "epoll_ctl: %s", strerror(errno));
}

static void close_client(struct client *client) {
    close(client->fd);
    client->fd = -1;
    client->state = IDLE;
    release(&client->input);
    release(&client->output);
}

static void start_client(struct client *client) {
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) stop(EXIT_LIMIT, "no socket for one more client: %s (see ulimit -n)", strerror(errno));
    int on = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    client->state = CONNECTING;
    client->next_id = 0;
    client->started_ns = now_ns();
    if (connect(client->fd, (struct sockaddr *)&server_address, sizeof server_address) < 0 && errno != EINPROGRESS)
        stop(errno == EADDRNOTAVAIL ? EXIT_LIMIT : EXIT_REFUSED, "connect to port %d: %s",
             ntohs(server_address.sin_port), strerror(errno));
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Writes what is waiting; what the socket does not take stays, and epoll says when to go on. */
static void flush_client(struct client *client) {
    size_t written = 0;
    while (written < client->output.length) {
        ssize_t count = send(client->fd, client->output.data + written, client->output.length - written, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) break;
        if (count < 0 && client->state == LEAVING) return; /* the server closed first; the end of input says so */
        if (count < 0) stop(EXIT_LOST, "send while %s: %s", state_names[client->state], strerror(errno));
        written += (size_t)count;
    }
    client->output.length -= written;
    if (client->output.length > 0) memmove(client->output.data, client->output.data + written, client->output.length);
    uint32_t interest = client->output.length > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (interest != client->interest) watch(client, EPOLL_CTL_MOD, interest);
}

static void send_text(struct client *client, const char *packet) {
    append_frame(&client->output, TEXT, packet, strlen(packet));
}

static void finish_tcp_connect(struct client *client) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0)
        stop(EXIT_REFUSED, "connect to port %d: %s", ntohs(server_address.sin_port), strerror(error));
    client->state = UPGRADING;
    append(&client->output, request.data, request.length);
    flush_client(client);
}

/* The server's answer to the upgrade request; returns the bytes it took, 0 while it is incomplete. */
static size_t receive_upgrade(struct client *client, const char *data, size_t length) {
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (end == NULL && length < 16384) return 0;
    if (end == NULL) stop(EXIT_REFUSED, "the upgrade's answer has more than 16384 bytes of head");
    size_t head = (size_t)(end - data) + 4;
    if (memcmp(data, "HTTP/1.1 101", 12) != 0) {
        int line = (int)((const char *)memchr(data, '\r', length) - data);
        int body = (int)(length - head < 200 ? length - head : 200);
        stop(EXIT_REFUSED, "the server refused the upgrade: %.*s: %.*s", line, data, body, data + head);
    }
    if (memmem(data, head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28) == NULL)
        stop(EXIT_REFUSED, "the upgrade's answer has no valid Sec-WebSocket-Accept");
    client->state = OPENING;
    return head;
}

static void receive_packet(struct client *client, const char *packet, size_t length) {
    int shown = (int)(length < 200 ? length : 200);
    static const char position[] = "42[\"oyez:position\",";
    if (length > sizeof position - 1 && memcmp(packet, position, sizeof position - 1) == 0) {
        /* The position of the event before it: official clients have no handler for it. */
    } else if (length >= 2 && packet[0] == '4' && packet[1] == '2') {
        on_event(client, packet, length);
    } else if (length >= 2 && packet[0] == '4' && packet[1] == '3') {
        on_ack(client, packet, length);
    } else if (length == 1 && packet[0] == '2') {
        send_text(client, "3");
    } else if (length >= 1 && packet[0] == '0' && client->state == OPENING) {
        client->state = JOINING;
        send_text(client, client->connect_packet);
    } else if (length >= 2 && packet[0] == '4' && packet[1] == '0' && client->state == JOINING) {
        client->state = OPEN;
        on_open(client);
    } else if (length >= 2 && packet[0] == '4' && packet[1] == '4') {
        stop(EXIT_REFUSED, "the server refused CONNECT: %.*s", shown, packet);
    } else if (length >= 1 && (packet[0] == '1' || (packet[0] == '4' && length >= 2 && packet[1] == '1'))) {
        if (client->state != LEAVING) stop(EXIT_LOST, "the server disconnected a client: %.*s", shown, packet);
    } else if (length < 1 || packet[0] != '6') {
        stop(EXIT_LOST, "unexpected packet while %s: %.*s", state_names[client->state], shown, packet);
    }
}

/* Returns false once the client is gone. */
static int receive_frame(struct client *client, const struct frame *frame) {
    if (frame->opcode == TEXT) {
        receive_packet(client, frame->payload, frame->length);
    } else if (frame->opcode == PING) {
        append_frame(&client->output, PONG, frame->payload, frame->length);
    } else if (frame->opcode == CLOSE && client->state == LEAVING) {
        on_left(client);
        return 0;
    } else if (frame->opcode == CLOSE) {
        const uint8_t *code = (const uint8_t *)frame->payload;
        int reason = (int)(frame->length > 2 ? frame->length - 2 : 0);
        stop(EXIT_LOST, "the server closed a connection while %s: code %d %.*s", state_names[client->state],
             frame->length >= 2 ? code[0] << 8 | code[1] : 1005, reason, frame->length > 2 ? frame->payload + 2 : "");
    } else if (frame->opcode != BINARY && frame->opcode != PONG) {
        stop(EXIT_LOST, "the server sent a frame with opcode %d", frame->opcode);
    }
    return 1;
}

/* Takes every complete frame; `*used` is what they were. Returns false once the client is gone. */
static int receive_data(struct client *client, const char *data, size_t length, size_t *used) {
    struct frame frame;
    const char *why = "";
    if (client->state == UPGRADING) *used = receive_upgrade(client, data, length);
    while (client->state > UPGRADING) {
        enum parsed parsed = read_frame(data + *used, length - *used, &frame, &why);
        if (parsed == MALFORMED) stop(EXIT_LOST, "the server sent %s", why);
        if (frame.size > MAX_FRAME) stop(EXIT_LOST, "the server sent a frame of %zu bytes", frame.size);
        if (parsed == INCOMPLETE) break;
        *used += frame.size;
        if (!receive_frame(client, &frame)) return 0;
    }
    return 1;
}

static void read_client(struct client *client) {
    size_t kept = client->input.length;
    if (read_buffer.capacity < kept + MIN_READ) {
        read_buffer.capacity = 2 * (kept + MIN_READ);
        read_buffer.data = realloc(read_buffer.data, read_buffer.capacity);
        if (read_buffer.data == NULL) stop(EXIT_LIMIT, "out of memory for a read buffer");
    }
    if (kept > 0) memcpy(read_buffer.data, client->input.data, kept);
    ssize_t count = recv(client->fd, read_buffer.data + kept, read_buffer.capacity - kept, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0 && client->state == LEAVING) {
        on_left(client);
        return;
    }
    if (count <= 0)
        stop(client->state == OPEN ? EXIT_LOST : EXIT_REFUSED, "the server dropped a connection while %s: %s",
             state_names[client->state], count == 0 ? "end of stream" : strerror(errno));
    size_t length = kept + (size_t)count, used = 0;
    client->input.length = 0;
    if (!receive_data(client, read_buffer.data, length, &used)) return;
    if (used < length) append(&client->input, read_buffer.data + used, length - used);
    if (client->output.length > 0) flush_client(client);
}

#endif
