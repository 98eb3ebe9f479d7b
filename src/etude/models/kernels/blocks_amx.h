/* Sums of 32 x 32 in four of AMX's tile registers, two more for each operand. */
int64_t products_ready(void) { return tiles_allowed(); }

static void begin_blocks(void) { tiles_begin(); }

static void end_blocks(void) { tiles_end(); }

/* Sums [32, 32] in rows of the given stride come into the registers, or zeros do. */
static inline void open_sums(const float *sums, int64_t stride, int zero) {
    WRITTEN;
    if (zero) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, sums, 4 * stride);
    _tile_loadd(1, sums + 16, 4 * stride);
    _tile_loadd(2, sums + 16 * stride, 4 * stride);
    _tile_loadd(3, sums + 16 * stride + 16, 4 * stride);
}

static inline void close_sums(float *sums, int64_t stride) {
    _tile_stored(0, sums, 4 * stride);
    _tile_stored(1, sums + 16, 4 * stride);
    _tile_stored(2, sums + 16 * stride, 4 * stride);
    _tile_stored(3, sums + 16 * stride + 16, 4 * stride);
}

/* Adds left [32, depth] right to the open sums: left rows of the given stride, or tiles (stride 0); right tiles. */
static inline void add_to_sums(const uint16_t *left, int64_t stride, const uint16_t *right, int64_t depth, float *sums,
                               int64_t sums_stride) {
    const int64_t step = stride ? 32 : 2 * TILE, low = stride ? 16 * stride : TILE, bytes = stride ? 2 * stride : 64;
    (void)sums, (void)sums_stride;
    WRITTEN;
    for (int64_t k = 0; k < depth; k += 32, left += step, right += 2 * TILE) {
        _tile_loadd(4, left, bytes);
        _tile_loadd(6, right, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, right + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, left + low, bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}
