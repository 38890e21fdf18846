// Real receipts of a medseal, with invented people.

import assert from 'node:assert/strict'
import test from 'node:test'
import { hexOf } from '../bytes.js'
import { verify } from '../verify.js'
import { changed, fixture, fullPolicy, nameOf } from './support.js'

const receipt = fixture('patient.receipt.json')
const resource = fixture('patient.json')
const blockOf = async (bytes) => `0x${hexOf((await verify({ receipt: bytes })).anchor.block.hash)}`
const policy = fullPolicy(receipt, await blockOf(receipt))

test('an intact receipt and its resource hold', async () => {
  const { verdict, checked, log, deletion, erased } = await verify({ receipt, resource })
  assert.equal(verdict, 'ANCHORED-LOCAL')
  assert.deepEqual(checked, ['resource', 'log entry', 'checkpoint signature', 'anchor'])
  assert.equal(log.origin, 'medseal.local/log')
  assert.deepEqual([deletion, erased], [false, null])
})

test('a receipt holds for the message that the resource came from', async () => {
  const admission = { receipt: fixture('admit.receipt.json'), resource: fixture('admit.json'), raw: fixture('admit.hl7') }
  assert.deepEqual((await verify(admission)).checked.slice(0, 2), ['resource', 'raw message'])
  admission.raw[9] ^= 1
  assert.equal(await nameOf(admission), 'MESSAGE-CHANGED')
  assert.equal(await nameOf({ receipt, raw: fixture('admit.hl7') }), 'MESSAGE-CHANGED')
})

test('only a listed contract in a pinned block lifts the grade', async () => {
  assert.equal(await nameOf({ receipt, policy }), 'ANCHORED-CONSORTIUM')
  assert.equal(await nameOf({ receipt, policy: { ...policy, blocks: [] } }), 'LOGGED')
  assert.equal(await nameOf({ receipt, policy: { ...policy, contracts: [] } }), 'ANCHORED-LOCAL')
  assert.equal(await nameOf({ receipt, policy: { ...policy, blocks: [`0x${'1'.repeat(64)}`] } }), 'UNTRUSTED-CHAIN')
  const [contract] = policy.contracts
  const coded = (code) => ({ contracts: [{ ...contract, code_hash: code }] })
  assert.equal(await nameOf({ receipt, policy: coded(`0x${'1'.repeat(64)}`) }), 'UNTRUSTED-CHAIN')
})

test("pinned validators must have sealed the anchor's block, if they are of its chain", async () => {
  const [{ chain_id: chain }] = policy.contracts
  const sets = (chainId) => ({ ...policy, validators: [{ chain_id: chainId, addresses: [`0x${'11'.repeat(20)}`] }] })
  assert.equal(await nameOf({ receipt, policy: sets(chain) }), 'NOT-SEALED')
  assert.equal(await nameOf({ receipt, policy: sets(1) }), 'ANCHORED-CONSORTIUM')
  assert.equal(await nameOf({ receipt, policy: { ...sets(1), blocks: [] } }), 'UNTRUSTED-CHAIN')
  const bare = changed(receipt, (members) => delete members.anchor)
  assert.equal(await nameOf({ receipt: bare, policy: { validators: sets(1).validators } }), 'NOT-ANCHORED')
  await assert.rejects(verify({ receipt, policy: { validators: [{ chain_id: 1 }] } }), /without addresses/)
})

test('a log key that the policy does not name is refused', async () => {
  const other = 'other.example/log+00000000+AA=='
  assert.equal(await nameOf({ receipt, policy: { log_keys: [other] } }), 'UNTRUSTED-LOG')
})

test('a policy that asks for an anchor refuses a receipt without one', async () => {
  const bare = changed(receipt, (members) => delete members.anchor)
  assert.equal(await nameOf({ receipt: bare }), 'LOGGED')
  assert.equal(await nameOf({ receipt: bare, policy }), 'NOT-ANCHORED')
})

test('a policy with a word that is not known is no policy', async () => {
  await assert.rejects(verify({ receipt, policy: { log_key: [] } }), /unknown member log_key/)
  await assert.rejects(verify({ receipt, policy: { contracts: [{ chain_id: 1, address: '0x', kind: 'public' }] } }))
})

