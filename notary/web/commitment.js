// What an entry of the log says, and what opens it (docs/receipt.md, sections 2 and 6).

import { bigEndian, concat, equal, lengthPrefixed, utf8 } from './bytes.js'
import { hmacSha256 } from './hash.js'

export const RESOURCE = 1
export const TOMBSTONE = 2
export const ACCESS = 4
export const EMERGENCY = 5
const KINDS = [1, 2, 3, 4, 5]

/** The kind and the commitment in an entry's 35 bytes. Throws at another version, kind or suite. */
export function readEntry(entry) {
  const [version, kind, suite] = entry
  if (version !== 1 || suite !== 1 || !KINDS.includes(kind)) throw new Error('an entry of another version, kind or suite')
  return { kind, commitment: entry.slice(3) }
}

/** Whether `opening` (from `readOpening`) and what the receipt says open `commitment`. */
export async function opens(receipt, { salt, canonical, raw }, commitment) {
  const bytes = concat(
    utf8('medseal/v1/resource\0'),
    lengthPrefixed(receipt.custodian),
    lengthPrefixed(receipt.reference),
    lengthPrefixed(receipt.versionId),
    canonical,
    raw ?? new Uint8Array(),
  )
  return equal(await hmacSha256(salt, bytes), commitment)
}

/** Whether `erasure`, said by `custodian`, is what `commitment` holds. */
export async function opensErasure(erasure, custodian, commitment) {
  const bytes = concat(
    utf8('medseal/v1/erasure\0'),
    lengthPrefixed(custodian),
    lengthPrefixed(erasure.owner),
    lengthPrefixed(erasure.time),
    erasure.reason,
    bigEndian(erasure.size, 8),
    erasure.root,
  )
  return equal(await hmacSha256(erasure.salt, bytes), commitment)
}
