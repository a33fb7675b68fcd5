// NVIDIA's driver interface with the shim behind it, so that the runtime's own binding of the
// driver can be tested without a GPU. An image is a compiled source: the library itself, as PTX in
// hexadecimal digits behind a line of comment, or its path. The environment says how many GPUs
// there are (DIN_FAKE_GPUS, 1), of which architecture (DIN_FAKE_ARCH, 90), and which launch to run
// fails (DIN_FAKE_FAIL, from 1, none). What the first stream is asked for waits until somebody
// waits for it, as late as a real one may be: a host buffer that is written again too early is then
// seen. The other streams do what they are asked for at once, as far as the events allow that they
// were told to wait for: what they do too early is seen too. Copies must lie in memory that was
// allocated, the host's pinned, and grids within a GPU's limits.
//
// A capture keeps what its streams are asked for, with the order that they and their events say,
// and does nothing; waiting and allocating in one break it, and so do an event from outside and a
// stream that does not come back. A graph is replayed in some order that it allows; one whose
// memory has been freed cannot be launched.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <elf.h>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum {
    DONE = 0,
    INVALID = 1,
    NO_MEMORY = 2,
    NO_IMAGE = 200,
    NO_CONTEXT = 201,
    NOT_FOUND = 500,
    NOT_READY = 600,
    FAILED = 719,
    IN_CAPTURE = 900,
    BROKEN = 901,
    NOT_JOINED = 904,
    FROM_OUTSIDE = 905
};

using Launch = const char* (*)(void*, unsigned, unsigned, unsigned, std::size_t, const unsigned long long*, const unsigned*, float*,
                               unsigned long long);

struct Stream;

// Where an event was recorded: the stream in which it is still to be passed, and the time when it
// was.
struct Mark {
    Stream* pending;
    double at;
};

// An event: whether it knows the time, and where it was recorded last; in a capture, its number and
// the nodes that come before.
struct Event {
    bool timed;
    std::shared_ptr<Mark> mark;
    unsigned long long capture = 0;
    std::set<int> behind;
};

// Something to run, a mark to be passed behind it, or one to be waited for.
struct Work {
    std::function<int()> run;
    std::shared_ptr<Mark> passes, waits;
};

struct Stream {
    std::deque<Work> queue;
    bool late;
    // Whether it takes part in the capture, and the nodes behind which it is.
    bool captures = false;
    std::set<int> behind;
};

// What was captured, behind which other nodes each is, and the memory that it leads into.
struct Graph {
    std::vector<std::function<int()>> nodes;
    std::vector<std::set<int>> behind;
    std::set<std::uint64_t> addresses;
    bool broken = false, freed = false;
};

struct State {
    std::set<Stream*> streams;
    // What is being captured, by which stream it began, and how many captures there were.
    std::unique_ptr<Graph> capture;
    Stream* origin = nullptr;
    unsigned long long captures = 0;
    std::set<Graph*> graphs;
    // Bytes by address, of the device and of pinned memory.
    std::map<std::uint64_t, std::size_t> memory, pinned;
    std::size_t unused = std::size_t(1) << 36;
    bool no_captures = false;
    std::map<void*, int> shared;
    void* module = nullptr;
    int retained = 0, failed = DONE;
    unsigned long long seed = 1, launches = 0, order = 88172645463325252ull;
    // Milliseconds: a block of a kernel takes a microsecond.
    double clock = 0.0;
};

State& state() {
    static State s;
    return s;
}

thread_local bool current = false;

int set(const char* name, int otherwise) {
    const char* value = std::getenv(name);
    return value ? std::atoi(value) : otherwise;
}

// Opens a library that is in memory; equal ones are one, whose kernels see one memory. Its section
// headers are what it ends with.
void* open(const char* library) {
    static std::map<std::string, void*> opened;
    const auto* head = reinterpret_cast<const Elf64_Ehdr*>(library);
    const std::size_t bytes = head->e_shoff + std::size_t(head->e_shnum) * head->e_shentsize;
    void*& module = opened[std::string(library, bytes)];
    if (module) return module;
    const int file = memfd_create("kernels", 0);
    if (file < 0 || write(file, library, bytes) != ssize_t(bytes)) return nullptr;
    // The file stays open, so that no other gets its name: the loader takes equal names for equal
    // libraries.
    const std::string path = "/proc/self/fd/" + std::to_string(file);
    return module = dlopen(path.c_str(), RTLD_NOW);
}

