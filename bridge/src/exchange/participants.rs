//! The directory of organisations: a mirror of the contract `Participants`, or a list of the configuration. Whoever asks for one
//! that takes part gets it as it stands in the newest block, so that a suspension works at once; without the chain nobody does.

use super::document::{Document, DocumentError, PLACE, beside};
use crate::app::StartError;
use crate::config::{Config, ParticipantId, Peer};
use crate::feeds::pace::Pace;
use crate::limits::{
    MAX_CLIENTS, MAX_KEY_SET_BYTES, MAX_PARTICIPANTS, MAX_TOLD, OUTGOING_TIMEOUT, STRANGERS_PER_SECOND,
};
use crate::outgoing::{Bounds, Outbound, Outgoing, SendError};
use bytes::Bytes;
use notary::chain::evm::participants::{standing, told};
use notary::chain::evm::{EvmError, Finality, Nodes, Pins};
use notary::chain::participants::{Entry, Status, Told};
use notary::commitment::Digest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use warp::http::{HeaderMap, Method, StatusCode};

/// So many of the newest blocks are read again each time: they may be replaced.
const REREAD: u64 = 64;

/// How an organisation stands in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub id: ParticipantId,
    pub status: Status,
    pub name: String,
    pub endpoint: String,
    /// Of its document.
    pub digest: Digest,
}

/// An organisation that takes part now, with its document.
#[derive(Debug, Clone)]
pub struct Partner {
    pub id: ParticipantId,
    pub document: Arc<Document>,
}

/// Why there is no partner.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("`{0}` is no participant of this network")]
    Unknown(ParticipantId),
    #[error("`{id}` takes no part in this network now: {}", status.name())]
    NotActive { id: ParticipantId, status: Status },
    #[error("too many ask at once who are not known here: try again")]
    Strangers,
    #[error("the directory cannot be asked now")]
    Chain(#[source] Box<EvmError>),
    #[error("the document of `{id}` does not count: {why}")]
    Document { id: ParticipantId, why: DocumentError },
    #[error("the document of `{id}` cannot be fetched: {why}")]
    Fetch { id: ParticipantId, why: SendError },
}

/// Where organisations are looked up.
#[derive(Debug)]
pub struct Directory {
    source: Source,
    /// By their digests: what a digest pins does not change.
    documents: Mutex<HashMap<Digest, Arc<Document>>>,
    /// The documents that were last proved to be somebody's.
    known: Mutex<HashMap<ParticipantId, Arc<Document>>>,
    /// How often the chain is asked about those whose signature proves nothing yet.
    strangers: Pace,
    asked: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Chain(Box<Mirror>),
    Listed(Vec<Peer>),
}

/// What of the contract's events was read.
#[derive(Debug)]
struct Mirror {
    nodes: Nodes,
    finality: Finality,
    max_age: Option<u64>,
    read: tokio::sync::Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    next: u64,
    told: Vec<Told>,
}

impl Participant {
    /// Whether it is found by a parameter: `name`, `identifier`, `place` or `service`.
    pub fn is_found_by(&self, document: Option<&Document>, parameter: &str, value: &str) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(&value.to_lowercase());
        let said = document.map(|document| &document.said);
        match parameter {
            "name" => holds(&self.name) || said.is_some_and(|said| holds(&said.name)),
            "place" => said.is_some_and(|said| holds(&said.place)),
            "service" => said.is_some_and(|said| said.services.iter().any(|service| holds(service))),
            "identifier" => said.is_some_and(|said| {
                said.identifiers
                    .iter()
                    .any(|own| value == own.value || value == format!("{}|{}", own.system, own.value))
            }),
            _ => false,
        }
    }
}

