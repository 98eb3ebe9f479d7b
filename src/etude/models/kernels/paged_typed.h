/* A llama-like model's forward pass over a paged cache, for one storage type; kernels.c includes this once for each.
 *
 * One call takes tokens through all layers, whichever rows they belong to: prompts and single steps alike. A page holds
 * PAGE tokens of all layers, [L][keys, values][K], keys as [PAGE, D] and values as [D, PAGE]. Attention works on up to
 * COLUMNS query heads at once, those of neighbouring tokens that belong to one key head; pages that they have in common
 * are read once for all. Functions but the last are called by every thread of a team. */

static void NAME(paged_norm)(const REAL *x, const REAL *w, REAL *out, int64_t T, int64_t E, float eps) {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const REAL *row = x + t * E;
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int64_t e = 0; e < E; e++) squares += LOAD(row[e]) * LOAD(row[e]);
        const float r = 1.0f / sqrtf(squares / (float)E + eps);
#pragma omp simd
        for (int64_t e = 0; e < E; e++) {
            REAL normed = STORE(LOAD(row[e]) * r);
            out[t * E + e] = STORE(LOAD(normed) * LOAD(w[e]));
        }
    }
}

static void NAME(paged_swiglu)(const REAL *gu, REAL *out, int64_t T, int64_t I) {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const REAL *gate = gu + 2 * t * I, *up = gate + I;
#pragma omp simd
        for (int64_t i = 0; i < I; i++) {
            float g = LOAD(gate[i]);
            out[t * I + i] = STORE(g * sigmoid_of(g) * LOAD(up[i]));
        }
    }
}

#if TILED_TYPE && defined(__AVX512BF16__)
#define STEP 32
#define SOME __m512bh
#define LOAD_SOME(from) ((__m512bh)_mm512_loadu_si512(from))
#define ADD_PRODUCT(sum, a, b) ((lanes)_mm512_dpbf16_ps((__m512)(sum), a, b))
#else
#define STEP LANES
#define SOME lanes
#define LOAD_SOME(from) NAME(load_lanes)(from)
#define ADD_PRODUCT(sum, a, b) ((sum) + (a) * (b))
#endif

static inline lanes NAME(load_lanes)(const REAL *from) {
#if TILED_TYPE
    half_words half;
    memcpy(&half, from, sizeof half);
    return (lanes)(__builtin_convertvector(half, words) << 16);
#else
    lanes full;
    memcpy(&full, from, sizeof full);
    return full;
#endif
}

/* sums[i][j] += w[i] . x[j] over n numbers for 4 outputs and `rows` rows; what lies beyond the last is the last. */
static inline __attribute__((always_inline)) void NAME(add_dots)(const REAL *w, const REAL *x, int64_t n,
                                                                 int64_t last_w, int64_t last_x, float sums[4][4],
                                                                 const int rows) {
    const REAL *ws[4], *xs[4];
    lanes part[4][4];
    for (int i = 0; i < 4; i++) ws[i] = w + (i < last_w ? i : last_w) * n;
    for (int j = 0; j < rows; j++) xs[j] = x + (j < last_x ? j : last_x) * n;
    memset(part, 0, sizeof part);
    int64_t at = 0;
    for (; at + STEP <= n; at += STEP) {
        SOME a[4], b[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) a[i] = LOAD_SOME(ws[i] + at);
#pragma GCC unroll 4
        for (int j = 0; j < rows; j++) b[j] = LOAD_SOME(xs[j] + at);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
            for (int j = 0; j < rows; j++) part[i][j] = ADD_PRODUCT(part[i][j], a[i], b[j]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < rows; j++) {
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int lane = 0; lane < LANES; lane++) sum += part[i][j][lane];
            for (int64_t rest = at; rest < n; rest++) sum += LOAD(ws[i][rest]) * LOAD(xs[j][rest]);
            sums[i][j] += sum;
        }
}
#undef STEP
#undef SOME
#undef LOAD_SOME
#undef ADD_PRODUCT

