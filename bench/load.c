/* The benchmark's load generator: many Socket.IO clients over WebSocket from one thread.
 *
 * usage: load MODE --port P [--path /socket.io/] [--clients N] [--concurrency N] [--tokens FILE] ...
 *
 * It connects its clients (not in mode `connects`), prints READY, then reads lines `round N` from standard input and
 * answers each with one line of JSON. It ends with standard input, or after one round with --count N.
 *   listen    a round is N received events; latency is taken from the field "sent" of their payloads
 *   echo      a round is N acknowledged commands, --window of them in flight for each client
 *   connects  a round is N times connect, CONNECT, disconnect, --concurrency of them at a time
 *   idle      no rounds: the clients stay connected until standard input closes
 * Exit codes: 2 usage, 3 refused by the server, 4 out of time, 5 connection lost, 6 a limit of this machine. */

#define _GNU_SOURCE
#include "client.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>

enum mode { LISTEN, ECHO, CONNECTS, IDLING, MODES };
static const char *const mode_names[MODES] = {"listen", "echo", "connects", "idle"};

static struct {
    enum mode mode;
    uint16_t port;
    const char *path, *tokens, *command, *answer;
    uint32_t clients, concurrency, window;
    uint64_t count;
    double timeout, hold;
} options = {.path = "/socket.io/", .clients = 1, .concurrency = 64, .window = 1, .timeout = 30, .hold = 600,
             .command = "[\"echo\",{\"text\":\"how much for the front door\",\"n\":1}]"};

static struct client *clients;
static uint32_t started, connecting, opened; /* `started` counts connects since the beginning, or of the round */
static struct {
    int active;
    uint64_t wanted, done, begun, refused, first_ns, last_ns, deadline_ns;
    struct cpu_time cpu;
    struct histogram latency;
    char example[200]; /* of a refused command */
} round_;
static int input_open = 1, ready;
static uint64_t hold_until_ns;

/* Text for a JSON string: what would need an escape is shown as a space or an apostrophe. */
static void put_text(const char *text) {
    for (; *text; text++) putchar(*text == '"' ? '\'' : (*text == '\\' || (unsigned char)*text < 32) ? ' ' : *text);
}

static void print_round(const char *error) {
    struct cpu_time cpu = cpu_now();
    const struct histogram *latency = &round_.latency;
    double seconds = round_.last_ns > round_.first_ns ? (double)(round_.last_ns - round_.first_ns) / 1e9 : 0;
    printf("{\"mode\":\"%s\",\"clients\":%u,\"wanted\":%" PRIu64 ",\"done\":%" PRIu64 ",\"seconds\":%.6f,"
           "\"first_ns\":%" PRIu64 ",\"last_ns\":%" PRIu64 ",\"cpu_user\":%.6f,\"cpu_system\":%.6f,",
           mode_names[options.mode], opened, round_.wanted, round_.done, seconds, round_.first_ns, round_.last_ns,
           cpu.user - round_.cpu.user, cpu.system - round_.cpu.system);
    printf("\"latency_us\":{\"count\":%" PRIu64 ",\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f},\"refused\":%" PRIu64
           ",\"example\":\"", latency->count, (double)histogram_quantile(latency, 0.5) / 1e3,
           (double)histogram_quantile(latency, 0.99) / 1e3, (double)latency->max / 1e3, round_.refused);
    put_text(round_.example);
    printf("\",\"error\":\"");
    put_text(error);
    printf("\"}\n");
    fflush(stdout);
}

static void stop(enum exit_code code, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (code == EXIT_USAGE) {
        fprintf(stderr, "load: %s\n", text);
        exit(code);
    }
    print_round(text);
    fprintf(stderr, "load: %s (%u of %u clients connected, %" PRIu64 " of %" PRIu64 " done)\n", text, opened,
            options.clients, round_.done, round_.wanted);
    exit(code);
}

static void count_done(uint64_t at_ns) {
    if (round_.first_ns == 0) round_.first_ns = at_ns;
    round_.last_ns = at_ns;
    round_.done++;
}

static void send_command(struct client *client) {
    char packet[1024];
    uint32_t id = client->next_id++;
    snprintf(packet, sizeof packet, "42%u%s", id, options.command);
    client->commands[id % options.window] = (struct command){id, now_ns()};
    send_text(client, packet);
    round_.begun++;
}

static void start_more(void) {
    uint64_t limit = options.mode == CONNECTS ? round_.wanted : options.clients;
    for (uint32_t index = 0; index < options.clients && started < limit && connecting < options.concurrency; index++) {
        struct client *client = &clients[options.mode == CONNECTS ? index : started];
        if (client->state != IDLE) continue;
        started++;
        connecting++;
        start_client(client);
    }
}

static void on_open(struct client *client) {
    opened++;
    if (options.mode == CONNECTS) {
        histogram_add(&round_.latency, now_ns() - client->started_ns);
        client->state = LEAVING;
        send_text(client, "41");
        append_frame(&client->output, CLOSE, "\x03\xe8", 2);
    } else {
        connecting--;
    }
}

