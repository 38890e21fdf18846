#!/usr/bin/env python3
"""Makes cosignature.key and cosignature.line after C2SP tlog-cosignature, with PyPI's cryptography and nothing of medseal."""
import base64
import hashlib
import pathlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAME, TIME = "witness.example/w1", 1679315147
TEXT = "log\n12\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n"

key = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
encoded = b"\x04" + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
key_id = hashlib.sha256(NAME.encode() + b"\n" + encoded).digest()[:4]
signature = key.sign(f"cosignature/v1\ntime {TIME}\n{TEXT}".encode())
here = pathlib.Path(__file__).parent
line = base64.b64encode(key_id + TIME.to_bytes(8, "big") + signature).decode()
(here / "cosignature.key").write_text(f"{NAME}+{key_id.hex()}+{base64.b64encode(encoded).decode()}\n")
(here / "cosignature.line").write_text(f"\u2014 {NAME} {line}\n")