test('a deletion says so, and has no resource', async () => {
  const deletion = fixture('deletion.receipt.json')
  assert.equal((await verify({ receipt: deletion })).deletion, true)
  assert.equal(await nameOf({ receipt: deletion, resource }), 'DELETED')
  const filled = changed(deletion, ({ opening }) => (opening.canonical = '11'.repeat(32)))
  assert.equal(await nameOf({ receipt: filled }), 'TOMBSTONE-FILLED')
})

test('an erasure says when, and speaks for no content', async () => {
  const erased = fixture('erased.receipt.json')
  assert.equal((await verify({ receipt: erased })).erased, '2026-11-22T09:14:14.347Z')
  assert.equal(await nameOf({ receipt: erased, resource }), 'ERASED')
  const later = changed(erased, ({ erasure }) => (erasure.time = '2026-11-23T09:14:14.347Z'))
  assert.equal(await nameOf({ receipt: later }), 'ERASURE-FORGED')
  assert.equal(await nameOf({ receipt: changed(erased, (members) => delete members.erasure) }), 'MALFORMED')
})

// Each line is one lie and the name under which it is found.
const lies = [
  ['MALFORMED', (members) => (members.custodian = null)],
  ['MALFORMED', (members) => (members.entry = members.entry.replace(/[a-f]/, (digit) => digit.toUpperCase()))],
  ['MALFORMED', (members) => (members.proof = members.proof.replace('index ', 'index 0'))],
  ['MALFORMED', (members) => (members.anchor.size = 1.5)],
  ['MALFORMED', (members) => (members.opening.salt = 'zz'.repeat(32))],
  ['OTHER-KIND', (members) => (members.entry = members.entry.replace(/^0101/, '0103'))],
  ['OPENING-FORGED', (members) => (members.versionId = '2')],
  ['CHECKPOINT-FORGED', (members) => (members.proof = members.proof.replace(/\n(\d+)\n/, (_, size) => `\n${size - 1}\n`))],
  ['CHECKPOINT-FORGED', (members) => (members.logKey = members.logKey.replace('medseal.', 'madseal.'))],
  ['PROOF-FORGED', (members) => (members.proof = members.proof.replace(/index (\d+)/, (_, index) => `index ${index - 1}`))],
  ['LOG-REWRITTEN', (members) => (members.anchor.size += 1)],
  ['LOG-REWRITTEN', (members) => members.anchor.storageProof.pop()],
  ['ANCHOR-FORGED', (members) => (members.anchor.contract = `0x${'11'.repeat(20)}`)],
  ['ANCHOR-FORGED', (members) => (members.anchor.header = '0xc0')],
  ['ANCHOR-FORGED', (members) => (members.anchor.accountProof = [])],
]
for (const [name, lie] of lies) {
  test(`${name} is the name of: ${lie.toString().replace(/^.*?=> /, '')}`, async () => {
    assert.equal(await nameOf({ receipt: changed(receipt, lie) }), name)
  })
}

test('a resource is told apart: another one, a changed one, none', async () => {
  const text = new TextDecoder().decode(resource)
  const as = (from, to) => new TextEncoder().encode(text.replace(from, to))
  assert.equal(await nameOf({ receipt, resource: as('"versionId":"1"', '"versionId":"2"') }), 'RESOURCE-SWAPPED')
  assert.equal(await nameOf({ receipt, resource: as('1982', '1983') }), 'RESOURCE-CHANGED')
  assert.equal(await nameOf({ receipt, resource: as('{', '[') }), 'MALFORMED')
  assert.equal(await nameOf({ receipt, resource: as('{', ' {\n') }), 'ANCHORED-LOCAL')
  const closed = changed(receipt, (members) => delete members.opening)
  assert.equal(await nameOf({ receipt: closed, resource }), 'NO-OPENING')
  assert.equal(await nameOf({ receipt: closed }), 'ANCHORED-LOCAL')
})

test('a number keeps its digits: 71.50 is not 71.5', async () => {
  const observation = { receipt: fixture('observation.receipt.json'), resource: fixture('observation.json') }
  assert.equal(await nameOf(observation), 'ANCHORED-LOCAL')
  const shorter = new TextDecoder().decode(observation.resource).replace('71.50', '71.5')
  assert.equal(await nameOf({ ...observation, resource: new TextEncoder().encode(shorter) }), 'RESOURCE-CHANGED')
})
