"""What schemathesis cannot know: how HL7 v2 travels, who people are, and what is there."""

import json
import os
import random

import schemathesis

SESSIONS = json.load(open(os.environ["MEDSEAL_SESSIONS"], encoding="utf-8"))
# Whose page it is; what is nobody's own is everybody's.
ROLES = {
    "patient": ("/me/records", "/me/access", "/me/wards", "/me/shares", "/me/explain", "/auth/authorize", "/auth/apps"),
    "clinician": ("/me/patients", "/me/emergency", "/me/hospitals", "/me/wards"),
    "auditor": ("/me/log", "/me/explain"),
    "administrator": ("/me/people", "/me/clients", "/me/keys", "/me/backups", "/me/network", "/me/feeds", "/me/quarantine",
                      "/me/guardians", "/me/emergencies"),
}
# What there is, for what would be found by chance only.
KNOWN = {"patient": ["ada", "Patient/ada"], "from": ["south"], "to": ["south"], "for": ["Patient/ada"], "type": ["Observation", "Patient"]}
IN_PATHS = {name: [value for value in values if "/" not in value] for name, values in KNOWN.items()}
LUCK = random.Random(1)


@schemathesis.serializer("application/hl7-v2", "x-application/hl7-v2+er7")
def message(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.deserializer("application/hl7-v2")
def text(_context, response):
    return response.content.decode()


def known(values, what=KNOWN):
    """Some values are of what there is."""
    for name in values or {}:
        if name in what and LUCK.random() < 0.5:
            choice = LUCK.choice(what[name])
            values[name] = [choice] if isinstance(values[name], list) else choice


@schemathesis.hook
def before_call(_context, case, _kwargs):
    path = case.operation.path
    known(case.path_parameters, IN_PATHS)
    if isinstance(case.body, dict):
        known(case.body)
    # To sign out would end it for all that follow.
    if path.startswith(("/me", "/auth/")) and path != "/auth/logout":
        fits = [role for role, pages in ROLES.items() if path.startswith(pages)] or list(ROLES)
        session = SESSIONS[LUCK.choice(fits if LUCK.random() < 0.9 else list(ROLES))]
        case.headers = {**(case.headers or {}), "Cookie": session["cookie"], "Origin": session["origin"]}
        if isinstance(case.body, dict) and "token" in case.body:
            case.body["token"] = session["token"]
