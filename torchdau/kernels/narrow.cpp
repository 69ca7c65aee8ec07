// Layers with few input channels in a group, depthwise ones for one, whose units share one sigma: both passes
// (docs/algorithms.md).
//
// Everything is linear and the same everywhere, so the Gaussian comes once per output channel, after the units:
//
//     z = sum over inputs and units of weight * (bilinear shift of the image),  output = Gaussian of z
//
// where z has a margin of the Gaussian's radius around the outputs. For the gradients the Gaussian goes over the output's
// gradient first: the input's is the same sum of shifts back, and a unit's is the sum of products with the shifted image.
// Rows of images are vectors; a stride is left out at the end, and filled with zeros at the beginning of the way back.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "memory.h"
#include "parallel.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

// The arguments, as torchdau/algorithms/narrow.py fills them in.
extern "C" {

struct TorchdauNarrowAxis {
    int32_t pixels, outputs, stride, padding;
};

struct TorchdauNarrow {
    int64_t images, groups, inputs, outputs, units;  // inputs and outputs of one group
    TorchdauNarrowAxis y, x;
    int32_t bound;   // of the displacements, in whole pixels
    int32_t radius;  // of the sampled Gaussian
    int32_t exact;   // gradient of displacements
    int32_t threads;
    ParallelFor parallel_for;
};

struct TorchdauNarrowTensors {
    const float *input, *weight, *displacement, *sigma, *bias, *grad_output;
    float *output, *grad_input, *grad_weight, *grad_displacement;
};
}

namespace {

constexpr int TALL = 8;  // rows that are accumulated in registers

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// One axis: outputs at the resolution of the input, and with the Gaussian's margin.
struct Axis {
    int64_t pixels, outputs, stride, straight, spread, first;

    Axis(const TorchdauNarrowAxis& a, int radius)
        : pixels(a.pixels),
          outputs(a.outputs),
          stride(a.stride),
          straight(int64_t(a.outputs - 1) * a.stride + 1),
          spread(straight + 2 * radius),
          first(-a.padding - radius) {}  // position of the margin's first pixel in the image
};

// Rows in memory: `line` numbers apart.
struct Plane {
    float* begin;
    int64_t line, size = 0;  // numbers to the next plane, where there are several

    float* row(int64_t y) const { return begin + y * line; }
};

// A unit as it is added up: where its upper left pixel lies, and the factors of its four pixels.
struct Unit {
    int64_t place;
    float ratio, upper, lower;  // the right pixel's factor by the left one's, and the factors of rows with the left one's
};

// A displacement along one axis: whole pixels below it, and what is beyond them, less than 1. Not a number is beyond 0.
struct Place {
    int64_t pixel;
    float beyond;

    explicit Place(float mu) : pixel(mu == mu ? int64_t(std::floor(mu)) : 0), beyond(mu - pixel) {
        if (beyond >= 1) ++pixel, beyond = 0;  // rounded up
    }
};

class Narrow {
   public:
    Narrow(const TorchdauNarrow& d, void* workspace)
        : d_(d),
          y_(d.y, d.radius),
          x_(d.x, d.radius),
          r_(d.radius),
          wide_(up(x_.spread, LANES)),
          memory_(workspace),
          threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauNarrowTensors* tensors) {
        make_gaussian();
        const int64_t room = room_forward();
        float* rooms = memory_.floats(room * d_.threads);
        if (!tensors) return memory_.used();
        const TorchdauNarrowTensors& t = *tensors;
        fill_gaussian(t.sigma[0]);
        std::memset(rooms, 0, sizeof(float) * room * d_.threads);
        const int64_t few = d_.images * d_.groups, wanted = (4 * d_.threads + few - 1) / few;  // enough for all threads
        const int64_t each = (d_.outputs + wanted - 1) / wanted, blocks = (d_.outputs + each - 1) / each;
        run(few * blocks, [&](int64_t job, int64_t thread) {
            Memory memory(rooms + thread * room);
            const Plane image = source(memory, d_.inputs), sums = spread(memory), rows{memory.floats(y_.spread * wide_), wide_};
            const int64_t all = d_.inputs * d_.units, number = job / blocks, group = number % d_.groups;
            Unit* units = reinterpret_cast<Unit*>(memory.floats(all * sizeof(Unit) / sizeof(float)));
            for (int64_t i = 0; i < d_.inputs; ++i) read(input(t, number, i), at(image, i));
            for (int64_t o = job % blocks * each; o < d_.outputs && o < (job % blocks + 1) * each; ++o) {
                const int64_t filter = group * d_.outputs + o;
                int64_t some = 0;
                for (int64_t k = 0; k < all; ++k) {
                    Unit& unit = units[some] = forth(t, filter * all + k, image.line);
                    unit.place += k / d_.units * image.size;
                    some += unit.upper != 0 || unit.lower != 0;  // others add nothing
                }
                add_up(units, some, image, sums, y_.spread, x_.spread, false);
                blur(sums, rows, t.bias ? t.bias[filter] : 0, t.output + (number * d_.outputs + o) * y_.outputs * x_.outputs);
            }
        });
        return memory_.used();
    }