static void NAME(plain_product)(const product *p, const REAL *x, const REAL *low, const REAL *residual, REAL *y,
                                int64_t M) {
    const int64_t I = p->inputs, O = p->outputs, R = low ? p->rank : 0;
    const REAL *bias = p->bias;
#pragma omp for schedule(static)
    for (int64_t o = 0; o < O; o += 4) {
        const REAL *w = (const REAL *)p->weight + o * I, *high = (const REAL *)p->high + o * R;
        if (o + 8 <= O) fetch(w + 4 * I, 4 * I * (int64_t)sizeof(REAL));
        for (int64_t m = 0; m < M; m += 4) {
            float sums[4][4] = {{0.0f}};
            if (M - m == 1) NAME(add_dots)(w, x + m * I, I, O - o - 1, 0, sums, 1);
            else NAME(add_dots)(w, x + m * I, I, O - o - 1, M - m - 1, sums, 4);
            if (R) NAME(add_dots)(high, low + m * R, R, O - o - 1, M - m - 1, sums, 4);
            for (int64_t i = 0; i < 4 && o + i < O; i++)
                for (int64_t j = 0; j < 4 && m + j < M; j++) {
                    const int64_t at = (m + j) * O + o + i;
                    const float added = (bias ? LOAD(bias[o + i]) : 0.0f) + (residual ? LOAD(residual[at]) : 0.0f);
                    y[at] = STORE(sums[i][j] + added);
                }
        }
    }
}

#if !TILED_TYPE
/* x [M, n] in strips of STRIP rows, each [n][STRIP], with zeros beyond the last row. */
static void NAME(pack_strips)(const REAL *x, REAL *packed, int64_t M, int64_t n) {
    const int64_t strips = (M + STRIP - 1) / STRIP;
#pragma omp for schedule(static)
    for (int64_t at = 0; at < strips * n; at++) {
        const int64_t first = at / n * STRIP, k = at % n;
        for (int64_t i = 0; i < STRIP; i++) packed[at * STRIP + i] = first + i < M ? x[(first + i) * n + k] : 0.0f;
    }
}

/* sums[i] += w[i] . the rows of a strip, over n numbers for OUTPUTS outputs; what lies beyond the last is the last. */
static inline __attribute__((always_inline)) void NAME(add_strip)(const REAL *w, const REAL *strip, int64_t n,
                                                                  int64_t last_w, lanes sums[OUTPUTS][2]) {
    const REAL *ws[OUTPUTS];
    lanes part[OUTPUTS][2];
#pragma GCC unroll 8
    for (int i = 0; i < OUTPUTS; i++) ws[i] = w + (i < last_w ? i : last_w) * n;
    memset(part, 0, sizeof part);
    for (int64_t k = 0; k < n; k++) {
        const lanes a = NAME(load_lanes)(strip + k * STRIP), b = NAME(load_lanes)(strip + k * STRIP + LANES);
#pragma GCC unroll 8
        for (int i = 0; i < OUTPUTS; i++) part[i][0] += ws[i][k] * a, part[i][1] += ws[i][k] * b;
    }
#pragma GCC unroll 8
    for (int i = 0; i < OUTPUTS; i++) sums[i][0] += part[i][0], sums[i][1] += part[i][1];
}

/* plain_product for many rows, laid out in strips: OUTPUTS * STRIP sums stay in registers. Strips are taken as many at a
 * time as the second-level cache holds. */
static void NAME(strip_product)(const product *p, const REAL *strips, const REAL *low, const REAL *residual, REAL *y,
                                int64_t M) {
    const int64_t I = p->inputs, O = p->outputs, R = low ? p->rank : 0;
    const REAL *bias = p->bias;
    const int64_t held = STRIPS_BYTES / (I * STRIP * (int64_t)sizeof(REAL)), at_once = (held > 1 ? held : 1) * STRIP;
    for (int64_t from = 0; from < M; from += at_once) {
        const int64_t to = from + at_once < M ? from + at_once : M;
#pragma omp for schedule(static) nowait
        for (int64_t o = 0; o < O; o += OUTPUTS) {
            const REAL *w = (const REAL *)p->weight + o * I, *high = (const REAL *)p->high + o * R;
            if (o + 2 * OUTPUTS <= O) fetch(w + OUTPUTS * I, OUTPUTS * I * (int64_t)sizeof(REAL));
            for (int64_t m = from; m < to; m += STRIP) {
                union { lanes both[OUTPUTS][2]; float of[OUTPUTS][STRIP]; } sums;
                memset(&sums, 0, sizeof sums);
                NAME(add_strip)(w, strips + m * I, I, O - o - 1, sums.both);
                if (R) NAME(add_strip)(high, low + m * R, R, O - o - 1, sums.both);
                for (int64_t j = 0; j < STRIP && m + j < M; j++)
                    for (int64_t i = 0; i < OUTPUTS && o + i < O; i++) {
                        const int64_t at = (m + j) * O + o + i;
                        y[at] = sums.of[i][j] + (bias ? bias[o + i] : 0.0f) + (residual ? residual[at] : 0.0f);
                    }
            }
        }
    }
#pragma omp barrier
}
#endif

