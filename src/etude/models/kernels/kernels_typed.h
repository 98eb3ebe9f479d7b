/* The kernels for one storage type; kernels.c includes this once for each. */

void NAME(rms_norm)(const REAL *x, const REAL *w, REAL *out, float *rstd, int64_t T, int64_t E, float eps) {
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const REAL *row = x + t * E;
        REAL *to = out + t * E;
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int64_t e = 0; e < E; e++) squares += LOAD(row[e]) * LOAD(row[e]);
        float r = 1.0f / sqrtf(squares / (float)E + eps);
        rstd[t] = r;
#pragma omp simd
        for (int64_t e = 0; e < E; e++) {
            REAL normed = STORE(LOAD(row[e]) * r);
            to[e] = STORE(LOAD(normed) * LOAD(w[e]));
        }
    }
}

/* dx = residual + the norm's gradient; dw_parts [threads, E] gathers the weight's, or is NULL. */
void NAME(rms_norm_backward)(const REAL *dy, const REAL *x, const REAL *w, const float *rstd, const REAL *residual,
                             REAL *dx, float *dw_parts, int64_t T, int64_t E) {
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const REAL *g = dy + t * E, *row = x + t * E, *add = residual + t * E;
        REAL *to = dx + t * E;
        float r = rstd[t], dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t e = 0; e < E; e++) dot += LOAD(g[e]) * LOAD(w[e]) * LOAD(row[e]);
        float c = dot * r * r / (float)E;
#pragma omp simd
        for (int64_t e = 0; e < E; e++)
            to[e] = STORE(LOAD(add[e]) + r * (LOAD(g[e]) * LOAD(w[e]) - LOAD(row[e]) * c));
        if (dw_parts) {
            float *part = dw_parts + (int64_t)omp_get_thread_num() * E;
#pragma omp simd
            for (int64_t e = 0; e < E; e++) part[e] += LOAD(g[e]) * LOAD(row[e]) * r;
        }
    }
}

/* out [T, I] = silu(gate) * up, both halves of gu [T, 2I]. */
void NAME(swiglu)(const REAL *gu, REAL *out, int64_t T, int64_t I) {
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const REAL *gate = gu + 2 * t * I, *up = gate + I;
        REAL *to = out + t * I;
#pragma omp simd
        for (int64_t i = 0; i < I; i++) {
            float g = LOAD(gate[i]);
            to[i] = STORE(g * sigmoid_of(g) * LOAD(up[i]));
        }
    }
}

/* dgu [T, 2I] from da [T, I]; computes the activation again into `out` too. */
void NAME(swiglu_backward)(const REAL *gu, const REAL *da, REAL *dgu, REAL *out, int64_t T, int64_t I) {
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        const REAL *gate = gu + 2 * t * I, *up = gate + I, *from = da + t * I;
        REAL *dgate = dgu + 2 * t * I, *dup = dgate + I, *to = out + t * I;
#pragma omp simd
        for (int64_t i = 0; i < I; i++) {
            float g = LOAD(gate[i]), u = LOAD(up[i]), d = LOAD(from[i]), s = sigmoid_of(g), silu = g * s;
            to[i] = STORE(silu * u);
            dup[i] = STORE(d * silu);
            dgate[i] = STORE(d * u * (s + silu * (1.0f - s)));
        }
    }
}

/* Rotates queries and keys of z [T, (H + 2K) D] and lays them and the values out as grids; rows of -1 become zeros.
 * cos and sin are [T, D / 2]; queries are multiplied by scale; q may be NULL. */
