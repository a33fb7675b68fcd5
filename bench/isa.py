"""Levels of the instruction set, v3 (AVX2) and v4 (AVX-512): which one the machine has, how peers are held to a lower one, and whether they obey.

    python bench/isa.py PID

says for each thread of a process whether registers of AVX-512 have been in use.
"""

import ctypes
import os
import pathlib
import struct
import sys

LEVELS = ["v3", "v4"]
# Features of the processor that each level needs, by their names in /proc/cpuinfo.
NEEDED = {"v3": {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}, "v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}}
AVX512 = ["AVX512F", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512VL"]
# What holds a process to AVX2, by library. It does not hold ONNX Runtime, the copy of its library MLAS in OpenVINO, and the library YNNPACK in JAX;
# `hide_avx512.py` does. The settings of glibc and NumPy matter only to code that prepares data: without them that code would leave
# registers of AVX-512 in use, and `uses_avx512` would say so of a peer that obeys.
LIMITS = {
    # PyTorch's own kernels and what torch.compile makes; the compiler's other code; oneDNN, also in OpenVINO; MKL.
    "ATEN_CPU_CAPABILITY": "avx2",
    "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    # Adds to the flags that a caller sets.
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in AVX512),
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",
    "OPENBLAS_CORETYPE": "HASWELL",
}


def level(cpuinfo=None):
    """The highest level of this machine; `v2` where it has neither."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8") if cpuinfo is None else cpuinfo
    flags = next((set(line.split(":", 1)[1].split()) for line in text.splitlines() if line.startswith("flags")), set())
    found = "v2"
    for name in LEVELS:
        if not NEEDED[name] <= flags:
            break
        found = name
    return found


def limits(wanted, has):
    """The environment that holds peers to level `wanted` on a machine that has `has`."""
    if wanted == has:
        return {}
    if (wanted, has) != ("v3", "v4"):
        raise SystemExit(f"--isa {wanted}: this machine has {has}; peers can be held to v3 where it has v4")
    flags = [os.environ.get("XLA_FLAGS"), LIMITS["XLA_FLAGS"]]
    return LIMITS | {"XLA_FLAGS": " ".join(f for f in flags if f)}


# Of Linux: requests of ptrace, the set of registers that XSAVE stores, and waiting for threads.
SEIZE, INTERRUPT, DETACH, GET_REGISTERS = 0x4206, 0x4207, 17, 0x4204
XSTATE, WAIT_ALL = 0x202, 0x40000000
# In a state that XSAVE stored: the word that says which parts are in use; there, AVX-512's masks, the upper halves of zmm0 to 15, zmm16 to 31.
IN_USE, MASKS_AND_ZMM = 512, 0b111 << 5


class IoVector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def parts_in_use(thread):
    """Which parts of its registers a thread of a child process has in use, a bit each, as XSAVE notes it. The thread is stopped for a moment."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes, ptrace.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long

    def request(*arguments):
        if ptrace(*arguments) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    request(SEIZE, thread, None, None)
    try:
        request(INTERRUPT, thread, None, None)
        os.waitpid(thread, WAIT_ALL)
        state = ctypes.create_string_buffer(1 << 14)
        vector = IoVector(ctypes.addressof(state), len(state))
        request(GET_REGISTERS, thread, XSTATE, ctypes.addressof(vector))
        return struct.unpack_from("<Q", state, IN_USE)[0]
    finally:
        request(DETACH, thread, None, None)


def threads_with_avx512(pid):
    """By thread, whether registers of AVX-512 are in use: masks and zmm16 to zmm31 stay in use once they were written."""
    return {int(t): bool(parts_in_use(int(t)) & MASKS_AND_ZMM) for t in os.listdir(f"/proc/{pid}/task")}


def uses_avx512(pid):
    """Whether a thread of the process used AVX-512; None where the system does not tell."""
    try:
        return any(threads_with_avx512(pid).values())
    except OSError:
        return None


def main():
    for thread, used in threads_with_avx512(int(sys.argv[1])).items():
        print(thread, pathlib.Path(f"/proc/{sys.argv[1]}/task/{thread}/comm").read_text(encoding="utf-8").strip(), used)


if __name__ == "__main__":
    main()
