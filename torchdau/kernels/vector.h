// The vector type of a variant, and the few operations on it that need more than + - *.
//
// Vectors are the compilers' own (GCC 12, Clang 15 or newer), so the same source serves every machine. Which variant is
// built is told by the flags of the compiler alone.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX__) || defined(__SSE__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 4;  // 32 registers: tiles of 4 scalars by 2 vectors by 3 products
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 2;  // 16 registers
#elif defined(__aarch64__)
constexpr int LANES = 4, ROWS = 4;  // 32 registers
#else
constexpr int LANES = 4, ROWS = 2;
#endif
constexpr int VECTORS = 2;             // of a tile
constexpr int BLOCK = VECTORS * LANES;  // channels that are computed together

typedef float Vector __attribute__((vector_size(4 * LANES), may_alias));
typedef float Unaligned __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));

static inline Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }

// A vector kept in a register: compilers would make it again for each use.
static inline Vector in_register(Vector v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__AVX__)
    asm("" : "+x"(v));
#endif
    return v;
}

static inline Vector loaded(const float* p) { return in_register(load(p)); }

// A number in all lanes, made as such: compilers would compute with the number before.
static inline Vector spread(float number) { return in_register(number - Vector{}); }

// An address kept in a register of its own: compilers would add offsets to another one at each use.
static inline const float* kept(const float* p) {
    asm("" : "+r"(p));
    return p;
}

static inline void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }

// The first numbers of a vector, fewer than it has; the others are zero.
static inline Vector load_some(const float* p, int64_t count) {
#if defined(__AVX512F__)
    return reinterpret_cast<Vector>(_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p));
#elif defined(__AVX__)
    static const int32_t mask[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return reinterpret_cast<Vector>(_mm256_maskload_ps(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask + LANES - count))));
#else
    Vector v{};
    std::memcpy(&v, p, sizeof(float) * count);
    return v;
#endif
}

static inline Vector load_within(const float* p, int64_t left) { return left >= LANES ? load(p) : load_some(p, left); }

// Copies numbers; what is a vector or less behind them may become zero.
static inline void copy(float* to, const float* from, int64_t count) {
    for (; count >= LANES; count -= LANES, to += LANES, from += LANES) store(to, load(from));
    store(to, load_some(from, count));
}

// Stores past the caches what is read again only after much else: p is aligned to the vector.
static inline void stream(float* p, Vector v) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, reinterpret_cast<__m512>(v));
#elif defined(__AVX__)
    _mm256_stream_ps(p, reinterpret_cast<__m256>(v));
#elif defined(__SSE__)
    _mm_stream_ps(p, reinterpret_cast<__m128>(v));
#else
    *reinterpret_cast<Vector*>(p) = v;
#endif
}

// Makes streamed stores visible to other threads.
static inline void fence() {
#if defined(__SSE__)
    _mm_sfence();
#endif
}

// Asks for numbers that will be needed soon.
static inline void prefetch(const float* p, int64_t count) {
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(p + i, 0, 2);
}

// Whole numbers: adding 1.5 * 2^23 leaves no digits after the point.
static inline Vector nearest(Vector x) { return (x + 12582912.f) - 12582912.f; }

// Powers of e, of numbers up to 88; below -87 the least normal number.
static inline Vector exponential(Vector x) {
    typedef int32_t Integers __attribute__((vector_size(4 * LANES), may_alias));
    x = x < -87 ? Vector{} - 87 : x;
    const Vector power = nearest(x * 1.44269504f);
    const Vector r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    Vector series = r * (1.f / 5040) + 1.f / 720;
    for (const float factor : {1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) series = series * r + factor;
    const Integers exponent = (__builtin_convertvector(power, Integers) + 127) << 23;
    return series * reinterpret_cast<const Vector&>(exponent);
}

// The other half of each pair of WIDTH lanes; and the lower or upper halves of all pairs of two vectors.
template <int WIDTH, int... LANE>
static inline Vector swapped(Vector v, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(v, v, (LANE ^ WIDTH)...);
}
template <int WIDTH, bool UPPER, int... LANE>
static inline Vector halves(Vector a, Vector b, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(a, b, ((LANE & WIDTH ? LANES + LANE - WIDTH : LANE) + (UPPER ? WIDTH : 0))...);
}
template <int... LANE>
static inline Vector rotated(Vector v, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(v, v, ((LANE + 1) % LANES)...);
}
typedef std::make_integer_sequence<int, LANES> Lanes;

// The first numbers of a vector, fewer than it has.
template <int WIDTH = LANES / 2>
static inline void store_some(float* p, Vector v, int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), reinterpret_cast<__m512>(v));
#else
    if (count & WIDTH) std::memcpy(p, &v, sizeof(float) * WIDTH), p += WIDTH, v = swapped<WIDTH>(v, Lanes());
    if constexpr (WIDTH > 1) store_some<WIDTH / 2>(p, v, count);
