// Images whose channels are planes (N, C, H, W), or lie side by side (N, H, W, C).
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory.h"
#include "vector.h"

// Images of a tensor; channels that lie side by side are copied to planes while they are worked with.
struct Channels {
    float* begin;  // null where there are none
    int64_t channels, pixels;
    bool channels_last;

    // Where a channel's first pixel is, and how many numbers further the next ones are.
    float* at(int64_t image, int64_t channel) const { return begin + (channels_last ? image * channels * pixels + channel : (image * channels + channel) * pixels); }
    int64_t apart() const { return channels_last ? channels : 1; }

    // Asks for large pages, before so many images are first written.
    void want_large_pages(int64_t images) const { ::want_large_pages(begin, images * channels * pixels * int64_t(sizeof(float))); }

    // Numbers that planes of so many channels need beside the images.
    int64_t room(int64_t count) const { return channels_last ? count * pixels : 0; }

    // Some channels of an image as planes, one after another: where they lie, or copied to `room`.
    const float* read(int64_t image, int64_t first, int64_t count, float* room) const {
        if (!channels_last) return at(image, first);
        copy(image, first, count, 0, pixels, room, pixels);
        return room;
    }

    // Some pixels of channels that lie side by side as parts of planes, which are `size` numbers apart.
    void copy(int64_t image, int64_t first, int64_t count, int64_t begin_pixel, int64_t end_pixel, float* planes, int64_t size) const {
        transposed(at(image, first) + begin_pixel * channels, channels, end_pixel - begin_pixel, count, planes, size);
    }

    // Where planes are to be written, and the way of those in `room` to the image afterwards.
    float* target(int64_t image, int64_t first, float* room) const {
        return channels_last ? room : at(image, first);
    }
    void finish(int64_t image, int64_t first, int64_t count, const float* room) const {
        if (channels_last) transposed(room, pixels, count, pixels, at(image, first), channels);
    }

   private:
    // Columns of a matrix, whose rows are `apart` numbers from each other, to rows that are `to_apart` from each other.
    static void transposed(const float* from, int64_t apart, int64_t rows, int64_t columns, float* to, int64_t to_apart) {
        for (int64_t r = 0; r < rows; r += LANES)
            for (int64_t c = 0; c < columns; c += LANES) {
                const int64_t high = std::min<int64_t>(LANES, rows - r), wide = std::min<int64_t>(LANES, columns - c);
                const auto block = high == LANES && wide == LANES ? transposed_block<true> : transposed_block<false>;
                block(from + r * apart + c, apart, high, wide, to + c * to_apart + r, to_apart);
            }
    }

    template <bool WHOLE>
    static void transposed_block(const float* from, int64_t apart, int64_t high, int64_t wide, float* to, int64_t to_apart) {
        Vector block[LANES];
#pragma GCC unroll 16
        for (int j = 0; j < LANES; ++j, from += apart) block[j] = WHOLE ? load(from) : j < high ? load_within(from, wide) : Vector{};
        transpose(block);
#pragma GCC unroll 16
        for (int j = 0; j < LANES; ++j, to += to_apart)
            if (WHOLE) store(to, block[j]);
            else if (j < wide) store_within(to, block[j], high);
    }
};
