// NVIDIA's driver interface with nothing behind it: every call returns at once, device memory is
// addresses alone, and what is read is zero. With it the host's part of a step is measured
// (`tests/examples/bench_host.rs`).

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum { DONE = 0, INVALID = 1 };

// What handles lead to, and the next address of the device's memory.
char place;
std::uint64_t next = std::uint64_t(1) << 40;
std::uintptr_t functions = 0;

}  // namespace

API cuInit(unsigned) { return DONE; }
API cuGetErrorString(int, const char** text) { return *text = "error", DONE; }
API cuDriverGetVersion(int* version) { return *version = 12080, DONE; }
API cuDeviceGetCount(int* count) { return *count = 1, DONE; }
API cuDeviceGet(int* device, int number) { return *device = number, DONE; }
API cuDeviceGetName(char* name, int length, int) { return std::strncpy(name, "an idle GPU", length), DONE; }
API cuDeviceGetAttribute(int* value, int which, int) { return *value = which == 75 ? 9 : which == 76 ? 0 : 227 << 10, DONE; }
API cuDevicePrimaryCtxRetain(void** context, int) { return *context = &place, DONE; }
API cuDevicePrimaryCtxRelease_v2(int) { return DONE; }
API cuCtxSetCurrent(void*) { return DONE; }
API cuStreamCreate(void** stream, unsigned) { return *stream = &place, DONE; }
API cuStreamDestroy_v2(void*) { return DONE; }
API cuStreamSynchronize(void*) { return DONE; }
API cuStreamWaitEvent(void*, void*, unsigned) { return DONE; }
API cuEventCreate(void** event, unsigned) { return *event = &place, DONE; }
API cuEventDestroy_v2(void*) { return DONE; }
API cuEventRecord(void*, void*) { return DONE; }
API cuEventElapsedTime(float* ms, void*, void*) { return *ms = 0.0f, DONE; }
API cuEventSynchronize(void*) { return DONE; }
API cuMemAlloc_v2(std::uint64_t* at, std::size_t bytes) {
    *at = next;
    next += (bytes + 255) / 256 * 256 + 256;
    return DONE;
}
API cuMemFree_v2(std::uint64_t) { return DONE; }
API cuMemHostAlloc(void** at, std::size_t bytes, unsigned) {
    *at = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *at ? (std::memset(*at, 0, bytes), DONE) : INVALID;
}
API cuMemFreeHost(void* at) { return std::free(at), DONE; }
API cuMemcpyHtoDAsync_v2(std::uint64_t, const void*, std::size_t, void*) { return DONE; }
API cuMemcpyDtoHAsync_v2(void* to, std::uint64_t, std::size_t bytes, void*) { return std::memset(to, 0, bytes), DONE; }
API cuMemcpyDtoDAsync_v2(std::uint64_t, std::uint64_t, std::size_t, void*) { return DONE; }
API cuModuleLoadDataEx(void** module, const void*, unsigned, int*, void**) { return *module = &place, DONE; }
API cuModuleUnload(void*) { return DONE; }
API cuModuleGetFunction(void** function, void*, const char*) { return *function = reinterpret_cast<void*>(functions += 16), DONE; }
API cuFuncSetAttribute(void*, int, int) { return DONE; }
API cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**) { return DONE; }
API cuMemGetInfo_v2(std::size_t* unused, std::size_t* all) { return *unused = *all = std::size_t(80) << 30, DONE; }
API cuStreamBeginCapture_v2(void*, int) { return DONE; }
API cuStreamEndCapture(void*, void** graph) { return *graph = &place, DONE; }
API cuGraphDestroy(void*) { return DONE; }
API cuGraphInstantiateWithFlags(void** ready, void*, unsigned long long) { return *ready = &place, DONE; }
API cuGraphLaunch(void*, void*) { return DONE; }
API cuGraphExecDestroy(void*) { return DONE; }
