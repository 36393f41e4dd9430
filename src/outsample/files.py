"""Files: bounded readers for NumPy files from strangers, and writes that are all or nothing."""

import ast
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from outsample.errors import FormatError, InputError

_END = b"PK\5\6"  # end of central directory, its last 22 bytes where there is no comment
_END_SIZE = 22
_ZIP64_LOCATOR_SIZE = 20
_DIRECTORY_BYTES = 1 << 20
_MEMBERS = 4096
_HEADER_BYTES = 1024
_TEXT_BYTES = 1 << 16
_CHUNK = 1 << 20
#: What an archive of any size may inflate to, and beyond it how many times its own size.
_INFLATED_FREE = 64 << 20
_INFLATED_RATIO = 32

_NAME = re.compile(r"\w[\w. -]*(?:/\w[\w. -]*)*\.npy")
_DTYPE = re.compile(r"[<>|=]?(?:f[248]|[iu][1248]|b1|U[1-9]\d{0,4})")
#: What zipfile and zlib raise on damaged input.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError,
    ValueError, struct.error, OverflowError,
)  # fmt: skip


def read_npz(
    path: str | os.PathLike[str], *, max_elements: int = 1 << 27, max_bytes: int = 1 << 30
) -> dict[str, NDArray[Any]]:
    """Read a ``.npz`` archive that may be damaged or hostile.

    Nothing is unpickled or executed, and nothing is allocated before the archive's directory
    and the array's own header agree on a size within the limits.  Compressed archives may hold
    at most 64 MiB, or 32 times their size on disk if that is more.

    Args:
        path: the archive; its members are ``NAME.npy``, stored or deflated.
        max_elements: largest number of array entries in all members together.
        max_bytes: largest number of bytes in all members together, uncompressed.

    Returns:
        Arrays by name, in native byte order, of floating-point, integer, boolean or text dtype.

    Raises:
        InputError: if ``path`` is no readable file.
        FormatError: for anything else that is wrong, naming the path, the member and the reason.
    """
    try:
        size = _regular_file_size(path)
        file = open(path, "rb")  # noqa: SIM115 (the with statement below closes it)
    except OSError as error:
        raise InputError(
            f"path = {os.fspath(path)!r}: {error.strerror}; expected a readable .npz file"
        ) from error
    with file:
        archive = _open(path, file, size, max_bytes)
        budget = max_elements
        arrays: dict[str, NDArray[Any]] = {}
        for info in archive.infolist():
            arrays[info.filename.removesuffix(".npy")] = array = _read_member(
                path, archive, info, budget
            )
            budget -= array.size
    return arrays


def read_npy(path: str | os.PathLike[str], *, max_elements: int = 1 << 27) -> NDArray[Any]:
    """Read a ``.npy`` file that may be damaged or hostile.

    Nothing is unpickled or executed, and nothing is allocated before the array's header and the
    size of the file agree on a size within the limit.

    Args:
        path: the file.
        max_elements: largest number of entries.

    Returns:
        An array in native byte order, of floating-point, integer, boolean or text dtype.

    Raises:
        InputError: if ``path`` is no readable file.
        FormatError: for anything else that is wrong, naming the path and the reason.
    """
    try:
        size = _regular_file_size(path)
        file = open(path, "rb")  # noqa: SIM115 (the with statement below closes it)
    except OSError as error:
        raise InputError(
            f"path = {os.fspath(path)!r}: {error.strerror}; expected a readable .npy file"
        ) from error
    with file:
        header_bytes, dtype, fortran, shape = _read_header(path, None, file)
        count = math.prod(shape)
        # Zeros left out: NumPy also refuses to shape nothing into (0, 2**40, 2**40).
        if math.prod(n for n in shape if n) > max_elements:
            _fail(path, None, f"shape {shape} is over max_elements = {max_elements}")
        stated = header_bytes + count * dtype.itemsize
        if stated != size:
            _fail(
                path, None,
                f"its header asks for {stated} bytes ({dtype} of shape {shape}); it has {size}",
            )  # fmt: skip
        flat = np.empty(count, dtype)
        if flat.size and file.readinto(memoryview(cast(Any, flat.view(np.uint8)))) != flat.nbytes:
            _fail(path, None, "it became shorter while it was read")
    _check_values(path, None, flat)
    if not dtype.isnative:
        flat = flat.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if fortran else "C")


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write ``data`` to ``path`` so that readers see the old file or the whole new one.

    The data go to a temporary file in the same folder, which then takes the name of ``path``.
    Text is written as UTF-8.

    Raises:
        InputError: if the folder does not exist or may not be written to.
        OSError: if the disk fails or is full; ``path`` is then as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    raw = data.encode() if isinstance(data, str) else data
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        with open(temporary, "xb") as file:
            try:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"path = {os.fspath(path)!r}: cannot write there: {error.strerror}; expected a file "
            "in an existing folder that you may write to"
        ) from error


