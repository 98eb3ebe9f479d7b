/* Attention over a packed prefix tree in blocks of 32 queries by 32 keys forward and backward, in
 * memory that grows with the tokens alone (https://arxiv.org/abs/2205.14135). Each thread takes whole query heads.
 *
 * Letters: T tokens, H query heads, K key/value heads, D head size (a multiple of 32), W = (H + 2 K) D, S segments.
 * A block is 32 tokens of one segment or fewer; `tree` is [S, 4]: first token, one past the last, parent (or -1), first block.
 */
#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

typedef struct {
    const uint16_t *z;
    const float *cos, *sin;
    const int64_t *tree;
    int64_t T, S, H, K, D, W, blocks;
    float scale;
} Forest;

static inline int64_t first_token(const Forest *f, int64_t s) { return f->tree[4 * s]; }
static inline int64_t last_token(const Forest *f, int64_t s) { return f->tree[4 * s + 1]; }
static inline int64_t parent_of(const Forest *f, int64_t s) { return f->tree[4 * s + 2]; }
static inline int64_t first_block(const Forest *f, int64_t s) { return f->tree[4 * s + 3]; }
static inline int64_t blocks_of(const Forest *f, int64_t s) { return (last_token(f, s) - first_token(f, s) + BLOCK - 1) / BLOCK; }

/* The rows of one head of x as a block [32, D], rotated and scaled if `cos` is given; missing rows are zeros. */
static void block_rows(const uint16_t *x, int64_t stride, int64_t D, int64_t rows, const float *cos, const float *sin, float scale,
                       uint16_t *to) {
    const int64_t half = D / 2;
    for (int64_t i = 0; i < rows; i++, x += stride, to += D) {
        if (!cos) {
            memcpy(to, x, (size_t)D * 2);
            continue;
        }
        const float *c = cos + i * half, *w = sin + i * half;
#pragma omp simd
        for (int64_t d = 0; d < half; d++) {
            float a = load_bf16(x[d]), b = load_bf16(x[d + half]);
            to[d] = store_bf16((a * c[d] - b * w[d]) * scale);
            to[d + half] = store_bf16((b * c[d] + a * w[d]) * scale);
        }
    }
    memset(to, 0, (size_t)((BLOCK - rows) * D) * 2);
}

/* A block [32, D] as right operand [K, N] = [D, 32]: products over D. */
static void lay_out_over_D(const uint16_t *block, int64_t D, uint16_t *to) {
    tiles_of_NK(block, D, 16, D, to);
    tiles_of_NK(block + 16 * D, D, 16, D, to + TILE);
}

/* A block [32, D] as right operand [K, N] = [32, D], a pair of tiles for every 32 columns: products over its rows. */
static void lay_out_over_rows(const uint16_t *block, int64_t D, uint16_t *to) {
    for (int64_t d = 0; d < D; d += 32) {
        tiles_of_KN(block + d, D, 16, BLOCK, to + BLOCK * d);
        tiles_of_KN(block + d + 16, D, 16, BLOCK, to + BLOCK * d + TILE);
    }
}

/* sums [32, 32] = left [32, D] right over D. */
static inline void scores_of(const uint16_t *left, const uint16_t *right, int64_t D, float *sums) {
    open_sums(sums, BLOCK, 1);
    add_to_sums(left, D, right, D, sums, BLOCK);
    close_sums(sums, BLOCK);
}

/* sums [32, D] += left [32, 32] right over 32 rows; the left operand has rows of 32, or is two tiles (stride 0). */
static inline void add_mixed(const uint16_t *left, int64_t stride, const uint16_t *right, int64_t D, float *sums) {
    for (int64_t d = 0; d < D; d += 32) {
        open_sums(sums + d, D, 0);
        add_to_sums(left, stride, right + BLOCK * d, 32, sums + d, D);
        close_sums(sums + d, D);
    }
}

/* A row of sums, scaled down where a larger maximum was found. */
static inline void shrink_row(float *x, int64_t D, float by) {
    for (int64_t d = 0; d < D; d += 16) _mm512_store_ps(x + d, _mm512_mul_ps(_mm512_load_ps(x + d), _mm512_set1_ps(by)));
}

