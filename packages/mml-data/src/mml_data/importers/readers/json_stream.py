"""Parse JSON incrementally, so that a large file is never in memory as a whole."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["JSONStream", "Keys"]

Keys = tuple[str | int, ...]

_CHUNK = 1 << 20
_OF_NUMBERS = "0123456789+-.eE"
_SPACE = re.compile(r"[ \t\r\n]*")


class JSONStream:
    """Incremental parser of a file of JSON values.

    The values themselves are parsed with the decoder of `json`, which accepts ``NaN``. The memory in use is
    proportional to the largest value that is parsed as a whole, not to the file.

    Parameters
    ----------
    path
        Path of the file, in UTF-8, with or without a byte order mark.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open(encoding="utf-8-sig")
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def peek(self) -> str:
        """Return the next character that is not white space, or an empty string at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def value(self) -> object:
        """Parse the next value.

        Raises
        ------
        ValueError
            If the file is damaged or ends within the value.
        """
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                near_end = error.pos + 16 > len(self._text) or error.msg.startswith("Unterminated string")
                if near_end and self._read_more():
                    continue
                if near_end:
                    raise ValueError("the file ends within a value; it is truncated") from error
                raise ValueError(
                    f"the JSON is damaged: {error.msg} at {self._around(error.pos)!r}"
                ) from error
            tail = self._text[end : end + 3]  # "1" may be the start of "1.5" or "1e-5"
            if len(tail) < 3 and not tail.strip(_OF_NUMBERS) and self._read_more():
                continue
            self._at = end
            return value

    def members(
        self, enter: Callable[[Keys, str], bool] = lambda keys, first: False, within: Keys = ()
    ) -> Iterator[tuple[Keys, object]]:
        """Yield the members of the next array or object with their keys, without parsing it as a whole.

        Parameters
        ----------
        enter
            Function of the keys of a member and of its first character. If it returns true for an array or
            object, the members of the member are yielded in place of the member.
        within
            Keys of the array or object itself, which precede the keys of the members.
        """
        close = "}" if self._take("{[") == "{" else "]"
        count = 0
        while self.peek() != close:
            if count:
                self._take(",")
            key: str | int = count
            if close == "}":
                key = str(self.value())
                self._take(":")
            keys = (*within, key)
            first = self.peek()
            if first and first in "[{" and enter(keys, first):
                yield from self.members(enter, keys)
            else:
                yield keys, self.value()
            count += 1
        self._take(close)

    def _take(self, expected: str) -> str:
        found = self.peek()
        if not found:
            raise ValueError("the file ends within a value; it is truncated")
        if found not in expected:
            raise ValueError(f"the JSON is damaged: expected {expected!r} at {self._around(self._at)!r}")
        self._at += 1
        return found

    def _around(self, position: int) -> str:
        return self._text[max(0, position - 20) : position + 20]

    def _read_more(self) -> bool:
        """Append at least as much text as is left, so that parsing again costs linear time in total."""
        rest = self._text[self._at :]
        more = self._file.read(max(_CHUNK, len(rest)))
        self._text, self._at = rest + more, 0
        return bool(more)
