// Units to their 1-D spectra along an axis, and gradients of these to gradients of the units (torchdau/profile.py).
#pragma once

#include <cmath>
#include <cstdint>

#include "memory.h"
#include "vector.h"

struct Profile {
    int32_t gaussian;  // the Gaussian form, else the bilinear one
    int32_t exact;     // the exact gradient of the displacement, else the smooth one
    int32_t first, last, radius;
};

enum Quantity { VALUE, BY_DISPLACEMENT, BY_SIGMA };

// As many units as there are lanes, and what stands for their derivatives, at some pixels.
struct Samples {
    int pixels;
    float* by[3];  // quantity: (pixel, lane)

    explicit Samples(const Profile& profile, Memory& memory) : pixels(profile.gaussian ? profile.last + 1 - profile.first : profile.radius + 1) {
        for (float*& each : by) each = memory.floats(int64_t(pixels) * LANES);
    }

    // The zero-mean Gaussian at the pixels 0, 1, 2, ...: equations (4) and (16) of the paper.
    void centred(Vector sigma) const {
        const Vector s2 = sigma * sigma;
        Vector total = Vector{} + 1, square{};
        for (int j = 0; j < pixels; ++j) {
            const Vector g = exponential(float(j * j) * -0.5f / s2);
            store(by[VALUE] + j * LANES, g);
            if (j) total += 2 * g, square += g * float(2 * j * j);
        }
        const Vector scale = 1 / total, mean = square * scale;
        for (int j = 0; j < pixels; ++j) {
            const Vector g = load(by[VALUE] + j * LANES) * scale;
            store(by[VALUE] + j * LANES, g);
            store(by[BY_DISPLACEMENT] + j * LANES, g * float(j) / s2);
            store(by[BY_SIGMA] + j * LANES, g * (float(j * j) - mean) / (s2 * sigma));
        }
    }

    // The Gaussian drawn at mu, at the pixels from `first` on, normalised over them: equations (2) to (4).
    void drawn(Vector mu, Vector sigma, int first) const {
        const Vector s2 = sigma * sigma, middle = nearest(mu), twice = 2 * (middle - mu);
        Vector total{}, moment{}, square{};
        for (int j = 0; j < pixels; ++j) {  // the distance and its square beyond those of the nearest pixel, which lose no digits
            const Vector i = float(first + j) - middle, more = i * (i + twice), g = exponential(more * -0.5f / s2);
            store(by[VALUE] + j * LANES, g);
            total += g, moment += g * i, square += g * more;
        }
        const Vector scale = 1 / total;
        moment *= scale, square *= scale;
        for (int j = 0; j < pixels; ++j) {
            const Vector i = float(first + j) - middle, more = i * (i + twice), g = load(by[VALUE] + j * LANES) * scale;
            store(by[VALUE] + j * LANES, g);
            store(by[BY_DISPLACEMENT] + j * LANES, g * (i - moment) / s2);
            store(by[BY_SIGMA] + j * LANES, g * (more - square) / (s2 * sigma));
        }
    }
};

// Spectra along one axis. Cosines and sines of `half` frequencies each, of which frequencies() are used, make a row.
class UnitSpectra {
   public:
    UnitSpectra(const Profile& profile, int length, double shift, Memory& memory)
        : profile_(profile), length_(length), shift_(shift), half_((length / 2 + LANES) / LANES * LANES) {
        waves_ = memory.floats(int64_t(profile.last + 2 - profile.first) * row());
        for (float*& pairs : pairs_) pairs = memory.floats(int64_t(profile.radius + 1) * half_);
        for (float*& kernel : kernels_) kernel = memory.floats(half_);
        picks_ = PICKS && !profile.gaussian && profile.last + 2 - profile.first <= 2 * LANES;
        by_place_ = memory.floats(picks_ ? int64_t(frequencies()) * 2 * 2 * LANES : 0);
    }

    int frequencies() const { return length_ / 2 + 1; }
    int64_t row() const { return 2 * half_; }

    // Whether each unit has a Gaussian of its own.
    bool owned() const { return !shared_ && !profile_.gaussian; }

