"""The bounded .npz reader against damaged and hostile archives, and atomic writes."""

import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from outsample.errors import FormatError, InputError
from outsample.files import read_npz, write_atomically

DTYPES = st.sampled_from(
    ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", ">f8", ">i2", "U5"]
)


def npy(
    array: NDArray | None = None,
    *,
    descr: object = "<f8",
    fortran: object = False,
    shape: object = (3,),
    data: bytes = bytes(24),
    version: tuple[int, int] = (1, 0),
    magic: bytes = b"\x93NUMPY",
    header: bytes | None = None,
) -> bytes:
    """A .npy member: that of an array, or one made up from its fields."""
    if array is not None:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        return buffer.getvalue()
    if header is None:
        fields = {"descr": descr, "fortran_order": fortran, "shape": shape}
        header = (repr(fields) + "\n").encode()
    width = "<H" if version == (1, 0) else "<I"
    return magic + bytes(version) + struct.pack(width, len(header)) + header + data


def archive(
    *members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    """A zip archive of named members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a name that occurs twice
                file.writestr(name, data)
        file.comment = comment
    return buffer.getvalue()


def patched(raw: bytes, field: str, value: int, *, member: bool = True) -> bytes:
    """The archive with a field of its first member overwritten, in the directory and up front."""
    offsets = {"flags": (8, 6), "method": (10, 8), "crc": (16, 14), "packed": (20, 18)}
    offsets |= {"size": (24, 22), "offset": (42, -1)}
    kind = "<H" if field in ("flags", "method") else "<I"
    directory, local = offsets[field]
    changed = bytearray(raw)
    struct.pack_into(kind, changed, raw.index(b"PK\1\2") + directory, value)
    if local > 0:
        struct.pack_into(kind, changed, local, value)
    return bytes(changed)


def with_end(raw: bytes, offset: int, value: int) -> bytes:
    """The archive with four bytes of its end record overwritten (12: size, 16: place)."""
    changed = bytearray(raw)
    struct.pack_into("<I", changed, len(raw) - 22 + offset, value)
    return bytes(changed)


def zeros(megabytes: int) -> bytes:
    """Zeros, honestly described, that deflate a thousandfold."""
    count = megabytes << 17
    return archive(("x.npy", npy(shape=(count,), data=bytes(8 * count))))


def one(*args: NDArray, **fields: object) -> bytes:
    """An archive of one member ``x.npy``, its header as given to :func:`npy`."""
    return archive(("x.npy", npy(*args, **fields)))  # pyright: ignore[reportArgumentType]


def named(*names: str) -> bytes:
    """An archive of good members with these names."""
    return archive(*((name, ONE) for name in names), compression=zipfile.ZIP_STORED)


ONE = npy(np.arange(3.0))
GOOD = archive(("x.npy", ONE))

#: What a stranger may send, and a word of the reason for which it must be refused.
HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "empty file": (b"", "end-of-archive"),
    "text": (b"weights: 1 2 3\n" * 20, "end-of-archive"),
    "bare npy": (ONE, "end-of-archive"),
    "pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR." + bytes(40), "end-of-archive"),
    "comment": (archive(("x.npy", ONE), comment=b"hello"), "end-of-archive"),
    "zip64": (GOOD[:-22] + b"PK\6\7" + bytes(16) + GOOD[-22:], "zip64"),
    "directory elsewhere": (with_end(GOOD, 16, 1 << 31), "damaged"),
    "directory longer than the file": (with_end(GOOD, 12, 900_000), "directory"),
    "directory of 2 MiB": (
        lambda: named(*(f"{'x' * 150}{i}.npy" for i in range(9000))),
        "directory",
    ),
    "5000 members": (lambda: named(*(f"x{i}.npy" for i in range(5000))), "members"),
    # names
    "absolute path": (named("/etc/x.npy"), "relative"),
    "parent folder": (named("../x.npy"), "relative"),
    "inner parent folder": (named("a/../../x.npy"), "relative"),
    "drive letter": (named("C:\\x.npy"), "relative"),
    "terminal escape": (named("\x1b[2Jx.npy"), "relative"),
    "zero byte": (named("y.npz").replace(b"y.npz", b"y\0npy"), "relative"),
    "name too long": (named("x" * 300 + ".npy"), "relative"),
    "not .npy": (named("x.npy", "run.py"), "relative"),
    "same name twice": (named("x.npy", "x.npy"), "twice"),
    "names differ in the two headers": (GOOD.replace(b"x.npy", b"y.npy", 1), "damaged"),
    # compression
    "encrypted": (patched(GOOD, "flags", 1), "encrypted"),
    "bzip2": (archive(("x.npy", ONE), compression=zipfile.ZIP_BZIP2), "compression"),
    "lzma": (archive(("x.npy", ONE), compression=zipfile.ZIP_LZMA), "compression"),
    "unknown compression": (patched(GOOD, "method", 99), "compression"),
    "wrong checksum": (patched(GOOD, "crc", 7), "CRC"),
    "bomb": (lambda: zeros(100), "inflates"),
    "bomb that lies about its size": (lambda: patched(zeros(100), "size", 256), "CRC"),
    "bomb behind a small array": (
        lambda: patched(archive(("x.npy", ONE + bytes(100 << 20))), "size", len(ONE)),
        "CRC",
    ),
    "packs more than the file holds": (patched(GOOD, "packed", 1 << 30), "claims"),
    "claims 1.5 GB": (patched(GOOD, "size", 3 << 29), "max_bytes"),
    "member elsewhere": (patched(GOOD, "offset", 10), "damaged"),
    # headers
    "no header": (archive(("x.npy", b"")), "magic"),
    "wrong magic": (one(magic=b"\x93NUMPX"), "magic"),
    "pickled member": (archive(("x.npy", b"cos\nsystem\n(S'true'\ntR.")), "magic"),
    "version 3": (one(version=(3, 0)), "version"),
    "cut in its header": (archive(("x.npy", ONE[:40])), "header"),
    "header not a dictionary": (one(header=b"[1, 2, 3]"), "header"),
    "header without shape": (one(header=b"{'descr': '<f8', 'fortran_order': False}"), "header"),
    "header is code": (one(header=b"__import__('os').abort()"), "header"),
    "header nested deeply": (one(header=b"(" * 1000), "header"),
    "header of minus signs": (one(header=b"-" * 1000 + b"1"), "header"),
    "header not ASCII": (one(header=b"\xff\xfe{}"), "header"),
    "header with a zero byte": (one(header=b"{\0}"), "header"),
    "header too long": (one(header=b" " * 5000, version=(2, 0)), "header"),
    "order not a boolean": (one(fortran="yes"), "fortran_order"),
    # shapes
    "256 TiB": (one(shape=(1 << 45,)), "shape"),
    "256 TiB in two": (one(shape=(1 << 23, 1 << 22)), "max_elements"),
    "nothing, hugely": (one(shape=(0, 1 << 39, 1 << 39), data=b""), "max_elements"),
    "negative size": (one(shape=(-3,)), "shape"),
    "boolean size": (one(shape=(True, 3)), "shape"),
    "size not a tuple": (one(shape=3), "shape"),
    "40 dimensions": (one(shape=(1,) * 40, data=bytes(8)), "shape"),
    "too little data": (one(shape=(4,)), "asks for"),
    "too much data": (one(shape=(2,)), "asks for"),
    # dtypes and values
    "objects": (one(np.array([{}, None])), "dtype"),
    "complex": (one(np.zeros(3, complex)), "dtype"),
    "structured": (one(np.zeros(3, "f8,i4")), "dtype"),
    "dates": (one(np.zeros(3, "M8[s]")), "dtype"),
    "bytes": (one(np.array([b"ab"])), "dtype"),
    "long double": (one(descr="<f16"), "dtype"),
    "empty text": (one(descr="<U0", shape=(10**12,), data=b""), "dtype"),
    "text too long": (one(descr="<U9000", shape=(90,)), "text"),
    "text outside Unicode": (one(descr="<U2", data=b"\xff" * 24), "characters"),
    "surrogates": (one(descr="<U2", data=b"\0\xd8\0\0" * 6), "characters"),
    "boolean 2": (one(descr="|b1", shape=(24,), data=b"\2" * 24), "boolean"),
}


def content(case: str) -> bytes:
    made = HOSTILE[case][0]
    return made if isinstance(made, bytes) else made()


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "stranger.npz"
    path.write_bytes(content(case))
    with pytest.raises(FormatError, match=HOSTILE[case][1]) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_hostile_archives_cost_little_memory(tmp_path: Path) -> None:
    """All of them in one fresh process that may not grow by 256 MB."""
    for index, case in enumerate(HOSTILE):
        (tmp_path / f"{index}.npz").write_bytes(content(case))
    script = (
        "import pathlib, resource, sys\n"
        "from outsample.files import read_npz\n"
        "from outsample.errors import FormatError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in pathlib.Path(sys.argv[1]).glob('*.npz'):\n"
        "    try: read_npz(path)\n"
        "    except FormatError: pass\n"
        "    else: sys.exit(f'{path} was read')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 256 * 1024  # kilobytes


@pytest.mark.parametrize(
    "count", [150, pytest.param(1000, marks=pytest.mark.slow)], ids=["some", "many"]
)
@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_damaged_archives_give_a_value_or_our_error(how: str, count: int, tmp_path: Path) -> None:
    rng = random.Random(how)
    arrays = {"weight_0": np.arange(40.0).reshape(8, 5), "activation": np.array("relu")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    good = buffer.getvalue()
    path = tmp_path / "damaged.npz"
    read = 0
    for _ in range(count):
        damaged = bytearray(good)
        if how == "truncated":
            del damaged[rng.randrange(len(good)) :]
        else:
            for _ in range(rng.choice([1, 1, 1, 4])):
                damaged[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read_npz(path)
        except FormatError:
            continue
        read += 1
        for name in found.keys() & arrays.keys():
            np.testing.assert_array_equal(found[name], arrays[name])
    assert read == 0 if how == "truncated" else read < count * 2 / 3


@pytest.mark.parametrize(
    "count", [300, pytest.param(2000, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_damaged_members_with_right_checksums_give_a_value_or_our_error(
    count: int, tmp_path: Path
) -> None:
    """The damage that a checksum does not catch: most of it hits the array's own header."""
    rng = random.Random(count)
    path = tmp_path / "damaged.npz"
    for _ in range(count):
        member = bytearray(ONE[: rng.choice([len(ONE), len(ONE), rng.randrange(len(ONE))])])
        for _ in range(rng.choice([0, 1, 1, 3])):
            if member:
                member[rng.randrange(min(len(member), 80))] = rng.randrange(256)
        path.write_bytes(archive(("x.npy", bytes(member))))
        try:
            assert read_npz(path)["x"].nbytes <= len(ONE)
        except FormatError as error:
            assert "'x.npy'" in str(error)


@given(
    arrays=st.dictionaries(
        st.from_regex(r"[A-Za-z_]\w{0,8}", fullmatch=True),
        DTYPES.flatmap(
            lambda dtype: hnp.arrays(
                np.dtype(dtype),
                hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
                elements=st.text("aé∂", max_size=5) if dtype == "U5" else None,
            )
        ),
        max_size=4,
    ),
    compressed=st.booleans(),
    fortran=st.booleans(),
)
def test_what_numpy_saves_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: dict[str, NDArray],
    compressed: bool,
    fortran: bool,
) -> None:
    arrays.pop("file", None)  # numpy.savez takes it as its own argument
    arrays.pop("allow_pickle", None)
    if fortran:
        arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    path = tmp_path_factory.getbasetemp() / "saved.npz"
    path.write_bytes(buffer.getvalue())
    found = read_npz(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].flags.writeable


