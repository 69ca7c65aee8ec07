// Tiles of images to their spectra, and the adjoint way back; the lanes of a vector are channels.
#pragma once

#include <cmath>
#include <cstdint>

#include "memory.h"
#include "tiling.h"
#include "vector.h"

// C (m, columns) = A (m, k) B (k, columns), where A is a small constant matrix and columns are vectors.
template <int ROWS_, int VECTORS_>
static inline void multiply_tile(
    const float* a, int64_t lda, int k, const float* b, int64_t ldb, float* c, int64_t ldc) {
    Vector total[ROWS_][VECTORS_] = {};
    for (int j = 0; j < k; ++j, b += ldb) {
        Vector column[VECTORS_];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS_; ++v) column[v] = load(b + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS_; ++r) {
            float factor = a[r * lda + j];
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS_; ++v) total[r][v] += column[v] * factor;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS_; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS_; ++v) store(c + r * ldc + v * LANES, total[r][v]);
}

template <int VECTORS_>
static void multiply_panel(
    const float* a, int m, int k, const float* b, int64_t ldb, float* c, int64_t ldc) {
    constexpr int TALL = LANES == 16 ? 6 : 4;
    int r = 0;
    for (; r + TALL <= m; r += TALL) multiply_tile<TALL, VECTORS_>(a + r * k, k, k, b, ldb, c + r * ldc, ldc);
    a += r * k, c += r * ldc;
    switch (m - r) {
        case 5: return multiply_tile<5, VECTORS_>(a, k, k, b, ldb, c, ldc);
        case 4: return multiply_tile<4, VECTORS_>(a, k, k, b, ldb, c, ldc);
        case 3: return multiply_tile<3, VECTORS_>(a, k, k, b, ldb, c, ldc);
        case 2: return multiply_tile<2, VECTORS_>(a, k, k, b, ldb, c, ldc);
        case 1: return multiply_tile<1, VECTORS_>(a, k, k, b, ldb, c, ldc);
    }
}

static void multiply(
    const float* a, int m, int k, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t columns) {
    constexpr int WIDE = LANES == 16 ? 4 : 2;
    int64_t v = 0;
    for (; v + WIDE * LANES <= columns; v += WIDE * LANES) multiply_panel<WIDE>(a, m, k, b + v, ldb, c + v, ldc);
    for (; v + 2 * LANES <= columns; v += 2 * LANES) multiply_panel<2>(a, m, k, b + v, ldb, c + v, ldc);
    for (; v < columns; v += LANES) multiply_panel<1>(a, m, k, b + v, ldb, c + v, ldc);
}

// The cosine and sine transform of one axis. Pixels are first folded about the middle of the tile: their even part has
// cosines only, their odd part sines only, which halves the work.
//
// Where the length T is even and a pixel is in the middle, frequencies are folded as well: the waves of k and T/2 - k
// differ in the sign at every other position, so sums over every other pixel serve both, which halves the work again.
struct Transform {
    // The waves of some pixels, every `step`th from `first` on, of the even or the odd part.
    struct Waves {
        int first, step, count, rows;
        float *to, *back;  // (rows, count) and its transpose

        void multiply(const float* pixels, int64_t ldb, float* c, int64_t ldc, int64_t columns) const {
            ::multiply(to, rows, count, pixels + first * ldb, step * ldb, c, ldc, columns);
        }
        void multiply_back(const float* c, int64_t ldc, float* pixels, int64_t ldb, int64_t columns) const {
            ::multiply(back, count, rows, c, ldc, pixels + first * ldb, step * ldb, columns);
        }
    };
    int size, even, odd, last, sets;  // the last frequency; 2 sets of pixels where frequencies are folded, else 1
    Waves cos[2], sin[2];

    Transform(const Axis& axis, int length, Memory& memory)
        : size(axis.size), even((axis.size + 1) / 2), odd(axis.size / 2), last(length / 2), sets(length % 2 == 0 && axis.size % 2 ? 2 : 1) {
        const bool alternate = sets == 2 && axis.stride % 2;  // positions of pixels are even and odd; else all are even
        for (int set = 0; set < sets; ++set) {
            const int rows = sets == 1 ? last + 1 : set ? (last + 1) / 2 : last / 2 + 1;  // T/4 is its own partner
            cos[set] = waves(even, rows, alternate, set, set == 0, memory);
            sin[set] = waves(odd, rows, alternate, set, set == sets - 1, memory);
        }
    }

