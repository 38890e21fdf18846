//! Sign-In with Ethereum (EIP-4361). The server makes the whole message, and makes it again out of the nonce when the
//! signature comes back: a signature over any other domain, address, chain, nonce or time is not over this message, and
//! is nobody's. Pure.

use super::Refused;
use super::challenge::Challenge;
use super::site::Site;
use alloy_primitives::{Address, Signature};
use jiff::Timestamp;

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct SignIn<'s> {
    pub site: &'s Site,
    pub address: Address,
    /// What the person reads.
    pub statement: &'s str,
    /// EIP-155.
    pub chain: u64,
    /// The nonce; the times are its own.
    pub challenge: &'s Challenge,
}

impl SignIn<'_> {
    /// The message, letter by letter (EIP-4361, "Message format").
    pub fn message(&self) -> String {
        let Self { site, address, statement, chain, challenge } = self;
        let time = |seconds: u64| Timestamp::from_second(seconds as i64).unwrap_or_default().to_string();
        format!(
            "{} wants you to sign in with your Ethereum account:\n{}\n\n{statement}\n\nURI: {}\nVersion: 1\n\
             Chain ID: {chain}\nNonce: {}\nIssued At: {}\nExpiration Time: {}",
            site.authority,
            address.to_checksum(None),
            site.origin,
            hex::encode(challenge.as_bytes()),
            time(challenge.made()),
            time(challenge.expires()),
        )
    }

    /// Whether a signature (`personal_sign`, EIP-191) is the address's own over this message. Contract accounts
    /// (ERC-1271) are not asked.
    pub fn check(&self, signature: &str) -> Result<(), Refused> {
        let bytes = hex::decode(signature.trim_start_matches("0x")).map_err(|_| Refused::Signature)?;
        let signature = Signature::from_raw(&bytes).map_err(|_| Refused::Signature)?;
        let signer = signature.recover_address_from_msg(self.message()).map_err(|_| Refused::Signature)?;
        if signer == self.address { Ok(()) } else { Err(Refused::Signature) }
    }
}

/// Reads an address, in any case.
pub fn address(text: &str) -> Result<Address, Refused> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40);
    digits.and_then(|digits| digits.parse().ok()).ok_or(Refused::Signature)
}

/// An address as its one name.
pub fn name(address: Address) -> String {
    address.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::secrets::Secrets;
    use crate::secret::Key;

    #[test]
    fn the_message_is_the_standards_letter_by_letter() {
        let secrets = Secrets::new(&Key::new([1; 32]), Key::new([2; 32]));
        let fixed = |out: &mut [u8]| {
            out.fill(7);
            Ok(())
        };
        let challenge = Challenge::new(&secrets, "wallet", 1_790_000_000, &fixed).unwrap();
        let site = Site::of("https://seal.example/fhir");
        let address = address("0x52908400098527886e0f7030069857d2e4169ee7").unwrap();
        let sign_in =
            SignIn { site: &site, address, statement: "Sign in to medseal.", chain: 1, challenge: &challenge };
        let nonce = hex::encode(challenge.as_bytes());
        assert_eq!(
            sign_in.message(),
            format!(
                "seal.example wants you to sign in with your Ethereum account:\n\
                 0x52908400098527886E0F7030069857D2E4169EE7\n\nSign in to medseal.\n\n\
                 URI: https://seal.example\nVersion: 1\nChain ID: 1\nNonce: {nonce}\n\
                 Issued At: 2026-09-21T14:13:20Z\nExpiration Time: 2026-09-21T14:18:20Z"
            )
        );
        for bad in ["", "0x", "0xzz", &"0".repeat(130), &format!("0x{}", "1".repeat(130))] {
            assert!(sign_in.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_in_any_case_and_nothing_else_is() {
        let one = address("0xD8dA6BF26964aF9D7eEd9e03E53415D37aA96045").unwrap();
        assert_eq!(name(one), "0xd8da6bf26964af9d7eed9e03e53415d37aa96045");
        for bad in ["", "0x", "D8dA6BF26964aF9D7eEd9e03E53415D37aA96045", "0xD8dA", &format!("0x{}", "g".repeat(40))] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
