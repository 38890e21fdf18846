//! Blocks of QBFT and IBFT 2.0 (Besu, GoQuorum): their hash, and who sealed them. The validators' seals stand in the header's extra
//! data and are left out of what is hashed, since each node may hold other seals of one block. The rules are those of Besu's
//! `BftBlockHashing`, `QbftExtraDataCodec`, `IbftExtraDataCodec` and `BftCommitSealsValidationRule`.

use alloy_primitives::{Address, B256, Signature, b256, keccak256};
use alloy_rlp::{EMPTY_LIST_CODE, EMPTY_STRING_CODE, Header, PayloadView};
use std::collections::BTreeSet;

/// The mix hash of all these blocks: "tical byzantine fault tolerance".
const DIGEST: B256 = b256!("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365");
/// More than any network has validators. To find whose a seal is takes some 0.2 ms.
const MAX_SEALS: usize = 256;
/// IBFT 2.0 writes a round in so many bytes, QBFT in as few as will do. No QBFT block comes to the round 2^24: they double in time.
const ROUND_BYTES: usize = 4;

const NUMBER: usize = 8;
const EXTRA_DATA: usize = 12;
const MIX_HASH: usize = 13;

/// Why a block's seals do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    #[error("the block is none of QBFT or IBFT 2.0, and has no seals")]
    OtherConsensus,
    #[error("one of the block's seals is nobody's, or there are more than 256")]
    Unreadable,
    #[error("{0} has sealed the block, and is none of the validators that the policy pins")]
    Stranger(Address),
    #[error("{0} has sealed the block twice")]
    Twice(Address),
    #[error("{by} of the {of} validators that the policy pins have sealed the block, and {enough} must have")]
    TooFew { by: usize, of: usize, enough: usize },
}

/// Who sealed the block of an RLP header, in the header's order.
pub fn sealers(header: &[u8]) -> Result<Vec<Address>, SealFault> {
    let fields = list(header).ok_or(SealFault::OtherConsensus)?;
    let extra = Extra::read(&fields).ok_or(SealFault::OtherConsensus)?;
    if extra.seals.len() > MAX_SEALS {
        return Err(SealFault::Unreadable);
    }
    let signed = hash_with(&fields, &extra.signed());
    extra.seals.iter().map(|seal| sealer(seal, &signed).ok_or(SealFault::Unreadable)).collect()
}

/// How many of the validators sealed a block. Two thirds of them must have, none twice, and nobody else.
pub fn enough(sealers: &[Address], validators: &BTreeSet<Address>) -> Result<usize, SealFault> {
    let mut seen = BTreeSet::new();
    for &sealer in sealers {
        if !validators.contains(&sealer) {
            return Err(SealFault::Stranger(sealer));
        }
        if !seen.insert(sealer) {
            return Err(SealFault::Twice(sealer));
        }
    }
    // Where nobody is pinned, nobody's word is enough.
    let (by, of, enough) = (seen.len(), validators.len(), (2 * validators.len()).div_ceil(3).max(1));
    if by < enough { Err(SealFault::TooFew { by, of, enough }) } else { Ok(by) }
}

/// The hash of the block whose header has these fields; `header` is the same in one.
pub(crate) fn block_hash(header: &[u8], fields: &[&[u8]]) -> B256 {
    Extra::read(fields).map_or_else(|| keccak256(header), |extra| hash_with(fields, &extra.on_chain()))
}

/// The extra data of a block that has seals, its items still in RLP.
struct Extra<'h> {
    vanity: &'h [u8],
    validators: &'h [u8],
    vote: &'h [u8],
    round: &'h [u8],
    seals: Vec<&'h [u8]>,
    is_ibft2: bool,
}

impl<'h> Extra<'h> {
    /// None where the block is of another consensus, or the first: nobody sealed that.
    fn read(fields: &[&'h [u8]]) -> Option<Self> {
        let field = |n: usize| string(fields.get(n)?);
        if field(MIX_HASH)? != DIGEST || field(NUMBER)?.is_empty() {
            return None;
        }
        let [vanity, validators, vote, round, seals] = list(field(EXTRA_DATA)?)?.try_into().ok()?;
        let round_bytes = string(round)?.len();
        let extra = Self { vanity, validators, vote, round, seals: list(seals)?, is_ibft2: round_bytes == ROUND_BYTES };
        (round_bytes <= ROUND_BYTES).then_some(extra)
    }

    /// What the validators sign: without the seals.
    fn signed(&self) -> Vec<&'h [u8]> {
        let mut items = vec![self.vanity, self.validators, self.vote, self.round];
        items.extend((!self.is_ibft2).then_some(&[EMPTY_LIST_CODE] as &[u8]));
        items
    }

    /// What the block's hash covers: without the seals, and whatever the round was.
    fn on_chain(&self) -> Vec<&'h [u8]> {
        let mut items = vec![self.vanity, self.validators, self.vote];
        if !self.is_ibft2 {
            items.extend([&[EMPTY_STRING_CODE] as &[u8], &[EMPTY_LIST_CODE]]);
        }
        items
    }
}

