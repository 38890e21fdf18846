//! `medseal participants`: this organisation's part in a network, and the steward's word on that of others. Changes are transactions to
//! the contract `Participants`, signed with the key of whoever makes them.

use super::{Failed, client};
use crate::anchor::key::KeyPlace;
use crate::clock::{Clock, SystemClock};
use crate::config::{Chain, Config, Directory as Contract, Exchange, ParticipantId};
use crate::exchange::document::{Document, PLACE};
use crate::exchange::participants::{Directory, Participant};
use crate::outgoing::Outgoing;
use bytes::Bytes;
use http_body_util::Full;
use notary::chain::evm::{Node, SenderKey, transact};
use notary::chain::participants::{Entry, Status, admit, enrol, profile_of, readmit, rotate_key, suspend};
use notary::commitment::Digest;
use std::path::PathBuf;

/// The file of an organisation's own key, and of the steward's, unless another is named.
const OWN_KEY: &str = "participant.key";
const STEWARD_KEY: &str = "anchor.key";

/// What a steward says of an account.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Word {
    /// The account, 0x and 40 digits.
    pub account: String,
    /// The file of the steward's key; anchor.key in the data directory by default, which is the one that deployed.
    #[arg(long)]
    pub key: Option<PathBuf>,
}

/// What a steward may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Admit,
    Suspend,
    Readmit,
}

/// What a list is narrowed by.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub struct Sought {
    /// A part of the name.
    #[arg(long)]
    pub name: Option<String>,
    /// A business identifier, or `system|value`.
    #[arg(long)]
    pub identifier: Option<String>,
    /// A part of the place.
    #[arg(long)]
    pub place: Option<String>,
    /// A part of a service's name.
    #[arg(long)]
    pub service: Option<String>,
}

/// The network of the configuration.
struct Network<'c> {
    exchange: &'c Exchange,
    chain: &'c Chain,
    contract: &'c Contract,
}

impl<'c> Network<'c> {
    fn of(config: &'c Config) -> Result<Self, Failed> {
        let missing = || Failed("the configuration names no network: it needs [chain] and [exchange.directory]".into());
        let exchange = config.exchange.as_ref().ok_or_else(missing)?;
        let contract = exchange.directory.as_ref().ok_or_else(missing)?;
        Ok(Self { exchange, chain: config.chain.as_ref().ok_or_else(missing)?, contract })
    }

    async fn send(&self, key: &SenderKey, input: alloy_primitives::Bytes) -> Result<(), Failed> {
        let url = self.chain.urls().into_iter().next().unwrap_or_default();
        let node = Node::new(&url).map_err(Failed::from_error)?;
        let mined = transact(&node, key, self.contract.contract, input, self.chain.max_fee()).await;
        let mined = mined.map_err(Failed::from_error)?;
        println!("in block {} by transaction {}", mined.block, mined.transaction);
        Ok(())
    }
}

async fn key(config: &Config, named: Option<&PathBuf>, file: &str) -> Result<SenderKey, Failed> {
    let path = named.cloned().unwrap_or_else(|| config.data.join(file));
    KeyPlace::File { path, new_allowed: false }.open().await.map_err(Failed::from_error)
}

fn directory(config: &Config) -> Result<Directory, Failed> {
    let opened = Directory::open(config).map_err(Failed::from_error)?;
    opened.ok_or_else(|| Failed("the configuration has no [exchange]".into()))
}

fn now() -> u64 {
    SystemClock.now().as_second().max(0) as u64
}

/// Asks to be admitted with the document that the running service publishes; who is admitted already signs with that from now on.
pub async fn apply(config: &Config, named: Option<&PathBuf>) -> Result<(), Failed> {
    let network = Network::of(config)?;
    let key = key(config, named, OWN_KEY).await?;
    let id = &network.exchange.id;
    if id.account() != Some(key.address()) {
        return Err(Failed(format!("exchange.id is {id}, and this key is of {}", ParticipantId::of(key.address()))));
    }
    let (said, digest) = own_document(config).await?;
    let known = directory(config)?.find(id, now()).await;
    let (status, stands) = known.map_or((Status::Unknown, None), |known| (known.status, Some(known.digest)));
    match status {
        Status::Suspended => Err(Failed("this organisation is suspended: the steward alone can change that".into())),
        Status::Active if stands == Some(digest) => {
            println!("the directory has this document already");
            Ok(())
        }
        Status::Active => network.send(&key, rotate_key(digest.0.into())).await,
        Status::Unknown | Status::Applied => {
            network.send(&key, enrol(&said.said.name, &said.said.endpoint, digest.0.into())).await
        }
    }
}

