// One plane at a time, for few input channels in a group: what a thread needs, and the steps of narrow.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "direct.h"
#include "gaussian.h"
#include "memory.h"
#include "planes.h"
#include "shifts.h"
#include "vector.h"

static inline int64_t rounded_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// One axis: outputs at the resolution of the input (straight), and with the Gaussian's margin (spread).
struct PlaneAxis {
    int64_t pixels, outputs, stride, straight, spread;
    int64_t first;  // position of the margin's first pixel in the image
    // where the outputs' gradient and the image begin in a plane with all that units read on the way back, and its size
    int64_t gradient, image, around;

    PlaneAxis(const TorchdauDirectAxis& a, int radius, int bound, int64_t block)
        : pixels(a.pixels), outputs(a.outputs), stride(a.stride), straight(int64_t(a.outputs - 1) * a.stride + 1),
          spread(straight + 2 * radius), first(-a.padding - radius),
          gradient(rounded_up(std::max<int64_t>(0, first + bound + 1), block)), image(gradient - (first + bound + 1)),
          around(std::max(gradient + rounded_up(spread, block), image + rounded_up(pixels, block) + 2 * bound + 3)) {}

    // Writes the numbers of a vector that the stride does not leave out.
    void write(float* row, int64_t x, Vector numbers) const {
        if (stride == 2) {
            const Vector even = even_lanes(numbers);
            std::memcpy(row + x / 2, &even, sizeof(float) * std::min<int64_t>(LANES / 2, outputs - x / 2));
        } else {
            const int64_t first = (x + stride - 1) / stride;
            for (int64_t number = first, lane = first * stride - x; lane < LANES && number < outputs; lane += stride) row[number++] = numbers[lane];
        }
    }
};

struct OnPlanes {
    const TorchdauDirect& layer;
    const PlaneAxis down, across;
    const int64_t radius, wide, together;  // together: groups that are worked on at a time
    const Gaussian gauss;

    OnPlanes(const TorchdauDirect& d, int64_t some, Memory& memory)
        : layer(d), down(d.y, d.radius, d.bound, TALL_SUM), across(d.x, d.radius, d.bound, LANES), radius(d.radius), wide(rounded_up(across.spread, LANES)), together(some), gauss(d.radius, memory) {}

    // What a thread needs. Margins of planes are zero from the beginning, and stay so.
    struct Forward {
        Plane images, sums;
        Shift* shifts;
        float *source, *target;  // channels of groups that are worked on together

        Forward(const OnPlanes& n, Memory& memory)
            : images(n.source(memory)),
              sums(plane(memory, n.down.spread, n.wide + LANES)),
              shifts(n.room_for_shifts(memory, n.layer.inputs * n.layer.units)),
              source(memory.floats(n.images_of(nullptr).room(n.together * n.layer.inputs))),
              target(memory.floats(n.images_of(nullptr, true).room(n.together * n.layer.outputs))) {}
    };

    struct Backward {
        Plane images, grad, padded;
        Gradient gradient;  // its values lie in the padded plane
        Shift* shifts;
        double* sums;
        float *inputs, *outputs, *targets;  // channels of groups that are worked on together

        Backward(const OnPlanes& n, Memory& memory)
            : images(n.source(memory)),
              grad(plane(memory, n.down.spread + 2 * n.radius, n.wide + 2 * n.radius + LANES)),
              padded(plane(memory, n.down.around, rounded_up(n.across.around, LANES))),
              gradient{{padded.row(n.down.gradient) + n.across.gradient, padded.line},
                       plane(memory, n.down.spread, n.wide), plane(memory, n.down.spread, n.wide), n.down.spread, n.wide},
              shifts(n.room_for_shifts(memory, n.layer.units)),
              sums(reinterpret_cast<double*>(memory.floats(2 * 3 * n.together * n.layer.outputs * n.layer.inputs * n.layer.units))),
              inputs(memory.floats(n.images_of(nullptr).room(n.together * n.layer.inputs))),
              outputs(memory.floats(n.images_of(nullptr, true).room(n.together * n.layer.outputs))),
              targets(memory.floats(n.images_of(nullptr).room(n.together * n.layer.inputs))) {}
    };

    // A vector may be read or written behind the last row.
    static Plane plane(Memory& memory, int64_t rows, int64_t line, int64_t count = 1) {
        const int64_t size = rounded_up(rows * line + LANES, LANES);
        return {memory.floats(size * count), line, size};
    }

    // The input channels of a group with all that units read around them.
    Plane source(Memory& memory) const {
        return plane(memory, rounded_up(down.spread, TALL_SUM) + 2 * layer.bound + 2, wide + 2 * layer.bound + 2, layer.inputs);
    }