void NAME(rope_gather)(const REAL *z, const float *cos, const float *sin, const int64_t *rows, REAL *q, REAL *k, REAL *v,
                       int64_t S, int64_t N, int64_t H, int64_t K, int64_t D, float scale) {
    const int64_t G = H / K, half = D / 2, width = (H + 2 * K) * D;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < S * N; slot++) {
        const int64_t s = slot / N, n = slot % N, t = rows[slot];
        for (int64_t head = q ? 0 : H; head < H + 2 * K; head++) {
            REAL *to;
            if (head < H) to = q + ((((head / G) * S + s) * G + head % G) * N + n) * D;
            else to = (head < H + K ? k : v) + (((head - (head < H + K ? H : H + K)) * S + s) * N + n) * D;
            if (t < 0) {
                memset(to, 0, (size_t)D * sizeof(REAL));
                continue;
            }
            const REAL *from = z + t * width + head * D;
            if (head >= H + K) {
                memcpy(to, from, (size_t)D * sizeof(REAL));
                continue;
            }
            const float *c = cos + t * half, *w = sin + t * half;
            const float factor = head < H ? scale : 1.0f;
#pragma omp simd
            for (int64_t d = 0; d < half; d++) {
                float a = LOAD(from[d]), b = LOAD(from[d + half]);
                to[d] = STORE((a * c[d] - b * w[d]) * factor);
                to[d + half] = STORE((b * c[d] + a * w[d]) * factor);
            }
        }
    }
}

/* The reverse: adds the grids' gradients to dz [T, (H + 2K) D]. */
void NAME(rope_scatter)(REAL *dz, const REAL *dq, const REAL *dk, const REAL *dv, const float *cos, const float *sin,
                        const int64_t *rows, int64_t S, int64_t N, int64_t H, int64_t K, int64_t D, float scale) {
    const int64_t G = H / K, half = D / 2, width = (H + 2 * K) * D;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < S * N; slot++) {
        const int64_t s = slot / N, n = slot % N, t = rows[slot];
        if (t < 0) continue;
        for (int64_t head = dq ? 0 : H; head < H + 2 * K; head++) {
            const REAL *from;
            if (head < H) from = dq + ((((head / G) * S + s) * G + head % G) * N + n) * D;
            else from = (head < H + K ? dk : dv) + (((head - (head < H + K ? H : H + K)) * S + s) * N + n) * D;
            REAL *to = dz + t * width + head * D;
            if (head >= H + K) {
#pragma omp simd
                for (int64_t d = 0; d < D; d++) to[d] = STORE(LOAD(to[d]) + LOAD(from[d]));
                continue;
            }
            const float *c = cos + t * half, *w = sin + t * half;
            const float factor = head < H ? scale : 1.0f;
#pragma omp simd
            for (int64_t d = 0; d < half; d++) {
                float a = LOAD(from[d]) * factor, b = LOAD(from[d + half]) * factor;
                to[d] = STORE(LOAD(to[d]) + a * c[d] + b * w[d]);
                to[d + half] = STORE(LOAD(to[d + half]) + b * c[d] - a * w[d]);
            }
        }
    }
}

/* x [T, H D] to a query grid; rows of -1 become zeros. */
void NAME(rows_gather)(const REAL *x, const int64_t *rows, REAL *grid, int64_t S, int64_t N, int64_t H, int64_t K,
                       int64_t D) {
    const int64_t G = H / K;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < S * N; slot++) {
        const int64_t s = slot / N, n = slot % N, t = rows[slot];
        for (int64_t head = 0; head < H; head++) {
            REAL *to = grid + ((((head / G) * S + s) * G + head % G) * N + n) * D;
            if (t < 0) memset(to, 0, (size_t)D * sizeof(REAL));
            else memcpy(to, x + (t * H + head) * D, (size_t)D * sizeof(REAL));
        }
    }
}

/* The reverse, adding two grids (`above` may be NULL); rows of -1 are left out. */
void NAME(rows_scatter)(const REAL *own, const REAL *above, const int64_t *rows, REAL *x, int64_t S, int64_t N, int64_t H,
                        int64_t K, int64_t D) {
    const int64_t G = H / K;
#pragma omp parallel for schedule(static)
    for (int64_t slot = 0; slot < S * N; slot++) {
        const int64_t s = slot / N, n = slot % N, t = rows[slot];
        if (t < 0) continue;
        for (int64_t head = 0; head < H; head++) {
            const int64_t at = ((((head / G) * S + s) * G + head % G) * N + n) * D;
            REAL *to = x + (t * H + head) * D;
            if (!above) {
                memcpy(to, own + at, (size_t)D * sizeof(REAL));
                continue;
            }
#pragma omp simd
            for (int64_t d = 0; d < D; d++) to[d] = STORE(LOAD(own[at + d]) + LOAD(above[at + d]));
        }
    }
}

