/* Matrix products of bfloat16 for processors that multiply it (AMX tiles or AVX512-BF16 vectors), with what follows a
 * product done while its block is still in the cache. Accumulators are float32.
 *
 * out [M, N] is computed in blocks of 32 x 32. For each panel of 32 columns and each run of DEPTH_BLOCK of the summed
 * dimension K, the right operand is laid out once as tiles (16 rows of pairs), which fits the first-level cache even
 * where two threads share it; the left operand is read in place, or laid out too where it comes transposed. A second pair of
 * operands (the low-rank one) is summed in the same accumulators.
 */
#if VECTORS
#include <stdlib.h>

#define BLOCK 32
#define TILE 512 /* numbers of a tile: 16 rows of 32 */
#define DEPTH_BLOCK 288
#define ROWS_AT_ONCE 512 /* of the left operand: they stay in the second-level cache */
#define PANELS_AT_ONCE 8 /* whose partial sums wait for the next run of K */

typedef struct {
    const uint16_t *left, *right;
    int64_t left_stride, right_stride, depth;
} Term;

typedef enum { PLAIN, SWIGLU, SWIGLU_BACKWARD, OUTER } Kind;

typedef struct {
    Term terms[2];
    Kind kind;
    int64_t M, N;
    int right_is_KN; /* else [N, K] */
    const uint16_t *residual, *gate_up;
    uint16_t *out, *activated;
    float *sums; /* OUTER */
    float scale;
} Product;

static inline void store_16(uint16_t *to, __m512 x) { _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x)); }

/* x as it comes back from storage. */
static inline __m512 rounded_16(__m512 x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)), 16));
}

/* e^x to 2 units in the last place; 0 far below -87, infinity above 88. */
static inline __m512 exp_16(__m512 x) {
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 f = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x), p = _mm512_set1_ps(1.9875691500e-4f);
    f = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, f), f, _mm512_add_ps(f, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(p, n);
}

static inline __m512 sigmoid_16(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp_16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

static inline __mmask16 first_of_16(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

/* Two rows of 16 numbers as 16 pairs; columns and rows beyond the matrix are zeros. */
static inline __m512i pairs_of_rows(const uint16_t *row, int64_t stride, int64_t rows, __mmask16 columns) {
    __m512i first = rows > 0 ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, row)) : _mm512_setzero_si512();
    __m512i second = rows > 1 ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, row + stride)) : _mm512_setzero_si512();
    return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

/* 16 columns of a right operand [N, K] as tiles, one every 2 * TILE numbers. */
static void tiles_of_NK(const uint16_t *from, int64_t stride, int64_t columns, int64_t depth, uint16_t *to) {
    for (int64_t k = 0; k < depth; k += 32, to += 2 * TILE) {
        __m512i r[16];
        __mmask32 inside = depth - k >= 32 ? 0xffffffffu : (1u << (depth - k)) - 1;
        for (int i = 0; i < 16; i++)
            r[i] = i < columns ? _mm512_maskz_loadu_epi16(inside, from + i * stride + k) : _mm512_setzero_si512();
        transpose_16x16(r);
        for (int i = 0; i < 16; i++) _mm512_store_si512(to + 32 * i, r[i]);
    }
}

/* The same of a right operand [K, N]. */
static void tiles_of_KN(const uint16_t *from, int64_t stride, int64_t columns, int64_t depth, uint16_t *to) {
    const __mmask16 inside = first_of_16(columns);
    for (int64_t k = 0; k < depth; k += 32, to += 2 * TILE)
        for (int i = 0; i < 16; i++)
            _mm512_store_si512(to + 32 * i, pairs_of_rows(from + (k + 2 * i) * stride, stride, depth - k - 2 * i, inside));
}

/* 16 columns of a left operand [K, M] as tiles of its transpose. */
static void tiles_of_KM(const uint16_t *from, int64_t stride, int64_t columns, int64_t depth, uint16_t *to) {
    const __mmask16 inside = first_of_16(columns);
    for (int64_t k = 0; k < depth; k += 32, to += 2 * TILE) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) r[i] = pairs_of_rows(from + (k + 2 * i) * stride, stride, depth - k - 2 * i, inside);
        transpose_16x16(r);
        for (int i = 0; i < 16; i++) _mm512_store_si512(to + 32 * i, r[i]);
    }
}

#if TILES
#include "blocks_amx.h"
#else
#include "blocks_avx512.h"
#endif

/* Memory of this thread that is kept from call to call. */
typedef struct { void *memory; size_t size; } Room;
static __thread Room right_room, left_room, sums_room;