static void on_left(struct client *client) {
    close_client(client);
    opened--;
    connecting--;
    count_done(now_ns());
}

static void on_event(struct client *client, const char *packet, size_t length) {
    (void)client;
    if (options.mode == ECHO) return; /* a round counts the acknowledgements */
    uint64_t at_ns = now_ns(), sent_ns = 0;
    const char *end = packet + length, *digit = memmem(packet, length, "\"sent\":", 7);
    for (digit = digit ? digit + 7 : end; digit < end && *digit >= '0' && *digit <= '9'; digit++)
        sent_ns = sent_ns * 10 + (uint64_t)(*digit - '0');
    if (sent_ns > 0 && sent_ns <= at_ns) histogram_add(&round_.latency, at_ns - sent_ns);
    count_done(at_ns);
}

static void on_ack(struct client *client, const char *packet, size_t length) {
    if (options.mode != ECHO) stop(EXIT_LOST, "an acknowledgement that nobody asked for");
    uint64_t at_ns = now_ns();
    uint32_t id = 0;
    const char *end = packet + length, *digit = packet + 2;
    for (; digit < end && *digit >= '0' && *digit <= '9'; digit++) id = id * 10 + (uint32_t)(*digit - '0');
    if (id >= client->next_id) stop(EXIT_LOST, "an acknowledgement of command %u, which was never sent", id);
    struct command *command = &client->commands[id % options.window];
    if (command->id == id) histogram_add(&round_.latency, at_ns - command->sent_ns);
    if (options.answer && memmem(packet, length, options.answer, strlen(options.answer)) == NULL) {
        if (round_.refused++ == 0) snprintf(round_.example, sizeof round_.example, "%.*s", (int)length, packet);
    }
    count_done(at_ns);
    if (round_.begun < round_.wanted) send_command(client);
}

static void begin_round(uint64_t wanted) {
    if (round_.active) stop(EXIT_USAGE, "a round was asked for before the last one had ended");
    if (options.mode == IDLING) stop(EXIT_USAGE, "mode idle has no rounds");
    round_.active = 1;
    round_.wanted = wanted;
    round_.begun = 0;
    round_.deadline_ns = now_ns() + (uint64_t)(options.timeout * 1e9);
    started = options.mode == CONNECTS ? 0 : started;
    for (uint32_t index = 0; options.mode == ECHO && index < options.clients; index++) {
        for (uint32_t count = 0; count < options.window && round_.begun < wanted; count++) send_command(&clients[index]);
        flush_client(&clients[index]);
    }
}

/* Events that came early belong to the next round: nothing is lost between a round's answer and its successor. */
static void end_round(void) {
    print_round(round_.done > round_.wanted ? "more was received than the round wanted" : "");
    memset(&round_, 0, sizeof round_);
    round_.cpu = cpu_now();
    hold_until_ns = now_ns() + (uint64_t)(options.hold * 1e9);
    if (options.count > 0) exit(0);
}

static void read_commands(void) {
    static char line[256];
    static size_t length;
    ssize_t count = read(STDIN_FILENO, line + length, sizeof line - 1 - length);
    if (count < 0) return;
    input_open = count > 0;
    length += (size_t)count;
    line[length] = '\0';
    for (char *end; (end = strchr(line, '\n')) != NULL; length = strlen(line)) {
        uint64_t wanted;
        *end = '\0';
        if (sscanf(line, "round %" SCNu64, &wanted) != 1) stop(EXIT_USAGE, "'%s' is not 'round N'", line);
        begin_round(wanted);
        memmove(line, end + 1, strlen(end + 1) + 1);
    }
    if (length == sizeof line - 1) stop(EXIT_USAGE, "a line of more than %zu characters", length);
}

static void announce_ready(void) {
    ready = 1;
    hold_until_ns = now_ns() + (uint64_t)(options.hold * 1e9);
    if (round_.done == 0) round_.cpu = cpu_now();
    printf("READY %u\n", opened);
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (options.count > 0) {
        begin_round(options.count);
    } else if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) {
        input_open = 0; /* a file or /dev/null: nobody will ask for anything */
    }
}

static void check_time(uint64_t begun_ns) {
    uint64_t now = now_ns();
    if (!ready && now > begun_ns + (uint64_t)(options.timeout * 1e9))
        stop(EXIT_TIMEOUT, "not all clients connected in %.0f s", options.timeout);
    if (round_.active && now > round_.deadline_ns) stop(EXIT_TIMEOUT, "the round took over %.0f s", options.timeout);
    if (ready && !round_.active && now > hold_until_ns) stop(EXIT_TIMEOUT, "nothing to do for %.0f s", options.hold);
}

