"""Check files before a commit, as .pre-commit-config.yaml asks: whitespace, size, private keys.

    python scripts/check_files.py whitespace|size|keys FILE...

Written here because the usual hooks are fetched from the network when they are first used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_BYTES = 1024 * 1024
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY")


def whitespace(content: bytes) -> Iterator[str]:
    """Find trailing whitespace, carriage returns, and an end of file other than one newline."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line != line.rstrip():
            yield f"line {number} ends in whitespace; remove it"
    if content and (not content.endswith(b"\n") or content.endswith(b"\n\n")):
        yield "the file must end in exactly one newline"


def size(content: bytes) -> Iterator[str]:
    """Find a file that is too large for the repository."""
    if len(content) > MAX_BYTES:
        yield f"{len(content):,} bytes, at most {MAX_BYTES:,}; make it smaller, or have it made when it is needed"


def keys(content: bytes) -> Iterator[str]:
    """Find a private key."""
    if PRIVATE_KEY.search(content):
        yield "this looks like a private key; keep it out of the repository, and replace it if it was pushed"


CHECKS: dict[str, Callable[[bytes], Iterator[str]]] = {"whitespace": whitespace, "size": size, "keys": keys}


def main(check: str, *files: str) -> int:
    """Print one line per problem; 1 if there is any."""
    problems = [f"{file}: {problem}" for file in files for problem in CHECKS[check](Path(file).read_bytes())]
    print("\n".join(problems), end="\n" if problems else "")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
