// Images in lanes: a vector holds one pixel of as many tiles, of one image or of several.
//
// A displacement is then an address and nothing else, whatever the size of the images and the stride.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "gaussian.h"
#include "memory.h"
#include "vector.h"

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TALLEST = 7;  // rows of a part of a tile, whose pixels stay in registers
#else
constexpr int TALLEST = 3;
#endif
constexpr int WIDE = 4;  // columns of such a part

constexpr int LARGEST = 256;  // pixels of a tile

// How images are cut into tiles.
struct Tiles {
    int64_t images, rows, columns;  // pixels of an image
    int64_t tall, wide;             // pixels of a tile
    int64_t part;                   // rows of its parts, or 0 if it has none
    int64_t down, right;            // tiles along both axes
    int64_t vectors;                // that hold them all

    Tiles(int64_t images, int64_t rows, int64_t columns, int64_t tall, int64_t wide, int64_t part = 0)
        : images(images), rows(rows), columns(columns), tall(tall), wide(wide), part(part),
          down((rows + tall - 1) / tall), right((columns + wide - 1) / wide), vectors((images * down * right + LANES - 1) / LANES) {}

    int64_t pixels() const { return tall * wide; }

    // The tile in a lane: its image, and its number along both axes. Lanes behind the last tile have none.
    struct Tile {
        int64_t image, y, x;
        bool real;
    };
    Tile tile(int64_t vector, int lane) const {
        const int64_t number = vector * LANES + lane;
        return {number / (down * right), number / right % down, number % right, number < images * down * right};
    }
};

// What tiles read of their images: `rows` by `columns` pixels, of which the first lies at `first` + `step` * tile.
struct Window {
    int64_t rows, columns;
    int64_t first_y, first_x, step_y, step_x;

    int64_t size() const { return rows * columns * LANES; }
    int64_t line() const { return columns * LANES; }
    Window wider(int64_t by) const { return {rows + 2 * by, columns + 2 * by, first_y - by, first_x - by, step_y, step_x}; }
};

// Reads the windows of a vector of tiles, channel by channel. Pixels outside of an image are zero.
class Reader {
   public:
    Reader(const Window& window, Memory& memory)
        : window_(window),
          stride_((window.rows * window.columns + 2 * LANES) / LANES * LANES),
          rows_(memory.floats(LANES * stride_)),
          places_(reinterpret_cast<int32_t*>(memory.floats(stride_))),
          target_(memory.floats(window.size())) {}

    // Takes the next tiles, of images of `high` by `wide` pixels.
    void take(const Tiles& tiles, int64_t vector, int64_t high, int64_t wide) {
        if (std::exchange(taken_, vector) == vector) return;
        top_ = window_.rows, left_ = window_.columns, bottom_ = right_ = 0;
        for (int lane = 0; lane < LANES; ++lane) {
            const Tiles::Tile tile = tiles.tile(vector, lane);
            Lane& l = lanes_[lane];
            const int64_t y = window_.first_y + tile.y * window_.step_y, x = window_.first_x + tile.x * window_.step_x;
            l.top = std::max<int64_t>(0, -y), l.bottom = std::min(window_.rows, high - y);
            l.left = std::max<int64_t>(0, -x), l.right = std::min(window_.columns, wide - x);
            l.image = tile.image, l.place = y * wide + x;
            if (!tile.real || l.top >= l.bottom || l.left >= l.right) l.top = l.bottom = l.left = l.right = 0;
            if (l.top == l.bottom) continue;
            top_ = std::min(top_, l.top), bottom_ = std::max(bottom_, l.bottom);
            left_ = std::min(left_, l.left), right_ = std::max(right_, l.right);
        }
        if (top_ > bottom_) top_ = bottom_ = left_ = right_ = 0;
        wide_ = wide, pixels_ = (bottom_ - top_) * (right_ - left_);
        for (int64_t y = top_, p = 0; y < bottom_; ++y)
            for (int64_t x = left_; x < right_; ++x, ++p) places_[p] = int32_t((y * window_.columns + x) * LANES);
        std::memset(rows_, 0, sizeof(float) * LANES * stride_);
        std::memset(target_, 0, sizeof(float) * window_.size());
    }

    // The windows of a channel, whose images are `apart` numbers from each other.
    const float* read(const float* channel, int64_t apart) {
        const int64_t width = right_ - left_;
        for (int lane = 0; lane < LANES; ++lane) {
            const Lane& l = lanes_[lane];
            float* to = rows_ + lane * stride_ + (l.top - top_) * width + l.left - left_;
            const float* from = channel + l.image * apart + l.place + l.top * wide_ + l.left;
            const int64_t columns = l.right - l.left;
            if (columns == width && width == wide_) {
                copy(to, from, columns * (l.bottom - l.top));
            } else {
                for (int64_t y = l.top; y < l.bottom; ++y, to += width, from += wide_) copy(to, from, columns);
            }
        }
        for (int64_t p = 0; p < pixels_; p += LANES) {
            Vector numbers[LANES];
#pragma GCC unroll 16
            for (int lane = 0; lane < LANES; ++lane) numbers[lane] = load(rows_ + lane * stride_ + p);
            transpose(numbers);
#pragma GCC unroll 16
            for (int j = 0; j < LANES; ++j)
                if (p + j < pixels_) store(target_ + places_[p + j], numbers[j]);
        }
        return target_;
    }

