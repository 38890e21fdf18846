//! Group commit. One committer takes all transactions that wait, resolves them in order, writes ONE pack and then ONE
//! database transaction, and only then answers each sender. While a group is being written the next one gathers (ADR 0034).

mod allowed;
mod committer;
mod keep;
mod moment;
mod names;
mod resolve;
mod seal;
mod told;
mod transaction;
mod view;
mod write;

pub use committer::{Waiting, run};
pub use transaction::{Author, Committed, Deleted, Done, KeptAs, RawMessage, Transaction, Written};

use crate::app::Core;
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::bundle::at_entry;
use crate::fhir::write::Write;
use crate::ids::{Name, Owner, ResourceId, TypeName};
use crate::index::blind::{Blinded, Mark};
use crate::index::store::{Batch, NewRecord, Place};
use crate::index::tokens::Token;
use crate::secret::{Key, bytes, system_random};
use crate::vault::keys::Wrapped;
use crate::vault::pack::{PackWriter, Record};
use crate::vault::seal::{Label, RecordKind};
use allowed::Rights;
use moment::Moment;
use notary::commitment::Digest;
use seal::Links;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The code of the issue that something was changed since (FHIR's issue type for edits that cross).
pub const NEWER: &str = "conflict";

/// The group being gathered: what its transactions did, visible to the later ones among them.
struct Group<'c> {
    core: &'c Core,
    pack: PackWriter,
    batch: Batch,
    /// What the group did that is being written.
    ahead: Option<Arc<Seen>>,
    /// What earlier transactions of the group did, and what the present one has done so far.
    seen: Seen,
    fresh: Seen,
    /// What the present transaction is about to do: its conditions are held against that, too.
    drafts: view::Drafts,
    /// How many resources the conditions of the present transaction were held against.
    looked_at: AtomicUsize,
    moment: Moment,
    /// Milliseconds since 1970: one time for a transaction, and none before it came.
    now: i64,
    /// What the ids begin with that the group makes: their rows lie together in the index, however large it is.
    beginning: [u8; 4],
}

/// What a group's transactions have changed and the index does not know yet.
#[derive(Default)]
struct Seen {
    resources: HashMap<Name, view::Pending>,
    marks: HashMap<TypeName, Vec<(Name, Vec<Mark>)>>,
    identities: HashMap<Token, Name>,
    messages: HashMap<Token, ResourceId>,
    keys: HashMap<Owner, (Key, Wrapped)>,
}

/// What one transaction adds, until all of it is known to be good.
#[derive(Default)]
struct Stage {
    /// Each with whether it is a deletion, and what finds it.
    records: Vec<(Record, bool, Blinded)>,
    identities: Vec<(Token, Name)>,
    stale: Vec<(Token, Name)>,
    message: Option<(Token, ResourceId)>,
    /// What was changed after this time is not to be written over, and what would be.
    since: Option<i64>,
    newer: Vec<String>,
}

impl Stage {
    fn nothing_newer(&self) -> Result<(), IngestError> {
        if self.newer.is_empty() {
            return Ok(());
        }
        let text = format!("what came after it would be written over: {}", self.newer.join(", "));
        Err(IngestError::Precondition(Issue::new(NEWER, text)))
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.resources.extend(other.resources);
        self.identities.extend(other.identities);
        self.keys.extend(other.keys);
        for (kind, marked) in other.marks {
            self.marks.entry(kind).or_default().extend(marked);
        }
    }
}

impl<'c> Group<'c> {
    /// A group whose moment is after the last one's, behind the one that is being written.
    fn new(core: &'c Core, last: Moment, ahead: Option<Arc<Seen>>) -> Self {
        let moment = Moment::after(last, core);
        Self {
            core,
            moment,
            pack: PackWriter::default(),
            batch: Batch::default(),
            ahead,
            seen: Seen::default(),
            fresh: Seen::default(),
            drafts: view::Drafts::default(),
            looked_at: AtomicUsize::new(0),
            now: moment.time,
            beginning: moment::by_chance(),
        }
    }

    /// Resolves and seals one transaction. On an error the group is as it was before.
    async fn add(&mut self, transaction: Transaction) -> Result<Committed, IngestError> {
        self.now = self.core.clock.now().as_millisecond().max(self.now);
        let staged = self.stage(transaction).await;
        let fresh = std::mem::take(&mut self.fresh);
        self.drafts = view::Drafts::default();
        *self.looked_at.get_mut() = 0;
        let (stage, done) = staged?;
        self.seen.add(fresh);
        Ok(self.keep(stage, done))
    }

