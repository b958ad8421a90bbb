"""The messages in docs/troubleshooting.md are messages that the code raises or logs."""

import ast
import re

import pytest
from support import ROOT

PAGE = ROOT / "docs/troubleshooting.md"
BLOCK = re.compile(r"^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
MESSAGES = [" ".join(block.split()) for block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]
FEWEST = 12  # minimum length of a string, because shorter strings occur in many messages
SHARE = 0.5  # share of a message; the rest are values and the name of the exception


def squeezed(text):
    return " ".join(f"|{text}|".split())[1:-1]


def strings():
    """Yield every string of the packages, with None for a placeholder."""
    for file in ROOT.glob("packages/*/src/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield [node.value]


PATTERNS = [
    re.compile("".join("(?:.*?)" if part is None else f"({re.escape(squeezed(part))})" for part in parts))
    for parts in strings()
    if sum(len(part) for part in parts if part) >= FEWEST
]


def share_in_source(message):
    """Return the share of a message, from 0 to 1, that is covered by matching strings."""
    covered = set()
    for found in filter(None, (pattern.search(message) for pattern in PATTERNS)):
        for start, end in found.regs[1:]:
            covered.update(range(start, end))
    return len(covered) / len(message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message[:60])
def test_message_is_in_source(message):
    assert share_in_source(message) >= SHARE


def test_other_wording_is_noticed():
    assert len(MESSAGES) >= 20
    changed = [" ".join(message.replace("the", "a").split()[::-1]) for message in MESSAGES]
    assert max(map(share_in_source, changed)) < SHARE
