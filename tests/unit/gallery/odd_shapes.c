/* Runs the kernel over odd shapes in memory that is exactly as long as it has to be, so that the
 * sanitisers see every read and write beyond. Built and run by test_kernel.py. */

#include <stdio.h>
#include <stdlib.h>

#include "_scan.c"

#define CHECK(truth)                                                     \
    do {                                                                 \
        if (!(truth)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #truth);  \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static uint32_t state = 1;

static float noise(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1;
}

static uint32_t some_below(uint32_t most) {
    return (uint32_t)((noise() + 1) / 2 * (float)most) % most;
}

static void *some(size_t length) { return calloc(1, length ? length : 1); }

/* A gallery of two extents of `most` rows and one less, searched for its own first row. */
static void try(int set, uint32_t dimension, uint32_t most, int signed_) {
    const uint32_t stride = (dimension + 63) / 64 * 64;
    float *centre = some(4 * dimension), *flips = some(16 * stride);
    for (uint32_t i = 0; i < dimension; i++) centre[i] = 0.01f * noise();
    uint32_t power = 1;
    while (2 * power <= stride) power *= 2;
    for (uint32_t i = 0; i < 4 * stride; i++) {
        const uint32_t first = i / stride % 2 ? stride - power : 0, at = i % stride;
        flips[i] = noise() > 0 ? 1 : -1;
        if (at >= first && at < first + power) flips[i] /= sqrtf((float)power);
    }

    Part parts[2];
    size_t live = 2 * most - 1;
    for (int p = 0; p < 2; p++) {
        const uint32_t rows = most - p;
        float *templates = some((size_t)4 * rows * dimension);
        for (uint32_t row = 0; row < rows; row++) {
            float *at = templates + (size_t)row * dimension, length = 0;
            for (uint32_t i = 0; i < dimension; i++) at[i] = noise(), length += at[i] * at[i];
            for (uint32_t i = 0; i < dimension; i++) at[i] /= sqrtf(length);
        }
        Columns to = {some((size_t)rows * stride), some(4 * rows), some(4 * rows), some(4 * rows),
                      some(4 * rows), signed_ ? some((size_t)(rows + GROUP - 1) / GROUP * GROUP * stride / 8) : NULL,
                      signed_ ? some(4 * rows) : NULL, dimension, stride, 0, 0, 0};
        /* In two steps, the second of which begins within a group. */
        const uint32_t most_ = rows / 3;
        Columns rest = {to.codes + (size_t)most_ * stride, to.scale + most_, to.offset + most_,
                        to.error + most_, to.norm + most_,
                        signed_ ? to.signs + (size_t)(most_ - most_ % GROUP) * stride / 8 : NULL,
                        signed_ ? to.factor + most_ : NULL, dimension, stride, most_ % GROUP,
                        0, 0};
        recollect_encode(set, templates, most_, centre, flips, &to);
        recollect_encode(set, templates + (size_t)most_ * dimension, rows - most_, centre, flips,
                         &rest);
        to.error_max = fmaxf(to.error_max, rest.error_max);
        to.norm_max = fmaxf(to.norm_max, rest.norm_max);
        uint8_t *ids = some((size_t)16 * rows), *dead = p ? some(rows) : NULL;
        for (uint32_t row = 0; row < rows; row++) ids[16 * row] = (uint8_t)(row + p);
        for (uint32_t row = 0; dead && row < rows; row++) live -= dead[row] = row % 3 == 1;
        const uint32_t groups = (rows + GROUP - 1) / GROUP;
        Top *tops = signed_ ? some(groups * sizeof *tops) : NULL;
        for (uint32_t i = 0; tops && i < groups; i++) tops[i] = (Top){-INFINITY, -INFINITY};
        for (uint32_t row = 0; tops && row < rows; row++) {
            Top *top = tops + row / GROUP;
            top->factor = fmaxf(top->factor, to.factor[row]);
            top->offset = fmaxf(top->offset, to.offset[row]);
        }
        parts[p] = (Part){to.codes, to.scale, to.offset, to.error, to.norm, to.signs, to.factor,
                          tops, templates, ids, dead, rows,
                          to.error_max, to.norm_max};
    }

    /* The first row as the probe, quantised by the kernel itself. */
    int8_t *codes = some(stride);
    memcpy(codes, parts[0].codes, stride);
    float *rotated = some(4 * stride);
    float length = 0, common = 0, square = 0;
    int32_t bias = 0;
    for (uint32_t i = 0; i < dimension; i++) {
        rotated[i] = parts[0].templates[i];
        const float rest = rotated[i] - centre[i];
        length += rest * rest;
        common += rotated[i] * centre[i];
        square += centre[i] * centre[i];
        bias += 128 * codes[i];
    }
    uint8_t *tables = signed_ ? some(4 * stride) : NULL;
    Query q = {.codes = codes, .stride = stride, .bias = bias, .scale = parts[0].scale[0],
               .length = sqrtf(length) * 1.001f, .error = parts[0].error[0],
               .base = common - square, .common = common, .whole = 1.001f, .unit = 0.998f + square,
               .rounding = 1e-5f, .deviations = 6, .crowd = 0.15f};
    if (signed_) recollect_encode_probe(set, rotated, stride, flips, tables, &q);

    const size_t capacity = BLOCK + most / 3;
    Survivor *out = some(capacity * sizeof *out);
    for (float floor = -2; floor < 1; floor += 0.3f) {
        Place begin = {0, 0};
        const Place end = {1, most - 1};
        size_t count = 0;
        int self = 0;
        while (begin.part < 1 || (begin.part == 1 && begin.row < most - 1)) {
            const size_t some_ = recollect_scan(set, parts, &q, &begin, &end, floor, out, capacity);
            CHECK(some_ <= capacity);
            float *scores = some(4 * some_);
            double *probe = some(8 * dimension);
            for (uint32_t i = 0; i < dimension; i++) probe[i] = parts[0].templates[i];
            uint8_t *ids = some(16 * some_);
            recollect_score(set, parts, out, some_, probe, dimension, scores);
            recollect_ids(parts, out, some_, ids);
            for (size_t i = 0; i < some_; i++) {
                CHECK(out[i].part < 2 && out[i].row < most - out[i].part);
                CHECK(out[i].lower <= scores[i] && scores[i] <= out[i].upper);
                CHECK(ids[16 * i] == (uint8_t)(out[i].row + out[i].part));
                self |= out[i].part == 0 && out[i].row == 0;
            }
            count += some_;
            free(scores), free(probe), free(ids);
        }
        CHECK(self);
        CHECK(count <= live);
        if (floor == -2) CHECK(count == live);
    }
    for (int p = 0; p < 2; p++) {
        free((void *)parts[p].codes), free((void *)parts[p].scale), free((void *)parts[p].offset);
        free((void *)parts[p].error), free((void *)parts[p].norm), free((void *)parts[p].signs);
        free((void *)parts[p].factor), free((void *)parts[p].templates);
        free((void *)parts[p].tops);
        free((void *)parts[p].ids), free((void *)parts[p].dead);
    }
    free(centre), free(flips), free(codes), free(rotated), free(tables), free(out);
}

/* Each instruction set counts flips in its own way. */
static void try_flips(Alike *signs_alike, uint32_t stride) {
    enum { ROWS = 137 };
    const size_t bytes = stride / 8, groups = (ROWS + GROUP - 1) / GROUP;
    uint8_t *signs = some(groups * GROUP * bytes), *tables = some(4 * stride);
    for (int round = 0; round < 2; round++) {
        /* At random, then as many as can be counted: 16 half bytes in 8 bits. */
        for (size_t i = 0; i < groups * GROUP * bytes; i++) signs[i] = (uint8_t)some_below(256);
        for (size_t i = 0; i < 4 * stride; i++)
            tables[i] = round ? 15 + 15 * (i / 16 % 16 == 5) : (uint8_t)some_below(16);
        const Query q = {.tables = tables, .stride = stride};
        const Part part = {.signs = signs};
        for (uint32_t first = 0; first < ROWS; first += 45) {
            uint32_t at[ROWS];
            uint16_t counted[ROWS], none[3] = {0}, all[3] = {65535, 65535, 65535};
            const uint32_t rows = ROWS - first;
            CHECK(signs_alike(&part, first, rows, &q, none, at, counted) == 0);
            CHECK(signs_alike(&part, first, rows, &q, all, at, counted) == rows);
            for (uint32_t row = 0; row < rows; row++) {
                const size_t group = (first + row) / GROUP, lane = (first + row) % GROUP;
                int32_t expected = 0;
                for (size_t byte = 0; byte < bytes; byte++) {
                    const uint8_t eight = signs[(group * bytes + byte) * GROUP + lane];
                    expected += tables[32 * byte + eight % 16];
                    expected += tables[32 * byte + 16 + eight / 16];
                }
                CHECK(at[row] == row);
                CHECK(counted[row] == expected);
                CHECK(!round || expected == (int32_t)(255 * bytes / SUMMED));
            }
            /* Each group has a limit of its own, and what equals it is not below it. */
            const uint16_t some_[3] = {counted[0], 0, 65535};
            const size_t left = signs_alike(&part, first, rows, &q, some_, at, counted);
            size_t expected = 0;
            for (uint32_t row = first; row < ROWS; row++) {
                int32_t flips = 0;
                for (size_t byte = 0; byte < bytes; byte++) {
                    const uint8_t eight =
                        signs[(row / GROUP * bytes + byte) * GROUP + row % GROUP];
                    flips += tables[32 * byte + eight % 16] + tables[32 * byte + 16 + eight / 16];
                }
                if (flips >= some_[row / GROUP - first / GROUP]) continue;
                CHECK(expected < left && at[expected] == row - first);
                CHECK(counted[expected++] == flips);
            }
            CHECK(left == expected);
        }
    }
    free(signs), free(tables);
}

int main(void) {
    for (int set = 0; recollect_set_name(set); set++)
        for (uint32_t stride = 64; stride <= 1024; stride += 64) {
            const char *name = recollect_set_name(set);
#if defined(__x86_64__)
            if (!strcmp(name, "avx512-vnni")) try_flips(signs_avx512, stride);
            if (!strcmp(name, "avx2")) try_flips(signs_avx2, stride);
#elif defined(__aarch64__)
            if (!strcmp(name, "neon-dotprod")) try_flips(signs_neon, stride);
#endif
            if (!strcmp(name, "portable")) try_flips(signs_any, stride);
        }
    const uint32_t dimensions[] = {1, 17, 63, 64, 65, 128, 192, 512, 1024};
    const uint32_t rows[] = {1, 2, 15, 16, 17, 33, 257, 4095, 4097};
    int sets = 0;
    for (; recollect_set_name(sets); sets++)
        for (size_t d = 0; d < sizeof dimensions / sizeof *dimensions; d++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                for (int signed_ = 0; signed_ < 2 && rows[r] * dimensions[d] <= 300000; signed_++)
                    try(sets, dimensions[d], rows[r], signed_);
    uint64_t *words = some(8 * 1000);
    for (int i = 0; i < 1000; i++) words[i] = i;
    for (int set = 0; set < sets; set++) CHECK(recollect_stream(set, words, 960) == 960 * 959 / 2);
    free(words);
    printf("%d sets\n", sets);
    return 0;
}
