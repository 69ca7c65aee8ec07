// The direct algorithm: the forward pass of a layer whose units share one sigma, unit by unit on blurred images
// (docs/algorithms.md). Its time falls with every unit, and it has no transforms to pay for: best for one small image.
//
// Lanes are pixels of a row. A unit reads its pixels between two columns and two rows: each row is interpolated along x once,
// t = x0 + r x1, and used for the row of outputs above and below: 3 multiply-adds per unit and pixel.
#include <cmath>
#include <algorithm>
#include <cstdint>

#include "direct.h"
#include "gaussian.h"
#include "memory.h"
#include "parallel.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TALL = 14;  // rows of outputs that are accumulated in registers
#else
constexpr int TALL = 8;
#endif
constexpr int64_t OUTPUTS = 32;  // channels of a job
constexpr int64_t UNITS = 16;    // of an output channel that are read together: their images fit into the first cache

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Units as the innermost loop reads them: where the left and the right column begin, relative to an output's own place, the
// weight of the right one divided by that of the left one, and the factors of the upper and lower row.
struct Units {
    int32_t left[UNITS], right[UNITS];
    float ratio[UNITS], upper[UNITS], lower[UNITS];
};

// Blurred images with a margin: every position that a unit reads. Columns lie by their remainder of the stride, so that the
// pixels that neighbouring outputs read are neighbours.
struct Plane {
    int first_y, first_x;  // position of the first row and column
    int64_t rows, columns, phases, line;

    Plane(const TorchdauDirect& d)
        : first_y(-d.y.padding - d.bound),
          first_x(-d.x.padding - d.bound),
          rows((d.y.outputs - 1) * d.y.stride + 2 * d.bound + 2),
          columns((d.x.outputs - 1) * d.x.stride + 2 * d.bound + 2),
          phases(d.x.stride),
          line(up(columns, phases)) {}

    int64_t row() const { return phases * line; }
    int64_t size() const { return up(rows * row() + 2 * LANES, LANES) * LANES; }  // the last row's vectors reach beyond it
    // Where column `x` of a row is, counted from first_x.
    int64_t column(int64_t x) const { return x % phases * line + x / phases; }
};

template <int COUNT>
void add_unit(const Units& units, int64_t unit, const float* plane, int64_t row, Vector (&total)[COUNT]) {
    const float* left = plane + units.left[unit];
    const float ratio = units.ratio[unit], upper = units.upper[unit], lower = units.lower[unit];
    auto between = [&] {
        const Vector pixels = load(left);
        return pixels + next_lanes(pixels) * ratio;
    };
    Vector above = between();
#pragma GCC unroll 14
    for (int r = 0; r < COUNT; ++r) {
        left += row;
        const Vector below = between();
        total[r] += above * upper;
        total[r] += below * lower;
        above = below;
    }
}

// The same for strides other than 1: no row serves two outputs, and the two columns are apart.
template <int COUNT>
void add_unit_in_steps(const Units& units, int64_t unit, const float* plane, int64_t row, int64_t step, Vector (&total)[COUNT]) {
    const float *left = plane + units.left[unit], *right = plane + units.right[unit];
    const float ratio = units.ratio[unit], upper = units.upper[unit], lower = units.lower[unit];
#pragma GCC unroll 14
    for (int r = 0; r < COUNT; ++r, left += step, right += step) {
        total[r] += (load(left) + load(right) * ratio) * upper;
        total[r] += (load(left + row) + load(right + row) * ratio) * lower;
    }
}

// Adds `count` units to COUNT rows of outputs of one vector, whose pixels are `step` numbers apart in images with rows of `row`.
template <int COUNT, bool STEPS>
void add_units(const Units& units, int64_t count, const float* planes, int64_t row, int64_t step, float* totals) {
    Vector total[COUNT];
#pragma GCC unroll 14
    for (int r = 0; r < COUNT; ++r) total[r] = load(totals + r * LANES);
    for (int64_t unit = 0; unit < count; ++unit)
        if constexpr (STEPS) add_unit_in_steps<COUNT>(units, unit, planes, row, step, total);
        else add_unit<COUNT>(units, unit, planes, row, total);
#pragma GCC unroll 14
    for (int r = 0; r < COUNT; ++r) store(totals + r * LANES, total[r]);
}

typedef void (*AddUnits)(const Units&, int64_t, const float*, int64_t, int64_t, float*);
template <bool STEPS, int... COUNT>
AddUnits add_units_to(int64_t rows, std::integer_sequence<int, COUNT...>) {
    static constexpr AddUnits functions[] = {add_units<COUNT + 1, STEPS>...};
    return functions[rows - 1];
}

