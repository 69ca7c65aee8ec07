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
#include "memory.h"
#include "narrow_planes.h"
#include "parallel.h"
#include "planes.h"
#include "shifts.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

class Narrow {
   public:
    Narrow(const TorchdauDirect& d, void* workspace)
        : d_(d),
          some_(d.channels_last ? std::min(d.groups, std::max<int64_t>(1, LANES / std::max(d.inputs, d.outputs))) : 1),
          blocks_((d.groups + some_ - 1) / some_),
          memory_(workspace),
          planes_(d, some_, memory_),
          threads_{d.parallel_for, d.threads} {}

    int64_t forward(const TorchdauDirectTensors* tensors) {
        const Rooms<OnPlanes::Forward> rooms(*this);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        planes_.gauss.fill(t.sigma[0]), rooms.clear();
        const Channels inputs = planes_.images_of(t.input), outputs = planes_.images_of(t.output, true);
        const int64_t few = d_.images * blocks_, wanted = (4 * d_.threads + few - 1) / few;  // enough for all threads
        const int64_t each = std::max((d_.outputs + wanted - 1) / wanted, d_.channels_last ? std::min<int64_t>(LANES, d_.outputs) : 1);
        const int64_t parts = (d_.outputs + each - 1) / each;
        run(few * parts, [&](int64_t job, int64_t thread) {
            const OnPlanes::Forward room = rooms.of(thread);
            const Groups groups = groups_of(job / parts);
            const int64_t first = job % parts * each, count = std::min(each, d_.outputs - first);
            const float* source = inputs.read(groups.image, groups.first * d_.inputs, groups.count * d_.inputs, room.source);
            for (int64_t g = 0; g < groups.count; ++g) {
                // where a group's outputs are in parts, it is alone: the planes of a part are one after another
                const int64_t channel = (groups.first + g) * d_.outputs + first;
                float* target = outputs.target(groups.image, channel, room.target + g * d_.outputs * outputs.pixels);
                for (int64_t i = 0; i < d_.inputs; ++i) planes_.read(source + (g * d_.inputs + i) * inputs.pixels, room.images.at(i));
                for (int64_t o = 0; o < count; ++o) planes_.filter(t, channel + o, room, target + o * outputs.pixels);
            }
            outputs.finish(groups.image, groups.first * d_.outputs + first, groups.count * count, room.target);
        });
        return memory_.used();
    }

    int64_t backward(const TorchdauDirectTensors* tensors) {
        const Rooms<OnPlanes::Backward> rooms(*this);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        planes_.gauss.fill(t.sigma[0]), rooms.clear();
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
    // As much of either for each thread, in the workspace.
    template <class Room>
    struct Rooms {
        const Narrow& narrow;
        int64_t size;
        float* begin;

        explicit Rooms(Narrow& narrow) : narrow(narrow) {
            Memory counted(nullptr);
            Room(narrow.planes_, counted);
            size = counted.used() / sizeof(float);
            begin = narrow.memory_.floats(size * narrow.d_.threads);
        }
        void clear() const { std::memset(begin, 0, sizeof(float) * size * narrow.d_.threads); }
        Room of(int64_t thread) const {
            Memory memory(begin + thread * size);
            return Room(narrow.planes_, memory);
        }
    };

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

    // Gradients of the units of some outputs of each group, over all images.
    void filters_back(const TorchdauDirectTensors& t, const Groups& groups, int64_t first, int64_t count, const OnPlanes::Backward& room) const {
        const Channels images = planes_.images_of(t.input), grads = planes_.images_of(t.grad_output, true);
        const int64_t all = d_.inputs * d_.units, begin = (groups.first * d_.outputs + first) * all;  // of units
        for (int64_t k = 0; k < 3 * groups.count * count * all; ++k) room.sums[k] = 0;
        for (int64_t n = 0; n < d_.images; ++n) {
            const float* input = images.read(n, groups.first * d_.inputs, groups.count * d_.inputs, room.inputs);
            const float* grad = grads.read(n, groups.first * d_.outputs + first, groups.count * count, room.outputs);
            for (int64_t filter = 0; filter < groups.count * count; ++filter, grad += grads.pixels) {
                planes_.spread(grad, room, !d_.exact);
                for (int64_t i = 0; i < d_.inputs; ++i) {
                    planes_.read(input + (filter / count * d_.inputs + i) * images.pixels, room.image);
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
    void inputs_back(const TorchdauDirectTensors& t, const Groups& groups, const OnPlanes::Backward& room) const {
        const Channels images = planes_.images_of(t.grad_input), grads = planes_.images_of(t.grad_output, true);
        const float* grad = grads.read(groups.image, groups.first * d_.outputs, groups.count * d_.outputs, room.outputs);
        for (int64_t g = 0; g < groups.count; ++g, grad += d_.outputs * grads.pixels) {
            float* target = images.target(groups.image, (groups.first + g) * d_.inputs, room.inputs + g * d_.inputs * images.pixels);
            planes_.group_back(t, groups.first + g, grad, target, room);
        }
        images.finish(groups.image, groups.first * d_.inputs, groups.count * d_.inputs, room.inputs);
    }

    const TorchdauDirect& d_;
    const int64_t some_, blocks_;  // groups that are worked on together, and how many times there are as many
    Memory memory_;
    const OnPlanes planes_;
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