#endif
}

// As many numbers of a vector as there is room for, `left` at most.
static inline void store_within(float* p, Vector v, int64_t left) { left >= LANES ? store(p, v) : store_some(p, v, left); }

// Each lane's right neighbour; the last lane gets the first one.
static inline Vector next_lanes(Vector v) { return rotated(v, Lanes()); }

// Every other lane from the first on, and then those again.
template <int... LANE>
static inline Vector every_other(Vector v, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(v, v, (2 * LANE)...);
}
static inline Vector even_lanes(Vector v) { return every_other(v, Lanes()); }

// Where PICKS: the numbers of a table of 2 * LANES at places of each lane's own.
#if defined(__AVX512F__)
constexpr bool PICKS = true;
typedef int32_t Places __attribute__((vector_size(4 * LANES), may_alias));

static inline Vector rounded_down(Vector v) {
    return reinterpret_cast<Vector>(_mm512_floor_ps(reinterpret_cast<__m512>(v)));
}
static inline Places whole(Vector v) { return reinterpret_cast<Places>(_mm512_cvttps_epi32(reinterpret_cast<__m512>(v))); }

static inline Vector picked(const float* table, Places places) {
    return reinterpret_cast<Vector>(_mm512_permutex2var_ps(
        _mm512_loadu_ps(table), reinterpret_cast<__m512i>(places), _mm512_loadu_ps(table + LANES)));
}
#else
constexpr bool PICKS = false;
#endif

template <int WIDTH = LANES / 2>
static inline float sum(Vector v) {
    v += swapped<WIDTH>(v, Lanes());
    if constexpr (WIDTH > 1) return sum<WIDTH / 2>(v);
    return v[0];
}

// Rows to columns: afterwards lane j of rows[i] is what lane i of rows[j] was. Fewer rows than lanes: of each block of as many lanes.
template <int WIDTH = LANES / 2, int COUNT>
static inline __attribute__((always_inline)) void transpose(Vector (&rows)[COUNT]) {
#pragma GCC unroll 16
    for (int row = 0; row < COUNT; ++row) {
        if (row & WIDTH) continue;
        const Vector a = rows[row], b = rows[row + WIDTH];
        rows[row] = halves<WIDTH, false>(a, b, Lanes());
        rows[row + WIDTH] = halves<WIDTH, true>(a, b, Lanes());
    }
    if constexpr (WIDTH > 1) transpose<WIDTH / 2>(rows);
}

// The sums of as many vectors as one has lanes.
template <int WIDTH = LANES / 2>
static inline Vector sums_of(Vector (&rows)[LANES]) {
#pragma GCC unroll 8
    for (int row = 0; row < WIDTH; ++row) {
        const Vector a = rows[row], b = rows[row + WIDTH];
        rows[row] = halves<WIDTH, false>(a, b, Lanes()) + halves<WIDTH, true>(a, b, Lanes());
    }
    if constexpr (WIDTH > 1) return sums_of<WIDTH / 2>(rows);
    return rows[0];
}
static inline Vector sums_of(const float* vectors) {
    Vector rows[LANES];
    for (int row = 0; row < LANES; ++row) rows[row] = load(vectors + row * LANES);
    return sums_of(rows);
}
