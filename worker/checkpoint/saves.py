"""What a save says, and how it is written: files, links and directories, and where the contents of files are."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any, NamedTuple

FORMAT = 1


class Piece(NamedTuple):
    sha256: str
    size: int


class Where(NamedTuple):
    """A piece's place: object, first byte, and when it was uploaded (Unix time)."""

    data: str
    offset: int
    written_at: float


class File(NamedTuple):
    mode: int
    pieces: tuple[Piece, ...]


class Tree(NamedTuple):
    """What a save holds; every path is relative."""

    files: dict[str, File]
    links: dict[str, str]
    directories: dict[str, int]


EMPTY = Tree({}, {}, {})


class Damaged(Exception):
    """A save that cannot be read back whole."""


def written(tree: Tree, known: dict[Piece, Where]) -> bytes:
    """The save of a tree; of the known places it holds those that the tree needs."""
    used = pieces_of(tree)
    places = {piece: where for piece, where in known.items() if piece in used}
    return gzip.compress(json.dumps(_document(tree, places), separators=(",", ":")).encode(), 1)


def read(body: bytes) -> tuple[Tree, dict[Piece, Where]]:
    """What was written. Raises Damaged."""
    try:
        given = json.loads(gzip.decompress(body))
        if given["format"] != FORMAT:
            raise Damaged(f"its format is {given['format']}, this worker reads {FORMAT}")
        return _parsed(given)
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, zlib.error) as error:
        raise Damaged(f"it cannot be read ({error!r})") from error


def pieces_of(tree: Tree) -> set[Piece]:
    return {piece for file in tree.files.values() for piece in file.pieces}


def _document(tree: Tree, places: dict[Piece, Where]) -> dict[str, Any]:
    names = sorted({where.data for where in places.values()})
    number = {name: index for index, name in enumerate(names)}
    numbers = {piece: index for index, piece in enumerate(places)}
    return {
        "format": FORMAT,
        "data": names,
        "pieces": [[p.sha256, p.size, number[w.data], w.offset, w.written_at] for p, w in places.items()],
        "files": [[path, f.mode, [numbers[piece] for piece in f.pieces]] for path, f in tree.files.items()],
        "links": list(tree.links.items()),
        "directories": list(tree.directories.items()),
    }


def _parsed(given: dict[str, Any]) -> tuple[Tree, dict[Piece, Where]]:
    names = given["data"]
    pieces = [Piece(sha, size) for sha, size, *_ in given["pieces"]]
    places = {
        piece: Where(names[data], offset, written_at)
        for piece, (_, _, data, offset, written_at) in zip(pieces, given["pieces"])
    }
    listed: list[tuple[str, int, list[int]]] = given["files"]
    files = {path: File(mode, tuple(pieces[index] for index in held)) for path, mode, held in listed}
    return Tree(files, dict(given["links"]), dict(given["directories"])), places
