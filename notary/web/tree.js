// The RFC 6962 tree: leaves, nodes, and whether an entry is in a tree.

import { concat } from './bytes.js'
import { sha256 } from './hash.js'

const LEAF = Uint8Array.of(0)
const NODE = Uint8Array.of(1)
/** Tools that count in signed numbers end here; so does this one, to agree with them. */
const MAX_SIZE = 2n ** 63n - 1n

export const leafHash = (entry) => sha256(concat(LEAF, entry))
export const nodeHash = (left, right) => sha256(concat(NODE, left, right))

/**
 * The root that `hashes` lead to from the leaf at `index` of `size` (RFC 9162 section 2.1.3.2), or null where they are
 * too few or too many. `index` and `size` are BigInts: a log may be longer than 2^53.
 */
export async function rootFrom(leaf, index, size, hashes) {
  if (index >= size || size > MAX_SIZE) return null
  let fn = index
  let sn = size - 1n
  let root = leaf
  for (const hash of hashes) {
    if (sn === 0n) return null
    if (fn % 2n === 1n || fn === sn) {
      root = await nodeHash(hash, root)
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n]
    } else {
      root = await nodeHash(root, hash)
    }
    ;[fn, sn] = [fn >> 1n, sn >> 1n]
  }
  return sn === 0n ? root : null
}