/* y [M, O] = the product of x [M, I] + residual, which must not be y. */
static void NAME(linear)(const product *p, const REAL *x, const REAL *residual, REAL *y, int64_t M,
                         const reading *now) {
    const product thin = {p->low, NULL, NULL, NULL, p->inputs, p->rank, 0};
    REAL *low = p->rank ? now->low : NULL;
#if TILES && TILED_TYPE
    if (p->inputs % 32 == 0 && p->outputs >= 32 && tiles_allowed()) {
        uint32_t *packed = now->packed, *packed_low = packed + (M + 15) / 16 * 8 * p->inputs;
        tiles_pack(x, packed, M, p->inputs);
        if (low) {
            tiles_product(&thin, packed, NULL, NULL, low, M);
            tiles_pack(low, packed_low, M, p->rank);
        }
        tiles_product(p, packed, low ? packed_low : NULL, residual, y, M);
        return;
    }
#endif
#if !TILED_TYPE
    if (M >= FEWEST_IN_STRIPS) {
        float *strips = (float *)now->packed, *low_strips = strips + (M + STRIP - 1) / STRIP * STRIP * p->inputs;
        NAME(pack_strips)(x, strips, M, p->inputs);
        if (low) {
            NAME(strip_product)(&thin, strips, NULL, NULL, low, M);
            NAME(pack_strips)(low, low_strips, M, p->rank);
        }
        NAME(strip_product)(p, strips, low ? low_strips : NULL, residual, y, M);
        return;
    }
#endif
    if (low) NAME(plain_product)(&thin, x, NULL, NULL, low, M);
    NAME(plain_product)(p, x, low, residual, y, M);
}

/* Rotates and scales the queries of z [T, W] in place; keys (rotated too) and values go to the pages of layer l. */
static void NAME(paged_store)(REAL *z, const network *net, const reading *now, int64_t l, float scale) {
    const int64_t H = net->H, K = net->K, D = net->D, half = D / 2;
#pragma omp for schedule(static)
    for (int64_t t = 0; t < now->T; t++) {
        const float *c = net->cos + now->position[t] * half, *s = net->sin + now->position[t] * half;
        const int64_t slot = now->last[t] - 1;
        REAL *page = (REAL *)now->page[now->first[t] + now->num_pages[t] - 1] + l * 2 * K * PAGE * D;
        for (int64_t head = 0; head < H + K; head++) {
            REAL *x = z + (t * (H + 2 * K) + head) * D, *to = head < H ? x : page + ((head - H) * PAGE + slot) * D;
            const float factor = head < H ? scale : 1.0f;
#pragma omp simd
            for (int64_t d = 0; d < half; d++) {
                float a = LOAD(x[d]), b = LOAD(x[d + half]);
                to[d] = STORE((a * c[d] - b * s[d]) * factor);
                to[d + half] = STORE((b * c[d] + a * s[d]) * factor);
            }
        }
        const REAL *values = z + (t * (H + 2 * K) + H + K) * D;
        for (int64_t at = 0; at < K * D; at++) page[(K * D + at) * PAGE + slot] = values[at];
    }
}

static void NAME(store_columns)(const columns *my, REAL *const *row, int64_t num, int64_t D) {
#if TILES && TILED_TYPE
    if (tiles_attend(D)) {
        tiles_unpack(my->mixed, my->total, row, num, D);
        return;
    }
#endif
    for (int64_t d = 0; d < D; d++)
        for (int64_t c = 0; c < num; c++) row[c][d] = STORE(my->mixed[d][c] * my->total[c]);
}

