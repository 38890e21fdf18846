// That a contract's storage, in the state of one block, holds a root (docs/receipt.md, section 4).

import { equal, numberOf } from './bytes.js'
import { keccak, mappingSlot } from './hash.js'
import { demand, named } from './refusal.js'
import { readList, readString } from './rlp.js'
import { blockHash } from './seals.js'
import { valueIn } from './trie.js'

/** Where `rootAt` stands in the storage that `INotaryAnchor.sol` promises. */
const ROOT_AT_SLOT = 1
/** A key of 32 bytes has 64 nibbles; one node more holds the value. */
const MAX_NODES = 65

const STATE_ROOT = 3
const NUMBER = 8
const TIME = 11

/** The block that a header tells of. Throws where it is none. */
export function readHeader(bytes) {
  const fields = readList(bytes)
  if (fields.length <= TIME) throw new Error('the header has too few fields')
  const stateRoot = hash(readString(fields[STATE_ROOT]))
  return { hash: blockHash(bytes, fields), stateRoot, number: integer(fields[NUMBER]), time: integer(fields[TIME]) }
}

function hash(bytes) {
  if (bytes.length !== 32) throw new Error('not a hash of 32 bytes')
  return bytes
}

function integer(encoded) {
  const bytes = readString(encoded)
  if (bytes.length > 8 || bytes[0] === 0) throw new Error('not a number below 2^64')
  return numberOf(bytes)
}

/** The contract's account under `stateRoot`: its storage root and code hash. Throws where the proof leads elsewhere. */
export function readAccount(stateRoot, contract, proof) {
  const value = valueIn(stateRoot, keccak(contract), proof)
  if (!value) throw new Error('the state has no such contract')
  const [nonce, balance, storageRoot, codeHash, ...more] = readList(value).map(readString)
  if (more.length > 0 || nonce?.length > 8 || balance?.length > 32) throw new Error('not an account')
  return { storageRoot: hash(storageRoot), codeHash: hash(codeHash) }
}

/** The number in `slot` under `storageRoot`, as RLP writes it: without leading zeros, and zero as no bytes. */
export function readSlot(storageRoot, slot, proof) {
  const value = valueIn(storageRoot, keccak(slot), proof)
  return value === null ? new Uint8Array() : readString(value)
}

export const rootAtSlot = (size) => mappingSlot(size, ROOT_AT_SLOT)

/** Whether `stored`, a number without leading zeros, is `root`. Zero stands for "never anchored" and is no root. */
export function holdsRoot(stored, root) {
  const first = root.findIndex((byte) => byte !== 0)
  return first >= 0 && equal(stored, root.subarray(first))
}

/** Checks the receipt's anchor against its checkpoint: the block and the contract's code hash, or a refusal. */
export function checkAnchor(anchor, { size, root }) {
  const { contract, accountProof, storageProof } = anchor
  demand(anchor.size === size, 'LOG-REWRITTEN', 'the anchor is of another size than the checkpoint')
  const short = accountProof.length <= MAX_NODES && storageProof.length <= MAX_NODES
  demand(short, 'ANCHOR-FORGED', 'a proof of the anchor has more than 65 nodes')
  const block = named('ANCHOR-FORGED', () => readHeader(anchor.header))
  const account = named('ANCHOR-FORGED', () => readAccount(block.stateRoot, contract, accountProof))
  const stored = named('LOG-REWRITTEN', () => readSlot(account.storageRoot, rootAtSlot(size), storageProof))
  demand(holdsRoot(stored, root), 'LOG-REWRITTEN', 'the contract holds another root at that size, or none')
  return { ...anchor, block, codeHash: account.codeHash }
}
