//! One round of anchoring: look at the chain, take what is on its way a step further, begin the next. Safe to repeat and safe to be
//! cut off anywhere: what was signed is kept before it is sent, and the contract takes each size once.

use super::pending::{Pending, Step, step};
use super::{EvmError, Finality, Sender, View};
use crate::tree::Root;

/// The log that is anchored, and what is remembered of what is on its way.
pub trait AnchoredLog {
    type Error: From<EvmError>;

    /// Size and root of the newest checkpoint; none of an empty log.
    fn newest(&self) -> Result<Option<(u64, Root)>, Self::Error>;

    /// The root over the first `size` entries; none if the log is shorter.
    fn root(&self, size: u64) -> Result<Option<Root>, Self::Error>;

    /// The consistency proof between two sizes (RFC 9162 section 2.1.4); empty from 0.
    fn prove(&self, from: u64, to: u64) -> Result<Vec<[u8; 32]>, Self::Error>;

    /// The anchor that is on its way.
    fn pending(&self) -> Result<Option<Pending>, Self::Error>;

    /// Keeps it, durably, or forgets it. Refused to whom no longer holds the lease.
    fn keep(&self, pending: Option<&Pending>) -> Result<(), Self::Error>;
}

/// How anchoring behaves on a chain.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub finality: Finality,
    /// After how many seconds without a block fees are raised.
    pub patience: u64,
    /// How old the newest block may be, in seconds, where blocks come regularly.
    pub max_age: Option<u64>,
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Everything is anchored, or nothing is there to be.
    Nothing,
    /// An anchor is on its way, or stands in a block that may still go.
    Waiting,
    Sent,
    SentAgain,
    Raised,
    /// It pays too little, and more may not be paid.
    AboveCap,
}

/// Takes anchoring one step further. `now` in seconds since 1970.
pub async fn round<L: AnchoredLog>(
    sender: &Sender,
    log: &L,
    manner: &Manner,
    now: u64,
) -> Result<(View, Done), L::Error> {
    let view = sender.nodes().view(manner.finality, now, manner.max_age).await?;
    for held in [&view.last, &view.newest] {
        same_log(log, held.size, held.root)?;
    }
    if let Some(pending) = log.pending()? {
        if let Some(done) = follow(sender, log, manner, (&view, &pending), now).await? {
            return Ok((view, done));
        }
        // A crash here begins the same anchor anew: the contract refuses what it has.
        log.keep(None)?;
    }
    let done = begin(sender, log, &view, now).await?;
    Ok((view, done))
}

/// What the contract holds must be of this very log.
pub fn same_log<L: AnchoredLog>(log: &L, size: u64, held: Option<Root>) -> Result<(), L::Error> {
    let Some(held) = held else { return Ok(()) };
    match log.root(size)? {
        Some(root) if root == held => Ok(()),
        Some(_) => Err(EvmError::OtherLog { size }.into()),
        None => Err(EvmError::LogBehind { size }.into()),
    }
}

/// Nothing: it is over, in one way or the other.
async fn follow<L: AnchoredLog>(
    sender: &Sender,
    log: &L,
    manner: &Manner,
    (view, pending): (&View, &Pending),
    now: u64,
) -> Result<Option<Done>, L::Error> {
    let seen = sender.seen(view, pending).await?;
    Ok(match step(pending, &seen, now, manner.patience) {
        Step::Done | Step::GiveUp(_) => None,
        Step::Wait => Some(Done::Waiting),
        Step::Again => match sender.broadcast(pending).await {
            // The pool gave it up, or never took it: fees have risen above what it pays.
            Err(EvmError::NotTaken { .. }) => Some(raise(sender, log, (view, pending), now).await?),
            sent => {
                sent?;
                Some(Done::SentAgain)
            }
        },
        Step::Raise => Some(raise(sender, log, (view, pending), now).await?),
    })
}

async fn raise<L: AnchoredLog>(
    sender: &Sender,
    log: &L,
    (view, pending): (&View, &Pending),
    now: u64,
) -> Result<Done, L::Error> {
    match sender.raise(view, pending, now).await? {
        Some(raised) => send(sender, log, &raised, Done::Raised).await,
        None => Ok(Done::AboveCap),
    }
}

async fn begin<L: AnchoredLog>(sender: &Sender, log: &L, view: &View, now: u64) -> Result<Done, L::Error> {
    let head = view.newest.size;
    let Some((size, root)) = log.newest()?.filter(|(size, _)| *size > head) else {
        return Ok(if view.last.size < head { Done::Waiting } else { Done::Nothing });
    };
    let proof = log.prove(head, size)?;
    let pending = sender.prepare(view, (size, root), &proof, now).await?;
    send(sender, log, &pending, Done::Sent).await
}

async fn send<L: AnchoredLog>(sender: &Sender, log: &L, pending: &Pending, done: Done) -> Result<Done, L::Error> {
    log.keep(Some(pending))?;
    // A crash here leaves what the next round sends.
    sender.broadcast(pending).await?;
    Ok(done)
}
