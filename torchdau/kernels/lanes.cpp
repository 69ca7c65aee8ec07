// The direct algorithm with tiles of images in lanes, and gradients of its own (docs/algorithms.md): for small images,
// small batches and strides.
//
// A unit reads its pixels between two columns and two rows: each row is interpolated along x once, t = x0 + ratio x1, and
// used for the row of outputs above and below. A stride of 2 leaves nothing to share, and has 4 multiply-adds for each output.
//
// - Forward: sums over input channels of shifted windows of blurred images. A few windows stay in the first cache for all
//   output channels.
// - Gradient of the input: the same with inputs and outputs exchanged and displacements turned around. With a stride, each
//   unit adds its output's gradient to every pixel of the blurred image once, which is blurred at the end.
// - Gradients of units: products of the shifted gradient of the output with windows, smoothed and sloped, of one input channel.
#include <cstdint>
#include <type_traits>

#include "direct.h"
#include "gaussian.h"
#include "lane_packing.h"
#include "lane_products.h"
#include "lane_tiles.h"
#include "lane_units.h"
#include "lanes.h"
#include "memory.h"
#include "parallel.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

constexpr int64_t SHARED = 2 << 20;    // numbers of windows that are made for several chunks of targets
constexpr int64_t PLANES = 64 << 20;   // bytes of gradients of blurred images
constexpr int64_t AHEAD = 8;           // rows of units that are fetched before they are needed

int64_t floor_half(int64_t a) { return a >> 1; }

