//! What happens at the door: somebody is invited, joins with a key, signs in with it, adds another. Pages, commands and
//! the administrator's pages use these same functions. They ask the index: call them beside the network threads.

use super::challenge::{CHALLENGE_LIFE, Challenge};
use super::passkey::{self, ALGORITHMS, Assertion, Attestation, Bytes, Passkey, PasskeyError};
use super::secrets::{Bearer, Blind, Secrets};
use super::site::Site;
use super::wallet::{self, SignIn};
use super::{Account, AccountId, INVITATION_LIFE, Kind, Person, Refused, SESSION_LIFE};
use crate::config::Provider;
use crate::index::accounts::{Answered, Beginning, Credential};
use crate::index::store::Store;
use crate::secret::{Random, system_random};
use alloy_primitives::Address;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Invites somebody, once; the resources named must be stored. The code is for that person alone.
pub fn invite(store: &Store, person: &Person, now: Timestamp, random: Random<'_>) -> Result<Bearer, Refused> {
    for name in [&person.resource, &person.organisation].into_iter().flatten() {
        let stored = store.current(name)?.filter(|stored| !stored.deleted);
        stored.ok_or_else(|| Refused::Missing(name.clone()))?;
    }
    let code = Bearer::new(random)?;
    let now = now.as_millisecond();
    store.invite(&code.digest(), person, now + INVITATION_LIFE.as_millis() as i64, now)?;
    Ok(code)
}

/// What somebody is about to do.
#[derive(Debug, Clone)]
pub enum Intent {
    SignIn,
    /// With an invitation.
    Join(Bearer),
    /// Signed in: one more way to do so.
    Add(Account),
}

impl Intent {
    /// A challenge for one intent is none for another.
    fn purpose(&self, kind: Kind) -> String {
        let kind = kind.as_str();
        match self {
            Self::SignIn => format!("sign-in/{kind}"),
            Self::Join(code) => format!("join/{kind}/{}", code.digest()),
            Self::Add(account) => format!("add/{kind}/{}", account.id),
        }
    }

    /// What a wallet shows to be signed.
    fn statement(&self) -> &'static str {
        match self {
            Self::SignIn => "Sign in to medseal.",
            Self::Join(_) | Self::Add(_) => "Let this wallet sign in to my medseal account.",
        }
    }
}

/// Where people come in.
#[derive(Clone)]
pub struct Desk {
    pub store: Arc<Store>,
    pub secrets: Arc<Secrets>,
    pub site: Site,
    /// EIP-155.
    pub chain: u64,
    pub now: Timestamp,
}

/// A wallet's answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    pub address: String,
    pub nonce: String,
    pub signature: String,
}

/// Somebody is in.
#[derive(Debug)]
pub struct Welcome {
    pub account: Account,
    /// A new session; none: the one that there is goes on.
    pub bearer: Option<Bearer>,
}

/// A way to sign in, as its owner sees it.
#[derive(Debug)]
pub struct Shown {
    pub name: Blind,
    pub kind: Kind,
    /// A wallet's address, a provider's name; nothing of a passkey.
    pub what: String,
    /// Milliseconds since 1970.
    pub made: i64,
    /// 0: never.
    pub used: i64,
}

/// What is kept of a new credential.
struct New<'n> {
    kind: Kind,
    name: Blind,
    plain: &'n [u8],
    counter: u32,
}

impl Desk {
    fn seconds(&self) -> u64 {
        self.now.as_second().max(0) as u64
    }

    fn challenge(&self, purpose: &str) -> Result<Challenge, Refused> {
        Challenge::new(&self.secrets, purpose, self.seconds(), &system_random)
    }

    fn check(&self, purpose: &str, bytes: &[u8]) -> Result<Challenge, Refused> {
        Challenge::check(&self.secrets, purpose, bytes, self.seconds())
    }

    /// Whom an invitation is for.
    pub fn invited(&self, code: &Bearer) -> Result<(Person, AccountId), Refused> {
        match self.store.invited(&code.digest(), self.now.as_millisecond())? {
            None => Err(Refused::Invitation),
            Some((_, Some(account))) if account.disabled => Err(Refused::Disabled),
            Some((person, Some(account))) => Ok((person, account.id)),
            Some((person, None)) => Ok((person, self.secrets.account(&code.digest()))),
        }
    }

    fn whom(&self, intent: &Intent) -> Result<(Person, AccountId), Refused> {
        match intent {
            Intent::SignIn => Err(Refused::Unknown),
            Intent::Join(code) => self.invited(code),
            Intent::Add(account) => Ok((account.person.clone(), account.id.clone())),
        }
    }