static void NAME(load_queries)(const REAL *const *query, columns *my, int64_t D) {
#if TILES && TILED_TYPE
    if (tiles_attend(D)) {
        tiles_pack_queries(query, my->packed, D);
        return;
    }
#endif
    for (int64_t d = 0; d < D; d++)
        for (int c = 0; c < COLUMNS; c++) ((float *)&my->query[d])[c] = LOAD(query[c][d]);
}

static inline __attribute__((always_inline)) void NAME(span_scores)(const REAL *keys, const columns *my,
                                                                    float (*score)[COLUMNS], int64_t D, int64_t first,
                                                                    const int vectors) {
    for (int64_t n = 0; n < PAGE; n += AT_ONCE) {
        lanes dot[AT_ONCE][VECTORS_OF_COLUMNS];
        memset(dot, 0, sizeof dot);
        for (int64_t d = 0; d < D; d++) {
            const float *query = (const float *)&my->query[d] + first;
            const lanes a = load_floats(query), b = vectors > 1 ? load_floats(query + LANES) : a;
#pragma GCC unroll 8
            for (int i = 0; i < AT_ONCE; i++) {
                const float key = LOAD(keys[(n + i) * D + d]);
                dot[i][0] += a * key;
                if (vectors > 1) dot[i][VECTORS_OF_COLUMNS - 1] += b * key;
            }
        }
        for (int i = 0; i < AT_ONCE; i++) memcpy(score[n + i] + first, dot[i], sizeof(lanes) * (size_t)vectors);
    }
}

/* score [PAGE, COLUMNS] of a page's keys [PAGE, D], of some columns at least. */
static inline void NAME(page_scores)(const REAL *keys, const columns *my, float (*score)[COLUMNS], int64_t D, span of) {
#if TILES && TILED_TYPE
    if (tiles_attend(D)) {
        tiles_scores(keys, my->packed, score, D);
        return;
    }
#endif
    if (of.vectors == 1) NAME(span_scores)(keys, my, score, D, of.first, 1);
    else NAME(span_scores)(keys, my, score, D, of.first, VECTORS_OF_COLUMNS);
}

static inline __attribute__((always_inline)) void NAME(span_mix)(const REAL *const *values, const float (*weight)[COLUMNS],
                                                                 float (*mixed)[COLUMNS], int64_t num, int64_t D,
                                                                 int64_t first, const int vectors) {
    for (int64_t next = 0; next < D; next += AT_ONCE) {
        const int64_t d = next + AT_ONCE <= D ? next : D - AT_ONCE; /* the last ones may be computed twice */
        lanes sum[AT_ONCE][VECTORS_OF_COLUMNS];
        memset(sum, 0, sizeof sum);
        for (int64_t n = 0; n < num * PAGE; n++) {
            const REAL *value = values[n / PAGE] + d * PAGE + n % PAGE;
            const lanes a = load_floats(weight[n] + first), b = vectors > 1 ? load_floats(weight[n] + first + LANES) : a;
#pragma GCC unroll 8
            for (int i = 0; i < AT_ONCE; i++) {
                const float x = LOAD(value[i * PAGE]);
                sum[i][0] += a * x;
                if (vectors > 1) sum[i][VECTORS_OF_COLUMNS - 1] += b * x;
            }
        }
        for (int i = 0; i < AT_ONCE; i++) memcpy(mixed[d + i] + first, sum[i], sizeof(lanes) * (size_t)vectors);
    }
}

/* mixed [D, COLUMNS] of the values [D, PAGE] of some pages, weighted, of some columns at least. */
static inline void NAME(mix_pages)(const REAL *const *values, const float (*weight)[COLUMNS],
                                   const uint32_t (*packed)[COLUMNS], float (*mixed)[COLUMNS], int64_t num, int64_t D,
                                   span of) {
#if TILES && TILED_TYPE
    if (tiles_attend(D)) {
        tiles_mix(values, packed, mixed, num, D);
        return;
    }
#endif
    (void)packed;
    if (of.vectors == 1) NAME(span_mix)(values, weight, mixed, num, D, of.first, 1);
    else NAME(span_mix)(values, weight, mixed, num, D, of.first, VECTORS_OF_COLUMNS);
}

