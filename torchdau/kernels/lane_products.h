// Gradients of units from tiles in lanes: products of a gradient with the windows that units read, smoothed and sloped.
#pragma once

#include <cstdint>

#include "lane_units.h"
#include "lanes.h"
#include "vector.h"

constexpr int SUMS = 3;  // of a unit: what gives the gradients of its weight, and of its displacement along y and x
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int WIDEST = 8;  // columns of a tile: a row of them stays in registers
#else
constexpr int WIDEST = 4;
#endif

// Keeps the sums of a unit, or adds them to what is there.
static inline void keep(const Vector (&totals)[SUMS], float* sums, bool more) {
    for (int kind = 0; kind < SUMS; ++kind, sums += LANES) store(sums, more ? load(sums) + totals[kind] : totals[kind]);
}

// Products of tiles of a gradient, `tall` rows of WIDE pixels, with the windows of the units between two channels, for a
// stride of 1. Behind each smoothed pixel are its slopes. The gradient is interpolated in place of the windows, once for all
// three of them: a row of it along x, and between that row and the one above.
template <int WIDE>
static void add_products(const Position* units, int64_t count, const float* windows, const Window& window, int64_t tall, const float* pixels, float* sums, bool more) {
    constexpr int PARTS = WIDEST > 4 ? 3 : 2;  // sums that do not wait for each other
    const int64_t line = window.line();
    for (int64_t k = 0; k < count; ++k, sums += SUMS * LANES) {
        const float y = units[k].y, x = units[k].x, factor = (1 - y) * (1 - x);
        const Vector down = y / (1 - y) - Vector{}, right = x / (1 - x) - Vector{};
        const float *row = windows + SUMS * units[k].place, *from = pixels;
        Vector above[WIDE + 1] = {}, parts[SUMS][PARTS] = {};
        const auto multiply = [&](int column, Vector gradient) {
#pragma GCC unroll 3
            for (int kind = 0; kind < SUMS; ++kind) parts[kind][column % PARTS] += gradient * load(row + (column * SUMS + kind) * LANES);
        };
        for (int64_t r = 0; r < tall; ++r, from += WIDE * LANES) {
            Vector left{};
#pragma GCC unroll 9
            for (int column = 0; column <= WIDE; ++column) {
                Vector here{}, along = left * right;
                if (column < WIDE) here = loaded(from + column * LANES), along = column ? along + here : here;
                multiply(column, along + above[column] * down);
                above[column] = along, left = here;
            }
            row = kept(row + SUMS * line);
        }
#pragma GCC unroll 9
        for (int column = 0; column <= WIDE; ++column) multiply(column, above[column] * down);
        Vector totals[SUMS];
        for (int kind = 0; kind < SUMS; ++kind)  // an image's slope is against the displacement's
            totals[kind] = (parts[kind][0] + parts[kind][1] + (PARTS > 2 ? parts[kind][PARTS - 1] : Vector{})) * (kind ? -factor : factor);
        keep(totals, sums, more);
    }
}

// The same for any stride, from the products with each of the four pixels that a unit reads. EXACT: with the differences of
// the smoothed window alone.
template <int WIDE, int STRIDE, bool EXACT>
static void add_corners(const Position* units, int64_t count, const float* windows, const Window& window, int64_t tall, const float* pixels, float* sums, bool more) {
    constexpr int KINDS = EXACT ? 1 : SUMS, PARTS = EXACT ? 2 : 1;  // enough sums that do not wait for each other
    const int64_t line = KINDS * window.line();
    for (int64_t k = 0; k < count; ++k, sums += SUMS * LANES) {
        const float y = units[k].y, x = units[k].x;
        const float *row[2], *from = pixels;
        for (int below = 0; below < 2; ++below) row[below] = kept(windows + KINDS * units[k].place + below * line);
        Vector corners[KINDS][2][2][PARTS] = {};
        for (int64_t r = 0; r < tall; ++r, from += WIDE * LANES) {
#pragma GCC unroll 8
            for (int column = 0; column < WIDE; ++column) {
                const Vector gradient = loaded(from + column * LANES);
#pragma GCC unroll 12
                for (int c = 0; c < 4 * KINDS; ++c)
                    corners[c / 4][c / 2 % 2][c % 2][column % PARTS] += gradient * load(row[c / 2 % 2] + ((STRIDE * column + c % 2) * KINDS + c / 4) * LANES);
            }
            for (int below = 0; below < 2; ++below) row[below] = kept(row[below] + STRIDE * line);
        }
        Vector totals[SUMS];
        for (int kind = 0; kind < KINDS; ++kind) {
            const auto corner = [&](int below, int beside) {
                const auto& parts = corners[kind][below][beside];
                return EXACT ? parts[0] + parts[PARTS - 1] : parts[0];
            };
            const Vector upper = corner(0, 0) * (1 - x) + corner(0, 1) * x, lower = corner(1, 0) * (1 - x) + corner(1, 1) * x;
            const Vector total = upper * (1 - y) + lower * y;
            totals[kind] = kind ? -total : total;  // an image's slope is against the displacement's
            if constexpr (EXACT) {
                totals[1] = lower - upper;
                totals[2] = (corner(0, 1) - corner(0, 0)) * (1 - y) + (corner(1, 1) - corner(1, 0)) * y;
            }
        }
        keep(totals, sums, more);
    }
}

// Adds up the lanes of each of `count` vectors.
static inline void add_lanes(const float* vectors, int64_t count, float* totals) {
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) store(totals + k, sums_of(vectors + k * LANES));
    for (; k < count; ++k) totals[k] = sum(load(vectors + k * LANES));
}
