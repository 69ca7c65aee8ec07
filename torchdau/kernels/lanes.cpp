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
// - Gradients of units: products of the output's gradient with shifted windows, smoothed and sloped, of one input channel.
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "direct.h"
#include "gaussian.h"
#include "lanes.h"
#include "memory.h"
#include "parallel.h"
#include "shifts.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

extern "C" {

struct TorchdauLanesTensors {
    const float *input, *weight, *displacement, *sigma, *bias, *grad_output;
    float *output, *grad_input, *grad_weight, *grad_displacement;
};
}

namespace {

constexpr int64_t WINDOWS = 20 << 10;  // bytes of windows that stay in the first cache
constexpr int64_t ROOM = 256 << 10;    // bytes of sums that stay in the second cache
constexpr int64_t PLANES = 64 << 20;   // bytes of gradients of blurred images

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t floor_half(int64_t a) { return a >> 1; }

// A unit as the innermost loops read it: its upper left pixel in a window, the right column's factor divided by the left
// one's, and the factors of both rows, with the left one's.
struct Unit {
    int32_t place;
    float ratio, upper, lower;
};

// Calls f(constant) for the rows of a tile.
template <int TALL = TALLEST, class F>
void with_rows(int64_t tall, F f) {
    if constexpr (TALL > 1)
        if (tall < TALL) return with_rows<TALL - 1>(tall, f);
    f(std::integral_constant<int, TALL>());
}

// Adds shifted windows to the pixels of tiles.
template <int TALL, int STRIDE>
void add_units(const Unit* units, int64_t count, const float* window, int64_t line, float* pixels) {
    Vector totals[TALL][WIDE];
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) totals[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    for (int64_t k = 0; k < count; ++k) {
        const float* row = window + units[k].place;
        const Vector ratio = units[k].ratio + Vector{}, upper = units[k].upper + Vector{}, lower = units[k].lower + Vector{};
        if constexpr (STRIDE == 1) {
#pragma GCC unroll 8
            for (int y = 0; y <= TALL; ++y, row += line) {
                Vector left = loaded(row);
#pragma GCC unroll 4
                for (int x = 0; x < WIDE; ++x) {
                    const Vector right = loaded(row + (x + 1) * LANES), between = left + right * ratio;
                    if (y < TALL) totals[y][x] += between * upper;
                    if (y > 0) totals[y - 1][x] += between * lower;
                    left = right;
                }
            }
        } else {
#pragma GCC unroll 8
            for (int y = 0; y < TALL; ++y, row += STRIDE * line)
#pragma GCC unroll 4
                for (int x = 0; x < WIDE; ++x) {
                    const float* p = row + STRIDE * x * LANES;
                    totals[y][x] += (load(p) + load(p + LANES) * ratio) * upper;
                    totals[y][x] += (load(p + line) + load(p + line + LANES) * ratio) * lower;
                }
        }
    }
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) store(pixels + p * LANES, totals[p / WIDE][p % WIDE]);
}

// The adjoint for a stride of 2: each pixel of a tile gets one of a unit's four factors. Which one alternates along both
// axes, and begins with the lower and the right one where ODD_Y and ODD_X.
template <int TALL, int ODD_Y, int ODD_X>
void add_back(const Unit* units, int64_t count, const float* window, int64_t line, float* pixels) {
    Vector totals[TALL][WIDE];
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) totals[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    for (int64_t k = 0; k < count; ++k) {
        const Unit& u = units[k];
        const float* from = window + u.place;
        const Vector factors[2][2] = {{u.upper + Vector{}, u.upper * u.ratio + Vector{}}, {u.lower + Vector{}, u.lower * u.ratio + Vector{}}};
#pragma GCC unroll 8
        for (int y = 0; y < TALL; ++y)
#pragma GCC unroll 4
            for (int x = 0; x < WIDE; ++x)
                totals[y][x] += load(from + ((y + ODD_Y) >> 1) * line + ((x + ODD_X) >> 1) * LANES) * factors[(y + ODD_Y) & 1][(x + ODD_X) & 1];
    }
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) store(pixels + p * LANES, totals[p / WIDE][p % WIDE]);
}

