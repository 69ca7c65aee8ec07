// Products per frequency: filters times spectra, and the gradient of the filters.
//
// With filter W and spectrum S, W S = (k1 - k3) + i (k1 + k2) from three real products: k1 = (Wr + Wi) Sr,
// k2 = Wr (Si - Sr), k3 = Wi (Sr + Si). The three factors in S are made where they are used often.
#pragma once

#include <cstdint>

#include "filters.h"
#include "images.h"
#include "memory.h"
#include "spectra.h"
#include "vector.h"

// The factors (image, Sr, Si - Sr and Sr + Si, channel of the block) of `count` spectra that follow each other.
static inline void write_factors(const float* spectra, int64_t count, float* factors) {
    for (int64_t n = 0; n < count; ++n, spectra += 2 * BLOCK, factors += 3 * BLOCK)
#pragma GCC unroll 2
        for (int v = 0; v < BLOCK; v += LANES) {
            Vector re = load(spectra + v), im = load(spectra + BLOCK + v);
            store(factors + v, re);
            store(factors + BLOCK + v, im - re);
            store(factors + 2 * BLOCK + v, re + im);
        }
}

// Adds the three products of COUNT by two vectors. `numbers` are re and im of a block, of which k1 takes re + im, or im - re if
// SIGN is -1. `factors` of the COUNT others are `step` apart. Of `numbers` only one pair of vectors is in registers at a time.
template <int COUNT, int SIGN>
static inline __attribute__((always_inline)) void add_products(const float* numbers, const float* factors, int64_t step, Vector (&k1)[COUNT][VECTORS], Vector (&k2)[COUNT][VECTORS], Vector (&k3)[COUNT][VECTORS]) {
    Vector now[VECTORS];
    const auto multiply = [&](const float* scalars, Vector (&totals)[COUNT][VECTORS]) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int n = 0; n < COUNT; ++n)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) totals[n][v] += now[v] * scalars[n * step];
    };
    for (int v = 0; v < VECTORS; ++v) now[v] = loaded(numbers + v * LANES);
    multiply(factors + BLOCK, k2);
    for (int v = 0; v < VECTORS; ++v) now[v] = load(numbers + BLOCK + v * LANES) + (SIGN > 0 ? now[v] : -now[v]);
    multiply(factors, k1);
    for (int v = 0; v < VECTORS; ++v) now[v] = loaded(numbers + BLOCK + v * LANES);
    multiply(factors + 2 * BLOCK, k3);
}

// Sources whose filters are applied to a panel of images at a time: their factors stay in the first cache.
constexpr int64_t STEP = 128, PANEL = 64;

// The sums of a tile, kept from one step of sources to the next.
template <int COUNT, class Move>
static inline void move_sums(float* sums, Vector (&k1)[COUNT][VECTORS], Vector (&k2)[COUNT][VECTORS], Vector (&k3)[COUNT][VECTORS], Move move) {
#pragma GCC unroll 4
    for (int n = 0; n < COUNT; ++n)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v, sums += 3 * LANES) move(sums, k1[n][v]), move(sums + LANES, k2[n][v]), move(sums + 2 * LANES, k3[n][v]);
}

// COUNT images of one block of targets at one frequency = filter (source, re and im, lane) times the factors of the sources
// (block, image, factor, channel). Sources that come in several steps begin with the sums `before`, and leave theirs `after`.
template <int COUNT>
static inline void filter_tile(const float* filter, int64_t sources, const float* factors, float* before, float* after, float* out) {
    Vector k1[COUNT][VECTORS] = {}, k2[COUNT][VECTORS] = {}, k3[COUNT][VECTORS] = {};
    if (before) move_sums(before, k1, k2, k3, [](const float* sum, Vector& k) { k = load(sum); });
    for (int64_t first = 0; first < sources; first += BLOCK, factors += COUNT * 3 * BLOCK) {
        const float* scalars = factors;
        const int64_t count = sources - first < BLOCK ? sources - first : BLOCK;
        for (int64_t s = 0; s < count; ++s, ++scalars, filter += 2 * BLOCK) add_products<COUNT, 1>(filter, scalars, 3 * BLOCK, k1, k2, k3);
    }
    if (after) return move_sums(after, k1, k2, k3, [](float* sum, const Vector& k) { store(sum, k); });
#pragma GCC unroll 4
    for (int n = 0; n < COUNT; ++n)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) {
            stream(out + n * 2 * BLOCK + v * LANES, k1[n][v] - k3[n][v]);
            stream(out + n * 2 * BLOCK + BLOCK + v * LANES, k1[n][v] + k2[n][v]);
        }
}

// The filters of one frequency and of its twin, (block of targets, source, re and im, lane) each, and what they do to images.
class Products {
   public:
    Products(int64_t sources, int64_t targets, Memory& memory)
        : sources_(sources),
          filters_(memory.floats(targets * sources * 2 * BLOCK)),
          twins_(memory.floats(targets * sources * 2 * BLOCK)),
          factors_(memory.floats((sources < STEP ? sources + BLOCK : STEP) * ROWS * 3)),
          sums_(memory.floats(sources > STEP ? PANEL * targets * 3 * BLOCK : 0)) {}

