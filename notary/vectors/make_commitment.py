#!/usr/bin/env python3
"""Writes commitment.json: vectors for medseal/v1 commitments, made without medseal's own code."""
import hashlib, hmac, json, struct

def lp(text):
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw

def case(salt, custodian, reference, version, canonical, raw):
    message = b"medseal/v1/resource\0" + lp(custodian) + lp(reference) + lp(version)
    message += hashlib.sha256(canonical.encode()).digest()
    if raw is not None:
        message += hashlib.sha256(raw.encode()).digest()
    commitment = hmac.new(bytes.fromhex(salt), message, hashlib.sha256).hexdigest()
    return dict(salt=salt, custodian=custodian, reference=reference, version=version, canonical=canonical,
                raw=raw, commitment=commitment, entry="010101" + commitment)

cases = [
    case("00" * 32, "", "Patient/1", "1", "{}", None),
    case("0f" * 32, "urn:oid:2.16.840.1.113883.19.5", "Patient/a1", "2", '{"id":"a1","resourceType":"Patient"}', None),
    case("a5" * 32, "Härn Hospital", "Observation/x-9", "17", '{"value":1.00}', "MSH|^~\\&|LAB\r"),
]
print(json.dumps(dict(format="medseal/v1/resource", cases=cases), indent=1, ensure_ascii=False))
