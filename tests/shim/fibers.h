// A block's threads as fibers of one CPU thread, run in an order drawn from a seed. A fiber runs
// until it waits or ends.
//
// A barrier opens when all threads of the block wait at the same one; a thread that waits elsewhere
// or has ended makes the launch fail. An operation of a warp is done when all its 32 lanes ask for
// it; only its barrier orders what the lanes do to memory.
#pragma once

#include "memory.h"

#include <cstdlib>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace shim {

enum class Wait { Ready, Barrier, Warp, Done };
enum class Kind { Shuffle, Ballot, Sync, Tf32, Bf16 };

struct Operation {
    Kind kind = Kind::Shuffle;
    // Shuffle
    double value = 0;
    unsigned lane = 0;
    // Ballot
    unsigned bits = 0;
    // Products of fragments
    float* c = nullptr;
    const unsigned* a = nullptr;
    const unsigned* b = nullptr;
};

#if defined(__x86_64__)
using Context = void*;
extern "C" void din_shim_switch(Context* from, Context to);
// Saves the registers that a function must keep, and goes on where the other left off.
asm(R"(
.text
.type din_shim_switch,@function
.hidden din_shim_switch
.globl din_shim_switch
din_shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
#else
using Context = ucontext_t;
#endif

struct Fiber {
    Context context{};
    char* stack = nullptr;
    Wait wait = Wait::Done;
    int line = 0;
    Operation operation;
};

constexpr std::size_t STACK = 256 << 10;

struct Block {
    std::vector<Fiber> fibers;
    Context main{};
    void (*body)() = nullptr;
    std::uint64_t random = 1;
    unsigned running = 0;
    // A barrier that is left out.
    int skipped = 0;
};

inline Block& block() {
    static Block b;
    return b;
}

inline void leave(Fiber& f) {
#if defined(__x86_64__)
    din_shim_switch(&f.context, block().main);
#else
    swapcontext(&f.context, &block().main);
#endif
}

inline void enter(Fiber& f) {
#if defined(__x86_64__)
    din_shim_switch(&block().main, f.context);
#else
    swapcontext(&block().main, &f.context);
#endif
}

// Where a fiber begins; it never returns.
inline void start() {
    Block& b = block();
    b.body();
    Fiber& f = b.fibers[b.running];
    f.wait = Wait::Done;
    leave(f);
    std::abort();
}

[[noreturn]] inline void fail(const std::string& why) {
    if (state().error.empty()) state().error = why;
    Fiber& f = block().fibers[block().running];
    f.wait = Wait::Done;
    leave(f);
    std::abort();
}

inline void ready(Fiber& f) {
    if (!f.stack) f.stack = static_cast<char*>(std::malloc(STACK));
#if defined(__x86_64__)
    auto top = reinterpret_cast<std::uintptr_t>(f.stack + STACK) & ~std::uintptr_t(15);
    void** at = reinterpret_cast<void**>(top) - 2;
    at[0] = reinterpret_cast<void*>(&start);
    at[1] = nullptr;
    f.context = at - 6;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, &start, 0);
#endif
    f.wait = Wait::Ready;
}

inline void wait(Wait how, int line) {
    if (how == Wait::Barrier && line == block().skipped) return;
    Fiber& f = block().fibers[block().running];
    f.wait = how;
    f.line = line;
    leave(f);
}

inline std::uint64_t draw() {
    std::uint64_t& r = block().random;
    r ^= r << 13;
    r ^= r >> 7;
    r ^= r << 17;
    return r;
}

