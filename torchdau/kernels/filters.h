// Spectra of filters from the tables of their units, and gradients of these; the lanes of a vector are target channels.
#pragma once

#include <cstdint>

#include "frequencies.h"
#include "memory.h"
#include "units.h"
#include "vector.h"

// Tables of the units between a block of targets and a range of sources: (frequency, source, unit, cos or sin, lane) along
// each axis. The weight of a unit and the scale of the inverse transform are factors of the table along x.
struct Tables {
    int64_t k, step;  // units of a source, and numbers from one frequency to the next
    float *y, *x;

    Tables(const Frequencies& f, int64_t sources, int64_t k, Memory& memory) : k(k) {
        step = sources * k * 2 * BLOCK + 5 * 16;  // no power of two, which would map all frequencies to one set of a cache

        y = memory.floats(f.half() * step);
        x = memory.floats(f.columns() * step);
    }
    void clear(const Frequencies& f) const {
        std::memset(y, 0, sizeof(float) * f.half() * step);
        std::memset(x, 0, sizeof(float) * f.columns() * step);
    }
};

struct Filters {
    const Frequencies frequencies;
    UnitSpectra y, x;
    Profile profile;
    float scale;

    Filters(const Frequencies& f, const Profile& profile, double shift_y, double shift_x, Memory& memory)
        : frequencies(f), y(profile, f.height, shift_y, memory), x(profile, f.width, shift_x, memory),
          profile(profile), scale(2.f / (float(f.height) * f.width)) {}

    void fill(const float* shared_sigma) { y.fill(shared_sigma), x.fill(shared_sigma); }

    static constexpr int64_t SOURCES = 8;  // whose parameters are read at a time

    // Room for the parameters of some units, and for what is known of a vector of them.
    struct Room {
        float *weight, *displacement, *sigma, *rows;
        Samples samples;
        Room(const Filters& filters, int64_t k, Memory& memory) : samples(filters.profile, memory) {
            weight = memory.floats(BLOCK * SOURCES * k), sigma = memory.floats(BLOCK * SOURCES * k);
            displacement = memory.floats(BLOCK * SOURCES * k * 2);
            rows = memory.floats((filters.y.row() > filters.x.row() ? filters.y.row() : filters.x.row()) * LANES);
        }
    };

    // Fills the tables at `place` for the units of `count` sources and a block of targets.
    void build(const Units& units, int64_t target, int64_t source, int64_t count, int64_t place, const Tables& tables, const Room& room) const {
        each_vector(units, target, source, count, room, [&](int64_t s, int64_t k, const Vectors& some) {
            const int64_t at = ((place + s) * tables.k + k) * 2 * BLOCK + some.lane, step = tables.step;
            y.write(some.mu_y, some.sigma, room.samples, some.count, room.rows, [=, table = tables.y + at](int f, Vector c, Vector s) __attribute__((always_inline)) {
                store(table + f * step, c), store(table + f * step + BLOCK, s);
            });
            x.write(some.mu_x, some.sigma, room.samples, some.count, room.rows, [=, table = tables.x + at, weight = load(some.weight)](int f, Vector c, Vector s) __attribute__((always_inline)) {
                store(table + f * step, c * weight), store(table + f * step + BLOCK, s * weight);
            });
        });
    }

