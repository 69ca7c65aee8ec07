// Gradients of units from tiles in lanes.
//
// One input channel at a time, whose smoothed and sloped windows stay in the first cache for all output channels. Units and
// their gradients are read and written for a few input channels together, which share lines of the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "direct.h"
#include "gaussian.h"
#include "lane_packing.h"
#include "lane_products.h"
#include "lane_units.h"
#include "lanes.h"
#include "memory.h"
#include "parallel.h"
#include "vector.h"

constexpr int64_t AHEAD = 8;  // rows of units that are fetched before they are needed

class UnitGradients {
   public:
    // Counts or takes memory. The Gaussian must be there when the gradients are computed.
    UnitGradients(const TorchdauDirect& d, const Tiles& tiles, const Window& window, const Gaussian& gauss, Memory& memory)
        : d_(d), tiles_(tiles), window_(window), gauss_(gauss), pixels_(tiles.pixels() * LANES),
          each_(std::min<int64_t>(TOGETHER, up(d.groups * d.inputs, 2 * d.threads))), blocks_(up(d.inputs, each_)),
          gradients_(memory.floats(d.groups * tiles.vectors * d.outputs * pixels_)), rooms_(*this, memory, d.threads) {}

    // Displacements are within `bound`.
    void compute(const TorchdauDirectTensors& t, int64_t bound) const {
        const Threads threads{d_.parallel_for, d_.threads};
        threads.run(d_.groups * tiles_.vectors, rooms_, [&](int64_t job, Room& room) { store_gradients(t, job, room); });
        const LaneUnits places{window_, bound, 1, {}};
        threads.run(d_.groups * blocks_, rooms_, [&](int64_t job, Room& room) {
            const int64_t group = job / blocks_, first = job % blocks_ * each_;
            const Channels channels{group, first, std::min(each_, d_.inputs - first)};
            find(t, channels, places, room);
            for (int64_t i = 0; i < channels.count; ++i) multiply(t, channels, i, room);
            write(t, channels, room);
        });
    }

   private:
    // Input channels of a group that are worked on together.
    struct Channels {
        int64_t group, first, count;
    };

    // What a thread needs: windows of a channel, sums of its units in lanes, and those of all its channels added up.
    struct Room {
        Reader reader;
        Blurred blurred;
        float *windows, *sums, *results;
        Position* units;

        Room(const UnitGradients& g, Memory& memory)
            : reader({g.tiles_.tall, g.tiles_.wide, 0, 0, g.tiles_.tall, g.tiles_.wide}, memory), blurred(g.window_, g.gauss_, !g.d_.exact, memory),
              windows(memory.floats((g.d_.exact ? 1 : 3) * g.window_.size())), sums(memory.floats(g.d_.outputs * g.d_.units * SUMS * LANES)),
              results(memory.floats(g.each_ * g.d_.outputs * g.d_.units * SUMS)),
              units(reinterpret_cast<Position*>(memory.floats(g.each_ * g.d_.outputs * g.d_.units * sizeof(Position) / sizeof(float)))) {}
    };

    // The innermost loop for tiles of a width.
    auto products() const {
        const auto of = [&](auto columns) {
            constexpr int COLUMNS = decltype(columns)::value;
            if (d_.y.stride == 1) return d_.exact ? add_corners<COLUMNS, 1, true> : add_products<COLUMNS>;
            return d_.exact ? add_corners<COLUMNS, 2, true> : add_corners<COLUMNS, 2, false>;
        };
        return tiles_.wide == WIDE ? of(std::integral_constant<int, WIDE>()) : of(std::integral_constant<int, WIDEST>());
    }

    // The output's gradient of a vector of tiles of a group, in lanes.
    void store_gradients(const TorchdauDirectTensors& t, int64_t job, Room& room) const {
        const int64_t size = int64_t(d_.y.outputs) * d_.x.outputs, group = job / tiles_.vectors;
        room.reader.take(tiles_, job % tiles_.vectors, d_.y.outputs, d_.x.outputs);
        for (int64_t o = 0; o < d_.outputs; ++o) {
            const float* from = room.reader.read(t.grad_output + (group * d_.outputs + o) * size, d_.groups * d_.outputs * size);
            std::memcpy(gradients_ + (job * d_.outputs + o) * pixels_, from, sizeof(float) * pixels_);
        }
    }

    // The first unit between the channels and an output channel; behind the last output channel, that of the last one.
    int64_t unit(const Channels& c, int64_t o) const { return ((c.group * d_.outputs + std::min(o, d_.outputs - 1)) * d_.inputs + c.first) * d_.units; }

    void find(const TorchdauDirectTensors& t, const Channels& channels, const LaneUnits& places, const Room& room) const {
        const int64_t row = channels.count * d_.units;
        for (int64_t o = 0; o < d_.outputs; ++o) {
            prefetch(t.displacement + 2 * unit(channels, o + AHEAD), 2 * row);
            places.fill(t.displacement + 2 * unit(channels, o), row, room.units + o * row);
        }
    }

    // The sums of one of the channels, over all tiles.
    void multiply(const TorchdauDirectTensors& t, const Channels& channels, int64_t i, Room& room) const {
        const auto add = products();
        const int64_t size = int64_t(d_.y.pixels) * d_.x.pixels, row = channels.count * d_.units;
        const float* input = t.input + (channels.group * d_.inputs + channels.first + i) * size;
        // of an output channel; those of a single vector are added up at once, and their room is used again
        const auto sums_of = [&](int64_t o) { return room.sums + (tiles_.vectors > 1 ? o : o % LANES) * d_.units * SUMS * LANES; };
        for (int64_t vector = 0; vector < tiles_.vectors; ++vector) {
            room.blurred.take(tiles_, vector, d_.y.pixels, d_.x.pixels);
            room.blurred.read(input, d_.groups * d_.inputs * size, room.windows);
            const float* gradients = gradients_ + (channels.group * tiles_.vectors + vector) * d_.outputs * pixels_;
            for (int64_t o = 0; o < d_.outputs; ++o) {
                add(room.units + o * row + i * d_.units, d_.units, room.windows, window_, tiles_.tall, gradients + o * pixels_, sums_of(o), vector > 0);
                const int64_t begin = o / LANES * LANES;
                if (vector == tiles_.vectors - 1 && (o + 1 == begin + LANES || o + 1 == d_.outputs))
                    add_lanes(sums_of(begin), (o + 1 - begin) * d_.units * SUMS, room.results + (i * d_.outputs + begin) * d_.units * SUMS);
            }
        }
    }

    void write(const TorchdauDirectTensors& t, const Channels& channels, const Room& room) const {
        const int64_t row = channels.count * d_.units;
        for (int64_t o = 0; o < d_.outputs; ++o) {
            const int64_t first = unit(channels, o), later = unit(channels, o + AHEAD);
            prefetch(t.weight + later, row), prefetch(t.grad_weight + later, row), prefetch(t.grad_displacement + 2 * later, 2 * row);
            for (int64_t i = 0; i < channels.count; ++i) {
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
    float* const gradients_;       // of the output, in lanes
    const Rooms<Room, UnitGradients> rooms_;
};
