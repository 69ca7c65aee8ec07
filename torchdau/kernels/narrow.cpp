// The direct algorithm for few input channels in a group (depthwise layers have one), with gradients of its own
// (docs/algorithms.md).
//
// The operator is linear and the same at every pixel, so the Gaussian can come once per output channel, after the units:
//
//     z = sum over inputs and units of weight * (shifted image),  output = Gaussian of z
//
// where z has a margin of the Gaussian's radius around the outputs. For the gradients, the Gaussian goes over the output's
// gradient first. The input's gradient is then a sum of shifts back, and a unit's gradients are sums of products with the
// shifted image. Lanes are pixels of a row. A stride leaves out pixels at the end of the forward pass, and fills in zeros at
// the beginning of the backward pass.
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "gaussian.h"
#include "memory.h"
#include "parallel.h"
#include "shifts.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

int64_t rounded_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// One axis: outputs at the resolution of the input (straight), and with the Gaussian's margin (spread).
struct Axis {
    int64_t pixels, outputs, stride, straight, spread;
    int64_t first;  // position of the margin's first pixel in the image

    Axis(const TorchdauDirectAxis& a, int radius)
        : pixels(a.pixels), outputs(a.outputs), stride(a.stride), straight(int64_t(a.outputs - 1) * a.stride + 1),
          spread(straight + 2 * radius), first(-a.padding - radius) {}
};