    /// What a browser is to ask a passkey (WebAuthn Level 3, sections 5.4 and 5.5).
    pub fn options(&self, intent: &Intent) -> Result<Value, Refused> {
        let challenge = Bytes(self.challenge(&intent.purpose(Kind::Passkey))?.as_bytes().to_vec()).text();
        let timeout = CHALLENGE_LIFE.as_millis() as u64;
        if let Intent::SignIn = intent {
            let verification = "required";
            return Ok(json!({
                "challenge": challenge, "rpId": self.site.host, "timeout": timeout, "userVerification": verification,
            }));
        }
        let (person, account) = self.whom(intent)?;
        let user = json!({
            "id": Bytes(account.as_str().as_bytes().to_vec()).text(),
            "name": format!("{} {}", person.role.as_str(), account.as_str().get(..8).unwrap_or_default()),
            "displayName": person.role.as_str(),
        });
        let algorithms = ALGORITHMS.map(|algorithm| json!({"type": "public-key", "alg": algorithm}));
        let key = |id: &Bytes| json!({"type": "public-key", "id": id.text()});
        let known: Vec<Value> = self.passkeys(&account)?.iter().map(|passkey| key(&passkey.id)).collect();
        Ok(json!({
            "challenge": challenge,
            "rp": {"id": self.site.host, "name": "medseal"},
            "user": user,
            "pubKeyCredParams": algorithms,
            "excludeCredentials": known,
            "authenticatorSelection": {
                "residentKey": "required", "requireResidentKey": true, "userVerification": "required",
            },
            "attestation": "none",
            "timeout": timeout,
        }))
    }

    pub(super) fn passkeys(&self, account: &AccountId) -> Result<Vec<Passkey>, Refused> {
        let all = self.store.credentials(account)?;
        all.iter()
            .filter(|credential| credential.kind == Kind::Passkey)
            .map(|credential| self.passkey(credential))
            .collect()
    }

    fn passkey(&self, credential: &Credential) -> Result<Passkey, Refused> {
        let plain = self.secrets.open(&credential.name, &credential.account, &credential.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| Refused::Secret)
    }

    fn passkey_name(&self, id: &Bytes) -> Blind {
        self.secrets.blind(Kind::Passkey, &[&id.text()])
    }

    /// A new passkey for somebody who joins, or who is signed in.
    pub fn add_passkey(&self, intent: &Intent, said: &Attestation, old: Option<&Bearer>) -> Result<Welcome, Refused> {
        let challenge = self.check(&intent.purpose(Kind::Passkey), &passkey::challenge(&said.client)?)?;
        let (passkey, counter) = passkey::register(&self.site, said)?;
        let plain = serde_json::to_vec(&passkey).map_err(|_| Refused::Secret)?;
        let name = self.passkey_name(&passkey.id);
        self.add(intent, New { kind: Kind::Passkey, name, plain: &plain, counter }, challenge, old)
    }

    /// Somebody signs in with a passkey.
    pub fn sign_in_with_passkey(&self, said: &Assertion, old: Option<&Bearer>) -> Result<Welcome, Refused> {
        let challenge = self.check(&Intent::SignIn.purpose(Kind::Passkey), &passkey::challenge(&said.client)?)?;
        let known = self.store.credential(&self.passkey_name(&said.id))?.ok_or(Refused::Unknown)?;
        if said.user.0 != known.account.as_str().as_bytes() {
            return Err(PasskeyError::OtherUser.into());
        }
        let counter = passkey::verify(&self.site, said, &self.passkey(&known)?)?;
        self.begin(&known.name, counter, challenge, old)
    }

    /// What a wallet is to sign, and the nonce in it.
    pub fn message(&self, intent: &Intent, address: &str) -> Result<(String, String), Refused> {
        if !matches!(intent, Intent::SignIn) {
            self.whom(intent)?;
        }
        let challenge = self.challenge(&intent.purpose(Kind::Wallet))?;
        let address = wallet::address(address)?;
        Ok((self.sign_in(intent, address, &challenge).message(), hex::encode(challenge.as_bytes())))
    }

    fn sign_in<'s>(&'s self, intent: &Intent, address: Address, challenge: &'s Challenge) -> SignIn<'s> {
        SignIn { site: &self.site, address, statement: intent.statement(), chain: self.chain, challenge }
    }

    /// The wallet that has signed, and what it has answered.
    fn signed(&self, intent: &Intent, said: &Signed) -> Result<(Address, Challenge), Refused> {
        let nonce = hex::decode(&said.nonce).map_err(|_| Refused::Challenge)?;
        let challenge = self.check(&intent.purpose(Kind::Wallet), &nonce)?;
        let address = wallet::address(&said.address)?;
        self.sign_in(intent, address, &challenge).check(&said.signature)?;
        Ok((address, challenge))
    }

