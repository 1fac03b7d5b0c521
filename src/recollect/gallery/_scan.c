/* The arena's scan, its exact scores and its quantiser: what Python is too slow for.
 *
 * A plain shared library without Python in it, called through ctypes with the GIL released. It
 * keeps no state and allocates nothing. Every loop is written once, in C that compilers turn into
 * vectors, and built once for each instruction set below; only the two products that decide the
 * speed are written for each of them. `gallery/native.py` is its only caller and describes the
 * same structures; `gallery/codes.py` explains the formulas.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define DIMENSION_MAX 4096
#define SIGNS_MAX 1024 /* dimensions with a first stage: its buffers are 64 KiB */
#define LANES 16       /* partial sums of a score, see exact.py */
#define GROUP 64       /* rows whose sign bits lie side by side, see Part */
#define SUMMED 8       /* bytes of sign bits that count at most 255 together, see encode_probe */
#define BLOCK 8192     /* rows bounded together: what is known of them stays in the first caches, and
                          what the first stage leaves of so many is read in one go */
#define PATIENCE 3     /* blocks scanned without it before it is tried again */

/* The largest factor and the largest offset of a group of rows. */
typedef struct {
    float factor, offset;
} Top;

/* One extent as a search sees it. */
typedef struct {
    const int8_t *codes;    /* rows x stride */
    const float *scale;     /* s */
    const float *offset;    /* m.x */
    const float *error;     /* e */
    const float *norm;      /* h */
    /* Sign bits, 8 of them a byte, or NULL: of the first GROUP rows the first byte of each, then the
     * second of each, to the last, then the next GROUP rows. So one instruction looks up one half
     * byte of many rows. */
    const uint8_t *signs;
    const float *factor;    /* f, or NULL */
    const Top *tops;        /* one for each GROUP of rows, or NULL */
    const float *templates; /* rows x dimension, or NULL */
    const uint8_t *ids;     /* rows x 16 */
    const uint8_t *dead;    /* rows, or NULL where none is */
    uint32_t rows;
    float error_max, norm_max;
} Part;

typedef struct {
    const int8_t *codes;    /* c_q, stride */
    /* For each half byte of sign bits what each of its 16 values counts, or NULL: no first stage. */
    const uint8_t *tables;
    uint32_t stride;
    int32_t bias;           /* 128 times the sum of c_q */
    float scale;            /* s_q */
    float length;           /* |r_q| */
    float error;            /* e_q */
    float base;             /* m.q - m.m */
    float common;           /* m.q */
    float whole;            /* |q| */
    float unit;             /* the least |x|^2 + m.m of a template x */
    float rounding;         /* what float32 can lose, codes.ROUNDING */
    float agreement;        /* product of the rotated probe and signs that all agree with its own */
    float step;             /* what a flip of weight 1 takes away from it */
    float weight_error;     /* length of what the weights leave of the rotated probe */
    float deviations;       /* k: standard deviations that a row gets as benefit of the doubt */
    float crowd;            /* share of rows that the first stage may leave and still pay */
} Query;

typedef struct {
    uint32_t part, row;
    float upper, lower;
} Survivor;

typedef struct {
    uint32_t part, row;
} Place;

/* Columns to be filled, at their first new row; sign bits at the group of that row. */
typedef struct {
    int8_t *codes;
    float *scale, *offset, *error, *norm;
    uint8_t *signs; /* or NULL */
    float *factor;  /* or NULL */
    uint32_t dimension, stride;
    uint32_t before; /* rows of the group before the first new one */
    float error_max, norm_max; /* out */
} Columns;

typedef float Floats __attribute__((vector_size(4 * LANES)));

/* ---------------------------------------------------------------- products of int8 codes */

typedef void Dots(const int8_t *codes, size_t stride, size_t rows, const Query *q, int32_t *out);

/* What the sign bits of the rows of a group count: the weights of all dimensions whose bit is not
 * the probe's. `bytes` of bits a row, a multiple of SUMMED. Gives the rows that count fewer. */
typedef uint64_t Flips(const uint8_t *group, size_t bytes, const uint8_t *tables, uint16_t fewer,
                       uint16_t *out);

/* Rows first..first + rows - 1 (at most BLOCK) whose bound reaches `need`, an upper bound being as
 * wide as the extent's widest: their places behind `first` and their products of codes. Writes up
 * to 16 more of both. */
typedef size_t Near(const Part *part, uint32_t first, uint32_t rows, const Query *q, float need,
                    uint32_t *at, int32_t *dot);

/* Rows first..first + rows - 1 whose flips are fewer than what is given for each group, from that
 * of the first row: their places behind `first` and their flips. */
typedef size_t Alike(const Part *part, uint32_t first, uint32_t rows, const Query *q,
                     const uint16_t *fewer, uint32_t *at, uint16_t *flip);

INLINE void dots_plain(const int8_t *codes, size_t stride, size_t rows, const Query *q,
                       int32_t *out) {
    for (size_t row = 0; row < rows; row++, codes += stride) {
        int32_t sum = 0;
        for (size_t i = 0; i < stride; i++) sum += (int32_t)codes[i] * q->codes[i];
        out[row] = sum;
    }
}