/// What the service says of itself, as the others will read it.
async fn own_document(config: &Config) -> Result<(Document, Digest), Failed> {
    let request =
        warp::http::Request::builder().uri(PLACE).body(Full::<Bytes>::default()).map_err(Failed::from_error)?;
    let away = |error: Failed| Failed(format!("the service must run, so that its document is there: {error}"));
    let answer = client::send(config.http, request).await.map_err(away)?;
    let digest = Digest::of(answer.body());
    Document::parse(answer.body(), digest).map(|document| (document, digest)).map_err(Failed::from_error)
}

/// Admits, suspends or readmits. Who is admitted is looked at first: his document must be the one that he enrolled with.
pub async fn say(config: &Config, act: Act, word: &Word) -> Result<(), Failed> {
    let network = Network::of(config)?;
    let key = key(config, word.key.as_ref(), STEWARD_KEY).await?;
    let no_account = || Failed(format!("`{}` is no account: 0x and 40 digits", word.account));
    let id = ParticipantId::parse(&word.account).ok_or_else(no_account)?;
    let account = id.account().ok_or_else(no_account)?;
    let input = match act {
        Act::Suspend => suspend(account),
        Act::Readmit => readmit(account),
        Act::Admit => {
            let applicant = directory(config)?.find(&id, now()).await.map_err(Failed::from_error)?;
            looked_at(config, &applicant).await?;
            let profile = profile_of(&applicant.name, &applicant.endpoint);
            admit(account, &Entry { status: applicant.status, profile, signing_key: applicant.digest.0.into() })
        }
    };
    network.send(&key, input).await
}

/// Shows who asks, by the very document that is pinned.
async fn looked_at(config: &Config, applicant: &Participant) -> Result<(), Failed> {
    let outgoing = Outgoing::to(config.outgoing.clone(), config.partners());
    let document = directory(config)?.document(applicant, &outgoing).await.map_err(Failed::from_error)?;
    println!("{} at {}", applicant.name, applicant.endpoint);
    for identifier in &document.said.identifiers {
        println!("says to be {}|{}", identifier.system, identifier.value);
    }
    Ok(())
}

/// Prints them, one a line: status, id, name, endpoint, place, services.
pub async fn list(config: &Config, sought: &Sought) -> Result<(), Failed> {
    let (directory, outgoing) = (directory(config)?, Outgoing::to(config.outgoing.clone(), config.partners()));
    if directory.is_listed() {
        eprintln!("from the configuration: no directory on a chain");
    }
    for one in directory.all(now()).await.map_err(Failed::from_error)? {
        let document = directory.document(&one, &outgoing).await.ok();
        let document = document.as_deref();
        if sought.each().all(|(name, value)| one.is_found_by(document, name, value)) {
            println!("{}", line(&one, document));
        }
    }
    Ok(())
}

impl Sought {
    fn each(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("name", &self.name),
            ("identifier", &self.identifier),
            ("place", &self.place),
            ("service", &self.service),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

fn line(one: &Participant, document: Option<&Document>) -> String {
    let (place, services) = match document {
        Some(document) => (document.said.place.clone(), document.said.services.join(", ")),
        None => (String::new(), "its document cannot be fetched".to_owned()),
    };
    // Whatever they call themselves stays on one line.
    let plain = |text: &str| text.replace(|c: char| c.is_control(), " ");
    let (name, endpoint) = (plain(&one.name), plain(&one.endpoint));
    format!("{}\t{}\t{name}\t{endpoint}\t{}\t{}", one.status.name(), one.id, plain(&place), plain(&services))
}