class Narrow {
   public:
    Narrow(const TorchdauDirect& d, void* workspace)
        : d_(d),
          y_(d.y, d.radius),
          x_(d.x, d.radius),
          r_(d.radius),
          wide_(rounded_up(x_.spread, LANES)),
          memory_(workspace),
          gauss_(d.radius, memory_),
          threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauDirectTensors* tensors) {
        const Rooms<Forward> rooms(*this);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        gauss_.fill(t.sigma[0]), rooms.clear();
        const int64_t few = d_.images * d_.groups, wanted = (4 * d_.threads + few - 1) / few;  // enough for all threads
        const int64_t each = (d_.outputs + wanted - 1) / wanted, blocks = (d_.outputs + each - 1) / each;
        run(few * blocks, [&](int64_t job, int64_t thread) {
            const Forward room = rooms.of(thread);
            const int64_t all = d_.inputs * d_.units, number = job / blocks, first = job % blocks * each;
            for (int64_t i = 0; i < d_.inputs; ++i) read(input(t, number, i), room.images.at(i));
            for (int64_t o = first; o < d_.outputs && o < first + each; ++o) {
                const int64_t filter = number % d_.groups * d_.outputs + o;
                int64_t some = 0;  // units that add something
                for (int64_t k = 0, unit = filter * all; k < all; ++k, ++unit) {
                    Shift& shift = room.shifts[some] = forth(t.weight[unit], t.displacement + 2 * unit, d_.bound, room.images.line);
                    shift.place += k / d_.units * room.images.size;
                    some += shift.adds();
                }
                add_up(room.shifts, some, room.images, room.sums, y_.spread, x_.spread, false);
                blur(room, t.bias ? t.bias[filter] : 0, t.output + (number * d_.outputs + o) * y_.outputs * x_.outputs);
            }
        });
        return memory_.used();
    }

    int64_t backward(const TorchdauDirectTensors* tensors) {
        const Rooms<Backward> rooms(*this);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        gauss_.fill(t.sigma[0]), rooms.clear();
        if (t.grad_weight)
            run(d_.groups * d_.outputs, [&](int64_t filter, int64_t thread) { filter_back(t, filter, rooms.of(thread)); });
        if (t.grad_input)
            run(d_.images * d_.groups, [&](int64_t number, int64_t thread) { inputs_back(t, number, rooms.of(thread)); });
        return memory_.used();
    }

   private:
    // What a thread needs. Margins of planes are zero from the beginning, and stay so.
    struct Forward {
        Plane images, sums, rows;
        Shift* shifts;

        Forward(const Narrow& n, Memory& memory)
            : images(n.source(memory, n.d_.inputs)),
              sums(plane(memory, rounded_up(n.y_.spread, TALL_SUM), n.wide_ + LANES)),
              rows(plane(memory, n.y_.spread, n.wide_)),
              shifts(n.room_for_shifts(memory, n.d_.inputs * n.d_.units)) {}
    };

    struct Backward {
        Plane image, along, slope_along, padded, out;
        Gradient gradient;
        float* row;
        Shift* shifts;
        double* sums;

        Backward(const Narrow& n, Memory& memory)
            : image(n.source(memory, 1)),
              along(plane(memory, n.y_.spread + 2 * n.r_, n.wide_)),
              slope_along(plane(memory, n.y_.spread + 2 * n.r_, n.wide_)),
              padded(plane(memory, n.high(), rounded_up(n.x_.pixels, LANES) + 2 * n.d_.bound + 3)),
              out(plane(memory, rounded_up(n.y_.pixels, TALL_SUM), rounded_up(n.x_.pixels, LANES), n.d_.inputs)),
              gradient{plane(memory, n.y_.spread, n.wide_), plane(memory, n.y_.spread, n.wide_), plane(memory, n.y_.spread, n.wide_), n.y_.spread, n.wide_},
              row(memory.floats(n.wide_ + 2 * n.r_ + 2 * LANES)),
              shifts(n.room_for_shifts(memory, n.d_.units)),
              sums(reinterpret_cast<double*>(memory.floats(2 * 3 * n.d_.inputs * n.d_.units))) {}
    };

    // As much of either for each thread, in the workspace.
    template <class Room>
    struct Rooms {
        const Narrow& narrow;
        int64_t size;
        float* begin;

        explicit Rooms(Narrow& narrow) : narrow(narrow) {
            Memory counted(nullptr);
            Room(narrow, counted);
            size = counted.used() / sizeof(float);
            begin = narrow.memory_.floats(size * narrow.d_.threads);
        }
        void clear() const { std::memset(begin, 0, sizeof(float) * size * narrow.d_.threads); }
        Room of(int64_t thread) const {
            Memory memory(begin + thread * size);
            return Room(narrow, memory);
        }
    };

    // A vector may be read or written behind the last row.
    static Plane plane(Memory& memory, int64_t rows, int64_t line, int64_t count = 1) {
        const int64_t size = rounded_up(rows * line + LANES, LANES);
        return {memory.floats(size * count), line, size};
    }

    // Images with all that units read around them.
    Plane source(Memory& memory, int64_t count) const {
        return plane(memory, rounded_up(y_.spread, TALL_SUM) + 2 * d_.bound + 2, wide_ + 2 * d_.bound + 2, count);
    }

    // Rows of a gradient with all that units read around it on the way back.
    int64_t high() const { return rounded_up(y_.pixels, TALL_SUM) + 2 * d_.bound + 2; }

    static Shift* room_for_shifts(Memory& memory, int64_t count) {
        return reinterpret_cast<Shift*>(memory.floats(count * sizeof(Shift) / sizeof(float)));
    }

    // Calls job(number, thread) for every number below `jobs`. Threads take several at a time, which are neighbours in
    // memory: jobs are small, and write to the same lines of the cache.
    template <class Job>
    void run(int64_t jobs, Job job) const {
        const int64_t each = jobs / (8 * d_.threads) + 1;
        threads_.run((jobs + each - 1) / each, [&](int64_t part, int64_t thread) {
            for (int64_t number = part * each; number < jobs && number < (part + 1) * each; ++number) job(number, thread);
        });
    }

    // An input channel of a group; `number` counts images and groups.
    const float* input(const TorchdauDirectTensors& t, int64_t number, int64_t i) const {
        return t.input + (number * d_.inputs + i) * y_.pixels * x_.pixels;
    }

    const float* grad_output(const TorchdauDirectTensors& t, int64_t number, int64_t o) const {
        return t.grad_output + (number * d_.outputs + o) * y_.outputs * x_.outputs;
    }

    // An image, cut off where no unit reads.
    void read(const float* image, const Plane& target) const {
        const int64_t top = y_.first - d_.bound, left = x_.first - d_.bound;
        const int64_t begin = left < 0 ? 0 : left, most = left + target.line, end = x_.pixels < most ? x_.pixels : most;
        const int64_t rows = rounded_up(y_.spread, TALL_SUM) + 2 * d_.bound + 2;
        for (int64_t y = top < 0 ? 0 : top; y < y_.pixels && y - top < rows && begin < end; ++y)
            copy(target.row(y - top) + begin - left, image + y * x_.pixels + begin, end - begin);
    }

    // The Gaussian of the sums along x, then along y into the output, of which a stride leaves out rows and columns.
    void blur(const Forward& room, float bias, float* output) const {
        for (int64_t y = 0; y < y_.spread; ++y)
            for (int64_t x = 0; x < x_.straight; x += LANES) store(room.rows.row(y) + x, gauss_.smoothed(room.sums.row(y) + r_ + x, 1));
        for (int64_t y = 0; y < y_.outputs; ++y)
            for (int64_t x = 0; x < x_.straight; x += LANES) {
                const Vector total = gauss_.smoothed(room.rows.row(y * y_.stride + r_) + x, room.rows.line) + bias;
                float* to = output + y * x_.outputs;
                if (x_.stride > 1) {
                    for (int64_t lane = (x_.stride - x % x_.stride) % x_.stride; lane < LANES && x + lane < x_.straight; lane += x_.stride)
                        to[(x + lane) / x_.stride] = total[lane];
                } else if (x + LANES <= x_.outputs) {
                    store(to + x, total);
                } else {
                    store_some(to + x, total, x_.outputs - x);
                }
            }
    }

    // Gradients of the units of an output channel.
    void filter_back(const TorchdauDirectTensors& t, int64_t filter, const Backward& room) const {
        const int64_t all = d_.inputs * d_.units, group = filter / d_.outputs;
        for (int64_t k = 0; k < 3 * all; ++k) room.sums[k] = 0;
        for (int64_t n = 0; n < d_.images; ++n) {
            const int64_t number = n * d_.groups + group;
            spread(grad_output(t, number, filter % d_.outputs), room, !d_.exact);
            for (int64_t i = 0; i < d_.inputs; ++i) {
                read(input(t, number, i), room.image);
                for (int64_t k = i * d_.units; k < (i + 1) * d_.units; ++k) {
                    const auto add = d_.exact ? add_products<true> : add_products<false>;
                    add(t.displacement + 2 * (filter * all + k), d_.bound, room.image, room.gradient, room.sums + 3 * k);
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
    void inputs_back(const TorchdauDirectTensors& t, int64_t number, const Backward& room) const {
        for (int64_t o = 0; o < d_.outputs; ++o) {
            spread(grad_output(t, number, o), room, false);
            pad(room);
            for (int64_t i = 0; i < d_.inputs; ++i) {
                const int64_t first = ((number % d_.groups * d_.outputs + o) * d_.inputs + i) * d_.units;
                int64_t some = 0;
                for (int64_t unit = first; unit < first + d_.units; ++unit)
                    some += (room.shifts[some] = back(t.weight[unit], t.displacement + 2 * unit, d_.bound, room.padded.line)).adds();
                add_up(room.shifts, some, room.padded, room.out.at(i), y_.pixels, x_.pixels, o > 0);
            }
        }
        for (int64_t i = 0; i < d_.inputs; ++i)
            for (int64_t y = 0; y < y_.pixels; ++y) {
                float* to = t.grad_input + ((number * d_.inputs + i) * y_.pixels + y) * x_.pixels;
                const float* from = room.out.at(i).row(y);
                int64_t x = 0;
                for (; x + LANES <= x_.pixels; x += LANES) store(to + x, load(from + x));
                store_some(to + x, load(from + x), x_.pixels - x);
            }
    }

    // The Gaussian of the output's gradient with its margin, and its slopes along y and x.
    void spread(const float* grad, const Backward& room, bool slopes) const {
        for (int64_t y = 0; y < y_.outputs; ++y) {
            if (x_.stride == 1)
                copy(room.row + 2 * r_, grad + y * x_.outputs, x_.outputs);
            else
                for (int64_t x = 0; x < x_.outputs; ++x) room.row[2 * r_ + x * x_.stride] = grad[y * x_.outputs + x];
            const int64_t to = 2 * r_ + y * y_.stride;
            for (int64_t x = 0; x < wide_; x += LANES) {
                store(room.along.row(to) + x, gauss_.smoothed(room.row + r_ + x, 1));
                if (slopes) store(room.slope_along.row(to) + x, gauss_.sloped(room.row + r_ + x, 1));
            }
        }
        const Gradient& gradient = room.gradient;
        for (int64_t x = 0; x < wide_; x += LANES)
            for (int64_t y = 0; y < y_.spread; ++y) {
                const float* centre = room.along.row(y + r_) + x;
                store(gradient.value.row(y) + x, gauss_.smoothed(centre, wide_));
                if (!slopes) continue;
                store(gradient.slope_y.row(y) + x, gauss_.sloped(centre, wide_));
                store(gradient.slope_x.row(y) + x, gauss_.smoothed(room.slope_along.row(y + r_) + x, wide_));
            }
    }

    // That gradient with all that units read around it on the way back.
    void pad(const Backward& room) const {
        const int64_t left = x_.first + d_.bound + 1, top = y_.first + d_.bound + 1;
        const int64_t begin = left < 0 ? -left : 0, most = room.padded.line - left, end = x_.spread < most ? x_.spread : most;
        for (int64_t y = top < 0 ? -top : 0; y < y_.spread && y + top < high() && begin < end; ++y)
            copy(room.padded.row(y + top) + left + begin, room.gradient.value.row(y) + begin, end - begin);
    }

    const TorchdauDirect& d_;
    const Axis y_, x_;
    const int64_t r_, wide_;
    Memory memory_;
    const Gaussian gauss_;
    Threads threads_;
};

}  // namespace

extern "C" {

// Return the bytes of workspace, at the start of a cache line, that they need; without tensors they do nothing else.
EXPORT int64_t torchdau_narrow_forward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return Narrow(*layer, workspace).forward(tensors);
}

EXPORT int64_t torchdau_narrow_backward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return Narrow(*layer, workspace).backward(tensors);
}
}
