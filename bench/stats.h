/* Clock, processor time and a latency histogram, shared by the benchmark's C programs. */

#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

struct cpu_time {
    double user, system; /* seconds of this process */
};

static inline struct cpu_time cpu_now(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    struct cpu_time cpu = {
        (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
        (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6,
    };
    return cpu;
}

/* Buckets double every 64, so a quantile is at most 1/64 above the true value, in constant memory. */
enum { SUB_BUCKETS = 64, BUCKETS = 59 * SUB_BUCKETS };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[BUCKETS];
};

static inline void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

static inline void histogram_add(struct histogram *h, uint64_t value) {
    unsigned index = (unsigned)value;
    if (value >= SUB_BUCKETS) {
        unsigned shift = 57u - (unsigned)__builtin_clzll(value); /* leaves seven bits, the first of them set */
        index = shift * SUB_BUCKETS + (unsigned)(value >> shift);
    }
    h->buckets[index]++;
    h->count++;
    if (value > h->max) h->max = value;
}

static inline uint64_t histogram_quantile(const struct histogram *h, double quantile) {
    uint64_t wanted = (uint64_t)(quantile * (double)h->count + 0.999999), seen = 0;
    for (unsigned index = 0; index < BUCKETS; index++) {
        seen += h->buckets[index];
        if (seen < wanted || seen == 0) continue;
        if (index < 2 * SUB_BUCKETS) return index;
        unsigned shift = index / SUB_BUCKETS - 1;
        uint64_t upper = (((uint64_t)(index % SUB_BUCKETS) + SUB_BUCKETS + 1) << shift) - 1;
        return upper < h->max ? upper : h->max;
    }
    return h->max;
}

#endif
