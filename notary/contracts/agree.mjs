#!/usr/bin/env node
// Whether the contract says of receipts what the verifiers in Rust and JavaScript say, as far as a contract can: that an entry is in
// the log, and that the log only grew.
//
//   cargo run -p notary --features chain --example receipts -- 7 10000 --anchors | node notary/contracts/agree.mjs
//
// Reads what notary/web/agree.mjs reads, and before the cases of each log a line with its anchors, in their order:
//
//   {"anchors": [{"size": NUMBER, "root": HEX, "proof": [HEX, ...], "holds": BOOLEAN, "changed": BOOLEAN}, ...]}
//
// `holds` is what Rust says of the consistency proof behind the last one that is not `changed`. Each log gets a contract of its own, on
// a node of its own (anvil). It must take what holds and refuse the rest; what is not changed is anchored. Then `verifyInclusion` is
// asked for the entry of each receipt that can be read so far, for the tombstone of an erasure, and for each again with one thing
// changed: the contract's own root at the checkpoint's size is what counts, not the receipt's.
//
// Prints each difference, and a summary. Exits with 0 only if there is none, and something was compared.

import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { equal, fromBase64, fromHex } from '../web/bytes.js'
import { decimal, readProof } from '../web/note.js'
import { readErasure, readReceipt } from '../web/receipt.js'
import { leafHash, rootFrom } from '../web/tree.js'
import { ABSENT, anchorCall, callAll, ask, deploy, inclusionCall, program, send, startNode } from './node.mjs'

/** So many calls go out in one request. */
const AT_ONCE = 250
/** What is told only of a receipt whose entry is in the log (docs/receipt.md, "Refusals"). */
const LATER = ['NOT-WITNESSED', 'NOT-ANCHORED', 'LOG-REWRITTEN', 'ANCHOR-FORGED', 'UNTRUSTED-CHAIN', 'FOREIGN-BLOCK', 'NOT-SEALED']
const GRADES = ['LOGGED', 'WITNESSED', 'ANCHORED-LOCAL', 'ANCHORED-CONSORTIUM', 'ANCHORED-PUBLIC']

/** What Rust's verdict says of the entry, and of the tombstone: true, false, or nothing. */
function saidByRust(verdict) {
  const past = GRADES.includes(verdict) || LATER.includes(verdict)
  if (past) return { entry: true, tombstone: true }
  return { entry: verdict === 'ERASURE-FORGED' ? true : verdict === 'PROOF-FORGED' ? false : undefined }
}

/** Where an entry is said to be in a log; nothing where that cannot be read. */
async function placeOf(entry, proof) {
  try {
    const { index, hashes, note } = readProof(proof)
    return { leaf: await leafHash(entry), index, hashes, size: decimal(note.split('\n')[1]) }
  } catch {
    return undefined
  }
}

/** The places that a receipt names, each with what Rust says of it. */
async function placesOf({ receipt, verdict }) {
  const said = saidByRust(verdict)
  let read
  try {
    read = readReceipt(fromBase64(receipt))
  } catch {
    return []
  }
  const places = [{ ...(await placeOf(read.entry, read.proof)), rust: said.entry }]
  try {
    const { entry, proof } = read.erasure ? readErasure(read.erasure) : {}
    if (entry) places.push({ ...(await placeOf(entry, proof)), rust: said.tombstone })
  } catch {
    // A tombstone that cannot be read is put to nobody.
  }
  return places.filter(({ leaf }) => leaf)
}

/** The same place with one thing changed, of which Rust was not asked. */
function changed({ leaf, index, hashes, size }, number) {
  const flipped = (bytes) => bytes.map((byte, i) => (i === number % 32 ? byte ^ 1 : byte))
  const changes = [
    { leaf: flipped(leaf) },
    { index: index ^ 1n },
    { index: index + size },
    { hashes: hashes.slice(1) },
    { hashes: [...hashes, leaf] },
    { hashes: hashes.toReversed() },
    { hashes: hashes.map((hash, i) => (i === number % hashes.length ? flipped(hash) : hash)) },
    { size: size + 1n },
  ]
  return { leaf, index, hashes, size, ...changes[number % changes.length] }
}