/* Adds up to RUN pages of each group of columns to what they have seen; column c sees seen[p][c] tokens of page p. One
 * group is all columns; of several, each has `width` columns and sees[g] pages. */
static void NAME(see_pages)(columns *my, const REAL *keys[COLUMNS][RUN], const int64_t *sees, int64_t groups,
                            int64_t width, const int32_t (*seen)[COLUMNS], int64_t num, int64_t offset, int64_t D) {
    float score[RUN * PAGE][COLUMNS] __attribute__((aligned(64)));
    float mixed[MAX_HEAD][COLUMNS] __attribute__((aligned(64)));
    float own[MAX_HEAD][COLUMNS] __attribute__((aligned(64)));
    float top[COLUMNS], factor[COLUMNS], sum[COLUMNS] = {0.0f};
    uint32_t packed[RUN * PAGE / 2][COLUMNS] __attribute__((aligned(64)));
    const int64_t bytes = PAGE * D * (int64_t)sizeof(REAL);
    for (int64_t g = 0; g < groups; g++) {
        for (int64_t p = 0; g + 1 < groups && p < sees[g + 1]; p++) fetch(keys[g + 1][p], bytes);
        for (int64_t p = 0; p < sees[g]; p++) {
            fetch(keys[g][p] + offset, bytes);
            NAME(page_scores)(keys[g][p], my, groups == 1 ? score + p * PAGE : own, D, span_of(groups, g, width));
            if (groups > 1) copy_columns(own, score + p * PAGE, PAGE, g * width, (g + 1) * width);
        }
    }
    memcpy(top, my->top, sizeof top);
    for (int64_t p = 0; p < num; p++)
        for (int n = 0; n < PAGE; n++)
#pragma omp simd
            for (int c = 0; c < COLUMNS; c++) {
                float *at = &score[p * PAGE + n][c];
                *at = n < seen[p][c] ? *at : NOTHING;
                top[c] = *at > top[c] ? *at : top[c];
            }
    for (int64_t n = 0; n < num * PAGE; n++)
#pragma omp simd
        for (int c = 0; c < COLUMNS; c++) {
            score[n][c] = exp_of(score[n][c] - top[c]);
            sum[c] += score[n][c];
        }
#if TILES && TILED_TYPE
    if (tiles_attend(D)) tiles_pack_weights(score, packed, num * PAGE / 2);
#endif
    for (int64_t g = 0; g < groups; g++) {
        const REAL *values[RUN];
        for (int64_t p = 0; p < sees[g]; p++) values[p] = keys[g][p] + offset;
        NAME(mix_pages)(values, score, packed, groups == 1 ? mixed : own, sees[g], D, span_of(groups, g, width));
        if (groups > 1) copy_columns(own, mixed, D, g * width, (g + 1) * width);
    }
    for (int c = 0; c < COLUMNS; c++) {
        factor[c] = exp_of(my->top[c] - top[c]);
        my->total[c] = my->total[c] * factor[c] + sum[c];
        my->top[c] = top[c];
    }
    for (int64_t d = 0; d < D; d++)
#pragma omp simd
        for (int c = 0; c < COLUMNS; c++) my->mixed[d][c] = my->mixed[d][c] * factor[c] + mixed[d][c];
}

