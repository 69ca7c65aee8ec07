// Images in lanes: a vector holds one pixel of as many tiles, of one image or of several.
//
// A displacement is then an address and nothing else, whatever the size of the images and the stride.
#pragma once

#include <algorithm>
#include <cstdint>

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

    // Most images to which the tiles of a vector belong, and most rows of tiles of one of them.
    int64_t images_together() const { return std::min(images, (LANES - 2) / (down * right) + 2); }
    int64_t down_together() const { return std::min(down, (LANES - 2) / right + 2); }

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
