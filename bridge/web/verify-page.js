// The page /verify: takes files, asks the verifier, shows the verdict. Nothing is sent anywhere, but the questions to a
// node that the reader names.

import { askChain, offerChain } from './chain-view.js'
import { byId } from './dom.js'
import { inputs, watchInputs } from './inputs.js'
import { PolicyFault } from './notary/policy.js'
import { judge } from './notary/verify.js'
import { showFault, showRefusal, showVerdict } from './verdict-view.js'

const form = byId('form')
const box = byId('verdict')
/** Counts the questions, so that an answer that was overtaken is not shown. */
let asked = 0

watchInputs(form, () => run(false))
form.addEventListener('submit', (event) => {
  event.preventDefault()
  run(true)
})
for (const id of ['keys', 'policy']) byId(id).addEventListener('change', () => run(false))
byId('chain-form').addEventListener('submit', (event) => {
  event.preventDefault()
  askChain()
})

async function run(move) {
  const question = (asked += 1)
  offerChain(null)
  const given = inputs()
  if (!given.receipt) return nothingYet(move)
  const { answer, fault } = await answerTo(given)
  if (question !== asked) return
  if (fault) showFault(box, fault)
  else if (answer.verdict === 'REFUSED') showRefusal(box, answer, given)
  else showVerdict(box, answer, given)
  if (answer && answer.verdict !== 'REFUSED') offerChain(answer, policy())
  if (move) box.scrollIntoView({ block: 'nearest' })
}

function nothingYet(told) {
  box.hidden = !told
  if (told) showFault(box, 'There is no receipt yet. Drop one above, choose a file, or paste it.')
}

async function answerTo(given) {
  try {
    return { answer: await judge({ ...given, policy: policy() }) }
  } catch (error) {
    return { fault: faultOf(error) }
  }
}

/** What is left when it is no refusal: the policy, or a browser that lacks Ed25519. */
function faultOf(error) {
  if (error instanceof PolicyFault) return `What I trust cannot be read: ${error.message}.`
  return `Nothing was verified: ${error.message}. A current browser is needed, over HTTPS or on localhost.`
}

/** What the reader trusts, from the two fields. */
function policy() {
  const keys = byId('keys').value.split('\n').map((line) => line.trim()).filter(Boolean)
  const written = byId('policy').value.trim()
  const members = written === '' ? {} : parsePolicy(written)
  return keys.length === 0 ? members : { ...members, log_keys: [...(members.log_keys ?? []), ...keys] }
}

function parsePolicy(text) {
  try {
    return JSON.parse(text)
  } catch {
    throw new PolicyFault('it is not JSON')
  }
}
