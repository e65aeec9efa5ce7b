"""Text in files: decode it whatever its encoding, and show or name by it what it is of."""

from __future__ import annotations

import codecs

from beamline.text import clean

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LONGEST_NAME = 120  # characters of a file's or a dataset's name; a file system takes 255 bytes


def decode(data: bytes) -> str:
    """Decode the bytes of a text file, with line feeds at the ends of its lines.

    The byte order mark decides; without one each line is UTF-8 if it can be, and else Latin-1, in which every byte is
    a character: files written over years by several programs mix them.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, "replace")
            break
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = "\n".join(_decode_line(line) for line in data.split(b"\n"))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def header_line(text: str) -> str:
    """Return a line of a header or log as it is kept: with its tabs, and no other control characters."""
    return "\t".join(map(clean, text.split("\t")))


def one_line(error: object) -> str:
    """Return the text of an error, or of anything else, on one line."""
    return clean(" ".join(str(error).split()))


def quoted(text: str, longest: int = 60) -> str:
    """Return a text as it is shown in a message: in quotes, printable, and not too long."""
    shown = clean(text)
    return f"'{shown}'" if len(shown) <= longest else f"'{shown[: longest - 3]}...'"


def safe_name(text: str) -> str:
    """Return a name for a file, or for a dataset of HDF5, that contains no separator and is not too long.

    Separators and control characters become ``_``; a name that would mean a folder, or nothing, becomes ``_`` as well.
    """
    name = "".join("_" if one in "/\\" or clean(one) != one else one for one in text)[:LONGEST_NAME].strip()
    return name if name.strip(".") else "_"
