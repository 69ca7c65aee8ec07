// Units as tiles in lanes meet them: where they are in a window, and the innermost loops that add shifted windows.
#pragma once

#include <cmath>
#include <algorithm>
#include <cstdint>

#include "direct.h"
#include "lanes.h"
#include "shifts.h"
#include "vector.h"

// A unit as the innermost loops read it: its upper left pixel in a window, the right column's factor divided by the left
// one's, and the factors of both rows, with the left one's.
struct LaneUnit {
    int32_t place;
    float ratio, upper, lower;
};

// A unit as its gradients need it: its upper left pixel in a window, and how far it is beyond that pixel.
struct Position {
    int32_t place;
    float y, x;
};

// Adds shifted windows to the pixels of a part of tiles.
template <int TALL, int STRIDE>
static void add_units(const LaneUnit* units, const int32_t* counts, const float* window, int64_t line, float* pixels) {
    Vector totals[TALL][WIDE];
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) totals[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    for (int64_t k = 0, count = counts[0]; k < count; ++k) {
        const float* row = window + units[k].place;
        const Vector ratio = units[k].ratio - Vector{}, upper = units[k].upper - Vector{}, lower = units[k].lower - Vector{};
        if constexpr (STRIDE == 1) {
#pragma GCC unroll 8
            for (int y = 0; y <= TALL; ++y, row += line) {
                Vector left = loaded(row);
#pragma GCC unroll 4
                for (int x = 0; x < WIDE; ++x) {
                    const Vector right = loaded(row + (x + 1) * LANES), between = left + right * ratio;
                    if (y < TALL) totals[y][x] += between * upper;
                    if (y > 0) totals[y - 1][x] += between * lower;
                    left = right;
                }
            }
        } else {
#pragma GCC unroll 8
            for (int y = 0; y < TALL; ++y, row += STRIDE * line)
#pragma GCC unroll 4
                for (int x = 0; x < WIDE; ++x) {
                    const float* p = row + STRIDE * x * LANES;
                    totals[y][x] += (load(p) + load(p + LANES) * ratio) * upper;
                    totals[y][x] += (load(p + line) + load(p + line + LANES) * ratio) * lower;
                }
        }
    }
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) store(pixels + p * LANES, totals[p / WIDE][p % WIDE]);
}

// The adjoint for a stride of 2: each pixel of a tile gets one of a unit's four factors. Which one alternates along both
// axes, and begins with the lower and the right one where ODD_Y and ODD_X.
template <int TALL, int ODD_Y, int ODD_X>
static inline __attribute__((always_inline)) void add_back(const LaneUnit* units, int64_t count, const float* window, int64_t line, Vector (&totals)[TALL][WIDE]) {
    for (int64_t k = 0; k < count; ++k) {
        const LaneUnit& u = units[k];
        const float* from = window + u.place;
        const Vector ratio = spread(u.ratio), upper = spread(u.upper), lower = spread(u.lower), factors[2][2] = {{upper, upper * ratio}, {lower, lower * ratio}};
#pragma GCC unroll 8
        for (int y = 0; y < TALL; ++y)
#pragma GCC unroll 4
            for (int x = 0; x < WIDE; ++x)
                totals[y][x] += load(from + ((y + ODD_Y) >> 1) * line + ((x + ODD_X) >> 1) * LANES) * factors[(y + ODD_Y) & 1][(x + ODD_X) & 1];
    }
}

template <int TALL>
static void add_units_back(const LaneUnit* units, const int32_t* counts, const float* window, int64_t line, float* pixels) {
    Vector totals[TALL][WIDE];
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) totals[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    add_back<TALL, 0, 0>(units, counts[0], window, line, totals), units += counts[0];
    add_back<TALL, 0, 1>(units, counts[1], window, line, totals), units += counts[1];
    add_back<TALL, 1, 0>(units, counts[2], window, line, totals), units += counts[2];
    add_back<TALL, 1, 1>(units, counts[3], window, line, totals);
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) store(pixels + p * LANES, totals[p / WIDE][p % WIDE]);
}

typedef void (*AddUnits)(const LaneUnit*, const int32_t*, const float*, int64_t, float*);

