// The part "Against the chain": asks the node that the reader names, and shows what it proved.

import { banner, byId, dateOf, element, facts, show } from './dom.js'
import { from0x, hexOf } from './notary/bytes.js'
import { NodeFault, checkChain } from './notary/chain.js'
import { isVouchedFor } from './notary/grade.js'
import { REFUSALS } from './words.js'

const box = byId('chain-verdict')
let verified = null

/** Offers the part for a receipt that holds under a policy; null takes the offer back. */
export function offerChain(answer, policy) {
  verified = answer && { ...answer, policy }
  box.hidden = true
  byId('chain').hidden = answer === null
  if (answer === null) return
  const { anchor } = answer
  if (anchor) byId('contract').value = `0x${hexOf(anchor.contract)}`
  note(noteOn(anchor))
}

function note(text) {
  byId('chain-note').hidden = text === null
  byId('chain-note').textContent = text ?? ''
}

function noteOn(anchor) {
  if (!anchor) return 'This receipt is not anchored yet. You may still ask whether a contract holds the root.'
  if (anchor.kind !== 'embedded') return null
  return 'This anchor is on the custodian’s own embedded ledger. No independent node knows that ledger.'
}

export async function askChain() {
  const { log, anchor, policy } = verified
  const asked = verified
  const button = byId('chain-form').querySelector('button')
  button.disabled = true
  show(box, 'warn', banner('warn', 'Asking the node …', null, []))
  const contract = from0x(byId('contract').value.toLowerCase(), 20)
  const question = { url: byId('node').value, contract, size: log.size, root: log.root, ...saidBy(anchor) }
  const outcome = await checkChain(question).then((proved) => () => showProved(proved, question, isVouchedFor(policy, { ...proved, contract })), (error) => () => showRefused(error))
  button.disabled = false
  if (asked === verified) outcome()
}

/** What the receipt says of the chain; of another contract than the receipt's it says nothing. */
function saidBy(anchor) {
  const own = anchor && byId('contract').value.toLowerCase() === `0x${hexOf(anchor.contract)}`
  return own ? { chainId: anchor.chainId, codeHash: anchor.codeHash, receiptBlock: anchor.block } : {}
}

function showProved({ chainId, block, codeHash, head, receiptBlock }, { url, size, contract }, vouched) {
  const says = `The contract holds this log’s root at size ${size}, proved under block ${block.number}.`
  const rests = [
    `the word of ${new URL(url).host} that block 0x${hexOf(block.hash)} belongs to chain ${chainId}`,
    block.final ? 'the node calls that block final' : 'no block that the node calls final holds the root yet: its newest one was taken, which a reorganisation may replace',
    block.bound
      ? 'from the block’s hash down to the root everything was proved in this browser'
      : 'the block’s hash does not cover what the node tells of it, in any form that is known here: its state root is the node’s word too',
    receiptBlock && blockSentence(receiptBlock),
    vouched
      ? 'your policy lists this contract'
      : `nobody vouches for the contract 0x${hexOf(contract)}: anybody may put one onto a chain that holds any root. List the custodian’s under “What I trust”`,
  ]
  const body = element('div', { class: 'body' }, element('h3', { text: 'What this rests on' }),
    element('ul', { class: 'rests' }, rests.filter(Boolean).map((text) => element('li', { text }))),
    element('h3', { text: 'In full' }),
    facts([
      ['Chain', chainId],
      ['Block', `${block.number}, 0x${hexOf(block.hash)}`],
      ['Time of the block', dateOf(block.time)],
      ['Code of the contract', `0x${hexOf(codeHash)}`],
      ['Newest anchor', `${head.size} entries, root ${hexOf(head.root)}`],
    ]))
  const doubt = doubtOf(receiptBlock, vouched)
  const tone = doubt ? 'warn' : 'good'
  show(box, tone, banner(tone, doubt ? `The chain agrees, but ${doubt}` : 'The chain agrees', null, [says]), body)
}

function doubtOf(receiptBlock, vouched) {
  if (receiptBlock && !receiptBlock.known) return 'does not know the receipt’s block'
  return vouched ? null : 'nobody vouches for this contract'
}

function blockSentence({ number, known }) {
  if (known) return `the receipt’s own block ${number} is in the node’s chain`
  return `the receipt’s own block ${number} is NOT in the node’s chain, or the node no longer knows it: ask for a newer receipt`
}

function showRefused(error) {
  if (error.name in REFUSALS) {
    const [meaning, advice] = REFUSALS[error.name]
    const detail = element('div', { class: 'body' }, element('h3', { text: 'What to do' }), element('p', { text: advice }), facts([['What was found', error.message]]))
    return show(box, 'bad', banner('bad', 'The chain does not agree', error.name, [meaning]), detail)
  }
  const hint = error instanceof NodeFault ? 'Check the address. The node must also allow web pages to ask it (CORS).' : ''
  show(box, 'warn', banner('warn', 'The node gave no answer that can be checked', null, [`${error.message}.`, hint, 'Nothing is proved or refused by that.']))
}
