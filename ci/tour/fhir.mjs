// Every interaction of the FHIR API with clients that were written for other servers: @medplum/core and fhir-kit-client.
import assert from 'node:assert'
import { MedplumClient } from '@medplum/core'
import FhirKit from 'fhir-kit-client'

const base = `http://${process.env.MEDSEAL_HTTP}`
const system = 'urn:oid:1.2.3.77'
const unique = Date.now().toString(36)

const medplum = new MedplumClient({ baseUrl: `${base}/`, fhirUrlPath: 'fhir', accessToken: process.env.MEDSEAL_TOKEN, cacheTime: 0 })

// create, read, update, patch, versions, history
const ada = await medplum.createResource({ resourceType: 'Patient', identifier: [{ system, value: `a-${unique}` }],
  name: [{ family: `Lovelace${unique}`, given: ['Ada', 'Augusta'] }], gender: 'female', birthDate: '1815-12-10' })
assert.equal(ada.meta.versionId, '1')
const again = await medplum.createResourceIfNoneExist({ resourceType: 'Patient', identifier: ada.identifier }, `identifier=${system}|a-${unique}`)
assert.equal(again.id, ada.id)
const changed = await medplum.updateResource({ ...ada, active: true })
assert.equal(changed.meta.versionId, '2')
const patched = await medplum.patchResource('Patient', ada.id, [{ op: 'add', path: '/maritalStatus', value: { text: 'married' } }])
assert.deepEqual([patched.meta.versionId, patched.maritalStatus.text], ['3', 'married'])
assert.equal((await medplum.readResource('Patient', ada.id)).active, true)
assert.equal((await medplum.readVersion('Patient', ada.id, '1')).active, undefined)
assert.equal((await medplum.readHistory('Patient', ada.id)).entry.length, 3)
const upserted = await medplum.upsertResource({ resourceType: 'Patient', identifier: ada.identifier, name: ada.name }, `identifier=${system}|a-${unique}`)
assert.equal(upserted.id, ada.id)

// transaction and batch
const observation = (code, value, date) => ({ resourceType: 'Observation', status: 'final', code: { coding: [{ system: 'http://loinc.org', code }] },
  subject: { reference: `Patient/${ada.id}` }, effectiveDateTime: date, valueQuantity: { value, unit: 'kg', system: 'http://unitsofmeasure.org', code: 'kg' } })
const post = (resource, url = resource.resourceType) => ({ resource, request: { method: 'POST', url } })
const transaction = await medplum.executeBatch({ resourceType: 'Bundle', type: 'transaction', entry: [
  { ...post({ resourceType: 'Practitioner', name: [{ family: 'Babbage' }] }), fullUrl: 'urn:uuid:00000000-0000-4000-8000-000000000001' },
  post({ ...observation('29463-7', 61.5, '2026-01-01'), performer: [{ reference: 'urn:uuid:00000000-0000-4000-8000-000000000001' }] }),
  post(observation('29463-7', 62, '2026-02-01')), post(observation('8302-2', 1.6, '2026-02-01'))] })
assert.deepEqual(transaction.entry.map((e) => e.response.status.slice(0, 3)), ['201', '201', '201', '201'])
const batch = await medplum.executeBatch({ resourceType: 'Bundle', type: 'batch', entry: [
  { request: { method: 'GET', url: `Patient/${ada.id}` } }, { request: { method: 'GET', url: `Observation?subject=Patient/${ada.id}` } },
  { request: { method: 'GET', url: 'Patient/nobody' } }] })
assert.equal(batch.entry[0].resource.id, ada.id)
assert.equal(batch.entry[1].resource.total, 3)
assert.equal(batch.entry[2].response.status.slice(0, 3), '404')

// search
const one = await medplum.searchOne('Patient', { identifier: `${system}|a-${unique}` })
assert.equal(one.id, ada.id)
assert.equal((await medplum.searchResources('Patient', { name: `lovelace${unique}` })).length, 1)
const weights = await medplum.searchResources('Observation', { subject: `Patient/${ada.id}`, code: 'http://loinc.org|29463-7', _sort: '-date' })
assert.deepEqual(weights.map((o) => o.valueQuantity.value), [62, 61.5])
const chained = await medplum.search('Observation', { 'subject:Patient.family': `Lovelace${unique}`, _include: 'Observation:performer', _count: '10' })
assert.equal(chained.entry.filter((e) => e.search.mode === 'include')[0].resource.resourceType, 'Practitioner')
const having = await medplum.searchResources('Patient', { '_has:Observation:subject:code': '8302-2', identifier: `${system}|` })
assert.ok(having.some((p) => p.id === ada.id))
let pages = 0
for await (const page of medplum.searchResourcePages('Observation', { subject: `Patient/${ada.id}`, _count: '2' })) pages += page.length
assert.equal(pages, 3)
await assert.rejects(medplum.search('Patient', { favourite: 'blue' }), (e) => /favourite/.test(JSON.stringify(e.outcome)))
await assert.rejects(medplum.createResource({ resourceType: 'Patient', nme: 1 }), (e) => e.outcome.issue[0].expression[0] === 'Patient.nme')

