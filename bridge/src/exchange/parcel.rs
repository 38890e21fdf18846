//! A parcel: resources in their very text, each with its receipt. What many receipts share, the anchor, is in it once. Whoever opens
//! one believes nothing of it but what the sender's pinned log and anchor prove.

use super::document::Document;
use crate::anchor;
use crate::app::Core;
use crate::config::Accept;
use crate::error::VaultError;
use crate::ids::{Name, Version};
use crate::index::store::StoreError;
use crate::limits::{EXCHANGE_TIMEOUT, MAX_PARCEL_ANCHORS, MAX_PARCEL_BYTES, MAX_PARCEL_ITEMS, MAX_PLACE};
use crate::read::{Opened, in_background};
use notary::anchor::{AnchorBundle, ChainKind, read_header};
use notary::canonical::Json;
use notary::chain::evm::confirm;
use notary::commitment::{Digest, Kind};
use notary::receipt::Receipt;
use notary::verify::{Cache, Grade, NodeAnswers, Policy, Refusal, TrustedContract, verify_with};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The format's name and version.
pub const FORMAT: &str = "medseal-parcel/1";
/// About what a receipt without its anchor weighs, in bytes.
const RECEIPT_BYTES: usize = 3_000;

/// What is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parcel {
    pub format: String,
    /// The sender's patient, `Patient/id`.
    pub patient: String,
    pub items: Vec<Item>,
    anchors: Vec<AnchorBundle>,
    /// `Type/id/_history/n` of what is not in a signed checkpoint yet.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// There was more than one parcel holds.
    #[serde(default)]
    pub more: bool,
}

/// A resource and what proves it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub resource: Box<RawValue>,
    receipt: Receipt,
    /// Which of the parcel's anchors is the receipt's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anchor: Option<usize>,
}

crate::redacted_debug!(Item, Checked);

/// A resource of a parcel that was looked at.
pub struct Checked {
    /// As the receipt names it.
    pub name: String,
    pub version: String,
    pub json: Json,
    pub text: Box<RawValue>,
    /// The log entry.
    pub entry: String,
    pub verdict: Result<Grade, Unproved>,
}

/// Why a resource is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the receipt is of another custodian")]
    Custodian,
    #[error("the receipt does not open the resource, or is of no resource")]
    Unopened,
    #[error("it is not anchored yet")]
    NotAnchored,
    #[error("the parcel has no such anchor")]
    Parcel,
}

/// Puts what was opened into a parcel, as much as it holds.
pub async fn pack(core: &Arc<Core>, patient: &Name, opened: Vec<Opened>) -> Result<Parcel, VaultError> {
    let (core, patient) = (core.clone(), patient.to_string());
    in_background(move || {
        let format = FORMAT.to_owned();
        let mut parcel = Parcel { format, patient, items: vec![], anchors: vec![], waiting: vec![], more: false };
        let mut bytes = 0;
        for one in opened {
            bytes += one.resource.len() + RECEIPT_BYTES;
            parcel.more = bytes > MAX_PARCEL_BYTES
                || parcel.items.len() + parcel.waiting.len() >= MAX_PARCEL_ITEMS
                || parcel.anchors.len() >= MAX_PARCEL_ANCHORS;
            if parcel.more {
                break;
            }
            parcel.add(&core, &one)?;
        }
        Ok(parcel)
    })
    .await
}

impl Parcel {
    /// Reads one that came: of this format, and of no more than one holds. Nothing where it is none.
    pub fn read(text: &[u8]) -> Option<Self> {
        let parcel: Self = serde_json::from_slice(text).ok()?;
        let fits =
            parcel.items.len() + parcel.waiting.len() <= MAX_PARCEL_ITEMS && parcel.anchors.len() <= MAX_PARCEL_ANCHORS;
        let is_place = |text: &String| text.len() <= MAX_PLACE;
        (parcel.format == FORMAT && fits && parcel.waiting.iter().all(is_place)).then_some(parcel)
    }

    /// The same with nothing but some of its items: what is kept as evidence holds nothing else.
    pub fn only(text: &[u8], keep: impl Fn(usize) -> bool) -> Option<Vec<u8>> {
        let mut parcel = Self::read(text)?;
        let mut place = 0..;
        parcel.items.retain(|_| place.next().is_some_and(&keep));
        serde_json::to_vec(&parcel).ok()
    }

    fn add(&mut self, core: &Core, opened: &Opened) -> Result<(), StoreError> {
        let receipt = anchor::receipt(core, opened).map_err(|error| {
            tracing::error!(%error, "a receipt could not be made");
            StoreError::Nonsense("a receipt could not be made")
        })?;
        let text = String::from_utf8(opened.resource.clone()).ok().and_then(|text| RawValue::from_string(text).ok());
        match (receipt, text) {
            (Some(mut receipt), Some(resource)) => {
                let anchor = receipt.anchor.take().map(|anchor| self.anchor(anchor));
                self.items.push(Item { resource, receipt, anchor });
            }
            _ => self.waiting.push(format!("{}/_history/{}", opened.stored.name, opened.stored.version)),
        }
        Ok(())
    }