    void fill(const Axis& axis, int length) {
        const double nearest = size % 2 ? 0 : 0.5;
        auto angle = [&](int k, double pixel) { return 2 * M_PI / length * std::fmod(k * pixel * axis.stride, length); };
        for (int set = 0; set < sets; ++set) {
            fill(cos[set], [&](int k, int d) { return std::cos(angle(k, nearest + d)); });
            fill(sin[set], [&](int k, int d) { return std::sin(angle(k, nearest + size % 2 + d)); });
        }
    }

    // In place: pixels to even parts, from the middle upwards, and odd parts, from the middle downwards.
    void fold(float* pixels, int64_t columns) const {
        float *high = pixels + (size - odd) * columns, *low = pixels + (odd - 1) * columns;
        for (int d = 0; d < odd; ++d, high += columns, low -= columns) fold(high, low, columns);
    }

    // Adjoint of fold().
    void unfold(float* pixels, int64_t columns) const { fold(pixels, columns); }

    // Rows of cosines and of sines, `ldc` apart, from folded pixels.
    void forward(const float* pixels, int64_t columns, float* cosines, float* sines, int64_t ldc) const {
        const float *up = pixels + odd * columns, *down = pixels + (odd - 1) * columns;
        cos[0].multiply(up, columns, cosines, ldc, columns);
        sin[0].multiply(down, -columns, sines, ldc, columns);
        if (sets == 1) return;
        cos[1].multiply(up, columns, cosines + last * ldc, -ldc, columns);
        sin[1].multiply(down, -columns, sines + last * ldc, -ldc, columns);
        fold_frequencies(cosines, sines, ldc, columns);
    }

    // Adjoint of forward(); overwrites the rows of cosines and sines.
    void backward(float* cosines, float* sines, int64_t ldc, float* pixels, int64_t columns) const {
        float *up = pixels + odd * columns, *down = pixels + (odd - 1) * columns;
        if (sets == 2) {
            fold_frequencies(cosines, sines, ldc, columns);
            cos[1].multiply_back(cosines + last * ldc, -ldc, up, columns, columns);
            sin[1].multiply_back(sines + last * ldc, -ldc, down, -columns, columns);
        }
        cos[0].multiply_back(cosines, ldc, up, columns, columns);
        sin[0].multiply_back(sines, ldc, down, -columns, columns);
    }

   private:
    // Of pixels that alternate, every other one, or else all of them or none.
    static Waves waves(int pixels, int rows, bool alternate, int first, bool all, Memory& memory) {
        Waves w{alternate ? first : 0, alternate ? 2 : 1, alternate ? (pixels - first + 1) / 2 : all ? pixels : 0, rows, nullptr, nullptr};
        w.to = memory.floats(int64_t(w.rows) * w.count), w.back = memory.floats(int64_t(w.rows) * w.count);
        return w;
    }

    template <class Wave>
    static void fill(Waves& w, Wave wave) {
        for (int k = 0; k < w.rows; ++k)
            for (int j = 0; j < w.count; ++j) w.to[k * w.count + j] = w.back[j * w.rows + k] = float(wave(k, w.first + j * w.step));
    }

    // In place: sums over every other pixel, those of k in row k and those of T/2 - k in row T/2 - k, to frequencies. For
    // cosines the former are of even positions, for sines of odd ones. It is its own adjoint.
    void fold_frequencies(float* cosines, float* sines, int64_t ldc, int64_t columns) const {
        for (int k = 0; 2 * k < last; ++k) {
            fold(cosines + k * ldc, cosines + (last - k) * ldc, columns);
            fold(sines + k * ldc, sines + (last - k) * ldc, columns);
        }
    }

    // In place: sums and differences of two rows.
    static void fold(float* sum, float* difference, int64_t columns) {
        for (int64_t v = 0; v < columns; v += LANES) {
            Vector a = load(sum + v), b = load(difference + v);
            store(sum + v, a + b);
            store(difference + v, a - b);
        }
    }
};

// Rows of a tile that are transformed along x at a time: few enough that they stay in the fastest cache.
constexpr int STRIP = 8;

// Images in float32, and how their tiles are transformed.
struct Images : Tiling {
    Transform transform_y, transform_x;

    Images(Frequencies f, int64_t groups, int64_t channels, bool channels_last, const Axis& y, const Axis& x, Memory& memory)
        : Tiling{f, groups, channels, channels_last, y, x}, transform_y(y, f.height, memory), transform_x(x, f.width, memory) {}

    void fill() {
        transform_y.fill(y, frequencies.height);
        transform_x.fill(x, frequencies.width);
    }

