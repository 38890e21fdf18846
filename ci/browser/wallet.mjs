// A wallet for tests: an account of Ethereum's curve, `personal_sign` (EIP-191) and `eth_signTypedData_v4` (EIP-712).

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { keccak } from '../../notary/web/hash.js'

const require = createRequire(join(process.env.MEDSEAL_BROWSER_TOOLS, 'package.json'))
const { secp256k1 } = require('@noble/curves/secp256k1')
const hex = (bytes) => Buffer.from(bytes).toString('hex')

const word = (bytes) => Buffer.concat([Buffer.alloc(32 - bytes.length), bytes])
const bytesOf = (text) => Buffer.from(text.slice(2), 'hex')

/** What a value of a type is in `encodeData`; of the types that a consent has. */
function encoded(types, type, value) {
  if (types[type]) return hashed(types, type, value)
  if (type === 'string') return Buffer.from(keccak(Buffer.from(value)))
  if (type.startsWith('uint')) return bytesOf(`0x${BigInt(value).toString(16).padStart(64, '0')}`)
  // Addresses are numbers, bytes stand at the left.
  return type === 'address' ? word(bytesOf(value)) : Buffer.concat([bytesOf(value), Buffer.alloc(32)]).subarray(0, 32)
}

/** `hashStruct`; no type here has more than one other within. */
function hashed(types, name, value) {
  const written = (of) => `${of}(${types[of].map((field) => `${field.type} ${field.name}`).join(',')})`
  const within = types[name].map(({ type }) => type).filter((type) => types[type])
  const kind = keccak(Buffer.from([name, ...within].map(written).join('')))
  return Buffer.from(keccak(Buffer.concat([kind, ...types[name].map((field) => encoded(types, field.type, value[field.name]))])))
}

/** A new account: its address, and what it answers when a page asks it to sign a message (hexadecimal). */
export function walletOf(key = secp256k1.utils.randomPrivateKey()) {
  const address = `0x${hex(keccak(secp256k1.getPublicKey(key, false).slice(1)).slice(12))}`
  const sign = (message) => {
    const text = Buffer.from(message.slice(2), 'hex')
    const signed = Buffer.concat([Buffer.from(`\x19Ethereum Signed Message:\n${text.length}`), text])
    const signature = secp256k1.sign(keccak(signed), key)
    return `0x${signature.toCompactHex()}${(27 + signature.recovery).toString(16)}`
  }
  const signTyped = (json) => {
    const { types, primaryType, domain, message } = JSON.parse(json)
    const parts = [Buffer.from([0x19, 1]), hashed(types, 'EIP712Domain', domain), hashed(types, primaryType, message)]
    const signature = secp256k1.sign(keccak(Buffer.concat(parts)), key)
    return `0x${signature.toCompactHex()}${(27 + signature.recovery).toString(16)}`
  }
  return { address, sign, signTyped }
}
