// The arguments of the spectral kernel, and what they say of images and units.
#pragma once

#include <cstdint>

#include "parallel.h"
#include "tiling.h"
#include "units.h"

// The arguments, as torchdau/algorithms/spectral/native.py fills them in.
extern "C" {

struct TorchdauAxis {
    int32_t length;                               // of the transform
    int32_t tiles;                                // that an image is cut into
    int32_t input_pixels, input_start, input_size, input_step;
    int32_t output_pixels, output_size, stride;
    double shift;  // pixels from the middle of an input tile to where displacement 0 of the middle output reads
};

struct TorchdauLayer {
    int64_t images, groups, inputs, outputs, units;  // inputs and outputs of one group
    int64_t rows;                                    // of tiles that are worked on at a time
    int64_t table_size;                              // numbers that tables of units may take
    TorchdauAxis y, x;
    Profile profile;
    int32_t shared_sigma, threads;
    int32_t channels_last;  // images are (N, H, W, C), or else (N, C, H, W)
    ParallelFor parallel_for;
};

struct TorchdauTensors {  // images in the type of the function, all others in float32
    const void* input;
    const float *weight, *displacement, *sigma, *bias;
    const void* grad_output;
    void *output, *grad_input;
    float *grad_weight, *grad_displacement, *grad_sigma, *grad_bias;
};
}

static inline Axis input_axis(const TorchdauAxis& a) { return {a.input_pixels, a.input_start, a.input_size, a.input_step, a.tiles, 1}; }
static inline Axis output_axis(const TorchdauAxis& a) { return {a.output_pixels, 0, a.output_size, a.output_size, a.tiles, a.stride}; }

// The units as a filter of the inputs (targets are outputs) or, for the gradient, of the outputs.
static inline Units forward_units(const TorchdauLayer& l, const TorchdauTensors& t) {
    return {t.weight, t.displacement, t.sigma, nullptr, nullptr, nullptr, l.outputs, l.inputs, l.units,
            l.inputs * l.units, l.units, bool(l.shared_sigma)};
}

static inline Units backward_units(const TorchdauLayer& l, const TorchdauTensors& t) {
    return {t.weight, t.displacement, t.sigma, t.grad_weight, t.grad_displacement, t.grad_sigma, l.inputs, l.outputs, l.units,
            l.units, l.inputs * l.units, bool(l.shared_sigma)};
}