    int64_t top() const { return top_; }
    int64_t bottom() const { return bottom_; }

   private:
    struct Lane {
        int64_t image, place;             // of the window's first pixel in the channel
        int64_t top, bottom, left, right;  // what lies in the image
    };
    Window window_;
    int64_t stride_;
    float* rows_;  // of each lane
    int32_t* places_;
    float* target_;
    Lane lanes_[LANES];
    int64_t top_ = 0, bottom_ = 0, left_ = 0, right_ = 0;  // what lies in any lane's image
    int64_t wide_ = 0, pixels_ = 0, taken_ = -1;
};

// Smoothed windows, and with them the slopes along y and x.
class Blurred {
   public:
    Blurred(const Window& window, const Gaussian& gauss, bool slopes, Memory& memory)
        : window_(window), gauss_(gauss), slopes_(slopes), reader_(window.wider(gauss.radius), memory), raw_(window.wider(gauss.radius)) {}

    void take(const Tiles& tiles, int64_t vector, int64_t high, int64_t wide) { reader_.take(tiles, vector, high, wide); }

    // Writes them one after another: smoothed, and if wanted, with the slope along y and along x.
    void read(const float* channel, int64_t apart, float* target) {
        const float* raw = reader_.read(channel, apart);
        const int64_t line = window_.line(), size = window_.size();
        const Unsmoothed<LANES> from{raw, raw_.line(), reader_.top(), reader_.bottom()};
        if (slopes_)
            smooth<true>(gauss_, from, window_.rows, line, [=](int64_t y, int64_t x, Vector value, Vector slope_y, Vector slope_x) {
                float* to = target + y * line + x;
                store(to, value), store(to + size, slope_y), store(to + 2 * size, slope_x);
            });
        else
            smooth(gauss_, from, window_.rows, line, [=](int64_t y, int64_t x, Vector value) { store(target + y * line + x, value); });
    }

   private:
    Window window_;
    const Gaussian& gauss_;
    bool slopes_;
    Reader reader_;
    Window raw_;
};

// Writes a vector of tiles into images of channels, which are `apart` numbers from each other.
class Writer {
   public:
    Writer(const Tiles& tiles, int64_t vector, int64_t apart) : tiles_(tiles) {
        for (int lane = 0; lane < LANES; ++lane) {
            const Tiles::Tile tile = tiles.tile(vector, lane);
            const int64_t y = tile.y * tiles.tall, x = tile.x * tiles.wide;
            lanes_[lane] = {tile.image * apart + y * tiles.columns + x, tile.real ? tiles.rows - y : 0, tiles.columns - x};
            whole_ = whole_ && lanes_[lane].rows >= tiles.tall && lanes_[lane].columns >= tiles.wide;
        }
    }

    // The pixels of a channel, part by part in lanes. `next` is a channel whose lines of the cache will be needed then.
    void write(const float* pixels, float bias, float* channel, const float* next) const { whole_ ? write<true>(pixels, bias, channel, next) : write<false>(pixels, bias, channel, next); }

   private:
    template <bool WHOLE>
    void write(const float* pixels, float bias, float* channel, const float* next) const {
        for (int64_t part = 0; part < tiles_.tall; part += tiles_.part)
            for (int64_t x = 0; x < tiles_.wide; x += WIDE)
                for (int64_t y = part; y < part + tiles_.part; ++y, pixels += WIDE * LANES) {
                    Vector columns[WIDE];
#pragma GCC unroll 4
                    for (int j = 0; j < WIDE; ++j) columns[j] = load(pixels + j * LANES) + bias;
                    transpose<WIDE / 2>(columns);  // afterwards a lane's columns are side by side
#pragma GCC unroll 16
                    for (int lane = 0; lane < LANES; ++lane) {
                        const Lane& l = lanes_[lane];
                        if (!WHOLE && (y >= l.rows || x >= l.columns)) continue;
                        const int64_t place = l.place + y * tiles_.columns + x, count = WHOLE ? WIDE : std::min<int64_t>(WIDE, l.columns - x);
                        float row[WIDE];
                        std::memcpy(row, reinterpret_cast<const float*>(&columns[lane % WIDE]) + lane / WIDE * WIDE, sizeof row);
                        if (count == WIDE) std::memcpy(channel + place, row, sizeof row);
                        else for (int64_t j = 0; j < count; ++j) channel[place + j] = row[j];
                        __builtin_prefetch(next + place, 1);
                    }
                }
    }

    struct Lane {
        int64_t place, rows, columns;  // of the first pixel in the channel; pixels of the image from there on
    };
    const Tiles& tiles_;
    Lane lanes_[LANES];
    bool whole_ = true;
};
