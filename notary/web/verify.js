// Verifies a receipt, offline: the JavaScript twin of `notary/src/verify.rs`, after docs/receipt.md.
//
// Everything is checked, or the receipt is refused by the name of the first thing that does not hold. There is no
// "valid": a verdict is a grade and what it rests on. The order of the steps is the format's, so that two verifiers
// give one receipt one name.

import { checkAnchor } from './anchor.js'
import { equal, hexOf, utf8 } from './bytes.js'
import { readDocument, write } from './canonical.js'
import { ACCESS, EMERGENCY, RESOURCE, TOMBSTONE, opens, readEntry } from './commitment.js'
import { checkErasure } from './erasure.js'
import { gradeOf } from './grade.js'
import { sha256 } from './hash.js'
import { checkLog, forged } from './log.js'
import { cosignedBy, readLogKey, readProof } from './note.js'
import { readPolicy } from './policy.js'
import { readOpening, readReceipt } from './receipt.js'
import { Refusal, demand, named } from './refusal.js'

/** The grades that witnesses lift. */
const BELOW_WITNESSED = ['LOGGED', 'ANCHORED-LOCAL']

/**
 * Verifies `receipt`, and that it speaks for `resource` and `raw` where they are given; all three are bytes. `policy`
 * is an object of docs/receipt.md, "The policy". Answers with a verdict, or throws a `Refusal`.
 */
export async function verify({ receipt: bytes, resource, raw, policy }) {
  const trust = readPolicy(policy)
  const receipt = named('MALFORMED', () => readReceipt(bytes))
  const entry = named('MALFORMED', () => readEntry(receipt.entry))
  await checkKind(receipt, entry, resource)
  await checkContent(receipt, entry, resource, raw)
  const proof = named('MALFORMED', () => readProof(receipt.proof))
  const key = await trustedKey(receipt, trust)
  const log = await checkLog(receipt.entry, proof, key)
  const erasure = receipt.erasure && (await checkErasure(receipt, key))
  const witnesses = await checkWitnesses(proof.note, trust)
  const anchor = receipt.anchor && checkAnchor(receipt.anchor, log)
  const { verdict, restsOn } = gradeOf(anchor, trust)
  return {
    verdict: witnesses.length > 0 && BELOW_WITNESSED.includes(verdict) ? 'WITNESSED' : verdict,
    deletion: entry.kind === TOMBSTONE,
    erased: erasure?.time ?? null,
    checked: whatWasChecked({ resource, raw, anchor }),
    log,
    anchor,
    receipt,
    restsOn: [...sentences(receipt, entry, trust, log, erasure), ...witnesses.map(witnessSentence), ...restsOn],
  }
}

/** The policy's witnesses that cosigned the checkpoint; refused if they are too few. */
async function checkWitnesses(note, { witnesses, witnessesNeeded }) {
  if (witnesses.length === 0) return []
  const signed = (await Promise.all(witnesses.map((key) => cosignedBy(note, key)))).filter(Boolean)
  const why = `${signed.length} of the ${witnessesNeeded} witnesses that the policy asks for have cosigned the checkpoint`
  demand(signed.length >= witnessesNeeded, 'NOT-WITNESSED', why)
  return signed
}

function witnessSentence({ name, time }) {
  return `the witness ${name}, which cosigned the checkpoint on ${dateOf(time)} as the newest of a log that only grew`
}

/** RFC 3339, UTC, from seconds since 1970; a time that no calendar has, as the number that it is. */
function dateOf(seconds) {
  const time = new Date(Number(seconds) * 1000)
  return Number.isNaN(time.getTime()) ? `second ${seconds} of 1970` : time.toISOString().replace('.000Z', 'Z')
}

/** `verify`, with a refusal as a value instead of an exception. */
export async function judge(input) {
  try {
    return await verify(input)
  } catch (error) {
    if (error instanceof Refusal) return { verdict: 'REFUSED', name: error.name, why: error.message }
    throw error
  }
}

