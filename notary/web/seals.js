// Blocks of QBFT and IBFT 2.0: their hash, and who sealed them (docs/receipt.md, section 4).

import { equal, fromHex, hexOf } from './bytes.js'
import { keccak, sealedBy } from './hash.js'
import { readList, readString, writeList, writeRlp } from './rlp.js'

/** The mix hash of all these blocks: "tical byzantine fault tolerance". */
const DIGEST = fromHex('63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365')
/** More than any network has validators. */
const MAX_SEALS = 256
/** IBFT 2.0 writes a round in so many bytes, QBFT in fewer. */
const ROUND_BYTES = 4
const ZERO = Uint8Array.of(0x80)
const EMPTY_LIST = Uint8Array.of(0xc0)

const NUMBER = 8
const EXTRA_DATA = 12
const MIX_HASH = 13

/** The hash of the block whose header has these fields, each in RLP; `bytes` is the same in one. */
export function blockHash(bytes, fields) {
  const extra = readExtra(fields)
  return extra ? hashWith(fields, onChain(extra)) : keccak(bytes)
}

/** The addresses of all who sealed the block of a header, in its order. Throws where there are no seals, or a bad one. */
export function sealersOf(header) {
  const fields = readList(header)
  const extra = readExtra(fields)
  if (!extra) throw new Error('the block is none of QBFT or IBFT 2.0, and has no seals')
  if (extra.seals.length > MAX_SEALS) throw new Error('the block has more than 256 seals')
  const signed = hashWith(fields, whatIsSigned(extra))
  return extra.seals.map((seal) => sealedBy(readString(seal), signed))
}

/** How many of how many `validators` sealed. Throws unless two thirds of them did, none twice, and nobody else. */
export function enough(sealers, validators) {
  const pinned = new Set(validators.map(hexOf))
  const seen = new Set()
  for (const name of sealers.map(hexOf)) {
    if (!pinned.has(name)) throw new Error(`0x${name} has sealed the block, and is none of the validators that the policy pins`)
    if (seen.has(name)) throw new Error(`0x${name} has sealed the block twice`)
    seen.add(name)
  }
  // Where nobody is pinned, nobody's word is enough.
  const needed = Math.max(1, Math.ceil((2 * pinned.size) / 3))
  const found = `${seen.size} of the ${pinned.size} validators that the policy pins have sealed the block, and ${needed} must have`
  if (seen.size < needed) throw new Error(found)
  return { by: seen.size, of: pinned.size }
}

/** The items of the extra data, still in RLP; nothing where the block is of another consensus, or the first. */
function readExtra(fields) {
  try {
    const first = readString(fields[NUMBER]).length === 0
    if (first || !equal(readString(fields[MIX_HASH]), DIGEST)) return null
    const items = readList(readString(fields[EXTRA_DATA]))
    const roundBytes = readString(items[3]).length
    if (items.length !== 5 || roundBytes > ROUND_BYTES) return null
    return { items, seals: readList(items[4]), isIbft2: roundBytes === ROUND_BYTES }
  } catch {
    return null
  }
}

function whatIsSigned({ items, isIbft2 }) {
  return isIbft2 ? items.slice(0, 4) : [...items.slice(0, 4), EMPTY_LIST]
}

function onChain({ items, isIbft2 }) {
  return isIbft2 ? items.slice(0, 3) : [...items.slice(0, 3), ZERO, EMPTY_LIST]
}

/** The hash of a header with other extra data. */
function hashWith(fields, extra) {
  return keccak(writeList(fields.with(EXTRA_DATA, writeRlp(writeList(extra)))))
}