INLINE uint64_t below(const uint16_t *flips, uint16_t fewer) {
    uint64_t rows = 0;
    for (int row = 0; row < GROUP; row++) rows |= (uint64_t)(flips[row] < fewer) << row;
    return rows;
}

INLINE uint64_t flips_plain(const uint8_t *group, size_t bytes, const uint8_t *tables,
                            uint16_t fewer, uint16_t *out) {
    memset(out, 0, GROUP * sizeof *out);
    for (size_t byte = 0; byte < bytes; byte++, tables += 32)
        for (int row = 0; row < GROUP; row++, group++)
            out[row] += (uint16_t)(tables[*group & 15] + tables[16 + (*group >> 4)]);
    return below(out, fewer);
}

static void dots_any(const int8_t *codes, size_t stride, size_t rows, const Query *q,
                     int32_t *out) {
    dots_plain(codes, stride, rows, q, out);
}

static uint64_t flips_any(const uint8_t *group, size_t bytes, const uint8_t *tables,
                          uint16_t fewer, uint16_t *out) {
    return flips_plain(group, bytes, tables, fewer, out);
}

/* Places of the bytes that are not zero, of `rows` and up to 7 more that are; most words are. */
INLINE size_t places(const uint8_t *hit, uint32_t rows, uint32_t *out) {
    size_t count = 0;
    for (uint32_t i = 0; i < rows; i += 8) {
        uint64_t word;
        memcpy(&word, hit + i, sizeof word);
        if (!word) continue;
        for (uint32_t j = i; j < i + 8; j++) out[count] = j, count += hit[j];
    }
    return count;
}

/* The same for every instruction set: all products first, then all bounds. */
INLINE size_t codes_in_turn(const Part *part, uint32_t first, uint32_t rows, const Query *q,
                            float need, uint32_t *at, int32_t *dot, Dots *dots) {
    int32_t every[BLOCK];
    uint8_t hit[BLOCK + 8];
    dots(part->codes + (size_t)first * q->stride, q->stride, rows, q, every);
    const float *scale = part->scale + first, *offset = part->offset + first;
    for (uint32_t i = 0; i < rows; i++)
        hit[i] = scale[i] * (float)every[i] * q->scale + offset[i] >= need;
    memset(hit + rows, 0, 8);
    const size_t count = places(hit, rows, at);
    for (size_t i = 0; i < count; i++) dot[i] = every[at[i]];
    return count;
}

/* The same for every instruction set. The processor sees for itself that groups are read one behind
 * the other: asking for them ahead of time was measured to cost a fifth. */
INLINE size_t signs_in_turn(const Part *part, uint32_t first, uint32_t rows, const Query *q,
                            const uint16_t *fewer, uint32_t *at, uint16_t *flip, Flips *flips) {
    const uint32_t before = first % GROUP;
    const size_t bytes = q->stride / 8;
    const uint8_t *group = part->signs + (first - before) * bytes;
    size_t count = 0;
    for (uint32_t row = 0; row < before + rows; row += GROUP, group += GROUP * bytes, fewer++) {
        uint16_t every[GROUP];
        uint64_t hits = flips(group, bytes, q->tables, *fewer, every);
        if (row < before) hits &= ~0ull << (before - row);
        if (row + GROUP > before + rows) hits &= ~0ull >> (row + GROUP - before - rows);
        for (; hits; hits &= hits - 1) {
            const int place = __builtin_ctzll(hits);
            at[count] = row + (uint32_t)place - before;
            flip[count++] = every[place];
        }
    }
    return count;
}

#if defined(__x86_64__)

#define AVX2 "avx2,fma,popcnt,bmi"
#define AVX512 AVX2 ",avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"

__attribute__((target(AVX2))) static void dots_avx2(const int8_t *codes, size_t stride, size_t rows,
                                                    const Query *q, int32_t *out) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (size_t row = 0; row < rows; row++, codes += stride) {
        __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
        for (size_t i = 0; i < stride; i += 64) {
            const __m256i a = _mm256_loadu_si256((const __m256i *)(codes + i));
            const __m256i b = _mm256_loadu_si256((const __m256i *)(codes + i + 32));
            const __m256i p = _mm256_loadu_si256((const __m256i *)(q->codes + i));
            const __m256i r = _mm256_loadu_si256((const __m256i *)(q->codes + i + 32));
            /* Pairs of products of -127..127 fit in 16 bits. */
            even = _mm256_add_epi32(
                even, _mm256_madd_epi16(
                          ones, _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(p, a))));
            odd = _mm256_add_epi32(
                odd, _mm256_madd_epi16(
                         ones, _mm256_maddubs_epi16(_mm256_abs_epi8(b), _mm256_sign_epi8(r, b))));
        }
        even = _mm256_add_epi32(even, odd);
        const __m128i half = _mm256_extracti128_si256(even, 1);
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(even), half);
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
        out[row] = _mm_cvtsi128_si32(sum);
    }
}

__attribute__((target(AVX2))) INLINE __m256i table_avx2(const uint8_t *table) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

