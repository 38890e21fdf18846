//! The committer: groups what waits, has it written, and answers each sender. While one group is being written the next one gathers
//! behind it and sees what it did; where that one is not stored, the next one is gathered anew.

use super::moment::Moment;
use super::names::Names;
use super::write::Closed;
use super::{Committed, Group, Seen, Transaction};
use crate::app::Core;
use crate::error::{IngestError, VaultError};
use crate::index::store::StoreError;
use crate::index::write::Turn;
use crate::limits::{MAX_GROUP, MAX_GROUP_BYTES, MAX_RACES};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{Instrument, Span, info_span};

/// A waiting transaction and who waits for it.
pub struct Waiting {
    pub transaction: Transaction,
    pub reply: oneshot::Sender<Result<Committed, IngestError>>,
    /// What it belongs to, for its trace.
    pub span: Span,
}

/// The committer's loop: ends when the last sender is gone and all that waited is committed.
pub async fn run(core: Arc<Core>, queue: mpsc::Receiver<Waiting>) {
    let (again, last) = (VecDeque::new(), Moment::default());
    let names = Names::default();
    let mut committer = Committer { core: core.clone(), queue, again, last, names, races: 0, turn: None };
    committer.names.send_for_more(&core);
    let mut ahead: Option<Flight> = None;
    loop {
        let gathered = match committer.next(ahead.as_mut(), true).await {
            Some(first) => Some(committer.gather(&core, first, ahead.as_mut()).await),
            None if ahead.is_some() => None,
            None => return committer.names.give_up(&core).await,
        };
        let landed = match ahead.take() {
            Some(flight) => Some(flight.end().await),
            None => None,
        };
        ahead = committer.go_on(landed, gathered).await;
    }
}

/// What is gathered from, and what happened to the groups before.
struct Committer {
    core: Arc<Core>,
    queue: mpsc::Receiver<Waiting>,
    /// Gathered before, in groups that were not written.
    again: VecDeque<Waiting>,
    last: Moment,
    names: Names,
    /// How often, one after the other, somebody else came before.
    races: u32,
    /// Taken for the next group: until it is written nobody else commits.
    turn: Option<Turn>,
}

/// A group with those who wait for it.
struct Gathered<'c> {
    group: Group<'c>,
    /// How many it was, with those who were refused and are answered already.
    taken: usize,
    done: Vec<Waited>,
}

/// One whose transaction is in a group, or was refused beside it.
struct Waited {
    reply: oneshot::Sender<Result<Committed, IngestError>>,
    outcome: Result<Committed, IngestError>,
    /// To do it again, if somebody else comes before.
    transaction: Transaction,
    span: Span,
}

/// A group that is being written.
struct Flight {
    seen: Arc<Seen>,
    task: JoinHandle<Landed>,
    landed: Option<Landed>,
}

/// What became of a group.
enum Landed {
    Stored,
    /// Those whose senders were not told so, since it is worth another try.
    NotStored(Vec<Waiting>),
}

impl Committer {
    /// What is to be gathered next. None: the group ahead has landed, or nobody else waits, or nobody can send any more. Nobody waits for
    /// company, but behind a group that is being written there is nothing else to do. Where others write the index, too, what was
    /// gathered so early would mostly come too late.
    async fn next(&mut self, ahead: Option<&mut Flight>, is_first: bool) -> Option<Waiting> {
        match ahead {
            Some(flight) if self.core.store.is_shared() => {
                flight.land().await;
                None
            }
            _ if !self.again.is_empty() => self.again.pop_front(),
            Some(flight) => tokio::select! {
                biased;
                () = flight.land() => None,
                next = self.queue.recv() => next,
            },
            None if is_first => self.queue.recv().await,
            // Others wait for the turn.
            None if self.turn.is_some() => None,
            None => self.queue.try_recv().ok(),
        }
    }

