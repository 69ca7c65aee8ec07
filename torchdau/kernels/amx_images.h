// Tiles of images in bfloat16 to their spectra, and the adjoint way back, by products with constant matrices.
#pragma once

#include "amx.h"

#if defined(__AMX_BF16__)

#include <cmath>

#include "frequencies.h"
#include "tiling.h"

// Complex rows of a constant matrix: of each tile, real parts first.
constexpr int COMPLEX = TILE / 2;

// The waves of an axis at its pixels, which are half a pixel or whole pixels from the middle of a tile.
class Circle {
   public:
    Circle(const Axis& axis, int length, Memory& memory)
        : axis_(axis), all_(2 * length), cos_(reinterpret_cast<Number16*>(memory.floats(length))), sin_(reinterpret_cast<Number16*>(memory.floats(length))) {}

    void fill() {
        for (int i = 0; i < all_; ++i)
            cos_[i] = rounded(float(std::cos(2 * M_PI * i / all_))), sin_[i] = rounded(float(std::sin(2 * M_PI * i / all_)));
    }

    int angle(int64_t frequency, int64_t pixel) const {
        const int at = int(int32_t(frequency) * (2 * int32_t(pixel) - axis_.size + 1) * axis_.stride) % all_;
        return at < 0 ? at + all_ : at;
    }
    int reverse(int angle) const { return angle ? all_ - angle : 0; }

    Number16 cos(int angle) const { return cos_[angle]; }
    Number16 minus_sin(int angle) const { return sin_[angle] ^ 0x8000; }

    // What the real and the imaginary part of a number count in the real, or the imaginary, part of e^(i angle) times it.
    uint32_t turn(int angle, bool imaginary) const {
        return imaginary ? pair(sin_[angle], cos_[angle]) : pair(cos_[angle], minus_sin(angle));
    }
    static uint32_t pair(Number16 first, Number16 second) { return first | uint32_t(second) << 16; }

   private:
    Axis axis_;
    int all_;
    Number16 *cos_, *sin_;
};

class AmxImages : public Tiling {
   public:
    AmxImages(Frequencies f, int64_t groups, int64_t channels, bool channels_last, const Axis& y, const Axis& x, Memory& memory)
        : Tiling{f, groups, channels, channels_last, y, x},
          circle_y_(y, f.height, memory),
          circle_x_(x, f.width, memory),
          x_to_(complex_rows(f.columns()), (x.size + 1) / 2, memory),
          y_to_(complex_rows(f.height), y.size, memory),
          y_back_(complex_rows(y.size), f.height, memory),
          y_back_mirrored_(complex_rows(y.size), f.half(), memory),
          x_back_(x.size, f.columns(), memory) {}

    void fill() {
        circle_y_.fill(), circle_x_.fill();
        const auto along_y = [&](int64_t frequency, int64_t pixel) {
            const int64_t half = frequencies.half();
            return circle_y_.angle(frequency < half ? frequency : half - 1 - frequency, pixel);
        };
        x_to_.fill([&](int64_t row, int64_t pair) {
            const auto number = [&](int64_t pixel) {
                if (pixel >= x.size) return Number16(0);
                const int angle = circle_x_.angle(this->number(row), pixel);
                return imaginary(row) ? circle_x_.minus_sin(angle) : circle_x_.cos(angle);
            };
            return Circle::pair(number(2 * pair), number(2 * pair + 1));
        });
        y_to_.fill([&](int64_t row, int64_t pixel) { return circle_y_.turn(circle_y_.reverse(along_y(number(row), pixel)), imaginary(row)); });
        const auto back = [&](int64_t row, int64_t frequency) { return circle_y_.turn(along_y(frequency, number(row)), imaginary(row)); };
        y_back_.fill(back), y_back_mirrored_.fill(back);
        x_back_.fill([&](int64_t pixel, int64_t frequency) { return circle_x_.turn(circle_x_.angle(frequency, pixel), false); });
    }

