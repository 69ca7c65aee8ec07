// The direct algorithm with tiles of images in lanes, and gradients of its own (docs/algorithms.md): for small images,
// small batches and strides.
//
// A unit reads its pixels between two columns and two rows: each row is interpolated along x once, t = x0 + ratio x1, and
// used for the row of outputs above and below. A stride of 2 leaves nothing to share, and has 4 multiply-adds for each output.
//
// - Forward: sums over input channels of shifted windows of blurred images. A few windows stay in the first cache, or just
//   beyond it, for all output channels.
// - Gradient of the input: the same with inputs and outputs exchanged and displacements turned around. With a stride, each
//   unit adds its output's gradient to every pixel of the blurred image once, which is blurred at the end.
// - Gradients of units: products of the shifted gradient of the output with windows, smoothed and sloped, of one input channel.
#include <algorithm>
#include <cstdint>

#include "direct.h"
#include "gaussian.h"
#include "lane_gradients.h"
#include "lane_packing.h"
#include "lane_sums.h"
#include "lane_tiles.h"
#include "lane_units.h"
#include "lanes.h"
#include "memory.h"
#include "parallel.h"
#include "planes.h"
#include "vector.h"

#define EXPORT __attribute__((visibility("default")))

namespace {

constexpr int64_t PLANES = 64 << 20;  // bytes of gradients of blurred images

int64_t floor_half(int64_t a) { return a >> 1; }

// The passes count the memory that they need where there are no tensors.
class InLanes {
   public:
    InLanes(const TorchdauDirect& d, const TorchdauDirectTensors* tensors, void* workspace)
        : d_(d), t_(tensors), r_(d.radius), memory_(workspace), gauss_(d.radius, memory_), bound_(d.bound) {
        if (!tensors) return;
        gauss_.fill(*tensors->sigma);
        bound_ = farthest(tensors->displacement, 2 * d.groups * d.outputs * d.inputs * d.units, d.bound);
    }

    int64_t forward() {
        const Pass pass{d_.inputs, d_.outputs, d_.y.pixels, d_.x.pixels, false, false};
        const Tiles tiles = summed_tiles(d_.images, d_.y.outputs, d_.x.outputs, d_.groups, d_.outputs, d_.units, d_.y.stride);
        const Sums sums(d_, pass, tiles, strided(tiles, -d_.y.padding, -d_.x.padding), gauss_, memory_);
        if (t_) outputs(t_->output).want_large_pages(d_.images), sums.compute(*t_, bound_, 1, inputs(t_->input), t_->bias, outputs(t_->output));
        return memory_.used();
    }

    int64_t backward() {
        int64_t most = memory_.used();
        const Memory begin = memory_;
        if (!t_ || t_->grad_input) {
            if (t_) inputs(t_->grad_input).want_large_pages(d_.images);
            d_.y.stride == 1 ? inputs_back() : inputs_back_in_steps();
            most = memory_.used();
            memory_ = begin;
        }
        if (!t_ || t_->grad_weight) units_back();
        return std::max(most, memory_.used());
    }

   private:
    Channels inputs(const float* begin) const { return {const_cast<float*>(begin), d_.groups * d_.inputs, int64_t(d_.y.pixels) * d_.x.pixels, bool(d_.channels_last)}; }
    Channels outputs(const float* begin) const { return {const_cast<float*>(begin), d_.groups * d_.outputs, int64_t(d_.y.outputs) * d_.x.outputs, bool(d_.channels_last)}; }

    // What outputs in tiles read, of which the first reads at a place.
    Window strided(const Tiles& tiles, int64_t first_y, int64_t first_x) const {
        const int64_t around = 2 * bound_ + 2, stride = d_.y.stride;
        return {(tiles.tall - 1) * stride + around, (tiles.wide - 1) * stride + around, first_y - bound_, first_x - bound_, tiles.tall * stride, tiles.wide * stride};
    }

    void inputs_back() {
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, false};
        const Tiles tiles = summed_tiles(d_.images, d_.y.pixels, d_.x.pixels, d_.groups, d_.inputs, d_.units, 1);
        const Sums sums(d_, pass, tiles, strided(tiles, d_.y.padding, d_.x.padding), gauss_, memory_);
        if (t_) sums.compute(*t_, bound_, -1, outputs(t_->grad_output), nullptr, inputs(t_->grad_input));
    }

