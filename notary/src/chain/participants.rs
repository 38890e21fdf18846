//! The interface of `Participants`: the calldata of its transactions, its storage as the interface promises it, and the words of its
//! events. What an account is stands in storage, and is proved; the texts are in events, and count where their hash is the one stored.

use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue, sol};

/// Where the mapping of participants lies, which the interface promises.
const ENTRIES: U256 = U256::from_limbs([5, 0, 0, 0]);

sol! {
    /// `notary/contracts/src/interfaces/IParticipants.sol`
    #[derive(Debug)]
    interface IParticipants {
        event Enrolled(address indexed account, string name, string endpoint, bytes32 signingKey, uint256 accumulator);
        event Updated(address indexed account, string name, string endpoint, uint256 accumulator);
        error WrongStatus(address account, uint8 status);
        error OtherApplication(address account, bytes32 profile, bytes32 signingKey);
        error BadText(uint256 nameBytes, uint256 endpointBytes);
        error ZeroKey();
        error AccessControlUnauthorizedAccount(address account, bytes32 neededRole);
        function enrol(string calldata name, string calldata endpoint, bytes32 signingKey) external;
        function rotateKey(bytes32 signingKey) external;
        function admit(address account, bytes32 profile, bytes32 signingKey) external;
        function suspend(address account) external;
        function readmit(address account) external;
        function update(address account, string calldata name, string calldata endpoint) external;
    }
}

/// The signatures of the events that tell names and endpoints.
pub const TELLING: [B256; 2] = [IParticipants::Enrolled::SIGNATURE_HASH, IParticipants::Updated::SIGNATURE_HASH];

/// How an account stands in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Unknown,
    Applied,
    Active,
    Suspended,
}

/// What the contract stores of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub status: Status,
    /// [`profile_of`] its name and endpoint.
    pub profile: B256,
    /// SHA-256 of the keys document that it publishes.
    pub signing_key: B256,
}

/// What an event tells of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub account: Address,
    pub name: String,
    pub endpoint: String,
}

impl Status {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Applied => "applied",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

impl Entry {
    /// Reads what stands in [`slots`].
    pub fn read(values: impl IntoIterator<Item = U256>) -> Option<Self> {
        let mut values = values.into_iter();
        let status = match values.next()?.byte(0) {
            0 => Status::Unknown,
            1 => Status::Applied,
            2 => Status::Active,
            3 => Status::Suspended,
            _ => return None,
        };
        Some(Self { status, profile: values.next()?.into(), signing_key: values.next()?.into() })
    }

    /// What holds of an entry that is this one in the newest block, and that other one in the newest that stays: a part in the
    /// network and a key count once they stay, a suspension at first sight.
    pub fn settled(self, stays: Option<Self>) -> Self {
        match stays {
            Some(stays) if self.status == Status::Active => stays,
            None if self.status == Status::Active => Self { status: Status::Applied, ..self },
            _ => self,
        }
    }
}

impl Told {
    /// Reads a log of the contract; nothing if it tells no name.
    pub fn read(log: &Log) -> Option<Self> {
        use IParticipants::{Enrolled, Updated};
        match log.topics().first().copied()? {
            Enrolled::SIGNATURE_HASH => {
                let Enrolled { account, name, endpoint, .. } = Enrolled::decode_log(log).ok()?.data;
                Some(Self { account, name, endpoint })
            }
            Updated::SIGNATURE_HASH => {
                let Updated { account, name, endpoint, .. } = Updated::decode_log(log).ok()?.data;
                Some(Self { account, name, endpoint })
            }
            _ => None,
        }
    }

    /// Whether these are the words that an entry's hash stands for.
    pub fn is_of(&self, entry: &Entry) -> bool {
        profile_of(&self.name, &self.endpoint) == entry.profile
    }
}

/// The hash of name and endpoint that is stored.
pub fn profile_of(name: &str, endpoint: &str) -> B256 {
    keccak256((name, endpoint).abi_encode_params())
}

/// Where the entry of an account lies.
pub fn slots(account: Address) -> [B256; 3] {
    let first: U256 = keccak256((account, ENTRIES).abi_encode()).into();
    [0, 1, 2].map(|n| first.wrapping_add(U256::from(n)).into())
}

/// The call by which the sender asks to be admitted.
pub fn enrol(name: &str, endpoint: &str, signing_key: B256) -> Bytes {
    let (name, endpoint) = (name.to_owned(), endpoint.to_owned());
    IParticipants::enrolCall { name, endpoint, signingKey: signing_key }.abi_encode().into()
}

/// The call by which the sender, who is admitted, signs with other keys.
pub fn rotate_key(signing_key: B256) -> Bytes {
    IParticipants::rotateKeyCall { signingKey: signing_key }.abi_encode().into()
}

/// The call that admits an account as its entry was looked at.
pub fn admit(account: Address, entry: &Entry) -> Bytes {
    let Entry { profile, signing_key, .. } = *entry;
    IParticipants::admitCall { account, profile, signingKey: signing_key }.abi_encode().into()
}

/// The call that ends an account's part at once.
pub fn suspend(account: Address) -> Bytes {
    IParticipants::suspendCall { account }.abi_encode().into()
}

/// The call that lets a suspended account take part again.
pub fn readmit(account: Address) -> Bytes {
    IParticipants::readmitCall { account }.abi_encode().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(status: Status, key: u8) -> Entry {
        Entry { status, profile: B256::ZERO, signing_key: B256::repeat_byte(key) }
    }

    #[test]
    fn an_entry_is_read_from_its_three_slots() {
        let values = |status: u64| [U256::from(status), U256::from(7), U256::from(9)];
        let read = Entry::read(values(2)).unwrap();
        assert_eq!(
            (read.status, read.profile, read.signing_key),
            (Status::Active, U256::from(7).into(), U256::from(9).into())
        );
        assert_eq!(Entry::read(values(4)), None);
        assert_eq!(Entry::read([U256::ZERO]), None);
    }

    #[test]
    fn a_part_counts_when_it_stays_and_a_suspension_at_first_sight() {
        use Status::{Active, Applied, Suspended};
        for (newest, stays, expected) in [
            (entry(Active, 1), Some(entry(Active, 1)), entry(Active, 1)),
            (entry(Active, 2), Some(entry(Active, 1)), entry(Active, 1)),
            (entry(Active, 1), Some(entry(Applied, 1)), entry(Applied, 1)),
            (entry(Active, 1), None, entry(Applied, 1)),
            (entry(Suspended, 1), Some(entry(Active, 1)), entry(Suspended, 1)),
            (entry(Active, 1), Some(entry(Suspended, 1)), entry(Suspended, 1)),
        ] {
            assert_eq!(newest.settled(stays), expected, "{newest:?} {stays:?}");
        }
    }
}
