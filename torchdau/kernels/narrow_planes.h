// One plane at a time, for few input channels in a group: what a thread needs, and the steps of narrow.cpp.
#pragma once

#include <cstdint>

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

    PlaneAxis(const TorchdauDirectAxis& a, int radius)
        : pixels(a.pixels), outputs(a.outputs), stride(a.stride), straight(int64_t(a.outputs - 1) * a.stride + 1),
          spread(straight + 2 * radius), first(-a.padding - radius) {}
};

struct OnPlanes {
    const TorchdauDirect& layer;
    const PlaneAxis down, across;
    const int64_t radius, wide, together;  // together: groups that are worked on at a time
    const Gaussian gauss;

    OnPlanes(const TorchdauDirect& d, int64_t some, Memory& memory)
        : layer(d), down(d.y, d.radius), across(d.x, d.radius), radius(d.radius), wide(rounded_up(across.spread, LANES)), together(some), gauss(d.radius, memory) {}

    // What a thread needs. Margins of planes are zero from the beginning, and stay so.
    struct Forward {
        Plane images, sums, rows;
        Shift* shifts;
        float *source, *target;  // channels of groups that are worked on together

        Forward(const OnPlanes& n, Memory& memory)
            : images(n.source(memory, n.layer.inputs)),
              sums(plane(memory, rounded_up(n.down.spread, TALL_SUM), n.wide + LANES)),
              rows(plane(memory, n.down.spread, n.wide)),
              shifts(n.room_for_shifts(memory, n.layer.inputs * n.layer.units)),
              source(memory.floats(n.images_of(nullptr).room(n.together * n.layer.inputs))),
              target(memory.floats(n.images_of(nullptr, true).room(n.together * n.layer.outputs))) {}
    };

    struct Backward {
        Plane image, along, slope_along, padded, out;
        Gradient gradient;
        float* row;
        Shift* shifts;
        double* sums;
        float *inputs, *outputs;  // channels of groups that are worked on together

        Backward(const OnPlanes& n, Memory& memory)
            : image(n.source(memory, 1)),
              along(plane(memory, n.down.spread + 2 * n.radius, n.wide)),
              slope_along(plane(memory, n.down.spread + 2 * n.radius, n.wide)),
              padded(plane(memory, n.high(), rounded_up(n.across.pixels, LANES) + 2 * n.layer.bound + 3)),
              out(plane(memory, rounded_up(n.down.pixels, TALL_SUM), rounded_up(n.across.pixels, LANES), n.layer.inputs)),
              gradient{plane(memory, n.down.spread, n.wide), plane(memory, n.down.spread, n.wide), plane(memory, n.down.spread, n.wide), n.down.spread, n.wide},
              row(memory.floats(n.wide + 2 * n.radius + 2 * LANES)),
              shifts(n.room_for_shifts(memory, n.layer.units)),
              sums(reinterpret_cast<double*>(memory.floats(2 * 3 * n.together * n.layer.outputs * n.layer.inputs * n.layer.units))),
              inputs(memory.floats(n.images_of(nullptr).room(n.together * n.layer.inputs))),
              outputs(memory.floats(n.images_of(nullptr, true).room(n.together * n.layer.outputs))) {}
    };

    // A vector may be read or written behind the last row.
    static Plane plane(Memory& memory, int64_t rows, int64_t line, int64_t count = 1) {
        const int64_t size = rounded_up(rows * line + LANES, LANES);
        return {memory.floats(size * count), line, size};
    }

    // Images with all that units read around them.
    Plane source(Memory& memory, int64_t count) const {
        return plane(memory, rounded_up(down.spread, TALL_SUM) + 2 * layer.bound + 2, wide + 2 * layer.bound + 2, count);
    }

    // Rows of a gradient with all that units read around it on the way back.
    int64_t high() const { return rounded_up(down.pixels, TALL_SUM) + 2 * layer.bound + 2; }

    static Shift* room_for_shifts(Memory& memory, int64_t count) {
        return reinterpret_cast<Shift*>(memory.floats(count * sizeof(Shift) / sizeof(float)));
    }

    Channels images_of(const float* begin, bool outputs = false) const {
        const int64_t pixels = outputs ? down.outputs * across.outputs : down.pixels * across.pixels;
        return {const_cast<float*>(begin), layer.groups * (outputs ? layer.outputs : layer.inputs), pixels, bool(layer.channels_last)};
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
        add_up(room.shifts, some, room.images, room.sums, down.spread, across.spread, false);
        blur(room, t.bias ? t.bias[number] : 0, output);
    }

