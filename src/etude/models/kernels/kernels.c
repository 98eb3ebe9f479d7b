/* What a decoder block does between its matrix products, in one pass over memory each, for float and bfloat16.
 *
 * Sums and exponentials are float whatever the storage. Letters: T tokens, E hidden size, I intermediate size,
 * H query heads, K key/value heads, G = H / K, D head size, S segments of a group, N their padded length,
 * A ancestor tokens, C sites, V vocabulary. Grids are [K, S, G, N, D] for queries and [K, S, N, D] for keys and values.
 */
#if defined(__AVX512F__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
#endif

/* Memory that a step frees is kept for the next one: given back, each page costs a fault when it is wanted again. */
void keep_freed_memory(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

/* What was freed until now goes back to the system after all. */
void give_back_memory(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static inline float bits_to_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline uint32_t float_to_bits(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }
static inline float load_bf16(uint16_t x) { return bits_to_float((uint32_t)x << 16); }

/* Round to nearest, ties to even, as the processor does; NaN stays NaN. */
static inline uint16_t store_bf16(float x) {
    uint32_t bits = float_to_bits(x);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return x != x ? 0x7fc0 : (uint16_t)rounded;
}

/* e^x to 2 units in the last place, without a call so that loops become vector code; 0 below -87. */
static inline float exp_of(float x) {
    float y = x > 88.0f ? 88.0f : x;
    float n = floorf(y * 1.44269504f + 0.5f);
    float f = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
    float clamped = n < -126.0f ? -126.0f : n;
    float scaled = p * bits_to_float((uint32_t)((int32_t)clamped + 127) << 23);
    return y < -87.0f ? 0.0f : scaled;
}

static inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }

/* Quantiles of a normal distribution scaled to one (https://arxiv.org/abs/2305.14314, appendix E). */
static const float NF4[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
};

#include "registers.h"
#include "paged.h"
#include "tiles.h"

#define REAL float
#define TILED_TYPE 0
#define LOAD(x) (x)
#define STORE(x) (x)
#define NAME(name) name##_f32
#include "kernels_typed.h"
#include "paged_typed.h"
#include "choice.h"
#undef TILED_TYPE
#undef REAL
#undef LOAD
#undef STORE
#undef NAME

#define REAL uint16_t
#define TILED_TYPE 1
#define LOAD(x) load_bf16(x)
#define STORE(x) store_bf16(x)
#define NAME(name) name##_bf16
#include "kernels_typed.h"
#include "paged_typed.h"
#include "choice.h"

#include "products.h"
#include "attention.h"
