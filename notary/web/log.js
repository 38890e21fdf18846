// That an entry stands in the log of a key: the signed checkpoint, and the entry's place under its root.

import { equal } from './bytes.js'
import { openCheckpoint } from './note.js'
import { leafHash, rootFrom } from './tree.js'
import { Refusal, demand } from './refusal.js'

/** The checkpoint over `entry`, which `proof` (from `readProof`) proves to be in the log of `key`; or a refusal. */
export async function checkLog(entry, proof, key) {
  const checkpoint = await forged(() => openCheckpoint(proof.note, key))
  const led = await rootFrom(await leafHash(entry), proof.index, checkpoint.size, proof.hashes)
  demand(led && equal(led, checkpoint.root), 'PROOF-FORGED', 'the entry is not in the log at this place')
  return { ...checkpoint, index: proof.index }
}

/** Runs `read`; whatever it refuses is a forged checkpoint. */
export async function forged(read) {
  try {
    return await read()
  } catch (error) {
    throw new Refusal('CHECKPOINT-FORGED', error.message)
  }
}