void* open_ptx(const char* text) {
    const auto digit = [](char c) { return unsigned(c <= '9' ? c - '0' : c - 'a' + 10); };
    std::string library;
    for (text = std::strchr(text, '\n') + 1; text[0] && text[1]; text += 2) {
        library.push_back(char(digit(text[0]) << 4 | digit(text[1])));
    }
    return open(library.data());
}

template <class F> F of_shim(const char* name) { return reinterpret_cast<F>(dlsym(state().module, name)); }

bool passed(const std::shared_ptr<Mark>& mark) { return !mark || !mark->pending; }

// Does a stream's oldest work, and in other streams what it waits for; up to the passing of a mark,
// or all of it.
int work(Stream* stream, std::shared_ptr<Mark> until) {
    State& s = state();
    while (!stream->queue.empty() && (!until || until->pending)) {
        const Work w = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (!passed(w.waits)) work(w.waits->pending, w.waits);
        if (s.failed == DONE && w.run) s.failed = w.run();
        if (w.passes) *w.passes = {nullptr, s.clock};
    }
    return s.failed;
}

// What a stream that is not late can do without waiting.
void at_once(Stream* stream) {
    while (!stream->late && !stream->queue.empty() && passed(stream->queue.front().waits)) {
        std::deque<Work> rest;
        std::swap(rest, stream->queue);
        stream->queue.push_back(std::move(rest.front()));
        rest.pop_front();
        work(stream, nullptr);
        std::swap(rest, stream->queue);
    }
}

bool idle() {
    for (Stream* s : state().streams) {
        at_once(s);
        if (!s->queue.empty()) return false;
    }
    return true;
}

// What must not be called while a capture is under way.
bool captured() {
    if (state().capture) state().capture->broken = true;
    return bool(state().capture);
}

int push(void* at, Work w) {
    if (!current) return NO_CONTEXT;
    if (state().failed != DONE) return state().failed;
    Stream* stream = static_cast<Stream*>(at);
    stream->queue.push_back(std::move(w));
    at_once(stream);
    return DONE;
}

// A stream that captures keeps what it is asked for, as a node behind those before it.
int ask(void* at, std::function<int()> run, std::set<std::uint64_t> addresses = {}) {
    if (!current) return NO_CONTEXT;
    Stream* stream = static_cast<Stream*>(at);
    if (stream->captures) {
        Graph* g = state().capture.get();
        g->behind.push_back(stream->behind);
        stream->behind = {int(g->nodes.size())};
        g->nodes.push_back(std::move(run));
        g->addresses.insert(addresses.begin(), addresses.end());
        return DONE;
    }
    return push(stream, {std::move(run), nullptr, nullptr});
}

// Whether a range lies in one that was allocated.
bool inside(std::uint64_t at, std::size_t bytes, const std::map<std::uint64_t, std::size_t>& allocated) {
    auto after = allocated.upper_bound(at);
    return after != allocated.begin() && at + bytes <= std::prev(after)->first + std::prev(after)->second;
}
bool inside(const void* at, std::size_t bytes) { return inside(reinterpret_cast<std::uint64_t>(at), bytes, state().pinned); }

// Some number below, another each time.
std::size_t below(std::size_t count) {
    unsigned long long& x = state().order;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x % count;
}

}  // namespace

