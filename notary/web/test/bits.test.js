// Every single-bit change of a receipt is refused by a verifier that knows what it trusts. Without a policy, the few
// places whose change nothing in the file can show are known by name.

import assert from 'node:assert/strict'
import test from 'node:test'
import { hexOf } from '../bytes.js'
import { judge, verify } from '../verify.js'
import { fixture, fullPolicy } from './support.js'

/** How many receipts are verified at once: WebCrypto answers from other threads. */
const AT_ONCE = 128

test('every bit of a receipt counts', async () => {
  const receipt = fixture('patient.receipt.json')
  assert.deepEqual(await placesThatMayChange(receipt, 0, receipt.length, await knowing(receipt)), [])
})

test('every bit of an erasure counts', async () => {
  const receipt = fixture('erased.receipt.json')
  assert.deepEqual(await placesThatMayChange(receipt, startOf(receipt, 'erasure'), receipt.length, await knowing(receipt)), [])
})

test('without a policy only what the receipt cannot prove may change', async () => {
  const receipt = fixture('patient.receipt.json')
  // The chain's id is the maker's word. Of the header, only state root, number and time mean anything to a receipt: what
  // else it says shows in the block's hash, which nobody pinned.
  const changeable = await placesThatMayChange(receipt, startOf(receipt, 'opening'), receipt.length)
  assert.deepEqual(changeable, ['chainId', 'header'])
})

const startOf = (receipt, member) => new TextDecoder().decode(receipt).indexOf(`"${member}"`)
const knowing = async (receipt) => fullPolicy(receipt, `0x${hexOf((await verify({ receipt })).anchor.block.hash)}`)

/** The names of the members in which some bit between two places may change and the receipt still holds. */
async function placesThatMayChange(receipt, start, end, policy) {
  assert.notEqual((await judge({ receipt, policy })).verdict, 'REFUSED')
  const places = new Set()
  for (let bit = start * 8; bit < end * 8; bit += AT_ONCE) {
    const bits = Array.from({ length: Math.min(AT_ONCE, end * 8 - bit) }, (_, i) => bit + i)
    const held = await Promise.all(bits.map((one) => holdsFlipped(receipt, one, policy)))
    bits.filter((_, i) => held[i]).forEach((one) => places.add(memberAt(receipt, one >> 3)))
  }
  return [...places].sort()
}

async function holdsFlipped(receipt, bit, policy) {
  const flipped = receipt.slice()
  flipped[bit >> 3] ^= 1 << (bit & 7)
  return (await judge({ receipt: flipped, policy })).verdict !== 'REFUSED'
}

/** The last member's name before this place. */
function memberAt(receipt, at) {
  return [...new TextDecoder().decode(receipt.slice(0, at)).matchAll(/"([A-Za-z]+)":/g)].pop()[1]
}
