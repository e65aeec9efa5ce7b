"""Damage to files as it happens, and as somebody who means harm does it: each function gives changed bytes.

Every one takes the bytes and a `random.Random`, so that a seed gives the same damage again.
"""

import contextlib
import random
import re

NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
NUMBERS = (
    *(b"0", b"-1", b"-0.0", b"1e308", b"-1e308", b"1e999", b"nan", b"inf", b"-inf", b"1_0", b"0x10", b"1,5", b"1.2.3"),
    *(b"9223372036854775807", b"9223372036854775808", b"99999999999999999999999", b"1" * 400, b"1" * 5000),
    *(b"1000000000", b"2147483648", b"65536", b"-2147483649", b"5e-324", b"", b"x", b"\xb5", b"\xce\xbc"),
)
PIECES = (
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xff\xfe",
        b"\x1b[31m",
        b"[/red]",
        b"%s%n",
        b"{0}",
    ),
    *(b'"', b"'", b"{", b"}", b"(", b")", b";", b"=", b",", b"#", b"../../../../etc/passwd", b"/dev/zero", b"\\..\\"),
    *(b"(" * 5000, b"A" * 70_000, b"\xf0\x9f\x92\xa9", b"\xe2\x80\xae", b"NaN", b"<script>", b"%2e%2e%2f"),
)


def flip_bits(data: bytes, rng: random.Random, most: int = 8) -> bytes:
    """Flip single bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, rng: random.Random, longest: int = 16) -> bytes:
    """Overwrite a stretch with zeros, ones, or anything."""
    length = rng.randint(1, longest)
    place = rng.randrange(len(data) + 1)
    filling = rng.choice([bytes(length), b"\xff" * length, rng.randbytes(length)])
    return data[:place] + filling + data[place + length :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off."""
    return data[: rng.randrange(len(data) + 1)]


def remove(data: bytes, rng: random.Random, longest: int = 200) -> bytes:
    """Remove a stretch."""
    place = rng.randrange(len(data) + 1)
    return data[:place] + data[place + rng.randint(1, longest) :]


