// Merkle-Patricia proofs as `eth_getProof` gives them (EIP-1186): what a state holds under a key.

import { equal } from './bytes.js'
import { keccak } from './hash.js'
import { isList, readList, readString } from './rlp.js'

const EMPTY_ROOT = keccak(Uint8Array.of(0x80))

/**
 * The value under `key` (32 bytes, hashed already) in the trie of `root`, or null where `nodes` prove that there is
 * none. Throws where they prove neither: a node that is not the one named, or one that is not needed.
 */
export function valueIn(root, key, nodes) {
  if (nodes.length === 0) return emptyTrie(root)
  const walk = { nodes: [...nodes], nibbles: nibblesOf(key) }
  const value = next(walk, root)
  if (walk.nodes.length > 0) throw new Error('the proof has nodes that lead nowhere')
  return value
}

function emptyTrie(root) {
  if (!equal(root, EMPTY_ROOT)) throw new Error('the proof has no nodes')
  return null
}

/** The next node of the proof, which must have this hash. */
function next(walk, hash) {
  const node = walk.nodes.shift()
  if (!node || !equal(keccak(node), hash)) throw new Error('a node of the proof is not the one named')
  return visit(walk, node)
}

/** A node names its child by its hash, or holds it where that is shorter. */
function child(walk, encoded) {
  if (isList(encoded)) return visit(walk, encoded)
  const hash = readString(encoded)
  return hash.length === 0 ? null : next(walk, hash)
}

function visit(walk, node) {
  const items = readList(node)
  if (items.length === 17) return branch(walk, items)
  if (items.length === 2) return short(walk, items)
  throw new Error('a node of the proof has neither 2 nor 17 items')
}

/** All keys are equally long here, so that none ends in a branch. */
function branch(walk, items) {
  if (walk.nibbles.length === 0) throw new Error('a key of the proof ends too early')
  return child(walk, items[walk.nibbles.shift()])
}

/** An extension or a leaf: a path, and what stands at its end. */
function short(walk, [encodedPath, end]) {
  const { leaf, path } = readPath(readString(encodedPath))
  const here = walk.nibbles.splice(0, path.length)
  if (!equal(here, path)) return null
  if (!leaf) return child(walk, end)
  return walk.nibbles.length === 0 ? readString(end) : null
}

/** The hex-prefix encoding of a path (yellow paper, appendix C). */
function readPath(encoded) {
  const nibbles = nibblesOf(encoded)
  const flag = nibbles.shift()
  if (flag === undefined || flag > 3) throw new Error('a path of the proof cannot be read')
  const odd = flag % 2 === 1
  if (!odd && nibbles.shift() !== 0) throw new Error('a path of the proof cannot be read')
  return { leaf: flag >= 2, path: nibbles }
}

function nibblesOf(bytes) {
  return Array.from(bytes).flatMap((byte) => [byte >> 4, byte & 15])
}