// Products of tiles of a gradient with the upper and the lower row of a shifted window; DIFFERENCE: with its difference
// along x.
template <int TALL, int STRIDE, bool DIFFERENCE>
void multiply(const float* window, int64_t line, float ratio, const float* pixels, Vector& upper, Vector& lower) {
    Vector gradient[TALL][WIDE], above{}, below{};
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) gradient[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    auto between = [&](const float* p) { return DIFFERENCE ? load(p + LANES) - load(p) : load(p) + load(p + LANES) * ratio; };
    if constexpr (STRIDE == 1) {
#pragma GCC unroll 8
        for (int y = 0; y <= TALL; ++y, window += line)
#pragma GCC unroll 4
            for (int x = 0; x < WIDE; ++x) {
                const Vector t = between(window + x * LANES);
                if (y < TALL) above += t * gradient[y][x];
                if (y > 0) below += t * gradient[y - 1][x];
            }
    } else {
#pragma GCC unroll 8
        for (int y = 0; y < TALL; ++y, window += STRIDE * line)
#pragma GCC unroll 4
            for (int x = 0; x < WIDE; ++x) {
                above += between(window + STRIDE * x * LANES) * gradient[y][x];
                below += between(window + STRIDE * x * LANES + line) * gradient[y][x];
            }
    }
    upper = above, lower = below;
}

// The pixels that outputs read between, relative to an output's own.
int64_t farthest(const float* displacement, int64_t count, int64_t bound) {
    float most = 0;
    for (int64_t k = 0; k < count; ++k) most = std::max(most, std::fabs(displacement[k]));  // NaN counts for nothing
    return std::min<int64_t>(bound, int64_t(std::ceil(most)));
}

