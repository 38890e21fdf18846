// RLP, Ethereum's encoding: byte strings, and lists of values. Only the one encoding of a value is taken.

import { concat, numberOf } from './bytes.js'

/** The values in the list that `bytes` encode, each still encoded. Throws where they encode no list, or more. */
export function readList(bytes) {
  const [start, end] = whole(bytes)
  if (!isList(bytes)) throw new Error('not an RLP list')
  const values = []
  for (let at = start; at < end; ) {
    const [, next] = span(bytes, at)
    if (next > end) throw new Error('an RLP value is cut off')
    values.push(bytes.subarray(at, next))
    at = next
  }
  return values
}

/** The byte string that `bytes` encode. Throws where they encode none, or more. */
export function readString(bytes) {
  const [start, end] = whole(bytes)
  if (isList(bytes)) throw new Error('not an RLP string')
  return bytes.subarray(start, end)
}

export const isList = (encoded) => encoded[0] >= 0xc0

function whole(bytes) {
  const [start, end] = span(bytes, 0)
  if (end !== bytes.length) throw new Error('something follows the RLP value')
  return [start, end]
}

/** Where the content of the value at `at` begins and ends. */
function span(bytes, at) {
  const first = bytes[at]
  if (first === undefined) throw new Error('not RLP')
  if (first < 0x80) return [at, at + 1]
  const short = first - (first < 0xc0 ? 0x80 : 0xc0)
  const lengthBytes = Math.max(0, short - 55)
  const start = at + 1 + lengthBytes
  const end = start + (lengthBytes === 0 ? short : longLength(bytes.subarray(at + 1, start)))
  if (end > bytes.length) throw new Error('an RLP value is cut off')
  if (first === 0x81 && bytes[start] < 0x80) throw new Error('an RLP value in a second spelling')
  return [start, end]
}

function longLength(bytes) {
  const length = Number(numberOf(bytes))
  if (bytes[0] === 0 || length < 56) throw new Error('an RLP value in a second spelling')
  return length
}

/** Encodes a Uint8Array, or an Array of values. */
export function writeRlp(value) {
  if (Array.isArray(value)) return writeList(value.map(writeRlp))
  return value.length === 1 && value[0] < 0x80 ? value : withLength(value, 0x80)
}

/** The list of values that are in RLP already. */
export const writeList = (encoded) => withLength(concat(...encoded), 0xc0)

function withLength(content, base) {
  if (content.length < 56) return concat(Uint8Array.of(base + content.length), content)
  const length = minimal(content.length)
  return concat(Uint8Array.of(base + 55 + length.length), length, content)
}

/** A number's big-endian bytes without leading zeros, as RLP writes numbers. */
export function minimal(number) {
  const bytes = []
  for (let rest = BigInt(number); rest > 0n; rest >>= 8n) bytes.unshift(Number(rest & 0xffn))
  return Uint8Array.from(bytes)
}
