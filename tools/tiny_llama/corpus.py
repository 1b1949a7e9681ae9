"""The training text: Jane Austen's six novels, from the Debian package r-cran-janeaustenr.

The package stores each novel as an R character vector (one string per printed line) in R's
lazy-load database: a sequence of chunks, each a 4-byte big-endian length and a zlib stream that
holds one vector in R's XDR serialization.
"""

import hashlib
import io
import re
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "r-cran-janeaustenr_1.0.0-1_all.deb"
PACKAGE_SHA256 = "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
DATABASE = "./usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"

# The last chapters of the novel whose title (its first line) is this one are kept back.
HELD_OUT_NOVEL = "PRIDE AND PREJUDICE"
HELD_OUT_CHAPTERS = 2

# Documents (chapters) are separated by the NUL byte, which is both bos and eos of the model.
SEPARATOR = b"\0"

R_STRING_VECTOR = 16
R_STRING = 9

CHAPTER_HEADING = re.compile(r"^chapter [ivxlc\d]+\.?$", re.IGNORECASE)
VOLUME_HEADING = re.compile(r"^volume [ivxlc\d]+\.?$", re.IGNORECASE)
END_OF_NOVEL = {"FINIS", "Finis", "THE END", "A NOTE ON THE TEXT"}


@dataclass(frozen=True)
class Corpus:
    """`train`: chapters joined by SEPARATOR; `held_out`: plain text of the chapters kept back."""

    train: bytes
    held_out: bytes


def load_corpus(package: Path) -> Corpus:
    """Read the package file, check that it is the known one, and split its text."""
    content = package.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != PACKAGE_SHA256:
        raise ValueError(f"{package}: sha256 is {found}, expected {PACKAGE_SHA256} ({PACKAGE})")
    train, held_out = [], []
    for lines in read_r_vectors(read_member(content, DATABASE)):
        chapters = split_chapters(lines)
        if lines[0].upper() == HELD_OUT_NOVEL:
            held_out = chapters[-HELD_OUT_CHAPTERS:]
            chapters = chapters[:-HELD_OUT_CHAPTERS]
        train.extend(chapters)
    documents = [chapter.encode() for chapter in train]
    return Corpus(
        train=SEPARATOR + SEPARATOR.join(documents) + SEPARATOR,
        held_out="".join(held_out).encode(),
    )


def read_member(package: bytes, member: str) -> bytes:
    """One file out of a .deb: an `ar` archive whose member data.tar.xz holds the files."""
    header_size, position = 60, len(b"!<arch>\n")
    while position < len(package):
        header = package[position : position + header_size]
        name, size = header[:16].decode().strip(), int(header[48:58])
        start = position + header_size
        if name.rstrip("/") == "data.tar.xz":
            with tarfile.open(fileobj=io.BytesIO(package[start : start + size])) as archive:
                return archive.extractfile(member).read()
        position = start + size + size % 2
    raise ValueError(f"{PACKAGE}: no data.tar.xz in the archive")


def read_r_vectors(database: bytes) -> list[list[str]]:
    """Every character vector of an R lazy-load database, in file order."""
    vectors = []
    while database:
        stream = zlib.decompressobj()
        vectors.append(read_r_strings(stream.decompress(database[4:])))
        database = stream.unused_data
    return vectors


def read_r_strings(serialized: bytes) -> list[str]:
    """One character vector in R's XDR serialization, format version 3."""
    header = struct.Struct(">2s4i")
    magic, version, _, _, encoding_size = header.unpack_from(serialized)
    if (magic, version) != (b"X\n", 3):
        raise ValueError(f"R serialization: header {magic!r}, version {version}; expected 3")
    position = header.size + encoding_size
    flags, count = struct.unpack_from(">2i", serialized, position)
    if flags & 0xFF != R_STRING_VECTOR:
        raise ValueError(
            f"R serialization: object of type {flags & 0xFF}, expected a string vector"
        )
    position += 8
    strings = []
    for _ in range(count):
        flags, size = struct.unpack_from(">2i", serialized, position)
        if flags & 0xFF != R_STRING:
            raise ValueError(f"R serialization: element of type {flags & 0xFF}, expected a string")
        position += 8
        strings.append(serialized[position : position + size].decode())
        position += size
    return strings


def split_chapters(lines: list[str]) -> list[str]:
    """Chapters as plain text: no title page, no headings, one line per paragraph."""
    chapters: list[list[str]] = []
    for line in map(str.strip, lines):
        if line in END_OF_NOVEL:
            break
        if CHAPTER_HEADING.match(line):
            chapters.append([])
        elif chapters and not VOLUME_HEADING.match(line):
            chapters[-1].append(line)
    return [join_paragraphs("\n".join(chapter)) for chapter in chapters]


def join_paragraphs(text: str) -> str:
    """Undo the line breaks of the printed page and drop the underscores that mark emphasis."""
    paragraphs = re.split(r"\n\s*\n", text.replace("_", ""))
    paragraphs = [re.sub(r"(?<=--)\n", "", paragraph) for paragraph in paragraphs]
    paragraphs = [" ".join(paragraph.split()) for paragraph in paragraphs]
    return "".join(paragraph + "\n" for paragraph in paragraphs if paragraph)
