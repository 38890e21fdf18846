// What the grades and refusals of docs/receipt.md mean, for people who have not read it.

/** What a grade says, and what it does not. */
export const GRADES = {
  LOGGED: {
    tone: 'good',
    says: 'The record stands in the log that the custodian signed. Nobody else vouches for that log yet.',
  },
  'LOGGED, anchor not pinned': {
    tone: 'good',
    says: 'The record stands in the log that the custodian signed. The receipt names a block of a chain that holds the log’s root, and nothing here says that the block is that chain’s: ask a node below, or pin the block under “What I trust”.',
  },
  'ANCHORED-LOCAL': {
    tone: 'good',
    says: 'The record stands in the log that the custodian signed, and on the custodian’s own ledger.',
    stamp: 'No independent trust: the ledger is the custodian’s own',
  },
  WITNESSED: {
    tone: 'good',
    says: 'The record stands in the log that the custodian signed, and witnesses that you named say that this log only grew.',
  },
  'ANCHORED-CONSORTIUM': {
    tone: 'good',
    says: 'The record stands in the log, and a consortium’s chain holds the log’s root in a block that you pinned.',
  },
  'ANCHORED-PUBLIC': {
    tone: 'good',
    says: 'The record stands in the log, and a public chain holds the log’s root in a block that you pinned.',
  },
}

/** What a refusal means, and what to do. */
export const REFUSALS = {
  MALFORMED: ['The file cannot be read as what it should be, so nothing can be said about it.', 'Check that the right file is in the right place, and that it came complete.'],
  'OTHER-KIND': ['The receipt is for something else than a record, such as a consent or an access.', 'Ask the custodian for the receipt of the record itself.'],
  'TOMBSTONE-FILLED': ['The log says that this version is a deletion, and yet something was sealed in it.', 'Do not rely on it. Tell the custodian.'],
  DELETED: ['This version is a deletion: there is no resource in it, and yet one was given.', 'Verify the receipt without a resource, or ask for the receipt of an earlier version.'],
  ERASED: ['The content of this version was erased, so nothing can prove any more what it was.', 'Verify the receipt without a resource or message to see when it was erased.'],
  'NO-OPENING': ['This receipt was shared without the means to prove content. It proves that an entry is in the log, and no more.', 'Ask the custodian for a receipt with its opening.'],
  'OPENING-FORGED': ['The receipt names a record that its log entry does not stand for. Somebody changed the receipt.', 'Do not rely on it. Ask the custodian for the receipt anew.'],
  'RESOURCE-SWAPPED': ['The resource is another one, or another version, than the receipt is for.', 'Check that receipt and resource belong together.'],
  'RESOURCE-CHANGED': ['The resource was changed after it was sealed: it is the same by name, and not by content.', 'Do not rely on its content. Ask the custodian for the resource anew, and compare.'],
  'MESSAGE-CHANGED': ['The HL7 message is not the one that was received, or the record came from no message.', 'Take the message as it was sent, byte for byte: editors change line ends.'],
  'NOT-WITNESSED': ['Too few of the witnesses that you named have cosigned the log’s head.', 'Ask for a fresh receipt, or look at the witnesses under “What I trust”.'],
  'UNTRUSTED-LOG': ['The receipt comes from a log that is not among those you trust.', 'Check the log keys under “What I trust”. If they are right, do not rely on the receipt.'],
  'CHECKPOINT-FORGED': ['The head of the log was not signed by the log’s key, or was changed after it was signed.', 'Do not rely on it. Ask the custodian for the receipt anew.'],
  'PROOF-FORGED': ['The entry is not in the log at the place that the receipt says.', 'Do not rely on it. Tell the custodian.'],
  'ERASURE-FORGED': ['The receipt says that the content was erased, and the log does not bear that out.', 'Do not rely on it. Tell the custodian.'],
  'NOT-ANCHORED': ['You ask for an anchor on a chain, and this receipt has none yet.', 'Ask for the receipt again later, or take the contracts and blocks out of what you trust.'],
  'LOG-REWRITTEN': ['The chain holds another root for a log of this size than the receipt does. The log may have been rewritten.', 'Keep this receipt as evidence, and tell the custodian and whoever oversees them.'],
  'ANCHOR-FORGED': ['The proof from the chain does not lead where it says.', 'Do not rely on the anchor. Ask the custodian for the receipt anew.'],
  'UNTRUSTED-CHAIN': ['The anchor is on a chain, in a contract or in a block that is not among those you trust.', 'Check contracts and blocks under “What I trust”. If they are right, do not rely on the anchor.'],
}
