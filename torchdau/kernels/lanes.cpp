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

namespace {

constexpr int64_t WINDOWS = 20 << 10;  // bytes of windows that stay in the first cache
constexpr int64_t ROOM = 256 << 10;    // bytes of sums that stay in the second cache
constexpr int64_t PLANES = 64 << 20;   // bytes of gradients of blurred images

constexpr int64_t AROUND = 8;          // pixels that a tile usually reads around itself

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
static inline __attribute__((always_inline)) void add_back(const Unit* units, int64_t count, const float* window, int64_t line, Vector (&totals)[TALL][WIDE]) {
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
}

template <int TALL>
void add_units_back(const Unit* units, const int32_t* counts, const float* window, int64_t line, float* pixels) {
    Vector totals[TALL][WIDE];
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) totals[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    add_back<TALL, 0, 0>(units, counts[0], window, line, totals), units += counts[0];
    add_back<TALL, 0, 1>(units, counts[1], window, line, totals), units += counts[1];
    add_back<TALL, 1, 0>(units, counts[2], window, line, totals), units += counts[2];
    add_back<TALL, 1, 1>(units, counts[3], window, line, totals);
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) store(pixels + p * LANES, totals[p / WIDE][p % WIDE]);
}

constexpr int SUMS = 3;     // of a unit: what gives the gradients of its weight, and of its displacement along y and x
constexpr int TALL_GRADIENT = TALLEST < 5 ? TALLEST : 5;  // rows of a tile that stay in registers beside other numbers

// Adds the products of tiles of a gradient with the windows of the units between two channels: smoothed, and sloped along y
// and x. EXACT: with the differences of the smoothed one.
template <int TALL, int STRIDE, bool EXACT>
void add_products(const float* displacement, int64_t count, int64_t bound, const float* windows, const Window& window, const float* pixels, float* sums) {
    const int64_t line = window.line();
    Vector gradient[TALL][WIDE];
#pragma GCC unroll 32
    for (int p = 0; p < TALL * WIDE; ++p) gradient[p / WIDE][p % WIDE] = load(pixels + p * LANES);
    for (int64_t k = 0; k < count; ++k, displacement += 2, sums += SUMS * LANES) {
        const Place y(displacement[0]), x(displacement[1]);
        const float a = y.beyond, b = x.beyond;
        const float* place = windows + (y.pixel + bound) * line + (x.pixel + bound) * LANES;
        const Vector ratio = b / (1 - b) + Vector{};
        const auto between = [&](Vector left, Vector right) { return left + right * ratio; };
        const auto difference = [](Vector left, Vector right) { return right - left; };
        const auto multiply = [&](const float* row, auto along, Vector& upper, Vector& lower) {
            Vector above[WIDE] = {}, below[WIDE] = {};  // sums that do not wait for each other
#pragma GCC unroll 16
            for (int r = 0; r < (STRIDE == 1 ? TALL + 1 : 2 * TALL); ++r, row += line) {
                Vector left = loaded(row);
#pragma GCC unroll 4
                for (int c = 0; c < WIDE; ++c) {
                    if (STRIDE > 1) left = loaded(row + STRIDE * c * LANES);
                    const Vector right = loaded(row + (STRIDE * c + 1) * LANES), t = along(left, right);
                    if (STRIDE == 1) {
                        if (r < TALL) above[c] += t * gradient[r < TALL ? r : 0][c];
                        if (r > 0) below[c] += t * gradient[r > 0 ? r - 1 : 0][c];
                    } else {
                        (r % 2 ? below : above)[c] += t * gradient[r / 2][c];
                    }
                    left = right;
                }
            }
            upper = (above[0] + above[1]) + (above[2] + above[3]), lower = (below[0] + below[1]) + (below[2] + below[3]);
        };
        const auto add = [&](int to, Vector more) { store(sums + to * LANES, load(sums + to * LANES) + more); };
        Vector upper, lower;
        for (int kind = 0; kind < (EXACT ? 1 : SUMS); ++kind) {
            multiply(place + kind * window.size(), between, upper, lower);
            const float factor = kind ? b - 1 : 1 - b;  // an image's slope is against the displacement's
            add(kind, (upper * (1 - a) + lower * a) * factor);
        }
        if constexpr (EXACT) {
            add(1, (lower - upper) * (1 - b));
            multiply(place, difference, upper, lower);
            add(2, upper * (1 - a) + lower * a);
        }
    }
}

// Finds units in windows. The loops have no branches, so that compilers make vectors of them.
struct Units {
    Window window;
    int64_t bound;
    float turn;  // 1, or -1 for displacements that are turned around
    struct {
        int64_t y, x;
    } padding;  // of the adjoint for a stride

