// The spectral algorithm: the whole forward and backward pass of a layer (docs/algorithms.md).
//
// Tiles of images are transformed to spectra; per frequency the spectra of the filters are made from tables of the units, in
// the cache, and multiplied; the results are transformed back. What is computed does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "arguments.h"
#include "filters.h"
#include "frequencies.h"
#include "images.h"
#include "memory.h"
#include "parallel.h"
#include "products.h"
#include "units.h"

constexpr int64_t CACHE = 1 << 17;  // numbers that filters may take in the second cache of a core

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// One call. First the two passes; below them their steps in the order of the passes: rows of tiles, memory, images to spectra
// and back, products with filters, gradients of the units.
template <class Arithmetic>
class SpectralLayer {
    typedef typename Arithmetic::Images Images;
    typedef typename Arithmetic::Number Number;
    typedef typename Arithmetic::Tables FilterTables;
    typedef typename Arithmetic::TableRoom TableRoom;
    typedef typename Arithmetic::Products Products;
    typedef typename Arithmetic::Gradients Gradients;
    typedef ::Spectra<Number> Spectra;

   public:
    SpectralLayer(const TorchdauLayer& layer, void* workspace)
        : l_(layer),
          memory_(workspace),
          threads_{layer.parallel_for, layer.threads},
          frequencies_{layer.y.length, layer.x.length},
          in_(frequencies_, layer.groups, layer.inputs, layer.channels_last, input_axis(layer.y), input_axis(layer.x), memory_),
          out_(frequencies_, layer.groups, layer.outputs, layer.channels_last, output_axis(layer.y), output_axis(layer.x), memory_),
          filters_(frequencies_, layer.profile, layer.y.shift, layer.x.shift, memory_) {}

    // Returns the bytes of workspace that it needs; without tensors it only counts them.
    int64_t forward(const TorchdauTensors* t) {
        Number *x = spectra(in_), *y = spectra(out_);
        const int64_t group = blocks_at_a_time(l_.inputs);
        const FilterTables tables = make_tables(group, l_.inputs);
        make_slabs({room(in_), room(out_), filter_room(l_.inputs)});
        if (!t) return memory_.used();
        in_.fill(), out_.fill(), filters_.fill(l_.shared_sigma ? t->sigma : nullptr);
        const Units units = forward_units(l_, *t);
        want_large_pages(t->output, size(out_));
        for (Part part = first(); part.rows; part = next(part)) {
            const Spectra xs = of(part, x), ys = of(part, y);
            analyse(in_, t->input, part, xs);
            filter(units, xs, in_.blocks(), ys, out_.blocks(), group, tables, 1);
            synthesise(out_, ys, part, t->bias, t->output);
        }
        return memory_.used();
    }

    // The same for gradients: one that is not asked for is null; those of bias and units are added to what is there.
    int64_t backward(const TorchdauTensors* t) {
        Number *d = spectra(out_), *x = spectra(in_);
        const int64_t group = blocks_at_a_time(l_.outputs), sources = sources_at_a_time();
        const FilterTables tables = make_tables(group, l_.outputs);
        make_slabs({room(in_), room(out_), filter_room(l_.outputs), gradient_room(sources)});
        if (!t) return memory_.used();
        in_.fill(), out_.fill(), filters_.fill(l_.shared_sigma ? t->sigma : nullptr);
        const Units units = backward_units(l_, *t);
        if (t->grad_input) want_large_pages(t->grad_input, size(in_));
        for (Part part = first(); part.rows; part = next(part)) {
            const Spectra ds = of(part, d), xs = of(part, x);
            analyse(out_, t->grad_output, part, ds);
            if (t->grad_bias) add_bias_gradient(ds, t->grad_bias);
            if (t->grad_input) {
                const Spectra products = of(part, x);  // where the spectra of the input will be
                filter(units, ds, out_.blocks(), products, in_.blocks(), group, tables, -1);
                synthesise(in_, products, part, nullptr, t->grad_input);
            }
            if (t->grad_weight || t->grad_displacement || t->grad_sigma) {
                analyse(in_, t->input, part, xs);
                add_unit_gradients(units, xs, ds, sources);
            }
        }
        return memory_.used();
    }

   private:
    int64_t size(const Images& images) const {
        return l_.images * l_.groups * images.channels * images.image() * int64_t(sizeof(Number));
    }

    // Some rows of tiles; those of an image follow each other.
    struct Part {
        int64_t first, rows;
    };

    int64_t all_rows() const { return l_.images * l_.y.tiles; }
    Part first() const { return {0, least(l_.rows, all_rows())}; }
    Part next(Part p) const { return {p.first + p.rows, least(l_.rows, all_rows() - p.first - p.rows)}; }

    Number* spectra(const Images& images) {
        const int64_t count = l_.groups * images.blocks() * frequencies_.count() * Arithmetic::stored(l_.rows * l_.x.tiles) * 2 * BLOCK;
        return reinterpret_cast<Number*>(memory_.floats(count * int64_t(sizeof(Number)) / int64_t(sizeof(float))));
    }
    Spectra of(Part part, Number* begin) const {
        const int64_t images = part.rows * l_.x.tiles;
        return {begin, frequencies_.count(), images, Arithmetic::stored(images)};
    }

