"""A save back into a directory: its contents fetched and checked, nothing ever written outside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, NamedTuple

from worker.checkpoint.saves import Damaged, Piece, Tree, Where
from worker.checkpoint.uploads import UPLOADS

BLOCK_BYTES = 64 * 1024
"""What is left out of a file where it is all zeros: a multiple of every file system's own block."""
ZEROS = bytes(BLOCK_BYTES)


class Part(NamedTuple):
    """A piece's place in an object, and in a file."""

    offset: int
    piece: Piece
    path: str
    begin: int


class Block(NamedTuple):
    """Bytes of a piece, and where in it they begin."""

    offset: int
    content: bytes


def fill(directory: Path, tree: Tree, places: dict[Piece, Where], data: Callable[[str], bytes | None]) -> None:
    """Makes an empty directory what a save says. `data`: an object by its name, None where it is gone.

    Files first, links last, so that nothing is ever written through a link. Raises Damaged for a save that is not whole
    (`clear` what it left), and what `data` raises."""
    for path in sorted(tree.directories):
        _inside(directory, path).mkdir(parents=True, exist_ok=True)
    wanted = _laid_out(directory, tree, places)
    with ThreadPoolExecutor(UPLOADS) as pool:
        for done in [pool.submit(_fetch, directory, name, data, parts) for name, parts in wanted.items()]:
            done.result()
    for path, file in tree.files.items():
        (directory / path).chmod(file.mode)
    for path, target in tree.links.items():
        place = _inside(directory, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    for path, mode in sorted(tree.directories.items(), reverse=True):
        (directory / path).chmod(mode)


def _laid_out(directory: Path, tree: Tree, places: dict[Piece, Where]) -> dict[str, list[Part]]:
    """Every file, full of zeros, and what comes into it from each object."""
    wanted = dict[str, list[Part]]()
    for path, file in tree.files.items():
        target = _inside(directory, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as made:
            made.truncate(sum(piece.size for piece in file.pieces))
        begin = 0
        for piece in file.pieces:
            where = places[piece]
            wanted.setdefault(where.data, []).append(Part(where.offset, piece, path, begin))
            begin += piece.size
    return wanted


def _fetch(directory: Path, name: str, data: Callable[[str], bytes | None], parts: list[Part]) -> None:
    content = data(name)
    if content is None:
        raise Damaged(f"its data {name} is gone")
    last: tuple[int, Piece] | None = None
    blocks: list[Block] = []
    for offset, piece, path, begin in parts:
        if (offset, piece) != last:  # a piece of zeros may come a thousand times in a row
            last, part = (offset, piece), content[offset : offset + piece.size]
            if hashlib.sha256(part).hexdigest() != piece.sha256:
                raise Damaged(f"its data {name} is not what was saved")
            blocks = _blocks(part)
        _write(directory / path, begin, blocks)


def _blocks(part: bytes) -> list[Block]:
    """All of it but the blocks of zeros: a file full of zeros takes no room for these. A database that maps a terabyte
    and has written a megabyte of it would else come back to a disk that cannot hold it."""
    found = (Block(offset, part[offset : offset + BLOCK_BYTES]) for offset in range(0, len(part), BLOCK_BYTES))
    return [block for block in found if block.content != ZEROS[: len(block.content)]]


def _write(place: Path, begin: int, blocks: list[Block]) -> None:
    if not blocks:
        return
    with place.open("r+b") as made:
        for offset, block in blocks:
            made.seek(begin + offset)
            made.write(block)


def _inside(root: Path, path: str) -> Path:
    if path.startswith("/") or ".." in path.split("/"):
        raise Damaged(f"the path {path!r} leaves its directory")
    return root / path


def clear(directory: Path) -> None:
    """Removes everything in it."""
    for folder, directories, files in _bottom_up(directory):
        for name in files:
            (folder / name).unlink()
        for name in directories:
            place = folder / name
            place.unlink() if place.is_symlink() else place.rmdir()


def _bottom_up(directory: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, directories, files in os.walk(directory, topdown=False):
        yield Path(folder), directories, files