    // The gradient of blurred images, with all pixels that units can read, and the Gaussian of it.
    void inputs_back_in_steps() {
        const int64_t high = d_.y.pixels + 2 * r_, wide = d_.x.pixels + 2 * r_, channels = d_.groups * d_.inputs;
        const int64_t some = std::max<int64_t>(1, std::min<int64_t>(d_.images, PLANES / (4 * channels * high * wide)));
        float* planes = memory_.floats(some * channels * high * wide + (2 * r_ + 2) * LANES);
        const int64_t together = d_.channels_last ? std::min<int64_t>(LANES, channels) : 1;
        float* room = memory_.floats(d_.threads * inputs(nullptr).room(together));
        const Gaussian none(0, memory_);
        if (t_) none.fill(1);
        const Pass pass{d_.outputs, d_.inputs, d_.y.outputs, d_.x.outputs, true, true};
        const Memory begin = memory_;
        Memory most = memory_;
        for (int64_t first = 0; first < d_.images; first += some) {
            const int64_t images = std::min(some, d_.images - first);
            const Tiles tiles = summed_tiles(images, high, wide, d_.groups, d_.inputs, d_.units, 0);
            memory_ = begin;
            const Sums sums(d_, pass, tiles, halved(tiles), none, memory_);
            if (memory_.used() > most.used()) most = memory_;
            if (!t_) continue;
            const Channels blurred{planes, channels, high * wide, false};
            sums.compute(*t_, bound_, 1, outputs(outputs(t_->grad_output).at(first, 0)), nullptr, blurred);
            blur(blurred, images, inputs(inputs(t_->grad_input).at(first, 0)), together, room);
        }
        memory_ = most;
    }

    // What pixels of blurred images in tiles get from outputs at every other pixel.
    Window halved(const Tiles& tiles) const {
        const int64_t y = d_.y.padding - r_, x = d_.x.padding - r_, first_y = floor_half(y - bound_), first_x = floor_half(x - bound_);
        const int64_t rows = floor_half(y + bound_) - first_y, columns = floor_half(x + bound_) - first_x;
        return {rows + floor_half(tiles.tall) + 1, columns + tiles.wide / 2 + 1, first_y, first_x, floor_half(tiles.tall), tiles.wide / 2};
    }

    // The Gaussian of planes with its margin, some channels at a time.
    void blur(const Channels& planes, int64_t images, const Channels& target, int64_t together, float* room) const {
        const int64_t wide = d_.x.pixels + 2 * r_, rows = d_.y.pixels, columns = d_.x.pixels, blocks = (target.channels + together - 1) / together;
        Threads{d_.parallel_for, d_.threads}.run(images * blocks, [&](int64_t job, int64_t thread) {
            const int64_t image = job / blocks, first = job % blocks * together, count = std::min(together, target.channels - first);
            float* own = room + thread * target.room(together);
            for (int64_t channel = 0; channel < count; ++channel) {
                const Unsmoothed<1> from{planes.at(image, first + channel), wide, 0, rows + 2 * r_};
                smooth(gauss_, from, rows, columns, [to = target.target(image, first, own) + channel * target.pixels, columns](int64_t y, int64_t x, Vector total) {
                    store_within(to + y * columns + x, total, columns - x);
                });
            }
            target.finish(image, first, count, own);
        });
    }

    void units_back() {
        const Tiles tiles = multiplied_tiles(d_);
        const UnitGradients gradients(d_, tiles, strided(tiles, -d_.y.padding, -d_.x.padding), gauss_, memory_);
        if (t_) gradients.compute(*t_, bound_, inputs(t_->input), outputs(t_->grad_output));
    }

    const TorchdauDirect& d_;
    const TorchdauDirectTensors* t_;
    const int64_t r_;
    Memory memory_;
    const Gaussian gauss_;
    int64_t bound_;  // of the displacements: that of the layer, or less where no unit reaches it
};

}  // namespace

extern "C" {

// Return the bytes of workspace, at the start of a cache line, that they need; without tensors they do nothing else.
EXPORT int64_t torchdau_lanes_forward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return InLanes(*layer, tensors, workspace).forward();
}

EXPORT int64_t torchdau_lanes_backward(const TorchdauDirect* layer, const TorchdauDirectTensors* tensors, void* workspace) {
    return InLanes(*layer, tensors, workspace).backward();
}
}
