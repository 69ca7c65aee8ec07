// Pieces of one block of memory that the caller owns. Without a block it only counts what is needed.
#pragma once

#include <cstdint>

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