    // Room for one tile of a block of channels while it is transformed.
    struct Room {
        float *pixels, *half, *rows, *columns;
        Room(const Images& images, Memory& memory) {
            int64_t h = images.y.size, w = images.x.size, n = images.frequencies.half();
            pixels = memory.floats(STRIP * w * BLOCK);                                  // (x, y, channel)
            half = memory.floats(2 * images.frequencies.columns() * h * BLOCK);     // (kx, cos or sin, y, channel)
            columns = memory.floats(4 * n * BLOCK);                                 // (cc, sc, cs, ss; ky, channel)
            rows = memory.floats((w + 2 * LANES) * BLOCK);                          // (channel, x)
        }
    };

    // Spectra of a tile of a block of channels, the first of which is `image`: re and im, written for frequency f at
    // spectra + f * step. Outside of the image, and beyond the last channel, there are zeros.
    void analyse(const float* image, const Place& place, float* spectra, int64_t step, const Room& room) const {
        const int h = y.size, n = frequencies.half(), columns = frequencies.columns();
        const int64_t plane = int64_t(h) * BLOCK;
        std::memset(room.rows, 0, sizeof(float) * width() * BLOCK);
        for (int row = 0; row < h; row += STRIP) {
            const int rows = h - row < STRIP ? h - row : STRIP;
            for (int r = 0; r < rows; ++r) gather(image, place, row + r, room.pixels + r * BLOCK, rows * BLOCK, room);
            transform_x.fold(room.pixels, rows * BLOCK);
            float* half = room.half + row * BLOCK;
            transform_x.forward(room.pixels, rows * BLOCK, half, half + plane, 2 * plane);
        }
        float *cc = room.columns, *sc = cc + n * BLOCK, *cs = sc + n * BLOCK, *ss = cs + n * BLOCK;
        for (int kx = 0; kx < columns; ++kx) {
            float* half = room.half + kx * 2 * plane;
            transform_y.fold(half, BLOCK);
            transform_y.fold(half + plane, BLOCK);
            transform_y.forward(half, BLOCK, cc, sc, BLOCK);
            transform_y.forward(half + plane, BLOCK, cs, ss, BLOCK);
            for (int ky = 0; ky < n; ++ky) {
                float* out = spectra + frequencies.number(kx, ky) * step;
                float* twin = frequencies.has_twin(kx, ky) ? spectra + frequencies.twin(kx, ky) * step : nullptr;
                for (int v = ky * BLOCK, lane = 0; lane < BLOCK; v += LANES, lane += LANES) {
                    Vector a = load(cc + v), b = load(ss + v), c = load(cs + v), d = load(sc + v);
                    write(out + lane, a - b, -(c + d));
                    if (twin) write(twin + lane, a + b, d - c);
                }
            }
        }
    }

    // Adjoint of analyse(): writes the pixels of a tile, or adds to them, and adds `bias`
    // (channel) if there is one.
    void synthesise(const float* spectra, int64_t step, float* image, const Place& place, bool add, const float* bias, const Room& room) const {
        const int h = y.size, n = frequencies.half(), columns = frequencies.columns();
        const int64_t plane = int64_t(h) * BLOCK;
        float *cc = room.columns, *sc = cc + n * BLOCK, *cs = sc + n * BLOCK, *ss = cs + n * BLOCK;
        for (int kx = 0; kx < columns; ++kx) {
            if (kx + 1 < columns)
                for (int64_t f = frequencies.number(kx + 1, 0), last = f + n + frequencies.twins(kx + 1); f < last; ++f)
                    prefetch(spectra + f * step, 2 * BLOCK);
            for (int ky = 0; ky < n; ++ky) {
                const float* in = spectra + frequencies.number(kx, ky) * step;
                const float* twin = frequencies.has_twin(kx, ky) ? spectra + frequencies.twin(kx, ky) * step : nullptr;
                for (int v = ky * BLOCK, lane = 0; lane < BLOCK; v += LANES, lane += LANES) {
                    Vector re = load(in + lane), im = load(in + BLOCK + lane), re_twin{}, im_twin{};
                    if (twin) re_twin = load(twin + lane), im_twin = load(twin + BLOCK + lane);
                    store(cc + v, re + re_twin);
                    store(sc + v, im_twin - im);
                    store(cs + v, -(im + im_twin));
                    store(ss + v, re_twin - re);
                }
            }
            float* half = room.half + kx * 2 * plane;
            transform_y.backward(cc, sc, BLOCK, half, BLOCK);
            transform_y.backward(cs, ss, BLOCK, half + plane, BLOCK);
            transform_y.unfold(half, BLOCK);
            transform_y.unfold(half + plane, BLOCK);
        }
        for (int row = 0; row < h; row += STRIP) {
            const int rows = h - row < STRIP ? h - row : STRIP;
            float* half = room.half + row * BLOCK;
            transform_x.backward(half, half + plane, 2 * plane, room.pixels, rows * BLOCK);
            transform_x.unfold(room.pixels, rows * BLOCK);
            for (int r = 0; r < rows; ++r) scatter(room.pixels + r * BLOCK, rows * BLOCK, image, place, row + r, add, bias, room);
        }
    }

