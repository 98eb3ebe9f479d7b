/* From logits to tokens for one storage type; kernels.c includes this once for each. V vocabulary, R rows. */

static inline float NAME(weigh)(const REAL *row, int64_t start, int64_t stop, float top, float sharpness) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = start; i < stop; i++) sum += exp_of((LOAD(row[i]) - top) * sharpness);
    return sum;
}

/* The token at which the running sum of weights, in the order of ids, passes uniform times their total. */
static int64_t NAME(draw)(const REAL *row, int64_t V, float top, float sharpness, double uniform) {
    enum { BLOCK = 512 };
    double total = 0.0, running = 0.0;
    for (int64_t start = 0; start < V; start += BLOCK)
        total += NAME(weigh)(row, start, start + BLOCK < V ? start + BLOCK : V, top, sharpness);
    /* Below the total even after rounding, so that the search always ends on a token with weight. */
    const double target = uniform * total < total ? uniform * total : nextafter(total, 0.0);
    int64_t start = 0, drawn = 0;
    for (; start < V; start += BLOCK) {
        const float of_block = NAME(weigh)(row, start, start + BLOCK < V ? start + BLOCK : V, top, sharpness);
        if (running + of_block > target) break;
        running += of_block;
    }
    for (int64_t i = start; i < V && i < start + BLOCK && running <= target; i++) {
        const float weight = exp_of((LOAD(row[i]) - top) * sharpness);
        drawn = weight > 0.0f ? i : drawn;
        running += weight;
    }
    return drawn;
}

/* The first token whose logit is the largest, `top`. */
static int64_t NAME(likeliest)(const REAL *row, int64_t V, float top) {
    int64_t start = 0;
    for (int equal = 0; start + 64 < V; start += 64) {
#pragma omp simd reduction(| : equal)
        for (int64_t i = start; i < start + 64; i++) equal |= LOAD(row[i]) == top;
        if (equal) break;
    }
    while (start < V - 1 && LOAD(row[start]) != top) start++;
    return start;
}

/* A token for each row of logits [R, V], and its log-probability at temperature 1. Temperature 0 takes the likeliest,
 * the first of equals; uniform [R] in [0, 1) is read otherwise. */
void NAME(choose)(const REAL *logits, const double *uniform, int64_t *token, float *logprob, int64_t R, int64_t V,
                  float temperature) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < R; r++) {
        const REAL *row = logits + r * V;
        float top = -INFINITY;
#pragma omp simd reduction(max : top)
        for (int64_t i = 0; i < V; i++) top = LOAD(row[i]) > top ? LOAD(row[i]) : top;
        const int64_t chosen = temperature > 0.0f ? NAME(draw)(row, V, top, 1.0f / temperature, uniform[r])
                                                  : NAME(likeliest)(row, V, top);
        token[r] = chosen;
        logprob[r] = LOAD(row[chosen]) - top - logf(NAME(weigh)(row, 0, V, top, 1.0f));
    }
}