    /// A group that begins with one: what waits beside it, and what comes until the group ahead has landed.
    async fn gather<'c>(&mut self, core: &'c Core, first: Waiting, mut ahead: Option<&mut Flight>) -> Gathered<'c> {
        let seen = ahead.as_ref().map(|flight| flight.seen.clone());
        let mut gathered = Gathered { group: Group::new(core, self.last, seen), taken: 0, done: Vec::new() };
        gathered.add(first).await;
        while !gathered.is_full()
            && let Some(waiting) = self.next(ahead.as_deref_mut(), false).await
        {
            gathered.add(waiting).await;
        }
        self.last = gathered.group.moment.until(gathered.group.now);
        gathered
    }

    /// Has the next group written, if the one ahead is stored.
    async fn go_on(&mut self, landed: Option<Landed>, gathered: Option<Gathered<'_>>) -> Option<Flight> {
        match landed {
            Some(Landed::NotStored(raced)) => {
                self.start_anew(raced, gathered.map_or_else(Vec::new, |gathered| gathered.done)).await;
                return None;
            }
            Some(Landed::Stored) => self.races = 0,
            None => {}
        }
        let Some(gathered) = gathered.filter(|gathered| !gathered.done.is_empty()) else {
            // Others wait for their turn.
            self.turn = None;
            return None;
        };
        Some(self.launch(gathered).await)
    }

    async fn launch(&mut self, gathered: Gathered<'_>) -> Flight {
        let name = self.names.next(&self.core, gathered.group.moment).await;
        let closed = gathered.group.finish(name);
        let seen = closed.seen.clone();
        let may_race = self.races < MAX_RACES;
        let task = tokio::spawn(fly(self.core.clone(), closed, gathered.done, self.turn.take(), may_race));
        Flight { seen, task, landed: None }
    }

    /// The group ahead is not stored: what was gathered behind it saw what is not so. Where somebody else came before it, it is gathered
    /// anew, too, with the turn taken first, so that nobody can come before it again.
    async fn start_anew(&mut self, raced: Vec<Waiting>, behind: Vec<Waited>) {
        match raced.is_empty() {
            true => self.races = 0,
            false => {
                self.races += 1;
                // What came before is newer than what is known of here.
                self.last = Moment::default();
                self.names.give_up(&self.core).await;
                self.turn = self.core.store.is_shared().then(|| self.core.store.turn().ok()).flatten();
            }
        }
        let later = std::mem::take(&mut self.again);
        self.again = raced.into_iter().chain(behind.into_iter().map(Waited::again)).chain(later).collect();
    }
}

impl Gathered<'_> {
    fn is_full(&self) -> bool {
        self.taken >= MAX_GROUP || self.group.pack.len() >= MAX_GROUP_BYTES
    }

    async fn add(&mut self, Waiting { transaction, reply, span }: Waiting) {
        self.taken += 1;
        let sealing = within(&span, || info_span!("seal"));
        match self.group.add(transaction.clone()).instrument(sealing).await {
            // Refused alone: it leaves no trace in the group. A sender that has gone needs no answer.
            Err(error) if self.group.is_first() => _ = reply.send(Err(error)),
            // What others did may be why it was refused, and if that is lost they did not do it.
            outcome => self.done.push(Waited { reply, outcome, transaction, span }),
        }
    }
}

impl Waited {
    fn again(self) -> Waiting {
        Waiting { transaction: self.transaction, reply: self.reply, span: self.span }
    }
}

impl Flight {
    /// Waits until it is known what became of the group; it may be asked again.
    async fn land(&mut self) {
        if self.landed.is_some() {
            return;
        }
        self.landed = Some(match (&mut self.task).await {
            Ok(landed) => landed,
            // Nobody knows what is stored of it: the process is not worth keeping.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Landed::NotStored(Vec::new()),
        });
    }

    async fn end(mut self) -> Landed {
        self.land().await;
        self.landed.unwrap_or(Landed::Stored)
    }
}

/// Writes a group and answers those who wait for it.
async fn fly(core: Arc<Core>, group: Closed, done: Vec<Waited>, turn: Option<Turn>, may_race: bool) -> Landed {
    let (began, spans) = (Instant::now(), committing(&done));
    let outcome = group.write(&core, turn).await;
    drop(spans);
    match outcome {
        Err(error) if may_race && lost_race(&core, &error) => {
            tracing::debug!(%error, "a group is gathered anew");
            Landed::NotStored(done.into_iter().map(Waited::again).collect())
        }
        outcome => {
            core.metrics.commits.took(began.elapsed(), &[if outcome.is_ok() { "stored" } else { "failed" }]);
            core.metrics.group.record(done.len() as u64, &[]);
            let landed = if outcome.is_ok() { Landed::Stored } else { Landed::NotStored(Vec::new()) };
            answer(&core, done, outcome);
            landed
        }
    }
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
        VaultError::Index(StoreError::Conflict) => core.store.is_shared(),
        VaultError::Index(StoreError::Stale | StoreError::Erased { .. }) => true,
        _ => false,
    }
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
        // Who was refused beside others was perhaps refused for what they did, and that is not so.
        _ = reply.send(match &outcome {
            Err(error) => Err(IngestError::NotStored(error.clone())),
            Ok(()) => own,
        });
    }
}
