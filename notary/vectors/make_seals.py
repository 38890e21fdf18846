#!/usr/bin/env python3
"""Makes seals.json: blocks of QBFT and IBFT 2.0, their hashes, and who sealed them.

Follows Besu's BftBlockHashing, QbftExtraDataCodec and IbftExtraDataCodec, and nothing of medseal. Keccak-256 and secp256k1 are
written out here, slow and not for secrets. Standard library only.

Four headers (besu.json) are from public sources, which state a hash of each; the script stops where it comes to another. The other
cases are made here.

    python3 make_seals.py            writes seals.json beside this file
    python3 make_seals.py --check    exit 1 if seals.json is not what would be written
"""

import hmac
import json
import sys
from hashlib import sha256
from pathlib import Path

FILE = Path(__file__).with_name("seals.json")
NUMBER, EXTRA, MIX = 8, 12, 13
# "tical byzantine fault tolerance", in every header of IBFT and QBFT.
DIGEST = bytes.fromhex("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365")
NO_UNCLES = bytes.fromhex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347")
NOTHING = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")


# Keccak-256 (the Keccak submission's padding, as Ethereum has it).
def permute(lanes):
    mask = (1 << 64) - 1
    rotate = lambda x, n: ((x << n) | (x >> (64 - n))) & mask if n else x
    feedback = 1
    for _ in range(24):
        parity = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [parity[(x + 4) % 5] ^ rotate(parity[(x + 1) % 5], 1) for x in range(5)]
        lanes = [lane ^ mixed[i % 5] for i, lane in enumerate(lanes)]
        x, y, current = 1, 0, lanes[1]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            lanes[x + 5 * y], current = rotate(current, (t + 1) * (t + 2) // 2 % 64), lanes[x + 5 * y]
        row = lambda i, step: lanes[i // 5 * 5 + (i + step) % 5]
        lanes = [lane ^ (~row(i, 1) & mask & row(i, 2)) for i, lane in enumerate(lanes)]
        for j in range(7):
            feedback = ((feedback << 1) ^ ((feedback >> 7) * 0x171)) % 256
            if feedback & 2:
                lanes[0] ^= 1 << ((1 << j) - 1)
    return lanes


def keccak(data):
    rate = 136
    padded = bytearray(data + b"\x01" + bytes(rate - 1 - len(data) % rate))
    padded[-1] |= 0x80
    lanes = [0] * 25
    for at in range(0, len(padded), rate):
        for i in range(rate // 8):
            lanes[i] ^= int.from_bytes(padded[at + 8 * i : at + 8 * i + 8], "little")
        lanes = permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


# RLP: bytes and lists.
def rlp(value):
    content = value if isinstance(value, bytes) else b"".join(map(rlp, value))
    if isinstance(value, bytes) and len(value) == 1 and value[0] < 0x80:
        return value
    base = 0x80 if isinstance(value, bytes) else 0xC0
    if len(content) < 56:
        return bytes([base + len(content)]) + content
    length = number(len(content))
    return bytes([base + 55 + len(length)]) + length + content


def unrlp(encoded, at=0):
    """The value at `at`, and where the next one begins."""
    first = encoded[at]
    if first < 0x80:
        return encoded[at : at + 1], at + 1
    base = 0x80 if first < 0xC0 else 0xC0
    length, start = first - base, at + 1
    if length > 55:
        start += length - 55
        length = int.from_bytes(encoded[at + 1 : start], "big")
    end = start + length
    if base == 0x80:
        return encoded[start:end], end
    items = []
    while start < end:
        item, start = unrlp(encoded, start)
        items.append(item)
    return items, end


def number(n):
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


# secp256k1; the point at infinity is None.
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    if a[0] == b[0]:
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(k, point):
    total = None
    while k:
        if k & 1:
            total = add(total, point)
        point, k = add(point, point), k >> 1
    return total


def address(point):
    return keccak(point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big"))[12:]


def recover(digest, seal):
    """SEC 1 section 4.1.6: whose signature it is; None where it is nobody's, or not in its one spelling."""
    if not isinstance(seal, bytes) or len(seal) != 65:
        return None
    r, s = int.from_bytes(seal[:32], "big"), int.from_bytes(seal[32:64], "big")
    if seal[64] > 1 or not 0 < r < N or not 0 < s <= N // 2:
        return None
    y = pow(r**3 + 7, (P + 1) // 4, P)
    if (y * y - r**3 - 7) % P != 0:
        return None
    point = (r, y if y % 2 == seal[64] else P - y)
    z, inverse = int.from_bytes(digest, "big"), pow(r, -1, N)
    key = add(multiply(s * inverse % N, point), multiply(-z * inverse % N, G))
    return key and address(key)


def sign(secret, digest):
    """RFC 6979 with SHA-256; s is the lower of the two."""
    mac = lambda key, data: hmac.new(key, data, sha256).digest()
    seed = secret.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    key, value = bytes(32), b"\x01" * 32
    for step in (b"\x00", b"\x01"):
        key = mac(key, value + step + seed)
        value = mac(key, value)
    value = mac(key, value)
    k = int.from_bytes(value, "big")
    x, y = multiply(k, G)
    s = pow(k, -1, N) * (int.from_bytes(digest, "big") + x * secret) % N
    odd = y % 2
    if s > N // 2:
        s, odd = N - s, 1 - odd
    return x.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([odd])


# The two forms: what is hashed for the chain, and what is sealed.
def is_bft(header):
    return header[MIX] == DIGEST and header[NUMBER] != b""


def with_extra(header, extra):
    return keccak(rlp([*header[:EXTRA], rlp(extra), *header[EXTRA + 1 :]]))


def is_ibft2(extra):
    return len(extra[3]) == 4


def block_hash(header):
    if not is_bft(header):
        return keccak(rlp(header))
    extra, _ = unrlp(header[EXTRA])
    return with_extra(header, extra[:3] if is_ibft2(extra) else [*extra[:3], b"", []])


def sealed_hash(header):
    extra, _ = unrlp(header[EXTRA])
    return with_extra(header, extra[:4] if is_ibft2(extra) else [*extra[:4], []])


def sealers(header):
    """None where the block is of another kind, or where one of its seals is nobody's."""
    if not is_bft(header):
        return None
    found = [recover(sealed_hash(header), seal) for seal in unrlp(header[EXTRA])[0][4]]
    return None if None in found else found


def sealed(by, validators):
    """How many of how many, or None: nobody else may have sealed, nobody twice, and two thirds must have."""
    if by is None or len(set(by)) < len(by) or not set(by) <= set(validators):
        return None
    enough = max(1, -(-2 * len(set(validators)) // 3))
    return [len(by), len(set(validators))] if len(by) >= enough else None


# Cases that are made here.
SECRETS = [int.from_bytes(sha256(f"medseal validator {i}".encode()).digest(), "big") % N for i in range(9)]
NAMES = [address(multiply(secret, G)) for secret in SECRETS]
SEVEN, STRANGER = NAMES[:7], 8
ADD, DROP = [NAMES[7], b"\xff"], [NAMES[6], b""]


def header(extra, height=7_528, mix=DIGEST):
    roots = [sha256(f"root {i}".encode()).digest() for i in range(2)]
    fields = [sha256(b"parent").digest(), NO_UNCLES, NAMES[0], roots[0], NOTHING, roots[1], bytes(256)]
    numbers = [1, height, 30_000_000, 81_234, 1_715_495_307]
    return [*fields, *map(number, numbers), rlp(extra), mix, bytes(8), number(7)]


def block(by, form="qbft", vote=None, round_=0, validators=SEVEN, change=None, **more):
    """A block that `by` (places in SECRETS) sealed; `change` has the seals last."""
    none = [] if form == "qbft" else b""
    spelled = number(round_) if form == "qbft" else round_.to_bytes(4, "big")
    extra = [bytes(32), validators, none if vote is None else vote, spelled, []]
    digest = sealed_hash(header(extra, **more))
    seals = [sign(SECRETS[i], digest) for i in by]
    return header([*extra[:4], change(seals) if change else seals], **more)


def first(change):
    return lambda seals: [change(seals[0]), *seals[1:]]


def other_spelling(seal):
    """The same signature with the greater s, which curves allow."""
    s = N - int.from_bytes(seal[32:64], "big")
    return seal[:32] + s.to_bytes(32, "big") + bytes([1 - seal[64]])


MADE = {
    "five of seven": block([0, 1, 2, 4, 6]),
    "all, in another order": block([6, 5, 4, 3, 2, 1, 0]),
    "four of seven": block([0, 1, 2, 3]),
    "nobody": block([]),
    "in round 300, with a vote to add": block([0, 1, 2, 4, 6], round_=300, vote=ADD),
    "with a vote to drop": block([0, 1, 2, 4, 6], vote=DROP),
    "validators that a contract names, and the header does not": block([0, 1, 2, 4, 6], validators=[]),
    "IBFT 2.0": block([0, 1, 2, 4, 6], form="ibft2"),
    "IBFT 2.0 in round 300, with a vote to drop": block([0, 1, 2, 4, 6], form="ibft2", round_=300, vote=[NAMES[6], b"\0"]),
    "a stranger among them": block([0, 1, 2, 4, 6, STRANGER]),
    "one of them twice": block([0, 1, 2, 4, 6, 6]),
    "one bit of a seal is another": block([0, 1, 2, 4, 6], change=first(lambda seal: seal[:63] + bytes([seal[63] ^ 1]) + seal[64:])),
    "a seal in its other spelling": block([0, 1, 2, 4, 6], change=first(other_spelling)),
    "a recovery id of 27": block([0, 1, 2, 4, 6], change=first(lambda seal: seal[:64] + bytes([seal[64] + 27]))),
    "a seal of 64 bytes": block([0, 1, 2, 4, 6], change=first(lambda seal: seal[:64])),
    "a seal of zeros": block([0, 1, 2, 4, 6], change=first(lambda seal: bytes(65))),
    "a seal that is a list": block([0, 1, 2, 4, 6], change=first(lambda seal: [seal])),
    "another mix hash": block([0, 1, 2, 4, 6], mix=bytes(32)),
    "the first block": block([0, 1, 2, 4, 6], height=0),
    "extra data that is no list": header(b"geth"),
    "extra data of four items": header([bytes(32), SEVEN, [], b""]),
    "extra data of six items": header([bytes(32), SEVEN, [], b"", [], b""]),
    "a round that is a list": header([bytes(32), SEVEN, [], [], []]),
    "a round of five bytes": header([bytes(32), SEVEN, [], bytes(5), []]),
    "seals that are no list": header([bytes(32), SEVEN, [], b"", b""]),
}
UNREADABLE = [name for name in MADE if name.startswith(("extra data", "a round that", "a round of", "seals that"))]


def real(case):
    fields, _ = unrlp(bytes.fromhex(case["header"][2:]))
    for name, found in (("hash", block_hash), ("sealed", sealed_hash)):
        if name in case and text(found(fields)) != case[name]:
            sys.exit(f"{case['name']}: the source states another {name}")
    return fields


def text(data):
    return "0x" + data.hex()


def judged(name, fields, sets, **more):
    bft = name not in UNREADABLE
    by = sealers(fields) if bft else None
    return {
        "name": name,
        **more,
        "header": text(rlp(fields)),
        "hash": text(block_hash(fields) if bft else keccak(rlp(fields))),
        "sealers": by and [text(one) for one in by],
        "pinned": [{"validators": [text(one) for one in pinned], "sealed": sealed(by, pinned)} for pinned in sets],
    }


def vectors():
    sources = json.loads(FILE.with_name("besu.json").read_text())
    cases = []
    for case in sources:
        fields = real(case)
        own = unrlp(fields[EXTRA])[0][1]
        cases.append(judged(case["name"], fields, [own, own[:-1], [*own, *SEVEN]], source=case["source"]))
    cases += [judged(name, fields, [SEVEN, SEVEN[:5], NAMES[:8], []]) for name, fields in MADE.items()]
    return {"format": "medseal-seal-vectors/1", "cases": cases}


def main():
    made = json.dumps(vectors(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != made:
            sys.exit(f"{FILE.name} is not what make_seals.py makes: run python3 make_seals.py")
    elif not sys.argv[1:]:
        FILE.write_text(made)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