    int64_t backward(const TorchdauNarrowTensors* tensors) {
        make_gaussian();
        const int64_t room = room_backward();
        float* rooms = memory_.floats(room * d_.threads);
        if (!tensors) return memory_.used();
        const TorchdauNarrowTensors& t = *tensors;
        fill_gaussian(t.sigma[0]);
        std::memset(rooms, 0, sizeof(float) * room * d_.threads);
        if (t.grad_weight)
            run(d_.groups * d_.outputs, [&](int64_t filter, int64_t thread) { filter_back(t, filter, rooms + thread * room); });
        if (t.grad_input)
            run(d_.images * d_.groups, [&](int64_t number, int64_t thread) { inputs_back(t, number, rooms + thread * room); });
        return memory_.used();
    }

   private:
    // Calls job(number, thread) for every number below `jobs`. Threads take several at a time, which are neighbours in
    // memory: jobs are small, and write to the same lines of the cache.
    template <class Job>
    void run(int64_t jobs, Job job) const {
        const int64_t each = jobs / (8 * d_.threads) + 1;
        threads_.run((jobs + each - 1) / each, [&](int64_t part, int64_t thread) {
            for (int64_t number = part * each; number < jobs && number < (part + 1) * each; ++number) job(number, thread);
        });
    }

    void make_gaussian() {
        gauss_ = memory_.floats(r_ + 1);
        slope_ = memory_.floats(r_ + 1);
    }

    // The Gaussian at 0..r, and the derivative in its position (equation 16).
    void fill_gaussian(float sigma) {
        double total = 0;
        for (int64_t j = -r_; j <= r_; ++j) total += std::exp(-0.5 * double(j * j) / (double(sigma) * sigma));
        for (int64_t j = 0; j <= r_; ++j) {
            const double value = std::exp(-0.5 * double(j * j) / (double(sigma) * sigma)) / total;
            gauss_[j] = float(value);
            slope_[j] = float(value * double(j) / (double(sigma) * sigma));
        }
    }

    static Plane at(const Plane& planes, int64_t number) { return {planes.begin + number * planes.size, planes.line}; }

    // An input channel of a group; `number` counts images and groups.
    const float* input(const TorchdauNarrowTensors& t, int64_t number, int64_t i) const {
        return t.input + (number * d_.inputs + i) * y_.pixels * x_.pixels;
    }

    // Images with all that units read around them; numbers that were zero stay so.
    Plane source(Memory& memory, int64_t count) const {
        const int64_t line = wide_ + 2 * d_.bound + 2, size = up((up(y_.spread, TALL) + 2 * d_.bound + 2) * line + LANES, LANES);
        return {memory.floats(size * count), line, size};
    }

    // The outputs with the Gaussian's margin, at the resolution of the input.
    Plane spread(Memory& memory) const {
        const int64_t line = wide_ + LANES;
        return {memory.floats(up(y_.spread, TALL) * line + LANES), line};
    }

    int64_t room_forward() const {
        Memory memory(nullptr);
        source(memory, d_.inputs), spread(memory), memory.floats(y_.spread * wide_);
        memory.floats(d_.inputs * d_.units * sizeof(Unit) / sizeof(float));
        return memory.used() / sizeof(float);
    }

