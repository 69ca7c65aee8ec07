// Products per frequency in bfloat16: filters times spectra, and the gradient of the filters.
//
// A complex number is a pair of bfloat16, so a product of complex numbers takes two of AMX: one for the real part, with
// (Wr, -Wi), and one for the imaginary part, with (Wi, Wr).
#pragma once

#include "amx.h"

#if defined(__AMX_BF16__)

#include "amx_images.h"
#include "filters.h"
#include "spectra.h"

// The tables of units of filters.h as pairs of bfloat16: (frequency, source, unit, lane, cos and sin).
struct AmxTables {
    int64_t k, step;  // units of a source, and numbers from one frequency to the next
    Number16 *y, *x;

    AmxTables(const Frequencies& f, int64_t sources, int64_t k, Memory& memory) : k(k) {
        step = sources * k * 2 * BLOCK + 5 * 32;  // no power of two, which would map all frequencies to one set of a cache
        y = reinterpret_cast<Number16*>(memory.floats(f.half() * step / 2));
        x = reinterpret_cast<Number16*>(memory.floats(f.columns() * step / 2));
    }

    // Room for tables of a few sources in float32.
    struct Room {
        Tables exact;
        Filters::Room filters;
        Room(const Filters& of, int64_t k, Memory& memory) : exact(of.frequencies, Filters::SOURCES, k, memory), filters(of, k, memory) {}
    };

    void round(const Tables& exact, const Frequencies& f, int64_t sources, int64_t place) const {
        round(exact.y, exact.step, f.half(), sources, y + place * k * 2 * BLOCK);
        round(exact.x, exact.step, f.columns(), sources, x + place * k * 2 * BLOCK);
    }

   private:
    void round(const float* from, int64_t from_step, int64_t frequencies, int64_t sources, Number16* to) const {
        for (int64_t f = 0; f < frequencies; ++f)
            for (int64_t unit = 0; unit < sources * k; ++unit)
                for (int64_t half = 0; half < HALVES; ++half) {
                    const float* numbers = from + f * from_step + unit * 2 * BLOCK + half * TILE;
                    _mm512_store_si512(to + f * step + unit * 2 * BLOCK + half * 2 * TILE, pairs(load(numbers), load(numbers + BLOCK)));
                }
    }
};

// The complex product of two pairs in float32.
struct Product {
    __m512 re, im;

    // Adds a b.
    void add(__m512i a, __m512i b) {
        re = _mm512_dpbf16_ps(re, reinterpret_cast<__m512bh>(conjugate(a)), reinterpret_cast<__m512bh>(b));
        im = _mm512_dpbf16_ps(im, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(_mm512_rol_epi32(b, 16)));
    }

    // As a row of the two tiles of filters, the imaginary part times `sign`.
    void write(float share, float sign, Number16* real) const {
        const __m512i both = pairs(reinterpret_cast<Vector>(re) * share, reinterpret_cast<Vector>(im) * (share * sign));
        _mm512_store_si512(real, conjugate(both));
        _mm512_store_si512(real + TILE_NUMBERS, _mm512_rol_epi32(both, 16));
    }
};

// COUNT times 16 images of half a block of targets at one frequency.
template <int COUNT>
static inline void filter_tile(const Number16* filters, int64_t sources, const Spectra<Number16>& in, int64_t in_block, int64_t frequency,
                               int64_t image, Number16* to, float* sums) {
    zero_tile<0>(), zero_tile<1>();
    if (COUNT > 1) zero_tile<2>(), zero_tile<3>();
    for (int64_t source = 0; source < sources; source += TILE, filters += 2 * TILE_NUMBERS) {
        const Number16* from = in.at(in_block + source / BLOCK, frequency, image) + source % BLOCK * 2;
        load_tile<4>(from, 4 * BLOCK), load_tile<6>(filters, 64), load_tile<7>(filters + TILE_NUMBERS, 64);
        multiply_tiles<0, 4, 6>(), multiply_tiles<1, 4, 7>();
        if (COUNT > 1) {
            load_tile<5>(from + TILE * 2 * BLOCK, 4 * BLOCK);
            multiply_tiles<2, 5, 6>(), multiply_tiles<3, 5, 7>();
        }
    }
    store_tile<0>(sums, 64), store_tile<1>(sums + TILE * TILE, 64);
    if (COUNT > 1) store_tile<2>(sums + 2 * TILE * TILE, 64), store_tile<3>(sums + 3 * TILE * TILE, 64);
    for (int n = 0; n < COUNT * TILE; ++n, to += 2 * BLOCK) {
        const float* re = sums + n / TILE * 2 * TILE * TILE + n % TILE * TILE;
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), pairs(load(re), load(re + TILE * TILE)));
    }
}

// The filters of one frequency and of its twin as tiles, (block of targets and half of it, tile of sources, real and imaginary
// part) each, and what they do to images.
class AmxProducts {
   public:
    AmxProducts(int64_t sources, int64_t targets, Memory& memory)
        : sources_(sources),
          size_((sources + TILE - 1) / TILE * 2 * TILE_NUMBERS),
          filters_(reinterpret_cast<Number16*>(memory.floats(targets * HALVES * size_ / 2))),
          twins_(reinterpret_cast<Number16*>(memory.floats(targets * HALVES * size_ / 2))),
          sums_(memory.floats(4 * TILE * TILE)) {}

