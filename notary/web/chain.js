// Asks an Ethereum node whether a contract holds a root, and checks what it answers (JSON-RPC over HTTP).
//
// The node is trusted for one thing only: that the block it names belongs to its chain. From the block's hash down to
// the root all is proved: hash -> header -> state root -> account -> storage (`eth_getProof`, EIP-1186).

import { readAccount, readHeader, readSlot, holdsRoot, rootAtSlot } from './anchor.js'
import { bigEndian, equal, from0x, hexOf, numberOf } from './bytes.js'
import { keccak } from './hash.js'
import { demand, named } from './refusal.js'
import { minimal, writeRlp } from './rlp.js'

/** Where the head's size stands in the storage that `INotaryAnchor.sol` promises. */
const HEAD_SLOT = new Uint8Array(32)
/** A proof of two slots takes some 10 kB. */
const MAX_REPLY_BYTES = 4 * 1024 * 1024
const TIMEOUT_MILLISECONDS = 20_000

/** A node that gave no answer that could be checked. Nothing is refused by it, and nothing proved. */
export class NodeFault extends Error {}

/**
 * Checks that `contract` holds `root` at `size` in the newest block that the node calls final, or, where it does not
 * yet, in the newest of all: `block.final` tells which. What a receipt says may
 * be given too: `chainId` and `codeHash` must then be the node's, and the node is asked whether it knows `receiptBlock`.
 * Answers with what was proved, or throws a `Refusal` (docs/receipt.md) or a `NodeFault`.
 */
export async function checkChain({ url, contract, size, root, chainId, codeHash, receiptBlock, fetch = globalThis.fetch }) {
  const ask = (method, ...params) => call(fetch, url, method, params)
  const found = BigInt(await ask('eth_chainId'))
  const same = chainId === undefined || chainId === found
  demand(same, 'UNTRUSTED-CHAIN', `the node is of chain ${found}, the receipt speaks of chain ${chainId}`)

  const held = (block) => rootUnder(ask, block, { contract, size, root })
  const { block, ...state } = (await underFinal(ask, held)) ?? (await held(await blockAt(ask, 'latest')))
  await checkCode(ask, contract, block, state.codeHash)
  // Another code may keep roots without asking that the log only grows.
  const sameCode = codeHash === undefined || equal(codeHash, state.codeHash)
  demand(sameCode, 'UNTRUSTED-CHAIN', 'at that node the contract has another code than the receipt proves')
  const head = await headOf(ask, contract, block, numberOf(state.headSize))
  const known = receiptBlock && (await isKnown(ask, receiptBlock))
  return { chainId: found, block, codeHash: state.codeHash, head, receiptBlock: receiptBlock && { ...receiptBlock, known } }
}

/** What the final block holds; nothing where the node knows no finality, or where the anchor is too new for it. */
async function underFinal(ask, held) {
  try {
    return await held(await blockAt(ask, 'finalized'))
  } catch {
    // The newest block is asked next: if it does not hold the root either, that is told.
    return null
  }
}

async function blockAt(ask, tag) {
  const block = await ask('eth_getBlockByNumber', tag, false)
  return read(() => ({ ...readBlock(block), final: tag === 'finalized' }))
}

/** The contract's state under `block`, which must hold the root. */
async function rootUnder(ask, block, { contract, size, root }) {
  const { codeHash, storage } = await stateOf(ask, contract, block, [rootAtSlot(size), HEAD_SLOT])
  const [stored, headSize] = storage
  demand(holdsRoot(stored, root), 'LOG-REWRITTEN', `at that node the contract holds another root at size ${size}, or none`)
  return { block, codeHash, headSize }
}

function readBlock(block) {
  const hash = from0x(block.hash, 32)
  return {
    hash,
    number: BigInt(block.number),
    time: BigInt(block.timestamp),
    stateRoot: from0x(block.stateRoot, 32),
    bound: equal(hashOf(block), hash),
  }
}