class Comparison {
  counts = { logs: 0, taken: 0, refused: 0, cases: 0, unread: 0, included: 0, not: 0, differing: 0 }
  waiting = []

  constructor(url, sender) {
    Object.assign(this, { url, sender })
  }

  differ(what) {
    this.counts.differing += 1
    console.error(what)
  }

  async line(text) {
    const { anchors, ...expected } = JSON.parse(text)
    if (anchors) await this.log(anchors)
    else await this.receipt(expected)
  }

  /** A contract of its own for the next log. */
  async log(anchors) {
    await this.flush()
    this.counts.logs += 1
    this.contract = await deploy(this.url)
    this.roots = new Map()
    for (const step of anchors) await this.anchor(step)
  }

  async anchor({ size, root, proof, holds, changed }) {
    const data = anchorCall({ size: BigInt(size), root: fromHex(root), proof: proof.map((hash) => fromHex(hash)) })
    const call = { from: this.sender, to: this.contract, data }
    const [answer] = await callAll(this.url, [call])
    const takes = answer !== undefined
    this.counts[takes ? 'taken' : 'refused'] += 1
    if (takes !== holds) this.differ(`an anchor at ${size}: Rust says ${holds}, the contract ${takes}`)
    if (changed || !takes) return
    await send(this.url, call)
    this.roots.set(BigInt(size), fromHex(root))
  }

  async receipt(expected) {
    if (!this.contract) throw new Error('a receipt before the anchors of its log: write them with --anchors')
    this.counts.cases += 1
    const places = await placesOf(expected)
    if (places.length === 0) this.counts.unread += 1
    const number = this.counts.cases
    for (const place of places) this.waiting.push({ ...place, number, verdict: expected.verdict }, { ...changed(place, number), number })
    if (this.waiting.length >= AT_ONCE) await this.flush()
  }

  /** Asks the contract for all that wait, and compares. */
  async flush() {
    const places = this.waiting.splice(0)
    if (places.length === 0) return
    const answers = await callAll(this.url, places.map((place) => ({ to: this.contract, data: inclusionCall(place) })))
    for (const [i, place] of places.entries()) await this.compare(place, answers[i])
  }

  async compare({ number, verdict, rust, ...place }, answer) {
    const contract = answer === undefined ? 'an error' : BigInt(answer) === 1n
    const led = await rootFrom(place.leaf, place.index, place.size, place.hashes)
    const javascript = led !== null && this.roots.has(place.size) && equal(led, this.roots.get(place.size))
    this.counts[contract === true ? 'included' : 'not'] += 1
    if (contract === javascript && (rust === undefined || contract === rust)) return
    const said = `the contract says ${contract}, JavaScript ${javascript}, Rust ${rust ?? 'nothing'}`
    this.differ(`case ${number} (${verdict ?? 'changed here'}): ${said}`)
  }

  summary() {
    const { logs, taken, refused, cases, unread, included, not, differing } = this.counts
    console.log(`${logs} logs, each with a contract: ${taken} anchors taken, ${refused} refused`)
    console.log(`${cases} receipts, ${unread} of them not readable so far`)
    console.log(`${included + not} places asked for: ${included} hold, ${not} do not`)
    console.log(`${differing} differences between Rust, JavaScript and the contract`)
    return taken > 0 && refused > 0 && included > 0 && not > 0 && differing === 0
  }
}

async function main(paths) {
  if (!program) throw new Error(ABSENT)
  const node = await startNode()
  try {
    const [sender] = await ask(node.url, 'eth_accounts')
    const comparison = new Comparison(node.url, sender)
    const inputs = paths.length > 0 ? paths.map((path) => createReadStream(path)) : [process.stdin]
    for (const input of inputs) {
      for await (const text of createInterface({ input, crlfDelay: Infinity })) if (text.trim()) await comparison.line(text)
    }
    await comparison.flush()
    process.exitCode = comparison.summary() ? 0 : 1
  } finally {
    node.stop()
  }
}

await main(process.argv.slice(2))
