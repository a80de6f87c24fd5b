"""Derives readable names from hexadecimal ids, with the words and algorithm of the public-domain project humanhash."""

from __future__ import annotations

import uuid as uuids
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_WORDLIST: Final = tuple(
    """
    ack alabama alanine alaska alpha angel apart april arizona arkansas artist asparagus aspen august autumn
    avocado bacon bakerloo batman beer berlin beryllium black blossom blue bluebird bravo bulldog burger butter
    california carbon cardinal carolina carpet cat ceiling charlie chicken coffee cola cold colorado comet
    connecticut crazy cup dakota december delaware delta diet don double early earth east echo edward eight
    eighteen eleven emma enemy equal failed fanta fifteen fillet finch fish five fix floor florida football four
    fourteen foxtrot freddie friend fruit gee georgia glucose golf green grey hamper happy harry hawaii helium
    high hot hotel hydrogen idaho illinois india indigo ink iowa island item jersey jig johnny juliet july
    jupiter kansas kentucky kilo king kitten lactose lake lamp lemon leopard lima lion lithium london louisiana
    low magazine magnesium maine mango march mars maryland massachusetts may mexico michigan mike minnesota
    mirror mississippi missouri mobile mockingbird monkey montana moon mountain muppet music nebraska neptune
    network nevada nine nineteen nitrogen north november nuts october ohio oklahoma one orange oranges oregon
    oscar oven oxygen papa paris pasta pennsylvania pip pizza pluto potato princess purple quebec queen quiet
    red river robert robin romeo rugby sad salami saturn september seven seventeen shade sierra single sink six
    sixteen skylark snake social sodium solar south spaghetti speaker spring stairway steak stream summer sweet
    table tango ten tennessee tennis texas thirteen three timing triple twelve twenty two uncle undress uniform
    uranus utah vegan venus vermont victor video violet virginia washington west whiskey white william winner
    winter wisconsin wolfram wyoming xray yankee yellow zebra zulu
    """.split()  # noqa: SIM905
)
"""One word for each value of a byte."""


class HumanHasher:
    """Converts hexadecimal digests into words.

    Args:
        wordlist: 256 words, one for each value of a byte.
    """

    def __init__(self, wordlist: Sequence[str] = DEFAULT_WORDLIST) -> None:
        if len(wordlist) != 256:
            raise ValueError(f"A word list has 256 words, one for each value of a byte; this one has {len(wordlist)}.")
        self.wordlist = wordlist

    def humanize(self, hexdigest: str, words: int = 4, separator: str = "-") -> str:
        """Return the words of a digest, always the same ones.

        Args:
            hexdigest: hexadecimal digits.
            words: number of words.
            separator: text between the words.
        """
        return separator.join(self.wordlist[byte] for byte in self.compress(bytes.fromhex(hexdigest), words))

    @staticmethod
    def compress(data: Sequence[int], target: int) -> list[int]:
        """Return the exclusive or of each segment of data. The last segment contains the remainder.

        Args:
            data: bytes.
            target: number of segments.

        Raises:
            ValueError: there are fewer bytes than segments.
        """
        size = len(data) // target
        if not size:
            raise ValueError(f"{len(data)} bytes are not enough for {target} words: ask for fewer words.")
        segments = [data[index * size : (index + 1) * size] for index in range(target - 1)]
        return [reduce(xor, segment, 0) for segment in (*segments, data[(target - 1) * size :])]

    def uuid(self, **params: Any) -> tuple[str, str]:
        """Return the words and the hexadecimal digits of a new random id; parameters as of `humanize`."""
        digest = uuids.uuid4().hex
        return self.humanize(digest, **params), digest


def name_of(digest: str) -> str:
    """Return the result of `humanize` for 32 hexadecimal digits, in a fifth of its time, for the names of all tasks."""
    folded = int(digest, 16)
    folded ^= folded >> 16
    folded ^= folded >> 8  # now, the last of each four bytes is the exclusive or of the four
    words = DEFAULT_WORDLIST
    return f"{words[folded >> 96 & 255]}-{words[folded >> 64 & 255]}-{words[folded >> 32 & 255]}-{words[folded & 255]}"


DEFAULT_HASHER: Final = HumanHasher()
uuid = DEFAULT_HASHER.uuid
humanize = DEFAULT_HASHER.humanize