/* The running softmax of 32 queries over one block of keys: weights [32, 32], and what was summed before is scaled down. */
static void soften(const float *scores, uint16_t *weights, float *top, float *total, float *mixed, int64_t D, int64_t keys,
                   int diagonal) {
    const __m512 nothing = _mm512_set1_ps(-INFINITY);
    for (int64_t i = 0; i < BLOCK; i++) {
        const int64_t seen = diagonal ? least(i + 1, keys) : keys;
        const __m512 a = _mm512_mask_load_ps(nothing, first_of_16(seen), scores + i * BLOCK);
        const __m512 b = _mm512_mask_load_ps(nothing, first_of_16(seen - 16), scores + i * BLOCK + 16);
        const float most = fmaxf(_mm512_reduce_max_ps(_mm512_max_ps(a, b)), top[i]);
        const __m512 ea = exp_16(_mm512_sub_ps(a, _mm512_set1_ps(most))), eb = exp_16(_mm512_sub_ps(b, _mm512_set1_ps(most)));
        store_16(weights + i * BLOCK, ea);
        store_16(weights + i * BLOCK + 16, eb);
        if (most > top[i]) {
            const float by = top[i] == -INFINITY ? 0.0f : exp_of(top[i] - most);
            total[i] *= by;
            shrink_row(mixed + i * D, D, by);
            top[i] = most;
        }
        total[i] += _mm512_reduce_add_ps(_mm512_add_ps(ea, eb));
    }
}

