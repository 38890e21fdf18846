// What pages share that let somebody sign: asking the server, the passkey, the wallet, and telling what went wrong.

import { byId } from './dom.js'

/** The bytes of base64url, and back. */
export const bytesOf = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0))
export const textOf = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')

/** What a person can read of what went wrong. */
export class Trouble extends Error {}

/** Asks the server. What it refuses it says in words. */
export async function post(url, content) {
  const reply = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(content) })
  const answer = await reply.json().catch(() => ({}))
  if (!reply.ok) throw new Trouble(answer.error ?? `the service answered ${reply.status}`)
  return answer
}

/** What a passkey says to the server's options. */
export async function usePasskey(options) {
  const known = options.allowCredentials?.map((one) => ({ ...one, id: bytesOf(one.id) }))
  const publicKey = { ...options, challenge: bytesOf(options.challenge), ...(known && { allowCredentials: known }) }
  const { rawId, response } = await navigator.credentials.get({ publicKey })
  return {
    id: textOf(rawId),
    client: textOf(response.clientDataJSON),
    authenticator: textOf(response.authenticatorData),
    signature: textOf(response.signature),
    user: textOf(response.userHandle ?? new ArrayBuffer(0)),
  }
}

/** The browser's wallet (EIP-1193), and the address that its owner chooses. */
export async function wallet() {
  if (!window.ethereum) throw new Trouble('There is no wallet in this browser.')
  const request = (asked) => window.ethereum.request(asked)
  const [address] = await request({ method: 'eth_requestAccounts' })
  return { address, request }
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

/** Lets the buttons of a page work, each in its way; `done` gets what came of it. */
export function press(place, ways, done) {
  const go = async (button) => {
    const buttons = [...place.querySelectorAll('button:enabled')]
    buttons.forEach((each) => { each.disabled = true })
    const [way, told] = ways[button.dataset.with]
    tell('', told)
    try {
      done(await way(button))
    } catch (error) {
      tell(words(error), '')
      buttons.forEach((each) => { each.disabled = false })
      button.focus()
    }
  }
  place?.addEventListener('click', ({ target }) => {
    const button = target.closest('button[data-with]')
    if (button) go(button)
  })
}
