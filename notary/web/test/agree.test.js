// Cases to which the Rust verifier gave the answers: one for each verdict and refusal that chance brought.

import assert from 'node:assert/strict'
import test from 'node:test'
import { differences } from '../agree.mjs'
import { fixture } from './support.js'

const lines = new TextDecoder().decode(fixture('agree.ndjson')).trim().split('\n')

for (const [at, line] of lines.entries()) {
  const expected = JSON.parse(line)
  test(`both say ${expected.verdict} (line ${at + 1})`, async () => {
    assert.deepEqual(await differences(expected), [])
  })
}

test('a difference is found', async () => {
  const expected = { ...JSON.parse(lines[0]), verdict: 'ANCHORED-ON-THE-MOON' }
  assert.equal((await differences(expected)).length, 1)
})
