// The kernels without Python, for processors that are only emulated: compares them with plain loops, prints the largest
// relative error of the outputs and of each gradient, and fails where one is too large.
//
//     aarch64-linux-gnu-g++ -std=c++17 -O3 -static tests/kernels/check.cpp -o check && qemu-aarch64 ./check
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../torchdau/kernels/direct.h"
#include "../../torchdau/kernels/gaussian.h"
#include "../../torchdau/kernels/lane_units.h"
#include "../../torchdau/kernels/lanes.h"
#include "../../torchdau/kernels/planes.h"
#include "../../torchdau/kernels/shifts.h"
#include "../../torchdau/kernels/spectral.cpp"

namespace blurred {
#include "../../torchdau/kernels/blurred.cpp"
}
namespace lanes {
#include "../../torchdau/kernels/lanes.cpp"
}
namespace narrow {
#include "../../torchdau/kernels/narrow.cpp"
}

typedef std::vector<float> Floats;

// Runs a kernel with as much memory as it asks for.
template <class Kernel, class Arguments, class Tensors>
void run(Kernel kernel, const Arguments& arguments, const Tensors& tensors) {
    const int64_t size = kernel(&arguments, nullptr, nullptr);
    void* memory = std::aligned_alloc(64, (size + 63) / 64 * 64);
    kernel(&arguments, &tensors, memory);
    std::free(memory);
}

const int N = 3, I = 5, O = 37, K = 2, H = 9, W = 11, R = 4, RADIUS = 2;
const float SIGMA = 0.5f;

float random_number() { return float(std::rand()) / float(RAND_MAX) * 2 - 1; }
Floats random_numbers(int count, float scale = 1) {
    Floats numbers(count);
    for (float& x : numbers) x = random_number() * scale;
    return numbers;
}

// One sample of the profile of a unit: a Gaussian at the whole pixel, shifted by bilinear interpolation.
double profile(int q, double mu) {
    static const double far = std::exp(-2 / (SIGMA * SIGMA)), near = std::exp(-0.5 / (SIGMA * SIGMA));
    static const double gauss[] = {far, near, 1, near, far}, total = 1 + 2 * near + 2 * far;
    double value = 0;
    for (int j = -RADIUS; j <= RADIUS; ++j) value += gauss[j + RADIUS] / total * std::fmax(0, 1 - std::fabs(q - j - mu));
    return value;
}

// The output in plain loops.
std::vector<double> reference(const Floats& x, const Floats& weight, const std::vector<double>& mu, const Floats& bias) {
    std::vector<double> y(N * O * H * W);
    for (int n = 0; n < N; ++n)
        for (int o = 0; o < O; ++o)
            for (int py = 0; py < H; ++py)
                for (int px = 0; px < W; ++px) {
                    double sum = bias[o];
                    for (int i = 0; i < I; ++i)
                        for (int k = 0; k < K; ++k) {
                            const int unit = (o * I + i) * K + k;
                            for (int sy = 0; sy < H; ++sy)
                                for (int sx = 0; sx < W; ++sx) {
                                    const int qy = sy - py, qx = sx - px;
                                    if (std::fabs(qy - mu[2 * unit]) > RADIUS + 1 || std::fabs(qx - mu[2 * unit + 1]) > RADIUS + 1) continue;
                                    sum += weight[unit] * profile(qy, mu[2 * unit]) * profile(qx, mu[2 * unit + 1]) *
                                           x[((n * I + i) * H + sy) * W + sx];
                                }
                        }
                    y[((n * O + o) * H + py) * W + px] = sum;
                }
    return y;
}

int failures = 0;
void compare(const char* name, double error, double limit) {
    std::printf("%-22s %.1e\n", name, error);
    failures += !(error < limit);
}
template <class A, class B>
double relative(const A& got, const B& expected) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < got.size(); ++i)
        difference += (got[i] - expected[i]) * (got[i] - expected[i]), norm += double(expected[i]) * expected[i];
    return std::sqrt(difference / norm);
}
template <class A, class B>
double dot(const A& a, const B& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * b[i];
    return sum;
}

int main() {
    const Floats x = random_numbers(N * I * H * W), weight = random_numbers(O * I * K), bias = random_numbers(O);
    const Floats displacement = random_numbers(O * I * K * 2, R), grad = random_numbers(N * O * H * W), none(O);
    std::vector<double> mu(displacement.begin(), displacement.end());
    const std::vector<double> y = reference(x, weight, mu, bias), y_without = reference(x, weight, mu, none);

    const int reach = R + RADIUS, exact = 1;
    auto axis = [&](int size) { return TorchdauAxis{size + reach + exact, 1, size, 0, size, size, size, size, 1, 0.0}; };
    const TorchdauLayer layer{N, 1, I, O, K, N, 1 << 20, axis(H), axis(W), {0, exact, -reach, reach + exact, RADIUS}, 1, 1, 0, nullptr};
    Floats out(y.size()), dx(x.size()), dw(weight.size()), dmu(displacement.size()), db(O);
    TorchdauTensors tensors{x.data(), weight.data(), displacement.data(), &SIGMA, bias.data(), grad.data(),
                            out.data(), dx.data(), dw.data(), dmu.data(), nullptr, db.data()};
    run(torchdau_spectral_forward, layer, tensors);
    compare("spectral output", relative(out, y), 1e-6);
    run(torchdau_spectral_backward, layer, tensors);
    const double sum = dot(grad, y_without);
    compare("gradient of images", std::fabs(dot(dx, x) / sum - 1), 1e-5);
    compare("gradient of weights", std::fabs(dot(dw, weight) / sum - 1), 1e-5);
    Floats expected_bias(O);
    for (int i = 0; i < N * O * H * W; ++i) expected_bias[i / (H * W) % O] += grad[i];
    compare("gradient of bias", relative(db, expected_bias), 1e-5);
    std::vector<double> numeric, got;
    for (int i = 0; i < int(mu.size()); i += 251) {
        std::vector<double> moved = mu;
        moved[i] += 1e-6;
        numeric.push_back((dot(grad, reference(x, weight, moved, none)) - sum) / 1e-6), got.push_back(dmu[i]);
    }
    compare("gradient of positions", relative(got, numeric), 1e-4);

    const TorchdauDirect plain{N, 1, I, O, K, N, {H, H, 1, 0}, {W, W, 1, 0}, R, RADIUS, exact, 0, 1, 0, 1, nullptr};
    TorchdauDirectTensors all{x.data(), weight.data(), displacement.data(), &SIGMA, bias.data(), grad.data(),
                              out.data(), dx.data(), dw.data(), dmu.data(), nullptr};
    run(blurred::torchdau_blurred_forward, plain, all);
    compare("output of blurred images", relative(out, y), 1e-6);
    auto check = [&](const char* name, auto forward, auto backward) {
        std::printf("%s\n", name);
        run(forward, plain, all);
        compare("output", relative(out, y), 1e-6);
        run(backward, plain, all);
        compare("gradient of images", std::fabs(dot(dx, x) / sum - 1), 1e-5);
        compare("gradient of weights", std::fabs(dot(dw, weight) / sum - 1), 1e-5);
        got.clear();
        for (int i = 0; i < int(mu.size()); i += 251) got.push_back(dmu[i]);
        compare("gradient of positions", relative(got, numeric), 1e-4);
    };
    check("few channels", narrow::torchdau_narrow_forward, narrow::torchdau_narrow_backward);
    check("lanes", lanes::torchdau_lanes_forward, lanes::torchdau_lanes_backward);
    return failures;
}
