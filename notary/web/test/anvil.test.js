// Against a real node: Foundry's anvil with NotaryAnchor on it. Skipped, and said so, where anvil is not installed.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import test from 'node:test'
import { bigEndian, concat, equal, from0x, hexOf, utf8 } from '../bytes.js'
import { checkChain } from '../chain.js'
import { keccak } from '../hash.js'
import { verify } from '../verify.js'
import { fixture } from './support.js'

const tools = process.env.MEDSEAL_TOOLS ?? '/tmp/medseal-tools'
const places = [join(tools, 'node_modules/.bin'), ...process.env.PATH.split(delimiter)].map((folder) => join(folder, 'anvil'))
const program = places.find((path) => existsSync(path))
const skip = program ? false : "anvil is not installed (npm's @foundry-rs/anvil; ./ci/test brings it)"

test('a real node proves what the contract holds, down from a block hash', { skip }, async (t) => {
  const url = await startNode(t)
  const { log } = await verify({ receipt: fixture('patient.receipt.json') })
  const contract = await deploy(url)
  await anchor(url, contract, log)
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

async function startNode(t) {
  const port = await freePort()
  const node = spawn(program, ['--silent', '--port', String(port)], { stdio: 'ignore' })
  t.after(() => node.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  await eventually(() => ask(url, 'eth_chainId').catch(() => null))
  return url
}

/** What `look` finds, once it finds something; for a minute, since the machine may be busy. */
async function eventually(look) {
  for (let tries = 0; tries < 600; tries += 1) {
    const found = await look()
    if (found) return found
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error('anvil did not answer within a minute')
}

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

async function ask(url, method, ...params) {
  const reply = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }) })
  const { result, error } = await reply.json()
  if (error) throw new Error(error.message)
  return result
}

/** Sends a transaction from anvil's first account, which it signs for; the receipt of the transaction. */
async function send(url, transaction) {
  const [from] = await ask(url, 'eth_accounts')
  const hash = await ask(url, 'eth_sendTransaction', { from, ...transaction })
  // The block is made behind the answer.
  const receipt = await eventually(() => ask(url, 'eth_getTransactionReceipt', hash))
  assert.equal(receipt.status, '0x1')
  return receipt
}

const word = (number) => bigEndian(number, 32)

async function deploy(url) {
  const artifact = JSON.parse(readFileSync(new URL('../../contracts/artifacts/NotaryAnchor.json', import.meta.url)))
  const [notary] = await ask(url, 'eth_accounts')
  const { contractAddress } = await send(url, { data: `${artifact.bytecode}${hexOf(word(BigInt(notary)))}` })
  return from0x(contractAddress.toLowerCase(), 20)
}

/** The first anchor of a log: with an empty proof, which stands at the fourth word. */
async function anchor(url, contract, { size, root }) {
  const selector = keccak(utf8('anchor(uint64,bytes32,bytes32[])')).slice(0, 4)
  const data = concat(selector, word(size), root, word(96), word(0))
  await send(url, { to: `0x${hexOf(contract)}`, data: `0x${hexOf(data)}` })
}