// The header's fields in their order. Forks only added behind; a field that the node does not name ends the list.
const BYTES = ['parentHash', 'sha3Uncles', 'miner', 'stateRoot', 'transactionsRoot', 'receiptsRoot', 'logsBloom']
const NUMBERS = ['difficulty', 'number', 'gasLimit', 'gasUsed', 'timestamp']
const SEAL = ['extraData', 'mixHash', 'nonce']
const ADDED = ['baseFeePerGas', 'withdrawalsRoot', 'blobGasUsed', 'excessBlobGas', 'parentBeaconBlockRoot', 'requestsHash']
const ADDED_NUMBERS = ['baseFeePerGas', 'blobGasUsed', 'excessBlobGas']

/** The hash that the block's fields give; where the node names another one, the state root is the node's word. */
function hashOf(block) {
  const number = (name) => minimal(BigInt(block[name]))
  const bytes = (name) => from0x(block[name])
  const end = ADDED.findIndex((name) => block[name] === undefined || block[name] === null)
  const added = ADDED.slice(0, end < 0 ? ADDED.length : end)
  const addedFields = added.map((name) => (ADDED_NUMBERS.includes(name) ? number(name) : bytes(name)))
  return readHeader(writeRlp([...BYTES.map(bytes), ...NUMBERS.map(number), ...SEAL.map(bytes), ...addedFields])).hash
}

/** The contract's code hash and the numbers in `slots`, proved under the block's state root. */
async function stateOf(ask, contract, block, slots) {
  const spelled = slots.map((slot) => `0x${hexOf(slot)}`)
  const proof = await ask('eth_getProof', `0x${hexOf(contract)}`, spelled, `0x${block.number.toString(16)}`)
  const nodes = (list) => read(() => list.map((node) => from0x(node)))
  const accountNodes = nodes(proof?.accountProof)
  const storageNodes = slots.map((_, i) => nodes(proof.storageProof?.[i]?.proof))
  const account = named('ANCHOR-FORGED', () => readAccount(block.stateRoot, contract, accountNodes))
  const slotOf = (slot, i) => named('LOG-REWRITTEN', () => readSlot(account.storageRoot, slot, storageNodes[i]))
  return { codeHash: account.codeHash, storage: slots.map(slotOf) }
}

async function checkCode(ask, contract, block, codeHash) {
  const code = await ask('eth_getCode', `0x${hexOf(contract)}`, `0x${block.number.toString(16)}`)
  const same = equal(keccak(read(() => from0x(code))), codeHash)
  demand(same, 'ANCHOR-FORGED', "the node's code of the contract is not what the state says")
}

/** The newest anchor of the contract: the log's size and root there. */
async function headOf(ask, contract, block, size) {
  if (size === 0n) return { size, root: new Uint8Array(32) }
  const { storage } = await stateOf(ask, contract, block, [rootAtSlot(size)])
  return { size, root: bigEndian(numberOf(storage[0]), 32) }
}

/** Whether the receipt's own block is in the node's chain, at its number. */
async function isKnown(ask, { hash, number }) {
  const spelled = `0x${hexOf(hash)}`
  const [known, there] = await Promise.all([
    ask('eth_getBlockByHash', spelled, false),
    ask('eth_getBlockByNumber', `0x${number.toString(16)}`, false),
  ])
  return known?.hash === spelled && there?.hash === spelled
}

function read(reader) {
  try {
    return reader()
  } catch {
    throw new NodeFault('the node answered with something that cannot be read')
  }
}

async function call(fetch, url, method, params) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const text = await post(fetch, url, body).catch((error) => fault(method, error.message))
  const { result, error } = text.length > MAX_REPLY_BYTES ? fault(method, 'too long') : read(() => JSON.parse(text))
  if (error || result === undefined) fault(method, error?.message ?? 'no result')
  return result
}

function fault(method, why) {
  throw new NodeFault(`${method}: ${why}`)
}

async function post(fetch, url, body) {
  const headers = { 'content-type': 'application/json' }
  const signal = AbortSignal.timeout(TIMEOUT_MILLISECONDS)
  const reply = await fetch(url, { method: 'POST', headers, body, signal, credentials: 'omit', referrerPolicy: 'no-referrer' })
  return reply.text()
}
