//! The committer: groups what waits, has it written, and answers each sender.

use super::moment::Moment;
use super::{Committed, Group, Transaction};
use crate::app::Core;
use crate::error::{IngestError, VaultError};
use crate::index::store::StoreError;
use crate::limits::{MAX_GROUP, MAX_GROUP_BYTES, MAX_RACES};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span, info_span};

/// A waiting transaction and who waits for it.
pub struct Waiting {
    pub transaction: Transaction,
    pub reply: oneshot::Sender<Result<Committed, IngestError>>,
    /// What it belongs to, for its trace.
    pub span: Span,
}

/// The committer's loop: ends when the last sender is gone and all that waited is committed.
pub async fn run(core: Arc<Core>, mut queue: mpsc::Receiver<Waiting>) {
    let mut last = Moment::default();
    while let Some(first) = queue.recv().await {
        let mut group = vec![first];
        while group.len() < MAX_GROUP {
            match queue.try_recv() {
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        last = commit_group(&core, group, last).await;
    }
}

/// Commits what waits and tells the time of it, which the next group's is after. A group that somebody else came before is
/// gathered anew: another replica, and then with the turn taken first, so that nobody can come before it again; or an
/// erasure, of a patient of one of its transactions, which alone is refused then.
async fn commit_group(core: &Core, mut waiting: Vec<Waiting>, mut last: Moment) -> Moment {
    let (mut races, mut turn) = (0, None);
    while !waiting.is_empty() {
        let Gathered { group, done, rest } = gather(core, waiting, last).await;
        last = group.moment;
        let (began, spans) = (Instant::now(), committing(&done));
        let outcome = group.write(turn.take()).await;
        drop(spans);
        waiting = match outcome {
            Err(error) if races < MAX_RACES && lost_race(core, &error) => {
                races += 1;
                tracing::debug!(%error, races, "a group is gathered anew");
                turn = core.store.is_shared().then(|| core.store.turn().ok()).flatten();
                done.into_iter().map(Waited::again).chain(rest).collect()
            }
            outcome => {
                races = 0;
                core.metrics.commits.took(began.elapsed(), &[if outcome.is_ok() { "stored" } else { "failed" }]);
                core.metrics.group.record(done.len() as u64, &[]);
                answer(core, done, outcome);
                rest
            }
        };
    }
    last
}

/// A span for each one that belongs to a trace: the group is committed for all of them at once.
fn committing(done: &[Waited]) -> Vec<Span> {
    done.iter().map(|one| within(&one.span, || info_span!("commit"))).collect()
}

/// A span of what belongs to one; of what belongs to none nothing is told.
fn within(of: &Span, make: impl FnOnce() -> Span) -> Span {
    if of.is_none() { Span::none() } else { of.in_scope(make) }
}

/// Somebody else wrote first: another replica, or who erases a patient.
fn lost_race(core: &Core, error: &VaultError) -> bool {
    match error {
        VaultError::Index(StoreError::Conflict | StoreError::Stale) => core.store.is_shared(),
        VaultError::Index(StoreError::Erased { .. }) => true,
        _ => false,
    }
}

/// A group with those who wait for it, and those for whom it had no room.
struct Gathered<'c> {
    group: Group<'c>,
    done: Vec<Waited>,
    rest: Vec<Waiting>,
}

/// One whose transaction is in a group, or was refused beside it.
struct Waited {
    reply: oneshot::Sender<Result<Committed, IngestError>>,
    outcome: Result<Committed, IngestError>,
    /// To do it again, if somebody else comes before.
    transaction: Transaction,
    span: Span,
}

impl Waited {
    fn again(self) -> Waiting {
        Waiting { transaction: self.transaction, reply: self.reply, span: self.span }
    }
}

async fn gather<'c>(core: &'c Core, waiting: Vec<Waiting>, last: Moment) -> Gathered<'c> {
    let mut group = Group::new(core, last);
    let mut queue = waiting.into_iter();
    let mut done = Vec::new();
    for Waiting { transaction, reply, span } in queue.by_ref() {
        let sealing = within(&span, || info_span!("seal"));
        match group.add(transaction.clone()).instrument(sealing).await {
            // Refused alone: it leaves no trace in the group. A sender that has gone needs no answer.
            Err(error) if group.pack.is_empty() => _ = reply.send(Err(error)),
            // What others of the group did may be why it was refused, and if the group is lost they did not do it.
            outcome => done.push(Waited { reply, outcome, transaction, span }),
        }
        if group.pack.len() >= MAX_GROUP_BYTES {
            break;
        }
    }
    Gathered { group, done, rest: queue.collect() }
}

fn answer(core: &Core, done: Vec<Waited>, outcome: Result<(), VaultError>) {
    let outcome = outcome.map_err(Arc::new);
    match &outcome {
        Ok(()) => {
            core.wake_sequencer.notify_one();
            core.notices.committed.notify_one();
        }
        Err(error) => {
            tracing::error!(%error, transactions = done.len(), "a group was not stored: its senders may try again")
        }
    }
    for Waited { reply, outcome: own, span, .. } in done {
        if outcome.is_ok() && own.is_ok() && core.lease.held().is_some() {
            core.traces.committed(&span);
        }
        _ = reply.send(match (own, &outcome) {
            (Ok(_), Err(error)) => Err(IngestError::NotStored(error.clone())),
            (own, _) => own,
        });
    }
}
