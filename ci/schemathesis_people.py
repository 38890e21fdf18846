"""Somebody of each role signs in at a service, by a passkey of software; their sessions go to a file.

    schemathesis_people.py ORIGIN FILE MEDSEAL [arguments of medseal]"""

import base64
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# User present, user verified, backup eligible, backed up; and that there is a new credential.
FLAGS = 0x1D | 0x40
PEOPLE = {
    "patient": ["--role", "patient", "--for", "Patient/ada"],
    "clinician": ["--role", "clinician", "--for", "Practitioner/doc", "--organisation", "Organization/clinic"],
    "auditor": ["--role", "auditor"],
    "administrator": ["--role", "administrator"],
}


def text(of):
    return base64.urlsafe_b64encode(of).decode().rstrip("=")


def new_passkey(origin, options):
    """What a browser sends of a new credential."""
    key, name = ec.generate_private_key(ec.SECP256R1()), os.urandom(20)
    client = json.dumps({"type": "webauthn.create", "challenge": options["challenge"], "origin": origin, "crossOrigin": False})
    site = hashlib.sha256(options["rp"]["id"].encode()).digest()
    data = site + struct.pack(">BI", FLAGS, 0) + bytes(16) + struct.pack(">H", len(name)) + name + b"COSE"
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"id": text(name), "client": text(client.encode()), "authenticator": text(data), "key": text(public), "algorithm": -7}


def signed_in(origin, link):
    code = link.split("code=", 1)[1]
    ask = lambda step, body: requests.post(f"{origin}/auth/join/{step}", json=body, headers={"Origin": origin}, timeout=30)
    options = ask("options", {"code": code})
    options.raise_for_status()
    joined = ask("passkey", {"code": code, "answer": new_passkey(origin, options.json())})
    joined.raise_for_status()
    cookie = joined.headers["set-cookie"].split(";")[0]
    page = requests.get(f"{origin}/me", headers={"Cookie": cookie}, timeout=30)
    page.raise_for_status()
    return {"cookie": cookie, "token": re.search(r'name="token" value="([^"]+)"', page.text)[1], "origin": origin}


def main():
    origin, file, medseal, *more = sys.argv[1:]
    sessions = {}
    for role, words in PEOPLE.items():
        invited = subprocess.run([medseal, "user", "invite", *words, *more], check=True, capture_output=True, text=True)
        sessions[role] = signed_in(origin, invited.stdout.strip())
    with open(file, "w", encoding="utf-8") as out:
        json.dump(sessions, out)


main()
