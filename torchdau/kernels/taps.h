// A unit along one axis as a row of weights, and their derivatives, for any sigma and both forms (torchdau/profile.py).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

// How units look along an axis.
struct Form {
    bool gaussian;  // the Gaussian form, else the bilinear one
    bool exact;     // the exact gradient of the displacement, else the smooth one
    int64_t bound, radius;

    int64_t reach() const { return bound + radius; }
    // Weights of a unit that are not zero, or not so far out that float32 has no room for them: 6.5 sigma.
    int64_t taps() const { return gaussian ? std::min(2 * reach() + 1, 2 * ((13 * radius + 5) / 6) + 2) : 2 * radius + 2; }
};

// The weights of a unit, and what stands for their derivatives in displacement and sigma; `first` is the pixel of the first.
struct Taps {
    float *value, *by_displacement, *by_sigma;
    int64_t first;

    void fill(const Form& form, float mu, float sigma) {
        form.gaussian ? drawn(form, mu, sigma) : interpolated(form, mu, sigma);
    }

   private:
    // The Gaussian at whole pixels, between two of which the unit lies: equations (11) to (14) and (16) of the paper.
    void interpolated(const Form& form, float mu, float sigma) {
        const int64_t r = form.radius, pixel = mu == mu ? int64_t(std::floor(mu)) : 0;
        const double a = double(mu) - double(pixel), s2 = double(sigma) * sigma;
        double total = 0, square = 0;
        for (int64_t j = -r; j <= r; ++j) {
            const double g = std::exp(-0.5 * double(j * j) / s2);
            total += g, square += g * double(j * j);
        }
        const double mean = square / total;
        double before = 0, slope_before = 0, spread_before = 0;  // of the pixel before
        for (int64_t t = 0; t < 2 * r + 2; ++t) {
            const double j = double(t - r), g = t <= 2 * r ? std::exp(-0.5 * j * j / s2) / total : 0;
            const double slope = g * j / s2, spread = g * (j * j - mean) / (s2 * sigma);
            value[t] = float((1 - a) * g + a * before);
            by_displacement[t] = float(form.exact ? before - g : (1 - a) * slope + a * slope_before);
            by_sigma[t] = float((1 - a) * spread + a * spread_before);
            before = g, slope_before = slope, spread_before = spread;
        }
        first = pixel - r;
    }

    // The Gaussian drawn at mu, normalised over the window: equations (2) to (4).
    void drawn(const Form& form, float mu, float sigma) {
        const int64_t taps = form.taps(), reach = form.reach(), pixel = mu == mu ? int64_t(std::floor(mu)) : 0;
        const double s2 = double(sigma) * sigma, near = mu == mu ? std::round(double(mu)) - mu : 0;
        first = std::clamp(pixel - taps / 2 + 1, -reach, reach + 1 - taps);
        double total = 0, moment = 0, square = 0;
        for (int64_t t = 0; t < taps; ++t) {
            const double d = double(first + t) - mu, g = std::exp((near * near - d * d) / (2 * s2));  // at most 1
            total += g, moment += g * d, square += g * d * d;
        }
        moment /= total, square /= total;
        for (int64_t t = 0; t < taps; ++t) {
            const double d = double(first + t) - mu, g = std::exp((near * near - d * d) / (2 * s2)) / total;
            value[t] = float(g);
            by_displacement[t] = float(g * (d - moment) / s2);
            by_sigma[t] = float(g * (d * d - square) / (s2 * sigma));
        }
    }
};
