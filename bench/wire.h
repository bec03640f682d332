/* WebSocket frames as a client reads and writes them (RFC 6455, section 5): bytes only, no sockets. */

#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

struct bytes {
    char *data;
    size_t length, capacity;
};

static inline void append(struct bytes *bytes, const void *data, size_t length) {
    if (bytes->length + length > bytes->capacity) {
        size_t capacity = bytes->capacity ? bytes->capacity : 256;
        while (capacity < bytes->length + length) capacity *= 2;
        bytes->data = realloc(bytes->data, capacity);
        if (bytes->data == NULL) {
            fprintf(stderr, "load: out of memory for a buffer of %zu bytes\n", capacity);
            exit(6);
        }
        bytes->capacity = capacity;
    }
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static inline void append_text(struct bytes *bytes, const char *text) { append(bytes, text, strlen(text)); }

static inline void release(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){0};
}

/* One complete masked frame. The key changes from frame to frame, as section 5.3 asks; it need not be secret here. */
static inline void append_frame(struct bytes *out, enum opcode opcode, const char *payload, size_t length) {
    static uint32_t key = 0x9e3779b9;
    uint8_t head[14] = {(uint8_t)(0x80 | opcode)};
    size_t size = 2;
    if (length < 126) {
        head[1] = (uint8_t)(0x80 | length);
    } else if (length < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(length >> 8);
        head[3] = (uint8_t)length;
        size = 4;
    } else {
        head[1] = 0x80 | 127;
        for (int index = 0; index < 8; index++) head[2 + index] = (uint8_t)((uint64_t)length >> (56 - 8 * index));
        size = 10;
    }
    key = key * 1664525u + 1013904223u;
    uint8_t *mask = head + size;
    memcpy(mask, &key, 4);
    append(out, head, size + 4);
    append(out, payload, length);
    uint8_t *masked = (uint8_t *)out->data + out->length - length;
    for (size_t index = 0; index < length; index++) masked[index] ^= mask[index & 3];
}

struct frame {
    enum opcode opcode;
    const char *payload;
    size_t length; /* of the payload */
    size_t size;   /* of the whole frame; when the frame is incomplete: what it will need, as far as known */
};

enum parsed { INCOMPLETE, COMPLETE, MALFORMED };

/* Reads the frame that starts at `data`, in place. On MALFORMED, `*why` says what the server did wrong. */
static inline enum parsed read_frame(const char *data, size_t length, struct frame *frame, const char **why) {
    const uint8_t *bytes = (const uint8_t *)data;
    frame->size = 2;
    if (length < 2) return INCOMPLETE;
    size_t head = 2;
    uint64_t payload = bytes[1] & 0x7f;
    if (bytes[0] & 0x70) return *why = "a frame with a reserved bit set", MALFORMED;
    if (bytes[1] & 0x80) return *why = "a masked frame", MALFORMED;
    if (payload >= 126) {
        size_t digits = payload == 126 ? 2 : 8;
        head = 2 + digits;
        frame->size = head;
        if (length < head) return INCOMPLETE;
        payload = 0;
        for (size_t index = 0; index < digits; index++) payload = payload << 8 | bytes[2 + index];
    }
    if (payload > SIZE_MAX / 2) return *why = "a frame length with its first bit set", MALFORMED;
    frame->opcode = bytes[0] & 0x0f;
    if (!(bytes[0] & 0x80) || frame->opcode == CONTINUATION)
        return *why = "a fragmented message, which a server need not send at these sizes", MALFORMED;
    frame->payload = data + head;
    frame->length = (size_t)payload;
    frame->size = head + frame->length;
    return length < frame->size ? INCOMPLETE : COMPLETE;
}

#endif
