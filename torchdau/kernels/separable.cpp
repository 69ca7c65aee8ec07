// The direct algorithm for few input channels in a group where units do not share a Gaussian: a sigma each, or the Gaussian
// form (docs/algorithms.md).
//
// A unit is a row of weights along each axis: images are multiplied with that of x, then with that of y. The input's gradient
// is the same with outputs and inputs exchanged and both rows turned around. For the gradients of units, the rows of the
// output's gradient are multiplied with images that went along x: sums for each weight along y, which give all of them.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "memory.h"
#include "parallel.h"
#include "taps.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

constexpr int TALL = 8;  // rows of outputs whose sums stay in registers
constexpr int HIGH = 4;  // rows after x

class Separable {
   public:
    Separable(const TorchdauDirect& d, void* workspace)
        : d_(d),
          form_{bool(d.gaussian), bool(d.exact), d.bound, d.radius},
          taps_(form_.taps()),
          margin_(form_.reach() + 1),
          units_(d.groups * d.outputs * d.inputs * d.units),
          memory_(workspace),
          weights_(memory_.floats(units_ * 2 * 3 * taps_)),
          firsts_(reinterpret_cast<int64_t*>(memory_.floats(units_ * 2 * 2))),
          threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauDirectTensors* tensors) {
        const Side in = inputs(), out = outputs();
        const Layout layout(*this, in, out, {d_.y.stride, d_.x.stride}, 1);
        const Rooms<Room, Layout> rooms(layout, memory_, d_.threads);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        prepare(t), rooms.clear();
        threads_.run_small(d_.images * d_.groups * d_.outputs, [&](int64_t number, int64_t thread) {
            const Room room = rooms.of(thread);
            const int64_t image = number / d_.outputs, filter = number % (d_.groups * d_.outputs);
            room.clear();
            for (int64_t i = 0; i < d_.inputs; ++i) {
                read(t.input + (image * d_.inputs + i) * in.size(), in, 1, 1, room);
                for (int64_t unit = (filter * d_.inputs + i) * d_.units, last = unit + d_.units; unit < last; ++unit) {
                    const Taps y = taps(unit, 0), x = taps(unit, 1);
                    add(room, y.value, x.value, y.first - d_.y.padding, x.first - d_.x.padding, t.weight[unit], out, {d_.y.stride, d_.x.stride});
                }
            }
            write(room, out, d_.x.stride, t.bias ? t.bias[filter] : 0, t.output + number * out.size());
        });
        return memory_.used();
    }

    int64_t backward(const TorchdauDirectTensors* tensors) {
        if (tensors) prepare(*tensors);
        const Memory begin = memory_;
        if (!tensors || tensors->grad_input) inputs_back(tensors);
        const int64_t most = memory_.used();
        memory_ = begin;
        if (!tensors || tensors->grad_weight) units_back(tensors);
        return std::max(most, memory_.used());
    }

   private:
    struct Side {
        int64_t high, wide;
        int64_t size() const { return high * wide; }
    };
    struct Steps {
        int64_t y, x;
    };
    Side inputs() const { return {d_.y.pixels, d_.x.pixels}; }
    Side outputs() const { return {d_.y.outputs, d_.x.outputs}; }

    // Images whose pixels are `apart`, and targets that read them every `steps`.
    struct Layout {
        const Separable& s;
        Side source, target;
        Steps steps;
        int64_t kinds;

        Layout(const Separable& s, Side source, Side target, Steps steps, int64_t kinds, Steps apart = {1, 1})
            : s(s), source{(source.high - 1) * apart.y + 1, (source.wide - 1) * apart.x + 1}, target(target), steps(steps), kinds(kinds) {}
    };

    // What a thread needs: an image with a margin of zeros, its rows after x, sums of outputs, and weights of a unit turned around.
    struct Room {
        int64_t top, left, line;  // of the plane: where the image begins, and numbers of a row
        int64_t wide, rows_size, sums_size;
        float *plane, *rows, *sums, *y, *x;

        Room(const Layout& l, Memory& memory) : top(l.s.before(l.s.d_.y.padding)), left(l.s.before(l.s.d_.x.padding)) {
            // targets read from -padding - margin to the last one's place + margin, and so many more in a vector
            const int64_t tall = rounded(l.target.high, TALL), high = (tall - 1) * l.steps.y + 1, after = l.s.after(l.s.d_.y.padding);
            wide = rounded((l.target.wide - 1) * l.steps.x + 1, LANES);
            line = std::max(l.source.wide, wide) + left + l.s.after(l.s.d_.x.padding) + LANES;
            rows_size = (high + l.s.taps_) * wide, sums_size = tall * wide;
            plane = memory.floats(line * (std::max(l.source.high, high) + top + after + 1));
            rows = memory.floats(l.kinds * rows_size), sums = memory.floats(sums_size);
            y = memory.floats(l.s.taps_), x = memory.floats(l.s.taps_);
        }

        void clear() const { std::memset(sums, 0, sizeof(float) * sums_size); }
    };

    static int64_t rounded(int64_t a, int64_t b) { return (a + b - 1) / b * b; }
    int64_t before(int64_t padding) const { return margin_ + std::abs(padding); }
    int64_t after(int64_t padding) const { return margin_ + std::abs(padding) + taps_; }

    // The weights of all units, once for all images.
    void prepare(const TorchdauDirectTensors& t) const {
        threads_.run_small(2 * units_, [&](int64_t number, int64_t) {
            Taps made = taps(number / 2, number % 2);
            made.fill(form_, t.displacement[number], d_.shared_sigma ? *t.sigma : t.sigma[number / 2]);
            firsts_[number] = made.first;
        });
    }

    Taps taps(int64_t unit, int axis) const {
        float* begin = weights_ + (2 * unit + axis) * 3 * taps_;
        return {begin, begin + taps_, begin + 2 * taps_, firsts_[2 * unit + axis]};
    }

    // An image into the plane, its pixels `apart_y` and `apart_x` from each other.
    static void read(const float* image, const Side& side, int64_t apart_y, int64_t apart_x, const Room& room) {
        for (int64_t y = 0; y < side.high; ++y) {
            float* to = room.plane + (y * apart_y + room.top) * room.line + room.left;
            const float* from = image + y * side.wide;
            if (apart_x == 1)
                std::memcpy(to, from, sizeof(float) * side.wide);
            else
                for (int64_t x = 0; x < side.wide; ++x) to[x * apart_x] = from[x];
        }
    }

    // Rows from `first_y` on, multiplied with weights along x, which begin at pixel `first_x`: with KINDS rows of weights, to as
    // many rows.
    template <int KINDS>
    void along_x(const Room& room, const float* const (&weights)[KINDS], int64_t first_y, int64_t first_x, int64_t count) const {
        const float* from = room.plane + (first_y + room.top) * room.line + first_x + room.left;
        for (int64_t y = 0; y < count; y += HIGH)
            for (int64_t x = 0; x < room.wide; x += LANES) {
                Vector totals[KINDS][HIGH] = {};
                for (int64_t t = 0; t < taps_; ++t)
#pragma GCC unroll 4
                    for (int row = 0; row < HIGH; ++row) {  // rows behind the last are read where the last one is
                        const Vector pixels = load(from + std::min(y + row, count - 1) * room.line + x + t);
#pragma GCC unroll 3
                        for (int kind = 0; kind < KINDS; ++kind) totals[kind][row] += pixels * weights[kind][t];
                    }
#pragma GCC unroll 3
                for (int kind = 0; kind < KINDS; ++kind)
                    for (int row = 0; row < HIGH && y + row < count; ++row) store(room.rows + kind * room.rows_size + (y + row) * room.wide + x, totals[kind][row]);
            }
    }

    // Adds a unit to the sums, whose first output reads from pixel (first_y, first_x) on.
    void add(const Room& room, const float* y_weights, const float* x_weights, int64_t first_y, int64_t first_x, float weight, const Side& target, Steps steps) const {
        if (weight == 0) return;
        along_x<1>(room, {x_weights}, first_y, first_x, (target.high - 1) * steps.y + taps_);
        for (int64_t y = 0; y < target.high; y += TALL)
            for (int64_t x = 0; x < room.wide; x += LANES) {
                float* sums = room.sums + y * room.wide + x;
                const float* rows = room.rows + y * steps.y * room.wide + x;
                Vector totals[TALL];
                for (int row = 0; row < TALL; ++row) totals[row] = load(sums + row * room.wide);
                for (int64_t t = 0; t < taps_; ++t) {
                    const float factor = weight * y_weights[t];
#pragma GCC unroll 8
                    for (int row = 0; row < TALL; ++row) {
                        const int64_t line = std::min<int64_t>(row, target.high - 1 - y) * steps.y + t;  // rows behind the last are not written
                        totals[row] += load(rows + line * room.wide) * factor;
                    }
                }
                for (int row = 0; row < TALL; ++row) store(sums + row * room.wide, totals[row]);
            }
    }

    static void write(const Room& room, const Side& target, int64_t step, float bias, float* output) {
        for (int64_t y = 0; y < target.high; ++y, output += target.wide)
            for (int64_t x = 0; x < target.wide; ++x) output[x] = room.sums[y * room.wide + x * step] + bias;
    }

    void inputs_back(const TorchdauDirectTensors* tensors) {
        const Side in = inputs(), out = outputs();
        const Layout layout(*this, out, in, {1, 1}, 1, {d_.y.stride, d_.x.stride});
        const Rooms<Room, Layout> rooms(layout, memory_, d_.threads);
        if (!tensors) return;
        const TorchdauDirectTensors& t = *tensors;
        rooms.clear();
        threads_.run_small(d_.images * d_.groups * d_.inputs, [&](int64_t number, int64_t thread) {
            const Room room = rooms.of(thread);
            const int64_t image = number / d_.inputs, group = image % d_.groups, i = number % d_.inputs;
            room.clear();
            for (int64_t o = 0; o < d_.outputs; ++o) {
                read(t.grad_output + (image * d_.outputs + o) * out.size(), out, d_.y.stride, d_.x.stride, room);
                for (int64_t k = 0; k < d_.units; ++k) {
                    const int64_t unit = ((group * d_.outputs + o) * d_.inputs + i) * d_.units + k;
                    const Taps y = taps(unit, 0), x = taps(unit, 1);
                    std::reverse_copy(y.value, y.value + taps_, room.y), std::reverse_copy(x.value, x.value + taps_, room.x);
                    add(room, room.y, room.x, d_.y.padding - y.first - taps_ + 1, d_.x.padding - x.first - taps_ + 1, t.weight[unit], in, {1, 1});
                }
            }
            write(room, in, 1, 0, t.grad_input + number * in.size());
        });
    }

    void units_back(const TorchdauDirectTensors* tensors) {
        const Side in = inputs(), out = outputs();
        const int64_t kinds = d_.shared_sigma ? 2 : 3;
        const auto unit_back = d_.shared_sigma ? &Separable::unit_back<2> : &Separable::unit_back<3>;
        const Layout layout(*this, in, out, {d_.y.stride, d_.x.stride}, kinds);
        const Rooms<Room, Layout> rooms(layout, memory_, d_.threads);
        const int64_t line = rounded((out.wide - 1) * d_.x.stride + 1, LANES), all = d_.inputs * d_.units;
        float* grads = memory_.floats(d_.threads * out.high * line);
        double* totals = reinterpret_cast<double*>(memory_.floats(2 * d_.threads * 4 * all));
        if (!tensors) return;
        const TorchdauDirectTensors& t = *tensors;
        rooms.clear();
        threads_.run_small(d_.groups * d_.outputs, [&](int64_t filter, int64_t thread) {
            const Room room = rooms.of(thread);
            float* grad = grads + thread * out.high * line;
            double* total = totals + thread * 4 * all;
            std::fill(total, total + 4 * all, 0.0), std::memset(grad, 0, sizeof(float) * out.high * line);
            const int64_t group = filter / d_.outputs, o = filter % d_.outputs;
            for (int64_t n = 0; n < d_.images; ++n) {
                const int64_t image = n * d_.groups + group;
                const float* from = t.grad_output + (image * d_.outputs + o) * out.size();
                for (int64_t y = 0; y < out.high; ++y)
                    for (int64_t x = 0; x < out.wide; ++x) grad[y * line + x * d_.x.stride] = *from++;
                for (int64_t k = 0; k < all; ++k) {
                    if (k % d_.units == 0) read(t.input + (image * d_.inputs + k / d_.units) * in.size(), in, 1, 1, room);
                    (this->*unit_back)(filter * all + k, room, grad, line, total + 4 * k);
                }
            }
            for (int64_t k = 0; k < all; ++k) {
                const int64_t unit = filter * all + k;
                const float w = t.weight[unit];
                t.grad_weight[unit] = float(total[4 * k]);
                for (int axis = 0; axis < 2; ++axis) t.grad_displacement[2 * unit + axis] = float(w * total[4 * k + 1 + axis]);
                if (kinds == 3) t.grad_sigma[unit] = float(w * total[4 * k + 3]);
            }
        });
    }

    // Adds to a unit's sums: those of its weight, of its displacement along y and x, and with KINDS 3 of its sigma.
    template <int KINDS>
    void unit_back(int64_t unit, const Room& room, const float* grad, int64_t line, double* total) const {
        const Side out = outputs();
        const Taps y = taps(unit, 0), x = taps(unit, 1);
        const float* const all[] = {x.value, x.by_displacement, x.by_sigma};
        const float* weights[KINDS];
        std::copy(all, all + KINDS, weights);
        along_x<KINDS>(room, weights, y.first - d_.y.padding, x.first - d_.x.padding, (out.high - 1) * d_.y.stride + taps_);
        for (int64_t tap = 0; tap < taps_; tap += HIGH) {
            Vector sums[KINDS][HIGH] = {};
            for (int64_t row = 0; row < out.high; ++row)
                for (int64_t c = 0; c < line; c += LANES) {
                    const Vector factor = load(grad + row * line + c);
#pragma GCC unroll 3
                    for (int kind = 0; kind < KINDS; ++kind) {
                        const float* rows = room.rows + kind * room.rows_size + row * d_.y.stride * room.wide + c;
#pragma GCC unroll 4
                        for (int j = 0; j < HIGH; ++j) sums[kind][j] += factor * load(rows + std::min(tap + j, taps_ - 1) * room.wide);
                    }
                }
            for (int j = 0; j < HIGH && tap + j < taps_; ++j) {
                const double plain = sum(sums[0][j]), of_y = y.value[tap + j];
                total[0] += plain * of_y, total[1] += plain * y.by_displacement[tap + j], total[2] += sum(sums[1][j]) * of_y;
                if constexpr (KINDS == 3) total[3] += plain * y.by_sigma[tap + j] + sum(sums[2][j]) * of_y;
            }
        }
    }

    const TorchdauDirect& d_;
    const Form form_;
    const int64_t taps_, margin_, units_;
    Memory memory_;
    float* const weights_;   // (unit, axis, value and derivatives, tap)
    int64_t* const firsts_;  // (unit, axis), the pixels of the first taps
    Threads threads_;
};

}  // namespace

extern "C" {

// Return the bytes of workspace, at the start of a cache line, that they need; without tensors they do nothing else.
EXPORT int64_t torchdau_separable_forward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return Separable(*layer, workspace).forward(tensors);
}

EXPORT int64_t torchdau_separable_backward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return Separable(*layer, workspace).backward(tensors);
}
}