    // Room for one tile of a block of channels while it is transformed.
    struct Room {
        Number16 *row, *half;  // pairs of pixels of a row; numbers after one of the two transforms
        float* sums;
        Room(const AmxImages& images, Memory& memory) {
            const int64_t pairs = (images.x.size + 2 * TILE - 1) / (2 * TILE) * TILE;
            row = reinterpret_cast<Number16*>(memory.floats(pairs * BLOCK));
            half = reinterpret_cast<Number16*>(memory.floats(int64_t(images.frequencies.columns()) * images.y.size * BLOCK));
            sums = memory.floats(4 * TILE * TILE);
        }
    };

    // Spectra of a tile of a block of channels, the first of which is `image`, written for frequency f at spectra + f * step.
    // Outside of the image, and beyond the last channel, there are zeros.
    void analyse(const Number16* image, const Place& place, Number16* spectra, int64_t step, const Room& room) const {
        AmxTiles tiles;
        const int64_t h = y.size, columns = frequencies.columns();
        for (int64_t row = 0; row < h; ++row) {
            gather(image, place, int(row), room.row);
            x_to_.multiply(room.row, 2 * BLOCK, tiles, room.sums, [&](int64_t tile, int half, const float* sums) {
                for (int64_t r = 0, kx = tile * COMPLEX; r < COMPLEX && kx < columns; ++r, ++kx)
                    _mm512_store_si512(room.half + (kx * h + row) * 2 * BLOCK + half * 2 * TILE, complex_pairs(sums, r));
            });
        }
        for (int kx = 0; kx < columns; ++kx) {
            const int64_t rows = column(kx);
            Number16* to = spectra + frequencies.number(kx, 0) * step;
            y_to_.multiply(room.half + kx * h * 2 * BLOCK, 2 * BLOCK, tiles, room.sums, [&](int64_t tile, int half, const float* sums) {
                for (int64_t r = 0, ky = tile * COMPLEX; r < COMPLEX && ky < rows; ++r, ++ky)
                    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + ky * step + half * 2 * TILE), complex_pairs(sums, r));
            });
        }
    }

    // Adjoint of analyse(): writes the pixels of a tile, or adds to them, and adds `bias` (channel) if there is one.
    void synthesise(const Number16* spectra, int64_t step, Number16* image, const Place& place, bool add, const float* bias, const Room& room) const {
        AmxTiles tiles;
        const int64_t h = y.size, columns = frequencies.columns();
        for (int kx = 0; kx < columns; ++kx) {
            const Constant& back = frequencies.mirrored(kx) ? y_back_mirrored_ : y_back_;
            back.multiply(spectra + frequencies.number(kx, 0) * step, step, tiles, room.sums, [&](int64_t tile, int half, const float* sums) {
                for (int64_t r = 0, row = tile * COMPLEX; r < COMPLEX && row < h; ++r, ++row)
                    _mm512_store_si512(room.half + (row * columns + kx) * 2 * BLOCK + half * 2 * TILE, complex_pairs(sums, r));
            });
        }
        for (int64_t row = 0; row < h; ++row) {
            const int64_t target = place.top + row;
            if (target < 0 || target >= y.pixels) continue;
            Number16* line = image + (target * x.pixels + place.left) * apart();
            x_back_.multiply(room.half + row * columns * 2 * BLOCK, 2 * BLOCK, tiles, room.sums, [&](int64_t tile, int half, const float* sums) {
                const int64_t channel = half * TILE, there = place.channels - channel;
                if (there > 0) scatter(sums, line + channel * (channels_last ? 1 : this->image()), place, tile * TILE, there, add, bias ? bias + channel : nullptr);
            });
        }
    }

   private:
    static int64_t complex_rows(int64_t count) { return (count + COMPLEX - 1) / COMPLEX * TILE; }
    static int64_t number(int64_t row) { return row / TILE * COMPLEX + row % COMPLEX; }
    static bool imaginary(int64_t row) { return row % TILE >= COMPLEX; }
    static __m512i complex_pairs(const float* sums, int64_t row) { return pairs(load(sums + row * TILE), load(sums + (COMPLEX + row) * TILE)); }

    // Frequencies of a column.
    int64_t column(int kx) const { return frequencies.half() + frequencies.twins(kx); }

    // One row of a tile: (pair of pixels, half of the block, channel, which of the pair).
    void gather(const Number16* image, const Place& place, int row, Number16* to) const {
        const int from = place.top + row;
        const int64_t pairs = (x.size + 1) / 2;
        if (from < 0 || from >= y.pixels || place.first >= place.last) {
            std::memset(to, 0, sizeof(Number16) * pairs * 2 * BLOCK);
            return;
        }
        const Number16* source = image + (int64_t(from) * x.pixels + place.left) * apart();
        for (int half = 0; half < HALVES; ++half, to += 2 * TILE) {
            const int64_t channel = half * TILE, there = place.channels - channel;
            if (channels_last) {
                const auto pixel = [&](int64_t column) {
                    const __mmask16 mask = column >= place.first && column < place.last ? first_lanes(there) : 0;
                    return _mm256_maskz_loadu_epi16(mask, source + column * apart() + channel);
                };
                for (int64_t pair = 0; pair < pairs; ++pair)
                    _mm512_store_si512(to + pair * 2 * BLOCK, interleaved(_mm512_inserti64x4(_mm512_castsi256_si512(pixel(2 * pair)), pixel(2 * pair + 1), 1)));
                continue;
            }
            for (int64_t first = 0; first < pairs; first += TILE) {
                const uint32_t inside = before(place.last - 2 * first) & ~before(place.first - 2 * first);
                Vector block[TILE];
#pragma GCC unroll 16
                for (int c = 0; c < TILE; ++c)
                    block[c] = reinterpret_cast<Vector>(_mm512_maskz_loadu_epi16(c < there ? inside : 0, source + (channel + c) * this->image() + 2 * first));
                transpose(block);
#pragma GCC unroll 16
                for (int pair = 0; pair < TILE; ++pair)
                    _mm512_store_si512(to + (first + pair) * 2 * BLOCK, reinterpret_cast<__m512i>(block[pair]));
            }
        }
    }

    // The first of 32 bits.
    static uint32_t before(int64_t count) { return count <= 0 ? 0 : count >= 32 ? ~0u : (1u << count) - 1; }

    // Some pixels (pixel, channel) of a row from `first` on, and `there` channels of them.
    void scatter(const float* sums, Number16* line, const Place& place, int64_t first, int64_t there, bool add, const float* bias) const {
        if (channels_last) {
            const __mmask16 mask = first_lanes(there);
            const Vector more = bias ? load_within(bias, there) : Vector{};
            for (int64_t pixel = first; pixel < first + TILE && pixel < place.last; ++pixel, sums += TILE)
                if (pixel >= place.first) write(line + pixel * apart(), mask, load(sums) + more, add);
            return;
        }
        const __mmask16 mask = first_lanes(place.last - first) & ~first_lanes(place.first - first);
        Vector block[TILE];
#pragma GCC unroll 16
        for (int pixel = 0; pixel < TILE; ++pixel) block[pixel] = load(sums + pixel * TILE);
        transpose(block);
#pragma GCC unroll 16
        for (int c = 0; c < TILE; ++c)
            if (c < there) write(line + c * image() + first, mask, block[c] + (bias ? bias[c] : 0), add);
    }

    static void write(Number16* to, __mmask16 mask, Vector numbers, bool add) {
        if (add) numbers += widened(_mm256_maskz_loadu_epi16(mask, to));
        _mm256_mask_storeu_epi16(to, mask, rounded(numbers));
    }

    Circle circle_y_, circle_x_;
    Constant x_to_, y_to_, y_back_, y_back_mirrored_, x_back_;
};

#endif
