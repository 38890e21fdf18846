// How far a receipt's proof reaches, and what that rests on (docs/receipt.md, "Verdicts" and "The policy").

import { equal, hexOf } from './bytes.js'
import { demand } from './refusal.js'

/**
 * The grade of an anchor that holds (or of none), under what the verifier trusts, with the sentences that say what it
 * rests on. Refuses an anchor that the policy does not count, and the lack of one that it asks for.
 */
export function gradeOf(anchor, trust) {
  const asked = trust.contracts.length > 0 || trust.blocks.length > 0
  demand(anchor || !asked, 'NOT-ANCHORED', 'the policy asks for an anchor, and the receipt has none')
  if (!anchor) return { verdict: 'LOGGED', restsOn: ["the operator's signature alone: not anchored yet"] }

  const contract = trust.contracts.find((candidate) => isListed(candidate, anchor))
  const pinned = trust.blocks.some((block) => equal(block, anchor.block.hash))
  const counts = (contract || trust.contracts.length === 0) && (pinned || trust.blocks.length === 0)
  demand(counts, 'UNTRUSTED-CHAIN', "the policy does not name the anchor's chain and contract, its code or its block")
  const verdict = nameOf(contract?.kind ?? anchor.kind, contract !== undefined && pinned)
  return { verdict, restsOn: [blockSentence(anchor, pinned), ...localSentence(verdict)] }
}

function isListed(candidate, anchor) {
  const code = !candidate.codeHash || equal(candidate.codeHash, anchor.codeHash)
  return candidate.chainId === anchor.chainId && equal(candidate.address, anchor.contract) && code
}

/** Nothing in a bundle proves that its block belongs to a chain: only a listed contract in a pinned block lifts the grade. */
function nameOf(kind, known) {
  if (kind === 'embedded') return 'ANCHORED-LOCAL'
  return known ? `ANCHORED-${kind.toUpperCase()}` : 'LOGGED'
}

function blockSentence({ block, chainId, contract }, pinned) {
  const known = pinned ? ', a block that the policy pins' : "; whether that block is the chain's is not checked offline"
  return `block ${block.number} (0x${hexOf(block.hash)}) of chain ${chainId}, contract 0x${hexOf(contract)}${known}`
}

function localSentence(verdict) {
  return verdict === 'ANCHORED-LOCAL' ? ["ANCHORED-LOCAL: the ledger is the operator's own, no independent trust"] : []
}
