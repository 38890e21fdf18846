#!/usr/bin/env node
// Verifies a receipt on the command line: node cli.mjs RECEIPT [RESOURCE [MESSAGE]] [--policy FILE.json]
// Prints the verdict as JSON. Exits with 0 for a verdict, 1 for a refusal, as `medseal-verify --json` does.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { judge } from './verify.js'

const { values, positionals } = parseArgs({ options: { policy: { type: 'string' } }, allowPositionals: true })
const [receipt, resource, raw] = positionals.map((path) => readFileSync(path))
const policy = values.policy && JSON.parse(readFileSync(values.policy, 'utf8'))
const { verdict, name, why, deletion, erased, checked, log, restsOn } = await judge({ receipt, resource, raw, policy })
const place = log && { origin: log.origin, size: Number(log.size), index: Number(log.index) }
console.log(JSON.stringify({ verdict, name, why, deletion, erased, checked, log: place, restsOn }))
process.exitCode = verdict === 'REFUSED' ? 1 : 0
