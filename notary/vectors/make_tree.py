#!/usr/bin/env python3
"""Makes tree.json: RFC 6962 / RFC 9162 trees, inclusion and consistency proofs.

Shared by Rust, Solidity and anyone else's verifier, so this follows the recursive definitions of
RFC 9162 sections 2.1.1, 2.1.3.1 and 2.1.4.1 word for word, and nothing of medseal. Standard library
only.

    python3 make_tree.py            writes tree.json beside this file
    python3 make_tree.py --check    exit 1 if tree.json is not what would be written
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

ENTRY = "medseal-vector-"
SIZES = [*range(1, 21), 33, 64, 100]
FILE = Path(__file__).with_name("tree.json")


def leaf(i):
    return sha256(b"\x00" + f"{ENTRY}{i}".encode("ascii")).digest()


def split(n):
    """The largest power of two smaller than n."""
    return 1 << ((n - 1).bit_length() - 1)


def mth(d):
    if not d:
        return sha256(b"").digest()
    if len(d) == 1:
        return d[0]
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m, d):
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return path(m, d[:k]) + [mth(d[k:])]
    return path(m - k, d[k:]) + [mth(d[:k])]


def subproof(m, d, known):
    if m == len(d):
        return [] if known else [mth(d)]
    k = split(len(d))
    if m <= k:
        return subproof(m, d[:k], known) + [mth(d[k:])]
    return subproof(m - k, d[k:], False) + [mth(d[:k])]


def text(digest):
    return "0x" + digest.hex()


def vectors():
    leaves = [leaf(i) for i in range(max(SIZES))]
    # First, last and middle, and the neighbours of the split, where mistakes live.
    indexes = {1: [0]}
    for n in SIZES[1:]:
        indexes[n] = sorted({0, 1, split(n) - 1, split(n), n // 2, n - 2, n - 1} & set(range(n)))
    # All pairs of the first eight sizes; of the greater ones those next to powers of two.
    pairs = [(m, n) for n in range(2, 9) for m in range(1, n)]
    firsts = (1, 2, 3, 7, 8, 15, 16, 19, 31, 32, 33, 63, 64, 65, 99)
    pairs += [(m, n) for n in (9, 13, 16, 17, 20, 33, 64, 100) for m in firsts if m < n]
    return {
        "format": "medseal-tree-vectors/1",
        "entry": f"ASCII {ENTRY}i, i decimal from 0",
        "leaf": "SHA256(0x00 || entry)",
        "node": "SHA256(0x01 || left || right)",
        "trees": [{"size": n, "root": text(mth(leaves[:n]))} for n in SIZES],
        "inclusion": [
            {"size": n, "index": i, "leaf": text(leaves[i]), "root": text(mth(leaves[:n])),
             "proof": [text(p) for p in path(i, leaves[:n])]}
            for n in SIZES for i in indexes[n]
        ],
        "consistency": [
            {"first": m, "second": n, "firstRoot": text(mth(leaves[:m])), "secondRoot": text(mth(leaves[:n])),
             "proof": [text(p) for p in subproof(m, leaves[:n], True)]}
            for m, n in pairs
        ],
    }


def main():
    made = json.dumps(vectors(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != made:
            sys.exit(f"{FILE.name} is not what make_tree.py makes: run python3 make_tree.py")
    elif not sys.argv[1:]:
        FILE.write_text(made)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
