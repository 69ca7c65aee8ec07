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
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "gaussian.h"
#include "memory.h"
#include "parallel.h"
#include "planes.h"
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
          some_(d.channels_last ? std::min(d.groups, std::max<int64_t>(1, LANES / std::max(d.inputs, d.outputs))) : 1),
          blocks_((d.groups + some_ - 1) / some_),
          memory_(workspace),
          gauss_(d.radius, memory_),
          threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauDirectTensors* tensors) {
        const Rooms<Forward> rooms(*this);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        gauss_.fill(t.sigma[0]), rooms.clear();
        const Channels inputs = images_of(t.input), outputs = images_of(t.output, true);
        const int64_t few = d_.images * blocks_, wanted = (4 * d_.threads + few - 1) / few;  // enough for all threads
        const int64_t each = std::max((d_.outputs + wanted - 1) / wanted, d_.channels_last ? std::min<int64_t>(LANES, d_.outputs) : 1);
        const int64_t parts = (d_.outputs + each - 1) / each;
        run(few * parts, [&](int64_t job, int64_t thread) {
            const Forward room = rooms.of(thread);
            const Groups groups = groups_of(job / parts);
            const int64_t first = job % parts * each, count = std::min(each, d_.outputs - first);
            const float* source = inputs.read(groups.image, groups.first * d_.inputs, groups.count * d_.inputs, room.source);
            for (int64_t g = 0; g < groups.count; ++g) {
                // where a group's outputs are in parts, it is alone: the planes of a part are one after another
                const int64_t channel = (groups.first + g) * d_.outputs + first;
                float* target = outputs.target(groups.image, channel, room.target + g * d_.outputs * outputs.pixels);
                for (int64_t i = 0; i < d_.inputs; ++i) read(source + (g * d_.inputs + i) * inputs.pixels, room.images.at(i));
                for (int64_t o = 0; o < count; ++o) filter(t, channel + o, room, target + o * outputs.pixels);
            }
            const int64_t channels = parts > 1 ? count : groups.count * d_.outputs;
            outputs.finish(groups.image, groups.first * d_.outputs + first, channels, room.target);
        });
        return memory_.used();
    }

    int64_t backward(const TorchdauDirectTensors* tensors) {
        const Rooms<Backward> rooms(*this);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        gauss_.fill(t.sigma[0]), rooms.clear();
        if (t.grad_weight) {
            // outputs of a group: all of them, where several groups are worked on together
            const int64_t wanted = std::max<int64_t>(1, 4 * d_.threads / blocks_);
            const int64_t each = some_ > 1 ? d_.outputs : d_.channels_last ? std::min<int64_t>(LANES, (d_.outputs + wanted - 1) / wanted) : 1;
            const int64_t parts = (d_.outputs + each - 1) / each;
            run(blocks_ * parts, [&](int64_t job, int64_t thread) {
                const int64_t first = job % parts * each;
                filters_back(t, groups_of(job / parts), first, std::min(each, d_.outputs - first), rooms.of(thread));
            });
        }
        if (t.grad_input) run(d_.images * blocks_, [&](int64_t job, int64_t thread) { inputs_back(t, groups_of(job), rooms.of(thread)); });
        return memory_.used();
    }

   private:
    // What a thread needs. Margins of planes are zero from the beginning, and stay so.
    struct Forward {
        Plane images, sums, rows;
        Shift* shifts;
        float *source, *target;  // channels of groups that are worked on together

        Forward(const Narrow& n, Memory& memory)
            : images(n.source(memory, n.d_.inputs)),
              sums(plane(memory, rounded_up(n.y_.spread, TALL_SUM), n.wide_ + LANES)),
              rows(plane(memory, n.y_.spread, n.wide_)),
              shifts(n.room_for_shifts(memory, n.d_.inputs * n.d_.units)),
              source(memory.floats(n.images_of(nullptr).room(n.some_ * n.d_.inputs))),
              target(memory.floats(n.images_of(nullptr, true).room(n.some_ * n.d_.outputs))) {}
    };

    struct Backward {
        Plane image, along, slope_along, padded, out;
        Gradient gradient;
        float* row;
        Shift* shifts;
        double* sums;
        float *inputs, *outputs;  // channels of groups that are worked on together

        Backward(const Narrow& n, Memory& memory)
            : image(n.source(memory, 1)),
              along(plane(memory, n.y_.spread + 2 * n.r_, n.wide_)),
              slope_along(plane(memory, n.y_.spread + 2 * n.r_, n.wide_)),
              padded(plane(memory, n.high(), rounded_up(n.x_.pixels, LANES) + 2 * n.d_.bound + 3)),
              out(plane(memory, rounded_up(n.y_.pixels, TALL_SUM), rounded_up(n.x_.pixels, LANES), n.d_.inputs)),
              gradient{plane(memory, n.y_.spread, n.wide_), plane(memory, n.y_.spread, n.wide_), plane(memory, n.y_.spread, n.wide_), n.y_.spread, n.wide_},
              row(memory.floats(n.wide_ + 2 * n.r_ + 2 * LANES)),
              shifts(n.room_for_shifts(memory, n.d_.units)),
              sums(reinterpret_cast<double*>(memory.floats(2 * 3 * n.some_ * n.d_.outputs * n.d_.inputs * n.d_.units))),
              inputs(memory.floats(n.images_of(nullptr).room(n.some_ * n.d_.inputs))),
              outputs(memory.floats(n.images_of(nullptr, true).room(n.some_ * n.d_.outputs))) {}
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

    // Groups of an image that are worked on together: one, or as many as make a vector of channels that lie side by side.
    struct Groups {
        int64_t image, first, count;
    };
    Groups groups_of(int64_t number) const {
        const int64_t first = number % blocks_ * some_;
        return {number / blocks_, first, std::min(some_, d_.groups - first)};
    }

    Channels images_of(const float* begin, bool outputs = false) const {
        const int64_t pixels = outputs ? y_.outputs * x_.outputs : y_.pixels * x_.pixels;
        return {const_cast<float*>(begin), d_.groups * (outputs ? d_.outputs : d_.inputs), pixels, bool(d_.channels_last)};
    }

    // An output channel, from the images in the room.
    void filter(const TorchdauDirectTensors& t, int64_t number, const Forward& room, float* output) const {
        const int64_t all = d_.inputs * d_.units;
        int64_t some = 0;  // units that add something
        for (int64_t k = 0, unit = number * all; k < all; ++k, ++unit) {
            Shift& shift = room.shifts[some] = forth(t.weight[unit], t.displacement + 2 * unit, d_.bound, room.images.line);
            shift.place += k / d_.units * room.images.size;
            some += shift.adds();
        }
        add_up(room.shifts, some, room.images, room.sums, y_.spread, x_.spread, false);
        blur(room, t.bias ? t.bias[number] : 0, output);
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

    // Gradients of the units of some outputs of each group, over all images.
    void filters_back(const TorchdauDirectTensors& t, const Groups& groups, int64_t first, int64_t count, const Backward& room) const {
        const Channels images = images_of(t.input), grads = images_of(t.grad_output, true);
        const int64_t all = d_.inputs * d_.units, begin = (groups.first * d_.outputs + first) * all;  // of units
        for (int64_t k = 0; k < 3 * groups.count * count * all; ++k) room.sums[k] = 0;
        for (int64_t n = 0; n < d_.images; ++n) {
            const float* input = images.read(n, groups.first * d_.inputs, groups.count * d_.inputs, room.inputs);
            const float* grad = grads.read(n, groups.first * d_.outputs + first, groups.count * count, room.outputs);
            for (int64_t filter = 0; filter < groups.count * count; ++filter, grad += grads.pixels) {
                spread(grad, room, !d_.exact);
                for (int64_t i = 0; i < d_.inputs; ++i) {
                    read(input + (filter / count * d_.inputs + i) * images.pixels, room.image);
                    for (int64_t k = filter * all + i * d_.units, last = k + d_.units; k < last; ++k) {
                        const auto add = d_.exact ? add_products<true> : add_products<false>;
                        add(t.displacement + 2 * (begin + k), d_.bound, room.image, room.gradient, room.sums + 3 * k);
                    }
                }
            }
        }
        for (int64_t k = 0; k < groups.count * count * all; ++k) {
            const int64_t unit = begin + k;
            t.grad_weight[unit] = float(room.sums[3 * k]);
            for (int axis = 0; axis < 2; ++axis) t.grad_displacement[2 * unit + axis] = float(t.weight[unit] * room.sums[3 * k + 1 + axis]);
        }
    }

    // Gradients of the input channels of groups of an image.
    void inputs_back(const TorchdauDirectTensors& t, const Groups& groups, const Backward& room) const {
        const Channels images = images_of(t.grad_input), grads = images_of(t.grad_output, true);
        const float* grad = grads.read(groups.image, groups.first * d_.outputs, groups.count * d_.outputs, room.outputs);
        for (int64_t g = 0; g < groups.count; ++g, grad += d_.outputs * grads.pixels) {
            float* target = images.target(groups.image, (groups.first + g) * d_.inputs, room.inputs + g * d_.inputs * images.pixels);
            group_back(t, groups.first + g, grad, target, room);
        }
        images.finish(groups.image, groups.first * d_.inputs, groups.count * d_.inputs, room.inputs);
    }

    void group_back(const TorchdauDirectTensors& t, int64_t group, const float* grad, float* target, const Backward& room) const {
        for (int64_t o = 0; o < d_.outputs; ++o) {
            spread(grad + o * y_.outputs * x_.outputs, room, false);
            pad(room);
            for (int64_t i = 0; i < d_.inputs; ++i) {
                const int64_t first = ((group * d_.outputs + o) * d_.inputs + i) * d_.units;
                int64_t some = 0;
                for (int64_t unit = first; unit < first + d_.units; ++unit)
                    some += (room.shifts[some] = back(t.weight[unit], t.displacement + 2 * unit, d_.bound, room.padded.line)).adds();
                add_up(room.shifts, some, room.padded, room.out.at(i), y_.pixels, x_.pixels, o > 0);
            }
        }
        for (int64_t i = 0; i < d_.inputs; ++i)
            for (int64_t y = 0; y < y_.pixels; ++y) {
                float* to = target + (i * y_.pixels + y) * x_.pixels;
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
    const int64_t some_, blocks_;  // groups that are worked on together, and how many times there are as many
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
