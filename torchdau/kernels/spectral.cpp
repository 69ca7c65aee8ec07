// The C functions of the spectral algorithm.
#include "amx_products.h"
#include "spectral.h"

#define EXPORT __attribute__((visibility("default")))

extern "C" {

// What these functions take, as a number that changes with it (torchdau/kernels/__init__.py).
EXPORT int64_t torchdau_interface() { return 8; }

// Numbers of a vector.
EXPORT int64_t torchdau_lanes() { return LANES; }

// Each returns the bytes of workspace, at the start of a cache line, that it needs; without tensors it does nothing else.
EXPORT int64_t torchdau_spectral_forward(const TorchdauLayer* layer, const TorchdauTensors* tensors, void* workspace) {
    return SpectralLayer<Float32>(*layer, workspace).forward(tensors);
}
EXPORT int64_t torchdau_spectral_backward(const TorchdauLayer* layer, const TorchdauTensors* tensors, void* workspace) {
    return SpectralLayer<Float32>(*layer, workspace).backward(tensors);
}

#if defined(__AMX_BF16__)
// Whether this processor can run the library, and Linux lets it.
EXPORT int64_t torchdau_runs() { return amx_serves(); }

// The same for images in bfloat16.
EXPORT int64_t torchdau_spectral_forward_bfloat16(const TorchdauLayer* layer, const TorchdauTensors* tensors, void* workspace) {
    return SpectralLayer<Bfloat16>(*layer, workspace).forward(tensors);
}
EXPORT int64_t torchdau_spectral_backward_bfloat16(const TorchdauLayer* layer, const TorchdauTensors* tensors, void* workspace) {
    return SpectralLayer<Bfloat16>(*layer, workspace).backward(tensors);
}
#else
EXPORT int64_t torchdau_runs() { return 1; }
#endif
}
