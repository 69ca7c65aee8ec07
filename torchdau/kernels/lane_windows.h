// Windows of tiles in lanes: read from images, and smoothed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "gaussian.h"
#include "lanes.h"
#include "memory.h"
#include "planes.h"
#include "vector.h"

// Reads the windows of a vector of tiles, channel by channel. Pixels outside of an image are zero.
class Reader {
   public:
    // Counts or takes memory, for tiles of images of `high` by `wide` pixels.
    Reader(const Tiles& tiles, const Window& window, int64_t high, int64_t wide, bool channels_last, Memory& memory)
        : tiles_(tiles), window_(window), high_(high), wide_(wide), stride_((window.rows * window.columns + 2 * LANES) / LANES * LANES),
          rows_(memory.floats(LANES * stride_)), places_(reinterpret_cast<int32_t*>(memory.floats(stride_))), target_(memory.floats(window.size())),
          plane_(channels_last ? std::min(high, (tiles.down_together() - 1) * window.step_y + window.rows) * wide : 0),
          planes_(memory.floats(tiles.images_together() * LANES * plane_)) {}

    // Takes the next tiles.
    void take(int64_t vector) {
        if (std::exchange(taken_, vector) == vector) return;
        top_ = window_.rows, left_ = window_.columns, bottom_ = right_ = 0;
        count_ = images_ = 0;
        for (int lane = 0; lane < LANES; ++lane) {
            const Tiles::Tile tile = tiles_.tile(vector, lane);
            Lane& l = lanes_[lane];
            const int64_t y = window_.first_y + tile.y * window_.step_y, x = window_.first_x + tile.x * window_.step_x;
            l.top = std::max<int64_t>(0, -y), l.bottom = std::min(window_.rows, high_ - y);
            l.left = std::max<int64_t>(0, -x), l.right = std::min(window_.columns, wide_ - x);
            l.image = tile.image, l.place = y * wide_ + x;
            if (!images_ || copied_[images_ - 1].image != tile.image) copied_[images_++] = {tile.image, high_, 0};
            l.copy = images_ - 1;
            if (!tile.real || l.top >= l.bottom || l.left >= l.right) l.top = l.bottom = l.left = l.right = 0;
            if (l.top == l.bottom) continue;
            top_ = std::min(top_, l.top), bottom_ = std::max(bottom_, l.bottom);
            left_ = std::min(left_, l.left), right_ = std::max(right_, l.right);
            Copy& copy = copied_[l.copy];
            copy.first_row = std::min(copy.first_row, y + l.top), copy.last_row = std::max(copy.last_row, y + l.bottom);
        }
        if (top_ > bottom_) top_ = bottom_ = left_ = right_ = 0;
        pixels_ = (bottom_ - top_) * (right_ - left_);
        for (int64_t y = top_, p = 0; y < bottom_; ++y)
            for (int64_t x = left_; x < right_; ++x, ++p) places_[p] = int32_t((y * window_.columns + x) * LANES);
        std::memset(rows_, 0, sizeof(float) * LANES * stride_);
        std::memset(target_, 0, sizeof(float) * window_.size());
    }

    // The windows of a channel. Where channels lie side by side, those before `last` should come one after another.
    const float* read(const Channels& images, int64_t channel, int64_t last) {
        if (!pixels_) return target_;
        if (!images.channels_last) return read_planes([&](const Lane& l) { return images.at(l.image, channel) + l.place; });
        if (channel < first_ || channel >= first_ + count_) copy_planes(images, channel, std::min<int64_t>(LANES, last - channel));
        const float* planes = planes_ + (channel - first_) * plane_;
        return read_planes([&](const Lane& l) { return planes + l.copy * LANES * plane_ + l.place - copied_[l.copy].first_row * wide_; });
    }

    int64_t top() const { return top_; }
    int64_t bottom() const { return bottom_; }

   private:
    struct Lane {
        int64_t image, place;             // of the window's first pixel in the channel
        int64_t top, bottom, left, right;  // what lies in the image
        int64_t copy;                      // number of its image among the copied ones
    };
    struct Copy {
        int64_t image, first_row, last_row;
    };

    // Channels that lie side by side as planes: what the tiles read of them.
    void copy_planes(const Channels& images, int64_t first, int64_t count) {
        first_ = first, count_ = count;
        for (int64_t j = 0; j < images_; ++j) {
            const Copy& copy = copied_[j];
            if (copy.first_row < copy.last_row)
                images.copy(copy.image, first, count, copy.first_row * wide_, copy.last_row * wide_, planes_ + j * LANES * plane_, plane_);
        }
    }

    // From planes, in which a lane's window begins at begin(lane).
    template <class Begin>
    const float* read_planes(Begin begin) {
        const int64_t width = right_ - left_;
        for (int lane = 0; lane < LANES; ++lane) {
            const Lane& l = lanes_[lane];
            float* to = rows_ + lane * stride_ + (l.top - top_) * width + l.left - left_;
            const float* from = begin(l) + l.top * wide_ + l.left;
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

    const Tiles tiles_;
    const Window window_;
    const int64_t high_, wide_, stride_;
    float* rows_;  // of each lane
    int32_t* places_;
    float* target_;
    const int64_t plane_;  // numbers of a copied plane
    float* planes_;        // copies of as many channels as there are lanes, image by image
    Lane lanes_[LANES];
    Copy copied_[LANES];
    int64_t top_ = 0, bottom_ = 0, left_ = 0, right_ = 0;       // what lies in any lane's image
    int64_t pixels_ = 0, taken_ = -1;
    int64_t images_ = 0, first_ = 0, count_ = 0;  // copied images, and channels of them
};

// Smoothed windows, and with them the slopes along y and x.
class Blurred {
   public:
    Blurred(const Tiles& tiles, const Window& window, int64_t high, int64_t wide, const Gaussian& gauss, bool slopes, bool channels_last, Memory& memory)
        : window_(window), gauss_(gauss), slopes_(slopes), reader_(tiles, window.wider(gauss.radius), high, wide, channels_last, memory), raw_(window.wider(gauss.radius)) {}

    void take(int64_t vector) { reader_.take(vector); }

    // Writes a channel's pixels one after another: smoothed, and if wanted, each with the slopes along y and x behind it.
    void read(const Channels& images, int64_t channel, int64_t last, float* target) {
        const float* raw = reader_.read(images, channel, last);
        const int64_t line = window_.line();
        const Unsmoothed<LANES> from{raw, raw_.line(), reader_.top(), reader_.bottom()};
        if (slopes_)
            smooth<true>(gauss_, from, window_.rows, line, [=](int64_t y, int64_t x, Vector value, Vector slope_y, Vector slope_x) {
                float* to = target + 3 * (y * line + x);
                store(to, value), store(to + LANES, slope_y), store(to + 2 * LANES, slope_x);
            });
        else
            smooth(gauss_, from, window_.rows, line, [=](int64_t y, int64_t x, Vector value) { store(target + y * line + x, value); });
    }

   private:
    const Window window_;
    const Gaussian& gauss_;
    const bool slopes_;
    Reader reader_;
    const Window raw_;
};
