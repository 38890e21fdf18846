// The receipt as docs/receipt.md writes it, read strictly: each member known, of its one type, in its one spelling.

import { from0x, fromHex } from './bytes.js'
import { Lexeme, readJson } from './json.js'
import { decimal } from './note.js'

/** 1 MiB. The largest real receipt is a hundredth of it. */
export const MAX_BYTES = 1024 * 1024
/** A tree of 2^64 leaves is 64 levels high. */
const MAX_HASHES = 64

const OPENING = { salt: lower, canonical: lower, raw: optional(lower) }
const ANCHOR = {
  kind: oneOf('embedded', 'consortium', 'public'),
  chainId: number,
  contract: hex0x(20),
  size: number,
  header: hex0x(),
  accountProof: list(hex0x()),
  storageProof: list(hex0x()),
}
const ERASURE = {
  owner: text,
  time: text,
  reason: lower,
  salt: lower,
  size: number,
  root: lower,
  index: number,
  hashes: list(lower),
  entry: lower,
  proof: text,
}
const RECEIPT = {
  format: text,
  custodian: text,
  reference: text,
  versionId: text,
  entry: hex(35),
  proof: text,
  logKey: text,
  opening: optional(object(OPENING)),
  anchor: optional(object(ANCHOR)),
  erasure: optional(object(ERASURE)),
}

/**
 * Reads a receipt; throws where it is none. What is hexadecimal in `opening` and `erasure` stays text: it is read where
 * it is needed, so that a fault in it has that step's name.
 */
export function readReceipt(bytes) {
  if (bytes.length > MAX_BYTES) throw new Error('longer than 1 MiB')
  const receipt = object(RECEIPT)(readJson(bytes), 'the receipt')
  const format = receipt.erasure ? 'medseal-receipt/2' : 'medseal-receipt/1'
  if (receipt.format !== format) throw new Error(`not ${format}`)
  return receipt
}

/** The bytes of an opening. */
export function readOpening({ salt, canonical, raw }) {
  const digest = (spelled) => fromHex(spelled, 32)
  return { salt: digest(salt), canonical: digest(canonical), raw: raw === undefined ? undefined : digest(raw) }
}

/** The bytes of an erasure. */
export function readErasure(erasure) {
  if (erasure.hashes.length > MAX_HASHES) throw new Error('more than 64 hashes')
  const digest = (spelled) => fromHex(spelled, 32)
  const { reason, salt, root, hashes, entry } = erasure
  const read = { reason: digest(reason), salt: digest(salt), root: digest(root), hashes: hashes.map(digest) }
  return { ...erasure, ...read, entry: fromHex(entry, 35) }
}

// A shape is a function from a JSON value and its name to what it means; it throws where the value has another shape.

function object(members) {
  return (value, name) => {
    if (!(value instanceof Map)) throw new Error(`${name} is not an object`)
    for (const key of value.keys()) if (!Object.hasOwn(members, key)) throw new Error(`unknown member in ${name}`)
    return Object.fromEntries(Object.entries(members).map(([key, shape]) => [key, shape(value.get(key), key)]))
  }
}

function optional(shape) {
  return (value, name) => (value === undefined ? undefined : shape(value, name))
}

function list(shape) {
  return (value, name) => {
    if (!Array.isArray(value)) throw new Error(`${name} is not a list`)
    return value.map((item) => shape(item, name))
  }
}

function text(value, name) {
  if (typeof value !== 'string') throw new Error(`${name} is not a text`)
  return value
}

/** A text without capital letters, as hexadecimal is spelled here. */
function lower(value, name) {
  if (/[A-Z]/.test(text(value, name))) throw new Error(`${name} has capital letters`)
  return value
}

function number(value, name) {
  if (!(value instanceof Lexeme)) throw new Error(`${name} is not a number`)
  return decimal(value.text)
}

function oneOf(...words) {
  return (value, name) => {
    if (!words.includes(value)) throw new Error(`${name} is none of ${words.join(', ')}`)
    return value
  }
}

function hex(length) {
  return (value, name) => fromHex(text(value, name), length)
}

function hex0x(length) {
  return (value, name) => from0x(text(value, name), length)
}
