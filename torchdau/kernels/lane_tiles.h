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
constexpr float NEAR = 64 << 10;     // bytes of smoothed and sloped windows of which enough stay in the first cache
constexpr float FAR = 0.6f;          // what the others add to the time of products
constexpr int64_t PREPARED = 40;     // cost of preparing a pixel of a window
constexpr int64_t AROUND = 8;        // pixels that a tile usually reads around itself along an axis

// Returns the number of chunks of targets whose sums stay in the second cache.
static inline int64_t chunks(int64_t targets, const Tiles& tiles) { return up(targets * tiles.pixels() * LANES * int64_t(sizeof(float)), ROOM); }

// Returns tiles for sums over the units between each source and all targets. If `even`, every part begins at an even row.
static inline Tiles summed_tiles(int64_t images, int64_t rows, int64_t columns, int64_t targets, int64_t units, bool even = false) {
    const int64_t first = std::min<int64_t>(rows, even ? 2 : 1);
    Tiles best(images, rows, columns, first, WIDE, first);
    float least = INFINITY;
    for (int64_t part = first; part <= std::min<int64_t>(TALLEST, rows); ++part) {
        if (even && part % 2 && part < rows) continue;
        for (int64_t tall = part; tall < rows + part && tall <= 4 * part; tall *= 2)
            for (int64_t wide = WIDE; wide < columns + WIDE && tall * wide <= LARGEST; wide *= 2) {
                const Tiles tiles(images, rows, columns, tall, wide, part);
                const int64_t window = (tall + AROUND) * (wide + AROUND), parts = tall / part * wide / WIDE;
                const int64_t together = std::max<int64_t>(1, WINDOWS / int64_t(sizeof(float) * LANES) / window);
                const int64_t unit = (even ? part : 3 * part + 2) * WIDE + 10;
                const int64_t target = units * parts * unit + 3 * tall * wide / together;
                const float time = float(tiles.vectors) * float(targets * target + PREPARED * window * chunks(targets, tiles));
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
    for (int64_t wide = WIDE; wide <= WIDEST; wide += WIDE)
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
