// What happens at the door: asks the server what is to be signed, lets the passkey or the wallet sign it, and goes on.

import { byId } from './dom.js'

const door = byId('door')

/** The bytes of base64url, and back. */
const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0))
const textOf = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')

/** What a person can read of what went wrong. */
class Trouble extends Error {}

async function ask(step, more = {}) {
  const { at, code, token, next } = door.dataset
  const body = JSON.stringify({ code, token, next, ...more })
  const reply = await fetch(`${at}/${step}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  const answer = await reply.json().catch(() => ({}))
  if (!reply.ok) throw new Trouble(answer.error ?? `the service answered ${reply.status}`)
  return answer
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

async function usePasskey(options) {
  const publicKey = { ...options, challenge: bytesOf(options.challenge) }
  const { rawId, response } = await navigator.credentials.get({ publicKey })
  return {
    id: textOf(rawId),
    client: textOf(response.clientDataJSON),
    authenticator: textOf(response.authenticatorData),
    signature: textOf(response.signature),
    user: textOf(response.userHandle ?? new ArrayBuffer(0)),
  }
}

async function withPasskey() {
  if (!window.PublicKeyCredential) throw new Trouble('This browser knows no passkeys.')
  const options = await ask('options')
  return ask('passkey', { answer: await (options.user ? makePasskey(options) : usePasskey(options)) })
}

const hex = (text) => `0x${[...new TextEncoder().encode(text)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`

async function withWallet() {
  const wallet = window.ethereum
  if (!wallet) throw new Trouble('There is no wallet in this browser.')
  const [address] = await wallet.request({ method: 'eth_requestAccounts' })
  const { message, nonce } = await ask('message', { address })
  const signature = await wallet.request({ method: 'personal_sign', params: [hex(message), address] })
  return ask('wallet', { answer: { address, nonce, signature } })
}

/** A refusal by the person, in the words of passkeys (NotAllowedError) and of wallets (EIP-1193, 4001). */
function words(error) {
  if (error instanceof Trouble) return error.message
  if (error.name === 'NotAllowedError' || error.code === 4001) return 'Nothing was signed: it was cancelled, or took too long.'
  if (error.name === 'InvalidStateError') return 'This device has a passkey for this account already.'
  return 'It did not work. Try again, or try another browser.'
}

function tell(trouble, told) {
  byId('trouble').hidden = !trouble
  byId('trouble').textContent = trouble
  byId('told').textContent = told
}

const withProvider = ({ dataset }) => ask('provider', { provider: dataset.provider })
const WAYS = { passkey: [withPasskey, 'Look at your device.'], wallet: [withWallet, 'Look at your wallet.'], provider: [withProvider, 'One moment.'] }

async function go(button) {
  const buttons = [...door.querySelectorAll('button:enabled')]
  buttons.forEach((each) => { each.disabled = true })
  const [way, told] = WAYS[button.dataset.with]
  tell('', told)
  try {
    const { next } = await way(button)
    location.assign(next)
  } catch (error) {
    tell(words(error), '')
    buttons.forEach((each) => { each.disabled = false })
    button.focus()
  }
}

door?.addEventListener('click', ({ target }) => {
  const button = target.closest('button[data-with]')
  if (button) go(button)
})
