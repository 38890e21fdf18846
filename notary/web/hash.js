// The cryptography: WebCrypto's, and Keccak-256 from @noble/hashes, which WebCrypto lacks. None of it is ours.

import { bigEndian, concat } from './bytes.js'
import { keccak_256 } from './vendor/noble-hashes/sha3.js'

const subtle = globalThis.crypto.subtle

export const keccak = keccak_256

export async function sha256(bytes) {
  return new Uint8Array(await subtle.digest('SHA-256', bytes))
}

export async function hmacSha256(keyBytes, bytes) {
  const key = await subtle.importKey('raw', keyBytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return new Uint8Array(await subtle.sign('HMAC', key, bytes))
}

/** Whether `signature` is `publicKey`'s over `bytes`. Throws where the platform has no Ed25519. */
export async function ed25519(publicKey, signature, bytes) {
  const key = await subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify'])
  return subtle.verify('Ed25519', key, signature, bytes)
}

/** The storage slot of a Solidity mapping's `key`, the mapping standing at `slot`. */
export function mappingSlot(key, slot) {
  return keccak(concat(bigEndian(key, 32), bigEndian(slot, 32)))
}
