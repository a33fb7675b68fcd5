// The first section of the prelude on the CPU, for the generated source compiled by the host's
// compiler; and the functions by which a test registers buffers and launches kernels.
#pragma once

#define DIN_SHIM 1

#include "fibers.h"

#include <cmath>

#define DIN_KERNEL(threads) __attribute__((visibility("default"))) void
#define DIN_CALL static inline
#define DIN_CALL_MEMBER inline
#define DIN_TILE static inline

template <class T> DinPtr<T> din_pointer(const unsigned long long* address, unsigned number) {
    T* at = reinterpret_cast<T*>(address[number]);
    return {at, shim::find(at)};
}

static inline DinPtr<float> din_shared() {
    return {reinterpret_cast<float*>(shim::state().shared.base), &shim::state().shared};
}
static inline DinPtr<unsigned> din_shared_u32() {
    return {reinterpret_cast<unsigned*>(shim::state().shared.base), &shim::state().shared};
}
static inline unsigned din_thread() { return shim::state().thread; }
static inline unsigned din_chunk() { return shim::state().x; }
static inline unsigned din_chunks() { return shim::state().grid_x; }
static inline unsigned din_instance() { return shim::state().y; }
#define din_barrier() shim::wait(shim::Wait::Barrier, __LINE__)

template <class T> static inline T din_shuffle_at(T x, unsigned lane, int line) {
    shim::Operation& o = shim::block().fibers[shim::block().running].operation;
    o.kind = shim::Kind::Shuffle;
    o.value = double(x);
    o.lane = lane;
    shim::wait(shim::Wait::Warp, line);
    return T(o.value);
}
#define din_shuffle_from(x, lane) din_shuffle_at(x, lane, __LINE__)

static inline unsigned din_ballot_at(bool x, int line) {
    shim::Operation& o = shim::block().fibers[shim::block().running].operation;
    o.kind = shim::Kind::Ballot;
    o.bits = x ? 1u : 0u;
    shim::wait(shim::Wait::Warp, line);
    return o.bits;
}
#define din_ballot(x) din_ballot_at(x, __LINE__)
static inline void din_warp_barrier_at(int line) {
    shim::block().fibers[shim::block().running].operation.kind = shim::Kind::Sync;
    shim::wait(shim::Wait::Warp, line);
}
#define din_warp_barrier() din_warp_barrier_at(__LINE__)
static inline unsigned din_popcount(unsigned bits) { return unsigned(__builtin_popcount(bits)); }

