// The arguments of the kernels of the direct algorithm, as torchdau/algorithms/direct/arguments.py fills them in.
#pragma once

#include <cstdint>

#include "parallel.h"

extern "C" {

struct TorchdauDirectAxis {
    int32_t pixels, outputs, stride, padding;
};

struct TorchdauDirect {
    int64_t images, groups, inputs, outputs, units;  // inputs and outputs of one group
    int64_t planes;                                  // blurred images that are worked on at a time
    TorchdauDirectAxis y, x;
    int32_t bound;   // of the displacements, in whole pixels
    int32_t radius;  // of the sampled Gaussian
    int32_t exact;   // whether the gradient of displacements is the exact one
    int32_t gaussian, shared_sigma;  // the Gaussian form; one sigma for all units: for "separable", the others take it for granted
    int32_t channels_last;  // images are (N, H, W, C), or else (N, C, H, W): for "narrow" and "lanes" alone
    int32_t threads;
    ParallelFor parallel_for;
};

// What is not computed may be null.
struct TorchdauDirectTensors {
    const float *input, *weight, *displacement, *sigma, *bias, *grad_output;
    float *output, *grad_input, *grad_weight, *grad_displacement, *grad_sigma;
};
}