static void forward_block(const Forest *f, int64_t h, int64_t s, int64_t b, const uint16_t *over_D, const uint16_t *over_rows,
                          uint16_t *out, float *normalizer) {
    const int64_t D = f->D, size = BLOCK * D, t = first_token(f, s) + b * BLOCK, rows = least(BLOCK, last_token(f, s) - t);
    uint16_t q[BLOCK * 128] __attribute__((aligned(64))), weights[BLOCK * BLOCK] __attribute__((aligned(64)));
    float scores[BLOCK * BLOCK] __attribute__((aligned(64))), mixed[BLOCK * 128] __attribute__((aligned(64)));
    float top[BLOCK], total[BLOCK];
    block_rows(f->z + t * f->W + h * D, f->W, D, rows, f->cos + t * D / 2, f->sin + t * D / 2, f->scale, q);
    memset(mixed, 0, (size_t)size * 4);
    for (int64_t i = 0; i < BLOCK; i++) top[i] = -INFINITY, total[i] = 0.0f;
    for (int64_t at = s; at >= 0; at = parent_of(f, at)) {
        const int64_t last = at == s ? b : blocks_of(f, at) - 1;
        for (int64_t k = 0; k <= last; k++) {
            const int64_t block = first_block(f, at) + k;
            const int64_t keys = least(BLOCK, last_token(f, at) - first_token(f, at) - k * BLOCK);
            scores_of(q, over_D + block * size, D, scores);
            soften(scores, weights, top, total, mixed, D, keys, at == s && k == b);
            add_mixed(weights, BLOCK, over_rows + block * size, D, mixed);
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        uint16_t *to = out + (t + i) * f->H * D + h * D;
        const float share = 1.0f / total[i];
        normalizer[h * f->T + t + i] = top[i] + logf(total[i]);
#pragma omp simd
        for (int64_t d = 0; d < D; d++) to[d] = store_bf16(mixed[i * D + d] * share);
    }
}

static __thread Room layouts_room;

/* out [T, H D] and the log of each softmax's normalizer [H, T] from joined z [T, W]; cos and sin are [T, D / 2]. */
void tree_attention_bf16(const uint16_t *z, const float *cos, const float *sin, const int64_t *tree, uint16_t *out,
                         float *normalizer, int64_t T, int64_t S, int64_t H, int64_t K, int64_t D, int64_t blocks, float scale) {
    const Forest f = {z, cos, sin, tree, T, S, H, K, D, (H + 2 * K) * D, blocks, scale};
    const int64_t size = BLOCK * D;
#pragma omp parallel
    {
        uint16_t *over_D = room_for(&layouts_room, (size_t)(2 * blocks * size) * 2), *over_rows = over_D + blocks * size;
        uint16_t rows[BLOCK * 128] __attribute__((aligned(64)));
        int64_t laid_out = -1;
        begin_blocks();
#pragma omp for schedule(static)
        for (int64_t h = 0; h < H; h++) {
            const int64_t head = h / (H / K);
            for (int64_t s = 0; s < S && head != laid_out; s++)
                for (int64_t b = 0; b < blocks_of(&f, s); b++) {
                    const int64_t t = first_token(&f, s) + b * BLOCK, num = least(BLOCK, last_token(&f, s) - t);
                    const uint16_t *k = z + t * f.W + (H + head) * D;
                    block_rows(k, f.W, D, num, cos + t * D / 2, sin + t * D / 2, 1.0f, rows);
                    lay_out_over_D(rows, D, over_D + (first_block(&f, s) + b) * size);
                    block_rows(k + K * D, f.W, D, num, NULL, NULL, 1.0f, rows);
                    lay_out_over_rows(rows, D, over_rows + (first_block(&f, s) + b) * size);
                }
            laid_out = head;
            for (int64_t s = 0; s < S; s++)
                for (int64_t b = 0; b < blocks_of(&f, s); b++) forward_block(&f, h, s, b, over_D, over_rows, out, normalizer);
        }
        end_blocks();
    }
}

/* What the backward pass of one head reads and adds to: blocks laid out for the products, and float32 gradients [.., 32, D]. */
typedef struct {
    uint16_t *k, *k_over_rows, *v;
    float *dk, *dv;
} Keys;

static void lay_out_keys(const Forest *f, int64_t head, const Keys *keys) {
    const int64_t D = f->D, size = BLOCK * D;
    for (int64_t s = 0; s < f->S; s++)
        for (int64_t b = 0; b < blocks_of(f, s); b++) {
            const int64_t t = first_token(f, s) + b * BLOCK, num = least(BLOCK, last_token(f, s) - t);
            const int64_t at = (first_block(f, s) + b) * size;
            const uint16_t *k = f->z + t * f->W + (f->H + head) * D;
            block_rows(k, f->W, D, num, f->cos + t * D / 2, f->sin + t * D / 2, 1.0f, keys->k + at);
            lay_out_over_rows(keys->k + at, D, keys->k_over_rows + at);
            block_rows(k + f->K * D, f->W, D, num, NULL, NULL, 1.0f, keys->v + at);
        }
}

/* From transposed scores and gradients of the weights, [keys, queries], to weights and gradients of the scores. */
static void soften_backward(const float *scores, const float *d_weights, const float *normalizer, const float *dot,
                            uint16_t *weights, uint16_t *d_scores, int64_t keys, int diagonal) {
    for (int64_t j = 0; j < BLOCK; j++) {
        const int64_t from = j >= keys ? BLOCK : diagonal ? j : 0;
        for (int64_t half = 0; half < 2; half++) {
            const int64_t at = j * BLOCK + 16 * half, i = 16 * half;
            const __mmask16 seen = (__mmask16)~first_of_16(from - i);
            const __m512 x = _mm512_sub_ps(_mm512_load_ps(scores + at), _mm512_load_ps(normalizer + i));
            const __m512 w = _mm512_maskz_mov_ps(seen, exp_16(x));
            store_16(weights + at, w);
            store_16(d_scores + at, _mm512_mul_ps(w, _mm512_sub_ps(_mm512_load_ps(d_weights + at), _mm512_load_ps(dot + i))));
        }
    }
}

/* Gradients [rows, D] turned back and scaled, in rows of the given stride. */
static void write_gradient(const float *from, int64_t D, int64_t rows, const float *cos, const float *sin, float scale, uint16_t *to,
                           int64_t stride) {
    const int64_t half = D / 2;
    for (int64_t i = 0; i < rows; i++, from += D, to += stride) {
        const float *c = cos + i * half, *w = sin + i * half;
#pragma omp simd
        for (int64_t d = 0; d < half; d++) {
            float a = from[d] * scale, b = from[d + half] * scale;
            to[d] = store_bf16(a * c[d] + b * w[d]);
            to[d + half] = store_bf16(b * c[d] - a * w[d]);
        }
    }
}

static void backward_block(const Forest *f, int64_t h, int64_t s, int64_t b, const Keys *keys, const uint16_t *out,
                           const uint16_t *d_out, const float *normalizer, uint16_t *dz) {
    const int64_t D = f->D, size = BLOCK * D, t = first_token(f, s) + b * BLOCK, rows = least(BLOCK, last_token(f, s) - t);
    uint16_t block[BLOCK * 128] __attribute__((aligned(64)));
    uint16_t q_over_D[BLOCK * 128] __attribute__((aligned(64))), q_over_rows[BLOCK * 128] __attribute__((aligned(64)));
    uint16_t g_over_D[BLOCK * 128] __attribute__((aligned(64))), g_over_rows[BLOCK * 128] __attribute__((aligned(64)));
    uint16_t weights[BLOCK * BLOCK] __attribute__((aligned(64))), d_scores[BLOCK * BLOCK] __attribute__((aligned(64)));
    uint16_t d_scores_tiles[BLOCK * BLOCK] __attribute__((aligned(64)));
    float scores[BLOCK * BLOCK] __attribute__((aligned(64))), d_weights[BLOCK * BLOCK] __attribute__((aligned(64)));
    float dq[BLOCK * 128] __attribute__((aligned(64)));
    float dot[BLOCK] __attribute__((aligned(64))), z[BLOCK] __attribute__((aligned(64)));
    block_rows(f->z + t * f->W + h * D, f->W, D, rows, f->cos + t * D / 2, f->sin + t * D / 2, f->scale, block);
    lay_out_over_D(block, D, q_over_D);
    lay_out_over_rows(block, D, q_over_rows);
    block_rows(d_out + (t * f->H + h) * D, f->H * D, D, rows, NULL, NULL, 1.0f, block);
    lay_out_over_D(block, D, g_over_D);
    lay_out_over_rows(block, D, g_over_rows);
    for (int64_t i = 0; i < BLOCK; i++) {
        const uint16_t *o = out + ((t + (i < rows ? i : 0)) * f->H + h) * D;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < D; d++) sum += load_bf16(block[i * D + d]) * load_bf16(o[d]);
        dot[i] = sum;
        z[i] = i < rows ? normalizer[h * f->T + t + i] : INFINITY;
    }
    memset(dq, 0, (size_t)size * 4);
    for (int64_t at = s; at >= 0; at = parent_of(f, at)) {
        const int64_t last = at == s ? b : blocks_of(f, at) - 1;
        for (int64_t k = 0; k <= last; k++) {
            const int64_t place = (first_block(f, at) + k) * size;
            const int64_t num = least(BLOCK, last_token(f, at) - first_token(f, at) - k * BLOCK);
            scores_of(keys->k + place, q_over_D, D, scores);
            scores_of(keys->v + place, g_over_D, D, d_weights);
            soften_backward(scores, d_weights, z, dot, weights, d_scores, num, at == s && k == b);
            add_mixed(weights, BLOCK, g_over_rows, D, keys->dv + place);
            add_mixed(d_scores, BLOCK, q_over_rows, D, keys->dk + place);
            tiles_of_KM(d_scores, BLOCK, 16, BLOCK, d_scores_tiles);
            tiles_of_KM(d_scores + 16, BLOCK, 16, BLOCK, d_scores_tiles + TILE);
            add_mixed(d_scores_tiles, 0, keys->k_over_rows + place, D, dq);
        }
    }
    write_gradient(dq, D, rows, f->cos + t * D / 2, f->sin + t * D / 2, f->scale, dz + t * f->W + h * D, f->W);
}

