// A node of its own for a program that needs one: Foundry's anvil, which ci.sh brings.

import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { bigEndian, concat, hexOf, utf8 } from '../web/bytes.js'
import { keccak } from '../web/hash.js'

const tools = process.env.MEDSEAL_TOOLS ?? '/tmp/medseal-tools'
const places = [join(tools, 'node_modules/.bin'), ...process.env.PATH.split(delimiter)].map((folder) => join(folder, 'anvil'))

/** Where anvil is installed; nothing where it is not. */
export const program = places.find((path) => existsSync(path))
export const ABSENT = "anvil is not installed (npm's @foundry-rs/anvil; notary/contracts/ci.sh brings it)"

/** A chain of its own: where it answers, and how to end it. */
export async function startNode() {
  const port = await freePort()
  const node = spawn(program, ['--silent', '--max-persisted-states', '0', '--port', String(port)], { stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}`
  await eventually(() => ask(url, 'eth_chainId').catch(() => null))
  return { url, stop: () => node.kill('SIGKILL') }
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

async function post(url, body) {
  const reply = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  return reply.json()
}

const request = (method, params, id) => ({ jsonrpc: '2.0', id, method, params })

export async function ask(url, method, ...params) {
  const { result, error } = await post(url, request(method, params, 1))
  if (error) throw new Error(error.message)
  return result
}

/** The answers to many `eth_call`s in one request, in their order; nothing for one that reverts. */
export async function callAll(url, calls) {
  const replies = await post(url, calls.map((call, id) => request('eth_call', [call, 'latest'], id)))
  const byId = new Map(replies.map(({ id, result }) => [id, result]))
  return calls.map((_, id) => byId.get(id))
}

/** Sends a transaction from anvil's first account, which it signs for; the receipt of the transaction. Throws if it reverts. */
export async function send(url, transaction) {
  const [from] = await ask(url, 'eth_accounts')
  const hash = await ask(url, 'eth_sendTransaction', { from, ...transaction })
  // The block is made behind the answer.
  const receipt = await eventually(() => ask(url, 'eth_getTransactionReceipt', hash))
  if (receipt.status !== '0x1') throw new Error('the transaction reverted')
  return receipt
}

/** Puts NotaryAnchor onto the chain, for anvil's first account; its address. */
export async function deploy(url) {
  const artifact = JSON.parse(readFileSync(new URL('artifacts/NotaryAnchor.json', import.meta.url)))
  const [notary] = await ask(url, 'eth_accounts')
  const { contractAddress } = await send(url, { data: `${artifact.bytecode}${hexOf(word(BigInt(notary)))}` })
  return contractAddress
}

const word = (number) => bigEndian(number, 32)

/** The call of a function whose arguments are numbers and words, and a list of words at the end. */
function encode(signature, fixed, list) {
  const selector = keccak(utf8(signature)).slice(0, 4)
  const words = fixed.map((value) => (value instanceof Uint8Array ? value : word(value)))
  const start = word(32 * (fixed.length + 1))
  return `0x${hexOf(concat(selector, ...words, start, word(list.length), ...list))}`
}

export const anchorCall = ({ size, root, proof }) => encode('anchor(uint64,bytes32,bytes32[])', [size, root], proof)

export const inclusionCall = ({ size, index, leaf, hashes }) =>
  encode('verifyInclusion(uint64,uint64,bytes32,bytes32[])', [size, index, leaf], hashes)