__attribute__((target(AVX2))) static uint64_t flips_avx2(const uint8_t *group, size_t bytes,
                                                         const uint8_t *tables, uint16_t fewer,
                                                         uint16_t *out) {
    const __m256i half_byte = _mm256_set1_epi8(15), most = _mm256_set1_epi16((short)(fewer - 1));
    uint64_t rows = 0;
    if (!fewer) return 0;
    for (int half = 0; half < 2; half++, group += 32, out += 32) {
        /* Sums of pairs of rows as if they were one number, and of the second rows alone. */
        __m256i both = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
        for (size_t byte = 0; byte < bytes; byte += SUMMED) {
            __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
            for (size_t i = byte; i < byte + SUMMED; i++) {
                const __m256i bits = _mm256_loadu_si256((const __m256i *)(group + i * GROUP));
                const __m256i a = _mm256_and_si256(bits, half_byte);
                const __m256i b = _mm256_and_si256(_mm256_srli_epi16(bits, 4), half_byte);
                low = _mm256_add_epi8(low, _mm256_shuffle_epi8(table_avx2(tables + 32 * i), a));
                high =
                    _mm256_add_epi8(high, _mm256_shuffle_epi8(table_avx2(tables + 32 * i + 16), b));
            }
            const __m256i sum = _mm256_add_epi8(low, high);
            both = _mm256_add_epi16(both, sum);
            odd = _mm256_add_epi16(odd, _mm256_srli_epi16(sum, 8));
        }
        const __m256i even = _mm256_sub_epi16(both, _mm256_slli_epi16(odd, 8));
        __m256i a = _mm256_unpacklo_epi16(even, odd), b = _mm256_unpackhi_epi16(even, odd);
        _mm256_storeu_si256((__m256i *)out, _mm256_permute2x128_si256(a, b, 0x20));
        _mm256_storeu_si256((__m256i *)(out + 16), _mm256_permute2x128_si256(a, b, 0x31));
        a = _mm256_cmpeq_epi16(_mm256_min_epu16(a, most), a);
        b = _mm256_cmpeq_epi16(_mm256_min_epu16(b, most), b);
        /* Rows 0-7 and 16-23 are in `a`, the others in `b`; packing puts them in their order. */
        rows |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_packs_epi16(a, b)) << 32 * half;
    }
    return rows;
}

/* Sums of the 16 lanes of each of 16 vectors. */
__attribute__((target(AVX512))) INLINE __m512i sums(__m512i *v) {
    for (int i = 0; i < 8; i++)
        v[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 4; i++)
        v[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                                _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        v[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88),
                                _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xDD));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x88),
                            _mm512_shuffle_i32x4(v[0], v[1], 0xDD));
}

__attribute__((target(AVX512))) INLINE __m512i dot_lanes(const int8_t *codes, size_t stride,
                                                         const Query *q) {
    __m512i total = _mm512_setzero_si512();
    for (size_t i = 0; i < stride; i += 64)
        /* Codes plus 128 as unsigned bytes against the signed probe. */
        total = _mm512_dpbusd_epi32(
            total, _mm512_xor_si512(_mm512_loadu_si512(codes + i), _mm512_set1_epi8((char)0x80)),
            _mm512_loadu_si512(q->codes + i));
    return total;
}

__attribute__((target(AVX512))) static void dots_avx512(const int8_t *codes, size_t stride,
                                                        size_t rows, const Query *q, int32_t *out) {
    for (size_t row = 0; row < rows; row++, codes += stride)
        out[row] = _mm512_reduce_add_epi32(dot_lanes(codes, stride, q)) - q->bias;
}

/* Appends places and values of the rows of a mask; all 16 lanes are written. */
__attribute__((target(AVX512))) INLINE size_t append(__mmask16 hit, uint32_t row, __m512i value,
                                                     uint32_t *at, int32_t *values, size_t count) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i places = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)row));
    _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(hit, places));
    _mm512_storeu_si512(values + count, _mm512_maskz_compress_epi32(hit, value));
    return count + (size_t)__builtin_popcount(hit);
}

/* Products and bounds of up to 16 rows, in one pass over their columns. Asking for what is ahead was
 * measured to cost a tenth. */
__attribute__((target(AVX512))) INLINE size_t codes_16(const Part *part, size_t first,
                                                       uint32_t row, uint32_t rows, size_t stride,
                                                       const Query *q, float need, uint32_t *at,
                                                       int32_t *dot, size_t count) {
    const __mmask16 here = (__mmask16)((1u << rows) - 1);
    const int8_t *codes = part->codes + (first + row) * stride;
    __m512i sum[16];
    for (uint32_t r = 0; r < 16; r++)
        sum[r] = dot_lanes(codes + (r < rows ? r : 0) * stride, stride, q);
    const __m512i dots = _mm512_sub_epi32(sums(sum), _mm512_set1_epi32(q->bias));
    const __m512 scale = _mm512_maskz_loadu_ps(here, part->scale + first + row);
    const __m512 offset = _mm512_maskz_loadu_ps(here, part->offset + first + row);
    const __m512 product = _mm512_mul_ps(_mm512_mul_ps(scale, _mm512_cvtepi32_ps(dots)),
                                         _mm512_set1_ps(q->scale));
    const __mmask16 hit = _mm512_mask_cmp_ps_mask(here, _mm512_add_ps(product, offset),
                                                  _mm512_set1_ps(need), _CMP_GE_OQ);
    return hit ? append(hit, row, dots, at, dot, count) : count;
}

