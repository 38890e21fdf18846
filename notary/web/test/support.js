// What the tests share: the files of real receipts, and the vectors.

import { readFileSync } from 'node:fs'
import { judge } from '../verify.js'

export const fixture = (name) => new Uint8Array(readFileSync(new URL(`fixtures/${name}`, import.meta.url)))
export const vectors = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), 'utf8'))

/** A policy that names everything that the receipt rests on. */
export function fullPolicy(receipt, block) {
  const { logKey, anchor } = JSON.parse(new TextDecoder().decode(receipt))
  const contract = { chain_id: anchor.chainId, address: anchor.contract, kind: 'consortium' }
  return { log_keys: [logKey], blocks: [block], contracts: [contract] }
}

/** The name of the verdict or of the refusal. */
export async function nameOf(input) {
  const { verdict, name } = await judge(input)
  return name ?? verdict
}

/** The receipt with `change` done to what its JSON says. */
export function changed(receipt, change) {
  const members = JSON.parse(new TextDecoder().decode(receipt))
  change(members)
  return new TextEncoder().encode(JSON.stringify(members, null, 2))
}