def _regular_file_size(path: str | os.PathLike[str]) -> int:
    """Size in bytes; pipes and devices, which may never end, are refused before opening."""
    try:
        status = os.stat(path)
    except ValueError as error:  # a zero byte in the path
        raise OSError(None, str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "not a regular file")
    return status.st_size


def _open(
    path: str | os.PathLike[str], file: IO[bytes], size: int, max_bytes: int
) -> zipfile.ZipFile:
    """The archive, its directory checked against every limit that needs no member's data."""
    # zipfile reads the whole directory into objects: look at its size first.  With no archive
    # comment and no zip64 record, which NumPy does not write below 4 GiB, there is one place for
    # the end record, and zipfile will find the same one.
    file.seek(max(0, size - _END_SIZE - _ZIP64_LOCATOR_SIZE))
    tail = file.read(_END_SIZE + _ZIP64_LOCATOR_SIZE)
    end = tail[-_END_SIZE:]
    if len(end) < _END_SIZE or not end.startswith(_END):
        _fail(path, None, "no end-of-archive record in its last 22 bytes; not a .npz file, or cut")
    if tail.startswith(b"PK\6\7"):
        _fail(path, None, "zip64 archives (over 4 GiB or 65,535 members) are not read")
    directory_bytes = int.from_bytes(end[12:16], "little")
    if directory_bytes > _DIRECTORY_BYTES:
        _fail(path, None, f"its directory claims {directory_bytes} bytes; limit {_DIRECTORY_BYTES}")
    try:
        archive = zipfile.ZipFile(file)
    except _DAMAGE as error:
        _fail(path, None, f"damaged zip directory ({error})", error)

    members = archive.infolist()
    if len(members) > _MEMBERS:
        _fail(path, None, f"{len(members)} members; limit {_MEMBERS}")
    seen: set[str] = set()
    for info in members:
        name = info.orig_filename
        if not _NAME.fullmatch(name) or len(name) > 200:
            _fail(path, name, "not a plain relative name that ends in .npy")
        if name in seen:
            _fail(path, name, "occurs twice")
        seen.add(name)
        if info.flag_bits & 0x41:
            _fail(path, name, "encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _fail(path, name, f"compression method {info.compress_type}; expected 0 or 8 (deflate)")
        if info.compress_size > size:
            _fail(path, name, f"claims {info.compress_size} bytes in a file of {size}")
    total = sum(info.file_size for info in members)
    if total > max_bytes:
        _fail(path, None, f"holds {total} bytes uncompressed; limit max_bytes = {max_bytes}")
    if total > max(_INFLATED_FREE, _INFLATED_RATIO * size):
        _fail(
            path, None,
            f"inflates from {size} to {total} bytes; limit {_INFLATED_FREE} bytes or "
            f"{_INFLATED_RATIO} times its size (save it uncompressed, with numpy.savez)",
        )  # fmt: skip
    return archive


def _read_member(
    path: str | os.PathLike[str], archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int
) -> NDArray[Any]:
    """One array; the member's stated size caps what is inflated, its checksum is verified."""
    name = info.filename
    try:
        with archive.open(info) as member:
            header_bytes, dtype, fortran, shape = _read_header(path, name, member)
            count = math.prod(shape)
            # Zeros left out: NumPy also refuses to shape nothing into (0, 2**40, 2**40).
            if math.prod(n for n in shape if n) > budget:
                _fail(path, name, f"shape {shape} takes the archive over max_elements")
            stated = header_bytes + count * dtype.itemsize
            if stated != info.file_size:
                _fail(
                    path, name,
                    f"its header asks for {stated} bytes ({dtype} of shape {shape}); the archive "
                    f"lists {info.file_size}",
                )  # fmt: skip
            flat = np.empty(count, dtype)
            raw = memoryview(cast(Any, flat.view(np.uint8))) if flat.size else memoryview(b"")
            done = 0
            while done < len(raw):
                chunk = member.read(min(_CHUNK, len(raw) - done))
                if not chunk:
                    _fail(path, name, f"ends after {done} of {len(raw)} bytes of data")
                raw[done : done + len(chunk)] = chunk
                done += len(chunk)
            member.read(1)  # reaching the end makes zipfile compare the checksum
    except FormatError:
        raise
    except _DAMAGE as error:
        _fail(path, name, f"damaged ({error})", error)
    _check_values(path, name, flat)
    if not dtype.isnative:
        flat = flat.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if fortran else "C")