__attribute__((target(AVX512))) INLINE size_t codes_stride(const Part *part, size_t first,
                                                           uint32_t rows, size_t stride,
                                                           const Query *q, float need,
                                                           uint32_t *at, int32_t *dot) {
    size_t count = 0;
    uint32_t row = 0;
    for (; row + 16 <= rows; row += 16)
        count = codes_16(part, first, row, 16, stride, q, need, at, dot, count);
    if (row < rows)
        count = codes_16(part, first, row, rows - row, stride, q, need, at, dot, count);
    return count;
}

__attribute__((target(AVX512))) static size_t codes_avx512(const Part *part, uint32_t first,
                                                           uint32_t rows, const Query *q,
                                                           float need, uint32_t *at,
                                                           int32_t *dot) {
    switch (q->stride) {
    case 128: return codes_stride(part, first, rows, 128, q, need, at, dot);
    case 512: return codes_stride(part, first, rows, 512, q, need, at, dot);
    default: return codes_stride(part, first, rows, q->stride, q, need, at, dot);
    }
}

__attribute__((target(AVX512))) INLINE __m512i table_avx512(const uint8_t *table) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
}

/* Looks up six bits of a byte, of which a table that is there four times ignores two: no half byte
 * has to be cut out. */
__attribute__((target(AVX512))) static uint64_t flips_avx512(const uint8_t *group, size_t bytes,
                                                             const uint8_t *tables,
                                                             uint16_t fewer, uint16_t *out) {
    /* Sums of pairs of rows as if they were one number, and of the second rows alone. */
    __m512i both = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
    for (size_t byte = 0; byte < bytes; byte += SUMMED) {
        __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
        for (int i = 0; i < SUMMED; i++, group += GROUP, tables += 32) {
            const __m512i a = _mm512_loadu_si512(group), b = _mm512_srli_epi16(a, 4);
            low = _mm512_add_epi8(low, _mm512_permutexvar_epi8(a, table_avx512(tables)));
            high = _mm512_add_epi8(high, _mm512_permutexvar_epi8(b, table_avx512(tables + 16)));
        }
        const __m512i sum = _mm512_add_epi8(low, high);
        both = _mm512_add_epi16(both, sum);
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(sum, 8));
    }
    const __m512i even = _mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8));
    const __m512i a = _mm512_unpacklo_epi16(even, odd), b = _mm512_unpackhi_epi16(even, odd);
    const __m512i in_turn = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i behind = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512i first = _mm512_permutex2var_epi64(a, in_turn, b);
    const __m512i second = _mm512_permutex2var_epi64(a, behind, b);
    const __m512i limit = _mm512_set1_epi16((short)fewer);
    _mm512_storeu_si512(out, first);
    _mm512_storeu_si512(out + 32, second);
    return _mm512_cmplt_epu16_mask(first, limit) |
           (uint64_t)_mm512_cmplt_epu16_mask(second, limit) << 32;
}

#elif defined(__aarch64__)

