// The frequencies of real tiles: a half-plane, columns kx = 0..Tx/2, rows ky of both signs.
//
// A column that is its own mirror image (kx = 0 and, for even Tx, Tx/2) has rows ky = 0..Ty/2 only; the others have the
// twins ky = -1, -2, ... behind them.
#pragma once

#include <cstdint>

struct Frequencies {
    int height, width;  // lengths of the transforms, Ty and Tx

    int half() const { return height / 2 + 1; }
    int columns() const { return width / 2 + 1; }
    bool mirrored(int kx) const { return kx == 0 || 2 * kx == width; }
    // Rows ky = 1..twins of a column that have a twin -ky.
    int twins(int kx) const { return mirrored(kx) ? 0 : height - half(); }
    bool has_twin(int kx, int ky) const { return ky >= 1 && ky <= twins(kx); }
    // How often a frequency counts in the sum over all of them, relative to 2.
    float share(int kx, int ky) const { return mirrored(kx) && (ky == 0 || 2 * ky == height) ? 0.5f : 1.f; }

    // Number of the frequency (ky, kx), and of its twin.
    int64_t number(int kx, int ky) const {
        int64_t full = kx - (kx > 0);  // columns before this one that are not mirrored
        return (kx > 0 ? half() : 0) + full * height + ky;
    }
    int64_t twin(int kx, int ky) const { return number(kx, 0) + half() + ky - 1; }
    int64_t count() const { return number(columns() - 1, 0) + half() + twins(columns() - 1); }
};