static void run(void) {
    struct epoll_event events[512];
    uint64_t begun_ns = now_ns();
    while (input_open || round_.active) {
        if (!ready || round_.active) start_more();
        if (!ready && (options.mode == CONNECTS || opened == options.clients)) announce_ready();
        int count = epoll_wait(epoll_fd, events, 512, 200);
        for (int index = 0; index < count; index++) {
            struct client *client = events[index].data.ptr;
            if (client == NULL) {
                read_commands();
                if (!input_open) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            } else if (client->state == CONNECTING) {
                finish_tcp_connect(client);
            } else {
                if (events[index].events & EPOLLOUT) flush_client(client);
                if (events[index].events & ~(uint32_t)EPOLLOUT) read_client(client);
            }
        }
        if (round_.active && round_.done >= round_.wanted) end_round();
        check_time(begun_ns);
    }
}

static uint64_t number(const char *text, uint64_t most) {
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value > most)
        stop(EXIT_USAGE, "'%s' is not a whole number up to %" PRIu64, text, most);
    return value;
}

static void read_options(int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, NULL, 'p'}, {"path", 1, NULL, 'P'}, {"clients", 1, NULL, 'n'}, {"concurrency", 1, NULL, 'c'},
        {"tokens", 1, NULL, 't'}, {"count", 1, NULL, 'N'}, {"window", 1, NULL, 'w'}, {"timeout", 1, NULL, 's'},
        {"hold", 1, NULL, 'h'}, {"command", 1, NULL, 'e'}, {"answer", 1, NULL, 'a'}, {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (option) {
        case 'p': options.port = (uint16_t)number(optarg, 65535); break;
        case 'P': options.path = optarg; break;
        case 'n': options.clients = (uint32_t)number(optarg, 1000000); break;
        case 'c': options.concurrency = (uint32_t)number(optarg, 100000); break;
        case 't': options.tokens = optarg; break;
        case 'N': options.count = number(optarg, UINT32_MAX); break;
        case 'w': options.window = (uint32_t)number(optarg, 10000); break;
        case 's': options.timeout = (double)number(optarg, 3600); break;
        case 'h': options.hold = (double)number(optarg, 86400); break;
        case 'e': options.command = optarg; break;
        case 'a': options.answer = optarg; break;
        default: stop(EXIT_USAGE, "unknown option, or one without its value; the top of load.c lists them");
        }
    const char *mode = optind < argc ? argv[optind] : "(none)";
    for (options.mode = 0; options.mode < MODES && strcmp(mode, mode_names[options.mode]) != 0;) options.mode++;
    if (options.mode == MODES) stop(EXIT_USAGE, "mode %s is not one of listen, echo, connects, idle", mode);
    if (options.port == 0 || options.clients == 0 || options.concurrency == 0 || options.window == 0)
        stop(EXIT_USAGE, "--port, --clients, --concurrency and --window must be above 0");
    if (strlen(options.command) > 1000) stop(EXIT_USAGE, "--command is longer than 1000 characters");
    if (options.mode == CONNECTS) options.clients = options.concurrency;
}

/* One CONNECT packet for each token of the file, or a single one without a token. */
static void build_connect_packets(void) {
    char line[8192], packet[9000];
    char **packets = NULL;
    uint32_t count = 0;
    FILE *file = options.tokens ? fopen(options.tokens, "r") : NULL;
    if (options.tokens && file == NULL) stop(EXIT_USAGE, "%s: %s", options.tokens, strerror(errno));
    do {
        line[0] = '\0';
        if (file && fgets(line, sizeof line, file) == NULL) break;
        line[strcspn(line, "\r\n")] = '\0';
        int length = snprintf(packet, sizeof packet, "40{\"token\":\"%s\"", line);
        snprintf(packet + length, sizeof packet - (size_t)length, "}");
        packets = realloc(packets, (count + 1) * sizeof *packets);
        packets[count++] = strdup(packet);
    } while (file);
    if (count == 0) stop(EXIT_USAGE, "%s has no tokens", options.tokens);
    if (file) fclose(file);
    for (uint32_t index = 0; index < options.clients; index++) clients[index].connect_packet = packets[index % count];
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    server_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(options.port),
                                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < options.clients + 16)
        stop(EXIT_LIMIT, "%u clients need more open files than the %ju allowed (ulimit -n)", options.clients, (uintmax_t)files.rlim_cur);
    clients = calloc(options.clients, sizeof *clients);
    struct command *commands = calloc((size_t)options.clients * options.window, sizeof *commands);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (clients == NULL || commands == NULL || epoll_fd < 0) stop(EXIT_LIMIT, "no memory or no epoll for %u clients", options.clients);
    for (uint32_t index = 0; index < options.clients; index++) {
        clients[index].fd = -1;
        clients[index].commands = commands + (size_t)index * options.window;
    }
    build_connect_packets();
    append_text(&request, "GET ");
    append_text(&request, options.path);
    append_text(&request, "?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    run();
    return 0;
}
