"""Fields of a header that say what a channel of an absorption spectrum is: ``Channel.reference: yield``.

Programs know channels by their names, and one called `reference` may be light behind a foil, or its electron yield.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from callbacks.contract import Channel

FAMILY = "Channel."
DIVIDED = ("yield", "transmission")  # forms of what is divided by I0, or by another channel


def channel_fields(channels: Iterable[Channel]) -> list[str]:
    """Write a field for each channel."""
    return [
        f"{FAMILY}{channel.name}: {channel.form}{f' over {channel.over}' if channel.over else ''}"
        for channel in channels
    ]


def channel_said(name: str, fields: Mapping[str, str], title: str) -> Channel | None:
    """Give what a header says of a channel; None where it says nothing of one that is divided by another.

    Parameters
    ----------
    name : str
    fields : mapping of str to str
        What follows the colon, by what is before it, in small letters.
    title : str
        Of the channel.
    """
    form, _, over = fields.get(f"{FAMILY}{name}".lower(), "").partition(" over ")
    if form not in DIVIDED:
        return None
    return Channel.model_validate({"name": name, "title": title, "form": form, "over": over.strip()})