    // Gradients of the input channels of a group.
    void group_back(const TorchdauDirectTensors& t, int64_t group, const float* grad, float* target, const Backward& room) const {
        for (int64_t o = 0; o < layer.outputs; ++o) {
            spread(grad + o * down.outputs * across.outputs, room, false);
            pad(room);
            for (int64_t i = 0; i < layer.inputs; ++i) {
                const int64_t first = ((group * layer.outputs + o) * layer.inputs + i) * layer.units;
                int64_t some = 0;
                for (int64_t unit = first; unit < first + layer.units; ++unit)
                    some += (room.shifts[some] = back(t.weight[unit], t.displacement + 2 * unit, layer.bound, room.padded.line)).adds();
                add_up(room.shifts, some, room.padded, room.out.at(i), down.pixels, across.pixels, o > 0);
            }
        }
        for (int64_t i = 0; i < layer.inputs; ++i)
            for (int64_t y = 0; y < down.pixels; ++y) {
                float* to = target + (i * down.pixels + y) * across.pixels;
                const float* from = room.out.at(i).row(y);
                int64_t x = 0;
                for (; x + LANES <= across.pixels; x += LANES) store(to + x, load(from + x));
                store_some(to + x, load(from + x), across.pixels - x);
            }
    }

    // An image, cut off where no unit reads.
    void read(const float* image, const Plane& target) const {
        const int64_t top = down.first - layer.bound, left = across.first - layer.bound;
        const int64_t begin = left < 0 ? 0 : left, most = left + target.line, end = across.pixels < most ? across.pixels : most;
        const int64_t rows = rounded_up(down.spread, TALL_SUM) + 2 * layer.bound + 2;
        for (int64_t y = top < 0 ? 0 : top; y < down.pixels && y - top < rows && begin < end; ++y)
            copy(target.row(y - top) + begin - left, image + y * across.pixels + begin, end - begin);
    }

    // The Gaussian of the sums along x, then along y into the output, of which a stride leaves out rows and columns.
    void blur(const Forward& room, float bias, float* output) const {
        for (int64_t y = 0; y < down.spread; ++y)
            for (int64_t x = 0; x < across.straight; x += LANES) store(room.rows.row(y) + x, gauss.smoothed(room.sums.row(y) + radius + x, 1));
        for (int64_t y = 0; y < down.outputs; ++y)
            for (int64_t x = 0; x < across.straight; x += LANES) {
                const Vector total = gauss.smoothed(room.rows.row(y * down.stride + radius) + x, room.rows.line) + bias;
                float* to = output + y * across.outputs;
                if (across.stride > 1) {
                    for (int64_t lane = (across.stride - x % across.stride) % across.stride; lane < LANES && x + lane < across.straight; lane += across.stride)
                        to[(x + lane) / across.stride] = total[lane];
                } else if (x + LANES <= across.outputs) {
                    store(to + x, total);
                } else {
                    store_some(to + x, total, across.outputs - x);
                }
            }
    }

    // The Gaussian of the output's gradient with its margin, and its slopes along y and x.
    void spread(const float* grad, const Backward& room, bool slopes) const {
        for (int64_t y = 0; y < down.outputs; ++y) {
            if (across.stride == 1)
                copy(room.row + 2 * radius, grad + y * across.outputs, across.outputs);
            else
                for (int64_t x = 0; x < across.outputs; ++x) room.row[2 * radius + x * across.stride] = grad[y * across.outputs + x];
            const int64_t to = 2 * radius + y * down.stride;
            for (int64_t x = 0; x < wide; x += LANES) {
                store(room.along.row(to) + x, gauss.smoothed(room.row + radius + x, 1));
                if (slopes) store(room.slope_along.row(to) + x, gauss.sloped(room.row + radius + x, 1));
            }
        }
        const Gradient& gradient = room.gradient;
        for (int64_t x = 0; x < wide; x += LANES)
            for (int64_t y = 0; y < down.spread; ++y) {
                const float* centre = room.along.row(y + radius) + x;
                store(gradient.value.row(y) + x, gauss.smoothed(centre, wide));
                if (!slopes) continue;
                store(gradient.slope_y.row(y) + x, gauss.sloped(centre, wide));
                store(gradient.slope_x.row(y) + x, gauss.smoothed(room.slope_along.row(y + radius) + x, wide));
            }
    }

    // That gradient with all that units read around it on the way back.
    void pad(const Backward& room) const {
        const int64_t left = across.first + layer.bound + 1, top = down.first + layer.bound + 1;
        const int64_t begin = left < 0 ? -left : 0, most = room.padded.line - left, end = across.spread < most ? across.spread : most;
        for (int64_t y = top < 0 ? -top : 0; y < down.spread && y + top < high() && begin < end; ++y)
            copy(room.padded.row(y + top) + left + begin, room.gradient.value.row(y) + begin, end - begin);
    }
};