class InLanes {
   public:
    InLanes(const TorchdauDirect& d, void* workspace)
        : d_(d), r_(d.radius), stride_(d.y.stride), memory_(workspace), gauss_(d.radius, memory_), threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauLanesTensors* tensors) {
        const Pass pass{d_.inputs, d_.outputs, d_.y.pixels, d_.x.pixels, false, false};
        const Tiles tiles(d_.images, d_.y.outputs, d_.x.outputs, false);
        const int64_t bound = tensors ? reach(*tensors) : d_.bound;
        const Window window = strided(tiles, bound, {-d_.y.padding, -d_.x.padding});
        if (!tensors) return sum(pass, tiles, window, Sums{}, nullptr), memory_.used();
        const TorchdauLanesTensors& t = *tensors;
        gauss_.fill(*t.sigma);
        return sum(pass, tiles, window, Sums{t.input, t.output, t.bias, bound}, &t), memory_.used();
    }

    int64_t backward(const TorchdauLanesTensors* tensors) {
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
    // Which way images go through the units.
    struct Pass {
        int64_t sources, targets;  // channels of a group
        int64_t high, wide;        // pixels of a source
        bool back, steps;          // from outputs to inputs; by single pixels of a stride
    };

    struct Sums {
        const float* source;
        float* target;
        const float* bias;
        int64_t bound;
    };

    struct Point {
        int64_t y, x;
    };

    int64_t reach(const TorchdauLanesTensors& t) const {
        return farthest(t.displacement, 2 * d_.groups * d_.outputs * d_.inputs * d_.units, d_.bound);
    }

    // What outputs in tiles read, of which the first reads at `first`.
    Window strided(const Tiles& tiles, int64_t bound, Point first) const {
        const int64_t around = 2 * bound + 2;
        return {(tiles.tall - 1) * stride_ + around, (WIDE - 1) * stride_ + around, first.y - bound, first.x - bound, tiles.tall * stride_, WIDE * stride_};
    }

    // Units in the order in which they are read: for each group, block of source channels and target channel.
    struct Packed {
        int64_t each, blocks, room;  // source channels of a block; units that have room
        Unit* units;
        int32_t* counts;  // by which factors come first, where that matters

        Packed(const Pass& pass, const TorchdauDirect& d, const Window& window, Memory& memory)
            : each(std::max<int64_t>(1, std::min(pass.sources, WINDOWS / int64_t(sizeof(float) * window.size())))),
              blocks(up(pass.sources, each)), room(each * d.units) {
            // room for blocks of any size: smaller windows may leave it to more channels than were counted
            const int64_t pairs = d.groups * pass.targets * pass.sources;
            units = reinterpret_cast<Unit*>(memory.floats(2 * pairs * d.units * sizeof(Unit) / sizeof(float)));
            counts = reinterpret_cast<int32_t*>(memory.floats(4 * pairs));
        }
    };

    // Sums over source channels of shifted windows, into all target channels.
    void sum(const Pass& pass, const Tiles& tiles, const Window& window, const Sums& sums, const TorchdauLanesTensors* t) {
        Packed packed(pass, d_, window, memory_);
        const int64_t pixels = tiles.pixels() * LANES, few = d_.groups * tiles.vectors;
        const int64_t chunks = std::min(pass.targets, std::max(up(pass.targets * pixels * 4, ROOM), up(2 * d_.threads, few)));
        const int64_t each = up(pass.targets, chunks);
        const Gaussian raw{0, memory_};
        const Gaussian& gauss = pass.steps ? raw : gauss_;
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
        threads_.run(d_.groups * pass.targets, [&](int64_t number, int64_t) { pack(pass, window, sums.bound, packed, *t, number); });
        const int64_t apart = d_.groups * pass.sources * pass.high * pass.wide, target_apart = d_.groups * pass.targets * tiles.rows * tiles.columns;
        threads_.run(few * up(pass.targets, each), [&](int64_t job, int64_t thread) {
            Memory memory(rooms + counted.used() / sizeof(float) * thread);
            Room r = room(memory);
            const int64_t group = job / tiles.vectors % d_.groups, vector = job % tiles.vectors;
            const int64_t first = job / few * each, last = std::min(pass.targets, first + each);
            std::memset(r.pixels, 0, sizeof(float) * (last - first) * pixels);
            r.blurred.take(tiles, vector, pass.high, pass.wide);
            for (int64_t block = 0; block < packed.blocks; ++block) {
                for (int64_t a = block * packed.each, i = 0; i < packed.each && a < pass.sources; ++a, ++i)
                    r.blurred.read(sums.source + (group * pass.sources + a) * pass.high * pass.wide, apart, r.windows + i * window.size());
                for (int64_t b = first; b < last; ++b) {
                    const int64_t slot = (group * packed.blocks + block) * pass.targets + b;
                    add(pass, tiles.tall, packed.units + slot * packed.room, packed.counts + 4 * slot, r.windows, window.line(), r.pixels + (b - first) * pixels);
                }
            }
            for (int64_t b = first; b < last; ++b) {
                const int64_t channel = group * pass.targets + b;
                write_tiles(tiles, vector, r.pixels + (b - first) * pixels, sums.bias ? sums.bias[channel] : 0, sums.target + channel * tiles.rows * tiles.columns, target_apart);
            }
        });
    }

    void add(const Pass& pass, int64_t tall, const Unit* units, const int32_t* counts, const float* windows, int64_t line, float* pixels) const {
        with_rows(tall, [&](auto rows) {
            constexpr int TALL = decltype(rows)::value;
            if (!pass.steps) {
                (stride_ == 1 || pass.back ? add_units<TALL, 1> : add_units<TALL, 2>)(units, counts[0], windows, line, pixels);
                return;
            }
            constexpr decltype(&add_back<TALL, 0, 0>) adds[] = {add_back<TALL, 0, 0>, add_back<TALL, 0, 1>, add_back<TALL, 1, 0>, add_back<TALL, 1, 1>};
            for (int first = 0; first < 4; units += counts[first++])
                if (counts[first]) adds[first](units, counts[first], windows, line, pixels);
        });
    }

    // Packs the units of a target channel; `number` counts groups and their target channels. Units without a weight are left out.
    void pack(const Pass& pass, const Window& window, int64_t bound, const Packed& packed, const TorchdauLanesTensors& t, int64_t number) const {
        const int64_t group = number / pass.targets, b = number % pass.targets;
        for (int64_t block = 0; block < packed.blocks; ++block) {
            const int64_t slot = (group * packed.blocks + block) * pass.targets + b;
            Unit* to = packed.units + slot * packed.room;
            for (int first = 0; first < (pass.steps ? 4 : 1); ++first) {
                int32_t& count = packed.counts[4 * slot + first] = 0;
                for (int64_t a = block * packed.each, i = 0; i < packed.each && a < pass.sources; ++a, ++i) {
                    const int64_t o = group * d_.outputs + (pass.back ? a : b), pair = (o * d_.inputs + (pass.back ? b : a)) * d_.units;
                    for (int64_t unit = pair; unit < pair + d_.units; ++unit) {
                        if (t.weight[unit] == 0) continue;
                        const float* mu = t.displacement + 2 * unit;
                        const int turn = pass.back && !pass.steps ? -1 : 1;
                        const Place y(turn * mu[0]), x(turn * mu[1]);
                        int64_t row = y.pixel + bound, column = x.pixel + bound;
                        if (pass.steps) {
                            const int64_t at_y = d_.y.padding - r_ - y.pixel, at_x = d_.x.padding - r_ - x.pixel;
                            if ((at_y & 1) * 2 + (at_x & 1) != first) continue;
                            row = floor_half(at_y) - window.first_y, column = floor_half(at_x) - window.first_x;
                        }
                        const float w = t.weight[unit] * (1 - x.beyond);
                        to[count++] = {int32_t(i * window.size() + row * window.line() + column * LANES), x.beyond / (1 - x.beyond), w * (1 - y.beyond), w * y.beyond};
                    }
                }
                to += count;
            }
        }
    }

    void inputs_back(const TorchdauLanesTensors* t, int64_t bound) {
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, false};
        const Tiles tiles(d_.images, d_.y.pixels, d_.x.pixels, false);
        const Window window = strided(tiles, bound, {d_.y.padding, d_.x.padding});
        sum(pass, tiles, window, t ? Sums{t->grad_output, t->grad_input, nullptr, bound} : Sums{}, t);
    }

    // The gradient of blurred images, with all pixels that units can read, and the Gaussian of it.
    void inputs_back_in_steps(const TorchdauLanesTensors* t, int64_t bound) {
        const int64_t high = d_.y.pixels + 2 * r_, wide = d_.x.pixels + 2 * r_, channels = d_.groups * d_.inputs;
        const int64_t some = std::max<int64_t>(1, std::min<int64_t>(d_.images, PLANES / (4 * channels * high * wide)));
        const int64_t line = up(d_.x.pixels, LANES) * LANES;
        float* planes = memory_.floats(some * channels * high * wide + (2 * r_ + 2) * LANES);
        float* rooms = memory_.floats(d_.threads * (high * line + LANES));
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, true};
        const Memory begin = memory_;
        Memory most = memory_;
        for (int64_t first = 0; first < d_.images; first += some) {
            const int64_t images = std::min(some, d_.images - first);
            const Tiles tiles(images, high, wide, true);
            const int64_t first_y = floor_half(d_.y.padding - r_ - bound), first_x = floor_half(d_.x.padding - r_ - bound);
            const int64_t rows = floor_half(d_.y.padding - r_ + bound) - first_y, columns = floor_half(d_.x.padding - r_ + bound) - first_x;
            const Window window{rows + floor_half(tiles.tall) + 1, columns + WIDE / 2 + 1, first_y, first_x, floor_half(tiles.tall), WIDE / 2};
            memory_ = begin;
            const float* source = t ? t->grad_output + first * d_.groups * d_.outputs * d_.y.outputs * d_.x.outputs : nullptr;
            sum(pass, tiles, window, Sums{source, planes, nullptr, bound}, t);
            if (memory_.used() > most.used()) most = memory_;
            if (!t) continue;
            threads_.run(images * channels, [&](int64_t number, int64_t thread) {
                const float* plane = planes + number * high * wide;
                float* along = rooms + thread * (high * line + LANES);
                for (int64_t y = 0; y < high; ++y)
                    for (int64_t x = 0; x < line; x += LANES) store(along + y * line + x, gauss_.smoothed(plane + y * wide + r_ + x, 1));
                float* to = t->grad_input + (first * channels + number) * d_.y.pixels * d_.x.pixels;
                for (int64_t y = 0; y < d_.y.pixels; ++y, to += d_.x.pixels)
                    for (int64_t x = 0; x < d_.x.pixels; x += LANES) {
                        const Vector total = gauss_.smoothed(along + (y + r_) * line + x, line);
                        x + LANES <= d_.x.pixels ? store(to + x, total) : store_some(to + x, total, d_.x.pixels - x);
                    }
            });
        }
        memory_ = most;
    }

    // One input channel at a time, whose smoothed and sloped windows stay in the first cache for all output channels.
    void units_back(const TorchdauLanesTensors* t, int64_t bound) {
        constexpr int SUMS = 4;  // vectors of a unit: what is multiplied with its upper and lower row, by kinds of windows
        const Tiles tiles(d_.images, d_.y.outputs, d_.x.outputs, false, TALLEST < 5 ? TALLEST : 5);  // in registers beside sums
        const Window window = strided(tiles, bound, {-d_.y.padding, -d_.x.padding}), itself{tiles.tall, WIDE, 0, 0, tiles.tall, WIDE};
        const int64_t pixels = tiles.pixels() * LANES, units = d_.outputs * d_.units, kinds = d_.exact ? 1 : 3;
        float* gradients = memory_.floats(d_.groups * tiles.vectors * d_.outputs * pixels);
        struct Room {
            Reader reader;
            Blurred blurred;
            float *windows, *sums;
        };
        const auto room = [&](Memory& memory) {
            return Room{Reader(itself, memory), Blurred(window, gauss_, !d_.exact, memory), memory.floats(kinds * window.size()), memory.floats(units * SUMS * LANES)};
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
        threads_.run(d_.groups * d_.inputs, [&](int64_t channel, int64_t thread) {
            Room r = of(thread);
            const int64_t group = channel / d_.inputs, i = channel % d_.inputs;
            std::memset(r.sums, 0, sizeof(float) * units * SUMS * LANES);
            for (int64_t vector = 0; vector < tiles.vectors; ++vector) {
                r.blurred.take(tiles, vector, d_.y.pixels, d_.x.pixels);
                r.blurred.read(t->input + channel * image, d_.groups * d_.inputs * image, r.windows);
                for (int64_t o = 0; o < d_.outputs; ++o) {
                    const float* gradient = gradients + ((group * tiles.vectors + vector) * d_.outputs + o) * pixels;
                    for (int64_t k = 0; k < d_.units; ++k) {
                        const int64_t unit = ((group * d_.outputs + o) * d_.inputs + i) * d_.units + k;
                        add_products(tiles.tall, t->displacement + 2 * unit, bound, r.windows, window, gradient, r.sums + (o * d_.units + k) * SUMS * LANES);
                    }
                }
            }
            for (int64_t o = 0; o < d_.outputs; ++o)
                for (int64_t k = 0; k < d_.units; ++k) {
                    const int64_t unit = ((group * d_.outputs + o) * d_.inputs + i) * d_.units + k;
                    const float* sums = r.sums + (o * d_.units + k) * SUMS * LANES;
                    t->grad_weight[unit] = ::sum(load(sums));
                    for (int axis = 0; axis < 2; ++axis) t->grad_displacement[2 * unit + axis] = t->weight[unit] * ::sum(load(sums + (1 + axis) * LANES));
                }
        });
    }

    // Adds a unit's products with the tiles of a vector to its sums: of its weight, and of its displacement along y and x.
    void add_products(int64_t tall, const float* displacement, int64_t bound, const float* windows, const Window& window, const float* gradient, float* sums) const {
        const Place y(displacement[0]), x(displacement[1]);
        const float a = y.beyond, b = x.beyond, ratio = b / (1 - b);
        const float* place = windows + (y.pixel + bound) * window.line() + (x.pixel + bound) * LANES;
        with_rows<(TALLEST < 5 ? TALLEST : 5)>(tall, [&](auto rows) {
            constexpr int TALL = decltype(rows)::value;
            const auto products = stride_ == 1 ? multiply<TALL, 1, false> : multiply<TALL, 2, false>;
            Vector upper, lower;
            const auto add = [&](int to, Vector more) { store(sums + to * LANES, load(sums + to * LANES) + more); };
            products(place, window.line(), ratio, gradient, upper, lower);
            add(0, (upper * (1 - a) + lower * a) * (1 - b));
            if (d_.exact) {
                add(1, (lower - upper) * (1 - b));
                const auto differences = stride_ == 1 ? multiply<TALL, 1, true> : multiply<TALL, 2, true>;
                differences(place, window.line(), ratio, gradient, upper, lower);
                add(2, upper * (1 - a) + lower * a);
                return;
            }
            for (int kind = 1; kind < 3; ++kind) {
                products(place + kind * window.size(), window.line(), ratio, gradient, upper, lower);
                add(kind, (upper * (1 - a) + lower * a) * (b - 1));  // the image's slope is against the displacement's
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
EXPORT int64_t torchdau_lanes_forward(const TorchdauDirect* layer, const TorchdauLanesTensors* tensors, void* workspace) {
    return InLanes(*layer, workspace).forward(tensors);
}

EXPORT int64_t torchdau_lanes_backward(const TorchdauDirect* layer, const TorchdauLanesTensors* tensors, void* workspace) {
    return InLanes(*layer, workspace).backward(tensors);
}
}