/// The hash of a header with other extra data.
fn hash_with(fields: &[&[u8]], extra: &[&[u8]]) -> B256 {
    let extra = alloy_rlp::encode(list_of(extra).as_slice());
    let mut fields = fields.to_vec();
    fields[EXTRA_DATA] = &extra;
    keccak256(list_of(&fields))
}

/// Whose seal it is. Each has one spelling: else it could be changed and still hold.
fn sealer(seal: &[u8], signed: &B256) -> Option<Address> {
    let bytes: &[u8; 65] = string(seal)?.try_into().ok()?;
    let signature = Signature::from_raw_array(bytes).ok()?;
    let is_its_one_spelling = bytes[64] <= 1 && signature.normalize_s().is_none();
    signature.recover_address_from_prehash(signed).ok().filter(|_| is_its_one_spelling)
}

/// The items of the list that `rlp` is, each still in RLP.
pub(crate) fn list(rlp: &[u8]) -> Option<Vec<&[u8]>> {
    match whole(rlp)? {
        PayloadView::List(items) => Some(items),
        PayloadView::String(_) => None,
    }
}

fn string(rlp: &[u8]) -> Option<&[u8]> {
    match whole(rlp)? {
        PayloadView::String(bytes) => Some(bytes),
        PayloadView::List(_) => None,
    }
}

fn whole(rlp: &[u8]) -> Option<PayloadView<'_>> {
    let mut rest = rlp;
    let view = Header::decode_raw(&mut rest).ok()?;
    rest.is_empty().then_some(view)
}

fn list_of(items: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    Header { list: true, payload_length: items.iter().map(|item| item.len()).sum() }.encode(&mut out);
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::read_header;
    use alloy_primitives::Bytes;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        header: Bytes,
        hash: B256,
        sealers: Option<Vec<Address>>,
        pinned: Vec<Pinned>,
    }

    #[derive(Deserialize)]
    struct Pinned {
        validators: BTreeSet<Address>,
        /// How many of how many.
        sealed: Option<(usize, usize)>,
    }

    fn cases() -> Vec<Case> {
        serde_json::from_str::<Vectors>(include_str!("../vectors/seals.json")).unwrap().cases
    }

    #[test]
    fn blocks_hash_and_seals_hold_as_in_the_vectors() {
        for case in cases() {
            assert_eq!(read_header(&case.header).unwrap().hash, case.hash, "{}", case.name);
            let found = sealers(&case.header);
            assert_eq!(found.as_ref().ok(), case.sealers.as_ref(), "{}", case.name);
            for pinned in case.pinned {
                let answer = found.as_ref().ok().and_then(|by| enough(by, &pinned.validators).ok());
                assert_eq!(answer, pinned.sealed.map(|(by, _)| by), "{}", case.name);
                assert!(pinned.sealed.is_none_or(|(_, of)| of == pinned.validators.len()), "{}", case.name);
            }
        }
    }

    #[test]
    fn each_fault_has_its_words() {
        let fault = |name: &str| {
            let case = cases().into_iter().find(|case| case.name == name).unwrap();
            sealers(&case.header).and_then(|by| enough(&by, &case.pinned[0].validators)).unwrap_err()
        };
        assert_eq!(fault("four of seven"), SealFault::TooFew { by: 4, of: 7, enough: 5 });
        assert_eq!(fault("nobody"), SealFault::TooFew { by: 0, of: 7, enough: 5 });
        assert!(matches!(fault("a stranger among them"), SealFault::Stranger(_)));
        assert!(matches!(fault("one bit of a seal is another"), SealFault::Stranger(_)));
        assert!(matches!(fault("one of them twice"), SealFault::Twice(_)));
        assert_eq!(fault("a seal of 64 bytes"), SealFault::Unreadable);
        assert_eq!(fault("the first block"), SealFault::OtherConsensus);
        assert_eq!(fault("another mix hash"), SealFault::OtherConsensus);
    }

    #[test]
    fn too_many_seals_are_not_looked_at() {
        let case = cases().into_iter().find(|case| case.name == "five of seven").unwrap();
        let fields = list(&case.header).unwrap();
        let extra = list(string(fields[EXTRA_DATA]).unwrap()).unwrap();
        let seals = list_of(&vec![list(extra[4]).unwrap()[0]; MAX_SEALS + 1]);
        let extra = alloy_rlp::encode(list_of(&[extra[0], extra[1], extra[2], extra[3], &seals]).as_slice());
        let mut many = fields.clone();
        many[EXTRA_DATA] = &extra;
        assert_eq!(sealers(&list_of(&many)), Err(SealFault::Unreadable));
        assert_eq!(read_header(&list_of(&many)).unwrap().hash, case.hash, "seals are in no hash");
    }
}
