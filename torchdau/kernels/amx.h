// Products of small matrices in bfloat16 by the tiles of AMX, and numbers in bfloat16.
//
// A tile has up to 16 rows of 64 bytes. C (16, 16) += A (16, k) B (k, 16), where C is float32 and k are pairs of bfloat16: the
// numbers of a row of A two by two, and each row of B two numbers for each of the 16 columns.
#pragma once

#if defined(__AMX_BF16__)

#include <cpuid.h>
#include <cstdint>
#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"
#include "vector.h"

typedef uint16_t Number16;  // in bfloat16

constexpr int TILE = 16;                       // rows of a tile, its columns of float32, and pairs of bfloat16 in a row
constexpr int TILE_NUMBERS = 2 * TILE * TILE;  // bfloat16 numbers of a tile
constexpr int HALVES = BLOCK / TILE;           // of a block of channels

// Whether the processor has AMX for bfloat16, and Linux lets this process use it, for which it has to be asked.
static inline bool amx_serves() {
    constexpr unsigned TILES = 1u << 24, PRODUCTS = 1u << 22, NUMBERS = 1u << 5;
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    unsigned a, b, c, d, more;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !__get_cpuid_count(7, 1, &more, &a, &b, &c)) return false;
    return d & TILES && d & PRODUCTS && more & NUMBERS && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

// The tiles of a thread: 0 to 3 are sums, 4 and 5 are A with `pairs` in a row, 6 and 7 are B with as many rows.
class AmxTiles {
   public:
    AmxTiles() = default;
    AmxTiles(const AmxTiles&) = delete;
    ~AmxTiles() { asm volatile("tilerelease" ::: "memory"); }

    void configure(int pairs) {
        if (pairs == pairs_) return;
        pairs_ = pairs;
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } shape;
        for (int tile = 0; tile < 8; ++tile) {
            shape.rows[tile] = uint8_t(tile < 6 ? TILE : pairs);
            shape.bytes[tile] = uint16_t(tile == 4 || tile == 5 ? 4 * pairs : 64);
        }
        asm volatile("ldtilecfg %0" ::"m"(shape) : "memory");
    }

   private:
    int pairs_ = 0;
};

template <int NUMBER>
static inline void zero_tile() {
    asm volatile("tilezero %%tmm%c0" ::"i"(NUMBER));
}
// Rows are `step` bytes apart.
template <int NUMBER>
static inline void load_tile(const void* from, int64_t step) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(step), "i"(NUMBER) : "memory");
}
template <int NUMBER>
static inline void store_tile(void* to, int64_t step) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(step), "i"(NUMBER) : "memory");
}
template <int C, int A, int B>
static inline void multiply_tiles() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

// The numbers of two halves of a vector side by side: those of lane j of the first and of the second.
static inline __m512i interleaved(__m512i halves) {
    alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(order), halves);
}

// Pairs of numbers in bfloat16, one of each vector.
static inline __m512i pairs(Vector first, Vector second) {
    return interleaved(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first))));
}
// Of pairs (a, b): (a, -b), and (-b, a).
static inline __m512i conjugate(__m512i pairs) { return _mm512_xor_si512(pairs, _mm512_set1_epi32(int(0x80000000))); }
static inline __m512i turned(__m512i pairs) {
    return _mm512_xor_si512(_mm512_rol_epi32(pairs, 16), _mm512_set1_epi32(0x8000));
}
static inline Number16 rounded(float number) {
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    return Number16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline __m256i rounded(Vector v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v))); }
static inline Vector widened(__m256i numbers) {
    return reinterpret_cast<Vector>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
}
static inline __mmask16 first_lanes(int64_t count) { return count >= 16 ? __mmask16(-1) : count <= 0 ? 0 : __mmask16((1u << count) - 1); }

// How many pairs of a long sum a tile takes: as many as it has room for. The last tile takes pairs again that another one had,
// rather than those behind the end; there, A is zero.
struct Steps {
    int all, pairs, count;

    explicit Steps(int64_t all) : all(int(all)), pairs(all < TILE ? int(all) : TILE), count(int((all + TILE - 1) / TILE)) {}
    int first(int step) const { return step + 1 < count ? step * TILE : all - pairs; }
    int again(int step) const { return step * TILE - first(step); }
};

// A constant matrix (rows, pairs of numbers) as tiles; it multiplies the pairs of a block of channels.
class Constant {
   public:
    Constant(int64_t rows, int64_t pairs, Memory& memory) : tiles_((rows + TILE - 1) / TILE), steps_(pairs) {
        begin_ = reinterpret_cast<Number16*>(memory.floats(tiles_ * steps_.count * TILE_NUMBERS / 2));
    }

    // The bits of each pair(row, number of the pair).
    template <class Pair>
    void fill(Pair pair) const {
        uint32_t* to = reinterpret_cast<uint32_t*>(begin_);
        for (int64_t tile = 0; tile < tiles_; ++tile)
            for (int step = 0; step < steps_.count; ++step)
                for (int row = 0; row < TILE; ++row)
                    for (int column = 0; column < TILE; ++column) {
                        const bool there = column < steps_.pairs && column >= steps_.again(step);
                        *to++ = there ? pair(tile * TILE + row, steps_.first(step) + column) : 0;
                    }
    }

    // Calls use(tile of rows, half of the block, their sums (row, channel)). The pairs of b are (pair, half, channel), the pairs
    // `step` numbers apart; `sums` is room for four tiles of float32.
    template <class Use>
    void multiply(const Number16* b, int64_t step, AmxTiles& tiles, float* sums, Use use) const {
        tiles.configure(steps_.pairs);
        int64_t tile = 0;
        for (; tile + 2 <= tiles_; tile += 2) {
            zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
            for (int k = 0; k < steps_.count; ++k) {
                const Number16* from = b + steps_.first(k) * step;
                load_tile<4>(at(tile, k), 64), load_tile<6>(from, 2 * step);
                multiply_tiles<0, 4, 6>();
                load_tile<7>(from + 2 * TILE, 2 * step);
                multiply_tiles<1, 4, 7>();
                load_tile<5>(at(tile + 1, k), 64);
                multiply_tiles<2, 5, 6>(), multiply_tiles<3, 5, 7>();
            }
            store_tile<0>(sums, 64), store_tile<1>(sums + TILE * TILE, 64);
            store_tile<2>(sums + 2 * TILE * TILE, 64), store_tile<3>(sums + 3 * TILE * TILE, 64);
            for (int which = 0; which < 4; ++which) use(tile + which / 2, which % 2, sums + which * TILE * TILE);
        }
        if (tile == tiles_) return;
        zero_tile<0>(), zero_tile<1>();
        for (int k = 0; k < steps_.count; ++k) {
            const Number16* from = b + steps_.first(k) * step;
            load_tile<4>(at(tile, k), 64), load_tile<6>(from, 2 * step), load_tile<7>(from + 2 * TILE, 2 * step);
            multiply_tiles<0, 4, 6>(), multiply_tiles<1, 4, 7>();
        }
        store_tile<0>(sums, 64), store_tile<1>(sums + TILE * TILE, 64);
        use(tile, 0, sums), use(tile, 1, sums + TILE * TILE);
    }

   private:
    const Number16* at(int64_t tile, int step) const { return begin_ + (tile * steps_.count + step) * TILE_NUMBERS; }

    int64_t tiles_;
    Steps steps_;
    Number16* begin_;
};

#endif
