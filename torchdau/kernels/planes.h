// Images whose channels are planes (N, C, H, W), or lie side by side (N, H, W, C).
#pragma once

#include <algorithm>
#include <cstdint>

#include "vector.h"

// Images of a tensor; channels that lie side by side are copied to planes while they are worked with.
struct Channels {
    float* begin;  // null where there are none
    int64_t channels, pixels;
    bool channels_last;

    // Numbers that planes of so many channels need beside the images.
    int64_t room(int64_t count) const { return channels_last ? count * pixels : 0; }

    // Some channels of an image as planes, one after another: where they lie, or copied to `room`.
    const float* read(int64_t image, int64_t first, int64_t count, float* room) const {
        if (!channels_last) return begin + (image * channels + first) * pixels;
        const float* from = begin + image * channels * pixels + first;
        each_block(count, [&](int64_t c, int64_t some, int64_t p, int64_t here) {
            Vector block[LANES] = {};
            for (int64_t j = 0; j < here; ++j) {
                const float* pixel = from + (p + j) * channels + c;
                block[j] = some == LANES ? load(pixel) : load_some(pixel, some);
            }
            transpose(block);
            for (int64_t j = 0; j < some; ++j) put(room + (c + j) * pixels + p, block[j], here);
        });
        return room;
    }

    // Where planes are to be written, and the way of those in `room` to the image afterwards.
    float* target(int64_t image, int64_t first, float* room) const {
        return channels_last ? room : begin + (image * channels + first) * pixels;
    }
    void finish(int64_t image, int64_t first, int64_t count, const float* room) const {
        if (!channels_last) return;
        float* to = begin + image * channels * pixels + first;
        each_block(count, [&](int64_t c, int64_t some, int64_t p, int64_t here) {
            Vector block[LANES] = {};
            for (int64_t j = 0; j < some; ++j) {
                const float* line = room + (c + j) * pixels + p;
                block[j] = here == LANES ? load(line) : load_some(line, here);
            }
            transpose(block);
            for (int64_t j = 0; j < here; ++j) put(to + (p + j) * channels + c, block[j], some);
        });
    }

   private:
    // Calls work(first channel, channels, first pixel, pixels) for blocks of a vector of channels and of pixels.
    template <class Work>
    void each_block(int64_t count, Work work) const {
        for (int64_t p = 0; p < pixels; p += LANES)
            for (int64_t c = 0; c < count; c += LANES)
                work(c, std::min<int64_t>(LANES, count - c), p, std::min<int64_t>(LANES, pixels - p));
    }

    static void put(float* to, Vector v, int64_t count) { count == LANES ? store(to, v) : store_some(to, v, count); }
};