def _read_header(
    path: str | os.PathLike[str], name: str | None, member: IO[bytes]
) -> tuple[int, np.dtype[Any], bool, tuple[int, ...]]:
    """Length of the .npy header, and the dtype, Fortran order and shape it states."""
    magic = member.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY":
        _fail(path, name, "not in .npy format (wrong magic number)")
    if tuple(magic[6:]) not in ((1, 0), (2, 0)):
        _fail(path, name, f".npy version {magic[6]}.{magic[7]}; expected 1.0 or 2.0")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(member.read(width), "little")
    if length > _HEADER_BYTES:
        _fail(path, name, f"header of {length} bytes; limit {_HEADER_BYTES}")
    text = member.read(length).decode("latin-1").strip()
    try:
        if not text.isascii() or "\\" in text:  # escapes could make the parser warn
            raise ValueError("more than a plain dictionary")
        header: Any = ast.literal_eval(text)
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        _fail(path, name, "unreadable .npy header", error)
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        _fail(
            path, name,
            f"dtype {str(descr)[:60]!r}; expected real floating point, integer, boolean or text",
        )  # fmt: skip
    if not isinstance(fortran, bool):
        _fail(path, name, "fortran_order is neither True nor False")
    if (
        not isinstance(shape, tuple)
        or len(cast(tuple[Any, ...], shape)) > 16
        or not all(type(n) is int and 0 <= n < 1 << 40 for n in cast(tuple[Any, ...], shape))
    ):
        _fail(path, name, f"shape {str(shape)[:60]}; expected up to 16 sizes of at least 0")
    sizes = cast(tuple[int, ...], shape)
    dtype = np.dtype(descr)
    if dtype.kind == "U" and math.prod(sizes) * dtype.itemsize > _TEXT_BYTES:
        _fail(path, name, f"text of over {_TEXT_BYTES} bytes")
    return 8 + width + length, dtype, fortran, sizes


def _check_values(path: str | os.PathLike[str], name: str | None, flat: NDArray[Any]) -> None:
    """Bytes that are no boolean and code points that are no text make later code misbehave."""
    if flat.dtype.kind == "b" and flat.size and flat.view(np.uint8).max() > 1:
        _fail(path, name, "a boolean that is neither 0 nor 1")
    if flat.dtype.kind == "U" and flat.size:
        code = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
        if code.max() > 0x10FFFF or bool(((code >= 0xD800) & (code <= 0xDFFF)).any()):
            _fail(path, name, "text with characters that do not exist")


def _fail(
    path: str | os.PathLike[str],
    member: str | None,
    reason: str,
    cause: BaseException | None = None,
) -> NoReturn:
    where = f"{os.fspath(path)!r}" + ("" if member is None else f", member {member!r}")
    raise FormatError(f"{where}: {reason}") from cause
