// Giving access: makes the preimage, whose hash alone goes to the server unless a copy is to stay there; lets the passkey or the wallet
// sign; and hands out the revocation code (docs/consent.md) as a file.

import { byId } from './dom.js'
import { post, press, usePasskey, wallet } from './signing.js'

const grant = byId('grant')
const preimage = crypto.getRandomValues(new Uint8Array(32))

const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
const unhex = (text) => Uint8Array.from(text.replace(/^0x/, '').match(/../g), (two) => parseInt(two, 16))
const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer()))

/** Crockford's base 32, the highest bit first. */
function letters(bytes) {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return bits.match(/.{1,5}/g).map((five) => '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[parseInt(five.padEnd(5, '0'), 2)]).join('')
}

async function tag() {
  const hash = await sha256('medseal/v1/revocation\0', preimage)
  return `0x${hex(hash.slice(0, 20))}`
}

/** The file, letter by letter as `RevocationCode::to_text` writes it. */
async function file({ chain, contract, grant: key }) {
  const four = async (...parts) => (await sha256(...parts)).slice(0, 4)
  const secret = letters([...preimage, ...(await four(preimage))]).match(/.{1,6}/g).join('-')
  const number = new DataView(new ArrayBuffer(8))
  number.setBigUint64(0, BigInt(chain))
  const check = hex(await four(number.buffer, unhex(contract), unhex(key), preimage))
  return `medseal-revocation/1

Whoever has this file can withdraw one consent, for ever. Keep it where you keep your papers.
Give it to the hospital's page, or to anybody who can send a transaction:

cast send ${contract} 'revokeSealed(bytes32,bytes32)' \\
  ${key} \\
  0x${hex(preimage)}

chain: ${chain}
contract: ${contract}
grant: ${key}
secret: MSR1-${secret}
check: ${check}
`
}

async function ask(step, more) {
  const { at, token, draft } = grant.dataset
  return post(`${at}/${step}`, { token, draft, tag: await tag(), ...more })
}

async function sign(way, answer) {
  const kept = byId('keep').checked ? { preimage: `0x${hex(preimage)}` } : {}
  return ask('sign', { with: way, answer, ...kept })
}

async function withPasskey() {
  return sign('passkey', await usePasskey(await ask('options', { with: 'passkey' })))
}

async function withWallet() {
  const { address, request } = await wallet()
  const { message } = await ask('options', { with: 'wallet' })
  return sign('wallet', await request({ method: 'eth_signTypedData_v4', params: [address, JSON.stringify(message)] }))
}

async function hand(given) {
  const text = await file(given)
  byId('code-text').value = text
  byId('code-file').href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }))
  grant.closest('section').hidden = true
  byId('code').hidden = false
  byId('code').focus()
}

const WAYS = {
  passkey: [withPasskey, 'Look at your device.'],
  wallet: [withWallet, 'Look at your wallet.'],
  record: [() => sign('record', null), 'One moment.'],
}
press(grant, WAYS, hand)