    void read(const float* image, const Plane& target) const {
        const int64_t top = y_.first - d_.bound, left = x_.first - d_.bound;
        const int64_t begin = left < 0 ? 0 : left, most = left + target.line, end = x_.pixels < most ? x_.pixels : most;
        const int64_t rows = up(y_.spread, TALL) + 2 * d_.bound + 2;
        for (int64_t y = top < 0 ? 0 : top; y < y_.pixels && y - top < rows && begin < end; ++y)
            copy(target.row(y - top) + begin - left, image + y * x_.pixels + begin, end - begin);
    }

    // A unit that reads the image where it stands.
    Unit forth(const TorchdauNarrowTensors& t, int64_t unit, int64_t line) const {
        const Place y(t.displacement[2 * unit]), x(t.displacement[2 * unit + 1]);
        const float a = y.beyond, b = x.beyond, w = t.weight[unit] * (1 - b);
        return {(y.pixel + d_.bound) * line + x.pixel + d_.bound, b / (1 - b), w * (1 - a), w * a};
    }

    // The same unit on the way back, from the outputs with their margin to the input.
    Unit back(const TorchdauNarrowTensors& t, int64_t unit, int64_t line) const {
        const Place y(t.displacement[2 * unit]), x(t.displacement[2 * unit + 1]);
        const float a = y.beyond, b = x.beyond, w = t.weight[unit] * (b == 0 ? 1 : b);
        return {(d_.bound - y.pixel) * line + d_.bound - x.pixel + (b == 0), b == 0 ? 0 : (1 - b) / b, w * a, w * (1 - a)};
    }

    // Rows and columns of a sum of units; `more` adds to what is there.
    void add_up(const Unit* units, int64_t count, const Plane& source, const Plane& target, int64_t rows, int64_t columns, bool more) const {
        for (int64_t x = 0; x < columns; x += LANES)
            for (int64_t y = 0; y < rows; y += TALL) {
                Vector totals[TALL];
                for (int row = 0; row < TALL; ++row) totals[row] = more ? load(target.row(y + row) + x) : Vector{};
                for (int64_t k = 0; k < count; ++k) {
                    const float* pixels = source.row(y) + units[k].place + x;
                    const float ratio = units[k].ratio, upper = units[k].upper, lower = units[k].lower;
                    Vector above = load(pixels) + load(pixels + 1) * ratio;
#pragma GCC unroll 8
                    for (int row = 0; row < TALL; ++row) {
                        pixels += source.line;
                        const Vector below = load(pixels) + load(pixels + 1) * ratio;
                        totals[row] += above * upper + below * lower;
                        above = below;
                    }
                }
                for (int row = 0; row < TALL; ++row) store(target.row(y + row) + x, totals[row]);
            }
    }

    Vector blurred(const float* centre, int64_t step) const {
        Vector total = load(centre) * gauss_[0];
        for (int64_t j = 1; j <= r_; ++j) total += (load(centre - j * step) + load(centre + j * step)) * gauss_[j];
        return total;
    }

    Vector sloped(const float* centre, int64_t step) const {
        Vector total{};
        for (int64_t j = 1; j <= r_; ++j) total += (load(centre - j * step) - load(centre + j * step)) * slope_[j];
        return total;
    }

    // The Gaussian along x into `rows`, then along y into the output, of which a stride leaves out rows and columns.
    void blur(const Plane& sums, const Plane& rows, float bias, float* output) const {
        for (int64_t y = 0; y < y_.spread; ++y)
            for (int64_t x = 0; x < x_.straight; x += LANES) store(rows.row(y) + x, blurred(sums.row(y) + r_ + x, 1));
        for (int64_t y = 0; y < y_.outputs; ++y)
            for (int64_t x = 0; x < x_.straight; x += LANES) {
                const Vector total = blurred(rows.row(y * y_.stride + r_) + x, rows.line) + bias;
                float* to = output + y * x_.outputs;
                if (x_.stride == 1 && x + LANES <= x_.outputs) {
                    store(to + x, total);
                } else if (x_.stride == 1) {
                    store_some(to + x, total, x_.outputs - x);
                } else {
                    for (int64_t lane = (x_.stride - x % x_.stride) % x_.stride; lane < LANES && x + lane < x_.straight; lane += x_.stride)
                        to[(x + lane) / x_.stride] = total[lane];
                }
            }
    }

    // What a thread needs on the way back.
    struct Room {
        Plane image, along, slope_along, even, slope_y, slope_x, padded, out;
        float* row;
        Unit* units;
        double* sums;
    };

