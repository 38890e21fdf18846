// How far a receipt's proof reaches, and what that rests on (docs/receipt.md, "Verdicts" and "The policy").

import { equal, hexOf } from './bytes.js'
import { Refusal, demand } from './refusal.js'
import { readPolicy } from './policy.js'
import { enough, sealersOf } from './seals.js'

/**
 * Whether a policy lists a contract that a node was asked for. Where it does not, that the contract holds a root says
 * little: anybody may put a contract onto a chain.
 */
export function isVouchedFor(policy, { chainId, contract, codeHash }) {
  return readPolicy(policy).contracts.some((candidate) => isListed(candidate, { chainId, contract, codeHash }))
}

/**
 * The grade of an anchor that holds (or of none), under what the verifier trusts, with the sentences that say what it
 * rests on. Refuses an anchor that the policy does not count, and the lack of one that it asks for.
 */
export function gradeOf(anchor, trust) {
  const asked = trust.contracts.length > 0 || asksForAKnownBlock(trust)
  demand(anchor || !asked, 'NOT-ANCHORED', 'the policy asks for an anchor, and the receipt has none')
  if (!anchor) return { verdict: 'LOGGED', restsOn: ["the operator's signature alone: not anchored yet"] }

  const contract = trust.contracts.find((candidate) => isListed(candidate, anchor))
  demand(contract || trust.contracts.length === 0, 'UNTRUSTED-CHAIN', "the policy does not name the anchor's chain and contract, or its code")
  const known = { sealed: sealed(anchor, trust), pinned: trust.blocks.some((block) => equal(block, anchor.block.hash)) }
  const isKnown = known.pinned || known.sealed !== undefined
  demand(isKnown || !asksForAKnownBlock(trust), 'UNTRUSTED-CHAIN', "the policy does not know the anchor's block")
  const verdict = nameOf(contract?.kind ?? anchor.kind, contract !== undefined && isKnown)
  return { verdict, restsOn: [blockSentence(anchor, known), ...localSentence(verdict)] }
}

const asksForAKnownBlock = ({ blocks, validators }) => blocks.length > 0 || validators.length > 0

/** How many of the validators that the policy pins for the anchor's chain sealed its block; nothing where it pins none. */
function sealed({ header, chainId }, { validators }) {
  const sets = validators.filter((set) => set.chainId === chainId)
  let fault
  for (const { addresses } of sets) {
    try {
      return enough(sealersOf(header), addresses)
    } catch (error) {
      fault = error
    }
  }
  if (fault) throw new Refusal('NOT-SEALED', fault.message)
  return undefined
}

function isListed(candidate, anchor) {
  const code = !candidate.codeHash || equal(candidate.codeHash, anchor.codeHash)
  return candidate.chainId === anchor.chainId && equal(candidate.address, anchor.contract) && code
}

/** Nothing in a bundle proves that its block belongs to a chain: only a listed contract in a known block lifts the grade. */
function nameOf(kind, known) {
  if (kind === 'embedded') return 'ANCHORED-LOCAL'
  return known ? `ANCHORED-${kind.toUpperCase()}` : 'LOGGED'
}

function blockSentence({ block, chainId, contract }, { pinned, sealed }) {
  const why = [
    pinned && ', a block that the policy pins',
    sealed && `, sealed by ${sealed.by} of the ${sealed.of} validators that the policy pins`,
  ]
  const known = why.filter(Boolean).join('') || "; whether that block is the chain's is not checked offline"
  return `block ${block.number} (0x${hexOf(block.hash)}) of chain ${chainId}, contract 0x${hexOf(contract)}${known}`
}

function localSentence(verdict) {
  return verdict === 'ANCHORED-LOCAL' ? ["ANCHORED-LOCAL: the ledger is the operator's own, no independent trust"] : []
}