API cuInit(unsigned) { return DONE; }
API cuGetErrorString(int code, const char** text) {
    *text = code == FAILED ? "unspecified launch failure" : code == NOT_FOUND ? "named symbol not found" : "error";
    return DONE;
}
API cuDriverGetVersion(int* version) { return *version = 12080, DONE; }
API cuDeviceGetCount(int* count) { return *count = set("DIN_FAKE_GPUS", 1), DONE; }
API cuDeviceGet(int* device, int number) { return *device = number, number < set("DIN_FAKE_GPUS", 1) ? DONE : INVALID; }
API cuDeviceGetName(char* name, int length, int) { return std::strncpy(name, "a fake GPU", length), DONE; }
API cuDeviceGetAttribute(int* value, int which, int) {
    const int architecture = set("DIN_FAKE_ARCH", 90);
    *value = which == 75 ? architecture / 10 : which == 76 ? architecture % 10 : 100 << 10;
    return which == 75 || which == 76 || which == 97 ? DONE : INVALID;
}
API cuDevicePrimaryCtxRetain(void** context, int) {
    ++state().retained;
    *context = &state();
    return DONE;
}
API cuDevicePrimaryCtxRelease_v2(int) {
    current = false;
    return --state().retained >= 0 && idle() ? DONE : INVALID;
}
API cuCtxSetCurrent(void* context) {
    current = context == &state() && state().retained > 0;
    return current ? DONE : NO_CONTEXT;
}
API cuStreamCreate(void** stream, unsigned) {
    if (!current) return NO_CONTEXT;
    Stream* made = new Stream{{}, state().streams.empty()};
    state().streams.insert(made);
    return *stream = made, DONE;
}
API cuStreamDestroy_v2(void* stream) {
    work(static_cast<Stream*>(stream), nullptr);
    state().streams.erase(static_cast<Stream*>(stream));
    return delete static_cast<Stream*>(stream), DONE;
}
API cuStreamSynchronize(void* stream) {
    return captured() ? IN_CAPTURE : current ? work(static_cast<Stream*>(stream), nullptr) : NO_CONTEXT;
}
// In a capture it is an edge, by which another stream comes to take part.
API cuStreamWaitEvent(void* at, void* waits, unsigned flags) {
    Stream* stream = static_cast<Stream*>(at);
    const Event* event = static_cast<Event*>(waits);
    if (flags != 0) return INVALID;
    if (event->capture != 0) {
        if (!state().capture || event->capture != state().captures) return FROM_OUTSIDE;
        stream->captures = true;
        stream->behind.insert(event->behind.begin(), event->behind.end());
        return DONE;
    }
    if (stream->captures) return captured(), FROM_OUTSIDE;
    return push(stream, {{}, nullptr, event->mark});
}
API cuEventCreate(void** event, unsigned flags) {
    return *event = new Event{flags != 2, nullptr}, current ? DONE : NO_CONTEXT;
}
API cuEventDestroy_v2(void* event) {
    return delete static_cast<Event*>(event), DONE;
}
API cuEventRecord(void* recorded, void* at) {
    Stream* stream = static_cast<Stream*>(at);
    Event* event = static_cast<Event*>(recorded);
    event->capture = stream->captures ? state().captures : 0;
    event->behind = stream->behind;
    if (stream->captures) return DONE;
    // Who was told to wait for it before waits for where it was then.
    const auto mark = std::make_shared<Mark>(Mark{stream, -1.0});
    event->mark = mark;
    return push(stream, {{}, mark, nullptr});
}
API cuEventElapsedTime(float* ms, void* from, void* to) {
    const Event &a = *static_cast<Event*>(from), &b = *static_cast<Event*>(to);
    if (!a.timed || !b.timed || !a.mark || !b.mark) return INVALID;
    return *ms = float(b.mark->at - a.mark->at), passed(a.mark) && passed(b.mark) ? DONE : NOT_READY;
}
API cuEventSynchronize(void* event) {
    if (captured()) return IN_CAPTURE;
    if (static_cast<Event*>(event)->capture != 0) return INVALID;
    const std::shared_ptr<Mark> mark = static_cast<Event*>(event)->mark;
    return !current ? NO_CONTEXT : passed(mark) ? state().failed : work(mark->pending, mark);
}
API cuMemAlloc_v2(std::uint64_t* at, std::size_t bytes) {
    if (captured()) return IN_CAPTURE;
    if (!current) return NO_CONTEXT;
    if (bytes == 0) return INVALID;
    if (bytes > state().unused) return NO_MEMORY;
    void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(memory, 0xff, bytes);
    of_shim<void (*)(const char*, void*, std::size_t, int)>("din_shim_buffer")("a block", memory, bytes, 1);
    *at = reinterpret_cast<std::uint64_t>(memory);
    state().memory[*at] = bytes;
    return DONE;
}
API cuMemFree_v2(std::uint64_t at) {
    if (captured() || !current || !idle()) return INVALID;
    const auto freed = state().memory.find(at);
    if (freed == state().memory.end()) return INVALID;
    for (Graph* g : state().graphs) {
        const auto first = g->addresses.lower_bound(at);
        g->freed |= first != g->addresses.end() && *first < at + freed->second;
    }
    state().memory.erase(freed);
    of_shim<void (*)(const void*, std::size_t)>("din_shim_forget")(reinterpret_cast<void*>(at), 1);
    std::free(reinterpret_cast<void*>(at));
    return DONE;
}
API cuMemHostAlloc(void** at, std::size_t bytes, unsigned) {
    if (captured()) return IN_CAPTURE;
    if (!current || bytes == 0) return current ? INVALID : NO_CONTEXT;
    *at = std::malloc(bytes);
    state().pinned[reinterpret_cast<std::uint64_t>(*at)] = bytes;
    return std::memset(*at, 0xa5, bytes), DONE;
}
API cuMemFreeHost(void* at) {
    if (captured() || !current) return INVALID;
    const auto freed = state().pinned.find(reinterpret_cast<std::uint64_t>(at));
    if (freed == state().pinned.end()) return INVALID;
    // What is copied from it yet is seen.
    std::memset(at, 0x5a, freed->second);
    state().pinned.erase(freed);
    return std::free(at), DONE;
}
API cuMemcpyHtoDAsync_v2(std::uint64_t to, const void* from, std::size_t bytes, void* stream) {
    if (static_cast<Stream*>(stream)->captures) return captured(), IN_CAPTURE;
    if (!inside(to, bytes, state().memory) || !inside(from, bytes)) return INVALID;
    return ask(stream, [=] { return std::memcpy(reinterpret_cast<void*>(to), from, bytes), DONE; });
}
API cuMemcpyDtoHAsync_v2(void* to, std::uint64_t from, std::size_t bytes, void* stream) {
    if (static_cast<Stream*>(stream)->captures) return captured(), IN_CAPTURE;
    if (!inside(from, bytes, state().memory) || !inside(to, bytes)) return INVALID;
    return ask(stream, [=] { return std::memcpy(to, reinterpret_cast<void*>(from), bytes), DONE; });
}
API cuMemcpyDtoDAsync_v2(std::uint64_t to, std::uint64_t from, std::size_t bytes, void* stream) {
    if (!inside(to, bytes, state().memory) || !inside(from, bytes, state().memory)) return INVALID;
    return ask(stream, [=] { return std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes), DONE; }, {from, to});
}
API cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    const char* given = static_cast<const char*>(image);
    state().failed = DONE;
    if (std::memcmp(given, ELFMAG, SELFMAG) == 0) {
        *module = open(given);
    } else if (std::strncmp(given, "//", 2) == 0) {
        *module = open_ptx(given);
    } else {
        *module = dlopen(given, RTLD_NOW);
    }
    state().module = *module;
    return *module ? DONE : NO_IMAGE;
}
// Kept: it may be loaded again.
API cuModuleUnload(void*) { return DONE; }
API cuModuleGetFunction(void** function, void* module, const char* name) {
    *function = dlsym(module, name);
    return *function ? DONE : NOT_FOUND;
}
API cuFuncSetAttribute(void* function, int which, int value) {
    state().shared[function] = value;
    return which == 8 && value <= 100 << 10 ? DONE : INVALID;
}
API cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz, unsigned shared, void* stream,
                   void** arguments, void** extra) {
    const auto allowed = state().shared.find(function);
    const unsigned most = allowed == state().shared.end() ? 48u << 10 : unsigned(allowed->second);
    if (z != 1 || ty != 1 || tz != 1 || extra || shared > most) return INVALID;
    if (x == 0 || x > 0x7fffffffu || y == 0 || y > 65535 || threads == 0 || threads > 1024) return INVALID;
    void* given[3];
    for (int k = 0; k < 3; ++k) given[k] = *static_cast<void**>(arguments[k]);
    const Launch launch = of_shim<Launch>("din_shim_launch");
    const auto address = [&](int k) { return reinterpret_cast<std::uint64_t>(given[k]); };
    return ask(
        stream,
        [=] {
            if (++state().launches == (unsigned long long)set("DIN_FAKE_FAIL", 0)) return int(FAILED);
            state().clock += 1e-3 * x * y;
            const char* error = launch(function, x, y, threads, shared, static_cast<unsigned long long*>(given[0]),
                                       static_cast<unsigned*>(given[1]), static_cast<float*>(given[2]), ++state().seed);
            return int(error ? FAILED : DONE);
        },
        {address(0), address(1), address(2)});
}
API cuMemGetInfo_v2(std::size_t* unused, std::size_t* all) {
    *unused = state().unused;
    *all = std::size_t(1) << 36;
    return current ? DONE : NO_CONTEXT;
}
API cuStreamBeginCapture_v2(void* at, int mode) {
    if (state().no_captures || state().capture || mode > 2) return INVALID;
    if (!current) return NO_CONTEXT;
    state().capture.reset(new Graph);
    state().origin = static_cast<Stream*>(at);
    state().origin->captures = true;
    ++state().captures;
    return DONE;
}
API cuStreamEndCapture(void* at, void** graph) {
    *graph = nullptr;
    if (!state().capture || state().origin != at) return INVALID;
    const std::unique_ptr<Graph> made = std::move(state().capture);
    // What comes before the stream's end.
    std::set<int> before = state().origin->behind;
    for (int n = int(made->nodes.size()); n-- > 0;) {
        if (before.count(n) != 0) before.insert(made->behind[n].begin(), made->behind[n].end());
    }
    bool joined = true;
    for (Stream* stream : state().streams) {
        for (int n : stream->behind) joined = joined && before.count(n) != 0;
        stream->captures = false;
        stream->behind.clear();
    }
    if (made->broken || !joined) return made->broken ? BROKEN : NOT_JOINED;
    *graph = new Graph(*made);
    return DONE;
}
API cuGraphDestroy(void* graph) { return delete static_cast<Graph*>(graph), DONE; }
API cuGraphInstantiateWithFlags(void** ready, void* graph, unsigned long long flags) {
    Graph* g = new Graph(*static_cast<Graph*>(graph));
    state().graphs.insert(g);
    return *ready = g, flags == 0 ? DONE : INVALID;
}
API cuGraphLaunch(void* ready, void* stream) {
    Graph* g = static_cast<Graph*>(ready);
    if (captured()) return IN_CAPTURE;
    if (!state().graphs.count(g) || g->freed) return INVALID;
    std::set<int> left;
    for (int n = 0; n < int(g->nodes.size()); ++n) left.insert(n);
    while (!left.empty()) {
        std::vector<int> next;
        for (int n : left) {
            bool ready = true;
            for (int before : g->behind[n]) ready = ready && left.count(before) == 0;
            if (ready) next.push_back(n);
        }
        const int n = next[below(next.size())];
        left.erase(n);
        if (const int code = ask(stream, g->nodes[n])) return code;
    }
    return DONE;
}
API cuGraphExecDestroy(void* ready) {
    if (state().graphs.erase(static_cast<Graph*>(ready)) == 0) return INVALID;
    return delete static_cast<Graph*>(ready), DONE;
}

// ---- For tests: whether captures are refused, and the bytes of memory that are unused.
API fake_captures(int allowed) { return state().no_captures = !allowed, DONE; }
API fake_memory(std::size_t unused) { return state().unused = unused, DONE; }
// Graphs that live.
API fake_graphs() { return int(state().graphs.size()); }