// The loop for parts of so many rows; with a stride of 0 the adjoint for one of 2.
template <int TALL = TALLEST>
static AddUnits adder(int64_t rows, int64_t stride) {
    if constexpr (TALL > 1)
        if (rows < TALL) return adder<TALL - 1>(rows, stride);
    return stride == 0 ? add_units_back<TALL> : stride == 1 ? add_units<TALL, 1> : add_units<TALL, 2>;
}

// Finds units in windows. The loops have no branches, so that compilers make vectors of them.
struct LaneUnits {
    Window window;
    int64_t bound;
    float turn;  // 1, or -1 for displacements that are turned around
    struct {
        int64_t y, x;
    } padding;  // of the adjoint for a stride

    // Whole pixels below a displacement, and what is beyond them; as Place has it.
    static inline void split(float mu, int32_t& pixel, float& beyond) {
        const float number = mu == mu ? mu : 0;
        const int32_t towards = int32_t(number), down = towards - (number < float(towards));
        const float rest = mu - float(down);
        const bool full = rest >= 1;  // it was rounded up
        pixel = down + full, beyond = full ? 0 : rest;
    }

    // As words of one type, which compilers interleave.
    typedef int32_t Word __attribute__((may_alias));
    static inline void put(int32_t place, float w, float y, float x, Word* words) {
        words[0] = place, words[1] = __builtin_bit_cast(int32_t, x / (1 - x));
        words[2] = __builtin_bit_cast(int32_t, w * (1 - x) * (1 - y)), words[3] = __builtin_bit_cast(int32_t, w * (1 - x) * y);
    }

    void fill(const TorchdauDirectTensors& t, int64_t first, int64_t count, LaneUnit* units) const {
        const float *weight = t.weight + first, *mu = t.displacement + 2 * first;
        const int32_t line = int32_t(window.line()), around = int32_t(bound);
        Word* __restrict words = reinterpret_cast<Word*>(units);
        for (int64_t k = 0; k < count; ++k) {
            int32_t y, x;
            float beyond_y, beyond_x;
            split(turn * mu[2 * k], y, beyond_y), split(turn * mu[2 * k + 1], x, beyond_x);
            put((y + around) * line + (x + around) * LANES, weight[k], beyond_y, beyond_x, words + 4 * k);
        }
    }

    void fill(const float* mu, int64_t count, Position* units) const {
        const int32_t line = int32_t(window.line()), around = int32_t(bound);
        for (int64_t k = 0; k < count; ++k) {
            int32_t y, x;
            float beyond_y, beyond_x;
            split(mu[2 * k], y, beyond_y), split(mu[2 * k + 1], x, beyond_x);
            units[k] = {(y + around) * line + (x + around) * LANES, beyond_y, beyond_x};
        }
    }

    // For the adjoint with a stride; the lowest bits of a place say which factors come first.
    void fill_steps(const TorchdauDirectTensors& t, int64_t first, int64_t count, LaneUnit* units) const {
        const float *weight = t.weight + first, *mu = t.displacement + 2 * first;
        const int32_t line = int32_t(window.line()), top = int32_t(window.first_y), left = int32_t(window.first_x);
        const int32_t at_y = int32_t(padding.y), at_x = int32_t(padding.x);
        Word* __restrict words = reinterpret_cast<Word*>(units);
        for (int64_t k = 0; k < count; ++k) {
            int32_t y, x;
            float beyond_y, beyond_x;
            split(mu[2 * k], y, beyond_y), split(mu[2 * k + 1], x, beyond_x);
            const int32_t row = at_y - y, column = at_x - x;
            const int32_t place = ((row >> 1) - top) * line + ((column >> 1) - left) * LANES;
            put(place + (row & 1) * 2 + (column & 1), weight[k], beyond_y, beyond_x, words + 4 * k);
        }
    }
};

// Whole pixels that displacements reach. NaN counts for nothing.
static inline int64_t farthest(const float* displacement, int64_t count, int64_t bound) {
    Vector most{};
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        const Vector mu = load(displacement + k), size = mu < 0 ? -mu : mu;
        most = size > most ? size : most;
    }
    float all = 0;
    for (int lane = 0; lane < LANES; ++lane) all = std::max(all, most[lane]);
    for (; k < count; ++k) all = std::max(all, std::fabs(displacement[k]));
    return std::min<int64_t>(bound, int64_t(std::ceil(all)));
}
