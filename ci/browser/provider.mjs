// An OpenID provider for tests: lets everybody in as the same person, without asking.

import { createHash, createSign, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

function signed(claims) {
  const text = `${part({ alg: 'ES256', kid: 'one' })}.${part(claims)}`
  return `${text}.${createSign('sha256').update(text).sign({ key: privateKey, dsaEncoding: 'ieee-p1363' }, 'base64url')}`
}

/** Serves until it is closed. */
export async function serveProvider() {
  let asked
  const answers = {
    '/.well-known/openid-configuration': (issuer) => ({ issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` }),
    '/jwks': () => ({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig' }] }),
    '/token': (issuer, form) => {
      const challenge = createHash('sha256').update(form.get('code_verifier')).digest('base64url')
      if (form.get('code') !== 'good' || challenge !== asked.get('code_challenge')) return {}
      const now = Math.floor(Date.now() / 1000)
      return { id_token: signed({ iss: issuer, sub: 'ada', aud: asked.get('client_id'), nonce: asked.get('nonce'), iat: now, exp: now + 60 }) }
    },
  }
  const server = createServer(async (request, reply) => {
    const issuer = `http://127.0.0.1:${server.address().port}`
    const url = new URL(request.url, issuer)
    let body = ''
    for await (const text of request) body += text
    if (url.pathname === '/authorize') {
      asked = url.searchParams
      return reply.writeHead(302, { location: `${asked.get('redirect_uri')}?code=good&state=${asked.get('state')}` }).end()
    }
    reply.setHeader('content-type', 'application/json').end(JSON.stringify(answers[url.pathname]?.(issuer, new URLSearchParams(body)) ?? {}))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { issuer: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }
}