    /// Nothing done means: this message had been taken before.
    async fn stage(&mut self, transaction: Transaction) -> Result<(Stage, Option<Vec<Done>>), IngestError> {
        let mut stage = Stage::default();
        let raw = transaction.message.as_ref().map(|m| Digest::of(&m.bytes));
        if let (Some(message), Some(raw)) = (&transaction.message, raw) {
            let token = message.token(self.core, raw);
            if let Some(id) = self.taken(&token)? {
                stage.message = Some((token, id));
                return Ok((stage, None));
            }
            stage.message = Some((token, self.new_id()?));
        }
        stage.since = transaction.message.as_ref().and_then(RawMessage::since);
        let done = self.write_all(&transaction.by, transaction.writes, raw, &mut stage).await?;
        stage.nothing_newer()?;
        if let Some(message) = transaction.message {
            self.seal_message(&message, &done, &mut stage).await?;
        }
        Ok((stage, Some(done)))
    }

    /// All writes in the standard's order, their outcomes in the sender's.
    async fn write_all(
        &mut self,
        by: &Author,
        writes: Vec<Write>,
        raw: Option<Digest>,
        stage: &mut Stage,
    ) -> Result<Vec<Done>, IngestError> {
        allowed::conditions(by, &writes)?;
        let intended = told::intended(&writes);
        let goals = self.resolve_all(by, &writes, stage).await?;
        let links = Links { by, by_url: &goals.by_url };
        let mut writes: Vec<_> = writes.into_iter().zip(goals.goals).enumerate().collect();
        writes.sort_by_key(|(_, (write, _))| write.act.rank());
        let mut done = Vec::with_capacity(writes.len());
        for (n, (write, goal)) in writes {
            let entry = write.entry;
            let rights = Rights::of(by, &write.act);
            let written = match rights {
                Ok(rights) => self.write_one(&rights, write.act, goal, links, raw, stage).await,
                Err(denied) => Err(denied),
            };
            done.push((n, written.map_err(|error| located(error, entry))?));
        }
        done.sort_by_key(|(n, _)| *n);
        let done: Vec<Done> = done.into_iter().map(|(_, done)| done).collect();
        if let Some(caller) = by.caller() {
            self.tell(caller, (&intended, &done), stage).await?;
        }
        Ok(done)
    }

    fn keep(&mut self, stage: Stage, done: Option<Vec<Done>>) -> Committed {
        for (mut record, deleted, mut blinded) in stage.records {
            let label = record.sealed.label.clone();
            record.claims = claims(&stage.identities, &stage.message, &label);
            if label.owner.is_patient() {
                blinded.lookups.push(self.core.tokens.owner(&label.owner));
                self.batch.owners.push(label.owner);
            }
            // Which pack it is, is known when the group is closed.
            let extent = self.pack.add(&record);
            self.batch.records.push(NewRecord {
                type_name: label.type_name,
                id: label.id,
                version: label.version,
                place: Place { pack: String::new(), extent },
                updated: record.time,
                deleted,
                blinded,
                entry: record.entry,
            });
        }
        for (token, _) in &stage.stale {
            // An earlier transaction of the group may have made the claim that this one lets go.
            self.batch.identities.retain(|(t, _)| t != token);
        }
        self.batch.stale.extend(stage.stale);
        self.batch.identities.extend(stage.identities);
        self.batch.owners.sort_unstable();
        self.batch.owners.dedup();
        let duplicate = done.is_none();
        if let (Some((token, id)), false) = (&stage.message, duplicate) {
            self.seen.messages.insert(*token, id.clone());
            self.batch.messages.push((*token, id.clone()));
        }
        Committed { done: done.unwrap_or_default(), message: stage.message.map(|(_, id)| id), duplicate }
    }

    fn taken(&self, token: &Token) -> Result<Option<ResourceId>, VaultError> {
        match self.known(|seen| seen.messages.get(token)) {
            Some(id) => Ok(Some(id.clone())),
            None => Ok(self.core.store.taken(token)?),
        }
    }

    /// The newest that is known of something and may not be in the index yet.
    fn known<'s, T>(&'s self, of: impl FnMut(&'s Seen) -> Option<T>) -> Option<T> {
        [Some(&self.fresh), Some(&self.seen), self.ahead.as_deref()].into_iter().flatten().find_map(of)
    }

    /// Whether nothing was done that is not in the index yet.
    fn is_first(&self) -> bool {
        self.pack.is_empty() && self.ahead.is_none()
    }

    fn new_id(&self) -> Result<ResourceId, VaultError> {
        let mut id = bytes(&system_random)?;
        id[..self.beginning.len()].copy_from_slice(&self.beginning);
        Ok(ResourceId::from_bytes(id))
    }
}

/// What is wrong with an entry of a Bundle is told there.
fn located(error: IngestError, entry: Option<usize>) -> IngestError {
    match entry {
        Some(n) => error.located(|issue| at_entry(issue, n)),
        None => error,
    }
}

/// What a record is recognised by: the identities that its resource claims, or the token of the message.
fn claims(identities: &[(Token, Name)], message: &Option<(Token, ResourceId)>, label: &Label) -> Vec<Token> {
    match message {
        Some((token, id)) if label.kind == RecordKind::Message && *id == label.id => vec![*token],
        _ => {
            let own = |name: &Name| name.kind.as_str() == label.type_name && name.id == label.id;
            identities.iter().filter(|(_, name)| own(name)).map(|(token, _)| *token).collect()
        }
    }
}
