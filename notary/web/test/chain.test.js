// Against a node that is made up, honest and lying.

import assert from 'node:assert/strict'
import test from 'node:test'
import { rootAtSlot } from '../anchor.js'
import { equal, hexOf, numberOf } from '../bytes.js'
import { NodeFault, checkChain } from '../chain.js'
import { isVouchedFor } from '../grade.js'
import { valueIn } from '../trie.js'
import { keccak } from '../hash.js'
import { writeRlp } from '../rlp.js'
import { madeUpNode, trie } from './node.js'

const contract = new Uint8Array(20).fill(0x11)
// A root with a leading zero: storage holds one byte less.
const root = new Uint8Array(32).fill(9).fill(0, 0, 1)
const newer = new Uint8Array(32).fill(8)
const slots = [[new Uint8Array(32), 300n], [rootAtSlot(240n), numberOf(root)], [rootAtSlot(300n), numberOf(newer)]]
const check = (lie, more) => checkChain({ url: 'http://node', contract, size: 240n, root, fetch: madeUpNode({ contract, slots, lie }).fetch, ...more })

test('an honest node proves the root, the head and the code', async () => {
  const { chainId, block, head } = await check()
  assert.deepEqual([chainId, block.number, block.bound, block.final], [7n, 16n, true, true])
  assert.equal(head.size, 300n)
  assert.ok(equal(head.root, newer))
})

test('a node of QBFT, whose hashes leave out seals and round, is bound by them too', async () => {
  const mixHash = '0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365'
  const extra = (round, seals) => `0x${hexOf(writeRlp([new Uint8Array(32), [contract], [], round, seals]))}`
  const told = { mixHash, extraData: extra(Uint8Array.of(2), [new Uint8Array(65)]) }
  const bound = async (extraData) => {
    const { fetch } = madeUpNode({ contract, slots, seal: { told, hashed: { extraData } } })
    return (await check(undefined, { fetch })).block.bound
  }
  assert.equal(await bound(extra(new Uint8Array(), [])), true)
  assert.equal(await bound(told.extraData), false)
})

test("the receipt's block is known to the node, or not", async () => {
  const { block } = await check()
  const at = (hash) => check(undefined, { receiptBlock: { hash, number: 16n } })
  assert.equal((await at(block.hash)).receiptBlock.known, true)
  assert.equal((await at(root)).receiptBlock.known, false)
})

test('another chain, or another code, is refused', async () => {
  await assert.rejects(check(undefined, { chainId: 1n }), { name: 'UNTRUSTED-CHAIN' })
  const { codeHash } = await check(undefined, { chainId: 7n })
  assert.equal((await check(undefined, { codeHash })).codeHash.length, 32)
  await assert.rejects(check(undefined, { codeHash: root }), { name: 'UNTRUSTED-CHAIN' })
})

test('a root that was never anchored, or is another, is a rewritten log', async () => {
  await assert.rejects(check(undefined, { size: 241n }), { name: 'LOG-REWRITTEN' })
  await assert.rejects(check(undefined, { root: newer }), { name: 'LOG-REWRITTEN' })
  await assert.rejects(check(undefined, { contract: newer.slice(0, 20) }), { name: 'ANCHOR-FORGED' })
})

test('a lying node cannot prove its lie', async () => {
  const about = (lied, change) => (method, result) => (method === lied ? change(structuredClone(result)) : result)
  const proof = (change) => about('eth_getProof', (result) => (change(result), result))
  await assert.rejects(check(proof((p) => p.storageProof[0].proof.pop())), { name: 'LOG-REWRITTEN' })
  await assert.rejects(check(proof((p) => p.storageProof.reverse())), { name: 'LOG-REWRITTEN' })
  await assert.rejects(check(proof((p) => p.accountProof.pop())), { name: 'ANCHOR-FORGED' })
  await assert.rejects(check(about('eth_getCode', () => '0x6001')), { name: 'ANCHOR-FORGED' })
  const stateRoot = `0x${'22'.repeat(32)}`
  await assert.rejects(check(about('eth_getBlockByNumber', (block) => ({ ...block, stateRoot }))), { name: 'ANCHOR-FORGED' })
  const unbound = await check(about('eth_getBlockByNumber', (block) => ({ ...block, hash: stateRoot })))
  assert.equal(unbound.block.bound, false)
})

test('a node without finality is asked for its newest block', async () => {
  const { fetch: honest } = madeUpNode({ contract, slots })
  // The newest block is asked instead.
  const fetch = async (url, options) =>
    options.body.includes('finalized') ? new Response('{"error":{"code":-1,"message":"unknown block"}}') : honest(url, options)
  assert.equal((await check(undefined, { fetch })).block.final, false)
})

test('a node that does not answer proves and refuses nothing', async () => {
  const away = async () => { throw new TypeError('connection refused') }
  const babbling = async () => new Response('<html>')
  const silent = async () => new Response('{}')
  for (const fetch of [away, babbling, silent]) await assert.rejects(check(undefined, { fetch }), NodeFault)
})

test('tries prove what is there and what is not', () => {
  const keys = Array.from({ length: 40 }, (_, i) => Uint8Array.of(i))
  const { root: hash, prove } = trie(keys.map((key) => [key, new Uint8Array(33).fill(key[0] + 1)]))
  for (const key of keys) {
    assert.equal(valueIn(hash, keccak(key), prove(key))[0], key[0] + 1)
    assert.throws(() => valueIn(hash, keccak(key), [...prove(key), prove(key)[0]]), /lead nowhere/)
    assert.throws(() => valueIn(hash, keccak(key), prove(key).slice(0, -1)), /not the one named/)
  }
  assert.equal(valueIn(hash, keccak(Uint8Array.of(99)), prove(Uint8Array.of(99))), null)
  assert.throws(() => valueIn(hash, keccak(keys[0]), []), /no nodes/)
})

test('only a contract that the policy lists is vouched for', () => {
  const [contract, codeHash] = [new Uint8Array(20).fill(1), new Uint8Array(32).fill(2)]
  const asked = { chainId: 7n, contract, codeHash }
  const listed = { chain_id: 7, address: `0x${'01'.repeat(20)}`, kind: 'public' }
  const vouched = (...contracts) => isVouchedFor({ contracts }, asked)
  assert.equal(vouched(listed), true)
  assert.equal(vouched({ ...listed, code_hash: `0x${'02'.repeat(32)}` }), true)
  assert.equal(isVouchedFor(undefined, asked), false)
  assert.equal(vouched(), false)
  assert.equal(vouched({ ...listed, chain_id: 8 }), false)
  assert.equal(vouched({ ...listed, address: `0x${'03'.repeat(20)}` }), false)
  assert.equal(vouched({ ...listed, code_hash: `0x${'03'.repeat(32)}` }), false)
})
