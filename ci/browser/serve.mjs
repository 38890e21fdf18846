// Serves the pages from the tree as the service does, with its Content-Security-Policy, and a node beside them.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { rootAtSlot } from '../../notary/web/anchor.js'
import { hexOf, numberOf } from '../../notary/web/bytes.js'
import { madeUpNode } from '../../notary/web/test/node.js'
import { verify } from '../../notary/web/verify.js'

const tree = new URL('../../', import.meta.url)
const files = JSON.parse(readFileSync(new URL('bridge/web/files.json', tree)))
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' }
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' https: http://localhost:* http://127.0.0.1:*; "
  + "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`)))

/** The pages; `answers` are JSON replies by path. */
export async function servePages(answers = {}) {
  const server = createServer((request, reply) => {
    const path = new URL(request.url, 'http://x').pathname
    if (answers[path]) return reply.setHeader('content-type', 'application/json').end(JSON.stringify(answers[path]))
    if (!files[path]) return reply.writeHead(404).end()
    const type = TYPES[files[path].split('.').pop()] ?? 'text/plain'
    reply.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY, 'x-content-type-options': 'nosniff' })
    reply.end(readFileSync(new URL(files[path], tree)))
  })
  return { url: await listen(server), close: () => server.close() }
}

/** A node whose contract holds the log's root, and the receipt with an anchor on it instead of its own. */
export async function serveNode(receipt) {
  const { log } = await verify({ receipt })
  const contract = new Uint8Array(20).fill(0x77)
  const slots = [[new Uint8Array(32), log.size], [rootAtSlot(log.size), numberOf(log.root)]]
  const { fetch: answer, header, proof } = madeUpNode({ contract, slots })
  const { accountProof, storageProof } = proof(contract, [`0x${hexOf(rootAtSlot(log.size))}`])
  const anchor = { kind: 'public', chainId: 7, contract: `0x${hexOf(contract)}`, size: Number(log.size), header: `0x${hexOf(header)}`,
    accountProof, storageProof: storageProof[0].proof }
  const anchored = Buffer.from(JSON.stringify({ ...JSON.parse(receipt), anchor }, null, 2))
  const server = createServer(async (request, reply) => {
    reply.setHeader('access-control-allow-origin', '*').setHeader('access-control-allow-headers', 'content-type')
    let body = ''
    for await (const part of request) body += part
    reply.end(request.method === 'POST' ? await (await answer('', { body })).text() : '')
  })
  return { url: await listen(server), anchored, close: () => server.close() }
}
