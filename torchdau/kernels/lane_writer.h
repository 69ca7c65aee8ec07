// Tiles in lanes to images.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lanes.h"
#include "planes.h"
#include "vector.h"

// Writes a vector of tiles.
class Writer {
   public:
    Writer(const Tiles& tiles, int64_t vector, const Channels& images) : tiles_(tiles), images_(images) {
        for (int lane = 0; lane < LANES; ++lane) {
            const Tiles::Tile tile = tiles.tile(vector, lane);
            const int64_t y = tile.y * tiles.tall, x = tile.x * tiles.wide;
            lanes_[lane] = {images.at(tile.image, 0) - images.begin + (y * tiles.columns + x) * images.apart(), tile.real ? tiles.rows - y : 0, tiles.columns - x};
            whole_ = whole_ && lanes_[lane].rows >= tiles.tall && lanes_[lane].columns >= tiles.wide;
        }
    }

    // The pixels of channels `first` to `last` - 1, one channel after another, part by part in lanes, and `bias` (channel).
    void write(const float* pixels, int64_t first, int64_t last, const float* bias) const {
        const int64_t size = tiles_.pixels() * LANES, together = images_.channels_last ? LANES : 1;
        for (int64_t channel = first; channel < last; channel += together, pixels += together * size) {
            if (!images_.channels_last) {
                const float constant = bias ? bias[channel] : 0;
                whole_ ? write_plane<true>(pixels, channel, constant, channel + 1 < last) : write_plane<false>(pixels, channel, constant, channel + 1 < last);
            } else {
                const int64_t count = std::min<int64_t>(LANES, last - channel);
                whole_ && count == LANES ? write_together<true>(pixels, channel, count, bias) : write_together<false>(pixels, channel, count, bias);
            }
        }
    }

   private:
    // Calls write(y, x, pixels) for the WIDE columns of each row of each part.
    template <class Write>
    void each_row(const float* pixels, Write write) const {
        for (int64_t part = 0; part < tiles_.tall; part += tiles_.part)
            for (int64_t x = 0; x < tiles_.wide; x += WIDE)
                for (int64_t y = part; y < part + tiles_.part; ++y, pixels += WIDE * LANES) write(y, x, pixels);
    }

    // `more` channels follow, whose lines of the cache will be needed.
    template <bool WHOLE>
    void write_plane(const float* pixels, int64_t channel, float bias, bool more) const {
        float *begin = images_.at(0, channel), *next = more ? images_.at(0, channel + 1) : begin;
        each_row(pixels, [&](int64_t y, int64_t x, const float* pixels) {
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
                if (count == WIDE) std::memcpy(begin + place, row, sizeof row);
                else for (int64_t j = 0; j < count; ++j) begin[place + j] = row[j];
                __builtin_prefetch(next + place, 1);
            }
        });
    }

    // Channels that lie side by side. WHOLE: as many as there are lanes, and all pixels exist.
    template <bool WHOLE>
    void write_together(const float* pixels, int64_t channel, int64_t count, const float* bias) const {
        const int64_t size = tiles_.pixels() * LANES;
        const Vector constants = bias ? load_within(bias + channel, count) : Vector{};
        float* begin = images_.at(0, channel);
        each_row(pixels, [&](int64_t y, int64_t x, const float* pixels) {
            for (int64_t column = x; column < x + WIDE; ++column, pixels += LANES) {
                Vector channels[LANES];
#pragma GCC unroll 16
                for (int j = 0; j < LANES; ++j) channels[j] = WHOLE || j < count ? load(pixels + j * size) : Vector{};
                transpose(channels);
                const int64_t place = (y * tiles_.columns + column) * images_.channels;
#pragma GCC unroll 16
                for (int lane = 0; lane < LANES; ++lane) {
                    const Lane& l = lanes_[lane];
                    if (WHOLE) store(begin + l.place + place, channels[lane] + constants);
                    else if (y < l.rows && column < l.columns) store_within(begin + l.place + place, channels[lane] + constants, count);
                }
            }
        });
    }

    struct Lane {
        int64_t place, rows, columns;  // of the first pixel in channel 0; pixels of the image from there on
    };
    const Tiles& tiles_;
    const Channels images_;
    Lane lanes_[LANES];
    bool whole_ = true;
};