impl Directory {
    /// The directory of the configuration. Asks no node yet.
    pub fn open(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(settings) = &config.exchange else { return Ok(None) };
        let source = match (&settings.directory, &config.chain) {
            (Some(directory), Some(chain)) => {
                let pins = Pins { contract: directory.contract, code_hash: directory.code_hash, ..chain.pins() };
                let nodes = Nodes::new(&chain.urls(), chain.agree, pins)?;
                let manner = chain.manner().map_err(StartError::Config)?;
                let read = tokio::sync::Mutex::new(Read { next: directory.from_block, told: Vec::new() });
                Source::Chain(Box::new(Mirror { nodes, finality: manner.finality, max_age: manner.max_age, read }))
            }
            _ => Source::Listed(settings.peer.clone()),
        };
        let (documents, known) = (Mutex::default(), Mutex::default());
        let strangers = Pace::new(STRANGERS_PER_SECOND);
        Ok(Some(Self { source, documents, known, strangers, asked: AtomicU64::new(0) }))
    }

    /// Whether it is a list of the configuration, which no chain holds.
    pub fn is_listed(&self) -> bool {
        matches!(self.source, Source::Listed(_))
    }

    /// The document of an organisation as it was last proved: it may have another by now, or take no part any more.
    pub fn remembered(&self, id: &ParticipantId) -> Option<Arc<Document>> {
        self.known().get(id).cloned()
    }

    /// Takes a turn to ask the chain about somebody whose signature proves nothing yet.
    pub fn stranger(&self) -> Result<(), DirectoryError> {
        match self.strangers.turn(Instant::now(), Duration::ZERO) {
            Err(_) if !self.is_listed() => Err(DirectoryError::Strangers),
            _ => Ok(()),
        }
    }

