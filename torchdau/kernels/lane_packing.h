// Units packed in the order in which tiles in lanes meet them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "lane_units.h"
#include "lanes.h"
#include "memory.h"

constexpr int64_t WINDOWS = 40 << 10;  // bytes of windows that all targets read in turns: in the first cache, or just beyond it
constexpr int64_t TOGETHER = 8;        // channels whose units are read and written together, as they share lines of the cache

typedef int32_t Words __attribute__((vector_size(16)));  // a unit, or what its words are moved by
static_assert(sizeof(Words) == sizeof(LaneUnit));
constexpr int64_t SIGNS = int64_t(0x80000000u) << 32 | 0x80000000u;  // of two factors

static inline int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Which way images go through the units.
struct Pass {
    int64_t sources, targets;  // channels of a group
    int64_t high, wide;        // pixels of a source
    bool back, steps;          // from outputs to inputs; by single pixels of a stride
};

// A list of units for each group, block of source channels and target channel.
class Packed {
   public:
    const int64_t each, blocks;  // source channels of a block
    int64_t jobs;                // of fill()

    Packed(const Pass& pass, const TorchdauDirect& d, const Window& window, Memory& memory)
        : each(std::max<int64_t>(1, std::min(pass.sources, WINDOWS / int64_t(sizeof(float) * window.size())))),
          blocks(up(pass.sources, each)), pass_(pass), d_(d), window_(window.size()), room_(each * d.units) {
        // on the way back, units of a block are appended to the same lists; forward, lists of neighbours are side by side
        together_ = pass.back ? each : std::min<int64_t>(TOGETHER, up(d.outputs, 2 * d.threads));
        of_group_ = up(d.outputs, together_), jobs = d.groups * of_group_;
        // room for blocks of any size: smaller windows may leave it to more channels than were counted
        const int64_t pairs = d.groups * pass.targets * pass.sources;
        units_ = lane_units(2 * pairs * d.units + 1, memory);
        counts_ = reinterpret_cast<int32_t*>(memory.floats(4 * pairs));
        scratch_size_ = std::max((pass.back ? 1 : together_) * d.inputs, d.outputs + 1) * d.units;
        scratch_ = lane_units(d.threads * scratch_size_, memory);
    }

    // The units between a block of sources and a target, and how many there are: by which factors come first, where that matters.
    const LaneUnit* units(int64_t group, int64_t block, int64_t target) const { return units_ + slot(group, block, target) * room_; }
    const int32_t* counts(int64_t group, int64_t block, int64_t target) const { return counts_ + 4 * slot(group, block, target); }

    // Packs the units of some output channels. Units without a weight are left out.
    void fill(int64_t job, int64_t thread, const LaneUnits& places, const TorchdauDirectTensors& t) const {
        const int64_t group = job / of_group_, first = job % of_group_ * together_, last = std::min(d_.outputs, first + together_);
        LaneUnit* scratch = scratch_ + thread * scratch_size_;
        if (!pass_.back) return forth(group, first, last, places, t, scratch);
        for (int64_t o = first; o < last; ++o) back(group, o, places, t, scratch);
        for (int64_t target = 0; pass_.steps && target < pass_.targets; ++target) sort(slot(group, job % of_group_, target), scratch);
    }

   private:
    int64_t slot(int64_t group, int64_t block, int64_t target) const { return (group * blocks + block) * pass_.targets + target; }

    static LaneUnit* lane_units(int64_t count, Memory& memory) {
        return reinterpret_cast<LaneUnit*>(memory.floats(count * sizeof(LaneUnit) / sizeof(float)));
    }

    // Output channels as targets.
    void forth(int64_t group, int64_t first, int64_t last, const LaneUnits& places, const TorchdauDirectTensors& t, LaneUnit* scratch) const {
        const int64_t all = d_.inputs * d_.units;
        places.fill(t, (group * d_.outputs + first) * all, (last - first) * all, scratch);
        for (int64_t block = 0; block < blocks; ++block)
            for (int64_t o = first; o < last; ++o) {
                const int64_t to = slot(group, block, o), channel = block * each;
                const LaneUnit* from = scratch + ((o - first) * d_.inputs + channel) * d_.units;
                int32_t count = 0;
                for (int64_t i = 0; i < each && channel + i < d_.inputs; ++i, from += d_.units) count = append(from, i, to, count);
                counts_[4 * to] = count;
            }
    }

    // An output channel as a source; those of a block in their order.
    void back(int64_t group, int64_t o, const LaneUnits& places, const TorchdauDirectTensors& t, LaneUnit* scratch) const {
        const int64_t all = d_.inputs * d_.units, begin = (group * d_.outputs + o) * all, channel = o % each;
        (pass_.steps ? places.fill_steps(t, begin, all, scratch) : places.fill(t, begin, all, scratch));
        for (int64_t i = 0; i < d_.inputs; ++i, scratch += d_.units) {
            const int64_t to = slot(group, o / each, i);
            counts_[4 * to] = append(scratch, channel, to, channel ? counts_[4 * to] : 0);
        }
    }

    // Appends the units of a source channel of a block that add something to a list with `count` others.
    int32_t append(const LaneUnit* from, int64_t channel, int64_t to, int32_t count) const {
        LaneUnit* list = units_ + to * room_;
        const Words place = {int32_t(channel * window_)};
        for (const LaneUnit* last = from + d_.units; from < last; ++from) {
            Words unit;
            int64_t factors;
            std::memcpy(&unit, from, sizeof unit), std::memcpy(&factors, &from->upper, sizeof factors);
            unit += place;
            std::memcpy(list + count, &unit, sizeof unit);
            count += (factors & ~SIGNS) != 0;
        }
        return count;
    }

    // Sorts a list by which of the four factors comes first.
    void sort(int64_t to, LaneUnit* sorted) const {
        LaneUnit* units = units_ + to * room_;
        int32_t *counts = counts_ + 4 * to, ends[4] = {};
        const int32_t all = counts[0];
        for (int32_t k = 0; k < all; ++k) ++ends[units[k].place & 3];
        for (int first = 0; first < 4; ++first) counts[first] = ends[first];
        for (int first = 0, total = 0; first < 4; ++first) total += ends[first], ends[first] = total - ends[first];
        for (int32_t k = 0; k < all; ++k) {
            LaneUnit& unit = sorted[ends[units[k].place & 3]++] = units[k];
            unit.place &= ~3;
        }
        std::memcpy(units, sorted, sizeof(LaneUnit) * all);
    }

    const Pass pass_;
    const TorchdauDirect& d_;
    const int64_t window_, room_;  // numbers of a window; units that have room in a list
    int64_t together_, of_group_, scratch_size_;
    LaneUnit *units_, *scratch_;
    int32_t* counts_;
};