   private:
    int64_t width() const { return (x.size + LANES - 1) / LANES * LANES; }  // of a row in Room::rows

    // One row of a tile, channels to lanes, its pixels `step` apart.
    void gather(const float* image, const Place& place, int row, float* to, int64_t step, const Room& room) const {
        const int64_t w = x.size, width = this->width();
        const int from = place.top + row;
        if (from < 0 || from >= y.pixels || place.first >= place.last) {
            for (int64_t column = 0; column < w; ++column) std::memset(to + column * step, 0, sizeof(float) * BLOCK);
            return;
        }
        const float* source = image + (int64_t(from) * x.pixels + place.left) * apart();
        if (channels_last) {
            for (int64_t column = 0; column < w; ++column) {
                float* lanes = to + column * step;
                const bool inside = column >= place.first && column < place.last;
                if (inside && place.channels == BLOCK) {
                    for (int v = 0; v < BLOCK; v += LANES) store(lanes + v, load(source + column * apart() + v));
                } else {
                    std::memset(lanes, 0, sizeof(float) * BLOCK);
                    if (inside) std::memcpy(lanes, source + column * apart(), sizeof(float) * place.channels);
                }
            }
            return;
        }
        for (int64_t c = 0; c < place.channels; ++c)
            std::memcpy(room.rows + c * width + place.first, source + c * this->image() + place.first, sizeof(float) * (place.last - place.first));
        for (int64_t column = 0; column < w; column += LANES)
            for (int v = 0; v < VECTORS; ++v) {
                Vector block[LANES];
#pragma GCC unroll 16
                for (int c = 0; c < LANES; ++c) block[c] = load(room.rows + (v * LANES + c) * width + column);
                transpose(block);
                const int count = w - column < LANES ? int(w - column) : LANES;
                for (int j = 0; j < count; ++j) store(to + (column + j) * step + v * LANES, block[j]);
            }
    }

    // Adjoint of gather().
    void scatter(const float* from, int64_t step, float* image, const Place& place, int row, bool add, const float* bias, const Room& room) const {
        const int64_t w = x.size, width = this->width();
        const int target = place.top + row;
        if (target < 0 || target >= y.pixels) return;
        float* out = image + (int64_t(target) * x.pixels + place.left) * apart();
        if (channels_last) {
            for (int64_t column = place.first; column < place.last; ++column)
                write_channels(from + column * step, out + column * apart(), place.channels, add, bias);
            return;
        }
        for (int64_t column = 0; column < w; column += LANES)
            for (int v = 0; v < VECTORS; ++v) {
                Vector block[LANES];
#pragma GCC unroll 16
                for (int j = 0; j < LANES; ++j)  // what lies beyond the tile is not written below
                    block[j] = load(from + (column + j < w ? column + j : w - 1) * step + v * LANES);
                transpose(block);
#pragma GCC unroll 16
                for (int c = 0; c < LANES; ++c) store(room.rows + (v * LANES + c) * width + column, block[c]);
            }
        for (int64_t c = 0; c < place.channels; ++c) {
            const float* source = room.rows + c * width;
            float* line = out + c * this->image();
            const float more = bias ? bias[c] : 0;
            if (add)
                for (int j = place.first; j < place.last; ++j) line[j] += source[j];
            else
                for (int j = place.first; j < place.last; ++j) line[j] = source[j] + more;
        }
    }

    // A pixel of some channels, at most a block.
    static void write_channels(const float* from, float* to, int64_t count, bool add, const float* bias) {
        int64_t c = 0;
        for (; c + LANES <= count; c += LANES) {
            Vector v = load(from + c);
            if (add) v += load(to + c);
            if (bias) v += load(bias + c);
            store(to + c, v);
        }
        for (; c < count; ++c) to[c] = from[c] + (add ? to[c] : 0) + (bias ? bias[c] : 0);
    }

    static void write(float* out, Vector re, Vector im) {
        stream(out, re);
        stream(out + BLOCK, im);
    }
};