    // Blocks of targets whose tables are in memory at a time.
    int64_t blocks_at_a_time(int64_t sources) const {
        return most(1, l_.table_size / ((frequencies_.half() + frequencies_.columns()) * sources * l_.units * 2 * BLOCK));
    }
    FilterTables make_tables(int64_t group, int64_t sources) {
        const int64_t blocks = most(in_.blocks(), out_.blocks());
        return FilterTables(frequencies_, least(group, blocks) * sources, l_.units, memory_);
    }

    // Blocks of targets whose filters of one frequency, and of its twin, are in the cache of a core.
    static int64_t filters_at_a_time(int64_t sources) { return most(1, CACHE / (2 * sources * 2 * BLOCK)); }

    // Sources whose gradients a job of add_unit_gradients works on: fewer read the spectra of the input more often.
    int64_t sources_at_a_time() const {
        const int64_t jobs = 4 * l_.threads, blocks = l_.groups * in_.blocks();
        int64_t sources = BLOCK;
        while (sources < 64 && sources < l_.outputs && blocks * (l_.outputs / (2 * sources)) >= jobs) sources *= 2;
        return sources;
    }

    static int64_t room(const Images& images) {
        Memory measure(nullptr);
        typename Images::Room(images, measure);
        return measure.used();
    }
    int64_t filter_room(int64_t sources) const {
        Memory products(nullptr), tables(nullptr);
        Products(sources, filters_at_a_time(sources), products);
        TableRoom(filters_, l_.units, tables);
        return most(products.used(), tables.used());
    }
    int64_t gradient_room(int64_t sources) const {
        Memory measure(nullptr);
        Tables(frequencies_, sources, l_.units, measure), Tables(frequencies_, sources, l_.units, measure);
        Filters::Room(filters_, l_.units, measure);
        measure.floats(2 * sources * 2 * BLOCK);
        Gradients(l_.rows * l_.x.tiles, measure);
        return measure.used();
    }
    void make_slabs(std::initializer_list<int64_t> bytes) {
        slab_size_ = 0;
        for (int64_t size : bytes) slab_size_ = most(slab_size_, size / int64_t(sizeof(float)));
        slabs_ = memory_.floats(slab_size_ * l_.threads);
    }
    Memory slab(int64_t thread) const { return Memory(slabs_ + thread * slab_size_); }

    void analyse(const Images& images, const void* pixels, Part part, const Spectra& spectra) const {
        const int64_t blocks = images.blocks();
        threads_.run(part.rows * l_.groups * blocks, [&](int64_t job, int64_t thread) {
            Memory memory = slab(thread);
            const typename Images::Room room(images, memory);
            const int64_t block = job % (l_.groups * blocks), row = part.first + job / (l_.groups * blocks);
            const int64_t image = row / l_.y.tiles, group = block / blocks, channel = block % blocks * BLOCK;
            const Number* from = static_cast<const Number*>(pixels) + images.begin(image, group, channel);
            for (int tx = 0; tx < l_.x.tiles; ++tx) {
                const int64_t number = (row - part.first) * l_.x.tiles + tx;
                images.analyse(from, images.place(row % l_.y.tiles, tx, channel), spectra.at(block, 0, number), spectra.to_frequency(), room);
            }
            fence();
        });
    }

    void synthesise(const Images& images, const Spectra& spectra, Part part, const float* bias, void* pixels) const {
        const int64_t blocks = images.blocks(), tiles = l_.y.tiles;
        const bool add = images.y.count * images.x.count > 1 && (images.y.step < images.y.size || images.x.step < images.x.size);
        auto work = [&](int64_t block, int64_t row, int64_t thread) {
            Memory memory = slab(thread);
            const typename Images::Room room(images, memory);
            const int64_t image = row / tiles, group = block / blocks, channel = block % blocks * BLOCK;
            const int64_t first = group * images.channels + channel;
            Number* to = static_cast<Number*>(pixels) + images.begin(image, group, channel);
            for (int tx = 0; tx < l_.x.tiles; ++tx) {
                const int64_t number = (row - part.first) * l_.x.tiles + tx;
                images.synthesise(spectra.at(block, 0, number), spectra.to_frequency(), to, images.place(row % tiles, tx, channel), add, bias ? bias + first : nullptr, room);
            }
        };
        const int64_t all = l_.groups * blocks;
        if (!add) return threads_.run(part.rows * all, [&](int64_t job, int64_t thread) { work(job % all, part.first + job / all, thread); });
        const int64_t first = part.first / tiles, last = (part.first + part.rows - 1) / tiles;
        threads_.run((last - first + 1) * all, [&](int64_t job, int64_t thread) {  // one thread for tiles that overlap
            const int64_t image = first + job / all;
            for (int64_t row = most(part.first, image * tiles); row < least(part.first + part.rows, (image + 1) * tiles); ++row)
                work(job % all, row, thread);
        });
    }

