// Chooses the size of tiles in lanes by their estimated time, in multiply-adds of a vector.
//
// Large tiles read fewer pixels around themselves. Small tiles fill the lanes of small batches, and their sums stay in a cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "direct.h"
#include "lane_packing.h"
#include "lane_products.h"
#include "lanes.h"

constexpr int64_t ROOM = 256 << 10;  // bytes of sums that stay in the second cache
constexpr float NEAR = 48 << 10;     // bytes of smoothed and sloped windows of which enough stay in the first cache
constexpr float FAR = 1.5f;          // what the others add to the time of products
constexpr int64_t PREPARED = 50;     // cost of preparing a pixel of a window
constexpr int64_t AROUND = 8;        // pixels that a tile usually reads around itself along an axis
constexpr int64_t AT_ONCE = 4;       // vectors of tiles that keep threads busy; nothing here asks the machine, as sums depend on it

// Returns the number of chunks of targets whose sums stay in the second cache.
static inline int64_t chunks(int64_t targets, const Tiles& tiles) { return up(targets * tiles.pixels() * LANES * int64_t(sizeof(float)), ROOM); }

// Returns pixels along an axis that `pixels` of a tile read, which are `stride` apart; 0 for the adjoint of a stride of 2.
static inline int64_t window_side(int64_t pixels, int64_t stride) { return stride ? stride * (pixels - 1) + 1 + AROUND : (pixels + AROUND) / 2; }

// Returns tiles for sums over the units between each source and all targets, by the stride. For the adjoint of a stride every
// part begins at an even row.
static inline Tiles summed_tiles(int64_t images, int64_t rows, int64_t columns, int64_t groups, int64_t targets, int64_t units, int64_t stride) {
    const int64_t first = std::min<int64_t>(rows, stride ? 1 : 2);
    Tiles best(images, rows, columns, first, WIDE, first);
    float least = INFINITY;
    for (int64_t part = first; part <= std::min<int64_t>(TALLEST, rows); ++part) {
        if (!stride && part % 2 && part < rows) continue;
        const int64_t products = stride == 0 ? part : stride == 1 ? 3 * part + 2 : 5 * part;  // of a column and a unit
        for (int64_t tall = part; tall < rows + part && tall <= 8 * part; tall += part)
            for (int64_t wide = WIDE; wide < columns + WIDE && wide <= 4 * WIDE && tall * wide <= LARGEST; wide += WIDE) {
                const Tiles tiles(images, rows, columns, tall, wide, part);
                const int64_t window = window_side(tall, stride) * window_side(wide, stride), parts = tall / part * wide / WIDE;
                const int64_t together = std::max<int64_t>(1, WINDOWS / int64_t(sizeof(float) * LANES) / window);
                const int64_t target = units * parts * (products * WIDE + 10) + 2 * tall * wide / together;
                const int64_t divided = std::min(targets, std::max(chunks(targets, tiles), up(AT_ONCE, groups * tiles.vectors)));
                const float time = float(tiles.vectors) * float(targets * target + PREPARED * window * (2 * divided - 1));
                if (time < least) least = time, best = tiles;
            }
    }
    return best;
}

// Returns tiles of the output's gradient, for products with the windows that units read.
static inline Tiles multiplied_tiles(const TorchdauDirect& d) {
    const int64_t stride = d.y.stride;
    Tiles best(d.images, d.y.outputs, d.x.outputs, 1, WIDE);
    float least = INFINITY;
    for (int64_t wide = WIDE; wide <= WIDEST; ++wide)
        for (int64_t tall = 1; tall <= std::min<int64_t>(d.y.outputs, 32); ++tall) {
            const Tiles tiles(d.images, d.y.outputs, d.x.outputs, tall, wide);
            const int64_t around = 2 * d.bound + 2, window = (stride * (tall - 1) + around) * (stride * (wide - 1) + around);
            const int64_t products = stride == 1 ? tall * wide + 4 * (tall + 1) * (wide + 1) : 12 * tall * wide;
            const float far = std::max(0.0f, 1 - NEAR / float(3 * window * LANES * int64_t(sizeof(float))));
            const float unit = float(products) * (1 + FAR * far) + 50;
            const float time = float(tiles.vectors) * (float(d.outputs * d.units) * unit + float(PREPARED * window));
            if (time < least) least = time, best = tiles;
        }
    return best;
}
