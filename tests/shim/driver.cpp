// NVIDIA's driver interface with the shim behind it, so that the runtime's own binding of the driver can be tested without a GPU. An image is
// the path of a compiled source. What a stream is asked for waits until somebody waits for it, as late as a real one may be: a host buffer that is
// written again too early is then seen.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum { DONE = 0, INVALID = 1, NO_MEMORY = 2, NO_CONTEXT = 201, NOT_FOUND = 500, NOT_READY = 600, FAILED = 719 };

using Launch = const char* (*)(void*, unsigned, unsigned, unsigned, std::size_t, const unsigned long long*, const unsigned*, float*,
                               unsigned long long);

// An event: whether it knows the time, and the time when it was passed.
struct Event {
    bool timed;
    double at;
};

struct Work {
    void* event;
    std::function<int()> run;
};

struct State {
    std::deque<Work> stream;
    std::map<void*, int> shared;
    void* module = nullptr;
    int retained = 0, failed = DONE;
    unsigned long long seed = 1;
    // Milliseconds: a block of a kernel takes a microsecond.
    double clock = 0.0;
};

State& state() {
    static State s;
    return s;
}

thread_local bool current = false;

template <class F> F of_shim(const char* name) { return reinterpret_cast<F>(dlsym(state().module, name)); }

// Does the oldest work, up to the recording of an event, or all of it.
int work(void* event) {
    State& s = state();
    std::size_t count = s.stream.size();
    if (event) {
        count = 0;
        for (std::size_t k = 0; k < s.stream.size(); ++k) {
            if (s.stream[k].event == event) count = k + 1;
        }
    }
    for (; count > 0; --count) {
        if (s.failed == DONE && s.stream.front().run) s.failed = s.stream.front().run();
        s.stream.pop_front();
    }
    return s.failed;
}

int ask(std::function<int()> run, void* event = nullptr) {
    if (!current) return NO_CONTEXT;
    if (state().failed != DONE) return state().failed;
    state().stream.push_back({event, std::move(run)});
    return DONE;
}

}  // namespace

API cuInit(unsigned) { return DONE; }
API cuGetErrorString(int code, const char** text) {
    *text = code == FAILED ? "unspecified launch failure" : code == NOT_FOUND ? "named symbol not found" : "error";
    return DONE;
}
API cuDeviceGetCount(int* count) { return *count = 1, DONE; }
API cuDeviceGet(int* device, int number) { return *device = number, number == 0 ? DONE : INVALID; }
API cuDeviceGetName(char* name, int length, int) { return std::strncpy(name, "a made-up GPU", length), DONE; }
API cuDeviceGetAttribute(int* value, int which, int) {
    *value = which == 75 ? 9 : which == 76 ? 0 : 100 << 10;
    return which == 75 || which == 76 || which == 97 ? DONE : INVALID;
}
API cuDevicePrimaryCtxRetain(void** context, int) {
    ++state().retained;
    *context = &state();
    return DONE;
}
API cuDevicePrimaryCtxRelease_v2(int) {
    current = false;
    return --state().retained >= 0 && state().stream.empty() ? DONE : INVALID;
}
API cuCtxSetCurrent(void* context) {
    current = context == &state() && state().retained > 0;
    return current ? DONE : NO_CONTEXT;
}
API cuStreamCreate(void** stream, unsigned) { return *stream = &state().stream, current ? DONE : NO_CONTEXT; }
API cuStreamDestroy_v2(void*) { return DONE; }
API cuStreamSynchronize(void*) { return current ? work(nullptr) : NO_CONTEXT; }
API cuEventCreate(void** event, unsigned flags) { return *event = new Event{flags != 2, -1.0}, current ? DONE : NO_CONTEXT; }
API cuEventDestroy_v2(void* event) {
    for (Work& w : state().stream) {
        if (w.event == event) w = {};
    }
    return delete static_cast<Event*>(event), DONE;
}
API cuEventRecord(void* event, void*) {
    static_cast<Event*>(event)->at = -1.0;
    return ask([=] { return static_cast<Event*>(event)->at = state().clock, DONE; }, event);
}
API cuEventElapsedTime(float* ms, void* from, void* to) {
    const Event &a = *static_cast<Event*>(from), &b = *static_cast<Event*>(to);
    if (!a.timed || !b.timed) return INVALID;
    return *ms = float(b.at - a.at), a.at < 0.0 || b.at < 0.0 ? NOT_READY : DONE;
}
API cuEventSynchronize(void* event) { return current ? work(event) : NO_CONTEXT; }
API cuMemAlloc_v2(std::uint64_t* at, std::size_t bytes) {
    if (!current) return NO_CONTEXT;
    if (bytes > std::size_t(1) << 36) return NO_MEMORY;
    void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(memory, 0xff, bytes);
    of_shim<void (*)(const char*, void*, std::size_t, int)>("din_shim_buffer")("a block", memory, bytes, 1);
    *at = reinterpret_cast<std::uint64_t>(memory);
    return DONE;
}
API cuMemFree_v2(std::uint64_t at) {
    if (!current || !state().stream.empty()) return INVALID;
    of_shim<void (*)(const void*, std::size_t)>("din_shim_forget")(reinterpret_cast<void*>(at), 1);
    std::free(reinterpret_cast<void*>(at));
    return DONE;
}
API cuMemHostAlloc(void** at, std::size_t bytes, unsigned) { return *at = std::malloc(bytes), current ? DONE : NO_CONTEXT; }
API cuMemFreeHost(void* at) { return std::free(at), current ? DONE : NO_CONTEXT; }
API cuMemcpyHtoDAsync_v2(std::uint64_t to, const void* from, std::size_t bytes, void*) {
    return ask([=] { return std::memcpy(reinterpret_cast<void*>(to), from, bytes), DONE; });
}
API cuMemcpyDtoHAsync_v2(void* to, std::uint64_t from, std::size_t bytes, void*) {
    return ask([=] { return std::memcpy(to, reinterpret_cast<void*>(from), bytes), DONE; });
}
API cuMemcpyDtoDAsync_v2(std::uint64_t to, std::uint64_t from, std::size_t bytes, void*) {
    return ask([=] { return std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes), DONE; });
}
API cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    state().failed = DONE;
    *module = state().module = dlopen(static_cast<const char*>(image), RTLD_NOW);
    return *module ? DONE : INVALID;
}
API cuModuleUnload(void* module) { return dlclose(module), DONE; }
API cuModuleGetFunction(void** function, void* module, const char* name) {
    *function = dlsym(module, name);
    return *function ? DONE : NOT_FOUND;
}
API cuFuncSetAttribute(void* function, int which, int value) {
    state().shared[function] = value;
    return which == 8 && value <= 100 << 10 ? DONE : INVALID;
}
API cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz, unsigned shared, void*,
                   void** arguments, void** extra) {
    const auto allowed = state().shared.find(function);
    const unsigned most = allowed == state().shared.end() ? 48u << 10 : unsigned(allowed->second);
    if (z != 1 || ty != 1 || tz != 1 || extra || shared > most) return INVALID;
    void* given[3];
    for (int k = 0; k < 3; ++k) given[k] = *static_cast<void**>(arguments[k]);
    const Launch launch = of_shim<Launch>("din_shim_launch");
    return ask([=] {
        state().clock += 1e-3 * x * y;
        const char* error = launch(function, x, y, threads, shared, static_cast<unsigned long long*>(given[0]),
                                   static_cast<unsigned*>(given[1]), static_cast<float*>(given[2]), ++state().seed);
        return error ? FAILED : DONE;
    });
}