// binary content: up with a name, down as it was
const bytes = new Uint8Array([0, 1, 2, 253, 254, 255])
const binary = await medplum.createBinary({ data: bytes, filename: 'scan.bin', contentType: 'application/octet-stream',
  securityContext: { reference: `Patient/${ada.id}` } })
assert.deepEqual([binary.contentType, binary.securityContext?.reference], ['application/octet-stream', `Patient/${ada.id}`])
assert.equal((await medplum.readResource('Binary', binary.id)).resourceType, 'Binary')
assert.deepEqual(new Uint8Array(await (await medplum.download(medplum.fhirUrl('Binary', binary.id))).arrayBuffer()), bytes)

// operations
const everything = await medplum.readPatientEverything(ada.id)
assert.ok(everything.entry.some((e) => e.resource.resourceType === 'Practitioner') && everything.entry.length >= 5)
const valid = await medplum.post(medplum.fhirUrl('Patient', '$validate'), { resourceType: 'Patient', birthDate: 'soon' })
assert.equal(valid.issue[0].severity, 'error')
const summary = await medplum.get(medplum.fhirUrl('Patient', ada.id, '$summary'))
assert.equal(summary.entry[0].resource.resourceType, 'Composition')
const match = await medplum.post(medplum.fhirUrl('Patient', '$match'), { resourceType: 'Parameters', parameter: [
  { name: 'resource', resource: { resourceType: 'Patient', name: [{ family: `Lovelace${unique}`, given: ['Ada'] }], birthDate: '1815-12-10', gender: 'female' } }] })
assert.equal(match.entry[0].resource.id, ada.id)
const exported = await medplum.bulkExport('', 'Patient', undefined, { pollStatusOnAccepted: true, pollStatusPeriod: 200 })
assert.ok(exported.output.some((o) => o.type === 'Patient'))

// delete
await medplum.deleteResource('Patient', ada.id)
await assert.rejects(medplum.readResource('Patient', ada.id), (e) => e.outcome.issue[0].code === 'deleted')
console.log('@medplum/core: create, read, update, patch, versions, upsert, transaction, batch, search, pages, binaries, operations, export, delete')

const Client = FhirKit.default ?? FhirKit
const kit = new Client({ baseUrl: `${base}/fhir`, bearerToken: process.env.MEDSEAL_TOKEN })
const statement = await kit.capabilityStatement()
const patientStatement = statement.rest[0].resource.find((r) => r.type === 'Patient')
for (const code of ['read', 'vread', 'update', 'patch', 'delete', 'history-instance', 'history-type', 'create', 'search-type'])
  assert.ok(patientStatement.interaction.some((i) => i.code === code), code)
const ben = await kit.create({ resourceType: 'Patient', body: { resourceType: 'Patient', name: [{ family: `Kit${unique}` }] } })
const patch = await kit.patch({ resourceType: 'Patient', id: ben.id, JSONPatch: [{ op: 'add', path: '/gender', value: 'male' }] })
assert.equal(patch.gender, 'male')
const found = await kit.search({ resourceType: 'Patient', searchParams: { family: `Kit${unique}` }, options: { postSearch: true } })
assert.equal(found.total, 1)
assert.equal((await kit.typeHistory({ resourceType: 'Patient' })).type, 'history')
assert.equal((await kit.systemHistory()).type, 'history')
const first = await kit.search({ resourceType: 'Patient', searchParams: { _count: 1 } })
const second = await kit.nextPage({ bundle: first })
assert.notEqual(second.entry[0].resource.id, first.entry[0].resource.id)
const all = await kit.operation({ name: 'everything', resourceType: 'Patient', id: ben.id, method: 'GET' })
assert.equal(all.entry[0].resource.id, ben.id)
await kit.delete({ resourceType: 'Patient', id: ben.id })
await assert.rejects(kit.read({ resourceType: 'Patient', id: ben.id }), (e) => e.response.status === 410)
console.log('fhir-kit-client: metadata, create, patch, posted search, histories, pages, $everything, delete')
process.exit(0)