class Direct {
   public:
    Direct(const TorchdauDirect& d, void* workspace)
        : d_(d), plane_(d), memory_(workspace), threads_{d.parallel_for, d.threads}, gauss_(d.radius, memory_) {
        columns_ = reinterpret_cast<int32_t*>(memory_.floats(2 * d.bound + 2));
        planes_ = memory_.floats(d.planes * d.groups * d.inputs * plane_.size());
        line_ = width() + 2 * d.radius + LANES;
        slab_ = up(std::max<int64_t>((plane_.rows + 2 * d.radius) * line_ + LANES, TALL * OUTPUTS * LANES), 64) * 64;
        slabs_ = memory_.floats(slab_ * d.threads);
    }

    int64_t forward(const TorchdauDirectTensors* t) {
        if (!t) return memory_.used();
        gauss_.fill(*t->sigma);
        for (int x = 0; x < 2 * d_.bound + 2; ++x) columns_[x] = int32_t(plane_.column(x));
        want_large_pages(t->output, d_.images * d_.groups * d_.outputs * d_.y.outputs * d_.x.outputs * int64_t(sizeof(float)));
        for (int64_t first = 0; first < d_.images; first += d_.planes) {
            const int64_t images = least(d_.planes, d_.images - first);
            const int64_t channels = d_.groups * d_.inputs;
            threads_.run(images * channels, [&](int64_t job, int64_t thread) {
                blur(t->input + (first * channels + job) * d_.y.pixels * d_.x.pixels, planes_ + job * plane_.size(), slabs_ + thread * slab_);
            });
            const int64_t tiles_y = up(d_.y.outputs, TALL), tiles_x = up(d_.x.outputs, columns()), blocks = up(d_.outputs, OUTPUTS);
            threads_.run(images * d_.groups * blocks * tiles_y * tiles_x, [&](int64_t job, int64_t thread) {
                const int64_t tx = job % tiles_x, ty = job / tiles_x % tiles_y, rest = job / tiles_x / tiles_y;
                const int64_t block = rest % blocks, group = rest / blocks % d_.groups, image = rest / blocks / d_.groups;
                const int64_t tall = up(d_.y.outputs, tiles_y), y = least(ty * tall, d_.y.outputs);
                if (y < d_.y.outputs)
                    tile(*t, first, image, group, block * OUTPUTS, y, least(tall, d_.y.outputs - y), tx * columns(), slabs_ + thread * slab_);
            });
        }
        return memory_.used();
    }

   private:
    // Columns of outputs of a tile: where neighbouring columns are neighbouring lanes, the last lane has no neighbour.
    int64_t columns() const { return plane_.phases == 1 && d_.y.stride == 1 ? LANES - 1 : LANES; }

    int64_t width() const { return up(plane_.columns, LANES) * LANES; }

    // Reads `count` units, whose images are at `planes`, and returns how many of them add anything.
    int64_t read(const float* weight, const float* displacement, const int32_t* planes, int64_t count, Units& units) const {
        if (count < UNITS) return read_units(weight, displacement, planes, count, units);
        return read_units(weight, displacement, planes, UNITS, units);  // a number that the compiler knows
    }

    inline __attribute__((always_inline)) int64_t read_units(const float* weight, const float* displacement, const int32_t* planes, int64_t count, Units& units) const {
        const int32_t step = int32_t(plane_.row()), bound = d_.bound;
        int none = 0;
#pragma GCC ivdep
        for (int64_t i = 0; i < count; ++i) {
            const float y = displacement[2 * i], x = displacement[2 * i + 1];
            const bool good = y == y && x == x;  // else its outputs become NaN, through the factors
            const float floor_y = good ? std::floor(y) : 0, floor_x = good ? std::floor(x) : 0;
            const float a = y - floor_y, b = x - floor_x;
            const float left = 1 - (b < 1 - 0x1p-24f ? b : 1 - 0x1p-24f);  // above 0: it is a divisor
            units.ratio[i] = b / left;
            units.upper[i] = weight[i] * left * (1 - a);
            units.lower[i] = weight[i] * left * a;
            units.left[i] = planes[i] + (int32_t(floor_y) + bound) * step;
            units.right[i] = int32_t(floor_x) + bound;
            none += units.upper[i] == 0 && units.lower[i] == 0;
        }
        if (plane_.phases == 1)
            for (int64_t i = 0; i < count; ++i) units.left[i] += units.right[i], units.right[i] = units.left[i] + 1;
        else
            for (int64_t i = 0; i < count; ++i) {
                const int32_t x = units.right[i];
                units.right[i] = units.left[i] + columns_[x + 1];
                units.left[i] += columns_[x];
            }
        return none ? without_none(count, units) : count;
    }