    // The filters of block `number` from those tables that begin at `place`.
    void make(const Filters& filters, const AmxTables& tables, int64_t number, int64_t place, int kx, int ky, float sign, bool has_twin) const {
        const Number16 *y = tables.y + ky * tables.step + place * tables.k * 2 * BLOCK, *x = tables.x + kx * tables.step + place * tables.k * 2 * BLOCK;
        const float share = filters.frequencies.share(kx, ky);
        for (int64_t source = 0; source < (sources_ + TILE - 1) / TILE * TILE; ++source)
            for (int64_t half = 0; half < HALVES; ++half) {
                const int64_t row = (number * HALVES + half) * size_ + source / TILE * 2 * TILE_NUMBERS + source % TILE * 2 * TILE;
                Product filter{}, twin{};
                for (int64_t k = 0; k < tables.k && source < sources_; ++k) {
                    const int64_t at = (source * tables.k + k) * 2 * BLOCK + half * 2 * TILE;
                    const __m512i along_y = _mm512_load_si512(y + at), along_x = _mm512_load_si512(x + at);
                    filter.add(along_y, along_x), twin.add(conjugate(along_y), along_x);
                }
                filter.write(share, sign, filters_ + row);
                if (has_twin) twin.write(1, sign, twins_ + row);
            }
    }

    // All images of `count` blocks of targets. Where images are stored that are none, what they become is none of them either.
    void apply(bool twin, int64_t count, const Spectra<Number16>& in, int64_t in_block, const Spectra<Number16>& out, int64_t out_block, int64_t frequency) const {
        AmxTiles tiles;
        tiles.configure(TILE);
        for (int64_t half = 0; half < count * HALVES; ++half)
            for (int64_t image = 0; image < in.images; image += 2 * TILE) {
                const Number16* from = (twin ? twins_ : filters_) + half * size_;
                Number16* to = out.at(out_block + half / HALVES, frequency, image) + half % HALVES * 2 * TILE;
                if (image + TILE < in.images)
                    filter_tile<2>(from, sources_, in, in_block, frequency, image, to, sums_);
                else
                    filter_tile<1>(from, sources_, in, in_block, frequency, image, to, sums_);
            }
    }

   private:
    int64_t sources_, size_;
    Number16 *filters_, *twins_;
    float* sums_;
};

// Gradients of filters, conj(S) D summed over images, and the memory for them: the spectra of targets turned by a quarter, and
// those of 16 sources as tiles.
class AmxGradients {
   public:
    AmxGradients(int64_t images, Memory& memory)
        : turned_(reinterpret_cast<Number16*>(memory.floats(images * BLOCK))),
          sources_(reinterpret_cast<Number16*>(memory.floats((images + TILE - 1) / TILE * TILE_NUMBERS / 2))) {}

    // Those of the filters from `count` sources, from `first` on, to a block of targets at one frequency.
    void multiply(const Spectra<Number16>& images, int64_t block, const Spectra<Number16>& grads, int64_t grad_block, int64_t frequency, int64_t first,
                  int64_t count, float* out) const {
        AmxTiles tiles;
        const Steps steps(images.images);
        alignas(64) static const float zeros[TILE] = {};
        tiles.configure(steps.pairs);
        const Number16* targets = images.at(block, frequency, 0);
        for (int64_t i = 0; i < images.images * 2 * BLOCK; i += 2 * TILE)
            _mm512_store_si512(turned_ + i, turned(_mm512_load_si512(targets + i)));
        for (int64_t source = first; source < first + count; source += TILE, out += TILE * 2 * BLOCK) {
            const Number16* from = grads.at(grad_block + source / BLOCK, frequency, 0) + source % BLOCK * 2;
            zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
            for (int step = 0; step < steps.count; ++step) {
                Vector rows[TILE];
#pragma GCC unroll 16
                for (int n = 0; n < TILE; ++n)
                    rows[n] = load(n >= steps.again(step) && n < steps.pairs ? reinterpret_cast<const float*>(from + (steps.first(step) + n) * 2 * BLOCK) : zeros);
                transpose(rows);
                Number16* tile = sources_ + step * TILE_NUMBERS;
#pragma GCC unroll 16
                for (int s = 0; s < TILE; ++s) store(reinterpret_cast<float*>(tile + s * 2 * TILE), rows[s]);
                const int64_t at = steps.first(step) * 2 * BLOCK;
                load_tile<4>(tile, 64);
                load_tile<6>(targets + at, 4 * BLOCK), load_tile<7>(turned_ + at, 4 * BLOCK);
                multiply_tiles<0, 4, 6>(), multiply_tiles<1, 4, 7>();
                load_tile<6>(targets + at + 2 * TILE, 4 * BLOCK), load_tile<7>(turned_ + at + 2 * TILE, 4 * BLOCK);
                multiply_tiles<2, 4, 6>(), multiply_tiles<3, 4, 7>();
            }
            store_tile<0>(out, 8 * BLOCK), store_tile<1>(out + BLOCK, 8 * BLOCK);
            store_tile<2>(out + TILE, 8 * BLOCK), store_tile<3>(out + BLOCK + TILE, 8 * BLOCK);
        }
    }

   private:
    Number16 *turned_, *sources_;
};

// The arithmetic of the spectral algorithm in bfloat16; sums and units are float32.
struct Bfloat16 {
    typedef Number16 Number;
    typedef AmxImages Images;
    typedef AmxTables Tables;
    typedef AmxTables::Room TableRoom;
    typedef AmxProducts Products;
    typedef AmxGradients Gradients;

    static int64_t stored(int64_t images) { return (images + TILE - 1) / TILE * TILE; }
    static float real(const Number16* spectrum, int64_t channel) {
        const uint32_t bits = uint32_t(spectrum[2 * channel]) << 16;
        float number;
        std::memcpy(&number, &bits, sizeof number);
        return number;
    }

    static void build(const Filters& filters, const Units& units, int64_t target, int64_t source, int64_t count, int64_t place, const Tables& tables,
                      const TableRoom& room) {
        filters.build(units, target, source, count, 0, room.exact, room.filters);
        tables.round(room.exact, filters.frequencies, count, place);
    }
};

#endif
