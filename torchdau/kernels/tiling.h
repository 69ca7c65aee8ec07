// Where the tiles of images lie.
#pragma once

#include <cstdint>

#include "frequencies.h"
#include "vector.h"

// One axis of the images: `count` tiles of `size` pixels, `step` apart, the first at pixel `start` of `pixels`.
// Within a tile, pixels that are transformed lie `stride` apart and symmetrically about the origin of the phases.
struct Axis {
    int pixels, start, size, step, count, stride;
};

// Images (N, groups * C, H, W) or (N, H, W, groups * C), and their tiles.
struct Tiling {
    const Frequencies frequencies;
    const int64_t groups, channels;  // channels of a group
    const bool channels_last;
    const Axis y, x;

    int64_t blocks() const { return (channels + BLOCK - 1) / BLOCK; }
    int64_t image() const { return int64_t(y.pixels) * x.pixels; }

    // Where the first pixel of a channel of a group is, and how far apart pixels are.
    int64_t begin(int64_t number, int64_t group, int64_t channel) const {
        if (channels_last) return number * image() * groups * channels + group * channels + channel;
        return ((number * groups + group) * channels + channel) * image();
    }
    int64_t apart() const { return channels_last ? groups * channels : 1; }

    // Where a tile lies: its first pixel, and the columns and channels of it that exist.
    struct Place {
        int top, left, first, last;
        int64_t channels;
    };
    Place place(int ty, int tx, int64_t channel) const {
        const int left = x.start + tx * x.step, right = x.pixels - left;
        const int64_t rest = channels - channel;
        return {y.start + ty * y.step, left, left < 0 ? -left : 0, right < x.size ? right : x.size, rest < BLOCK ? rest : BLOCK};
    }
};
