// Against a real node: Foundry's anvil with NotaryAnchor on it. Skipped, and said so, where anvil is not installed.

import assert from 'node:assert/strict'
import test from 'node:test'
import { ABSENT, anchorCall, ask, deploy, program, send, startNode } from '../../contracts/node.mjs'
import { equal, from0x } from '../bytes.js'
import { checkChain } from '../chain.js'
import { verify } from '../verify.js'
import { fixture } from './support.js'

test('a real node proves what the contract holds, down from a block hash', { skip: program ? false : ABSENT }, async (t) => {
  const { url, stop } = await startNode()
  t.after(stop)
  const { log } = await verify({ receipt: fixture('patient.receipt.json') })
  const to = await deploy(url)
  await send(url, { to, data: anchorCall({ ...log, proof: [] }) })
  const contract = from0x(to.toLowerCase(), 20)
  const question = { url, contract, size: log.size, root: log.root }

  assert.equal((await checkChain(question)).block.final, false)
  await ask(url, 'anvil_mine', '0x64')
  const { chainId, block, head } = await checkChain(question)
  assert.equal(block.final, true)
  assert.equal(chainId, 31337n)
  assert.equal(block.bound, true)
  assert.equal(head.size, log.size)
  assert.ok(equal(head.root, log.root))
  await assert.rejects(checkChain({ ...question, size: log.size + 1n }), { name: 'LOG-REWRITTEN' })
  await assert.rejects(checkChain({ ...question, root: new Uint8Array(32).fill(1) }), { name: 'LOG-REWRITTEN' })
  await assert.rejects(checkChain({ ...question, contract: new Uint8Array(20).fill(1) }), { name: 'ANCHOR-FORGED' })
  await assert.rejects(checkChain({ ...question, chainId: 1n }), { name: 'UNTRUSTED-CHAIN' })
  assert.equal((await checkChain({ ...question, receiptBlock: block })).receiptBlock.known, true)
})