async function checkKind(receipt, { kind }, resource) {
  const fits = kind === RESOURCE || kind === TOMBSTONE || isAccess(receipt, kind)
  demand(fits, 'OTHER-KIND', 'the log entry speaks neither of a resource nor of a deletion')
  if (kind !== TOMBSTONE) return
  const empty = !receipt.opening || receipt.opening.canonical === hexOf(await sha256(new Uint8Array()))
  demand(empty, 'TOMBSTONE-FILLED', 'the log entry says that it is a deletion, and it was sealed over some content')
  demand(!resource, 'DELETED', 'the receipt is of a deletion, and a deletion has no resource')
}

/** Only AuditEvents have entries of these kinds. */
function isAccess({ reference }, kind) {
  return (kind === ACCESS || kind === EMERGENCY) && reference.startsWith('AuditEvent/')
}

async function checkContent(receipt, entry, resource, raw) {
  const asked = resource !== undefined || raw !== undefined
  const mute = receipt.erasure && (receipt.opening || asked)
  demand(!mute, 'ERASED', 'the receipt is of a version whose content was erased, so it cannot speak for a resource or message')
  demand(receipt.opening || !asked, 'NO-OPENING', 'the receipt has no opening, so it cannot speak for a resource')
  if (!receipt.opening) return
  const opening = named('MALFORMED', () => readOpening(receipt.opening))
  const opened = await opens(receipt, opening, entry.commitment)
  demand(opened, 'OPENING-FORGED', "the opening does not open the log entry's commitment")
  if (resource) await checkResource(receipt, opening, resource)
  if (raw) await checkMessage(opening, raw)
}

/** The name first: a swapped resource is told apart from a changed one. */
async function checkResource(receipt, opening, bytes) {
  const resource = named('MALFORMED', () => readDocument(bytes))
  const found = nameOf(resource)
  const expected = `${receipt.reference} version ${receipt.versionId}`
  demand(found === expected, 'RESOURCE-SWAPPED', `the resource is ${found.slice(0, 200)}, the receipt is of ${expected}`)
  const same = equal(await sha256(utf8(write(resource))), opening.canonical)
  demand(same, 'RESOURCE-CHANGED', 'the resource is not the one that was sealed')
}

function nameOf(resource) {
  const text = (value, member) => {
    const found = value instanceof Map ? value.get(member) : undefined
    return typeof found === 'string' ? found : '?'
  }
  const meta = resource instanceof Map ? resource.get('meta') : undefined
  return `${text(resource, 'resourceType')}/${text(resource, 'id')} version ${text(meta, 'versionId')}`
}

async function checkMessage(opening, raw) {
  const same = opening.raw && equal(await sha256(raw), opening.raw)
  demand(same, 'MESSAGE-CHANGED', 'the raw message is not the one that was received, or there was none')
}

async function trustedKey({ logKey }, { logKeys }) {
  const key = await forged(() => readLogKey(logKey))
  const trusted = logKeys.length === 0 || logKeys.includes(logKey)
  demand(trusted, 'UNTRUSTED-LOG', `the policy does not name the log key ${logKey}`)
  return key
}

function whatWasChecked({ resource, raw, anchor }) {
  const parts = [[resource, 'resource'], [raw, 'raw message'], [true, 'log entry'], [true, 'checkpoint signature'], [anchor, 'anchor']]
  return parts.filter(([there]) => there).map(([, name]) => name)
}

/** What the verdict rests on, in sentences for people. */
function sentences(receipt, entry, trust, log, erasure) {
  const { logKey } = receipt
  return [
    entry.kind === TOMBSTONE && 'a deletion: from this version on the custodian says that the resource is no more',
    isAccess(receipt, entry.kind) && "a record of an access, which the custodian's own service wrote",
    !receipt.opening && "no opening: custodian, resource name and version are the receipt's own words, unproved",
    trust.logKeys.length > 0
      ? `the log key ${logKey}, which the policy pins`
      : `the log key that the receipt itself names (${logKey}); no policy pins it`,
    `entry ${log.index} of ${log.size} in the log ${log.origin}`,
    erasure && erasureSentence(erasure),
  ].filter(Boolean)
}

function erasureSentence({ time, log, size, owner }) {
  return `erased on ${time}: a tombstone in the log, under ${log.origin} of ${log.size} entries, names this entry among ${size} of ${owner} whose key was destroyed`
}
