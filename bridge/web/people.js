// What happens at the door: asks the server what is to be signed, lets the passkey or the wallet sign it, and goes on.

import { byId } from './dom.js'
import { Trouble, bytesOf, post, press, textOf, usePasskey, wallet } from './signing.js'

const door = byId('door')

function ask(step, more = {}) {
  const { at, code, token, next } = door.dataset
  return post(`${at}/${step}`, { code, token, next, ...more })
}

async function makePasskey(options) {
  const { challenge, user, excludeCredentials } = options
  const publicKey = {
    ...options,
    challenge: bytesOf(challenge),
    user: { ...user, id: bytesOf(user.id) },
    excludeCredentials: excludeCredentials.map((known) => ({ ...known, id: bytesOf(known.id) })),
  }
  const { rawId, response } = await navigator.credentials.create({ publicKey })
  const key = response.getPublicKey()
  if (!key) throw new Trouble('This browser cannot tell the public key of this passkey.')
  return {
    id: textOf(rawId),
    client: textOf(response.clientDataJSON),
    authenticator: textOf(response.getAuthenticatorData()),
    key: textOf(key),
    algorithm: response.getPublicKeyAlgorithm(),
  }
}

async function withPasskey() {
  if (!window.PublicKeyCredential) throw new Trouble('This browser knows no passkeys.')
  const options = await ask('options')
  return ask('passkey', { answer: await (options.user ? makePasskey(options) : usePasskey(options)) })
}

const hex = (text) => `0x${[...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`

async function withWallet() {
  const { address, request } = await wallet()
  const { message, nonce } = await ask('message', { address })
  const signature = await request({ method: 'personal_sign', params: [hex(message), address] })
  return ask('wallet', { answer: { address, nonce, signature } })
}

const withProvider = ({ dataset }) => ask('provider', { provider: dataset.provider })
const WAYS = { passkey: [withPasskey, 'Look at your device.'], wallet: [withWallet, 'Look at your wallet.'], provider: [withProvider, 'One moment.'] }

press(door, WAYS, ({ next }) => location.assign(next))