    // Whole pixels below a displacement, and what is beyond them; as Place has it.
    static inline void split(float mu, int32_t& pixel, float& beyond) {
        const float number = mu == mu ? mu : 0;
        const int32_t towards = int32_t(number), down = towards - (number < float(towards));
        const float rest = mu - float(down);
        const bool full = rest >= 1;  // it was rounded up
        pixel = down + full, beyond = full ? 0 : rest;
    }

    static inline Unit unit(int32_t place, float w, float y, float x) { return {place, x / (1 - x), w * (1 - x) * (1 - y), w * (1 - x) * y}; }

    void fill(const TorchdauDirectTensors& t, int64_t first, int64_t count, Unit* units) const {
        const float *weight = t.weight + first, *mu = t.displacement + 2 * first;
        const int32_t line = int32_t(window.line()), around = int32_t(bound);
        for (int64_t k = 0; k < count; ++k) {
            int32_t y, x;
            float beyond_y, beyond_x;
            split(turn * mu[2 * k], y, beyond_y), split(turn * mu[2 * k + 1], x, beyond_x);
            units[k] = unit((y + around) * line + (x + around) * LANES, weight[k], beyond_y, beyond_x);
        }
    }

    // For the adjoint with a stride; the lowest bits of a place say which factors come first.
    void fill_steps(const TorchdauDirectTensors& t, int64_t first, int64_t count, Unit* units) const {
        const float *weight = t.weight + first, *mu = t.displacement + 2 * first;
        const int32_t line = int32_t(window.line()), top = int32_t(window.first_y), left = int32_t(window.first_x);
        const int32_t at_y = int32_t(padding.y), at_x = int32_t(padding.x);
        for (int64_t k = 0; k < count; ++k) {
            int32_t y, x;
            float beyond_y, beyond_x;
            split(mu[2 * k], y, beyond_y), split(mu[2 * k + 1], x, beyond_x);
            const int32_t row = at_y - y, column = at_x - x;
            const int32_t place = ((row >> 1) - top) * line + ((column >> 1) - left) * LANES;
            units[k] = unit(place + (row & 1) * 2 + (column & 1), weight[k], beyond_y, beyond_x);
        }
    }
};

// Whole pixels that displacements reach. NaN counts for nothing.
int64_t farthest(const float* displacement, int64_t count, int64_t bound) {
    Vector most{};
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        const Vector mu = load(displacement + k), size = mu < 0 ? -mu : mu;
        most = size > most ? size : most;
    }
    float all = 0;
    for (int lane = 0; lane < LANES; ++lane) all = std::max(all, most[lane]);
    for (; k < count; ++k) all = std::max(all, std::fabs(displacement[k]));
    return std::min<int64_t>(bound, int64_t(std::ceil(all)));
}

