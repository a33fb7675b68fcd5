// NVRTC's interface with the host's compiler behind it, so that the built binary can be tested on a
// fake GPU, from source to steps. An image is the source compiled against the shim: the library for
// sm_N, its hexadecimal digits behind a line of comment for compute_N. Each compilation adds a line
// with its architecture to the file that DIN_FAKE_LOG names, if any. In the folder that
// DIN_FAKE_STORE names, if any, libraries are kept by their source, so that each is made once.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <string>
#include <unistd.h>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum { DONE = 0, INVALID = 3, OPTION = 5, COMPILATION = 6 };

struct Program {
    std::string source, image, ptx, log;
};

const int known[] = {80, 90, 100};

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

int give(const std::string& text, std::size_t extra, std::size_t* bytes, char* to) {
    if (bytes) *bytes = text.size() + extra;
    if (to) std::memcpy(to, text.c_str(), text.size() + extra);
    return DONE;
}

}  // namespace

API nvrtcVersion(int* major, int* minor) { return *major = 1, *minor = 2, DONE; }
extern "C" __attribute__((visibility("default"))) const char* nvrtcGetErrorString(int) { return "a fake error"; }
API nvrtcGetNumSupportedArchs(int* count) { return *count = 3, DONE; }
API nvrtcGetSupportedArchs(int* list) { return std::memcpy(list, known, sizeof known), DONE; }
API nvrtcCreateProgram(void** program, const char* source, const char*, int, const char* const*, const char* const*) {
    return *program = new Program{source, "", "", ""}, DONE;
}
API nvrtcDestroyProgram(void** program) { return delete static_cast<Program*>(*program), *program = nullptr, DONE; }
API nvrtcCompileProgram(void* program, int count, const char* const* options) {
    Program& p = *static_cast<Program*>(program);
    std::string target;
    for (int k = 0; k < count; ++k) {
        const char* prefix = "--gpu-architecture=";
        if (std::strncmp(options[k], prefix, std::strlen(prefix)) == 0) target = options[k] + std::strlen(prefix);
    }
    if (target.empty()) return OPTION;
    if (const char* log = std::getenv("DIN_FAKE_LOG")) std::ofstream(log, std::ios::app) << target << "\n";
    const char* store = std::getenv("DIN_FAKE_STORE");
    const std::string kept = store ? std::string(store) + "/" + std::to_string(std::hash<std::string>()(p.source)) : "";
    // The source is written last, under its name as a whole.
    const bool known = store && contents(kept + ".cpp") == p.source;
    int failed = 0;
    if (known) {
        p.image = contents(kept + ".so");
    } else {
        char folder[] = "/tmp/din-fake-XXXXXX";
        if (!mkdtemp(folder)) return INVALID;
        const std::string at = folder, text = at + "/kernels.cpp", library = at + "/kernels.so", log = at + "/log";
        std::ofstream(text) << p.source;
        const char* compiler = std::getenv("CXX");
        // Equal sources give equal images: no path of this folder is in them.
        const std::string command = "cd " + at + " && " + (compiler ? compiler : "g++") +
                                    " -std=c++17 -shared -fPIC -fvisibility=hidden -ffp-contract=off -w -O1 -include " DIN_SHIM
                                    " -o kernels.so kernels.cpp >log 2>&1";
        failed = std::system(command.c_str());
        p.image = contents(library);
        p.log = contents(log);
        if (store && !failed) {
            // Others may read the store, or write the same.
            const std::string own = kept + at.substr(at.rfind('-'));
            std::ofstream(own + ".so", std::ios::binary) << p.image;
            std::ofstream(own + ".cpp") << p.source;
            std::rename((own + ".so").c_str(), (kept + ".so").c_str());
            std::rename((own + ".cpp").c_str(), (kept + ".cpp").c_str());
        }
        for (const std::string& file : {text, library, log}) unlink(file.c_str());
        rmdir(folder);
    }
    if (failed) return COMPILATION;
    p.ptx = "// fake PTX\n";
    for (const char c : p.image) {
        const char digits[] = "0123456789abcdef";
        p.ptx.push_back(digits[(unsigned char)c >> 4]);
        p.ptx.push_back(digits[(unsigned char)c & 15]);
    }
    return DONE;
}
API nvrtcGetCUBINSize(void* program, std::size_t* bytes) { return give(static_cast<Program*>(program)->image, 0, bytes, nullptr); }
API nvrtcGetCUBIN(void* program, char* to) { return give(static_cast<Program*>(program)->image, 0, nullptr, to); }
API nvrtcGetPTXSize(void* program, std::size_t* bytes) { return give(static_cast<Program*>(program)->ptx, 1, bytes, nullptr); }
API nvrtcGetPTX(void* program, char* to) { return give(static_cast<Program*>(program)->ptx, 1, nullptr, to); }
API nvrtcGetProgramLogSize(void* program, std::size_t* bytes) { return give(static_cast<Program*>(program)->log, 1, bytes, nullptr); }
API nvrtcGetProgramLog(void* program, char* to) { return give(static_cast<Program*>(program)->log, 1, nullptr, to); }