static inline unsigned din_bits(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
static inline float din_infinity() { return INFINITY; }
static inline float din_nan() { return NAN; }

static inline void din_mma_at(shim::Kind kind, float* c, const unsigned* a, const unsigned* b, int line) {
    shim::Operation& o = shim::block().fibers[shim::block().running].operation;
    o.kind = kind;
    o.c = c;
    o.a = a;
    o.b = b;
    shim::wait(shim::Wait::Warp, line);
}
#define din_mma_tf32(c, a, b) din_mma_at(shim::Kind::Tf32, c, a, b, __LINE__)
#define din_mma_bf16(c, a, b) din_mma_at(shim::Kind::Bf16, c, a, b, __LINE__)

// To the nearest with 10 bits of mantissa, ties away from 0.
static inline unsigned din_tf32(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}
// To the nearest with 7 bits of mantissa, ties to even.
static inline unsigned din_bf16_one(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
static inline unsigned din_bf16(float low, float high) { return din_bf16_one(high) << 16 | din_bf16_one(low); }

// Four numbers at once: the first begins at 16 bytes.
static inline void din_aligned(const void* at) {
    if (reinterpret_cast<std::uintptr_t>(at) % 16 != 0) shim::fail("misaligned: four numbers" + shim::where());
}
static inline void din_load_four(DinPtr<const float> x, float (&to)[4]) {
    din_aligned(x.at);
    for (unsigned e = 0; e < 4; ++e) to[e] = x[e];
}
static inline void din_store_four(DinPtr<float> x, const float (&value)[4]) {
    din_aligned(x.at);
    for (unsigned e = 0; e < 4; ++e) x[e] = value[e];
}

// ---- For tests.

#define DIN_EXPORT extern "C" __attribute__((visibility("default")))

using DinKernel = void (*)(const unsigned long long*, const unsigned*, DinPtr<float>);

namespace shim {

struct Launched {
    DinKernel kernel = nullptr;
    const unsigned long long* address = nullptr;
    const unsigned* batch = nullptr;
    DinPtr<float> scratch;
};

inline Launched& launched() {
    static Launched l;
    return l;
}

inline void body() {
    const Launched& l = launched();
    l.kernel(l.address, l.batch, l.scratch);
}

}  // namespace shim

// Makes a buffer known; `written` where it holds numbers already.
DIN_EXPORT void din_shim_buffer(const char* name, void* base, std::size_t bytes, int written) {
    shim::Region r;
    r.name = name;
    r.base = static_cast<char*>(base);
    r.bytes = bytes;
    r.words.resize(bytes / 4);
    if (written) {
        for (shim::Word& w : r.words) w.write.epoch = 1;
    }
    shim::state().regions[reinterpret_cast<std::uintptr_t>(base)] = std::move(r);
}

// Of so many bytes of a buffer, how many numbers nothing has written; all of them outside of every
// buffer.
DIN_EXPORT std::size_t din_shim_unwritten(const void* at, std::size_t bytes) {
    const shim::Region* r = shim::find(at);
    if (!r) return bytes / 4;
    const std::size_t first = std::size_t(static_cast<const char*>(at) - r->base) / 4;
    std::size_t count = 0;
    for (std::size_t k = first; k < first + bytes / 4; ++k) count += k >= r->words.size() || r->words[k].write.epoch == 0;
    return count;
}

// Forgets the buffers that begin within a range.
DIN_EXPORT void din_shim_forget(const void* base, std::size_t bytes) {
    auto& all = shim::state().regions;
    const auto from = reinterpret_cast<std::uintptr_t>(base);
    all.erase(all.lower_bound(from), all.lower_bound(from + bytes));
}

DIN_EXPORT void din_shim_reset() {
    shim::state().regions.clear();
}

// Leaves out the barriers of a line of the source; 0 for none.
DIN_EXPORT void din_shim_skip(int line) {
    shim::block().skipped = line;
}

// Runs all blocks of a grid, in an order of their own; the error's text, or null.
DIN_EXPORT const char* din_shim_launch(DinKernel kernel, unsigned x, unsigned y, unsigned threads, std::size_t shared,
                                       const unsigned long long* address, const unsigned* batch, float* scratch,
                                       unsigned long long seed) {
    shim::State& s = shim::state();
    shim::Launched& l = shim::launched();
    l = {kernel, address, batch, {scratch, shim::find(scratch)}};
    s.error.clear();
    s.grid_x = x;
    s.grid_y = y;
    ++s.launch;
    shim::block().body = &shim::body;
    shim::block().random = seed | 1;
    std::vector<float> memory(shared / 4 + 4);
    std::vector<unsigned> blocks(x * y);
    for (unsigned b = 0; b < x * y; ++b) blocks[b] = b;
    for (unsigned b = x * y; b > 1; --b) std::swap(blocks[b - 1], blocks[shim::draw() % b]);
    for (unsigned b : blocks) {
        ++s.epoch;
        s.block = b;
        s.x = b % x;
        s.y = b / x;
        s.shared.name = "shared memory";
        s.shared.base = reinterpret_cast<char*>(memory.data());
        s.shared.bytes = shared;
        s.shared.words.assign(shared / 4, shim::Word());
        const unsigned poison = 0x7fdeadu << 8;
        for (float& f : memory) std::memcpy(&f, &poison, 4);
        if (!shim::run(threads)) return s.error.c_str();
    }
    return nullptr;
}
