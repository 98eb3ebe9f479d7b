/* Products of 16-bit matrices on the processor's tiles (AMX): weights are read as they lie, [O, I], and only the other
 * side is packed, [M / 16][I / 2][16] pairs. For every thread of a team. */

#if TILES
static int tiles_attend(int64_t D) { return D % 32 == 0 && tiles_allowed(); }

/* x [M, I] as pairs; rows beyond M are zeros. */
static void tiles_pack(const uint16_t *x, uint32_t *packed, int64_t M, int64_t I) {
#pragma omp for schedule(static)
    for (int64_t at = 0; at < (M + 15) / 16 * (I / 32); at++) {
        const int64_t block = at / (I / 32), i = at % (I / 32) * 32;
        __m512i rows[16];
        for (int64_t m = 0; m < 16; m++)
            rows[m] = block * 16 + m < M ? _mm512_loadu_si512(x + (block * 16 + m) * I + i) : _mm512_setzero_si512();
        transpose_16x16(rows);
        for (int64_t p = 0; p < 16; p++) _mm512_storeu_si512(packed + (block * I / 2 + i / 2 + p) * 16, rows[p]);
    }
}

/* Adds 32 outputs of one or two blocks of 16 rows to tiles 0 to 3. */
static inline void tiles_add(const uint16_t *weight, const uint32_t *packed, int64_t I, int two, int fetch) {
    const uint32_t *next = packed + I / 2 * 16;
    for (int64_t i = 0; i < I; i += 32) {
        if (fetch)
            for (int64_t o = 32; o < 64; o++) _mm_prefetch((const char *)(weight + o * I + i), _MM_HINT_T1);
        _tile_loadd(4, weight + i, I * 2);
        _tile_loadd(5, weight + 16 * I + i, I * 2);
        _tile_loadd(6, packed + i / 2 * 16, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if (!two) continue;
        _tile_loadd(7, next + i / 2 * 16, 64);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* Sums [2][16 outputs, 16 rows] to y, with bias and residual; a row's 32 numbers are written at once. */
static inline void tiles_put(const float (*sums)[256], const product *p, const uint16_t *residual, uint16_t *y,
                             int64_t M, int64_t m, int64_t o) {
    const uint16_t *bias = p->bias;
    __m512i low[16], high[16];
    for (int i = 0; i < 16; i++) {
        low[i] = _mm512_load_si512(sums[0] + 16 * i);
        high[i] = _mm512_load_si512(sums[1] + 16 * i);
    }
    transpose_16x16(low);
    transpose_16x16(high);
    for (int64_t i = 0; i < 16 && m + i < M; i++) {
        const int64_t at = (m + i) * p->outputs + o;
        __m512 first = (__m512)low[i], second = (__m512)high[i];
        if (bias) first = _mm512_add_ps(first, load_16(bias + o)), second = _mm512_add_ps(second, load_16(bias + o + 16));
        if (residual)
            first = _mm512_add_ps(first, load_16(residual + at)), second = _mm512_add_ps(second, load_16(residual + at + 16));
        _mm512_storeu_si512(y + at, (__m512i)_mm512_cvtne2ps_pbh(second, first));
    }
}

/* y [M, O] = x Wᵀ + low highᵀ + bias + residual; where 32 does not divide O, some outputs are made twice. */
static void tiles_product(const product *p, const uint32_t *packed, const uint32_t *low, const uint16_t *residual,
                          uint16_t *y, int64_t M) {
    const int64_t I = p->inputs, O = p->outputs, R = low ? p->rank : 0;
    WRITTEN;
#pragma omp for schedule(static)
    for (int64_t block = 0; block < (O + 31) / 32; block++) {
        const int64_t o = block * 32 + 32 <= O ? block * 32 : O - 32;
        const uint16_t *weight = (const uint16_t *)p->weight + o * I, *high = (const uint16_t *)p->high + o * R;
        float sums[4][256] __attribute__((aligned(64)));
        for (int64_t m = 0; m < M; m += 32) {
            const int two = m + 16 < M;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            tiles_add(weight, packed + m * I / 2, I, two, m == 0 && o + 64 <= O);
            if (R) tiles_add(high, low + m * R / 2, R, two, 0);
            _tile_stored(0, sums[0], 64);
            _tile_stored(1, sums[1], 64);
            _tile_stored(2, sums[2], 64);
            _tile_stored(3, sums[3], 64);
            tiles_put(sums, p, residual, y, M, m, o);
            if (two) tiles_put(sums + 2, p, residual, y, M, m + 16, o);
        }
    }
}

/* Queries of D numbers as pairs, [D / 2][16 columns]. */
static inline void tiles_pack_queries(const uint16_t *const *query, uint32_t (*packed)[COLUMNS], int64_t D) {
    for (int64_t d = 0; d < D; d += 32) {
        __m512i rows[16];
        for (int c = 0; c < 16; c++) rows[c] = _mm512_loadu_si512(query[c] + d);
        transpose_16x16(rows);
        for (int p = 0; p < 16; p++) _mm512_store_si512(packed[d / 2 + p], rows[p]);
    }
}

/* score [32 keys, 16 columns] of a page's keys [32, D]. */
static inline void tiles_scores(const uint16_t *keys, const uint32_t (*queries)[COLUMNS], float (*score)[COLUMNS],
                                int64_t D) {
    WRITTEN;
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t d = 0; d < D; d += 32) {
        _tile_loadd(4, keys + d, D * 2);
        _tile_loadd(5, keys + 16 * D + d, D * 2);
        _tile_loadd(6, queries + d / 2, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
    }
    _tile_stored(0, score, 64);
    _tile_stored(1, score + 16, 64);
}

/* Weights of 2 * num keys as pairs. */
static inline void tiles_pack_weights(const float (*weight)[COLUMNS], uint32_t (*packed)[COLUMNS], int64_t num) {
    for (int64_t n = 0; n < num; n++) {
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(weight[2 * n])));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(weight[2 * n + 1])));
        _mm512_store_si512(packed[n], _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

/* mixed [D, 16 columns] of some pages' values, each [D, 32]. */
static inline void tiles_mix(const uint16_t *const *values, const uint32_t (*weights)[COLUMNS], float (*mixed)[COLUMNS],
                             int64_t num, int64_t D) {
    WRITTEN;
    for (int64_t d = 0; d < D; d += 32) {
        _tile_zero(0);
        _tile_zero(1);
        for (int64_t p = 0; p < num; p++) {
            _tile_loadd(6, weights + p * 16, 64);
            _tile_loadd(4, values[p] + d * 32, 64);
            _tile_loadd(5, values[p] + (d + 16) * 32, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 5, 6);
        }
        _tile_stored(0, mixed + d, 64);
        _tile_stored(1, mixed + d + 16, 64);
    }
}

/* The first `num` columns of mixed [D, 16], times share, to rows of D numbers. */
static inline void tiles_unpack(const float (*mixed)[COLUMNS], const float *share, uint16_t *const *row, int64_t num,
                                int64_t D) {
    const __m512 factor = _mm512_loadu_ps(share);
    for (int64_t d = 0; d < D; d += 16) {
        __m512i rows[16];
        for (int i = 0; i < 16; i++) rows[i] = (__m512i)_mm512_mul_ps(_mm512_load_ps(mixed[d + i]), factor);
        transpose_16x16(rows);
        for (int64_t c = 0; c < num; c++)
            _mm256_storeu_si256((void *)(row[c] + d), (__m256i)_mm512_cvtneps_pbh((__m512)rows[c]));
    }
}
#endif
