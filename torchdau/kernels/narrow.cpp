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
        const Rooms<OnPlanes::Forward, OnPlanes> rooms(planes_, memory_, d_.threads);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        planes_.gauss.fill(t.sigma[0]), rooms.clear();
        const Channels inputs = planes_.images_of(t.input), outputs = planes_.images_of(t.output, true);
        outputs.want_large_pages(d_.images);
        const int64_t few = d_.images * blocks_, wanted = (4 * d_.threads + few - 1) / few;  // enough for all threads
        const int64_t each = std::max((d_.outputs + wanted - 1) / wanted, d_.channels_last ? std::min<int64_t>(LANES, d_.outputs) : 1);
        const int64_t parts = (d_.outputs + each - 1) / each;
        threads_.run_small(few * parts, [&](int64_t job, int64_t thread) {
            const OnPlanes::Forward room = rooms.of(thread);
            const int64_t image = job / parts / blocks_, group = job / parts % blocks_ * some_, groups = std::min(some_, d_.groups - group);
            const int64_t first = job % parts * each, count = std::min(each, d_.outputs - first);
            const float* source = inputs.read(image, group * d_.inputs, groups * d_.inputs, room.source);
            for (int64_t g = 0; g < groups; ++g) {
                // where a group's outputs are in parts, it is alone: the planes of a part are one after another
                const int64_t channel = (group + g) * d_.outputs + first;
                float* target = outputs.target(image, channel, room.target + g * d_.outputs * outputs.pixels);
                planes_.read(source + g * d_.inputs * inputs.pixels, room.images);
                for (int64_t o = 0; o < count; ++o) planes_.filter(t, channel + o, room, target + o * outputs.pixels);
            }
            outputs.finish(image, group * d_.outputs + first, groups * count, room.target);
        });
        return memory_.used();
    }

    int64_t backward(const TorchdauDirectTensors* tensors) {
        const Rooms<OnPlanes::Backward, OnPlanes> rooms(planes_, memory_, d_.threads);
        if (!tensors) return memory_.used();
        const TorchdauDirectTensors& t = *tensors;
        planes_.gauss.fill(t.sigma[0]), rooms.clear();
        if (t.grad_input) planes_.images_of(t.grad_input).want_large_pages(d_.images);
        const bool together = t.grad_weight && t.grad_input && blocks_ >= 4 * d_.threads;  // else images are divided, or outputs
        if (t.grad_weight) {
            // outputs of a group: all of them, where several groups are worked on together
            const int64_t wanted = std::max<int64_t>(1, 4 * d_.threads / blocks_);
            const int64_t most = d_.channels_last ? std::min<int64_t>(LANES, (d_.outputs + wanted - 1) / wanted) : 1;
            const int64_t each = some_ > 1 || together ? d_.outputs : most, parts = (d_.outputs + each - 1) / each;
            threads_.run_small(blocks_ * parts, [&](int64_t job, int64_t thread) {
                const int64_t first = job % parts * each;
                back(t, {0, d_.images, job / parts * some_, first, std::min(each, d_.outputs - first), true, together}, rooms.of(thread));
            });
        }
        if (t.grad_input && !together)
            threads_.run_small(d_.images * blocks_, [&](int64_t job, int64_t thread) {
                back(t, {job / blocks_, job / blocks_ + 1, job % blocks_ * some_, 0, d_.outputs, false, true}, rooms.of(thread));
            });
        return memory_.used();
    }

   private:
    // What is worked on together on the way back: images, groups from one on, and of each some outputs; for all images the
    // gradients of the units, for all outputs those of the inputs.
    struct Part {
        int64_t image, images, group, first, count;
        bool units, inputs;
    };

    void back(const TorchdauDirectTensors& t, const Part& part, const OnPlanes::Backward& room) const {
        const Channels images = planes_.images_of(t.input), grads = planes_.images_of(t.grad_output, true), made = planes_.images_of(t.grad_input);
        const int64_t groups = std::min(some_, d_.groups - part.group), channel = part.group * d_.inputs, channels = groups * d_.inputs;
        const int64_t all = d_.inputs * d_.units, begin = (part.group * d_.outputs + part.first) * all;  // of units
        for (int64_t k = 0; k < 3 * groups * part.count * all; ++k) room.sums[k] = 0;
        for (int64_t n = part.image; n < part.images; ++n) {
            const float* input = part.units ? images.read(n, channel, channels, room.inputs) : nullptr;
            const float* grad = grads.read(n, part.group * d_.outputs + part.first, groups * part.count, room.outputs);
            float* target = part.inputs ? made.target(n, channel, room.targets) : nullptr;
            for (int64_t g = 0; g < groups; ++g) {
                if (part.units) planes_.read(input + g * d_.inputs * images.pixels, room.images);
                for (int64_t o = 0; o < part.count; ++o, grad += grads.pixels) {
                    planes_.spread(grad, room, part.units && !d_.exact);
                    for (int64_t i = 0; i < d_.inputs; ++i) {
                        const int64_t k = ((g * part.count + o) * d_.inputs + i) * d_.units, unit = begin + k;
                        const float* displacement = t.displacement + 2 * unit;
                        if (part.units) planes_.add_units_back(displacement, i, room, room.sums + 3 * k);
                        if (part.inputs) planes_.add_input_back(t.weight + unit, displacement, room, target + (g * d_.inputs + i) * images.pixels, o > 0);
                    }
                }
            }
            if (part.inputs) made.finish(n, channel, channels, room.targets);
        }
        if (!part.units) return;
        for (int64_t k = 0; k < groups * part.count * all; ++k) {
            const int64_t unit = begin + k;
            t.grad_weight[unit] = float(room.sums[3 * k]);
            for (int axis = 0; axis < 2; ++axis) t.grad_displacement[2 * unit + axis] = float(t.weight[unit] * room.sums[3 * k + 1 + axis]);
        }
    }

    const TorchdauDirect& d_;
    const int64_t some_, blocks_;  // groups that are worked on together: as many as make a vector of channels that lie side by side; and how many times there are as many
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
