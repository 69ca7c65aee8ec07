// Images that are shifted by units, bilinearly between pixels: sums of shifted images, and products with them.
//
// A pixel of a shifted image lies between two columns and two rows. Each row is interpolated along x once, t = x0 + ratio x1,
// and used for the row of the result above and below: 3 multiply-adds for each unit and pixel.
#pragma once

#include <cmath>
#include <cstdint>

#include "vector.h"

// Rows in memory, `line` numbers apart.
struct Plane {
    float* begin;
    int64_t line, size = 0;  // numbers to the next plane, where there are several

    float* row(int64_t y) const { return begin + y * line; }
    Plane at(int64_t number) const { return {begin + number * size, line}; }
};

// A displacement along one axis: whole pixels below it, and what is beyond them, less than 1. NaN stays beyond pixel 0.
struct Place {
    int64_t pixel;
    float beyond;

    explicit Place(float mu) : pixel(mu == mu ? int64_t(std::floor(mu)) : 0), beyond(mu - pixel) {
        if (beyond >= 1) ++pixel, beyond = 0;  // it was rounded up
    }
};

// A shift as it is added up: where its upper left pixel lies in a plane with a margin, and the factors of its four pixels.
struct Shift {
    int64_t place;
    float ratio, upper, lower;  // the right column's factor divided by the left one's; those of both rows, with the left one's

    bool adds() const { return upper != 0 || lower != 0; }
};

// The shift of a unit that reads an image, whose margin is `bound` pixels wide.
static inline Shift forth(float weight, const float* displacement, int64_t bound, int64_t line) {
    const Place y(displacement[0]), x(displacement[1]);
    const float a = y.beyond, b = x.beyond, w = weight * (1 - b);
    return {(y.pixel + bound) * line + x.pixel + bound, b / (1 - b), w * (1 - a), w * a};
}

// The adjoint: a shift by as much in the other direction, from a margin that is one pixel wider.
static inline Shift back(float weight, const float* displacement, int64_t bound, int64_t line) {
    const Place y(displacement[0]), x(displacement[1]);
    const float a = y.beyond, b = x.beyond, w = weight * (b == 0 ? 1 : b);
    return {(bound - y.pixel) * line + bound - x.pixel + (b == 0), b == 0 ? 0 : (1 - b) / b, w * a, w * (1 - a)};
}

constexpr int TALL_SUM = 8;  // most rows that are accumulated in registers

// The `rows` and `left` columns of a sum of shifts that are left, TALL rows of a vector at most; `more` adds to what is there.
template <int TALL>
static inline void add_rows(const Shift* shifts, int64_t count, const float* source, int64_t line, const Plane& target, float* to, int64_t rows, int64_t left, bool more) {
    Vector totals[TALL];
#pragma GCC unroll 8
    for (int row = 0; row < TALL; ++row)
        totals[row] = more && row < rows ? load_within(to + row * target.line, left) : Vector{};
    for (int64_t k = 0; k < count; ++k) {
        const float* pixels = source + shifts[k].place;
        const float ratio = shifts[k].ratio, upper = shifts[k].upper, lower = shifts[k].lower;
        Vector above = load(pixels) + load(pixels + 1) * ratio;
#pragma GCC unroll 8
        for (int row = 0; row < TALL; ++row) {
            pixels += line;
            const Vector below = load(pixels) + load(pixels + 1) * ratio;
            totals[row] += above * upper;
            totals[row] += below * lower;
            above = below;
        }
    }
#pragma GCC unroll 8
    for (int row = 0; row < TALL; ++row, to += target.line)
        if (row < rows) store_within(to, totals[row], left);
}

// A sum of shifts; blocks of TALL_SUM rows and whole vectors are read. `more` adds to what is there.
static inline void add_up(const Shift* shifts, int64_t count, const Plane& source, const Plane& target, int64_t rows, int64_t columns, bool more) {
    for (int64_t x = 0; x < columns; x += LANES)
        for (int64_t y = 0; y < rows; y += TALL_SUM) {
            const auto add = rows - y > TALL_SUM / 2 ? add_rows<TALL_SUM> : add_rows<TALL_SUM / 2>;
            add(shifts, count, source.row(y) + x, source.line, target, target.row(y) + x, rows - y, columns - x, more);
        }
}

// What shifted images are multiplied with: a gradient and, for the smooth gradient of displacements, its slopes.
struct Gradient {
    Plane value, slope_y, slope_x;
    int64_t rows, columns;  // whole vectors of columns
};

// Adds the sums that give a unit's gradients: of its weight, and of its displacement along y and x, to be multiplied by the weight.
template <bool EXACT>
static inline void add_products(const float* displacement, int64_t bound, const Plane& image, const Gradient& gradient, double* sums) {
    const Place y(displacement[0]), x(displacement[1]);
    const float a = y.beyond, b = x.beyond;
    const float* source = image.row(y.pixel + bound) + x.pixel + bound;
    Vector value{}, along_y{}, along_x{};
    for (int64_t c = 0; c < gradient.columns; c += LANES) {
        const float* pixels = source + c;
        Vector left = load(pixels), right = load(pixels + 1), above = left * (1 - b) + right * b, step = right - left;
        for (int64_t row = 0; row < gradient.rows; ++row) {
            pixels += image.line;
            left = load(pixels), right = load(pixels + 1);
            const Vector below = left * (1 - b) + right * b, shifted = above * (1 - a) + below * a;
            const Vector factor = load(gradient.value.row(row) + c);
            value += shifted * factor;
            if constexpr (EXACT) {
                along_y += (below - above) * factor;
                along_x += (step * (1 - a) + (right - left) * a) * factor;
                step = right - left;
            } else {
                along_y += shifted * load(gradient.slope_y.row(row) + c);
                along_x += shifted * load(gradient.slope_x.row(row) + c);
            }
            above = below;
        }
    }
    sums[0] += sum(value), sums[1] += sum(along_y), sums[2] += sum(along_x);
}