    // One frequency of the filters of `count` sources, and its twin if `twin` is not null: (source, re and im, lane).
    void frequency(const Tables& tables, int64_t first, int64_t count, int kx, int ky, float sign, float* out, float* twin) const {
        const int64_t skip = first * tables.k * 2 * BLOCK;
        const float *py = tables.y + ky * tables.step + skip, *px = tables.x + kx * tables.step + skip;
        const float share = frequencies.share(kx, ky);
        for (int64_t source = 0; source < count; ++source) {
            Vector cc[VECTORS] = {}, cs[VECTORS] = {}, sc[VECTORS] = {}, ss[VECTORS] = {};
            for (int64_t k = 0; k < tables.k; ++k, py += 2 * BLOCK, px += 2 * BLOCK)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; ++v) {
                    Vector yc = load(py + v * LANES), ys = load(py + BLOCK + v * LANES);
                    Vector xc = load(px + v * LANES), xs = load(px + BLOCK + v * LANES);
                    cc[v] += yc * xc, cs[v] += yc * xs, sc[v] += ys * xc, ss[v] += ys * xs;
                }
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) {
                store(out + v * LANES, (cc[v] - ss[v]) * share);
                store(out + BLOCK + v * LANES, (cs[v] + sc[v]) * (sign * share));
                if (twin) {
                    store(twin + v * LANES, cc[v] + ss[v]);
                    store(twin + BLOCK + v * LANES, (cs[v] - sc[v]) * sign);
                }
            }
            out += 2 * BLOCK;
            if (twin) twin += 2 * BLOCK;
        }
    }

    // Adds what the gradient of one frequency of `count` filters, and of its twin if that is not null, gives to that of the
    // tables. The gradients are like what frequency() writes.
    void add_gradients(const Tables& tables, const Tables& grads, int kx, int ky, int64_t count, const float* grad, const float* twin) const {
        const float share = frequencies.share(kx, ky);
        int64_t i = ky * tables.step, j = kx * tables.step;
        for (int64_t source = 0; source < count; ++source, grad += 2 * BLOCK) {
            Vector cc[VECTORS], cs[VECTORS], sc[VECTORS], ss[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) {
                cc[v] = load(grad + v * LANES) * share, cs[v] = load(grad + BLOCK + v * LANES) * share;
                ss[v] = -cc[v], sc[v] = cs[v];
                if (twin) {
                    const Vector re = load(twin + v * LANES), im = load(twin + BLOCK + v * LANES);
                    cc[v] += re, ss[v] += re, cs[v] += im, sc[v] -= im;
                }
            }
            if (twin) twin += 2 * BLOCK;
            for (int64_t k = 0; k < tables.k; ++k)
                for (int v = 0; v < VECTORS; ++v, i += LANES, j += LANES) {
                    const Vector yc = load(tables.y + i), ys = load(tables.y + i + BLOCK);
                    const Vector xc = load(tables.x + j), xs = load(tables.x + j + BLOCK);
                    store(grads.y + i, load(grads.y + i) + xc * cc[v] + xs * cs[v]);
                    store(grads.y + i + BLOCK, load(grads.y + i + BLOCK) + xs * ss[v] + xc * sc[v]);
                    store(grads.x + j, load(grads.x + j) + yc * cc[v] + ys * sc[v]);
                    store(grads.x + j + BLOCK, load(grads.x + j + BLOCK) + yc * cs[v] + ys * ss[v]);
                    if (v == VECTORS - 1) i += BLOCK, j += BLOCK;
                }
        }
    }

    // Adds the gradients of the same units from those of the tables.
    void add_unit_gradients(const Units& units, int64_t target, int64_t source, int64_t count, const Tables& grads, const Room& room) const {
        each_vector(units, target, source, count, room, [&](int64_t s, int64_t k, const Vectors& some) {
            const int64_t at = (s * grads.k + k) * 2 * BLOCK + some.lane;
            Vector along_y[3], along_x[3];
            y.multiply(some.mu_y, some.sigma, room.samples, some.count, grads.y + at, grads.step, room.rows, along_y);
            x.multiply(some.mu_x, some.sigma, room.samples, some.count, grads.x + at, grads.step, room.rows, along_x);
            const Vector weight = load(some.weight);  // a factor of the table along x alone
            const Vector by_weight = along_x[VALUE] * scale, by_y = along_y[BY_DISPLACEMENT], by_x = along_x[BY_DISPLACEMENT] * weight;
            const Vector by_sigma = along_y[BY_SIGMA] + along_x[BY_SIGMA] * weight;
            for (int64_t lane = 0; lane < some.count; ++lane) {
                const int64_t i = units.index(target + some.lane + lane, source + s, k);
                if (units.grad_weight) units.grad_weight[i] += by_weight[lane];
                if (units.grad_displacement) units.grad_displacement[2 * i] += by_y[lane], units.grad_displacement[2 * i + 1] += by_x[lane];
                if (units.grad_sigma) units.grad_sigma[i] += by_sigma[lane];
            }
        });
    }

   private:
    // As many units of neighbouring targets as there are lanes, from a lane of their block on.
    struct Vectors {
        int64_t lane, count;  // and how many of them there are
        const float *mu_y, *mu_x, *sigma, *weight;  // the weights times the scale
    };

    // Calls use(source, unit, some) for all units of `count` sources and a block of targets, with their Gaussians in the room.
    template <class Use>
    void each_vector(const Units& units, int64_t target, int64_t source, int64_t count, const Room& room, Use use) const {
        const int64_t there = units.targets - target;
        for (int64_t s = 0; s < count; ++s) {
            if (s % SOURCES == 0) read(units, target, source + s, count - s < SOURCES ? count - s : SOURCES, room);
            for (int64_t k = 0; k < units.k; ++k)
                for (int64_t lane = 0; lane < BLOCK; lane += LANES) {
                    const int64_t unit = s % SOURCES * units.k + k, left = there - lane, i = unit * BLOCK + lane;
                    const float* mu = room.displacement + unit * 2 * BLOCK + lane;
                    if (y.owned()) room.samples.centred(load(room.sigma + i));
                    use(s, k, Vectors{lane, left < 0 ? 0 : left < LANES ? left : LANES, mu, mu + BLOCK, room.sigma + i, room.weight + i});
                }
        }
    }

    // Copies the parameters of some units to (source, unit, lane), the weights times the scale: in their tensors they may lie
    // far apart. Lanes without a target get zeros.
    void read(const Units& units, int64_t target, int64_t source, int64_t count, const Room& room) const {
        for (int64_t lane = 0; lane < BLOCK; ++lane)
            for (int64_t unit = 0; unit < count * units.k; ++unit) {
                const bool there = target + lane < units.targets;
                const int64_t i = there ? units.index(target + lane, source + unit / units.k, unit % units.k) : 0;
                const int64_t j = unit * BLOCK + lane;
                room.weight[j] = there ? units.weight[i] * scale : 0, room.sigma[j] = units.sigma_of(i);
                for (int axis = 0; axis < 2; ++axis)
                    room.displacement[unit * 2 * BLOCK + axis * BLOCK + lane] = there ? units.displacement[2 * i + axis] : 0;
            }
    }
};