static void *room_for(Room *room, size_t size) {
    if (room->size < size) {
        free(room->memory);
        room->size = (size + 4095) / 4096 * 4096;
        room->memory = aligned_alloc(64, room->size);
    }
    return room->memory;
}

static inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline void finish_plain(const Product *p, const float *sums, int64_t m, int64_t n, int64_t rows) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t half = 0; half < 2; half++) {
            const int64_t at = (m + i) * p->N + n + 16 * half;
            const __mmask16 inside = first_of_16(p->N - n - 16 * half);
            __m512 s = _mm512_load_ps(sums + i * BLOCK + 16 * half);
            if (p->residual) {
                const __m512i add = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(inside, p->residual + at));
                s = _mm512_add_ps(s, _mm512_castsi512_ps(_mm512_slli_epi32(add, 16)));
            }
            _mm256_mask_storeu_epi16(p->out + at, inside, (__m256i)_mm512_cvtneps_pbh(s));
        }
}

/* Columns 0..15 of the block are gates, 16..31 the up-projections that belong to them; N = I. */
static inline void finish_swiglu(const Product *p, const float *sums, int64_t m, int64_t n, int64_t rows) {
    for (int64_t i = 0; i < rows; i++) {
        const __m512 gate = rounded_16(_mm512_load_ps(sums + i * BLOCK)), up = rounded_16(_mm512_load_ps(sums + i * BLOCK + 16));
        uint16_t *to = p->out + (m + i) * 2 * p->N + n;
        store_16(to, gate);
        store_16(to + p->N, up);
        store_16(p->activated + (m + i) * p->N + n, _mm512_mul_ps(_mm512_mul_ps(gate, sigmoid_16(gate)), up));
    }
}

/* The block is the gradient of the activation. */
static inline void finish_swiglu_backward(const Product *p, const float *sums, int64_t m, int64_t n, int64_t rows) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t half = 0; half < 2; half++) {
            const int64_t at = (m + i) * 2 * p->N + n + 16 * half;
            const __m512 s = _mm512_load_ps(sums + i * BLOCK + 16 * half), gate = load_16(p->gate_up + at);
            const __m512 up = load_16(p->gate_up + at + p->N), sigmoid = sigmoid_16(gate), silu = _mm512_mul_ps(gate, sigmoid);
            const __m512 slope = _mm512_fmadd_ps(silu, _mm512_sub_ps(one, sigmoid), sigmoid);
            store_16(p->activated + (m + i) * p->N + n + 16 * half, _mm512_mul_ps(silu, up));
            store_16(p->out + at, _mm512_mul_ps(_mm512_mul_ps(s, up), slope));
            store_16(p->out + at + p->N, _mm512_mul_ps(s, silu));
        }
}

static inline void finish_outer(const Product *p, const float *sums, int64_t m, int64_t n, int64_t rows) {
    const int64_t width = least(BLOCK, p->N - n);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = (m + i) * p->N + n;
        const float *s = sums + i * BLOCK;
        for (int64_t j = 0; j < width; j += 16) {
            const __mmask16 inside = first_of_16(width - j);
            const __m512 x = _mm512_mul_ps(_mm512_load_ps(s + j), _mm512_set1_ps(p->scale));
            if (p->sums) _mm512_mask_storeu_ps(p->sums + at + j, inside, x);
            else _mm256_mask_storeu_epi16(p->out + at + j, inside, (__m256i)_mm512_cvtneps_pbh(x));
        }
    }
}

/* First column of half a panel in the right operand. */
static inline int64_t column_of(const Product *p, int64_t panel, int64_t half) {
    return p->kind == SWIGLU ? half * p->N + 16 * panel : BLOCK * panel + 16 * half;
}

static void lay_out_right(const Product *p, const Term *t, int64_t panel, int64_t k, int64_t depth, uint16_t *to) {
    for (int64_t half = 0; half < 2; half++, to += TILE) {
        const int64_t n = column_of(p, panel, half);
        const int64_t columns = p->kind == SWIGLU ? 16 : p->N - n;
        if (p->right_is_KN) tiles_of_KN(t->right + k * t->right_stride + n, t->right_stride, columns, depth, to);
        else tiles_of_NK(t->right + n * t->right_stride + k, t->right_stride, columns, depth, to);
    }
}

static inline const uint16_t *row_of(const Term *t, int64_t m) { return t->left + m * t->left_stride; }