class InLanes {
   public:
    InLanes(const TorchdauDirect& d, void* workspace)
        : d_(d), r_(d.radius), stride_(d.y.stride), memory_(workspace), gauss_(d.radius, memory_), threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauDirectTensors* tensors) {
        const Pass pass{d_.inputs, d_.outputs, d_.y.pixels, d_.x.pixels, false, false};
        const Tiles tiles = summed_tiles(d_.images, d_.y.outputs, d_.x.outputs, d_.outputs, d_.units);
        const int64_t bound = tensors ? reach(*tensors) : d_.bound;
        const Window window = strided(tiles, bound, {-d_.y.padding, -d_.x.padding});
        if (!tensors) return sum(pass, tiles, window, Sums{}, nullptr), memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        gauss_.fill(*t.sigma);
        return sum(pass, tiles, window, Sums{t.input, t.output, t.bias, bound}, &t), memory_.used();
    }

    int64_t backward(const TorchdauDirectTensors* tensors) {
        if (tensors) gauss_.fill(*tensors->sigma);
        const int64_t bound = tensors ? reach(*tensors) : d_.bound;
        int64_t most = memory_.used();
        const Memory begin = memory_;
        if (!tensors || tensors->grad_input) {
            stride_ == 1 ? inputs_back(tensors, bound) : inputs_back_in_steps(tensors, bound);
            most = memory_.used();
            memory_ = begin;
        }
        if (!tensors || tensors->grad_weight) units_back(tensors, bound);
        return std::max(most, memory_.used());
    }

   private:
    struct Sums {
        const float* source;
        float* target;
        const float* bias;
        int64_t bound;
    };

    struct Point {
        int64_t y, x;
    };

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

    int64_t reach(const TorchdauDirectTensors& t) const {
        return farthest(t.displacement, 2 * d_.groups * d_.outputs * d_.inputs * d_.units, d_.bound);
    }

    // What outputs in tiles read, of which the first reads at `first`.
    Window strided(const Tiles& tiles, int64_t bound, Point first) const {
        const int64_t around = 2 * bound + 2;
        return {(tiles.tall - 1) * stride_ + around, (tiles.wide - 1) * stride_ + around, first.y - bound, first.x - bound, tiles.tall * stride_, tiles.wide * stride_};
    }

    // Sums over source channels of shifted windows, into all target channels.
    void sum(const Pass& pass, const Tiles& tiles, const Window& window, const Sums& sums, const TorchdauDirectTensors* t) {
        const Packed packed(pass, d_, window, memory_);
        const int64_t pixels = tiles.pixels() * LANES, few = d_.groups * tiles.vectors;
        const int64_t jobs = std::min(pass.targets, std::max(chunks(pass.targets, tiles), up(2 * d_.threads, few)));
        const int64_t each = up(pass.targets, jobs), parts = up(pass.targets, each);
        const Gaussian raw{0, memory_};
        const Gaussian& gauss = pass.steps ? raw : gauss_;
        // windows that several chunks read are made once for all of them
        const int64_t all = few * pass.sources * window.size();
        float* shared = parts > 1 ? memory_.floats(std::min(all, SHARED)) : nullptr;
        if (all > SHARED) shared = nullptr;
        struct Room {
            Blurred blurred;
            float *windows, *pixels;
        };
        const auto room = [&](Memory& memory) {
            return Room{Blurred(window, gauss, false, memory), memory.floats(std::max(WINDOWS / int64_t(sizeof(float)), window.size())), memory.floats(each * pixels)};
        };
        Memory counted(nullptr);
        room(counted);
        float* rooms = memory_.floats(counted.used() / sizeof(float) * d_.threads);
        if (!t) return;
        raw.fill(1);
        const float turn = pass.back && !pass.steps ? -1.0f : 1.0f;
        const LaneUnits places{window, sums.bound, turn, {d_.y.padding - r_, d_.x.padding - r_}};
        threads_.run(packed.jobs, [&](int64_t job, int64_t thread) { packed.fill(job, thread, places, *t); });
        const int64_t apart = d_.groups * pass.sources * pass.high * pass.wide, target_apart = d_.groups * pass.targets * tiles.rows * tiles.columns;
        const Parts tile(tiles, window, adder(tiles.part, pass.steps ? 0 : pass.back ? 1 : stride_));
        const auto of = [&](int64_t thread) {
            Memory memory(rooms + counted.used() / sizeof(float) * thread);
            return room(memory);
        };
        const auto read = [&](Room& r, int64_t group, int64_t block, float* windows) {
            for (int64_t a = block * packed.each, last = std::min(pass.sources, a + packed.each); a < last; ++a, windows += window.size())
                r.blurred.read(sums.source + (group * pass.sources + a) * pass.high * pass.wide, apart, windows);
        };
        const auto of_block = [&](int64_t job, int64_t block) { return shared + (job * pass.sources + block * packed.each) * window.size(); };
        if (shared)
            threads_.run(few * packed.blocks, [&](int64_t job, int64_t thread) {
                Room r = of(thread);
                const int64_t of_few = job / packed.blocks, block = job % packed.blocks;
                r.blurred.take(tiles, of_few % tiles.vectors, pass.high, pass.wide);
                read(r, of_few / tiles.vectors, block, of_block(of_few, block));
            });
        threads_.run(few * parts, [&](int64_t job, int64_t thread) {
            Room r = of(thread);
            const int64_t of_few = job % few, group = of_few / tiles.vectors, vector = of_few % tiles.vectors;
            const int64_t first = job / few * each, last = std::min(pass.targets, first + each);
            Tiles::Tile lanes[LANES];
            for (int lane = 0; lane < LANES; ++lane) lanes[lane] = tiles.tile(vector, lane);
            std::memset(r.pixels, 0, sizeof(float) * (last - first) * pixels);
            if (!shared) r.blurred.take(tiles, vector, pass.high, pass.wide);
            for (int64_t block = 0; block < packed.blocks; ++block) {
                const float* windows = shared ? of_block(of_few, block) : r.windows;
                if (!shared) read(r, group, block, r.windows);
                for (int64_t b = first; b < last; ++b)
                    tile.add(packed.units(group, block, b), packed.counts(group, block, b), windows, r.pixels + (b - first) * pixels);
            }
            for (int64_t b = first; b < last; ++b) {
                const int64_t channel = group * pass.targets + b;
                write_tiles(tiles, lanes, r.pixels + (b - first) * pixels, sums.bias ? sums.bias[channel] : 0, sums.target + channel * tiles.rows * tiles.columns, target_apart);
            }
        });
    }

    void inputs_back(const TorchdauDirectTensors* t, int64_t bound) {
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, false};
        const Tiles tiles = summed_tiles(d_.images, d_.y.pixels, d_.x.pixels, d_.inputs, d_.units);
        const Window window = strided(tiles, bound, {d_.y.padding, d_.x.padding});
        sum(pass, tiles, window, t ? Sums{t->grad_output, t->grad_input, nullptr, bound} : Sums{}, t);
    }

    // The gradient of blurred images, with all pixels that units can read, and the Gaussian of it.
    void inputs_back_in_steps(const TorchdauDirectTensors* t, int64_t bound) {
        const int64_t high = d_.y.pixels + 2 * r_, wide = d_.x.pixels + 2 * r_, channels = d_.groups * d_.inputs;
        const int64_t some = std::max<int64_t>(1, std::min<int64_t>(d_.images, PLANES / (4 * channels * high * wide)));
        float* planes = memory_.floats(some * channels * high * wide + (2 * r_ + 2) * LANES);
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, true};
        const Memory begin = memory_;
        Memory most = memory_;
        for (int64_t first = 0; first < d_.images; first += some) {
            const int64_t images = std::min(some, d_.images - first);
            const Tiles tiles = summed_tiles(images, high, wide, d_.inputs, d_.units, true);
            const int64_t first_y = floor_half(d_.y.padding - r_ - bound), first_x = floor_half(d_.x.padding - r_ - bound);
            const int64_t rows = floor_half(d_.y.padding - r_ + bound) - first_y, columns = floor_half(d_.x.padding - r_ + bound) - first_x;
            const Window window{rows + floor_half(tiles.tall) + 1, columns + tiles.wide / 2 + 1, first_y, first_x, floor_half(tiles.tall), tiles.wide / 2};
            memory_ = begin;
            const float* source = t ? t->grad_output + first * d_.groups * d_.outputs * d_.y.outputs * d_.x.outputs : nullptr;
            sum(pass, tiles, window, Sums{source, planes, nullptr, bound}, t);
            if (memory_.used() > most.used()) most = memory_;
            if (!t) continue;
            threads_.run(images * channels, [&](int64_t number, int64_t) {
                float* to = t->grad_input + (first * channels + number) * d_.y.pixels * d_.x.pixels;
                const Unsmoothed<1> from{planes + number * high * wide, wide, 0, high};
                smooth(gauss_, from, d_.y.pixels, d_.x.pixels, [=, pixels = d_.x.pixels](int64_t y, int64_t x, Vector total) {
                    float* at = to + y * pixels + x;
                    x + LANES <= pixels ? store(at, total) : store_some(at, total, pixels - x);
                });
            });
        }
        memory_ = most;
    }

    // The innermost loop for tiles of a width.
    auto products(int64_t wide) const {
        const auto of = [&](auto columns) {
            constexpr int COLUMNS = decltype(columns)::value;
            if (stride_ == 1) return d_.exact ? add_corners<COLUMNS, 1, true> : add_products<COLUMNS>;
            return d_.exact ? add_corners<COLUMNS, 2, true> : add_corners<COLUMNS, 2, false>;
        };
        return wide == WIDE ? of(std::integral_constant<int, WIDE>()) : of(std::integral_constant<int, WIDEST>());
    }

    // One input channel at a time, whose smoothed and sloped windows stay in the first cache for all output channels. Units
    // and their gradients are read and written for a few input channels together, which share lines of the cache.
    void units_back(const TorchdauDirectTensors* t, int64_t bound) {
        const Tiles tiles = multiplied_tiles(d_);
        const Window window = strided(tiles, bound, {-d_.y.padding, -d_.x.padding}), itself{tiles.tall, tiles.wide, 0, 0, tiles.tall, tiles.wide};
        const int64_t pixels = tiles.pixels() * LANES, units = d_.outputs * d_.units;
        const int64_t each = std::min<int64_t>(TOGETHER, up(d_.groups * d_.inputs, 2 * d_.threads)), blocks = up(d_.inputs, each), kinds = d_.exact ? 1 : 3;
        float* gradients = memory_.floats(d_.groups * tiles.vectors * d_.outputs * pixels);
        struct Room {
            Reader reader;
            Blurred blurred;
            float *windows, *sums, *results;  // of a channel; of all channels of a job
            Position* units;
        };
        const auto room = [&](Memory& memory) {
            float *windows = memory.floats(kinds * window.size()), *sums = memory.floats(units * SUMS * LANES), *results = memory.floats(each * units * SUMS);
            Position* positions = reinterpret_cast<Position*>(memory.floats(each * units * sizeof(Position) / sizeof(float)));
            return Room{Reader(itself, memory), Blurred(window, gauss_, !d_.exact, memory), windows, sums, results, positions};
        };
        Memory counted(nullptr);
        room(counted);
        float* rooms = memory_.floats(counted.used() / sizeof(float) * d_.threads);
        if (!t) return;
        const auto of = [&](int64_t thread) {
            Memory memory(rooms + counted.used() / sizeof(float) * thread);
            return room(memory);
        };
        const int64_t size = int64_t(d_.y.outputs) * d_.x.outputs, image = int64_t(d_.y.pixels) * d_.x.pixels;
        threads_.run(d_.groups * tiles.vectors, [&](int64_t job, int64_t thread) {
            Room r = of(thread);
            r.reader.take(tiles, job % tiles.vectors, d_.y.outputs, d_.x.outputs);
            const int64_t group = job / tiles.vectors;
            for (int64_t o = 0; o < d_.outputs; ++o) {
                const float* from = r.reader.read(t->grad_output + (group * d_.outputs + o) * size, d_.groups * d_.outputs * size);
                std::memcpy(gradients + (job * d_.outputs + o) * pixels, from, sizeof(float) * pixels);
            }
        });
        const auto add = products(tiles.wide);
        threads_.run(d_.groups * blocks, [&](int64_t job, int64_t thread) {
            Room r = of(thread);
            const int64_t group = job / blocks, first = job % blocks * each, some = std::min(each, d_.inputs - first);
            const auto unit = [&](int64_t o) { return ((group * d_.outputs + std::min(o, d_.outputs - 1)) * d_.inputs + first) * d_.units; };
            const int64_t row = some * d_.units;  // units of an output channel, far from those of the next one
            // of an output channel; those of a single vector are added up at once, and their room is used again
            const auto sums_of = [&](int64_t o) { return r.sums + (tiles.vectors > 1 ? o : o % LANES) * d_.units * SUMS * LANES; };
            const LaneUnits places{window, bound, 1, {}};
            for (int64_t o = 0; o < d_.outputs; ++o) {
                prefetch(t->displacement + 2 * unit(o + AHEAD), 2 * row);
                places.fill(t->displacement + 2 * unit(o), row, r.units + o * row);
            }
            for (int64_t i = 0; i < some; ++i) {
                const int64_t channel = group * d_.inputs + first + i;
                for (int64_t vector = 0; vector < tiles.vectors; ++vector) {
                    r.blurred.take(tiles, vector, d_.y.pixels, d_.x.pixels);
                    r.blurred.read(t->input + channel * image, d_.groups * d_.inputs * image, r.windows);
                    const bool last = vector == tiles.vectors - 1;
                    for (int64_t o = 0; o < d_.outputs; ++o) {
                        add(r.units + o * row + i * d_.units, d_.units, r.windows, window, tiles.tall,
                            gradients + ((group * tiles.vectors + vector) * d_.outputs + o) * pixels, sums_of(o), vector > 0);
                        const int64_t begin = o / LANES * LANES;
                        if (last && (o + 1 == begin + LANES || o + 1 == d_.outputs))
                            add_lanes(sums_of(begin), (o + 1 - begin) * d_.units * SUMS, r.results + (i * d_.outputs + begin) * d_.units * SUMS);
                    }
                }
            }
            for (int64_t o = 0; o < d_.outputs; ++o) {
                const int64_t later = unit(o + AHEAD);
                prefetch(t->weight + later, row), prefetch(t->grad_weight + later, row), prefetch(t->grad_displacement + 2 * later, 2 * row);
                for (int64_t i = 0; i < some; ++i) {
                    const float* result = r.results + (i * d_.outputs + o) * d_.units * SUMS;
                    for (int64_t k = unit(o) + i * d_.units, last = k + d_.units; k < last; ++k, result += SUMS) {
                        t->grad_weight[k] = result[0];
                        for (int axis = 0; axis < 2; ++axis) t->grad_displacement[2 * k + axis] = t->weight[k] * result[1 + axis];
                    }
                }
            }
        });
    }

    const TorchdauDirect& d_;
    const int64_t r_, stride_;
    Memory memory_;
    const Gaussian gauss_;
    Threads threads_;
};

}  // namespace

extern "C" {

// Return the bytes of workspace, at the start of a cache line, that they need; without tensors they do nothing else.
EXPORT int64_t torchdau_lanes_forward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return InLanes(*layer, workspace).forward(tensors);
}

EXPORT int64_t torchdau_lanes_backward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return InLanes(*layer, workspace).backward(tensors);
}
}
