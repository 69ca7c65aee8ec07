// Gradients of units from tiles in lanes.
//
// One input channel at a time, whose smoothed and sloped windows stay in the first cache, or just beyond it, for all output
// channels. Units and their gradients are read and written for a few input channels together, which share lines of the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "gaussian.h"
#include "lane_packing.h"
#include "lane_products.h"
#include "lane_units.h"
#include "lane_windows.h"
#include "lanes.h"
#include "memory.h"
#include "parallel.h"
#include "planes.h"
#include "vector.h"

constexpr int64_t KEPT = 128 << 10;  // bytes of sums that stay in the second cache beside the gradient; channels_last may take more
constexpr int64_t AHEAD = 8;         // rows of units that are fetched before they are needed

class UnitGradients {
   public:
    // Counts or takes memory. The Gaussian must be there when the gradients are computed.
    UnitGradients(const TorchdauDirect& d, const Tiles& tiles, const Window& window, const Gaussian& gauss, Memory& memory)
        : d_(d), tiles_(tiles), window_(window), gauss_(gauss), pixels_(tiles.pixels() * LANES),
          each_(std::min<int64_t>(TOGETHER, up(d.groups * d.inputs, 2 * d.threads))), blocks_(up(d.inputs, each_)),
          together_(std::min(each_, std::max<int64_t>(d.channels_last ? TOGETHER / 2 : 1, KEPT / int64_t(d.outputs * d.units * SUMS * LANES * sizeof(float))))),
          gradients_(memory.floats(d.groups * tiles.vectors * d.outputs * pixels_)), rooms_(*this, memory, d.threads) {}

    // Displacements are within `bound`.
    void compute(const TorchdauDirectTensors& t, int64_t bound, const Channels& input, const Channels& grad) const {
        const Threads threads{d_.parallel_for, d_.threads};
        threads.run(d_.groups * tiles_.vectors, rooms_, [&](int64_t job, Room& room) { store_gradients(grad, job, room); });
        const LaneUnits places{window_, bound, 1, {}};
        threads.run(d_.groups * blocks_, rooms_, [&](int64_t job, Room& room) {
            const int64_t group = job / blocks_, first = job % blocks_ * each_;
            const Block block{group, first, std::min(each_, d_.inputs - first)};
            find(t, block, places, room);
            for (int64_t i = 0; i < block.count; i += together_) multiply(input, block, i, std::min(i + together_, block.count), room);
            write(t, block, room);
        });
    }

   private:
    // Input channels of a group that are worked on together.
    struct Block {
        int64_t group, first, count;
    };

    // What a thread needs: windows of a channel, sums of the units of some channels in lanes, and those of all its channels added up.
    struct Room {
        Reader reader;
        Blurred blurred;
        float *windows, *sums, *results;
        Position* units;

        Room(const UnitGradients& g, Memory& memory)
            : reader(g.tiles_, {g.tiles_.tall, g.tiles_.wide, 0, 0, g.tiles_.tall, g.tiles_.wide}, g.d_.y.outputs, g.d_.x.outputs, g.d_.channels_last, memory),
              blurred(g.tiles_, g.window_, g.d_.y.pixels, g.d_.x.pixels, g.gauss_, !g.d_.exact, g.d_.channels_last, memory), windows(memory.floats((g.d_.exact ? 1 : 3) * g.window_.size())),
              sums(memory.floats(g.together_ * g.d_.outputs * g.d_.units * SUMS * LANES)),
              results(memory.floats(g.each_ * g.d_.outputs * g.d_.units * SUMS)),
              units(reinterpret_cast<Position*>(memory.floats(g.each_ * g.d_.outputs * g.d_.units * sizeof(Position) / sizeof(float)))) {}
    };

    typedef void (*Products)(const Position*, int64_t, const float*, const Window&, int64_t, const float*, float*, bool);

    // The innermost loop for tiles of this width.
    template <int COLUMNS = WIDEST>
    Products products() const {
        if constexpr (COLUMNS > WIDE)
            if (tiles_.wide < COLUMNS) return products<COLUMNS - 1>();
        if (d_.y.stride == 1) return d_.exact ? add_corners<COLUMNS, 1, true> : add_products<COLUMNS>;
        return d_.exact ? add_corners<COLUMNS, 2, true> : add_corners<COLUMNS, 2, false>;
    }