    void fill(const float* shared_sigma) {
        for (int q = profile_.first; q <= profile_.last + 1; ++q)
            for (int k = 0; k < half_; ++k) {
                double angle = 2 * M_PI / length_ * std::fmod(k * (q + shift_), length_);
                float* wave = waves_ + int64_t(q - profile_.first) * row();
                wave[k] = float(std::cos(angle)), wave[half_ + k] = float(std::sin(angle));
            }
        for (int k = 0; picks_ && k < frequencies(); ++k)
            for (int q = 0; q < 2 * LANES; ++q)
                for (int part = 0; part < 2; ++part) {
                    const bool there = q <= profile_.last + 1 - profile_.first;
                    by_place_[(k * 2 + part) * 2 * LANES + q] = there ? waves_[q * row() + part * half_ + k] : 0;
                }
        for (int j = 0; j <= profile_.radius; ++j)
            for (int k = 0; k < half_; ++k) {
                double angle = 2 * M_PI / length_ * std::fmod(double(k) * j, length_);
                pairs_[0][j * half_ + k] = float((j ? 2 : 1) * std::cos(angle));
                pairs_[1][j * half_ + k] = float(2 * std::sin(angle));
            }
        shared_ = shared_sigma != nullptr && !profile_.gaussian;
        for (int quantity = VALUE; shared_ && quantity <= BY_SIGMA; ++quantity) kernel(*shared_sigma, Quantity(quantity));
    }

    // Calls write(frequency, cosines, sines) with the spectra of as many units as there are lanes; those behind `count` count
    // as zero. `samples` has their Gaussians, if they are owned(), and `rows` room for a row of each.
    template <class Write>
    void write(const float* mu, const float* sigma, const Samples& samples, int64_t count, float* rows, Write write) const {
        if (profile_.gaussian) {
            samples.drawn(load(mu), load(sigma), profile_.first);
            for (int k = 0; k < frequencies(); ++k)
                write(k, spectrum(samples, VALUE, waves_ + k, row()), spectrum(samples, VALUE, waves_ + half_ + k, row()));
            return;
        }
        const auto smoothed = [&](auto factor) {
            waves(mu, false, count, rows, [&](int k, Vector c, Vector s) __attribute__((always_inline)) {
                const Vector f = factor(k);
                write(k, c * f, s * f);
            });
        };
        if (shared_) smoothed([&](int k) { return Vector{} + kernels_[VALUE][k]; });
        else smoothed([&](int k) { return spectrum(samples, VALUE, k); });
    }

    // Sums over frequencies of gradients times the spectra of the same units, or their derivatives: by quantity. The gradients
    // with respect to cosines are `step` numbers apart, those with respect to sines come after a block.
    void multiply(const float* mu, const float* sigma, const Samples& samples, int64_t count, const float* grads, int64_t step, float* rows, Vector (&sums)[3]) const {
        for (Vector& total : sums) total = Vector{};
        if (profile_.gaussian) {
            samples.drawn(load(mu), load(sigma), profile_.first);
            for (int j = 0; j < samples.pixels; ++j) {
                const float* wave = waves_ + j * row();
                Vector total{};
                for (int k = 0; k < frequencies(); ++k) total += load(grads + k * step) * wave[k] + load(grads + k * step + BLOCK) * wave[half_ + k];
                for (int quantity = VALUE; quantity <= BY_SIGMA; ++quantity) sums[quantity] += total * load(samples.by[quantity] + j * LANES);
            }
            return;
        }
        const auto dot = [=](int k, Vector c, Vector s) { return load(grads + k * step) * c + load(grads + k * step + BLOCK) * s; };
        const bool exact = profile_.exact;
        const auto add = [&](auto factor) {
            waves(mu, false, count, rows, [&](int k, Vector c, Vector s) __attribute__((always_inline)) {
                const Vector even = dot(k, c, s);
                sums[VALUE] += even * factor(VALUE, k), sums[BY_SIGMA] += even * factor(BY_SIGMA, k);
                if (!exact) sums[BY_DISPLACEMENT] += dot(k, -s, c) * factor(BY_DISPLACEMENT, k);  // an odd kernel has an imaginary spectrum
            });
            if (exact) waves(mu, true, count, rows, [&](int k, Vector c, Vector s) { sums[BY_DISPLACEMENT] += dot(k, c, s) * factor(VALUE, k); });
        };
        if (shared_) add([&](Quantity quantity, int k) { return Vector{} + kernels_[quantity][k]; });
        else add([&](Quantity quantity, int k) { return spectrum(samples, quantity, k); });
    }

   private:
    const float* wave(int q) const { return waves_ + int64_t(q - profile_.first) * row(); }
    bool odd(Quantity quantity) const { return quantity == BY_DISPLACEMENT && !profile_.exact; }

    // The spectra of Gaussians or of what stands for their derivatives: real if even, imaginary if odd.
    Vector spectrum(const Samples& samples, Quantity quantity, int k) const { return spectrum(samples, quantity, pairs_[odd(quantity)] + k, half_); }

    // Sums of samples times what is `line` numbers apart.
    static Vector spectrum(const Samples& samples, Quantity quantity, const float* waves, int64_t line) {
        Vector total{};
        for (int j = 0; j < samples.pixels; ++j) total += load(samples.by[quantity] + j * LANES) * waves[j * line];
        return total;
    }