    Room room(Memory& memory) const {
        Room room;
        room.image = source(memory, 1);
        const int64_t tall = y_.spread + 2 * r_;
        for (Plane* plane : {&room.along, &room.slope_along}) *plane = {memory.floats(tall * wide_), wide_};
        for (Plane* plane : {&room.even, &room.slope_y, &room.slope_x}) *plane = {memory.floats(y_.spread * wide_), wide_};
        const int64_t line = up(x_.pixels, LANES) + 2 * d_.bound + 3, high = up(y_.pixels, TALL) + 2 * d_.bound + 2;
        room.padded = {memory.floats(high * line + LANES), line};
        const int64_t width = up(x_.pixels, LANES), size = up(y_.pixels, TALL) * width;
        room.out = {memory.floats(size * d_.inputs), width, size};
        room.row = memory.floats(wide_ + 2 * r_ + 2 * LANES);
        room.units = reinterpret_cast<Unit*>(memory.floats(d_.units * sizeof(Unit) / sizeof(float)));
        room.sums = reinterpret_cast<double*>(memory.floats(2 * 3 * d_.inputs * d_.units));
        return room;
    }

    int64_t room_backward() const {
        Memory memory(nullptr);
        room(memory);
        return memory.used() / sizeof(float);
    }

    const float* gradient(const TorchdauNarrowTensors& t, int64_t number, int64_t o) const {
        return t.grad_output + (number * d_.outputs + o) * y_.outputs * x_.outputs;
    }

    // Gradients of the units of an output channel.
    void filter_back(const TorchdauNarrowTensors& t, int64_t filter, float* block) const {
        Memory memory(block);
        const Room room = this->room(memory);
        const int64_t all = d_.inputs * d_.units, group = filter / d_.outputs;
        for (int64_t k = 0; k < 3 * all; ++k) room.sums[k] = 0;
        for (int64_t n = 0; n < d_.images; ++n) {
            const int64_t number = n * d_.groups + group;
            spread_gradient(gradient(t, number, filter % d_.outputs), room, !d_.exact);
            for (int64_t i = 0; i < d_.inputs; ++i) {
                read(input(t, number, i), room.image);
                for (int64_t k = i * d_.units; k < (i + 1) * d_.units; ++k) {
                    if (d_.exact)
                        unit_sums<true>(t, filter * all + k, room, room.sums + 3 * k);
                    else
                        unit_sums<false>(t, filter * all + k, room, room.sums + 3 * k);
                }
            }
        }
        for (int64_t k = 0; k < all; ++k) {
            const int64_t unit = filter * all + k;
            t.grad_weight[unit] = float(room.sums[3 * k]);
            for (int axis = 0; axis < 2; ++axis) t.grad_displacement[2 * unit + axis] = float(t.weight[unit] * room.sums[3 * k + 1 + axis]);
        }
    }

    // Gradients of the input channels of a group of an image.
    void inputs_back(const TorchdauNarrowTensors& t, int64_t number, float* block) const {
        Memory memory(block);
        const Room room = this->room(memory);
        for (int64_t o = 0; o < d_.outputs; ++o) {
            spread_gradient(gradient(t, number, o), room, false);
            pad(room);
            for (int64_t i = 0; i < d_.inputs; ++i) {
                const int64_t first = ((number % d_.groups * d_.outputs + o) * d_.inputs + i) * d_.units;
                int64_t some = 0;
                for (int64_t k = 0; k < d_.units; ++k) {
                    const Unit& unit = room.units[some] = back(t, first + k, room.padded.line);
                    some += unit.upper != 0 || unit.lower != 0;
                }
                add_up(room.units, some, room.padded, at(room.out, i), y_.pixels, x_.pixels, o > 0);
            }
        }
        for (int64_t i = 0; i < d_.inputs; ++i)
            for (int64_t y = 0; y < y_.pixels; ++y) {
                float* to = t.grad_input + ((number * d_.inputs + i) * y_.pixels + y) * x_.pixels;
                const float* from = at(room.out, i).row(y);
                int64_t x = 0;
                for (; x + LANES <= x_.pixels; x += LANES) store(to + x, load(from + x));
                store_some(to + x, load(from + x), x_.pixels - x);
            }
    }

