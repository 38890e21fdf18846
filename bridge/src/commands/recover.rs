//! `medseal recover`: builds the index anew from packs, wrapped keys, the published log and the root key, and says what proves it.

use super::Failed;
use crate::anchor;
use crate::anchor::AnchorError;
use crate::app;
use crate::app::Core;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::upkeep::recover::{Report, recover};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;

/// A bar on standard error, plain where that is no terminal.
pub fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {pos}/{len} {wide_bar} {elapsed}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Shows how far something is.
pub fn show(bar: &ProgressBar, what: &str, done: u64, total: u64) {
    bar.set_message(what.to_owned());
    bar.set_length(total.max(done));
    bar.set_position(done);
}

/// Recovers, and puts into the log what had waited for it.
pub async fn run(config: &Config) -> Result<(), Failed> {
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let report = recover(config, Arc::new(SystemClock), &tell).await.map_err(Failed::from_error)?;
    bar.finish_and_clear();
    let opened = app::open(config, Arc::new(SystemClock)).await;
    let waiting = opened.as_ref().ok().and_then(|opened| opened.core.store.waiting().ok()).unwrap_or(0);
    let mut anchored = Anchored::of(config, &report);
    if let Ok(opened) = &opened {
        match anchor::step_once(&opened.core).await {
            // What waits goes on with the service, and so does the comparison.
            Err(AnchorError::Evm(error)) if error.is_away() => {}
            done => anchored.compared(&opened.core, done.map_err(Failed::from_error)?),
        }
    }
    print(&report, &anchored, waiting);
    match (report.faults.len(), opened.err()) {
        (0, None) => Ok(()),
        (0, Some(error)) => Err(Failed::from_error(error)),
        (faults, _) => Err(Failed(format!(
            "{faults} faults: what they name is not recovered: put it back, and recover again from the index as it was before (your backup of it, or none: move this one away)"
        ))),
    }
}

/// What the recovered log was held against.
enum Anchored {
    Ledger(u64),
    NoLedger,
    /// The contract's newest root, as nodes prove it; nothing while none answered.
    Chain(Option<u64>),
}

impl Anchored {
    fn of(config: &Config, report: &Report) -> Self {
        match (&config.chain, report.anchored) {
            (Some(_), _) => Self::Chain(None),
            (None, Some(size)) => Self::Ledger(size),
            (None, None) => Self::NoLedger,
        }
    }

    /// A round of anchoring ends only where what the contract holds is of this log.
    fn compared(&mut self, core: &Core, was_our_turn: bool) {
        if let Self::Chain(size) = self
            && was_our_turn
        {
            *size = anchor::progress(core).ok().map(|progress| progress.anchored);
        }
    }

    fn say(&self) {
        match self {
            Self::Ledger(size) => say!("proved: the ledger holds the root of the first {size} of them"),
            Self::NoLedger => {
                say!("no ledger is here (ledger.journal): no anchor was compared, and a new ledger begins")
            }
            Self::Chain(Some(size)) => {
                say!("proved: the contract on the chain holds the root of the first {size} of them")
            }
            Self::Chain(None) => {
                say!(
                    "no node of the chain answered: its anchors were not compared; the service does, and signs nothing that contradicts them"
                )
            }
        }
    }
}

fn print(report: &Report, anchored: &Anchored, waiting: u64) {
    let Report { records, messages, never_committed, erased, proved, evidence, faults, .. } = report;
    say!("{} versions and {messages} messages were put into the index", records - messages);
    match proved {
        Some(size) => say!("proved: the {size} entries of the published log, by its signed checkpoint"),
        None => say!("not proved: no log was published beside the packs, so it was begun anew"),
    }
    anchored.say();
    if *evidence > 0 {
        say!("ALARM: {evidence} logs that are witnessed here have signed two histories: see /log/status.json");
    }
    say!("{waiting} entries were committed after the last checkpoint and follow it now, in the order of their packs");
    say!("{never_committed} packs were never committed and are left out; {erased} patients are erased and stay so");
    faults.iter().for_each(|fault| say!("fault: {fault}"));
}