    // The same of the shared sigma.
    void kernel(float sigma, Quantity quantity) {
        const double s2 = double(sigma) * sigma;
        double total = 1, square = 0;
        for (int j = 1; j <= profile_.radius; ++j) {
            const double g = std::exp(-0.5 * double(j * j) / s2);
            total += 2 * g, square += 2 * g * j * j;
        }
        for (int k = 0; k < half_; ++k) kernels_[quantity][k] = 0;
        for (int j = 0; j <= profile_.radius; ++j) {
            const double g = std::exp(-0.5 * double(j * j) / s2) / total;
            const double sample = quantity == BY_SIGMA ? g * (j * j - square / total) / (s2 * sigma) : odd(quantity) ? g * j / s2 : g;
            for (int k = 0; k < half_; ++k) kernels_[quantity][k] += pairs_[odd(quantity)][j * half_ + k] * float(sample);
        }
    }

    // The bilinear form without its Gaussian: the waves of the two pixels around mu; or `slope`, how they change with mu.
    template <class Use>
    void waves(const float* mu, bool slope, int64_t count, float* rows, Use use) const {
#if defined(__AVX512F__)
        if (picks_) {
            const Vector below = rounded_down(load(mu)), a = load(mu) - below;
            const Vector near = slope ? a * 0 - 1 : 1 - a, far = slope ? a * 0 + 1 : a;  // NaN stays NaN
            const Places place = whole(below - float(profile_.first)), next = place + 1;
            const float* table = by_place_;
            for (int k = 0; k < frequencies(); ++k, table += 4 * LANES)
                use(k, picked(table, place) * near + picked(table, next) * far, picked(table + 2 * LANES, place) * near + picked(table + 2 * LANES, next) * far);
            return;
        }
#endif
        by_rows(count, rows, [&](int64_t lane, float* out) {
            const bool number = mu[lane] == mu[lane];
            const float below = number ? std::floor(mu[lane]) : 0, a = mu[lane] - below, near = slope ? a * 0 - 1 : 1 - a, far = slope ? a * 0 + 1 : a;
            const float *p = wave(int(below)), *q = wave(int(below) + 1);
            for (int k = 0; k < row(); k += LANES) store(out + k, load(p + k) * near + load(q + k) * far);
        }, use);
    }

    // Calls fill(lane, row) for every unit, and use(frequency, cosines, sines) with the lanes of all rows.
    template <class Fill, class Use>
    void by_rows(int64_t count, float* rows, Fill fill, Use use) const {
        for (int64_t lane = 0; lane < LANES; ++lane) {
            float* out = rows + lane * row();
            if (lane < count) fill(lane, out);
            else for (int k = 0; k < row(); ++k) out[k] = 0;
        }
        for (int first = 0; first < frequencies(); first += LANES) {
            Vector c[LANES], s[LANES];
#pragma GCC unroll 16
            for (int lane = 0; lane < LANES; ++lane) c[lane] = load(rows + lane * row() + first), s[lane] = load(rows + lane * row() + half_ + first);
            transpose(c), transpose(s);
            const int some = frequencies() - first < LANES ? frequencies() - first : LANES;
            for (int j = 0; j < some; ++j) use(first + j, c[j], s[j]);
        }
    }

    Profile profile_;
    int length_;
    double shift_;
    int half_;
    bool shared_ = false, picks_;
    float* waves_;       // (position, cosines and sines)
    float* pairs_[2];    // (j, frequency) of the Gaussian's sample pairs -j and j: cosines of even ones, sines of odd ones
    float* kernels_[3];  // of the shared sigma, by quantity
    float* by_place_;    // (frequency, cosine or sine, position)
};

// The parameters of the units between `targets` and `sources` channels, and their gradients (null where not asked for).
struct Units {
    const float *weight, *displacement, *sigma;
    float *grad_weight, *grad_displacement, *grad_sigma;
    int64_t targets, sources, k;
    int64_t target_step, source_step;  // in units
    bool shared_sigma;

    int64_t index(int64_t target, int64_t source, int64_t unit) const {
        return target * target_step + source * source_step + unit;
    }
    // The units of a group of channels.
    Units part(int64_t group) const {
        const int64_t skip = group * targets * sources * k;
        auto at = [](auto* p, int64_t offset) { return p ? p + offset : p; };
        Units units = *this;
        units.weight += skip, units.displacement += 2 * skip, units.sigma += shared_sigma ? 0 : skip;
        units.grad_weight = at(grad_weight, skip), units.grad_displacement = at(grad_displacement, 2 * skip);
        units.grad_sigma = at(grad_sigma, skip);
        return units;
    }
    float sigma_of(int64_t index) const { return shared_sigma ? *sigma : sigma[index]; }
};
