// The vectors that Rust and Solidity read too.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { readHeader } from '../anchor.js'
import { fromHex, from0x, hexOf, textOf, utf8 } from '../bytes.js'
import { canonical } from '../canonical.js'
import { opens, readEntry } from '../commitment.js'
import { keccak, sha256 } from '../hash.js'
import { cosignedBy } from '../note.js'
import { enough, sealersOf } from '../seals.js'
import { leafHash, nodeHash, rootFrom } from '../tree.js'
import { vectors } from './support.js'

test('the canonical form is that of the vectors', () => {
  for (const { input, canonical: expected } of vectors('canonical').valid) {
    assert.equal(textOf(canonical(utf8(input))), expected)
    assert.equal(textOf(canonical(utf8(expected))), expected)
  }
})

test('what has no canonical form is refused', () => {
  for (const { input } of vectors('canonical').refused) assert.throws(() => canonical(utf8(input)), input)
})

test('a cosignature is that of the vectors, and any change is noticed', async () => {
  const file = (name) => readFileSync(new URL(`../../vectors/cosignature.${name}`, import.meta.url), 'utf8')
  const key = file('key').trim()
  const note = `log\n12\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n\n${file('line')}`
  assert.deepEqual(await cosignedBy(note, key), { name: 'witness.example/w1', time: 1679315147n })
  for (const changed of [note.replace('12', '13'), note.replace('qkoJ', 'qkoK'), note.replace('witness.', 'witnes.')]) {
    assert.equal(await cosignedBy(changed, key), undefined)
  }
  assert.equal(await cosignedBy(note, key.replace('+BOpK', '+BOpL')), undefined)
})

test('depth and length are bounded', () => {
  const nested = (depth) => utf8('['.repeat(depth) + ']'.repeat(depth))
  assert.equal(canonical(nested(100)).length, 200)
  assert.throws(() => canonical(nested(101)), /too deep/)
  assert.throws(() => canonical(new Uint8Array(64 * 1024 * 1024 + 1)), /64 MiB/)
  assert.throws(() => canonical(utf8(`[${'1,'.repeat(2_000_000)}1]`)), /2,000,000 values/)
})

test('bytes that are not UTF-8, or begin with a byte order mark, are refused', () => {
  assert.throws(() => canonical(Uint8Array.of(0x22, 0xff, 0x22)))
  assert.throws(() => canonical(utf8('\ufeff{}')))
})

test('commitments are those of the vectors', async () => {
  for (const vector of vectors('commitment').cases) {
    const receipt = { custodian: vector.custodian, reference: vector.reference, versionId: vector.version }
    const raw = vector.raw === null ? undefined : await sha256(utf8(vector.raw))
    const opening = { salt: fromHex(vector.salt), canonical: await sha256(utf8(vector.canonical)), raw }
    const { kind, commitment } = readEntry(fromHex(vector.entry))
    assert.equal(kind, 1)
    assert.equal(hexOf(commitment), vector.commitment)
    assert.ok(await opens(receipt, opening, commitment))
    assert.ok(!(await opens({ ...receipt, versionId: '99' }, opening, commitment)))
  }
})

test('trees have the roots of the vectors, and each leaf is proved in each', async () => {
  for (const { size, root } of vectors('tree').trees.slice(0, 20)) {
    const leaves = await Promise.all(Array.from({ length: size }, (_, i) => leafHash(utf8(`medseal-vector-${i}`))))
    assert.equal(hexOf(await rootOf(leaves)), hexOf(from0x(root)))
    for (const index of leaves.keys()) await everyProofHolds(leaves, index, from0x(root))
  }
})

async function everyProofHolds(leaves, index, root) {
  const size = BigInt(leaves.length)
  const proof = await proofOf(leaves, index)
  const at = (place, hashes) => rootFrom(leaves[index], place, size, hashes)
  assert.equal(hexOf(await at(BigInt(index), proof)), hexOf(root))
  assert.equal(await at(BigInt(index), [...proof, root]), null)
  assert.equal(await at(size, proof), null)
  if (proof.length > 0) assert.equal(await at(BigInt(index), proof.slice(1)), null)
}

/** RFC 6962 section 2.1, word for word: the largest power of two below the size goes left. */
async function rootOf(leaves) {
  if (leaves.length === 1) return leaves[0]
  const k = split(leaves.length)
  return nodeHash(await rootOf(leaves.slice(0, k)), await rootOf(leaves.slice(k)))
}

async function proofOf(leaves, index) {
  if (leaves.length === 1) return []
  const k = split(leaves.length)
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)]
  if (index < k) return [...(await proofOf(left, index)), await rootOf(right)]
  return [...(await proofOf(right, index - k)), await rootOf(left)]
}

const split = (size) => 2 ** Math.floor(Math.log2(size - 1))

test('Keccak-256 is that of Ethereum, not SHA3-256', () => {
  assert.equal(hexOf(keccak(new Uint8Array())), 'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470')
})

const orNull = (read) => {
  try {
    return read()
  } catch {
    return null
  }
}

for (const { name, header, hash, sealers, pinned } of vectors('seals').cases) {
  test(`the hash and the seals of the vectors: ${name}`, () => {
    const bytes = from0x(header)
    assert.equal(`0x${hexOf(readHeader(bytes).hash)}`, hash)
    const found = orNull(() => sealersOf(bytes))
    assert.deepEqual(found?.map((address) => `0x${hexOf(address)}`) ?? null, sealers)
    for (const { validators, sealed } of pinned) {
      const answer = orNull(() => enough(found, validators.map((address) => from0x(address))))
      assert.deepEqual(answer && [answer.by, answer.of], sealed)
    }
  })
}