    fn anchor(&mut self, anchor: AnchorBundle) -> usize {
        let known = self.anchors.iter().position(|known| *known == anchor);
        known.unwrap_or_else(|| {
            self.anchors.push(anchor);
            self.anchors.len() - 1
        })
    }

    /// Whether every receipt has its anchor.
    pub fn is_anchored(&self) -> bool {
        self.waiting.is_empty() && self.items.iter().all(|item| item.anchor.is_some())
    }

    /// What was sent, in one number: SHA-256 over the log entries, sorted.
    pub fn content(&self) -> Digest {
        let entries: BTreeSet<&str> = self.items.iter().map(|item| item.receipt.entry.as_str()).collect();
        Digest::of(entries.into_iter().collect::<Vec<_>>().join("\n").as_bytes())
    }

    /// Holds each resource against the sender's log and anchor. Where the anchors are on a chain that this server reads, its nodes
    /// must have their blocks.
    pub async fn check(self, core: &Core, by: &Arc<Document>, accept: Accept) -> Result<Vec<Checked>, VaultError> {
        let nodes = self.confirmed(core).await;
        let (policy, by) = (policy(core, by, nodes), by.clone());
        in_background(move || Ok(self.judge(&policy, &by, accept))).await
    }

    fn judge(self, policy: &Policy, by: &Document, accept: Accept) -> Vec<Checked> {
        let bare = Policy { contracts: Vec::new(), nodes: None, ..policy.clone() };
        let mut cache = Cache::default();
        let Self { items, anchors, .. } = self;
        let one = |item: Item| {
            let Item { resource, mut receipt, anchor } = item;
            let verdict = match anchor.map(|n| anchors.get(n)) {
                Some(None) => Err(Unproved::Parcel),
                found => {
                    receipt.anchor = found.flatten().cloned();
                    let policy = if receipt.anchor.is_some() { policy } else { &bare };
                    judged(&mut cache, &receipt, &resource, by, policy, accept)
                }
            };
            let json = Json::parse(resource.get().as_bytes()).unwrap_or(Json::Null);
            Checked {
                name: receipt.reference,
                version: receipt.version_id,
                json,
                text: resource,
                entry: receipt.entry,
                verdict,
            }
        };
        items.into_iter().map(one).collect()
    }

    /// What our own nodes say of the blocks, each asked for once. Without a word from them in time a block proves nothing.
    async fn confirmed(&self, core: &Core) -> NodeAnswers {
        let mut answers = NodeAnswers::default();
        let Some((nodes, chain_id)) = core.chain.nodes() else { return answers };
        let ours = self.anchors.iter().filter(|anchor| anchor.chain_id == chain_id);
        let blocks: BTreeMap<_, _> = ours
            .filter_map(|anchor| read_header(&anchor.header).ok())
            .map(|header| (header.hash, header.number))
            .collect();
        let asking = async {
            for (hash, number) in blocks {
                if let Ok(said) = confirm(nodes.each(), chain_id, number, hash).await {
                    answers.keep(chain_id, hash, said);
                }
            }
        };
        if tokio::time::timeout(EXCHANGE_TIMEOUT, asking).await.is_err() {
            tracing::warn!("the nodes did not tell of all blocks of a parcel in time");
        }
        answers
    }
}

/// What counts of a sender: his pinned log and his pinned contract. On a chain that this server does not read, his anchor is worth
/// what a ledger of his own would be.
fn policy(core: &Core, by: &Document, nodes: NodeAnswers) -> Policy {
    let pinned = &by.said.anchor;
    let ours = core.chain.nodes().filter(|(_, chain_id)| *chain_id == pinned.chain_id);
    let kind = if ours.is_some() { core.chain.kind() } else { ChainKind::Embedded };
    let contract =
        TrustedContract { chain_id: pinned.chain_id, address: pinned.contract, code_hash: pinned.code_hash, kind };
    Policy {
        log_keys: vec![by.said.log.clone()],
        contracts: vec![contract],
        nodes: ours.map(|_| nodes),
        ..Policy::default()
    }
}

fn judged(
    cache: &mut Cache,
    receipt: &Receipt,
    resource: &RawValue,
    by: &Document,
    policy: &Policy,
    accept: Accept,
) -> Result<Grade, Unproved> {
    if receipt.custodian != by.said.custodian {
        return Err(Unproved::Custodian);
    }
    if receipt.opening.is_none() || receipt.kind() != Some(Kind::Resource) {
        return Err(Unproved::Unopened);
    }
    let verdict = verify_with(cache, receipt, Some(resource.get().as_bytes()), None, policy)?;
    let is_anchored = verdict.anchored.is_some() && verdict.grade >= Grade::AnchoredLocal;
    if accept == Accept::Anchored && !is_anchored { Err(Unproved::NotAnchored) } else { Ok(verdict.grade) }
}

impl Checked {
    /// Its name and version, where they are such.
    pub fn named(&self) -> Option<(Name, Version)> {
        Some((Name::parse(&self.name)?, Version::parse(&self.version)?))
    }

    /// `Type/id/_history/n`.
    pub fn place(&self) -> String {
        let named = self.named().map(|(name, version)| format!("{name}/_history/{version}"));
        named.unwrap_or_else(|| "a resource without a name".to_owned())
    }
}
