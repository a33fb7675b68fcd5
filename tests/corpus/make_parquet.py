"""Writes tests/corpus/parquet, the files that the fuzz target `parquet` begins with. Needs pyarrow.

The columns are those of the spec in tests/src/fuzz/data.rs.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent / "parquet"


def table(rows):
    """Row `r` is a function of `r` alone; its lists have `r % 4` entries."""
    numbers = range(rows)
    return {
        "item": pa.array(numbers, pa.int64()),
        "tag": pa.array([f"t{r % 3}" for r in numbers]),
        "size": pa.array([r % 4 for r in numbers], pa.int8()),
        "price": pa.array([r / 2 for r in numbers], pa.float32()),
        "place": pa.array([[r, 0.5] for r in numbers], pa.list_(pa.float32())),
        "items": pa.array([[r + k for k in range(r % 4)] for r in numbers], pa.list_(pa.int64())),
        "tags": pa.array([[f"t{k}" for k in range(r % 4)] for r in numbers], pa.list_(pa.string())),
        "prices": pa.array([[k / 4 for k in range(r % 4)] for r in numbers], pa.list_(pa.float64())),
        "click": pa.array([r % 2 for r in numbers], pa.int8()),
        "user": pa.array([r % 5 for r in numbers], pa.int64()),
        "session": pa.array([f"s{r % 2}" for r in numbers]),
    }


def write(name, columns, **options):
    path = FOLDER / f"{name}.parquet"
    pq.write_table(pa.table(columns), path, **{"compression": "none", "use_dictionary": False, **options})
    return path


def main():
    FOLDER.mkdir(exist_ok=True)
    plain = write("plain", table(6))
    write("dictionaries", table(9), use_dictionary=True, compression="snappy")
    write("zstd_pages_v2", table(7), compression="zstd", data_page_version="2.0")
    write("row_groups", table(7), row_group_size=2, compression="lz4")
    checked = write("checksums", table(5), write_page_checksum=True, compression="gzip")
    columns = table(4)
    columns["item"] = pa.array([0, 1, 2, 2**64 - 1], pa.uint64())
    columns["tag"] = pa.array(["é", "", "😀", "x"], pa.large_string())
    columns["place"] = pa.array([[1, 2]] * 4, pa.list_(pa.float64(), 2))
    columns["click"] = pa.array([True, False, True, False])
    write("other_types", columns)

    bytes_ = plain.read_bytes()
    (FOLDER / "cut.parquet").write_bytes(bytes_[: len(bytes_) // 2])
    (FOLDER / "empty.parquet").write_bytes(b"")
    (FOLDER / "magic_only.parquet").write_bytes(b"PAR1PAR1")
    flipped = bytearray(checked.read_bytes())
    flipped[100] ^= 0xFF
    (FOLDER / "wrong_checksum.parquet").write_bytes(flipped)
    write("no_rows", table(0))
    write("missing_column", {k: v for k, v in table(3).items() if k != "price"})
    write("wrong_type", {**table(3), "price": pa.array(["a", "b", "c"])})
    write("unequal_lists", {**table(3), "items": pa.array([[1], [], [2, 3]], pa.list_(pa.int64()))})
    write("null_label", {**table(3), "click": pa.array([1, None, 0], pa.int8())})


main()
