"""Every interaction of the FHIR API with fhirpy and fhirclient."""
import os
import time

from fhirclient import client
from fhirclient.models.condition import Condition
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

HTTP, TOKEN = os.environ["MEDSEAL_HTTP"], os.environ["MEDSEAL_TOKEN"]
UNIQUE = format(time.time_ns(), "x")

fhir = SyncFHIRClient(f"http://{HTTP}/fhir", authorization=f"Bearer {TOKEN}")
patient = fhir.resource("Patient", identifier=[{"system": "urn:oid:1.2.3.78", "value": UNIQUE}],
                        name=[{"family": f"Meitner{UNIQUE}", "given": ["Lise"]}], birthDate="1878-11-07")
patient.save()
same, created = fhir.resources("Patient").search(identifier=f"urn:oid:1.2.3.78|{UNIQUE}").get_or_create(
    fhir.resource("Patient", identifier=patient["identifier"]))
assert not created and same["id"] == patient["id"]
patient["gender"] = "female"
patient.save()
assert fhir.reference("Patient", patient["id"]).to_resource()["gender"] == "female"
for day, value in (("2026-01-01", 5.5), ("2026-01-02", 6.25), ("2026-01-03", 7)):
    fhir.resource("Observation", status="final", code={"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
                  subject=patient.to_reference(), effectiveDateTime=day,
                  valueQuantity={"value": value, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}).save()
observations = fhir.resources("Observation")
mine = observations.search(patient=patient["id"])
assert mine.count() == 3
assert [o["valueQuantity"]["value"] for o in mine.sort("-date").fetch()] == [7, 6.25, 5.5]
assert len(mine.search(date__ge="2026-01-02").fetch()) == 2
assert len(mine.search(value_quantity__gt="6").fetch()) == 2
assert len(observations.search(patient__Patient__family=f"Meitner{UNIQUE}").fetch()) == 3
assert len(mine.limit(2).fetch_all()) == 3
with_patient = mine.include("Observation", "subject").fetch_raw()
assert {e["search"]["mode"] for e in with_patient["entry"]} == {"match", "include"}
with_observations = fhir.resources("Patient").search(_id=patient["id"]).revinclude("Observation", "subject").fetch_raw()
assert len(with_observations["entry"]) == 4
assert len(fhir.resources("Patient").has("Observation", "subject", code="2339-0").search(_id=patient["id"]).fetch()) == 1
try:
    fhir.resources("Patient").search(favourite="blue").fetch()
    raise SystemExit("a parameter that is not known was ignored")
except OperationOutcome as outcome:
    assert "favourite" in str(outcome)
assert not fhir.resource("Patient", birthDate="soon").is_valid()
assert patient.execute("$everything", method="get")["total"] >= 4
patient.delete()
try:
    fhir.reference("Patient", patient["id"]).to_resource()
    raise SystemExit("a deleted patient is still there")
except (ResourceNotFound, OperationOutcome):
    pass
print("fhirpy: create, get_or_create, update, search, count, sort, prefixes, chains, _has, includes, pages, $validate, $everything, delete")

smart = client.FHIRClient(settings={"app_id": "tour", "api_base": f"http://{HTTP}/fhir"})
smart.server.session.headers["Authorization"] = f"Bearer {TOKEN}"
person = Patient({"name": [{"family": f"Noether{UNIQUE}", "given": ["Emmy"]}], "gender": "female"})
identity = person.create(smart.server)["id"]
person = Patient.read(identity, smart.server)
person.active = True
assert person.update(smart.server)["meta"]["versionId"] == "2"
condition = Condition({"subject": {"reference": f"Patient/{identity}"}, "code": {"text": "well"}})
condition.create(smart.server)
assert len(Condition.where(struct={"patient": identity}).perform_resources(smart.server)) == 1
assert Observation.where(struct={"patient": identity}).perform(smart.server).total == 0
found = Patient.where(struct={"family": f"noether{UNIQUE}", "active": "true"}).perform_resources(smart.server)
assert [p.id for p in found] == [identity]
person.delete(smart.server)
print("fhirclient: create, read, update, search, delete")
