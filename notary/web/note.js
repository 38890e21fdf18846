// The text formats around the log: verifier key, signed note, checkpoint, tlog-proof (docs/receipt.md, section 3).

import { concat, equal, fromBase64, fromHex, utf8 } from './bytes.js'
import { ed25519, sha256 } from './hash.js'

const ED25519 = Uint8Array.of(1)
const COSIGNATURE = Uint8Array.of(4)
/** A time of eight bytes and an Ed25519 signature. */
const COSIGNATURE_BYTES = 72
const LINE_FEED = Uint8Array.of(10)
const U64_MAX = 2n ** 64n - 1n
/** A checkpoint is some hundred bytes; witnesses add a line each. */
const MAX_NOTE_BYTES = 64 * 1024
/** More signatures than any log has witnesses. */
const MAX_SIGNATURES = 100
/** A tree of 2^64 leaves is 64 levels high. */
const MAX_HASHES = 64

/** A number from 0 to 2^64 - 1 in decimal, without sign or leading zeros. */
export function decimal(text) {
  if (!/^(?:0|[1-9][0-9]{0,19})$/.test(text) || BigInt(text) > U64_MAX) throw new Error('not a number below 2^64')
  return BigInt(text)
}

export function hash32(text) {
  const bytes = fromBase64(text)
  if (bytes.length !== 32) throw new Error('not a hash of 32 bytes')
  return bytes
}

/** Reads a log's `name+id+key`. */
export const readLogKey = (text) => readKey(text, ED25519)

async function readKey(text, type) {
  const [, name, id, key] = /^([^+\p{White_Space}]+)\+([0-9a-f]{8})\+(.+)$/su.exec(text) ?? fail('not name+id+key')
  const typed = fromBase64(key)
  if (typed.length !== 33 || typed[0] !== type[0]) throw new Error('not a key of this type')
  const expected = (await sha256(concat(utf8(name), LINE_FEED, typed))).slice(0, 4)
  if (!equal(expected, fromHex(id))) throw new Error('the id is not that of the key')
  return { name, id: expected, publicKey: typed.slice(1) }
}

/** The checkpoint in a signed note that `key` signed. */
export async function openCheckpoint(note, key) {
  if (utf8(note).length > MAX_NOTE_BYTES) throw new Error('the note is longer than 64 KiB')
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n') || /[^\n\u0020-\u{10ffff}]/u.test(note)) throw new Error('not a signed note')
  const text = note.slice(0, end + 1)
  const signature = signatureOf(note.slice(end + 2, -1).split('\n'), key)
  if (!(await ed25519(key.publicKey, signature, utf8(text)))) throw new Error("the signature is not the key's")
  return readCheckpoint(text, key.name)
}

/** The witness and the time, in seconds since 1970, if the witness of this key cosigned the note; nothing if not. */
export async function cosignedBy(note, witnessKey) {
  try {
    const key = await readKey(witnessKey, COSIGNATURE)
    const end = note.lastIndexOf('\n\n')
    const signature = signatureOf(note.slice(end + 2, -1).split('\n'), key)
    if (signature.length !== COSIGNATURE_BYTES) return undefined
    const time = signature.slice(0, 8).reduce((all, byte) => all * 256n + BigInt(byte), 0n)
    const message = utf8(`cosignature/v1\ntime ${time}\n${note.slice(0, end + 1)}`)
    return (await ed25519(key.publicKey, signature.slice(8), message)) ? { name: key.name, time } : undefined
  } catch {
    return undefined
  }
}

/** Signatures by others are skipped, and so is a second one by the key. */
function signatureOf(lines, key) {
  if (lines.length > MAX_SIGNATURES) throw new Error('more than 100 signatures')
  const own = lines.map(signatureLine).filter(({ name, id }) => name === key.name && equal(id, key.id))
  if (own.length === 0) throw new Error('the note has no signature by the key')
  return own[0].signature
}

function signatureLine(line) {
  const [, name, base64] = /^— ([^+\p{White_Space}]+) (.+)$/u.exec(line) ?? fail('not a signature line')
  const bytes = fromBase64(base64)
  if (bytes.length < 5) throw new Error('not a signature line')
  return { name, id: bytes.slice(0, 4), signature: bytes.slice(4) }
}

function readCheckpoint(text, origin) {
  const lines = text.slice(0, -1).split('\n')
  if (lines.length < 3 || lines.includes('')) throw new Error('not a checkpoint')
  if (lines[0] !== origin) throw new Error("the checkpoint's origin is not the key's name")
  return { origin, size: decimal(lines[1]), root: hash32(lines[2]) }
}

/** Reads a C2SP tlog-proof: the place, the hashes from the leaf upwards, and the checkpoint's note, still unread. */
export function readProof(text) {
  const end = text.indexOf('\n\n')
  if (end < 0) throw new Error('the proof has no checkpoint')
  const lines = text.slice(0, end).split('\n')
  if (lines.shift() !== 'c2sp.org/tlog-proof@v1') throw new Error('not a tlog-proof')
  while (lines[0]?.startsWith('extra ')) lines.shift()
  const [, index] = /^index (.*)$/.exec(lines.shift() ?? '') ?? fail('the proof has no index')
  if (lines.length > MAX_HASHES) throw new Error('more than 64 hashes')
  return { index: decimal(index), hashes: lines.map(hash32), note: text.slice(end + 2) }
}

function fail(why) {
  throw new Error(why)
}