/* The heads' gradients of keys and values, sums [H, 2, blocks, 32, D], added over the heads that share them. */
static void write_key_gradients(const Forest *f, int64_t head, int64_t s, const float *sums, uint16_t *dz) {
    const int64_t D = f->D, size = BLOCK * D, group = f->H / f->K, all = f->blocks * size;
    float total[BLOCK * 128];
    for (int64_t b = 0; b < blocks_of(f, s); b++) {
        const int64_t t = first_token(f, s) + b * BLOCK, rows = least(BLOCK, last_token(f, s) - t);
        for (int64_t which = 0; which < 2; which++) {
            const float *from = sums + (head * group * 2 + which) * all + (first_block(f, s) + b) * size;
            memcpy(total, from, (size_t)(rows * D) * 4);
            for (int64_t g = 1; g < group; g++)
#pragma omp simd
                for (int64_t i = 0; i < rows * D; i++) total[i] += from[2 * g * all + i];
            uint16_t *to = dz + t * f->W + (f->H + which * f->K + head) * D;
            if (which == 0) {
                write_gradient(total, D, rows, f->cos + t * D / 2, f->sin + t * D / 2, 1.0f, to, f->W);
                continue;
            }
            for (int64_t i = 0; i < rows; i++)
#pragma omp simd
                for (int64_t d = 0; d < D; d++) to[i * f->W + d] = store_bf16(total[i * D + d]);
        }
    }
}

/* dz [T, W] of all tokens in the tree; sums is scratch of H * 2 * blocks * 32 * D numbers. */
void tree_attention_backward_bf16(const uint16_t *z, const float *cos, const float *sin, const int64_t *tree, const uint16_t *out,
                                  const uint16_t *d_out, const float *normalizer, float *sums, uint16_t *dz, int64_t T, int64_t S,
                                  int64_t H, int64_t K, int64_t D, int64_t blocks, float scale) {
    const Forest f = {z, cos, sin, tree, T, S, H, K, D, (H + 2 * K) * D, blocks, scale};
    const int64_t all = blocks * BLOCK * D;
#pragma omp parallel
    {
        uint16_t *layouts = room_for(&layouts_room, (size_t)(3 * all) * 2);
        int64_t laid_out = -1;
        begin_blocks();
#pragma omp for schedule(static)
        for (int64_t h = 0; h < H; h++) {
            const Keys keys = {layouts, layouts + all, layouts + 2 * all, sums + 2 * h * all, sums + (2 * h + 1) * all};
            if (h / (H / K) != laid_out) lay_out_keys(&f, h / (H / K), &keys);
            laid_out = h / (H / K);
            memset(keys.dk, 0, (size_t)(2 * all) * 4);
            for (int64_t s = 0; s < S; s++)
                for (int64_t b = 0; b < blocks_of(&f, s); b++) backward_block(&f, h, s, b, &keys, out, d_out, normalizer, dz);
        }
        end_blocks();
#pragma omp for schedule(static) collapse(2)
        for (int64_t head = 0; head < K; head++)
            for (int64_t s = 0; s < S; s++) write_key_gradients(&f, head, s, sums, dz);
    }
}
#endif
