// Loops over independent jobs in the threads of torch.
#pragma once

#include <atomic>
#include <cstdint>

// torch_parallel_for of torch's stable C interface; torch.set_num_threads() and forking are torch's own affair.
typedef int32_t (*ParallelFor)(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void*), void*);

struct Threads {
    ParallelFor parallel_for;
    int count;

    // Calls job(number, thread) for every number below `jobs`; a thread takes the next number when it is free.
    template <class Job>
    void run(int64_t jobs, Job job) const {
        if (count == 1 || jobs < 2) {
            for (int64_t number = 0; number < jobs; ++number) job(number, 0);
            return;
        }
        struct Shared {
            std::atomic<int64_t> next;
            int64_t jobs;
            Job* job;
        } shared{{0}, jobs, &job};
        auto work = [](int64_t begin, int64_t end, void* context) {
            Shared& shared = *static_cast<Shared*>(context);
            for (int64_t thread = begin; thread < end; ++thread)
                for (int64_t number; (number = shared.next.fetch_add(1)) < shared.jobs;) (*shared.job)(number, thread);
        };
        if (parallel_for(0, count, 1, work, &shared)) work(0, count, &shared);  // an error: do what is left
    }

    // The same for small jobs. A thread takes several at a time, which are neighbours in memory: else threads would wait for
    // each other's numbers and lines of the cache.
    template <class Job>
    void run_small(int64_t jobs, Job job) const {
        const int64_t each = jobs / (8 * count) + 1;
        run((jobs + each - 1) / each, [&](int64_t part, int64_t thread) {
            for (int64_t number = part * each; number < jobs && number < (part + 1) * each; ++number) job(number, thread);
        });
    }

    // The same with what a thread needs, made once for all its jobs: calls job(number, room).
    template <class Rooms, class Job>
    void run(int64_t jobs, const Rooms& rooms, Job job) const {
        std::atomic<int64_t> next{0};
        run(jobs < count ? jobs : count, [&](int64_t, int64_t thread) {
            auto room = rooms.of(thread);
            for (int64_t number; (number = next.fetch_add(1)) < jobs;) job(number, room);
        });
    }
};