    /// How often the chain was asked how somebody stands, since the start.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// An organisation as it stands now; `now` in seconds since 1970.
    pub async fn find(&self, id: &ParticipantId, now: u64) -> Result<Participant, DirectoryError> {
        let found = match &self.source {
            Source::Chain(mirror) => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                mirror.find(id, now).await?
            }
            Source::Listed(peers) => peers.iter().find(|peer| peer.id == *id).and_then(listed),
        };
        found.ok_or_else(|| DirectoryError::Unknown(id.clone()))
    }

    /// One that takes part, with its document.
    pub async fn partner(&self, id: &ParticipantId, outgoing: &Outgoing, now: u64) -> Result<Partner, DirectoryError> {
        let participant = self.find(id, now).await?;
        if participant.status != Status::Active {
            return Err(DirectoryError::NotActive { id: id.clone(), status: participant.status });
        }
        let document = self.document(&participant, outgoing).await?;
        let mut known = self.known();
        if known.len() >= MAX_CLIENTS {
            known.clear();
        }
        known.insert(id.clone(), document.clone());
        Ok(Partner { id: id.clone(), document })
    }

    /// All that are known, by name.
    pub async fn all(&self, now: u64) -> Result<Vec<Participant>, DirectoryError> {
        let mut all = match &self.source {
            Source::Chain(mirror) => mirror.all(now).await?,
            Source::Listed(peers) => peers.iter().filter_map(listed).collect(),
        };
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(all)
    }

    /// What an organisation calls itself, as far as that was read: to be shown beside its id, and to decide nothing.
    pub async fn called(&self, id: &ParticipantId) -> Option<String> {
        match &self.source {
            Source::Chain(mirror) => mirror.called(id).await,
            Source::Listed(_) => self.remembered(id).map(|document| document.said.name.clone()),
        }
    }

    /// The document that is pinned, from where the organisation publishes it.
    pub async fn document(&self, of: &Participant, outgoing: &Outgoing) -> Result<Arc<Document>, DirectoryError> {
        let known = self.documents().get(&of.digest).cloned();
        let document = match known {
            Some(document) => document,
            None => self.fetched(of, outgoing).await?,
        };
        // Asked each time: whoever pins the digest of another one's document is not that one.
        let is_its_own = document.said.endpoint == of.endpoint && (self.is_listed() || document.said.name == of.name);
        match is_its_own {
            true => Ok(document),
            false => Err(DirectoryError::Document { id: of.id.clone(), why: DocumentError::Other }),
        }
    }

    async fn fetched(&self, of: &Participant, outgoing: &Outgoing) -> Result<Arc<Document>, DirectoryError> {
        let bytes = fetch(&of.endpoint, outgoing).await;
        let bytes = bytes.map_err(|why| DirectoryError::Fetch { id: of.id.clone(), why })?;
        let wrong = |why| DirectoryError::Document { id: of.id.clone(), why };
        let document = Arc::new(Document::parse(&bytes, of.digest).map_err(wrong)?);
        let mut documents = self.documents();
        if documents.len() >= MAX_CLIENTS {
            documents.clear();
        }
        documents.insert(of.digest, document.clone());
        Ok(document)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ParticipantId, Arc<Document>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn documents(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Document>>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(peer: &Peer) -> Option<Participant> {
    let status = if peer.suspended { Status::Suspended } else { Status::Active };
    let digest = Digest::from_hex(&peer.document)?;
    Some(Participant {
        id: peer.id.clone(),
        status,
        name: peer.id.to_string(),
        endpoint: peer.endpoint.clone(),
        digest,
    })
}

impl Mirror {
    async fn find(&self, id: &ParticipantId, now: u64) -> Result<Option<Participant>, DirectoryError> {
        let Some(account) = id.account() else { return Ok(None) };
        let entry = standing(&self.nodes, account, self.finality, (now, self.max_age)).await.map_err(chain)?;
        if entry.status == Status::Unknown {
            return Ok(None);
        }
        let mut read = self.read.lock().await;
        let words =
            |read: &Read| read.told.iter().rev().find(|told| told.account == account && told.is_of(&entry)).cloned();
        if words(&read).is_none() {
            self.read_on(&mut read).await?;
        }
        Ok(words(&read).map(|told| participant(id.clone(), told, &entry)))
    }

    async fn all(&self, now: u64) -> Result<Vec<Participant>, DirectoryError> {
        let accounts: std::collections::BTreeSet<_> = {
            let mut read = self.read.lock().await;
            self.read_on(&mut read).await?;
            // Anybody may apply: the first ones are shown, and whoever else is asked for by his account is found all the same.
            let mut accounts = std::collections::BTreeSet::new();
            for told in &read.told {
                if accounts.len() < MAX_PARTICIPANTS {
                    accounts.insert(told.account);
                }
            }
            accounts
        };
        let mut all = Vec::new();
        for account in accounts {
            all.extend(self.find(&ParticipantId::of(account), now).await?);
        }
        Ok(all)
    }

    async fn called(&self, id: &ParticipantId) -> Option<String> {
        let account = id.account()?;
        let last =
            |read: &Read| read.told.iter().rev().find(|told| told.account == account).map(|told| told.name.clone());
        let mut read = self.read.lock().await;
        if last(&read).is_none() {
            // What cannot be read is told in the log, and the id is shown alone.
            _ = self.read_on(&mut read).await;
        }
        last(&read)
    }

    async fn read_on(&self, read: &mut Read) -> Result<(), DirectoryError> {
        let (told, next) = told(&self.nodes, read.next).await.map_err(chain)?;
        for one in told {
            // Whoever enrols anew and anew does not make this grow for the same words, nor without end for others.
            if read.told.len() >= MAX_TOLD {
                tracing::error!("the directory has more words than are kept: who enrols now is not found");
                break;
            }
            if !read.told.contains(&one) {
                read.told.push(one);
            }
        }
        // What was told in a block that is replaced is told again in another one.
        read.next = read.next.max(next.saturating_sub(REREAD));
        Ok(())
    }
}

fn participant(id: ParticipantId, told: Told, entry: &Entry) -> Participant {
    let Told { name, endpoint, .. } = told;
    Participant { id, status: entry.status, name, endpoint, digest: Digest(entry.signing_key.0) }
}

fn chain(error: EvmError) -> DirectoryError {
    tracing::warn!(%error, "the directory of participants cannot be asked");
    DirectoryError::Chain(Box::new(error))
}

async fn fetch(endpoint: &str, outgoing: &Outgoing) -> Result<Bytes, SendError> {
    let url = beside(endpoint, PLACE);
    let asked = Outbound { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() };
    let answer = outgoing.send_within(asked, Bounds { answer: MAX_KEY_SET_BYTES, time: OUTGOING_TIMEOUT }).await?;
    if answer.status == StatusCode::OK { Ok(answer.body) } else { Err(SendError::Broken) }
}
