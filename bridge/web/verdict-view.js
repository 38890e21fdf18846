// Shows a verdict: green with what was checked and what that rests on, or red and why.

import { banner, dateOf, element, facts, icon, show } from './dom.js'
import { hexOf } from './notary/bytes.js'
import { GRADES, REFUSALS } from './words.js'

export function showVerdict(box, answer, given) {
  const { tone, says, stamp } = GRADES[answer.verdict === 'LOGGED' && answer.anchor ? 'LOGGED, anchor not pinned' : answer.verdict]
  const content = given.resource ? 'The resource is the one that was sealed, unchanged.' : null
  const body = element('div', { class: 'body' }, checksOf(answer, given), restsOf(answer), factsOf(answer))
  show(box, tone, banner(tone, wordOf(answer), answer.verdict, [content, stateOf(answer), says], stamp), body)
}

function wordOf({ deletion, erased }) {
  if (erased) return 'Holds: erased'
  return deletion ? 'Holds: a deletion' : 'Holds'
}

function stateOf({ deletion, erased }) {
  if (erased) return `The content was erased on ${erased}; the log says so.`
  return deletion ? 'From this version on, the custodian says, the resource is no more.' : null
}

export function showRefusal(box, { name, why }, given) {
  const [meaning, advice] = REFUSALS[name] ?? ['The receipt does not hold.', 'Do not rely on it.']
  const detail = element('div', { class: 'body' }, element('h3', { text: 'What to do' }), element('p', { text: advice }), facts([
    ['What was found', why],
    ['Given', Object.keys(given).map((part) => ({ receipt: 'receipt', resource: 'resource', raw: 'HL7 message' })[part]).join(', ')],
  ]))
  show(box, 'bad', banner('bad', 'Refused', name, [meaning]), detail)
}

export function showFault(box, text) {
  show(box, 'warn', banner('warn', 'Not verified', null, [text]))
}

/** What was checked and, as honestly, what was not. */
function checksOf({ receipt, log, anchor, erased }, given) {
  const { reference, versionId, opening } = receipt
  const rows = [
    [opening, `The log entry stands for ${reference}, version ${versionId}`, 'What the entry stands for: the receipt has no opening'],
    [given.resource, 'The resource is the one that was sealed', 'Resource: not given'],
    [given.raw, 'The HL7 message is the one that was received', 'HL7 message: not given'],
    [true, `Entry ${log.index} of ${log.size} is in the log`],
    [true, `The head of the log is signed by ${log.origin}`],
    erased && [true, 'The log says that the content was erased'],
    [anchor, anchor && `Contract storage in block ${anchor.block.number} holds the log’s root`, 'Anchor on a chain: none yet'],
  ]
  const row = ([done, yes, no]) => element('li', { class: done ? 'yes' : 'no' }, icon(done ? 'yes' : 'no'), element('span', { text: done ? yes : no }))
  return [element('h3', { text: 'Checked in this browser' }), element('ul', { class: 'checks' }, rows.filter(Boolean).map(row))]
}

function restsOf({ restsOn }) {
  const lines = restsOn.map((text) => element('li', { text }))
  return [element('h3', { text: 'What this rests on' }), element('ul', { class: 'rests' }, lines)]
}

function factsOf({ receipt, log, anchor }) {
  return [element('h3', { text: 'In full' }), facts([
    ['Record', `${receipt.reference}, version ${receipt.versionId}`],
    ['Custodian', receipt.custodian],
    ['Log', log.origin],
    ['Root of the log', hexOf(log.root)],
    ['Block', anchor && `${anchor.block.number}, 0x${hexOf(anchor.block.hash)}`],
    ['Time of the block', anchor && dateOf(anchor.block.time)],
    ['Chain and contract', anchor && `${anchor.chainId}, 0x${hexOf(anchor.contract)}`],
    ['Code of the contract', anchor && `0x${hexOf(anchor.codeHash)}`],
  ])]
}