/* Asks for one of `parts` shares of a panel's right operand, to be laid out soon. */
static void ask_for_right(const Product *p, int64_t panel, int64_t k, int64_t depth, int64_t part, int64_t parts) {
    const Term *t = &p->terms[0];
    if (p->right_is_KN) {
        const uint16_t *from = t->right + k * t->right_stride + BLOCK * panel;
        for (int64_t i = depth * part / parts; i < depth * (part + 1) / parts; i++)
            _mm_prefetch((const char *)(from + i * t->right_stride), _MM_HINT_T1);
        return;
    }
    for (int64_t i = BLOCK * part / parts; i < BLOCK * (part + 1) / parts; i++) {
        const uint16_t *from = t->right + (column_of(p, panel, i / 16) + i % 16) * t->right_stride + k;
        for (int64_t j = 0; j < depth; j += 32) _mm_prefetch((const char *)(from + j), _MM_HINT_T1);
    }
}

/* Asks for what `finish` will read and write. */
static inline void ask_for_block(const Product *p, int64_t m, int64_t panel, int64_t rows) {
    const int64_t width = p->kind == SWIGLU || p->kind == SWIGLU_BACKWARD ? 2 * p->N : p->N;
    const int64_t at = m * width + column_of(p, panel, 0), second = at + (width > p->N ? p->N : 0);
    for (int64_t i = 0; i < rows && p->kind != OUTER; i++) {
        _mm_prefetch((const char *)(p->out + at + i * width), _MM_HINT_ET0);
        if (width > p->N) _mm_prefetch((const char *)(p->out + second + i * width), _MM_HINT_ET0);
        if (p->residual) _mm_prefetch((const char *)(p->residual + at + i * width), _MM_HINT_T0);
        if (!p->gate_up) continue;
        _mm_prefetch((const char *)(p->gate_up + at + i * width), _MM_HINT_T0);
        _mm_prefetch((const char *)(p->gate_up + second + i * width), _MM_HINT_T0);
    }
}

static inline void finish(const Product *p, const float *sums, int64_t m, int64_t panel, int64_t rows) {
    if (p->kind == PLAIN) finish_plain(p, sums, m, BLOCK * panel, rows);
    else if (p->kind == SWIGLU) finish_swiglu(p, sums, m, 16 * panel, rows);
    else if (p->kind == SWIGLU_BACKWARD) finish_swiglu_backward(p, sums, m, BLOCK * panel, rows);
    else finish_outer(p, sums, m, BLOCK * panel, rows);
}

/* Rows [m0, m1) of panels [p0, p1), over one run [k, k + depth) of the first term, and the second term at the end. */
static void add_run(const Product *p, int64_t m0, int64_t m1, int64_t p0, int64_t p1, int64_t k, int64_t depth,
                    const uint16_t *left_tiles, uint16_t *right, float *sums) {
    const int is_first = k == 0, is_last = k + depth >= p->terms[0].depth;
    const Term *second = is_last && p->terms[1].depth ? &p->terms[1] : NULL;
    const int64_t blocks = round_up(m1 - m0, BLOCK) / BLOCK, padded = round_up(depth, 32);
    for (int64_t panel = p0; panel < p1; panel++) {
        lay_out_right(p, &p->terms[0], panel, k, depth, right);
        if (second) lay_out_right(p, second, panel, 0, second->depth, right + padded * BLOCK);
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t m = m0 + b * BLOCK;
            float *at = sums + ((panel - p0) * blocks + b) * BLOCK * BLOCK;
            if (panel + 1 < p1) ask_for_right(p, panel + 1, k, depth, b, blocks);
            if (is_last) ask_for_block(p, m, panel, least(BLOCK, m1 - m));
            open_sums(at, BLOCK, is_first);
            if (left_tiles) add_to_sums(left_tiles + b * padded * BLOCK, 0, right, depth, at, BLOCK);
            else add_to_sums(row_of(&p->terms[0], m) + k, p->terms[0].left_stride, right, depth, at, BLOCK);
            if (second) add_to_sums(row_of(second, m), second->left_stride, right + padded * BLOCK, second->depth, at, BLOCK);
            close_sums(at, BLOCK);
            if (is_last) finish(p, at, m, panel, least(BLOCK, m1 - m));
        }
    }
}

static void lay_out_left(const Product *p, int64_t m0, int64_t m1, int64_t k, int64_t depth, uint16_t *to) {
    const Term *t = &p->terms[0];
    for (int64_t m = m0; m < m1; m += BLOCK, to += round_up(depth, 32) * BLOCK)
        for (int64_t half = 0; half < 2; half++)
            tiles_of_KM(t->left + k * t->left_stride + m + 16 * half, t->left_stride, m1 - m - 16 * half, depth, to + half * TILE);
}

