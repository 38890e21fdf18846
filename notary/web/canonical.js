// medseal-canon/1: the one byte form of a JSON document (docs/receipt.md, section 1).

import { utf8 } from './bytes.js'
import { Lexeme, readJson } from './json.js'

/** 64 MiB. No FHIR resource comes near; what is larger is no resource. */
export const MAX_BYTES = 64 * 1024 * 1024

/** The canonical bytes of the JSON document in `bytes`; throws where there is none. */
export const canonical = (bytes) => utf8(write(readDocument(bytes)))

/** The value in `bytes`, a document of bounded length. */
export function readDocument(bytes) {
  if (bytes.length > MAX_BYTES) throw new Error('longer than 64 MiB')
  return readJson(bytes)
}

/** The canonical text of a value that `readJson` read. */
export function write(value) {
  if (value instanceof Lexeme) return value.text
  if (typeof value === 'string') return quoted(value)
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`
  if (value instanceof Map) return `{${sorted(value).map(([key, item]) => `${quoted(key)}:${write(item)}`).join(',')}}`
  return String(value)
}

/** JavaScript compares strings by their UTF-16 code units, which is the order that JCS asks for. */
function sorted(members) {
  return [...members].sort(([a], [b]) => (a < b ? -1 : 1))
}

// JSON.stringify escapes strings as JCS does; RFC 8785 section 3.2.2.2 was taken from it.
const quoted = (text) => JSON.stringify(text)
