/* What a forward pass over a paged cache is told: see models/paged.py, which lays these out as 64-bit numbers.
 *
 * Letters as in kernels.c; L layers, W numbers of a joined query, key and value: (H + 2K) D, R ranks of adapters. */

#define PAGE 32 /* tokens of a page */
#define RUN 4 /* pages between two looks at the largest score */
#define COLUMNS 16 /* query heads that attend together */
#define MAX_HEAD 256 /* largest head size */
#define NOTHING -1e30f /* the score of what is not seen; finite, so that it can be subtracted from itself */

/* y = x Wᵀ + (x lowᵀ) highᵀ + bias: W [O, I], low [R, I], high [O, R]; absent parts are NULL and R = 0. */
typedef struct {
    const void *weight, *bias, *low, *high;
    int64_t inputs, outputs, rank;
} product;

typedef struct {
    const void *attention_norm;
    product qkv, out;
    const void *feed_forward_norm;
    product gate_up, down;
} layer;

typedef struct {
    const layer *layers;
    int64_t L, E, H, K, D, I;
    const void *norm;
    product head;
    const float *cos, *sin; /* [positions, D / 2] */
} network;

/* Tokens [T] to be read. Token t sees num_pages[t] pages from page[first[t]] on, as far as they are filled, but the last
 * one, which it enters itself, up to its own place: last[t] tokens. Sites [S] are those to predict from. */
typedef struct {
    int64_t T, S;
    const int64_t *position, *first, *num_pages, *last, *page, *filled, *site;
    const int64_t *every; /* 0 ... T - 1 */
    void *spare, *h, *z, *wide, *low; /* room for [T, E], [T, max(E, H D, I)], [T, W], [T, 2I], [T, R] */
    uint32_t *packed; /* room for [T + 31, I + R] numbers, in 16 bits as pairs */
    void *logits; /* [S, V] */
} reading;

typedef float line __attribute__((vector_size(4 * COLUMNS), may_alias)); /* a number of each column */

/* What some query heads have seen so far: largest score, sum of weights, weighted values. */
typedef struct {
    float top[COLUMNS], total[COLUMNS], mixed[MAX_HEAD][COLUMNS];
    union {
        line query[MAX_HEAD];
        uint32_t packed[MAX_HEAD / 2][COLUMNS];
    };
} __attribute__((aligned(64))) columns;

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define STRIP (2 * LANES) /* rows of float32 that are multiplied together */
#define OUTPUTS 6 /* with so many outputs: 12 sums of LANES, which 16 registers hold beside what is multiplied */
#define FEWEST_IN_STRIPS 9 /* fewer rows are multiplied as they lie */
#define STRIPS_BYTES (256 << 10) /* half of a second-level cache */
typedef float lanes __attribute__((vector_size(4 * LANES)));
#define VECTORS_OF_COLUMNS (COLUMNS / LANES)
#define AT_ONCE (8 / VECTORS_OF_COLUMNS) /* keys or dimensions, so that eight sums are in registers */
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t half_words __attribute__((vector_size(2 * LANES)));

static inline lanes load_floats(const float *from) { lanes all; memcpy(&all, from, sizeof all); return all; }

/* Columns from `first` on, so many vectors of them. */
typedef struct { int64_t first; int vectors; } span;

/* The least that holds the columns of group g, of several groups of `width` columns; of one group all. */
static inline span span_of(int64_t groups, int64_t g, int64_t width) {
    const int64_t first = g * width < COLUMNS - LANES ? g * width : COLUMNS - LANES;
    return groups == 1 || width > LANES ? (span){0, VECTORS_OF_COLUMNS} : (span){first, 1};
}

/* How many leading pages these tokens share, as far as each has so many; `longest` has the most. */
static int64_t pages_in_common(const reading *now, const int64_t *token, int64_t num, int64_t *longest) {
    for (int64_t i = 1; i < num; i++)
        if (now->num_pages[token[i]] > now->num_pages[token[*longest]]) *longest = i;
    const int64_t *list = now->page + now->first[token[*longest]], most = now->num_pages[token[*longest]];
    for (int64_t p = 0; p < most; p++)
        for (int64_t i = 0; i < num; i++)
            if (p < now->num_pages[token[i]] && now->page[now->first[token[i]] + p] != list[p]) return p;
    return most;
}

static inline void fetch(const void *from, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)from + at, 0, 2);
}

static inline void copy_columns(const float (*from)[COLUMNS], float (*to)[COLUMNS], int64_t num, int64_t low,
                                int64_t high) {
    for (int64_t n = 0; n < num; n++)
        for (int64_t c = low; c < high; c++) to[n][c] = from[n][c];
}