    // Moves units that add something to the front, and returns their number.
    static int64_t without_none(int64_t count, Units& units) {
        int64_t some = 0;
        for (int64_t i = 0; i < count; ++i) {
            units.left[some] = units.left[i], units.right[some] = units.right[i], units.ratio[some] = units.ratio[i];
            units.upper[some] = units.upper[i], units.lower[some] = units.lower[i];
            some += units.upper[i] != 0 || units.lower[i] != 0;
        }
        return some;
    }

    // The Gaussian along x, then along y.
    void blur(const float* image, float* plane, float* room) const {
        const int64_t r = d_.radius, h = d_.y.pixels, w = d_.x.pixels, all = plane_.rows + 2 * r;
        const int64_t top = plane_.first_y - r, left = plane_.first_x - r;  // position of the first line and of its first number
        const int64_t begin = left < 0 ? 0 : left, end = least(w, left + line_);
        std::memset(room, 0, sizeof(float) * (all * line_ + LANES));
        const int64_t first = top < 0 ? least(-top, all) : 0, last = least(all, h - top);  // of the lines within the image
        for (int64_t y = first; y < last && begin < end; ++y)
            std::memcpy(room + y * line_ + begin - left, image + (top + y) * w + begin, sizeof(float) * (end - begin));
        const Unsmoothed<1> lines{room, line_, first, last};
        smooth(gauss_, lines, plane_.rows, width(), [=, p = plane_](int64_t y, int64_t x, Vector total) {
            float* to = plane + y * p.row();
            if (p.phases == 1) return store_within(to + x, total, p.line - x);
            for (int64_t lane = 0; lane < LANES && x + lane < p.columns; ++lane) to[(x + lane) % p.phases * p.line + (x + lane) / p.phases] = total[lane];
        });
    }

    // A tile of outputs: some channels, `rows` rows from y on, and the columns of a vector from x on.
    void tile(const TorchdauDirectTensors& t, int64_t first, int64_t image, int64_t group, int64_t output, int64_t y, int64_t rows, int64_t x, float* totals) const {
        const int64_t some = least(OUTPUTS, d_.outputs - output), k = d_.units;
        const std::make_integer_sequence<int, TALL> counts;
        const int64_t row = plane_.row(), step = d_.y.stride * row;
        const AddUnits add = step == plane_.line ? add_units_to<false>(rows, counts) : add_units_to<true>(rows, counts);
        for (int64_t o = 0; o < some; ++o)
            for (int64_t v = 0; v < rows * LANES; ++v) totals[o * TALL * LANES + v] = t.bias ? t.bias[group * d_.outputs + output + o] : 0;
        const float* planes = planes_ + (image * d_.groups + group) * d_.inputs * plane_.size() + y * step + x;
        for (int64_t first = 0, all = d_.inputs * k; first < all; first += UNITS) {
            const int64_t count = least(UNITS, all - first), input = first / k;
            int32_t places[UNITS];
            for (int64_t i = 0; i < count; ++i) places[i] = int32_t(((first + i) / k - input) * plane_.size());
            for (int64_t o = 0; o < some; ++o) {
                const int64_t unit = (group * d_.outputs + output + o) * all + first;
                Units units;
                const int64_t here = read(t.weight + unit, t.displacement + 2 * unit, places, count, units);
                add(units, here, planes + input * plane_.size(), row, step, totals + o * TALL * LANES);
            }
        }
        const int64_t columns = least(this->columns(), d_.x.outputs - x);
        float* out = t.output + (((first + image) * d_.groups + group) * d_.outputs + output) * d_.y.outputs * d_.x.outputs;
        for (int64_t o = 0; o < some; ++o)
            for (int64_t r = 0; r < rows; ++r)
                std::memcpy(out + (o * d_.y.outputs + y + r) * d_.x.outputs + x, totals + (o * TALL + r) * LANES, sizeof(float) * columns);
    }

    const TorchdauDirect& d_;
    const Plane plane_;
    Memory memory_;
    Threads threads_;
    const Gaussian gauss_;
    float *planes_, *slabs_;
    int32_t* columns_;  // of what a unit reads, relative to an output's own place
    int64_t slab_, line_;
};

}  // namespace

extern "C" {

// Returns the bytes of workspace, at the start of a cache line, that it needs; without tensors it does nothing else.
EXPORT int64_t torchdau_blurred_forward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return Direct(*layer, workspace).forward(tensors);
}
}
