// Spectra of the tiles of images.
#pragma once

#include <cstdint>

#include "vector.h"

// Spectra (block of channels, frequency, image, re and im of the channels of the block).
template <class Number>
struct Spectra {
    Number* begin;
    int64_t frequencies, images;
    int64_t stored;  // images that there is memory for

    int64_t to_image() const { return 2 * BLOCK; }
    int64_t to_frequency() const { return stored * to_image(); }
    Number* at(int64_t block, int64_t frequency, int64_t image) const {
        return begin + (block * frequencies + frequency) * to_frequency() + image * to_image();
    }
};
