"""A tour with python-hl7, fhirpy and fhirclient: what an integration engineer would try first."""
import asyncio
import os

import hl7
from fhirclient import client
from fhirclient.models.patient import Patient
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from hl7.client import MLLPClient

HTTP, TOKEN = os.environ["MEDSEAL_HTTP"], os.environ["MEDSEAL_TOKEN"]
HOST, PORT = os.environ["MEDSEAL_MLLP"].split(":")
ADMIT = "\r".join([
    r"MSH|^~\&|PYHL7|TOUR|MED|SEAL|20260302081500+0100||ADT^A01^ADT_A01|PY{n}|P|2.5.1",
    "EVN|A01|20260302081500+0100",
    "PID|1||PY{n}^^^TOUR&1.2.3.9&ISO^MR||Pytho^Ada||19800229|F",
    "PV1|1|I",
]) + "\r"

with MLLPClient(HOST, int(PORT)) as mllp:
    for n in range(3):
        ack = hl7.parse(mllp.send_message(ADMIT.format(n=n)).decode().strip("\x0b\x1c\r") + "\r")
        assert str(ack.segment("MSA")[1]) == "AA" and str(ack.segment("MSA")[2]) == f"PY{n}", ack
    nack = hl7.parse(mllp.send_message(ADMIT.format(n=9).replace("ADT^A01^ADT_A01", "XXX^X01")).decode().strip("\x0b\x1c\r") + "\r")
    assert str(nack.segment("MSA")[1]) == "AE" and nack.segment("ERR"), nack
print("python-hl7: messages, acknowledgements, a refusal")

fhir = SyncFHIRClient(f"http://{HTTP}/fhir", authorization=f"Bearer {TOKEN}")
patient = fhir.resources("Patient").search(identifier="urn:oid:1.2.3.9|PY1").get()
assert patient["name"][0]["family"] == "Pytho" and patient["birthDate"] == "1980-02-29"
patient["active"] = True
patient.save()
assert patient["meta"]["versionId"] == "2"
observation = fhir.resource("Observation", status="final", code={"text": "x"}, subject=patient.to_reference(),
                            valueQuantity={"value": 1.5})
observation.save()
assert len(fhir.resources("Observation").search(patient=patient["id"]).fetch_all()) == 1
assert len(fhir.resources("Patient").limit(1).fetch_all()) >= 3


async def at_once():
    client = AsyncFHIRClient(f"http://{HTTP}/fhir", authorization=f"Bearer {TOKEN}")
    await asyncio.gather(*(client.resource("Patient", active=True).save() for _ in range(20)))


asyncio.run(at_once())
print("fhirpy: search, read, update, create, pages, 20 at once")

smart = client.FHIRClient(settings={"app_id": "tour", "api_base": f"http://{HTTP}/fhir"})
smart.server.session.headers["Authorization"] = f"Bearer {TOKEN}"
found = Patient.where(struct={"identifier": "PY2"}).perform_resources(smart.server)
assert [p.name[0].family for p in found] == ["Pytho"], found
assert Patient.read(found[0].id, smart.server).birthDate.isostring == "1980-02-29"
print("fhirclient: search, read")