__attribute__((target("arch=armv8.2-a+dotprod"))) static void dots_neon(const int8_t *codes,
                                                                        size_t stride, size_t rows,
                                                                        const Query *q,
                                                                        int32_t *out) {
    for (size_t row = 0; row < rows; row++, codes += stride) {
        int32x4_t sum[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
        for (size_t i = 0; i < stride; i += 64)
            for (int j = 0; j < 4; j++)
                sum[j] = vdotq_s32(sum[j], vld1q_s8(codes + i + 16 * j),
                                   vld1q_s8(q->codes + i + 16 * j));
        out[row] = vaddvq_s32(vaddq_s32(vaddq_s32(sum[0], sum[1]), vaddq_s32(sum[2], sum[3])));
    }
}

__attribute__((target("arch=armv8.2-a+dotprod"))) static uint64_t flips_neon(
    const uint8_t *group, size_t bytes, const uint8_t *tables, uint16_t fewer, uint16_t *out) {
    const uint8x16_t low = vdupq_n_u8(15);
    for (int quarter = 0; quarter < 4; quarter++) {
        uint16x8_t first = vdupq_n_u16(0), second = vdupq_n_u16(0);
        for (size_t byte = 0; byte < bytes; byte += SUMMED) {
            uint8x16_t sum = vdupq_n_u8(0);
            for (size_t i = byte; i < byte + SUMMED; i++) {
                const uint8x16_t a = vld1q_u8(group + i * GROUP + 16 * quarter);
                sum = vaddq_u8(sum, vqtbl1q_u8(vld1q_u8(tables + 32 * i), vandq_u8(a, low)));
                sum = vaddq_u8(sum, vqtbl1q_u8(vld1q_u8(tables + 32 * i + 16), vshrq_n_u8(a, 4)));
            }
            first = vaddw_u8(first, vget_low_u8(sum));
            second = vaddw_high_u8(second, sum);
        }
        vst1q_u16(out + 16 * quarter, first), vst1q_u16(out + 16 * quarter + 8, second);
    }
    return below(out, fewer);
}

#endif

/* ---------------------------------------------------------------- scanning */

/* Bounds of one row whose product of codes is known; whether it can still be an answer. */
INLINE int bounded(const Part *part, uint32_t row, int32_t dot, const Query *q, float need,
                   uint32_t index, Survivor *out) {
    const float middle = part->scale[row] * (float)dot * q->scale + part->offset[row];
    const float spread = part->error[row] * q->length + part->norm[row] * q->error + q->rounding;
    if (!(middle + spread >= need) || (part->dead && part->dead[row])) return 0;
    *out = (Survivor){index, row, middle + spread + q->base, middle - spread + q->base};
    return 1;
}

/* The largest half width of a row's bounds: looking at it first spares reading two columns. */
INLINE float widest_spread(const Part *part, const Query *q) {
    return part->error_max * q->length + part->norm_max * q->error + q->rounding;
}

/* Bound rows first..first + rows - 1 (at most BLOCK) by their int8 codes. */
INLINE size_t scan_codes(const Part *part, uint32_t index, uint32_t first, uint32_t rows,
                         const Query *q, float need, Survivor *out, Near *codes) {
    uint32_t kept[BLOCK + 16];
    int32_t dot[BLOCK + 16];
    const size_t count = codes(part, first, rows, q, need - widest_spread(part, q), kept, dot);
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += bounded(part, first + kept[i], dot[i], q, need, index, out + found);
    return found;
}

/* The square of k standard deviations of what sign bits say of a product, where the offset is at
 * most this and the square of the part of q across r at most `across`. */
INLINE float doubt(float factor, float offset, float across, const Query *q) {
    /* |r|^2 is |x|^2 - 2 m.x + |m|^2, and x is of unit length. */
    const float size = (float)q->stride, rest = q->unit - 2 * offset;
    const float own = factor * factor - (rest > 0 ? rest / size : 0);
    return q->deviations * q->deviations *
           (across * size / (size - 1) * (own > 0 ? own : 0) +
            q->weight_error * q->weight_error * factor * factor);
}

/* The same after a look at the rows' sign bits; `passed` is how many of them it left. */
INLINE size_t scan_signs(const Part *part, uint32_t index, uint32_t first, uint32_t rows,
                         const Query *q, float need, Survivor *out, Alike *signs, Dots *dots,
                         size_t *passed) {
    uint16_t fewer[BLOCK / GROUP + 1], flip[BLOCK];
    uint32_t kept[BLOCK];
    /* x.q is r.q + m.q, and r.q about f.(agreement - step.flips). First with the largest f and m.x
     * of the group: no column is read but of the rows that this leaves. */
    const float lenient = need + q->base - q->common - q->rounding;
    /* Where r.q is as large as wanted, at most this of q lies across r. */
    const float longest = part->norm_max + part->error_max;
    const float along = lenient > 0 && longest > 0 ? lenient / longest : 0;
    const float across = along < q->whole ? q->whole * q->whole - along * along : 0;
    const Top *tops = part->tops + first / GROUP;
    for (uint32_t i = 0; i <= (first % GROUP + rows - 1) / GROUP; i++) {
        const float missing = lenient - sqrtf(doubt(tops[i].factor, tops[i].offset, across, q));
        const float allowed = (q->agreement - missing / tops[i].factor) / q->step + 1.01f;
        fewer[i] = missing <= 0 || allowed > 65535 ? 65535 : allowed < 0 ? 0 : (uint16_t)allowed;
    }
    const size_t alike = signs(part, first, rows, q, fewer, kept, flip);
    for (size_t i = 0; i < alike; i++) __builtin_prefetch(part->factor + first + kept[i]);
    /* Then with f of the row, without branches that nobody can foresee. */
    uint8_t hit[BLOCK];
    for (size_t i = 0; i < alike; i++) {
        const uint32_t row = kept[i] += first;
        const float factor = part->factor[row];
        const float missing = lenient - factor * (q->agreement - q->step * (float)flip[i]);
        hit[i] = missing <= 0 ||
                 missing * missing <= doubt(factor, part->tops[row / GROUP].offset, across, q);
    }
    size_t close = 0;
    for (size_t i = 0; i < alike; i++) kept[close] = kept[i], close += hit[i];
    for (size_t i = 0; i < close; i++) {
        __builtin_prefetch(part->scale + kept[i]);
        __builtin_prefetch(part->offset + kept[i]);
        for (size_t byte = 0; byte < q->stride; byte += 64)
            __builtin_prefetch(part->codes + (size_t)kept[i] * q->stride + byte, 0, 2);
    }
    *passed = close;
    const float widest = need - widest_spread(part, q);
    size_t found = 0;
    for (size_t i = 0; i < close; i++) {
        const uint32_t row = kept[i];
        int32_t dot;
        dots(part->codes + (size_t)row * q->stride, q->stride, 1, q, &dot);
        if (!(part->scale[row] * (float)dot * q->scale + part->offset[row] >= widest)) continue;
        found += bounded(part, row, dot, q, need, index, out + found);
    }
    return found;
}

/* Find rows in begin..end whose upper bound reaches the floor, until `capacity` has no room for
 * another block. Moves `begin` to where it stopped. */
INLINE size_t scan_all(const Part *parts, const Query *q, Place *begin, Place end, float floor,
                       Survivor *out, size_t capacity, Near *codes, Alike *signs, Dots *dots) {
    const float need = floor - q->base;
    uint32_t part = begin->part, row = begin->row, wait = 0;
    size_t count = 0;
    while (part < end.part || (part == end.part && row < end.row)) {
        const uint32_t last = part == end.part ? end.row : parts[part].rows;
        if (row >= last) {
            part++, row = 0;
            continue;
        }
        if (capacity - count < BLOCK) break;
        const uint32_t rows = last - row < BLOCK ? last - row : BLOCK;
        if (q->tables && !wait) {
            size_t passed;
            count += scan_signs(parts + part, part, row, rows, q, need, out + count, signs, dots,
                                &passed);
            if ((float)passed > q->crowd * (float)rows) wait = PATIENCE;
        } else {
            count += scan_codes(parts + part, part, row, rows, q, need, out + count, codes);
            if (wait) wait--;
        }
        row += rows;
    }
    begin->part = part, begin->row = row;
    return count;
}

/* ---------------------------------------------------------------- canonical scores */

/* exact.scores: 16 lanes of float64, halved until one is left, rounded once. */
INLINE float score(const float *row, const double *probe, size_t dimension) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= dimension; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += (double)row[i + lane] * probe[i + lane];
    for (int lane = 0; i + lane < dimension; lane++)
        lanes[lane] += (double)row[i + lane] * probe[i + lane];
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    return (float)lanes[0];
}

