// SMART backend services with Node's own crypto and fhir-kit-client: from `medseal client add` to a read that is refused.
import assert from 'node:assert'
import { execFileSync } from 'node:child_process'
import { createSign, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import FhirKit from 'fhir-kit-client'

const base = `http://${process.env.MEDSEAL_HTTP}/fhir`
const medseal = (...args) => execFileSync(process.env.MEDSEAL_PROGRAM, [...args, '--data', process.env.MEDSEAL_DATA]).toString().trim()
const directory = mkdtempSync(join(tmpdir(), 'medseal-smart-'))
process.on('exit', () => rmSync(directory, { recursive: true }))

// The record of two people, written by the administrator.
const administrator = new FhirKit({ baseUrl: base, bearerToken: process.env.MEDSEAL_TOKEN })
const lab = (id, category) => ({ resourceType: 'Observation', status: 'final', code: { text: 'x' }, subject: { reference: `Patient/${id}` },
  category: [{ coding: [{ system: 'urn:cat', code: category }] }] })
const ada = await administrator.create({ resourceType: 'Patient', body: { resourceType: 'Patient', name: [{ family: 'Backend' }] } })
const result = await administrator.create({ resourceType: 'Observation', body: lab(ada.id, 'lab') })
const note = await administrator.create({ resourceType: 'Observation', body: lab(ada.id, 'social') })

// meets smart 24 297 316
// Two keys, one of each kind, registered as a client.
const pairs = { ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }), RS384: generateKeyPairSync('rsa', { modulusLength: 3072 }) }
const keys = Object.entries(pairs).map(([alg, pair]) => ({ ...pair.publicKey.export({ format: 'jwk' }), alg, kid: alg, use: 'sig' }))
const file = join(directory, 'jwks.json')
writeFileSync(file, JSON.stringify({ keys }))
const scope = 'system/Patient.rs system/Observation.rs?category=urn:cat|lab'
const client = medseal('client', 'add', '--name', 'a tour', '--jwks', file, '--scope', scope)
assert.match(medseal('client', 'list'), new RegExp(`^${client}\t.*\ta tour$`, 'm'))

// What this server says of itself.
const configuration = await (await fetch(`${base}/.well-known/smart-configuration`)).json()
assert.ok(configuration.capabilities.includes('client-confidential-asymmetric'))
const statement = await administrator.capabilityStatement()
assert.equal(statement.rest[0].security.extension[0].extension[0].valueUri, configuration.token_endpoint)

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
function assertion(alg, claims = {}, header = {}) {
  const now = Math.floor(Date.now() / 1000)
  const body = { iss: client, sub: client, aud: configuration.token_endpoint, exp: now + 240, iat: now, jti: randomUUID(), ...claims }
  const text = `${part({ alg, kid: alg, typ: 'JWT', ...header })}.${part(body)}`
  const key = pairs[alg].privateKey
  const signature = alg === 'ES384' ? sign('sha384', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
    : createSign('RSA-SHA384').update(text).sign(key)
  return `${text}.${signature.toString('base64url')}`
}
async function ask(endpoint, form, headers = {}) {
  const reply = await fetch(endpoint, { method: 'POST', headers, body: new URLSearchParams(form) })
  return { status: reply.status, ...(await reply.json()) }
}
const proof = (jwt) => ({ client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: jwt })
const token = (jwt, asked) => ask(configuration.token_endpoint, { grant_type: 'client_credentials', scope: asked, ...proof(jwt) })

// meets smart 253 310 357
// A token by either key; no more than was registered; an assertion once.
for (const alg of ['RS384', 'ES384']) {
  const jwt = assertion(alg)
  const granted = await token(jwt, 'system/*.cruds')
  assert.deepEqual([granted.status, granted.token_type, granted.expires_in, granted.scope], [200, 'bearer', 300, scope])
  assert.deepEqual([(await token(jwt, 'system/*.rs')).status, (await token(jwt, 'system/*.rs')).error], [401, 'invalid_client'])
}
for (const [claims, header] of [[{ exp: Math.floor(Date.now() / 1000) + 900 }], [{ aud: base }], [{ sub: 'another' }], [{}, { kid: 'unknown' }], [{}, { alg: 'none' }]]) {
  assert.equal((await token(assertion('ES384', claims, header), scope)).error, 'invalid_client', JSON.stringify([claims, header]))
}
assert.equal((await token(assertion('ES384'), 'system/Encounter.rs')).error, 'invalid_scope')

// What the token opens, and what it does not.
const { access_token: bearer } = await token(assertion('ES384'), scope)
const service = new FhirKit({ baseUrl: base, bearerToken: bearer })
const refused = (promise, status) => assert.rejects(promise, (error) => error.response.status === status)
assert.equal((await service.read({ resourceType: 'Observation', id: result.id })).id, result.id)
const found = await service.search({ resourceType: 'Observation', searchParams: { subject: `Patient/${ada.id}`, _include: '*' } })
assert.deepEqual([found.total, found.entry.map((entry) => entry.resource.id).sort()], [1, [ada.id, result.id].sort()])
await refused(service.read({ resourceType: 'Observation', id: note.id }), 404)
await refused(service.read({ resourceType: 'Encounter', id: 'x' }), 403)
await refused(service.update({ resourceType: 'Patient', id: ada.id, body: { resourceType: 'Patient', id: ada.id } }), 403)
await refused(service.create({ resourceType: 'Observation', body: lab(ada.id, 'lab') }), 403)

// It tells of its token, ends it, and is nobody when it is removed.
const own = { token: bearer, ...proof(assertion('RS384')) }
assert.deepEqual([(await ask(configuration.introspection_endpoint, own)).client_id], [client])
await ask(configuration.revocation_endpoint, { token: bearer, ...proof(assertion('RS384')) })
await refused(service.read({ resourceType: 'Observation', id: result.id }), 401)
medseal('client', 'remove', client)
assert.equal((await token(assertion('ES384'), scope)).error, 'invalid_client')
console.log('smart: backend services with node:crypto and fhir-kit-client')