    static Shift* room_for_shifts(Memory& memory, int64_t count) {
        return reinterpret_cast<Shift*>(memory.floats(count * sizeof(Shift) / sizeof(float)));
    }

    Channels images_of(const float* begin, bool outputs = false) const {
        const int64_t pixels = outputs ? down.outputs * across.outputs : down.pixels * across.pixels;
        return {const_cast<float*>(begin), layer.groups * (outputs ? layer.outputs : layer.inputs), pixels, bool(layer.channels_last)};
    }

    // The input channels of a group, cut off where no unit reads.
    void read(const float* image, const Plane& target) const {
        const int64_t top = down.first - layer.bound, left = across.first - layer.bound;
        const int64_t begin = left < 0 ? 0 : left, most = left + target.line, end = across.pixels < most ? across.pixels : most;
        const int64_t rows = rounded_up(down.spread, TALL_SUM) + 2 * layer.bound + 2;
        for (int64_t i = 0; i < layer.inputs; ++i, image += down.pixels * across.pixels)
            for (int64_t y = top < 0 ? 0 : top; y < down.pixels && y - top < rows && begin < end; ++y)
                copy(target.at(i).row(y - top) + begin - left, image + y * across.pixels + begin, end - begin);
    }

    // An output channel, from the images in the room.
    void filter(const TorchdauDirectTensors& t, int64_t number, const Forward& room, float* output) const {
        const int64_t all = layer.inputs * layer.units;
        int64_t some = 0;  // units that add something
        for (int64_t k = 0, unit = number * all; k < all; ++k, ++unit) {
            Shift& shift = room.shifts[some] = forth(t.weight[unit], t.displacement + 2 * unit, layer.bound, room.images.line);
            shift.place += k / layer.units * room.images.size;
            some += shift.adds();
        }
        add_up(room.shifts, some, room.images, room.sums, down.spread, wide, false);
        const Unsmoothed<1> sums{room.sums.begin, room.sums.line, 0, down.spread};
        const float bias = t.bias ? t.bias[number] : 0;
        if (down.stride == 1 && across.stride == 1)
            smooth(gauss, sums, down.outputs, across.outputs, [=, line = across.outputs](int64_t y, int64_t x, Vector smoothed) {
                store_within(output + y * line + x, smoothed + bias, line - x);
            });
        else
            smooth(gauss, sums, down.straight, across.straight, [=, row = across](int64_t y, int64_t x, Vector smoothed) {
                row.write(output + y * row.outputs, x, smoothed + bias);
            }, down.stride);
    }

    // The Gaussian of an output channel's gradient with its margin, and its slopes along y and x.
    void spread(const float* grad, const Backward& room, bool slopes) const {
        for (int64_t y = 0; y < down.outputs; ++y, grad += across.outputs) {
            float* to = room.grad.row(2 * radius + y * down.stride) + 2 * radius;
            if (across.stride == 1) copy(to, grad, across.outputs);
            else for (int64_t x = 0; x < across.outputs; ++x) to[x * across.stride] = grad[x];
        }
        const Unsmoothed<1> from{room.grad.begin, room.grad.line, 0, down.spread + 2 * radius};
        const Gradient to = room.gradient;
        if (slopes)
            smooth<true>(gauss, from, down.spread, wide, [=](int64_t y, int64_t x, Vector value, Vector slope_y, Vector slope_x) {
                store(to.value.row(y) + x, value), store(to.slope_y.row(y) + x, slope_y), store(to.slope_x.row(y) + x, slope_x);
            });
        else
            smooth(gauss, from, down.spread, wide, [=](int64_t y, int64_t x, Vector value) { store(to.value.row(y) + x, value); });
    }

    // Adds up the gradients of the units between an input and an output channel, from the images and the gradient in the room.
    void add_units_back(const float* displacement, int64_t input, const Backward& room, double* sums) const {
        const auto add = layer.exact ? add_products<true> : add_products<false>;
        for (int64_t k = 0; k < layer.units; ++k) add(displacement + 2 * k, layer.bound, room.images.at(input), room.gradient, sums + 3 * k);
    }

    // What they add to the input channel's gradient; `more` adds to what is there.
    void add_input_back(const float* weight, const float* displacement, const Backward& room, float* target, bool more) const {
        int64_t some = 0;
        for (int64_t k = 0; k < layer.units; ++k)
            some += (room.shifts[some] = back(weight[k], displacement + 2 * k, layer.bound, room.padded.line)).adds();
        const Plane from{room.padded.row(down.image) + across.image, room.padded.line};
        add_up(room.shifts, some, from, {target, across.pixels}, down.pixels, across.pixels, more);
    }
};
