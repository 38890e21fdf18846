// A tour with node-hl7-client and fhir-kit-client.
import assert from 'node:assert'
import { Client as Hl7Client, Message } from 'node-hl7-client'
import FhirKit from 'fhir-kit-client'

const [host, port] = process.env.MEDSEAL_MLLP.split(':')
const answer = await new Promise((resolve, reject) => {
  const hl7 = new Hl7Client({ host })
  const outbound = hl7.createConnection({ port: Number(port) }, async (response) => resolve(response.getMessage()))
  outbound.on('error', reject)
  const message = new Message({ text: [
    'MSH|^~\\&|NODE|TOUR|MED|SEAL|20260302081500+0100||ADT^A04^ADT_A01|NODE1|P|2.5.1',
    'EVN|A04|20260302081500+0100', 'PID|1||N1^^^TOUR&1.2.3.9&ISO^MR||Nodal^Ada||19800229|F', 'PV1|1|O'].join('\r') })
  outbound.sendMessage(message).catch(reject)
  setTimeout(() => reject(new Error('no acknowledgement')), 10000).unref()
})
assert.equal(answer.get('MSA.1').toString(), 'AA')
assert.equal(answer.get('MSA.2').toString(), 'NODE1')
console.log('node-hl7-client: a message and its acknowledgement')

const Client = FhirKit.default ?? FhirKit
const fhir = new Client({ baseUrl: `http://${process.env.MEDSEAL_HTTP}/fhir`, bearerToken: process.env.MEDSEAL_TOKEN })
const statement = await fhir.capabilityStatement()
assert.equal(statement.fhirVersion, '4.0.1')
const bundle = await fhir.search({ resourceType: 'Patient', searchParams: { identifier: 'urn:oid:1.2.3.9|N1' } })
assert.equal(bundle.total, 1)
const patient = bundle.entry[0].resource
const updated = await fhir.update({ resourceType: 'Patient', id: patient.id, body: { ...patient, active: true } })
assert.equal(updated.meta.versionId, '2')
assert.equal((await fhir.vread({ resourceType: 'Patient', id: patient.id, version: '1' })).active, undefined)
assert.equal((await fhir.history({ resourceType: 'Patient', id: patient.id })).total, 2)
const transaction = await fhir.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry: [
  { resource: { resourceType: 'Group', type: 'person', actual: true }, request: { method: 'POST', url: 'Group' } }] } })
assert.equal(transaction.entry[0].response.status, '201 Created')
await assert.rejects(fhir.create({ resourceType: 'Patient', body: { resourceType: 'Patient', nme: 1 } }),
  (error) => error.response.status === 422 && error.response.data.issue[0].expression[0] === 'Patient.nme')
console.log('fhir-kit-client: metadata, search, update, vread, history, transaction, a refusal')
process.exit(0)