/* One softmax over a row's ancestors, above [rows, A], and its own segment up to itself, own [rows, N]; in place.
 * Row r stands for the query at r % N of its segment. */
void NAME(tree_softmax)(REAL *own, REAL *above, int64_t R, int64_t N, int64_t A) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        REAL *o = own + r * N, *a = above ? above + r * A : NULL;
        const int64_t seen = r % N + 1;
        float top = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < seen; i++) top = LOAD(o[i]) > top ? LOAD(o[i]) : top;
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < A; i++) top = LOAD(a[i]) > top ? LOAD(a[i]) : top;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < seen; i++) total += exp_of(LOAD(o[i]) - top);
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < A; i++) total += exp_of(LOAD(a[i]) - top);
        const float share = 1.0f / total;
#pragma omp simd
        for (int64_t i = 0; i < seen; i++) o[i] = STORE(exp_of(LOAD(o[i]) - top) * share);
        memset(o + seen, 0, (size_t)(N - seen) * sizeof(REAL));
#pragma omp simd
        for (int64_t i = 0; i < A; i++) a[i] = STORE(exp_of(LOAD(a[i]) - top) * share);
    }
}

/* d_own and d_above, in place, from gradients of the weights to gradients of the scores. */
void NAME(tree_softmax_backward)(const REAL *own, const REAL *above, REAL *d_own, REAL *d_above, int64_t R, int64_t N,
                                 int64_t A) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const REAL *o = own + r * N, *a = above ? above + r * A : NULL;
        REAL *od = d_own + r * N, *ad = d_above ? d_above + r * A : NULL;
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < N; i++) dot += LOAD(o[i]) * LOAD(od[i]);
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < A; i++) dot += LOAD(a[i]) * LOAD(ad[i]);
#pragma omp simd
        for (int64_t i = 0; i < N; i++) od[i] = STORE((LOAD(od[i]) - dot) * LOAD(o[i]));
#pragma omp simd
        for (int64_t i = 0; i < A; i++) ad[i] = STORE((LOAD(ad[i]) - dot) * LOAD(a[i]));
    }
}

/* Natural log of the softmax of logits [C, V] at each row's target, and each row's normalizer. */
void NAME(log_softmax_at)(const REAL *logits, const int64_t *target, float *at_target, float *normalizer, int64_t C,
                          int64_t V) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < C; c++) {
        const REAL *row = logits + c * V;
        float top = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < V; i++) top = LOAD(row[i]) > top ? LOAD(row[i]) : top;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < V; i++) total += exp_of(LOAD(row[i]) - top);
        normalizer[c] = top + logf(total);
        at_target[c] = LOAD(row[target[c]]) - normalizer[c];
    }
}

/* Logits become the gradient of sum_c grad[c] * log softmax(logits[c])[target[c]], in place. */
void NAME(log_softmax_gradient)(REAL *logits, const int64_t *target, const float *normalizer, const float *grad,
                                int64_t C, int64_t V) {
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < C; c++) {
        REAL *row = logits + c * V;
        const float g = grad[c], z = normalizer[c];
        const float hit = g * (1.0f - expf(LOAD(row[target[c]]) - z));
#pragma omp simd
        for (int64_t i = 0; i < V; i++) row[i] = STORE(-g * exp_of(LOAD(row[i]) - z));
        row[target[c]] = STORE(hit);
    }
}

/* One update of AdamW (https://arxiv.org/abs/1711.05101) on n numbers: float masters and moments, and the weights that the
 * model computes with, in one pass over memory. c1 and c2 undo the moments' start at zero. */