    // Spectra of all targets from those of all sources, `sign` -1 for the adjoint.
    void filter(const Units& units, const Spectra& in, int64_t in_blocks, const Spectra& out, int64_t out_blocks, int64_t group,
                const FilterTables& tables, float sign) const {
        for (int64_t g = 0; g < l_.groups; ++g)
            for (int64_t first = 0; first < out_blocks; first += group)
                filter_group(units.part(g), in, in_blocks * g, out, out_blocks * g + first, first, least(group, out_blocks - first), tables, sign);
    }

    void filter_group(const Units& units, const Spectra& in, int64_t in_block, const Spectra& out, int64_t out_block, int64_t first,
                      int64_t count, const FilterTables& tables, float sign) const {
        const int64_t pieces = (units.sources + Filters::SOURCES - 1) / Filters::SOURCES;
        threads_.run(count * pieces, [&](int64_t job, int64_t thread) {
            Memory memory = slab(thread);
            const TableRoom room(filters_, l_.units, memory);
            const int64_t block = job / pieces, source = job % pieces * Filters::SOURCES;
            const int64_t some = least(Filters::SOURCES, units.sources - source);
            Arithmetic::build(filters_, units, (first + block) * BLOCK, source, some, block * units.sources + source, tables, room);
        });
        const int half = frequencies_.half();
        const int64_t some = filters_at_a_time(units.sources), groups = (count + some - 1) / some;
        // A job is a column of frequencies, or a piece of one: the tables along x stay in its cache.
        const int64_t jobs = frequencies_.columns() * groups, pieces_y = least(half, (4 * l_.threads + jobs - 1) / jobs);
        threads_.run(jobs * pieces_y, [&](int64_t job, int64_t thread) {
            const int kx = int(job / pieces_y / groups), piece = int(job % pieces_y);
            const int64_t block = job / pieces_y % groups * some, here = least(some, count - block);
            Memory memory = slab(thread);
            const Products products(units.sources, some, memory);
            for (int ky = int(piece * half / pieces_y); ky < (piece + 1) * half / pieces_y; ++ky) {
                const bool has_twin = frequencies_.has_twin(kx, ky);
                for (int64_t b = 0; b < here; ++b) products.make(filters_, tables, b, (block + b) * units.sources, kx, ky, sign, has_twin);
                products.apply(false, here, in, in_block, out, out_block + block, frequencies_.number(kx, ky));
                if (has_twin) products.apply(true, here, in, in_block, out, out_block + block, frequencies_.twin(kx, ky));
            }
            fence();
        });
    }

    void add_unit_gradients(const Units& all, const Spectra& x, const Spectra& d, int64_t sources) const {
        const int64_t pieces = (l_.outputs + sources - 1) / sources, blocks = in_.blocks();
        threads_.run(l_.groups * blocks * pieces, [&](int64_t job, int64_t thread) {
            const int64_t first = job % pieces * sources, block = job / pieces % blocks, g = job / pieces / blocks;
            const int64_t count = least(sources, l_.outputs - first);
            const Units units = all.part(g);
            Memory memory = slab(thread);
            const Tables tables(frequencies_, sources, l_.units, memory), grads(frequencies_, sources, l_.units, memory);
            const Filters::Room room(filters_, l_.units, memory);
            float *gradients = memory.floats(sources * 2 * BLOCK), *of_twin = memory.floats(sources * 2 * BLOCK);
            const Gradients products(l_.rows * l_.x.tiles, memory);
            filters_.build(units, block * BLOCK, first, count, 0, tables, room);
            grads.clear(frequencies_);
            for (int kx = 0; kx < frequencies_.columns(); ++kx)
                for (int ky = 0; ky < frequencies_.half(); ++ky) {
                    const int64_t f = frequencies_.number(kx, ky);
                    products.multiply(x, g * blocks + block, d, g * out_.blocks(), f, first, count, gradients);
                    const bool twin = frequencies_.has_twin(kx, ky);
                    if (twin) products.multiply(x, g * blocks + block, d, g * out_.blocks(), frequencies_.twin(kx, ky), first, count, of_twin);
                    filters_.add_gradients(tables, grads, kx, ky, count, gradients, twin ? of_twin : nullptr);
                }
            filters_.add_unit_gradients(units, block * BLOCK, first, count, grads, room);
        });
    }

    void add_bias_gradient(const Spectra& d, float* grad) const {
        threads_.run(l_.groups * out_.blocks(), [&](int64_t job, int64_t) {
            const int64_t first = job % out_.blocks() * BLOCK, group = job / out_.blocks();
            for (int64_t c = 0; c < least(BLOCK, l_.outputs - first); ++c) {
                double total = 0;
                for (int64_t n = 0; n < d.images; ++n) total += Arithmetic::real(d.at(job, 0, n), c);
                grad[group * l_.outputs + first + c] += float(total);
            }
        });
    }

    const TorchdauLayer& l_;
    Memory memory_;
    Threads threads_;
    Frequencies frequencies_;
    Images in_, out_;
    Filters filters_;
    float* slabs_ = nullptr;
    int64_t slab_size_ = 0;
};