def repeat(data: bytes, rng: random.Random, longest: int = 200) -> bytes:
    """Repeat a stretch."""
    place = rng.randrange(len(data) + 1)
    end = place + rng.randint(1, longest)
    return data[:end] + data[place:end] + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Insert what means something to a parser, a terminal or a file system."""
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(PIECES) + data[place:]


def swap_lines(data: bytes, rng: random.Random) -> bytes:
    """Exchange two lines."""
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def drop_line(data: bytes, rng: random.Random) -> bytes:
    """Leave a line out."""
    lines = data.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def swap_fields(data: bytes, rng: random.Random) -> bytes:
    """Exchange two words."""
    words = re.split(rb"(\s+)", data)
    one, other = (rng.randrange(0, len(words), 2) for _ in range(2))
    words[one], words[other] = words[other], words[one]
    return b"".join(words)


def replace_number(data: bytes, rng: random.Random) -> bytes:
    """Replace a number by one that few programs expect."""
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    chosen = rng.choice(found)
    return data[: chosen.start()] + rng.choice(NUMBERS) + data[chosen.end() :]


def change_line_ends(data: bytes, rng: random.Random) -> bytes:
    """End some lines or all of them as another system does."""
    ends = [rng.choice([b"\n", b"\r\n", b"\r"])] * 3 if rng.random() < 0.5 else [b"\n", b"\r\n", b"\r"]
    return b"".join(line + rng.choice(ends) for line in data.split(b"\n"))


def encode_otherwise(data: bytes, rng: random.Random) -> bytes:
    """Write the text in another encoding."""
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]), "replace")


BINARY = (flip_bits, overwrite, cut, remove, repeat, insert)
TEXT = (*BINARY, swap_lines, drop_line, swap_fields, replace_number, replace_number, change_line_ends, encode_otherwise)


def mutate(data: bytes, rng: random.Random, ways=BINARY, most: int = 3) -> bytes:
    """Change bytes in one to `most` ways, one after the other."""
    for _ in range(rng.randint(1, most)):
        data = rng.choice(ways)(data, rng)
    return data


def mutate_file(path, rng: random.Random, ways=BINARY, most: int = 3) -> None:
    """Change a file."""
    path.write_bytes(mutate(path.read_bytes(), rng, ways, most))


def mutate_hdf5(path, rng: random.Random, most: int = 2) -> None:
    """Change objects and attributes of an HDF5 file, which stays a valid one."""
    import h5py

    with h5py.File(path, "a") as file:
        for _ in range(rng.randint(1, most)):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            name = rng.choice(names)
            if rng.random() < 0.3:
                _mutate_attribute(file[name], rng)
            else:
                _mutate_object(file, name, rng)


def _mutate_object(file, name, rng) -> None:
    import h5py

    attributes = dict(file[name].attrs)
    is_dataset = isinstance(file[name], h5py.Dataset) and (file[name].size or 0) < 1e6
    data = file[name][()] if is_dataset else None
    del file[name]
    parent, _, last = name.rpartition("/")
    group = file[parent] if parent else file
    match rng.choice(["gone", "group", "link", "other", "other", "other", "changed", "changed"]):
        case "group":
            group.create_group(last)
        case "link":
            group[last] = rng.choice(LINKS)()
        case "other":
            rng.choice(DATASETS)(group, last)
        case "changed" if is_dataset:
            group[last] = _changed(data, rng)
    if last in group and not isinstance(group.get(last, getlink=True), h5py.SoftLink | h5py.ExternalLink):
        for key, value in attributes.items():
            with contextlib.suppress(UnicodeEncodeError):  # of text that was no UTF-8 before
                group[last].attrs[key] = value


def _changed(data, rng):
    """Change values, shape or type of an array of numbers; leave text as it is."""
    import numpy as np

    array = np.asarray(data)
    if array.dtype.kind not in "iuf" or not array.size:
        return data
    changed = array.astype(float)
    changed.flat[rng.randrange(changed.size)] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, 1e20, 5e-324])
    versions = [changed, array[np.newaxis], np.ravel(array)[0], array.astype("f4"), array.astype(">f8")]
    versions += [np.zeros_like(array), np.full_like(array, array.flat[0]), np.ravel(array)[::-1], -array.astype(float)]
    return rng.choice([*versions, array[..., :-1] if array.ndim else array])


def _mutate_attribute(item, rng) -> None:
    import h5py
    import numpy as np

    name = rng.choice([*item.attrs, "units", "NX_class", "signal", "axes", "axis", "default"])
    if name in item.attrs and rng.random() < 0.2:
        del item.attrs[name]
        return
    texts = [
        "",
        "um",
        "\u03bcm",
        "\u00b5m",
        "nm",
        "keV",
        "K",
        "x" * 40_000,
        "a\x1b[31m\nb",
        "[/red]",
        "NXentry",
        "NXdata",
    ]
    numbers = [1, -1, 1e308, np.nan, True, 1j, np.array([1, 2]), np.zeros((0,)), h5py.Empty("f8")]
    others = [b"\xb5m", np.bytes_(b"\xff\xfe\x00m"), np.array([b"energy", b"energy"]), "../data", "NXdata"]
    compound = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])
    item.attrs[name] = rng.choice([*texts, *numbers, *others, compound])


def _links():
    import h5py

    targets = ("/", "/nowhere", ".", "..", "entry1", "/entry1/counter0", "/scan_1")
    soft = [lambda target=target: h5py.SoftLink(target) for target in targets]
    names = ("/etc/passwd", "../elsewhere.hdf5", "nowhere.hdf5", "a1.hdf5", "%2e%2e/x.hdf5", "..\\x.hdf5", "/dev/zero")
    return [*soft, *(lambda name=name: h5py.ExternalLink(name, "/entry1") for name in names)]


def _datasets():
    import h5py
    import numpy as np

    values = (
        np.float64(1.0), np.zeros((0,)), np.zeros((3, 0, 2)), "text", b"\xff\xfe\xb5", "a\x1b]0;x\x07\nb", True, 1j,
        h5py.Empty("f8"), h5py.Empty("S4"), np.array([1e308, -1e308]), np.full(3, np.nan), np.arange(1e5),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array([b"a", b"b"]), np.array([1, 2, 2], "u1"),
        np.zeros((2, 2, 2, 2, 2)), np.array([b"x" * 100_000]),
    )  # fmt: skip

    def plain(group, name, value):
        group[name] = value

    def huge(group, name):
        group.create_dataset(name, (10**6, 10**6, 10**3), "f8", chunks=(1, 1000, 100))

    def compressed(group, name):
        group.create_dataset(name, (20_000, 20_000), "f8", chunks=(2000, 2000), compression="gzip")

    def large_chunk(group, name):
        group.create_dataset(name, (4,), "f8", chunks=(10**8,), maxshape=(None,))

    def external(group, name):
        group.create_dataset(name, (4,), "u1", external=[("/etc/passwd", 0, 4)])

    def virtual(group, name):
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource("../elsewhere.hdf5", "/data", (4,))
        group.create_virtual_dataset(name, layout)

    def ragged(group, name):
        rows = np.empty(2, object)
        rows[:] = [np.arange(2.0), np.arange(3.0)]
        group.create_dataset(name, data=rows, dtype=h5py.vlen_dtype(float))

    def references(group, name):
        group.create_dataset(name, data=[group.ref], dtype=h5py.ref_dtype)

    def enumeration(group, name):
        group.create_dataset(name, data=[0, 1], dtype=h5py.enum_dtype({"OFF": 0, "ON": 1}))

    made = [lambda group, name, value=value: plain(group, name, value) for value in values]
    return [*made, huge, compressed, large_chunk, external, virtual, ragged, references, enumeration]


LINKS, DATASETS = _links(), _datasets()