void NAME(adamw)(const REAL *grad, REAL *weight, float *master, float *first, float *second, int64_t n, float grad_scale,
                 float rate, float beta1, float beta2, float eps, float decay, float c1, float c2) {
    const float keep = 1.0f - rate * decay, step = rate / c1, root = 1.0f / sqrtf(c2);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const float g = LOAD(grad[i]) * grad_scale;
        const float m = first[i] + (1.0f - beta1) * (g - first[i]), v = beta2 * second[i] + (1.0f - beta2) * g * g;
        const float w = master[i] * keep - step * m / (sqrtf(v) * root + eps);
        first[i] = m;
        second[i] = v;
        master[i] = w;
        weight[i] = STORE(w);
    }
}

/* The squares of x summed in equal parts, in an order that does not depend on the number of threads. */
void NAME(sums_of_squares)(const REAL *x, float *sums, int64_t n, int64_t chunks) {
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = n * chunk / chunks; i < n * (chunk + 1) / chunks; i++) sum += LOAD(x[i]) * LOAD(x[i]);
        sums[chunk] = sum;
    }
}

/* Two 4-bit codes a byte of n numbers, the first in the high half, and the largest magnitude of each 64; a last block
   that is not full goes on with zeros. A magnitude that is no number stays one. */
void NAME(to_nf4)(const REAL *weight, uint8_t *code, float *scale, int64_t n) {
    int64_t blocks = (n + 63) / 64;
    float middle[15];
    for (int level = 0; level < 15; level++) middle[level] = (NF4[level + 1] + NF4[level]) / 2;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        float x[64] = {0}, top = 0.0f;
        int32_t above[64] = {0};
        int64_t length = n - block * 64 < 64 ? n - block * 64 : 64;
        for (int64_t i = 0; i < length; i++) x[i] = LOAD(weight[block * 64 + i]);
        for (int i = 0; i < 64; i++) top = fabsf(x[i]) > top || x[i] != x[i] ? fabsf(x[i]) : top;
        scale[block] = top;
        for (int i = 0; i < 64; i++) x[i] /= top > FLT_MIN ? top : FLT_MIN;
        for (int level = 0; level < 15; level++)
            for (int i = 0; i < 64; i++) above[i] += x[i] > middle[level];
        for (int i = 0; i < 32; i++) code[block * 32 + i] = (uint8_t)(above[2 * i] << 4 | above[2 * i + 1]);
    }
}

/* A weight of n numbers spelled out from two 4-bit codes a byte, the first in the high half, and a scale for 64. */
void NAME(from_nf4)(REAL *out, const uint8_t *code, const float *scale, int64_t n) {
    int64_t blocks = (n + 63) / 64;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < blocks; block++) {
        REAL level[32];
        for (int i = 0; i < 32; i++) level[i] = STORE(NF4[i & 15] * scale[block]);
        const uint8_t *from = code + block * 32;
        REAL *to = out + block * 64;
        int64_t length = n - block * 64 < 64 ? n - block * 64 : 64;
#if TILED_TYPE && VECTORS
        if (length == 64) {
            __m512i table = _mm512_loadu_si512(level);
            __m512i both = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)from));
            __m512i first = _mm512_permutexvar_epi16(_mm512_srli_epi16(both, 4), table);
            __m512i second = _mm512_permutexvar_epi16(_mm512_and_si512(both, _mm512_set1_epi16(15)), table);
            for (int half = 0; half < 2; half++) {
                __m256i one = half ? _mm512_extracti64x4_epi64(first, 1) : _mm512_castsi512_si256(first);
                __m256i other = half ? _mm512_extracti64x4_epi64(second, 1) : _mm512_castsi512_si256(second);
                __m512i pairs = _mm512_or_si512(
                    _mm512_cvtepu16_epi32(one), _mm512_slli_epi32(_mm512_cvtepu16_epi32(other), 16));
                _mm512_storeu_si512(to + 32 * half, pairs);
            }
            continue;
        }
#endif
        for (int64_t i = 0; i < length; i++) to[i] = level[i & 1 ? from[i / 2] & 15 : from[i / 2] >> 4];
    }
}
