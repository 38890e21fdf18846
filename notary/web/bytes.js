// Bytes and their spellings. Each reader takes exactly one spelling of a value: a second one is a fault.

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/** The text in these bytes; throws where they are not UTF-8. A byte order mark is kept, and so never skipped. */
export const textOf = (bytes) => strict.decode(bytes)
export const utf8 = (text) => encoder.encode(text)

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export function equal(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

export function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Lower case only. `length` is in bytes; without it any number of bytes will do. */
export function fromHex(text, length) {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw new Error('not lower-case hexadecimal')
  const bytes = Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16))
  if (length !== undefined && bytes.length !== length) throw new Error(`not ${length} bytes of hexadecimal`)
  return bytes
}

/** Hexadecimal behind `0x`, as Ethereum writes it. */
export function from0x(text, length) {
  if (!text.startsWith('0x')) throw new Error('hexadecimal without 0x')
  return fromHex(text.slice(2), length)
}

/** RFC 4648 section 4 with padding, and with zero bits in it: else one value had several spellings. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
  if (base64Of(bytes) !== text) throw new Error('not base64 in its one spelling')
  return bytes
}

export function base64Of(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}

/** `value` as an unsigned big-endian number of `length` bytes. */
export function bigEndian(value, length) {
  return fromHex(BigInt(value).toString(16).padStart(2 * length, '0'), length)
}

/** The number that these big-endian bytes write. */
export function numberOf(bytes) {
  return bytes.length === 0 ? 0n : BigInt(`0x${hexOf(bytes)}`)
}

/** The length of the UTF-8 bytes as u32, then the bytes: no two lists of texts give the same bytes. */
export function lengthPrefixed(text) {
  const bytes = utf8(text)
  return concat(bigEndian(bytes.length, 4), bytes)
}
