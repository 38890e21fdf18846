"""SMART backend services with fhirclient as it is: it finds the token endpoint in the CapabilityStatement, and gets its token by an assertion."""
import json
import os
import subprocess
import tempfile
import time
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from fhirclient import client
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRPermissionDeniedException, FHIRUnauthorizedException
from requests.exceptions import HTTPError

BASE = f"http://{os.environ['MEDSEAL_HTTP']}/fhir"
SCOPE = "system/Patient.crus"


def medseal(*arguments):
    command = [os.environ["MEDSEAL_PROGRAM"], *arguments, "--data", os.environ["MEDSEAL_DATA"]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def registered(key):
    """A client with this key; its id."""
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) | {"alg": "ES384", "kid": "tour", "use": "sig"}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"keys": [public]}, file)
        file.flush()
        return medseal("client", "add", "--name", "fhirclient", "--jwks", file.name, "--scope", SCOPE)


def assertion(key, identity):
    now = int(time.time())
    audience = BASE.removesuffix("/fhir") + "/auth/token"
    claims = {"iss": identity, "sub": identity, "aud": audience, "iat": now, "exp": now + 240, "jti": str(uuid.uuid4())}
    return jwt.encode(claims, key, algorithm="ES384", headers={"kid": "tour"})


def connected(key, identity):
    settings = {"app_id": identity, "api_base": BASE, "scope": SCOPE, "jwt_token": assertion(key, identity)}
    smart = client.FHIRClient(settings=settings)
    assert not smart.ready, "it has no token yet"
    assert not smart.prepare(), "the CapabilityStatement says that one is needed"
    smart.authorize()
    assert smart.ready
    return smart


def status(deed):
    try:
        deed()
    except (FHIRUnauthorizedException, FHIRPermissionDeniedException, HTTPError) as refused:
        return refused.response.status_code
    return 200


key = ec.generate_private_key(ec.SECP384R1())
identity = registered(key)
smart = connected(key, identity)
made = Patient({"name": [{"family": "Hodgkin"}]}).create(smart.server)["id"]
assert Patient.read(made, smart.server).name[0].family == "Hodgkin"
assert status(lambda: Observation.where({"patient": made}).perform(smart.server)) == 403, "beyond what was registered"
another = ec.generate_private_key(ec.SECP384R1())
assert status(lambda: connected(another, identity)) == 401, "another's key"
medseal("client", "remove", identity)
assert status(lambda: connected(key, identity)) == 401, "a client that was removed"
print("smart: backend services with fhirclient (PyPI)")