class InLanes {
   public:
    InLanes(const TorchdauDirect& d, void* workspace)
        : d_(d), r_(d.radius), stride_(d.y.stride), memory_(workspace), gauss_(d.radius, memory_), threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauDirectTensors* tensors) {
        const Pass pass{d_.inputs, d_.outputs, d_.y.pixels, d_.x.pixels, false, false};
        const Tiles tiles(d_.images, d_.y.outputs, d_.x.outputs, d_.outputs * d_.units, AROUND, false);
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

    int64_t reach(const TorchdauDirectTensors& t) const {
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
            units = reinterpret_cast<Unit*>(memory.floats((2 * pairs * d.units + 1) * sizeof(Unit) / sizeof(float)));
            counts = reinterpret_cast<int32_t*>(memory.floats(4 * pairs));
        }
    };

    // Sums over source channels of shifted windows, into all target channels.
    void sum(const Pass& pass, const Tiles& tiles, const Window& window, const Sums& sums, const TorchdauDirectTensors* t) {
        const Packed packed(pass, d_, window, memory_);
        const int64_t filter = (std::max(d_.inputs, d_.outputs) + 1) * d_.units;  // units of one, or of a slot
        Unit* filters = reinterpret_cast<Unit*>(memory_.floats(d_.threads * filter * sizeof(Unit) / sizeof(float)));
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
        const int64_t together = pass.back ? packed.each : 1, jobs = up(d_.outputs, together);  // they append to the same lists
        threads_.run(d_.groups * jobs, [&](int64_t job, int64_t thread) {
            for (int64_t o = job % jobs * together; o < d_.outputs && o < (job % jobs + 1) * together; ++o)
                pack(pass, window, sums.bound, packed, *t, job / jobs * d_.outputs + o, filters + thread * filter);
            if (!pass.steps) return;
            const int64_t slot = (job / jobs * packed.blocks + job % jobs) * pass.targets;
            for (int64_t b = slot; b < slot + pass.targets; ++b) sort(packed.units + b * packed.room, packed.counts + 4 * b, filters + thread * filter);
        });
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
            if (pass.steps) return add_units_back<TALL>(units, counts, windows, line, pixels);
            (stride_ == 1 || pass.back ? add_units<TALL, 1> : add_units<TALL, 2>)(units, counts[0], windows, line, pixels);
        });
    }

    // Packs the units of an output channel; `number` counts groups and their output channels. Units without a weight are left
    // out.
    void pack(const Pass& pass, const Window& window, int64_t bound, const Packed& packed, const TorchdauDirectTensors& t, int64_t number, Unit* units) const {
        const int64_t group = number / d_.outputs, o = number % d_.outputs, all = d_.inputs * d_.units;
        const Units places{window, bound, pass.back && !pass.steps ? -1.0f : 1.0f, {d_.y.padding - r_, d_.x.padding - r_}};
        (pass.steps ? places.fill_steps(t, number * all, all, units) : places.fill(t, number * all, all, units));
        if (pass.back) {
            const int64_t slot = (group * packed.blocks + o / packed.each) * pass.targets, channel = o % packed.each;
            for (int64_t i = 0; i < d_.inputs; ++i, units += d_.units) {
                int32_t& count = packed.counts[4 * (slot + i)];
                count = append(units, d_.units, channel * window.size(), packed.units + (slot + i) * packed.room, channel ? count : 0);
            }
        } else {
            for (int64_t block = 0; block < packed.blocks; ++block) {
                const int64_t slot = (group * packed.blocks + block) * pass.targets + o, some = std::min(packed.each, d_.inputs - block * packed.each);
                int32_t count = 0;
                for (int64_t channel = 0; channel < some; ++channel, units += d_.units)
                    count = append(units, d_.units, channel * window.size(), packed.units + slot * packed.room, count);
                packed.counts[4 * slot] = count;
            }
        }
    }

    // Appends the units that add something to `count` others, of a channel whose window begins at `place`.
    static inline int32_t append(const Unit* units, int64_t some, int64_t place, Unit* to, int32_t count) {
        for (int64_t k = 0; k < some; ++k) {
            Unit unit = units[k];
            unit.place += int32_t(place);
            to[count] = unit;
            count += unit.upper != 0 || unit.lower != 0;
        }
        return count;
    }

    // Sorts the units of a slot by which of the four factors comes first.
    static void sort(Unit* units, int32_t* counts, Unit* sorted) {
        const int32_t all = counts[0];
        int32_t ends[4] = {};
        for (int32_t k = 0; k < all; ++k) ++ends[units[k].place & 3];
        for (int first = 0; first < 4; ++first) counts[first] = ends[first];
        for (int first = 0, total = 0; first < 4; ++first) total += ends[first], ends[first] = total - ends[first];
        for (int32_t k = 0; k < all; ++k) {
            Unit& to = sorted[ends[units[k].place & 3]++] = units[k];
            to.place &= ~3;
        }
        std::memcpy(units, sorted, sizeof(Unit) * all);
    }

    void inputs_back(const TorchdauDirectTensors* t, int64_t bound) {
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, false};
        const Tiles tiles(d_.images, d_.y.pixels, d_.x.pixels, d_.inputs * d_.units, AROUND, false);
        const Window window = strided(tiles, bound, {d_.y.padding, d_.x.padding});
        sum(pass, tiles, window, t ? Sums{t->grad_output, t->grad_input, nullptr, bound} : Sums{}, t);
    }

    // The gradient of blurred images, with all pixels that units can read, and the Gaussian of it.
    void inputs_back_in_steps(const TorchdauDirectTensors* t, int64_t bound) {
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
            const Tiles tiles(images, high, wide, d_.inputs * d_.units, AROUND, true);
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
    void units_back(const TorchdauDirectTensors* t, int64_t bound) {
        const Tiles tiles(d_.images, d_.y.outputs, d_.x.outputs, 3 * d_.outputs * d_.units, AROUND, false, TALL_GRADIENT);
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
                    const int64_t first = ((group * d_.outputs + o) * d_.inputs + i) * d_.units;
                    with_rows<TALL_GRADIENT>(tiles.tall, [&](auto rows) {
                        constexpr int TALL = decltype(rows)::value;
                        const auto add = stride_ == 1 ? (d_.exact ? add_products<TALL, 1, true> : add_products<TALL, 1, false>)
                                                      : (d_.exact ? add_products<TALL, 2, true> : add_products<TALL, 2, false>);
                        add(t->displacement + 2 * first, d_.units, bound, r.windows, window, gradient, r.sums + o * d_.units * SUMS * LANES);
                    });
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
