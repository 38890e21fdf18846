#!/usr/bin/env node
// Whether this verifier and another one give the same answers.
//
//   other-verifier | node agree.mjs            reads from standard input
//   node agree.mjs FILE...                     reads files
//
// One case a line, as JSON (NDJSON):
//
//   {"receipt": BASE64, "resource"?: BASE64, "raw"?: BASE64, "policy"?: POLICY, "verdict": NAME,
//    "deletion"?: BOOLEAN, "erased"?: TEXT|null}
//
// `receipt`, `resource` and `raw` are bytes, since a changed receipt need not be text any more. POLICY is the object of
// docs/receipt.md, "The policy", as JSON. NAME is what the other verifier said: a grade (`LOGGED`, `ANCHORED-LOCAL`,
// ...) or the name of its refusal (`RESOURCE-CHANGED`, ...). `deletion` and `erased` are compared where they are given. Lines with
// `anchors` are for notary/contracts/agree.mjs, and passed over.
//
// Prints each line on which the two differ, and a summary. Exits with 0 only if they agree on all, and there was one.

import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { fromBase64 } from './bytes.js'
import { judge } from './verify.js'

/** What this verifier says of a case: the same members as the case has. */
export async function answer({ receipt, resource, raw, policy }) {
  const bytes = (text) => (text === undefined ? undefined : fromBase64(text))
  const { verdict, name, deletion, erased } = await judge({
    receipt: bytes(receipt),
    resource: bytes(resource),
    raw: bytes(raw),
    policy,
  })
  return { verdict: name ?? verdict, deletion, erased }
}

/** The members in which this verifier's answer is another than the case's, as sentences. */
export async function differences(expected) {
  const found = await answer(expected)
  const compared = ['verdict', 'deletion', 'erased'].filter((member) => expected[member] !== undefined)
  return compared
    .filter((member) => found[member] !== expected[member])
    .map((member) => `${member}: the other says ${expected[member]}, this one says ${found[member]}`)
}

async function compare(lines, counts) {
  for await (const line of lines) {
    const expected = line.trim() === '' ? undefined : JSON.parse(line)
    if (expected === undefined || expected.anchors !== undefined) continue
    counts.cases += 1
    const differing = await differences(expected)
    counts.names.set(expected.verdict, (counts.names.get(expected.verdict) ?? 0) + 1)
    if (differing.length > 0) report(counts, differing)
  }
}

function report(counts, differing) {
  counts.differing += 1
  console.error(`case ${counts.cases}: ${differing.join('; ')}`)
}

async function main(paths) {
  const counts = { cases: 0, differing: 0, names: new Map() }
  const inputs = paths.length > 0 ? paths.map((path) => createReadStream(path)) : [process.stdin]
  for (const input of inputs) await compare(createInterface({ input, crlfDelay: Infinity }), counts)
  for (const [name, count] of [...counts.names].sort()) console.log(`${String(count).padStart(8)} ${name}`)
  console.log(`${counts.cases} cases, ${counts.differing} on which the verifiers differ`)
  process.exitCode = counts.cases > 0 && counts.differing === 0 ? 0 : 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2))
