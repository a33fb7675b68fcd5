// Checked memory: every buffer that a kernel may touch is registered, and every access goes through
// a pointer that knows its buffer.
//
// An access fails that lies outside of its buffer, reads what was never written, or meets another
// thread's on the same word without a barrier between them (two reads excepted), for threads of one
// warp a barrier of the warp; other blocks of the same launch are never ordered, so meeting one of
// those fails always.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace shim {

// Who touched a word last, and when. Epochs count barriers, over all launches; 0 is never. Turns
// count those of a warp.
struct Touch {
    std::uint32_t epoch = 0, launch = 0, block = 0, thread = 0;
    std::uint16_t warp = 0, turn = 0;
};

constexpr std::uint32_t MANY = 0xffffffffu;
constexpr std::uint16_t MANY_WARPS = 0xffffu;

struct Word {
    Touch write, read;
};

struct Region {
    std::string name;
    char* base = nullptr;
    std::size_t bytes = 0;
    std::vector<Word> words;
};

struct State {
    std::map<std::uintptr_t, Region> regions;
    Region shared;
    std::uint32_t epoch = 1, launch = 1, block = 0, thread = 0;
    unsigned grid_x = 1, grid_y = 1, x = 0, y = 0;
    // Barriers of each warp so far.
    std::uint16_t turns[32] = {};
    std::string error;
};

inline State& state() {
    static State s;
    return s;
}

// Ends the launch; does not return. Defined with the fibers.
[[noreturn]] void fail(const std::string& why);

inline std::string where() {
    const State& s = state();
    return " (thread " + std::to_string(s.thread) + ", block " + std::to_string(s.x) + "," + std::to_string(s.y) + ")";
}

inline Region* find(const void* address) {
    auto& all = state().regions;
    auto after = all.upper_bound(reinterpret_cast<std::uintptr_t>(address));
    if (after == all.begin()) return nullptr;
    Region& r = std::prev(after)->second;
    return static_cast<const char*>(address) < r.base + r.bytes ? &r : nullptr;
}

inline Word& word(Region* r, const void* address, const char* what) {
    const char* at = static_cast<const char*>(address);
    if (!r || at < r->base || at + 4 > r->base + r->bytes) {
        const long long offset = r ? (long long)(at - r->base) / 4 : 0;
        fail(std::string("out of bounds: ") + what + " of number " + std::to_string(offset) + " of " +
             (r ? r->name + " with " + std::to_string(r->bytes / 4) : std::string("no buffer")) + where());
    }
    return r->words[(at - r->base) / 4];
}

inline bool meets(const Touch& t) {
    const State& s = state();
    if (t.epoch == 0 || t.launch != s.launch) return false;
    if (t.block != s.block) return true;
    const bool ordered = t.warp == s.thread / 32 && t.turn != s.turns[s.thread / 32];
    return t.epoch == s.epoch && t.thread != s.thread && !ordered;
}

inline void race(Region* r, const void* address, const char* what) {
    const long long offset = (static_cast<const char*>(address) - r->base) / 4;
    fail(std::string("race: ") + what + " of number " + std::to_string(offset) + " of " + r->name + where());
}

inline Touch now() {
    const State& s = state();
    const std::uint32_t warp = s.thread / 32;
    return {s.epoch, s.launch, s.block, s.thread, std::uint16_t(warp), s.turns[warp]};
}

inline void reads(Region* r, const void* address) {
    Word& w = word(r, address, "a read");
    if (w.write.epoch == 0) {
        const long long offset = (static_cast<const char*>(address) - r->base) / 4;
        fail("unwritten: a read of number " + std::to_string(offset) + " of " + r->name + where());
    }
    if (meets(w.write)) race(r, address, "a read and a write");
    // Reads that the warp's barriers put before this one order themselves.
    const Touch before = w.read, read = now();
    const bool earlier = before.warp == read.warp && before.turn != read.turn;
    const bool other = before.epoch == read.epoch && before.launch == read.launch && before.thread != read.thread && !earlier;
    w.read = read;
    if (other) w.read.thread = MANY;
    if (other && before.warp != read.warp) w.read.warp = MANY_WARPS;
    if (before.launch == read.launch && before.block != read.block) w.read.block = MANY;
}

inline void writes(Region* r, const void* address) {
    Word& w = word(r, address, "a write");
    if (meets(w.write)) race(r, address, "two writes");
    if (meets(w.read)) race(r, address, "a write and a read");
    w.write = now();
}

}  // namespace shim

// A number in memory.
template <class T> struct DinReference {
    T* at;
    shim::Region* region;
    operator T() const {
        shim::reads(region, at);
        return *at;
    }
    const DinReference& operator=(T value) const {
        shim::writes(region, at);
        *at = value;
        return *this;
    }
    const DinReference& operator=(const DinReference& other) const { return *this = T(other); }
};

template <class T> struct DinPtr {
    T* at = nullptr;
    shim::Region* region = nullptr;
    DinPtr operator+(std::size_t count) const { return {at + count, region}; }
    DinReference<T> operator[](std::size_t index) const { return {at + index, region}; }
    explicit operator bool() const { return at != nullptr; }
};

template <class T> struct DinPtr<const T> {
    const T* at = nullptr;
    shim::Region* region = nullptr;
    DinPtr() = default;
    DinPtr(const T* a, shim::Region* r) : at(a), region(r) {}
    DinPtr(const DinPtr<T>& other) : at(other.at), region(other.region) {}
    DinPtr operator+(std::size_t count) const { return {at + count, region}; }
    T operator[](std::size_t index) const {
        shim::reads(region, at + index);
        return at[index];
    }
    explicit operator bool() const { return at != nullptr; }
};
