// A wallet for tests: an account of Ethereum's curve, and `personal_sign` (EIP-191).

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { keccak } from '../../notary/web/hash.js'

const require = createRequire(join(process.env.MEDSEAL_BROWSER_TOOLS, 'package.json'))
const { secp256k1 } = require('@noble/curves/secp256k1')
const hex = (bytes) => Buffer.from(bytes).toString('hex')

/** A new account: its address, and what it answers when a page asks it to sign a message (hexadecimal). */
export function walletOf(key = secp256k1.utils.randomPrivateKey()) {
  const address = `0x${hex(keccak(secp256k1.getPublicKey(key, false).slice(1)).slice(12))}`
  const sign = (message) => {
    const text = Buffer.from(message.slice(2), 'hex')
    const signed = Buffer.concat([Buffer.from(`\x19Ethereum Signed Message:\n${text.length}`), text])
    const signature = secp256k1.sign(keccak(signed), key)
    return `0x${signature.toCompactHex()}${(27 + signature.recovery).toString(16)}`
  }
  return { address, sign }
}
