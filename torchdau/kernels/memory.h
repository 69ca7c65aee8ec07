// Pieces of one block of memory that the caller owns. Without a block it only counts what is needed.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

// Asks for large pages for new memory, before it is first touched: else a tenth of a layer's time goes into page faults.
static inline void want_large_pages(void* begin, int64_t bytes) {
#if defined(__linux__)
    constexpr uintptr_t SIZE = 2 << 20;
    const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + SIZE - 1) / SIZE * SIZE;
    const uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + bytes) / SIZE * SIZE;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
    (void)begin, (void)bytes;
#endif
}

class Memory {
   public:
    explicit Memory(void* block) : begin_(reinterpret_cast<uintptr_t>(block)), used_(0) {}

    // Room for numbers, at the start of a cache line.
    float* floats(int64_t count) {
        float* room = reinterpret_cast<float*>(begin_ + used_);
        used_ += (count * static_cast<int64_t>(sizeof(float)) + 63) / 64 * 64;
        return room;
    }

    int64_t used() const { return used_; }

   private:
    uintptr_t begin_;
    int64_t used_;
};

// What every thread needs for itself: a Room(owner, memory) each.
template <class Room, class Owner>
class Rooms {
   public:
    Rooms(const Owner& owner, Memory& memory, int64_t threads) : owner_(owner), threads_(threads) {
        Memory counted(nullptr);
        Room(owner, counted);
        size_ = counted.used() / int64_t(sizeof(float));
        begin_ = memory.floats(size_ * threads);
    }

    void clear() const { std::memset(begin_, 0, sizeof(float) * size_ * threads_); }

    Room of(int64_t thread) const {
        Memory memory(begin_ + thread * size_);
        return Room(owner_, memory);
    }

   private:
    const Owner& owner_;
    int64_t threads_, size_;
    float* begin_;
};