    // The output's gradient of a vector of tiles of a group, in lanes.
    void store_gradients(const Channels& grad, int64_t job, Room& room) const {
        const int64_t first = job / tiles_.vectors * d_.outputs, last = first + d_.outputs;
        room.reader.take(job % tiles_.vectors);
        float* to = gradients_ + job * d_.outputs * pixels_;
        for (int64_t channel = first; channel < last; ++channel, to += pixels_) std::memcpy(to, room.reader.read(grad, channel, last), sizeof(float) * pixels_);
    }

    // The first unit between the channels and an output channel; behind the last output channel, that of the last one.
    int64_t unit(const Block& c, int64_t o) const { return ((c.group * d_.outputs + std::min(o, d_.outputs - 1)) * d_.inputs + c.first) * d_.units; }

    void find(const TorchdauDirectTensors& t, const Block& block, const LaneUnits& places, const Room& room) const {
        const int64_t row = block.count * d_.units;
        for (int64_t o = 0; o < d_.outputs; ++o) {
            prefetch(t.displacement + 2 * unit(block, o + AHEAD), 2 * row);
            places.fill(t.displacement + 2 * unit(block, o), row, room.units + o * row);
        }
    }

    // The sums of some channels of a block, over all tiles.
    void multiply(const Channels& input, const Block& block, int64_t first, int64_t last, Room& room) const {
        const auto add = products();
        const int64_t begin = block.group * d_.inputs, row = block.count * d_.units, each = d_.units * SUMS;
        // of an output channel; those of a single vector are added up at once, and their room is used again
        const auto sums_of = [&](int64_t i, int64_t o) { return room.sums + (tiles_.vectors > 1 ? (i - first) * d_.outputs + o : o % LANES) * each * LANES; };
        for (int64_t vector = 0; vector < tiles_.vectors; ++vector) {
            room.blurred.take(vector);
            const float* gradients = gradients_ + (block.group * tiles_.vectors + vector) * d_.outputs * pixels_;
            for (int64_t i = first; i < last; ++i) {
                room.blurred.read(input, begin + block.first + i, begin + block.first + last, room.windows);
                for (int64_t o = 0; o < d_.outputs; ++o) {
                    add(room.units + o * row + i * d_.units, d_.units, room.windows, window_, tiles_.tall, gradients + o * pixels_, sums_of(i, o), vector > 0);
                    const int64_t some = o / LANES * LANES;
                    if (vector == tiles_.vectors - 1 && (o + 1 == some + LANES || o + 1 == d_.outputs))
                        add_lanes(sums_of(i, some), (o + 1 - some) * each, room.results + (i * d_.outputs + some) * each);
                }
            }
        }
    }

    void write(const TorchdauDirectTensors& t, const Block& block, const Room& room) const {
        const int64_t row = block.count * d_.units;
        for (int64_t o = 0; o < d_.outputs; ++o) {
            const int64_t first = unit(block, o), later = unit(block, o + AHEAD);
            prefetch(t.weight + later, row), prefetch(t.grad_weight + later, row), prefetch(t.grad_displacement + 2 * later, 2 * row);
            for (int64_t i = 0; i < block.count; ++i) {
                const float* result = room.results + (i * d_.outputs + o) * d_.units * SUMS;
                for (int64_t k = first + i * d_.units, last = k + d_.units; k < last; ++k, result += SUMS) {
                    t.grad_weight[k] = result[0];
                    for (int axis = 0; axis < 2; ++axis) t.grad_displacement[2 * k + axis] = t.weight[k] * result[1 + axis];
                }
            }
        }
    }

    const TorchdauDirect& d_;
    const Tiles tiles_;
    const Window window_;
    const Gaussian& gauss_;
    const int64_t pixels_;         // of a tile, in lanes
    const int64_t each_, blocks_;  // input channels that are worked on together, and how many times there are as many
    const int64_t together_;       // and of those, channels for which a vector of the gradient is read once
    float* const gradients_;       // of the output, in lanes
    const Rooms<Room, UnitGradients> rooms_;
};
