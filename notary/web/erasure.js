// That the content of an entry was erased, and that the log says so (docs/receipt.md, section 6).

import { equal } from './bytes.js'
import { TOMBSTONE, opensErasure, readEntry } from './commitment.js'
import { checkLog } from './log.js'
import { readProof } from './note.js'
import { readErasure } from './receipt.js'
import { Refusal } from './refusal.js'
import { leafHash, rootFrom } from './tree.js'

/** Checks the receipt's `erasure` against the log of `key`: its owner, time and number of entries, or a refusal. */
export async function checkErasure(receipt, key) {
  try {
    return await check(receipt, key)
  } catch (error) {
    throw new Refusal('ERASURE-FORGED', error.message)
  }
}

async function check(receipt, key) {
  const erasure = readErasure(receipt.erasure)
  const root = await rootFrom(await leafHash(receipt.entry), erasure.index, erasure.size, erasure.hashes)
  if (!root || !equal(root, erasure.root)) throw new Error("the receipt's entry is not among those that were erased")
  const { kind, commitment } = readEntry(erasure.entry)
  const opened = kind === TOMBSTONE && (await opensErasure(erasure, receipt.custodian, commitment))
  if (!opened) throw new Error("what it says does not open the tombstone's commitment")
  const { origin, size } = await checkLog(erasure.entry, readProof(erasure.proof), key)
  return { ...erasure, log: { origin, size } }
}