inline float wide(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

// What the lanes of a warp asked for, all of them at the same place.
inline void together(Fiber* lanes) {
    const Kind kind = lanes[0].operation.kind;
    if (kind == Kind::Shuffle) {
        double values[32];
        for (int l = 0; l < 32; ++l) values[l] = lanes[l].operation.value;
        for (unsigned l = 0; l < 32; ++l) lanes[l].operation.value = values[lanes[l].operation.lane % 32];
        return;
    }
    if (kind == Kind::Ballot) {
        unsigned all = 0;
        for (unsigned l = 0; l < 32; ++l) all |= lanes[l].operation.bits << l;
        for (int l = 0; l < 32; ++l) lanes[l].operation.bits = all;
        return;
    }
    if (kind == Kind::Sync) {
        ++state().turns[(lanes - block().fibers.data()) / 32];
        return;
    }
    // The fragments of the PTX manual: mma.m16n8k8 with .tf32, mma.m16n8k16 with .bf16.
    const bool tf32 = kind == Kind::Tf32;
    const int depth = tf32 ? 8 : 16;
    float a[16][16] = {}, b[16][8] = {};
    for (int l = 0; l < 32; ++l) {
        const int group = l / 4, place = l % 4;
        for (int e = 0; e < 4; ++e) {
            const int row = group + e % 2 * 8;
            const unsigned bits = lanes[l].operation.a[e];
            if (tf32) {
                a[row][place + e / 2 * 4] = wide(bits);
            } else {
                a[row][place * 2 + e / 2 * 8] = wide(bits << 16);
                a[row][place * 2 + e / 2 * 8 + 1] = wide(bits & 0xffff0000u);
            }
        }
        for (int e = 0; e < 2; ++e) {
            const unsigned bits = lanes[l].operation.b[e];
            if (tf32) {
                b[place + e * 4][group] = wide(bits);
            } else {
                b[place * 2 + e * 8][group] = wide(bits << 16);
                b[place * 2 + e * 8 + 1][group] = wide(bits & 0xffff0000u);
            }
        }
    }
    for (int l = 0; l < 32; ++l) {
        for (int e = 0; e < 4; ++e) {
            const int row = l / 4 + e / 2 * 8, column = l % 4 * 2 + e % 2;
            float sum = 0.0f;
            for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
            lanes[l].operation.c[e] += sum;
        }
    }
}

// Runs one block; false where it failed.
inline bool run(unsigned threads) {
    Block& b = block();
    State& s = state();
    if (b.fibers.size() < threads) b.fibers.resize(threads);
    std::vector<unsigned> order(threads);
    for (unsigned t = 0; t < threads; ++t) {
        ready(b.fibers[t]);
        order[t] = t;
    }
    for (;;) {
        for (unsigned t = threads; t > 1; --t) std::swap(order[t - 1], order[draw() % t]);
        bool ran = false;
        for (unsigned t : order) {
            Fiber& f = b.fibers[t];
            if (f.wait != Wait::Ready) continue;
            ran = true;
            b.running = s.thread = t;
            enter(f);
            if (!s.error.empty()) return false;
        }
        // Warps whose lanes all wait for each other.
        for (unsigned w = 0; w + 32 <= threads; w += 32) {
            Fiber* lanes = &b.fibers[w];
            bool all = true;
            for (int l = 0; l < 32; ++l) {
                all = all && lanes[l].wait == Wait::Warp && lanes[l].line == lanes[0].line &&
                      lanes[l].operation.kind == lanes[0].operation.kind;
            }
            if (!all) continue;
            together(lanes);
            for (int l = 0; l < 32; ++l) lanes[l].wait = Wait::Ready;
            ran = true;
        }
        if (ran) continue;
        unsigned done = 0, waiting = 0;
        int line = 0;
        bool same = true;
        for (unsigned t = 0; t < threads; ++t) {
            const Fiber& f = b.fibers[t];
            if (f.wait == Wait::Done) ++done;
            if (f.wait == Wait::Barrier) {
                same = same && (waiting == 0 || f.line == line);
                line = f.line;
                ++waiting;
            }
        }
        if (done == threads) return true;
        if (waiting == threads && same) {
            ++s.epoch;
            for (unsigned t = 0; t < threads; ++t) b.fibers[t].wait = Wait::Ready;
            continue;
        }
        s.error = waiting > 0 ? "divergent barrier: " + std::to_string(waiting) + " of " + std::to_string(threads) +
                                    " threads wait, " + std::to_string(done) + " have ended, line " + std::to_string(line)
                              : std::string("divergent warp: not all lanes take part");
        return false;
    }
}

}  // namespace shim
