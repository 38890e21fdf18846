// A node that the tests make up: a state with one contract, proved by tries built here.

import { bigEndian, concat, hexOf } from '../bytes.js'
import { keccak } from '../hash.js'
import { minimal, writeRlp } from '../rlp.js'

const nibblesOf = (bytes) => Array.from(bytes).flatMap((byte) => [byte >> 4, byte & 15])

/** A trie over [key, value] pairs: its root, and the proof of any key. Keys are hashed here. */
export function trie(pairs) {
  const hashed = pairs.map(([key, value]) => [nibblesOf(keccak(key)), value])
  const root = build(hashed)
  return { root: keccak(root.encoded), prove: (key) => walk(root, nibblesOf(keccak(key))) }
}

function build(pairs) {
  if (pairs.length === 0) return { encoded: Uint8Array.of(0x80) }
  if (pairs.length === 1) return { encoded: writeRlp([path(pairs[0][0], 0x20), pairs[0][1]]) }
  const under = (nibble) => pairs.filter(([key]) => key[0] === nibble).map(([key, value]) => [key.slice(1), value])
  const children = Array.from({ length: 16 }, (_, nibble) => under(nibble)).map((list) => (list.length ? build(list) : null))
  const references = children.map((child) => (child ? keccak(child.encoded) : new Uint8Array()))
  return { encoded: writeRlp([...references, new Uint8Array()]), children }
}

function walk(node, nibbles) {
  const child = node.children?.[nibbles[0]]
  return child ? [node.encoded, ...walk(child, nibbles.slice(1))] : [node.encoded]
}

function path(nibbles, flag) {
  const odd = nibbles.length % 2
  const all = odd ? nibbles : [0, ...nibbles]
  const bytes = []
  for (let i = 1; i < all.length; i += 2) bytes.push((all[i] << 4) | all[i + 1])
  return Uint8Array.of(flag + (odd ? 0x10 + all[0] : 0), ...bytes)
}

/**
 * A node whose contract holds `slots` ([slot, number] pairs). `lie` may change any result. With its block's header, and its proofs.
 * `seal` has fields of the header: as the node tells them, and as the block's hash covers them.
 */
export function madeUpNode({ contract, slots, chainId = 7n, lie = (_method, result) => result, seal = { told: {}, hashed: {} } }) {
  const code = Uint8Array.of(0x60, 0x00)
  const storage = trie(slots.map(([slot, number]) => [slot, writeRlp(minimal(number))]))
  const account = writeRlp([minimal(1), minimal(0), storage.root, keccak(code)])
  const state = trie([[contract, account], [new Uint8Array(20), writeRlp([minimal(0)])]])
  const fields = { ...headerWith(state.root), ...seal.told }
  const encode = (all) => writeRlp(Object.values(all).map(field))
  const header = encode(fields)
  const block = { ...fields, hash: hex(keccak(encode({ ...fields, ...seal.hashed }))) }
  const methods = {
    eth_chainId: () => hex(minimal(chainId)),
    eth_getBlockByNumber: () => block,
    eth_getBlockByHash: () => block,
    eth_getCode: () => hex(code),
    eth_getProof: (_, asked) => ({
      accountProof: state.prove(contract).map(hex),
      storageProof: asked.map((slot) => ({ proof: storage.prove(fromHex(slot)).map(hex) })),
    }),
  }
  const fetch = async (_url, { body }) => {
    const { method, params } = JSON.parse(body)
    return new Response(JSON.stringify({ jsonrpc: '2.0', id: 1, result: lie(method, methods[method](...params)) }))
  }
  return { fetch, header, proof: methods.eth_getProof }
}

const hex = (bytes) => `0x${hexOf(bytes)}`
const fromHex = (text) => bigEndian(BigInt(text), 32)

function headerWith(stateRoot) {
  const hash = hex(new Uint8Array(32).fill(3))
  return {
    parentHash: hash, sha3Uncles: hash, miner: hex(new Uint8Array(20)), stateRoot: hex(stateRoot), transactionsRoot: hash,
    receiptsRoot: hash, logsBloom: hex(new Uint8Array(256)), difficulty: '0x0', number: '0x10', gasLimit: '0x1', gasUsed: '0x0',
    timestamp: '0x65', extraData: '0x', mixHash: hash, nonce: hex(new Uint8Array(8)), baseFeePerGas: '0x7',
  }
}

/** The numbers of a header are those that JSON-RPC spells shorter than any of its hashes. */
function field(text) {
  const number = text.length < 18 && text !== '0x'
  return number ? minimal(BigInt(text)) : concat(Uint8Array.from(text.slice(2).match(/../g) ?? [], (two) => parseInt(two, 16)))
}