def test_limits_count_all_members_together(tmp_path: Path) -> None:
    path = tmp_path / "three.npz"
    np.savez(path, a=np.zeros(10), b=np.zeros(10), c=np.zeros(10))
    assert len(read_npz(path, max_elements=30)) == 3
    with pytest.raises(FormatError, match=r"'c\.npy'.*max_elements"):
        read_npz(path, max_elements=29)
    with pytest.raises(FormatError, match="max_bytes = 500"):
        read_npz(path, max_bytes=500)


def test_compressible_arrays_within_reason_are_read(tmp_path: Path) -> None:
    path = tmp_path / "identity.npz"
    np.savez_compressed(path, input_cov=np.eye(1000))
    assert os.path.getsize(path) * 100 < 8e6
    np.testing.assert_array_equal(read_npz(path)["input_cov"], np.eye(1000))


def test_what_is_no_readable_file_is_an_input_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing.npz", tmp_path, tmp_path / "pipe", "/dev/zero", "a\0b"):
        with pytest.raises(InputError, match="path = "):
            read_npz(path)


def test_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "first, and longer than what follows")
    write_atomically(path, "σ²")
    assert path.read_text("utf-8") == "σ²"
    write_atomically(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert os.listdir(tmp_path) == ["result.json"]


def test_atomic_write_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_atomic_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize("place", ["missing/result.json", "file/result.json", "folder"])
def test_atomic_write_to_no_folder_is_an_input_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write there"):
        write_atomically(tmp_path / place, "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
