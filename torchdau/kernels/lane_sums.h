// Sums of shifted windows over all units, from source channels to target channels: a forward pass, or the input's gradient.
//
// Windows of a few source channels stay in the first cache, or just beyond it, while all target channels read them. Sums of target channels stay
// in the second cache until all source channels were added; where they would not, targets are divided into chunks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "gaussian.h"
#include "lane_packing.h"
#include "lane_tiles.h"
#include "lane_units.h"
#include "lane_windows.h"
#include "lane_writer.h"
#include "lanes.h"
#include "memory.h"
#include "parallel.h"
#include "planes.h"

constexpr int64_t SHARED = 2 << 20;  // numbers of windows that are made once for several chunks of targets

// The parts of a tile, and how far the next one below and on the right is in a window.
struct Parts {
    const int64_t rows, columns, line, down, right, pixels;
    const AddUnits add_units;

    Parts(const Tiles& tiles, const Window& window, AddUnits add_units)
        : rows(tiles.tall / tiles.part), columns(tiles.wide / WIDE), line(window.line()), down(window.step_y * tiles.part / tiles.tall * line),
          right(window.step_x * WIDE / tiles.wide * LANES), pixels(tiles.part * WIDE * LANES), add_units(add_units) {}

    void add(const LaneUnit* units, const int32_t* counts, const float* windows, float* to) const {
        for (int64_t y = 0; y < rows; ++y)
            for (int64_t x = 0; x < columns; ++x, to += pixels) add_units(units, counts, windows + y * down + x * right, line, to);
    }
};

class Sums {
   public:
    // Counts or takes memory. The Gaussian must be there when the sums are computed.
    Sums(const TorchdauDirect& d, const Pass& pass, const Tiles& tiles, const Window& window, const Gaussian& gauss, Memory& memory)
        : d_(d), pass_(pass), tiles_(tiles), window_(window), gauss_(gauss), packed_(pass, d, window, memory), few_(d.groups * tiles.vectors),
          each_(up(pass.targets, std::min(pass.targets, std::max(chunks(pass.targets, tiles), up(2 * d.threads, few_))))),
          chunks_(up(pass.targets, each_)), shared_(shared(memory)), rooms_(*this, memory, d.threads) {}

    // Images of channels to images of channels; displacements are within `bound`, and turned around with -1 as their `sign`.
    void compute(const TorchdauDirectTensors& t, int64_t bound, float sign, const Channels& source, const float* bias, const Channels& target) const {
        const Threads threads{d_.parallel_for, d_.threads};
        const LaneUnits places{window_, bound, sign, {d_.y.padding - d_.radius, d_.x.padding - d_.radius}};
        threads.run(packed_.jobs, [&](int64_t job, int64_t thread) { packed_.fill(job, thread, places, t); });
        if (shared_)
            threads.run(few_ * packed_.blocks, rooms_, [&](int64_t job, Room& room) {
                const int64_t few = job / packed_.blocks, block = job % packed_.blocks;
                take(few, room), read(few, block, source, room, shared_block(few, block));
            });
        const Parts parts(tiles_, window_, adder(tiles_.part, pass_.steps ? 0 : pass_.back ? 1 : d_.y.stride));
        threads.run(few_ * chunks_, rooms_, [&](int64_t job, Room& room) {
            const int64_t few = job % few_, first = job / few_ * each_, last = std::min(pass_.targets, first + each_);
            add(few, first, last, source, parts, room);
            write(few, first, last, bias, target, room);
        });
    }

   private:
    // What a thread needs: windows of a block of source channels, and sums of a chunk of target channels.
    struct Room {
        Blurred blurred;
        float *windows, *pixels;

        Room(const Sums& s, Memory& memory)
            : blurred(s.tiles_, s.window_, s.pass_.high, s.pass_.wide, s.gauss_, false, s.d_.channels_last, memory), windows(memory.floats(std::max(WINDOWS / int64_t(sizeof(float)), s.window_.size()))),
              pixels(memory.floats(s.each_ * s.tiles_.pixels() * LANES)) {}
    };

    // Room for all windows where several chunks of targets read them, unless it is too much.
    float* shared(Memory& memory) const {
        const int64_t all = few_ * pass_.sources * window_.size();
        float* room = chunks_ > 1 ? memory.floats(std::min(all, SHARED)) : nullptr;
        return all > SHARED ? nullptr : room;
    }
    float* shared_block(int64_t few, int64_t block) const { return shared_ + (few * pass_.sources + block * packed_.each) * window_.size(); }

    // A vector of tiles of a group.
    void take(int64_t few, Room& room) const { room.blurred.take(few % tiles_.vectors); }

    // Their windows of a block of source channels.
    void read(int64_t few, int64_t block, const Channels& source, Room& room, float* windows) const {
        const int64_t first = few / tiles_.vectors * pass_.sources, end = first + pass_.sources, last = std::min(end, first + (block + 1) * packed_.each);
        const int64_t next = shared_ ? last : end;  // another thread may read the following block
        for (int64_t channel = first + block * packed_.each; channel < last; ++channel, windows += window_.size()) room.blurred.read(source, channel, next, windows);
    }

    // The sums of some target channels.
    void add(int64_t few, int64_t first, int64_t last, const Channels& source, const Parts& parts, Room& room) const {
        const int64_t pixels = tiles_.pixels() * LANES, group = few / tiles_.vectors;
        std::memset(room.pixels, 0, sizeof(float) * (last - first) * pixels);
        if (!shared_) take(few, room);
        for (int64_t block = 0; block < packed_.blocks; ++block) {
            const float* windows = shared_ ? shared_block(few, block) : room.windows;
            if (!shared_) read(few, block, source, room, room.windows);
            for (int64_t target = first; target < last; ++target)
                parts.add(packed_.units(group, block, target), packed_.counts(group, block, target), windows, room.pixels + (target - first) * pixels);
        }
    }

    // Those sums into images.
    void write(int64_t few, int64_t first, int64_t last, const float* bias, const Channels& target, const Room& room) const {
        const int64_t begin = few / tiles_.vectors * pass_.targets;
        Writer(tiles_, few % tiles_.vectors, target).write(room.pixels, begin + first, begin + last, bias);
    }

    const TorchdauDirect& d_;
    const Pass pass_;
    const Tiles tiles_;
    const Window window_;
    const Gaussian& gauss_;
    const Packed packed_;
    const int64_t few_;            // vectors of tiles in all groups
    const int64_t each_, chunks_;  // target channels of a chunk, and how many chunks there are
    float* const shared_;          // windows of all source channels, or null
    const Rooms<Room, Sums> rooms_;
};
