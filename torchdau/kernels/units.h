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

// Spectra along one axis: rows of `half` cosines and `half` sines, frequencies() of each of them used.
class UnitSpectra {
   public:
    UnitSpectra(const Profile& profile, int length, double shift, Memory& memory)
        : profile_(profile), length_(length), shift_(shift), half_((length / 2 + LANES) / LANES * LANES) {
        waves_ = memory.floats(int64_t(profile.last + 2 - profile.first) * row());
        cosines_ = memory.floats(int64_t(profile.radius + 1) * half_);
        sines_ = memory.floats(int64_t(profile.radius + 1) * half_);
        for (float*& kernel : kernels_) kernel = memory.floats(half_);
        picks_ = PICKS && !profile.gaussian && profile.last + 2 - profile.first <= 2 * LANES;
        by_place_ = memory.floats(picks_ ? int64_t(frequencies()) * 2 * 2 * LANES : 0);
    }

    int frequencies() const { return length_ / 2 + 1; }
    int half() const { return half_; }
    int row() const { return 2 * half_; }

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
                cosines_[j * half_ + k] = float((j ? 2 : 1) * std::cos(angle));
                sines_[j * half_ + k] = float(2 * std::sin(angle));
            }
        shared_ = shared_sigma != nullptr && !profile_.gaussian;
        if (shared_)
            for (int quantity = VALUE; quantity <= BY_SIGMA; ++quantity)
                kernel(*shared_sigma, Quantity(quantity), kernels_[quantity]);
    }

    // The spectrum of a unit, or its derivative, times `scale`; `scratch` has room for half() numbers.
    void write(float mu, float sigma, Quantity quantity, float scale, float* out, float* scratch) const {
        if (!(mu == mu) || !(sigma == sigma)) {
            for (int k = 0; k < row(); ++k) out[k] = NAN;
        } else if (profile_.gaussian) {
            drawn(mu, sigma, quantity, scale, out);
        } else {
            const float* kernel = kernels_[quantity];
            if (!shared_) this->kernel(sigma, quantity, scratch), kernel = scratch;
            interpolated(mu, quantity, kernel, scale, out);
        }
    }

    // Whether there is write_lanes(), which is many times faster: the bilinear form with one sigma, in a narrow window.
    bool writes_lanes() const { return picks_ && shared_; }

#if defined(__AVX512F__)
    // The spectra of as many units as there are lanes, for frequency k at out + k * step: cosines, and sines after a block.
    void write_lanes(Vector mu, Vector scale, float* out, int64_t step) const {
        const Vector below = rounded_down(mu), far = (mu - below) * scale, near = scale - far;
        const Places place = whole(below - float(profile_.first)), next = place + 1;
        const float* table = by_place_;
        for (int k = 0; k < frequencies(); ++k, table += 4 * LANES, out += step) {
            const float factor = kernels_[VALUE][k];
            store(out, (picked(table, place) * near + picked(table, next) * far) * factor);
            store(out + BLOCK, (picked(table + 2 * LANES, place) * near + picked(table + 2 * LANES, next) * far) * factor);
        }
    }
#else
    void write_lanes(Vector, Vector, float*, int64_t) const {}
#endif

   private:
    const float* wave(int q) const { return waves_ + int64_t(q - profile_.first) * row(); }

    // The bilinear form: the waves of the two pixels around mu, times the spectrum of the Gaussian (or its derivative).
    void interpolated(float mu, Quantity quantity, const float* kernel, float scale, float* out) const {
        const float below = std::floor(mu), a = mu - below;
        const bool slope = quantity == BY_DISPLACEMENT && profile_.exact;
        const bool odd = quantity == BY_DISPLACEMENT && !profile_.exact;
        const float near = slope ? -scale : (1 - a) * scale, far = slope ? scale : a * scale;
        const float *p = wave(int(below)), *q = wave(int(below) + 1);
        for (int k = 0; k < half_; k += LANES) {
            Vector factor = load(kernel + k);
            Vector c = (load(p + k) * near + load(q + k) * far) * factor;
            Vector s = (load(p + half_ + k) * near + load(q + half_ + k) * far) * factor;
            store(out + k, odd ? -s : c);  // an odd kernel has an imaginary spectrum
            store(out + half_ + k, odd ? c : s);
        }
    }

    // The spectrum of the zero-mean Gaussian or of what stands for its derivative: real if even, imaginary if odd.
    void kernel(float sigma, Quantity quantity, float* out) const {
        const int r = profile_.radius;
        const bool odd = quantity == BY_DISPLACEMENT && !profile_.exact;
        const double q = std::exp(-0.5 / (double(sigma) * sigma)), q2 = q * q;
        double total = 1, square = 0, g = 1, step = q;
        for (int j = 1; j <= r; ++j) g *= step, step *= q2, total += 2 * g, square += 2 * g * j * j;
        const double mean = square / total, s2 = double(sigma) * sigma;
        g = 1 / total, step = q;
        for (int j = 0; j <= r; ++j) {
            const double sample = quantity == BY_SIGMA ? g * (j * j - mean) / (s2 * sigma) : odd ? g * j / s2 : g;
            const float* waves = (odd ? sines_ : cosines_) + j * half_;
            for (int k = 0; k < half_; k += LANES)
                store(out + k, (j ? load(out + k) : Vector{}) + load(waves + k) * float(sample));
            g *= step, step *= q2;
        }
    }

    // The Gaussian form: the Gaussian drawn at mu, normalised over the window.
    void drawn(float mu, float sigma, Quantity quantity, float scale, float* out) const {
        const double s2 = double(sigma) * sigma, q2 = std::exp(-1 / s2);
        const int middle = int(std::lround(mu));
        const double delta = double(mu) - middle;
        const double up = std::exp((delta - 0.5) / s2), down = std::exp((-delta - 0.5) / s2);
        double total = 1, first = -delta, second = delta * delta;  // moments of the distance q - mu
        auto each = [&](auto use) {
            double g = 1, step = up;
            for (int q = middle + 1; q <= profile_.last; ++q) g *= step, step *= q2, use(q, g);
            g = 1, step = down;
            for (int q = middle - 1; q >= profile_.first; --q) g *= step, step *= q2, use(q, g);
        };
        each([&](int q, double g) {
            const double d = q - double(mu);
            total += g, first += g * d, second += g * d * d;
        });
        first /= total, second /= total;
        auto sample = [&](int q, double g) {
            const double d = q - double(mu);
            g *= scale / total;
            if (quantity == BY_DISPLACEMENT) return float(g * (d - first) / s2);
            if (quantity == BY_SIGMA) return float(g * (d * d - second) / (s2 * sigma));
            return float(g);
        };
        const float* waves = wave(middle);
        float factor = sample(middle, 1);
        for (int k = 0; k < row(); k += LANES) store(out + k, load(waves + k) * factor);
        each([&](int q, double g) {
            const float* waves = wave(q);
            const float factor = sample(q, g);
            for (int k = 0; k < row(); k += LANES) store(out + k, load(out + k) + load(waves + k) * factor);
        });
    }

    Profile profile_;
    int length_;
    double shift_;
    int half_;
    bool shared_ = false, picks_;
    float* waves_;                // (position, cosines and sines)
    float *cosines_, *sines_;     // (j, frequency) of the Gaussian's sample pairs -j and j
    float* kernels_[3];           // of the shared sigma, by quantity
    float* by_place_;             // (frequency, cosine or sine, position)
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
