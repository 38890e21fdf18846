//! Blocks as the validators of a QBFT chain seal them: made with alloy, so that our own reading has something to be held against.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, b256};
use alloy_rlp::{Decodable, Encodable};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;

/// The mix hash of the blocks of IBFT and QBFT.
pub const DIGEST: B256 = b256!("63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365");

/// The validators of a chain, always the same ones.
pub struct Validators(Vec<PrivateKeySigner>);

impl Validators {
    pub fn new(count: u8) -> Self {
        Self((1..=count).map(|n| PrivateKeySigner::from_bytes(&B256::repeat_byte(n)).unwrap()).collect())
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.0.iter().map(PrivateKeySigner::address).collect()
    }

    /// The block of this header, sealed by the first `by` of them in the second round, and its hash.
    pub fn seal(&self, header: &Header, by: usize) -> (Header, B256) {
        let with = |round: u64, seals: &[Bytes]| Header {
            extra_data: self.extra(round, seals),
            mix_hash: DIGEST,
            ..header.clone()
        };
        let signed = with(1, &[]).hash_slow();
        let seal = |key: &PrivateKeySigner| {
            let signature = key.sign_hash_sync(&signed).unwrap();
            let mut bytes = signature.as_bytes();
            bytes[64] -= 27;
            Bytes::copy_from_slice(&bytes)
        };
        let seals: Vec<_> = self.0.iter().take(by).map(seal).collect();
        (with(1, &seals), with(0, &[]).hash_slow())
    }

    /// The same for a header in RLP.
    pub fn seal_rlp(&self, mut header: &[u8], by: usize) -> (Bytes, B256) {
        let (sealed, hash) = self.seal(&Header::decode(&mut header).unwrap(), by);
        (alloy_rlp::encode(sealed).into(), hash)
    }

    /// Vanity, validators, no vote, round, seals.
    fn extra(&self, round: u64, seals: &[Bytes]) -> Bytes {
        let mut items = Vec::new();
        B256::ZERO.encode(&mut items);
        self.addresses().encode(&mut items);
        items.push(alloy_rlp::EMPTY_LIST_CODE);
        round.encode(&mut items);
        seals.to_vec().encode(&mut items);
        let mut extra = Vec::new();
        alloy_rlp::Header { list: true, payload_length: items.len() }.encode(&mut extra);
        extra.extend(items);
        extra.into()
    }
}