/* Attention of up to COLUMNS / G tokens with one key head, whose part of a page begins `at` numbers into it. */
static void NAME(attend_together)(columns *my, const network *net, const reading *now, const int64_t *token,
                                  int64_t num, int64_t at) {
    const int64_t G = net->H / net->K, D = net->D, offset = net->K * PAGE * D;
    int64_t longest = 0;
    const int64_t common = pages_in_common(now, token, num, &longest);
    for (int64_t start = 0, run; start < now->num_pages[token[longest]]; start += run) {
        const int64_t end = start < common ? common : now->num_pages[token[longest]], groups = start < common ? 1 : num;
        run = end - start < RUN ? end - start : RUN;
        const REAL *keys[COLUMNS][RUN];
        int32_t seen[RUN][COLUMNS] = {{0}};
        int64_t sees[COLUMNS] = {0};
        for (int64_t i = 0; i < num; i++) {
            const int64_t t = token[i], *list = now->page + now->first[t], *filled = now->filled + now->first[t];
            for (int64_t p = 0; p < run && start + p < now->num_pages[t]; p++) {
                const int64_t count = start + p < now->num_pages[t] - 1 ? filled[start + p] : now->last[t];
                const int64_t g = groups == 1 ? 0 : i;
                keys[g][p] = (const REAL *)list[start + p] + at;
                sees[g] = p + 1 > sees[g] ? p + 1 : sees[g];
                for (int64_t c = i * G; c < i * G + G; c++) seen[p][c] = (int32_t)count;
            }
        }
        NAME(see_pages)(my, keys, sees, groups, G, seen, run, offset, D);
    }
}

/* mixed [S, H D]: attention in layer l of the tokens `token` [S], whose queries stand in z [T, W]. */
static void NAME(paged_attend)(const REAL *z, REAL *mixed, const network *net, const reading *now, const int64_t *token,
                               int64_t S, int64_t l) {
    const int64_t H = net->H, K = net->K, D = net->D, G = H / K, at_once = COLUMNS / G;
    const int64_t chunks = (S + at_once - 1) / at_once;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < K * chunks; item++) {
        const int64_t head = item / chunks, s = item % chunks * at_once, num = S - s < at_once ? S - s : at_once;
        const REAL *query[COLUMNS];
        REAL *row[COLUMNS];
        columns my;
        for (int64_t c = 0; c < COLUMNS; c++) {
            const int64_t i = c < num * G ? c / G : 0;
            query[c] = z + (token[s + i] * (H + 2 * K) + head * G + c % G) * D;
            row[c] = mixed + ((s + i) * H + head * G + c % G) * D;
            my.top[c] = NOTHING, my.total[c] = 0.0f;
        }
        memset(my.mixed, 0, (size_t)D * sizeof my.mixed[0]);
        NAME(load_queries)(query, &my, D);
        NAME(attend_together)(&my, net, now, token + s, num, (l * 2 * K + head) * PAGE * D);
        for (int c = 0; c < COLUMNS; c++) my.total[c] = 1.0f / my.total[c];
        NAME(store_columns)(&my, row, num * G, D);
    }
}

/* Reads tokens whose embeddings are x [T, E]: their keys and values enter the pages, and sites leave their logits. The
 * last layer computes no more than the sites need. x is overwritten. */
void NAME(paged_forward)(REAL *x, const network *net, const reading *now, float eps, float scale) {
    const int64_t E = net->E, I = net->I, L = net->L;
#pragma omp parallel
    {
        REAL *this = x, *that = now->spare, *h = now->h, *z = now->z, *wide = now->wide;
        int64_t T = now->T;
        const int64_t *token = now->every;
        tiles_begin();
        for (int64_t l = 0; l < L && T; l++) {
            const layer *its = net->layers + l;
            NAME(paged_norm)(this, its->attention_norm, h, T, E, eps);
            NAME(linear)(&its->qkv, h, NULL, z, T, now);
            NAME(paged_store)(z, net, now, l, scale);
            if (l == L - 1) {
                token = now->site, T = now->S;
#pragma omp for schedule(static)
                for (int64_t s = 0; s < T; s++) memcpy(that + s * E, this + token[s] * E, (size_t)E * sizeof(REAL));
                REAL *sites = that;
                that = this, this = sites;
            }
            NAME(paged_attend)(z, h, net, now, token, T, l);
            NAME(linear)(&its->out, h, this, that, T, now);
            NAME(paged_norm)(that, its->feed_forward_norm, h, T, E, eps);
            NAME(linear)(&its->gate_up, h, NULL, wide, T, now);
            NAME(paged_swiglu)(wide, h, T, I);
            NAME(linear)(&its->down, h, that, this, T, now);
        }
        NAME(paged_norm)(this, net->norm, h, T, E, eps);
        NAME(linear)(&net->head, h, NULL, now->logits, T, now);
        tiles_end();
    }
}