    /// A wallet for somebody who joins, or who is signed in.
    pub fn add_wallet(&self, intent: &Intent, said: &Signed, old: Option<&Bearer>) -> Result<Welcome, Refused> {
        let (address, challenge) = self.signed(intent, said)?;
        let address_name = wallet::name(address);
        let name = self.secrets.blind(Kind::Wallet, &[&address_name]);
        let shown = address.to_checksum(None);
        self.add(intent, New { kind: Kind::Wallet, name, plain: shown.as_bytes(), counter: 0 }, challenge, old)
    }

    /// Somebody signs in with a wallet.
    pub fn sign_in_with_wallet(&self, said: &Signed, old: Option<&Bearer>) -> Result<Welcome, Refused> {
        let (address, challenge) = self.signed(&Intent::SignIn, said)?;
        self.begin(&self.secrets.blind(Kind::Wallet, &[&wallet::name(address)]), 0, challenge, old)
    }

    /// What comes back from an outside provider, once.
    pub fn state(&self, intent: &Intent) -> Result<String, Refused> {
        if !matches!(intent, Intent::SignIn) {
            self.whom(intent)?;
        }
        Ok(hex::encode(self.challenge(&intent.purpose(Kind::OpenId))?.as_bytes()))
    }

    /// Somebody comes by an outside provider, which has said who it is: signs in, joins, or adds this.
    pub fn with_provider(
        &self,
        intent: &Intent,
        state: &str,
        (provider, subject): (&Provider, &str),
        old: Option<&Bearer>,
    ) -> Result<Welcome, Refused> {
        let state = hex::decode(state).map_err(|_| Refused::Challenge)?;
        let challenge = self.check(&intent.purpose(Kind::OpenId), &state)?;
        let name = self.secrets.blind(Kind::OpenId, &[&provider.issuer, subject]);
        match intent {
            Intent::SignIn => self.begin(&name, 0, challenge, old),
            _ => {
                let new = New { kind: Kind::OpenId, name, plain: provider.name.as_bytes(), counter: 0 };
                self.add(intent, new, challenge, old)
            }
        }
    }

    fn add(&self, to: &Intent, new: New<'_>, answer: Challenge, old: Option<&Bearer>) -> Result<Welcome, Refused> {
        let (_, account) = self.whom(to)?;
        let now = self.now.as_millisecond();
        let sealed = self.secrets.seal(&new.name, &account, new.plain, &system_random)?;
        let New { kind, name, counter, .. } = new;
        let used = if matches!(to, Intent::Join(_)) { now } else { 0 };
        let credential = Credential { name, account, kind, sealed, counter, made: now, used };
        match to {
            Intent::Join(code) => {
                self.store.join(&code.digest(), &credential, answered(answer), now)?;
                self.start(&credential.name, old, |begins| self.store.begin_new(begins))
            }
            _ => {
                let account = self.store.add_credential(&credential, answered(answer), now)?;
                Ok(Welcome { account, bearer: None })
            }
        }
    }

    fn begin(
        &self,
        credential: &Blind,
        counter: u32,
        answer: Challenge,
        old: Option<&Bearer>,
    ) -> Result<Welcome, Refused> {
        self.start(credential, old, |begins| self.store.begin(begins, counter, answered(answer)))
    }

    /// A session always has a name that nobody has seen before, whatever the browser bore (session fixation).
    fn start(
        &self,
        credential: &Blind,
        old: Option<&Bearer>,
        begin: impl FnOnce(&Beginning<'_>) -> Result<Account, Refused>,
    ) -> Result<Welcome, Refused> {
        let bearer = Bearer::new(&system_random)?;
        let now = self.now.as_millisecond();
        let expires = now + SESSION_LIFE.as_millis() as i64;
        let instead_of = old.map(Bearer::digest);
        let account = begin(&Beginning { digest: bearer.digest(), instead_of, credential, now, expires })?;
        Ok(Welcome { account, bearer: Some(bearer) })
    }

    /// What an account signs in with.
    pub fn shown(&self, account: &AccountId) -> Result<Vec<Shown>, Refused> {
        let all = self.store.credentials(account)?;
        all.into_iter()
            .map(|credential| {
                let what = match credential.kind {
                    Kind::Passkey => String::new(),
                    _ => {
                        let plain = self.secrets.open(&credential.name, &credential.account, &credential.sealed)?;
                        String::from_utf8(plain).map_err(|_| Refused::Secret)?
                    }
                };
                let Credential { name, kind, made, used, .. } = credential;
                Ok(Shown { name, kind, what, made, used })
            })
            .collect()
    }
}

fn answered(challenge: Challenge) -> Answered {
    Answered { digest: challenge.digest(), expires: challenge.expires() as i64 * 1_000 }
}
