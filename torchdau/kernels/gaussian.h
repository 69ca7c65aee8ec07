// The sampled Gaussian that all units of a layer share, and planes that are smoothed by it.
#pragma once

#include <cmath>
#include <cstdint>

#include "memory.h"
#include "vector.h"

constexpr int64_t LARGEST_RADIUS = 40;  // torchdau/algorithms/direct/native.py knows it too

struct Gaussian {
    int64_t radius;
    float *value, *slope;  // at the pixels 0..radius

    Gaussian(int64_t radius, Memory& memory) : radius(radius), value(memory.floats(radius + 1)), slope(memory.floats(radius + 1)) {}

    // The zero-mean Gaussian, normalised: equation (4) of the paper; and its derivative in the displacement: equation (16).
    void fill(float sigma) const {
        const double sharp = 1 / (double(sigma) * sigma);
        double total = 0;
        for (int64_t j = -radius; j <= radius; ++j) total += std::exp(-0.5 * double(j * j) * sharp);
        for (int64_t j = 0; j <= radius; ++j) {
            const double share = std::exp(-0.5 * double(j * j) * sharp) / total;
            value[j] = float(share), slope[j] = float(share * double(j) * sharp);
        }
    }
};

// A Gaussian in registers. RADIUS is -1 where the compiler does not know it.
template <int RADIUS>
struct Smoother {
    static constexpr int64_t ROOM = RADIUS < 0 ? LARGEST_RADIUS : RADIUS;
    const int64_t radius;
    Vector value[ROOM + 1], slope[ROOM + 1];

    explicit Smoother(const Gaussian& gauss) : radius(RADIUS < 0 ? gauss.radius : RADIUS) {
        for (int64_t j = 0; j <= radius; ++j) value[j] = Vector{} + gauss.value[j], slope[j] = Vector{} + gauss.slope[j];
    }

    // The smoothed numbers of a vector; at(j) are those j pixels further.
    template <class At>
    Vector smoothed(At at) const {
        Vector total = at(0) * value[0];
#pragma GCC unroll 4
        for (int64_t j = 1; j <= radius; ++j) total += (at(-j) + at(j)) * value[j];
        return total;
    }

    // The same with the derivative.
    template <class At>
    Vector sloped(At at) const {
        Vector total{};
#pragma GCC unroll 4
        for (int64_t j = 1; j <= radius; ++j) total += (at(-j) - at(j)) * slope[j];
        return total;
    }
};

// Rows of numbers with a margin of the Gaussian's radius on each side: STEP numbers from pixel to pixel, `line` from row to
// row. Of the rows, those before `first` and from `last` on are zero.
template <int STEP>
struct Unsmoothed {
    const float* begin;  // of the margin
    int64_t line, first, last;
};

template <int RADIUS, int STEP, bool SLOPES, class Write>
static inline void smooth_by(const Gaussian& gauss, const Unsmoothed<STEP> from, const int64_t rows, const int64_t columns, const Write write, const int64_t step) {
    const Smoother<RADIUS> by(gauss);
    const int64_t r = by.radius, around = 2 * r;
    for (int64_t x = 0; x < columns; x += LANES) {
        Vector along[2 * Smoother<RADIUS>::ROOM + 1], slope_along[SLOPES ? 2 * Smoother<RADIUS>::ROOM + 1 : 1];  // of the rows around
        const float* centre = from.begin + r * STEP + x;
        const auto read = [&](int64_t row, int64_t j) {  // the j-th of the rows around
            const bool some = row >= from.first && row < from.last;
            const auto at = [&](int64_t k) { return load(centre + k * STEP); };
            along[j] = some ? by.smoothed(at) : Vector{};
            if constexpr (SLOPES) slope_along[j] = some ? by.sloped(at) : Vector{};
            centre += from.line;
        };
#pragma GCC unroll 8
        for (int64_t j = 0; j < around; ++j) read(j, j);
        for (int64_t y = 0, written = 0; y < rows; ++y) {
            read(y + around, around);
            if (y == written * step) {
                const auto at = [&](int64_t k) { return along[r + k]; };
                const Vector value = by.smoothed(at);
                if constexpr (SLOPES) write(written, x, value, by.sloped(at), by.smoothed([&](int64_t k) { return slope_along[r + k]; }));
                else write(written, x, value);
                ++written;
            }
#pragma GCC unroll 8
            for (int64_t j = 0; j < around; ++j) {
                along[j] = along[j + 1];
                if constexpr (SLOPES) slope_along[j] = slope_along[j + 1];
            }
        }
    }
}

// Calls write(y, x, smoothed) for each vector of rows and columns; with SLOPES write(y, x, smoothed, slope along y, along x). Of
// the rows only every `step`-th is written, and y counts those.
// What `write` needs it should hold by value: what it refers to is read again after each vector that it stores.
template <bool SLOPES = false, int STEP, class Write>
static inline void smooth(const Gaussian& gauss, const Unsmoothed<STEP>& from, int64_t rows, int64_t columns, Write write, int64_t step = 1) {
    switch (gauss.radius) {
        case 0: return smooth_by<0, STEP, SLOPES>(gauss, from, rows, columns, write, step);
        case 1: return smooth_by<1, STEP, SLOPES>(gauss, from, rows, columns, write, step);
        case 2: return smooth_by<2, STEP, SLOPES>(gauss, from, rows, columns, write, step);
        case 3: return smooth_by<3, STEP, SLOPES>(gauss, from, rows, columns, write, step);
        default: return smooth_by<-1, STEP, SLOPES>(gauss, from, rows, columns, write, step);
    }
}
