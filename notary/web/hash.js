// The cryptography: WebCrypto's, and what it lacks: Keccak-256 from @noble/hashes, secp256k1 from @noble/secp256k1. None of it is ours.

import { bigEndian, concat } from './bytes.js'
import { keccak_256 } from './vendor/noble-hashes/sha3.js'
import { Signature, recoverPublicKey } from './vendor/noble-secp256k1/index.js'

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

/** The address of whoever made the seal `r || s || v` over `digest`. Throws where it is nobody's, or not in its one spelling. */
export function sealedBy(seal, digest) {
  if (seal.length !== 65 || seal[64] > 1) throw new Error('a seal of the block is not one of 65 bytes')
  if (Signature.fromBytes(seal.subarray(0, 64)).hasHighS()) throw new Error('a seal of the block is in a second spelling')
  const recovered = concat(seal.subarray(64), seal.subarray(0, 64))
  const key = recoverPublicKey(recovered, digest, { prehash: false, isCompressed: false })
  return keccak(key.subarray(1)).slice(12)
}

/** The storage slot of a Solidity mapping's `key`, the mapping standing at `slot`. */
export function mappingSlot(key, slot) {
  return keccak(concat(bigEndian(key, 32), bigEndian(slot, 32)))
}
