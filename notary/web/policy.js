// What the verifier trusts: the members of docs/receipt.md, "The policy", as JSON.

import { from0x } from './bytes.js'

const MEMBERS = ['log_keys', 'witnesses', 'witnesses_needed', 'blocks', 'validators', 'contracts']
const VALIDATORS_MEMBERS = ['chain_id', 'addresses']
const CONTRACT_MEMBERS = ['chain_id', 'address', 'kind', 'code_hash']
const KINDS = ['embedded', 'consortium', 'public']

/** A policy that cannot be read: it would trust the wrong. It is no fault of the receipt's. */
export class PolicyFault extends Error {}

/** Reads a policy; throws a `PolicyFault` where a member is unknown or cannot be read. */
export function readPolicy(policy = {}) {
  try {
    return read(policy)
  } catch (error) {
    throw new PolicyFault(error.message)
  }
}

function read(policy) {
  onlyKnown(policy, MEMBERS)
  return {
    logKeys: listOf(policy.log_keys, text),
    witnesses: [...new Set(listOf(policy.witnesses, text))],
    witnessesNeeded: count(policy.witnesses_needed),
    blocks: listOf(policy.blocks, (block) => from0x(block.toLowerCase(), 32)),
    validators: listOf(policy.validators, readValidators),
    contracts: listOf(policy.contracts, readContract),
  }
}

function readValidators(set) {
  onlyKnown(set, VALIDATORS_MEMBERS)
  if (set.addresses === undefined) throw new Error('a set of validators without addresses')
  return { chainId: chainIdOf(set), addresses: listOf(set.addresses, addressOf) }
}

function readContract(contract) {
  onlyKnown(contract, CONTRACT_MEMBERS)
  const { address, kind, code_hash: codeHash } = contract
  if (!KINDS.includes(kind)) throw new Error(`kind is none of ${KINDS.join(', ')}`)
  return {
    chainId: chainIdOf(contract),
    address: addressOf(address),
    kind,
    codeHash: codeHash === undefined ? undefined : from0x(codeHash.toLowerCase(), 32),
  }
}

function chainIdOf({ chain_id: chainId }) {
  if (!Number.isSafeInteger(chainId) || chainId < 0) throw new Error('chain_id is not a number')
  return BigInt(chainId)
}

const addressOf = (spelled) => from0x(spelled.toLowerCase(), 20)

function count(value = 1) {
  if (!Number.isSafeInteger(value) || value < 0) throw new Error('witnesses_needed is not a number')
  return Math.max(value, 1)
}

function text(value) {
  if (typeof value !== 'string') throw new Error('a key is not a text')
  return value
}

function onlyKnown(object, members) {
  if (typeof object !== 'object' || object === null || Array.isArray(object)) throw new Error('not an object')
  for (const key of Object.keys(object)) if (!members.includes(key)) throw new Error(`unknown member ${key} in the policy`)
}

function listOf(list = [], read) {
  if (!Array.isArray(list)) throw new Error('not a list')
  return list.map(read)
}