INLINE void score_all(const float *const *rows, size_t count, const double *probe,
                      size_t dimension, float *out) {
    for (size_t i = 0; i < count; i++) {
        if (i + 8 < count)
            for (size_t ahead = 0; ahead < dimension; ahead += 16)
                __builtin_prefetch(rows[i + 8] + ahead);
        out[i] = score(rows[i], probe, dimension);
    }
}

/* ---------------------------------------------------------------- quantising */

/* One row in int8. The allowances for e and h are those of codes.py; sums may be added up in any
 * order, unlike those of a score. */
INLINE void encode_row(const float *row, const float *centre, const Columns *to, size_t at) {
    const size_t dimension = to->dimension;
    float rest[DIMENSION_MAX] __attribute__((aligned(64)));
    float peak, square = 0;
    double offset = 0;
    uint32_t most = 0;
#pragma omp simd reduction(max : most) reduction(+ : offset)
    for (size_t i = 0; i < dimension; i++) {
        rest[i] = row[i] - centre[i];
        offset += (double)row[i] * (double)centre[i];
        /* Without their signs, floats sort as their bits do, and integers have no NaN. */
        uint32_t bits;
        memcpy(&bits, &rest[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    memcpy(&peak, &most, sizeof peak);
    const int flat = !(peak > 1e-28f); /* too short to have levels: all codes are 0 */
    const float scale = flat ? 1 : peak / 127, levels = flat ? 0 : 127 / peak;
    const float whole = 12582912.0f; /* 1.5 x 2^23: adding it rounds to the nearest integer */
    int8_t *codes = to->codes + at * to->stride;
    int32_t norm = 0;
#pragma omp simd reduction(+ : square, norm)
    for (size_t i = 0; i < dimension; i++) {
        const float level = rest[i] * levels + whole - whole, left = rest[i] - scale * level;
        square += left * left;
        norm += (int32_t)level * (int32_t)level;
        codes[i] = (int8_t)(int32_t)level;
    }
    memset(codes + dimension, 0, to->stride - dimension);
    to->scale[at] = scale;
    to->offset[at] = (float)offset;
    to->error[at] = sqrtf(square) * (1 + 1e-5f) + 4e-7f;
    to->norm[at] = scale * sqrtf((float)norm) * (1 + 1e-5f);
}

/* A rotation of vectors whose elements are of a type: 16 vectors at once, one in each lane, or one.
 * Sign changes and Hadamard transforms, three times where the dimension is a power of two. Where it
 * is not, four times, over the largest power of two of the first and of the last dimensions in
 * turn. The flips bring the length back to what it was. */
#define ROTATION(rotate, Type)                                                                    \
    INLINE void rotate(Type *values, size_t size, const float *flips) {                           \
        size_t power = 1;                                                                         \
        while (2 * power <= size) power *= 2;                                                     \
        const size_t rounds = power == size ? 3 : 4;                                              \
        for (size_t round = 0; round < rounds; round++) {                                         \
            Type *at = values + (round % 2 ? size - power : 0);                                   \
            for (size_t i = 0; i < size; i++) values[i] *= flips[round * size + i];               \
            size_t half = 1;                                                                      \
            /* Two passes of sums and differences at once: half the traffic with memory. */       \
            for (; 4 * half <= power; half *= 4)                                                  \
                for (size_t i = 0; i < power; i += 4 * half)                                      \
                    for (size_t j = i; j < i + half; j++) {                                       \
                        const Type a = at[j] + at[j + half], b = at[j] - at[j + half];            \
                        const Type c = at[j + 2 * half] + at[j + 3 * half];                       \
                        const Type d = at[j + 2 * half] - at[j + 3 * half];                       \
                        at[j] = a + c, at[j + half] = b + d;                                      \
                        at[j + 2 * half] = a - c, at[j + 3 * half] = b - d;                       \
                    }                                                                             \
            for (; half < power; half *= 2)                                                       \
                for (size_t j = 0; j < half; j++) {                                               \
                    const Type a = at[j], b = at[j + half];                                       \
                    at[j] = a + b, at[j + half] = a - b;                                          \
                }                                                                                 \
        }                                                                                         \
    }

ROTATION(rotate_lanes, Floats)
ROTATION(rotate_one, float)

/* A probe, `size` floats with zeros behind the dimension, rotated: a sign and a weight for each
 * dimension, and what these make half bytes of sign bits count. A weight of 1 stands for step / 2.
 * No SUMMED bytes weigh more than 255 together: 8 * SUMMED weights are rounded up by half of 1. */
INLINE void encode_probe(float *probe, size_t size, const float *flips, uint8_t *tables,
                         Query *q) {
    float heaviest = 0, square = 0;
    uint32_t total = 0;
    rotate_one(probe, size, flips);
    for (size_t i = 0; i < size; i += 8 * SUMMED) {
        float sum = 0;
        for (size_t j = i; j < i + 8 * SUMMED; j++) sum += fabsf(probe[j]);
        heaviest = sum > heaviest ? sum : heaviest;
    }
    const float one = heaviest > 1e-28f ? heaviest / (255 - 4 * SUMMED) : 1;
    memset(tables, 0, 4 * size);
    for (size_t i = 0; i < size; i++) {
        const uint32_t weight = (uint32_t)(fabsf(probe[i]) / one + 0.5f);
        const float left = fabsf(probe[i]) - (float)weight * one;
        square += left * left;
        total += weight;
        for (uint32_t bits = 0; bits < 16; bits++)
            if ((bits >> i % 4 & 1) != (probe[i] > 0))
                tables[i / 4 * 16 + bits] += (uint8_t)weight;
    }
    q->tables = tables;
    q->agreement = (float)total * one;
    q->step = 2 * one;
    q->weight_error = sqrtf(square) * (1 + 1e-5f);
}

/* Sign bits and factors of up to 16 rows. */
INLINE void encode_signs(const float *rows, size_t count, const float *centre, const Columns *to,
                         size_t at, const float *flips) {
    const size_t dimension = to->dimension, size = to->stride;
    Floats values[SIGNS_MAX];
    memset(values, 0, size * sizeof *values);
    for (size_t lane = 0; lane < count; lane++)
        for (size_t i = 0; i < dimension; i++)
            values[i][lane] = rows[lane * dimension + i] - centre[i];
    rotate_lanes(values, size, flips);
    float sums[LANES] = {0}, squares[LANES] = {0};
    for (size_t byte = 0; byte < size / 8; byte++) {
        uint32_t bits[LANES] = {0};
        for (size_t bit = 0; bit < 8; bit++)
            for (int lane = 0; lane < LANES; lane++) {
                const float value = values[8 * byte + bit][lane];
                bits[lane] |= (uint32_t)(value > 0) << bit;
                sums[lane] += fabsf(value);
                squares[lane] += value * value;
            }
        for (size_t lane = 0; lane < count; lane++) {
            const size_t row = to->before + at + lane;
            uint8_t *group = to->signs + (row - row % GROUP) * (size / 8);
            group[byte * GROUP + row % GROUP] = (uint8_t)bits[lane];
        }
    }
    for (size_t lane = 0; lane < count; lane++)
        to->factor[at + lane] = squares[lane] > 1e-20f ? squares[lane] / sums[lane] : 0;
}

INLINE void encode_all(const float *rows, size_t count, const float *centre, const float *flips,
                       Columns *to) {
    to->error_max = to->norm_max = 0;
    for (size_t i = 0; i < count; i++) {
        encode_row(rows + i * to->dimension, centre, to, i);
        to->error_max = to->error[i] > to->error_max ? to->error[i] : to->error_max;
        to->norm_max = to->norm[i] > to->norm_max ? to->norm[i] : to->norm_max;
    }
    for (size_t i = 0; to->signs && i < count; i += LANES) {
        const size_t some = count - i < LANES ? count - i : LANES;
        encode_signs(rows + i * to->dimension, some, centre, to, i, flips);
    }
}

INLINE uint64_t stream_all(const uint64_t *words, size_t count) {
    uint64_t sums[64] = {0}, sum = 0;
    for (size_t i = 0; i + 64 <= count; i += 64) {
        for (int lane = 0; lane < 64; lane += 8) __builtin_prefetch(words + i + lane + 128, 0, 2);
        for (int lane = 0; lane < 64; lane++) sums[lane] += words[i + lane];
    }
    for (int lane = 0; lane < 64; lane++) sum += sums[lane];
    return sum;
}

/* ---------------------------------------------------------------- one set for each processor */

typedef struct {
    const char *name;
    size_t (*scan)(const Part *, const Query *, Place *, Place, float, Survivor *, size_t);
    void (*score)(const float *const *, size_t, const double *, size_t, float *);
    void (*encode)(const float *, size_t, const float *, const float *, Columns *);
    void (*encode_probe)(float *, size_t, const float *, uint8_t *, Query *);
    uint64_t (*stream)(const uint64_t *, size_t);
} Set;

#define CODES_IN_TURN(set, attribute)                                                             \
    attribute static size_t codes_##set(const Part *part, uint32_t first, uint32_t rows,          \
                                        const Query *q, float need, uint32_t *at,                 \
                                        int32_t *dot) {                                           \
        return codes_in_turn(part, first, rows, q, need, at, dot, dots_##set);                    \
    }

#define SIGNS_IN_TURN(set, attribute)                                                             \
    attribute static size_t signs_##set(const Part *part, uint32_t first, uint32_t rows,          \
                                        const Query *q, const uint16_t *fewer, uint32_t *at,      \
                                        uint16_t *flip) {                                         \
        return signs_in_turn(part, first, rows, q, fewer, at, flip, flips_##set);                 \
    }

#define SET(set, title, attribute)                                                   \
    attribute static size_t scan_##set(const Part *parts, const Query *q, Place *begin,           \
                                       Place end, float floor, Survivor *out, size_t capacity) {  \
        return scan_all(parts, q, begin, end, floor, out, capacity, codes_##set, signs_##set,     \
                        dots_##set);                                                              \
    }                                                                                             \
    attribute static void score_##set(const float *const *rows, size_t count,                     \
                                      const double *probe, size_t dimension, float *out) {        \
        score_all(rows, count, probe, dimension, out);                                            \
    }                                                                                             \
    attribute static void encode_##set(const float *rows, size_t count, const float *centre,      \
                                       const float *flips_, Columns *to) {                        \
        encode_all(rows, count, centre, flips_, to);                                              \
    }                                                                                             \
    attribute static void encode_probe_##set(float *rest, size_t size, const float *flips_,      \
                                              uint8_t *tables, Query *q) {                       \
        encode_probe(rest, size, flips_, tables, q);                                             \
    }                                                                                             \
    attribute static uint64_t stream_##set(const uint64_t *words, size_t count) {                 \
        return stream_all(words, count);                                                          \
    }                                                                                             \
    static const Set set = {title, scan_##set,   score_##set,                                     \
                              encode_##set, encode_probe_##set, stream_##set};

CODES_IN_TURN(any, )
SIGNS_IN_TURN(any, )
SET(any, "portable", )
#if defined(__x86_64__)
CODES_IN_TURN(avx2, __attribute__((target(AVX2))))
SIGNS_IN_TURN(avx2, __attribute__((target(AVX2))))
SET(avx2, "avx2", __attribute__((target(AVX2))))
SIGNS_IN_TURN(avx512, __attribute__((target(AVX512))))
SET(avx512, "avx512-vnni", __attribute__((target(AVX512))))
#elif defined(__aarch64__)
CODES_IN_TURN(neon, __attribute__((target("arch=armv8.2-a+dotprod"))))
SIGNS_IN_TURN(neon, __attribute__((target("arch=armv8.2-a+dotprod"))))
SET(neon, "neon-dotprod", __attribute__((target("arch=armv8.2-a+dotprod"))))
#endif

/* Set number `index` of those that this processor can run, fastest first; NULL past the last. */
static const Set *runnable(int index) {
    const Set *sets[4];
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        sets[count++] = &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt"))
        sets[count++] = &avx2;
#elif defined(__aarch64__)
#if defined(__APPLE__)
    sets[count++] = &neon;
#elif defined(__linux__)
    if (getauxval(AT_HWCAP) & (1 << 20)) sets[count++] = &neon; /* HWCAP_ASIMDDP */
#endif
#endif
    sets[count++] = &any;
    return index >= 0 && index < count ? sets[index] : NULL;
}

#define EXPORT __attribute__((visibility("default")))

#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST "" /* given by the build: SHA-256 of this file */
#endif

EXPORT const char *recollect_source(void) { return SOURCE_DIGEST; }

EXPORT const char *recollect_set_name(int index) {
    const Set *set = runnable(index);
    return set ? set->name : NULL;
}

EXPORT size_t recollect_scan(int index, const Part *parts, const Query *q, Place *begin,
                             const Place *end, float floor, Survivor *out, size_t capacity) {
    return runnable(index)->scan(parts, q, begin, *end, floor, out, capacity);
}

EXPORT void recollect_score(int index, const Part *parts, const Survivor *survivors, size_t count,
                            const double *probe, size_t dimension, float *out) {
    const float *rows[256];
    for (size_t from = 0; from < count; from += 256) {
        const size_t some = count - from < 256 ? count - from : 256;
        for (size_t i = 0; i < some; i++)
            rows[i] = parts[survivors[from + i].part].templates +
                      (size_t)survivors[from + i].row * dimension;
        runnable(index)->score(rows, some, probe, dimension, out + from);
    }
}

EXPORT void recollect_ids(const Part *parts, const Survivor *survivors, size_t count,
                          uint8_t *out) {
    for (size_t i = 0; i < count; i++)
        memcpy(out + 16 * i, parts[survivors[i].part].ids + (size_t)16 * survivors[i].row, 16);
}

EXPORT void recollect_encode(int index, const float *rows, size_t count, const float *centre,
                             const float *flips, Columns *to) {
    runnable(index)->encode(rows, count, centre, flips, to);
}

/* Read memory as fast as the processor can: the limit that a scan is measured against. */
EXPORT uint64_t recollect_stream(int index, const uint64_t *words, size_t count) {
    return runnable(index)->stream(words, count);
}

EXPORT void recollect_encode_probe(int index, float *rest, size_t size, const float *flips,
                                    uint8_t *tables, Query *q) {
    runnable(index)->encode_probe(rest, size, flips, tables, q);
}