static void multiply(const Product *p) {
    const int64_t panels = p->kind == SWIGLU ? p->N / 16 : round_up(p->N, BLOCK) / BLOCK;
    const int64_t depth = p->terms[0].depth, runs = (depth + DEPTH_BLOCK - 1) / DEPTH_BLOCK;
    const int64_t run = runs ? round_up((depth + runs - 1) / runs, 32) : 0;
#pragma omp parallel
    {
        int64_t threads = 1, thread = 0;
#ifdef _OPENMP
        threads = omp_get_num_threads(), thread = omp_get_thread_num();
#endif
        int64_t chunks = (p->M + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
        const int by_rows = chunks >= threads || panels < 2 * threads;
        if (by_rows) chunks = round_up(chunks, threads);
        const int64_t rows = round_up((p->M + chunks - 1) / chunks, BLOCK);
        const int64_t from = by_rows ? 0 : panels * thread / threads, to = by_rows ? panels : panels * (thread + 1) / threads;
        uint16_t *right = room_for(&right_room, (size_t)(run + p->terms[1].depth) * BLOCK * 2);
        float *sums = room_for(&sums_room, (size_t)(PANELS_AT_ONCE * rows * BLOCK) * 4);
        uint16_t *left = p->kind == OUTER ? room_for(&left_room, (size_t)(rows * run) * 2) : NULL;
        begin_blocks();
        for (int64_t chunk = by_rows ? thread : 0; chunk < chunks; chunk += by_rows ? threads : 1) {
            const int64_t m0 = least(chunk * rows, p->M), m1 = least(m0 + rows, p->M);
            for (int64_t panel = from; panel < to && m0 < m1; panel += PANELS_AT_ONCE)
                for (int64_t k = 0; k < depth; k += run) {
                    if (left) lay_out_left(p, m0, m1, k, least(run, depth - k), left);
                    add_run(p, m0, m1, panel, least(panel + PANELS_AT_ONCE, to), k, least(run, depth - k), left, right, sums);
                }
        }
        end_blocks();
    }
}

/* out [M, N] = left right + left2 right2 + residual; the second pair (depth2 = 0) and the residual may be missing.
 * Left operands are [M, K], right ones [K, N] or [N, K], with rows of the given strides; M, depth and depth2 are
 * multiples of 32. */
void product_bf16(const uint16_t *left, const uint16_t *right, const uint16_t *left2, const uint16_t *right2,
                  const uint16_t *residual, uint16_t *out, int64_t M, int64_t N, int64_t depth, int64_t depth2,
                  int64_t left_stride, int64_t right_stride, int64_t left2_stride, int64_t right2_stride, int64_t right_is_KN) {
    const Product p = {.terms = {{left, right, left_stride, right_stride, depth}, {left2, right2, left2_stride, right2_stride, depth2}},
                       .kind = PLAIN, .M = M, .N = N, .right_is_KN = (int)right_is_KN, .residual = residual, .out = out};
    multiply(&p);
}

/* gate_up [M, 2 I] as a product with [2 I, K], and activated [M, I] = silu(gate) * up; I is a multiple of 16. */
void product_swiglu_bf16(const uint16_t *left, const uint16_t *right, const uint16_t *left2, const uint16_t *right2,
                         uint16_t *gate_up, uint16_t *activated, int64_t M, int64_t I, int64_t depth, int64_t depth2) {
    const Product p = {.terms = {{left, right, depth, depth, depth}, {left2, right2, depth2, depth2, depth2}},
                       .kind = SWIGLU, .M = M, .N = I, .out = gate_up, .activated = activated};
    multiply(&p);
}

/* d_gate_up [M, 2 I] from the gradient of the activation, itself a product with [K, I]; computes the activation again. */
void product_swiglu_backward_bf16(const uint16_t *left, const uint16_t *right, const uint16_t *left2, const uint16_t *right2,
                                  const uint16_t *gate_up, uint16_t *d_gate_up, uint16_t *activated, int64_t M, int64_t I,
                                  int64_t depth, int64_t depth2) {
    const Product p = {.terms = {{left, right, depth, I, depth}, {left2, right2, depth2, I, depth2}},
                       .kind = SWIGLU_BACKWARD, .M = M, .N = I, .right_is_KN = 1, .gate_up = gate_up, .out = d_gate_up,
                       .activated = activated};
    multiply(&p);
}

/* scale * leftᵀ right, of left [T, M] and right [T, N] with rows of the given strides, as float32 or (sums NULL) bfloat16. */
void product_outer_bf16(const uint16_t *left, const uint16_t *right, float *sums, uint16_t *out, int64_t M, int64_t N, int64_t T,
                        int64_t left_stride, int64_t right_stride, float scale) {
    const Product p = {.terms = {{left, right, left_stride, right_stride, T}}, .kind = OUTER, .M = M, .N = N,
                       .right_is_KN = 1, .out = out, .sums = sums, .scale = scale};
    multiply(&p);
}
#else
int64_t products_ready(void) { return 0; }
#endif