    // The filters of block `number` from those tables that begin at `place`.
    void make(const Filters& filters, const Tables& tables, int64_t number, int64_t place, int kx, int ky, float sign, bool has_twin) const {
        const int64_t begin = number * sources_ * 2 * BLOCK;
        filters.frequency(tables, place, sources_, kx, ky, sign, filters_ + begin, has_twin ? twins_ + begin : nullptr);
    }

    // All images of `count` blocks of targets. The factors of the spectra of some images serve all blocks.
    void apply(bool twin, int64_t count, const Spectra<float>& in, int64_t in_block, const Spectra<float>& out, int64_t out_block, int64_t frequency) const {
        const float* filters = twin ? twins_ : filters_;
        for (int64_t panel = 0; panel < in.images; panel += PANEL)
            for (int64_t first = 0; first < sources_; first += STEP) {
                const int64_t last = first + STEP < sources_ ? first + STEP : sources_;
                const int64_t stop = panel + PANEL < in.images ? panel + PANEL : in.images;
                float* sums = sums_;
                for (int64_t n = panel; n < stop;) {
                    const int64_t some = n + ROWS <= stop ? ROWS : 1;
                    float* factors = factors_;
                    for (int64_t block = first / BLOCK; block * BLOCK < last; ++block, factors += some * 3 * BLOCK) {
                        const float* from = in.at(in_block + block, frequency, n);
                        prefetch(from + some * 2 * BLOCK, some * 2 * BLOCK);  // the next images
                        write_factors(from, some, factors);
                    }
                    for (int64_t b = 0; b < count; ++b, sums += some * 3 * BLOCK) {
                        const float* filter = filters + (b * sources_ + first) * 2 * BLOCK;
                        float *before = first ? sums : nullptr, *after = last < sources_ ? sums : nullptr;
                        float* to = out.at(out_block + b, frequency, n);
                        if (some == ROWS)
                            filter_tile<ROWS>(filter, last - first, factors_, before, after, to);
                        else
                            filter_tile<1>(filter, last - first, factors_, before, after, to);
                    }
                    n += some;
                }
            }
    }

   private:
    int64_t sources_;
    float *filters_, *twins_, *factors_, *sums_;
};

// Gradient of COUNT filters, those of the sources of `factors` and a block of targets, whose spectra are `images`: conj(S) D,
// summed over images; written like a filter.
template <int COUNT>
static inline void gradient_tile(const float* images, const float* factors, int64_t count, float* out) {
    Vector k1[COUNT][VECTORS] = {}, k2[COUNT][VECTORS] = {}, k3[COUNT][VECTORS] = {};
    for (int64_t n = 0; n < count; ++n, images += 2 * BLOCK, factors += 3 * BLOCK) add_products<COUNT, -1>(images, factors, 1, k1, k2, k3);
#pragma GCC unroll 4
    for (int s = 0; s < COUNT; ++s)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) {
            store(out + s * 2 * BLOCK + v * LANES, k3[s][v] - k1[s][v]);
            store(out + s * 2 * BLOCK + BLOCK + v * LANES, k2[s][v] - k1[s][v]);
        }
}

// Gradients of filters, and the memory for them.
class Gradients {
   public:
    Gradients(int64_t images, Memory& memory) : factors_(memory.floats(images * 3 * BLOCK)) {}

    // Those of the filters from `count` sources, from `first` on, to a block of targets at one frequency.
    void multiply(const Spectra<float>& images, int64_t block, const Spectra<float>& grads, int64_t grad_block, int64_t frequency, int64_t first,
                  int64_t count, float* out) const {
        const float* targets = images.at(block, frequency, 0);
        const int64_t size = images.to_frequency(), slice = (size * ROWS / count + 15) / 16 * 16;
        for (int64_t s = first, done = 0; s < first + count; s += ROWS, done += slice, out += ROWS * 2 * BLOCK) {
            const float* sources = grads.at(grad_block + s / BLOCK, frequency, 0);
            if (s % BLOCK == 0) write_factors(sources, images.images, factors_);
            // Of the next frequency: a slice of the targets', and of the sources' what the tiles of a block share.
            prefetch(targets + size + done, slice);
            prefetch(sources + size + s % BLOCK / ROWS * (size * ROWS / BLOCK), size * ROWS / BLOCK);
            gradient_tile<ROWS>(targets, factors_ + s % BLOCK, images.images, out);
        }
    }

   private:
    float* factors_;
};

// The arithmetic of the spectral algorithm in float32.
struct Float32 {
    typedef float Number;
    typedef ::Images Images;
    typedef ::Tables Tables;
    typedef Filters::Room TableRoom;
    typedef ::Products Products;
    typedef ::Gradients Gradients;

    static int64_t stored(int64_t images) { return images; }
    static float real(const float* spectrum, int64_t channel) { return spectrum[channel]; }

    // Fills the tables at `place` for the units of `count` sources and a block of targets.
    static void build(const Filters& filters, const Units& units, int64_t target, int64_t source, int64_t count, int64_t place, const Tables& tables,
                      const TableRoom& room) {
        filters.build(units, target, source, count, place, tables, room);
    }
};
