"""Prints where NVRTC lies in the Python package nvidia-cuda-nvrtc of the interpreter that runs this, or in CUDA's usual folder; nothing where
there is none. Needs no package.

    DIN_NVRTC="$(python3 bench/nvrtc.py)"
"""

import importlib.util
import pathlib


def folders():
    package = importlib.util.find_spec("nvidia")
    for path in (package and package.submodule_search_locations) or []:
        # `cu13/lib` since CUDA 13, `cuda_nvrtc/lib` before.
        yield from sorted(pathlib.Path(path).glob("*/lib"))
    yield from sorted(pathlib.Path("/usr/local").glob("cuda*/lib64"))


def find():
    for folder in folders():
        found = [f for f in sorted(folder.glob("libnvrtc.so.*")) if "alt" not in f.name]
        if found:
            return found[0]
    return None


if __name__ == "__main__":
    print(find() or "")
