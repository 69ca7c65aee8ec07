// The sampled Gaussian that all units of a layer share, and rows of numbers that are smoothed by it.
#pragma once

#include <cmath>
#include <cstdint>

#include "memory.h"
#include "vector.h"

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

    // The smoothed numbers of a vector, from neighbours that are `step` apart.
    Vector smoothed(const float* centre, int64_t step) const {
        Vector total = load(centre) * value[0];
        for (int64_t j = 1; j <= radius; ++j) total += (load(centre - j * step) + load(centre + j * step)) * value[j];
        return total;
    }

    // The same with the derivative.
    Vector sloped(const float* centre, int64_t step) const {
        Vector total{};
        for (int64_t j = 1; j <= radius; ++j) total += (load(centre - j * step) - load(centre + j * step)) * slope[j];
        return total;
    }
};
