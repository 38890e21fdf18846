// Reads JSON without changing it: a number stays the characters that it came in. JSON.parse would make 1.0 of 1.00.
//
// What comes out: null, true, false, a string, a `Lexeme`, an Array, or a Map from key to value.

import { textOf } from './bytes.js'

/** Deeper nesting serves nobody and would let a small file exhaust the stack. */
const MAX_DEPTH = 100

/** Each value takes some dozen bytes of memory, however short it stands in the text. */
const MAX_VALUES = 2_000_000

/** A number, in its own characters. */
export class Lexeme {
  constructor(text) {
    this.text = text
  }
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const SPACE = /[ \t\n\r]*/y
// Up to the next quote, backslash or control character.
const PLAIN = /[^"\\\u0000-\u001f]*/y
const ESCAPE = /\\(?:(["\\/bfnrt])|u([0-9a-fA-F]{4}))/y
const ESCAPED = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }
const LITERALS = { n: ['null', null], t: ['true', true], f: ['false', false] }

/** Reads the one value that these UTF-8 bytes hold; throws where they hold none, or more. */
export function readJson(bytes) {
  const reader = new Reader(textOf(bytes))
  const value = reader.value(0)
  reader.skip(SPACE)
  if (!reader.ended()) throw new Error('something follows the value')
  return value
}

class Reader {
  constructor(text) {
    this.text = text
    this.at = 0
    this.values = 0
  }

  ended() {
    return this.at === this.text.length
  }

  /** Takes what `pattern` matches right here, and tells the match. */
  skip(pattern) {
    pattern.lastIndex = this.at
    const match = pattern.exec(this.text)
    if (!match) throw new Error('not JSON')
    this.at = pattern.lastIndex
    return match
  }

  take(char) {
    if (this.text[this.at] !== char) return false
    this.at += 1
    return true
  }

  expect(char) {
    if (!this.take(char)) throw new Error('not JSON')
  }

  value(depth) {
    this.values += 1
    if (this.values > MAX_VALUES) throw new Error('more than 2,000,000 values')
    this.skip(SPACE)
    const first = this.text[this.at]
    if (first === '{') return this.object(depth + 1)
    if (first === '[') return this.array(depth + 1)
    if (first === '"') return this.string()
    if (Object.hasOwn(LITERALS, first)) return this.literal(...LITERALS[first])
    return new Lexeme(this.skip(NUMBER)[0])
  }

  literal(word, value) {
    if (!this.text.startsWith(word, this.at)) throw new Error('not JSON')
    this.at += word.length
    return value
  }

  array(depth) {
    const list = []
    this.each(depth, '[', ']', () => list.push(this.value(depth)))
    return list
  }

  object(depth) {
    const members = new Map()
    this.each(depth, '{', '}', () => this.member(members, depth))
    return members
  }

  member(members, depth) {
    this.skip(SPACE)
    const key = this.string()
    if (members.has(key)) throw new Error('a key stands twice in one object')
    this.skip(SPACE)
    this.expect(':')
    members.set(key, this.value(depth))
  }

  /** The items between two brackets, with commas between them and nowhere else. */
  each(depth, open, close, item) {
    if (depth > MAX_DEPTH) throw new Error('too deep')
    this.expect(open)
    this.skip(SPACE)
    if (this.take(close)) return
    do {
      item()
      this.skip(SPACE)
    } while (this.take(','))
    this.expect(close)
  }

  string() {
    this.expect('"')
    const parts = []
    for (;;) {
      parts.push(this.skip(PLAIN)[0])
      if (this.take('"')) return whole(parts.join(''))
      const [, short, unit] = this.skip(ESCAPE)
      parts.push(short ? ESCAPED[short] : String.fromCharCode(parseInt(unit, 16)))
    }
  }
}

/** UTF-8 cannot write half a surrogate pair, so that only an escape can have brought it. */
function whole(text) {
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
    throw new Error('half a surrogate pair')
  }
  return text
}