    // The Gaussian of the output's gradient with its margin and, for the smooth gradient, its derivatives along y and x.
    void spread_gradient(const float* grad, const Room& room, bool slopes) const {
        for (int64_t y = 0; y < y_.outputs; ++y) {
            if (x_.stride == 1)
                copy(room.row + 2 * r_, grad + y * x_.outputs, x_.outputs);
            else
                for (int64_t x = 0; x < x_.outputs; ++x) room.row[2 * r_ + x * x_.stride] = grad[y * x_.outputs + x];
            const int64_t to = 2 * r_ + y * y_.stride;
            for (int64_t x = 0; x < wide_; x += LANES) {
                store(room.along.row(to) + x, blurred(room.row + r_ + x, 1));
                if (slopes) store(room.slope_along.row(to) + x, sloped(room.row + r_ + x, 1));
            }
        }
        for (int64_t x = 0; x < wide_; x += LANES)
            for (int64_t y = 0; y < y_.spread; ++y) {
                const float* centre = room.along.row(y + r_) + x;
                store(room.even.row(y) + x, blurred(centre, wide_));
                if (!slopes) continue;
                store(room.slope_y.row(y) + x, sloped(centre, wide_));
                store(room.slope_x.row(y) + x, blurred(room.slope_along.row(y + r_) + x, wide_));
            }
    }

    // The spread gradient with all that units read around it on the way back.
    void pad(const Room& room) const {
        const int64_t left = x_.first + d_.bound + 1, top = y_.first + d_.bound + 1;
        const int64_t begin = left < 0 ? -left : 0, most = room.padded.line - left, end = x_.spread < most ? x_.spread : most;
        const int64_t high = up(y_.pixels, TALL) + 2 * d_.bound + 2;
        for (int64_t y = top < 0 ? -top : 0; y < y_.spread && y + top < high && begin < end; ++y)
            copy(room.padded.row(y + top) + left + begin, room.even.row(y) + begin, end - begin);
    }

    // Adds the sums that give a unit's gradients: of its weight, and along y and x of its displacement, by its weight.
    template <bool EXACT>
    void unit_sums(const TorchdauNarrowTensors& t, int64_t unit, const Room& room, double* sums) const {
        const Place y(t.displacement[2 * unit]), x(t.displacement[2 * unit + 1]);
        const float a = y.beyond, b = x.beyond;
        const float* source = room.image.row(y.pixel + d_.bound) + x.pixel + d_.bound;
        Vector value{}, along_y{}, along_x{};
        for (int64_t c = 0; c < wide_; c += LANES) {
            const float* pixels = source + c;
            Vector left = load(pixels), right = load(pixels + 1), above = left * (1 - b) + right * b, step = right - left;
            for (int64_t row = 0; row < y_.spread; ++row) {
                pixels += room.image.line;
                left = load(pixels), right = load(pixels + 1);
                const Vector below = left * (1 - b) + right * b, even = load(room.even.row(row) + c);
                const Vector shifted = above * (1 - a) + below * a;
                value += shifted * even;
                if constexpr (EXACT) {
                    along_y += (below - above) * even;
                    along_x += (step * (1 - a) + (right - left) * a) * even;
                    step = right - left;
                } else {
                    along_y += shifted * load(room.slope_y.row(row) + c);
                    along_x += shifted * load(room.slope_x.row(row) + c);
                }
                above = below;
            }
        }
        sums[0] += sum(value), sums[1] += sum(along_y), sums[2] += sum(along_x);
    }

    const TorchdauNarrow& d_;
    const Axis y_, x_;
    const int64_t r_, wide_;
    Memory memory_;
    Threads threads_;
    float *gauss_, *slope_;
};

}  // namespace

extern "C" {

// Return the bytes of workspace, at the start of a cache line, that they need; without tensors they do nothing else.
EXPORT int64_t torchdau_narrow_forward(const TorchdauNarrow* layer, const TorchdauNarrowTensors* tensors, void* workspace) {
    return Narrow(*layer, workspace).forward(tensors);
}

EXPORT int64_t torchdau_narrow_backward(const TorchdauNarrow* layer, const TorchdauNarrowTensors* tensors, void* workspace) {
    return Narrow(*layer, workspace).backward(tensors);
}
}
