//! `medseal-verify many PATH...`: all cores, each with a cache of its own; the results in the order of the receipts.

use super::bar::bar;
use super::files::{policy, read};
use super::judge::{Judged, judge};
use super::say::{complain, say};
use super::show::{refusal_json, verdict_json};
use super::source::{Item, Source};
use super::summary::Summary;
use clap::Args;
use notary::receipt::Receipt;
use notary::verify::{Cache, Policy};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// So many receipts a thread takes at once: the lock is touched seldom, and all threads end at about the same time.
const AT_ONCE: usize = 64;
/// So many results may wait to be printed for each thread.
const WAITING: usize = 16;

#[derive(Debug, Args)]
pub struct Many {
    /// Receipts: files, directories of *.json, and *.ndjson or *.jsonl with a receipt on each line.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where the resources lie, as Type-id-version.json. A receipt whose resource is not there is checked without it.
    #[arg(long, value_name = "DIR")]
    resources: Option<PathBuf>,
    /// What you trust (TOML): log_keys, witnesses, contracts, blocks, validators. See docs/verify.md.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// How many cores are used; all where it is not said.
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
    /// Print a line of JSON for each receipt; the summary goes to standard error.
    #[arg(long)]
    json: bool,
}

/// A receipt's result.
struct Outcome {
    name: String,
    bytes: usize,
    judged: Judged,
}

/// Results and the place of their receipts.
type Batch = (u64, Vec<Outcome>);

/// Verifies all, prints what is wrong and sums up.
pub fn run(arguments: &Many) -> Result<ExitCode, String> {
    let policy = policy(arguments.policy.as_deref())?;
    let source = Source::new(&arguments.paths)?;
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let bar = bar("{bytes}/{total_bytes} {wide_bar} {eta} left");
    bar.set_length(source.total);
    let (start, mut summary) = (Instant::now(), Summary::default());
    let source = Mutex::new((0, source));
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING * threads);
        for _ in 0..threads {
            let (send, source, policy) = (send.clone(), &source, &policy);
            scope.spawn(move || work(source, arguments, policy, &send));
        }
        drop(send);
        in_order(receive, |outcome| {
            summary.count(&outcome.judged);
            if let Some(line) = line(&outcome, arguments.json) {
                bar.suspend(|| say(line));
            }
            bar.inc(outcome.bytes as u64);
        });
    });
    bar.finish_and_clear();
    let text = summary.text(start.elapsed());
    if arguments.json {
        complain(text)
    } else {
        say(text)
    }
    Ok(summary.code())
}

/// One thread: takes receipts until there are none.
fn work(source: &Mutex<(u64, Source)>, arguments: &Many, policy: &Policy, send: &SyncSender<Batch>) {
    let mut cache = Cache::default();
    loop {
        let (number, items) = next(source);
        let judge = |item| verified(item, arguments, policy, &mut cache);
        let outcomes: Vec<_> = items.into_iter().map(judge).collect();
        // Nobody listens any more only where printing has failed.
        if outcomes.is_empty() || send.send((number, outcomes)).is_err() {
            return;
        }
    }
}

fn next(source: &Mutex<(u64, Source)>) -> (u64, Vec<Item>) {
    let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
    let items = source.1.by_ref().take(AT_ONCE).collect();
    source.0 += 1;
    (source.0, items)
}

fn verified(item: Item, arguments: &Many, policy: &Policy, cache: &mut Cache) -> Outcome {
    let (name, read) = item.read();
    match read {
        Err(problem) => Outcome { name, bytes: 0, judged: Judged::Unread(problem) },
        Ok(bytes) => {
            let judged = judge(cache, &bytes, None, policy, |receipt| resource(receipt, arguments));
            Outcome { name, bytes: bytes.len(), judged }
        }
    }
}

/// The receipt's resource, if it lies there. Its name is the receipt's word: only what FHIR allows in a name is looked for.
fn resource(receipt: &Receipt, arguments: &Many) -> Result<Option<Vec<u8>>, String> {
    let Some(folder) = &arguments.resources else { return Ok(None) };
    let name = format!("{}-{}", receipt.reference.replacen('/', "-", 1), receipt.version_id);
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Ok(None);
    }
    let path = folder.join(format!("{name}.json"));
    if path.is_file() { read(&path, notary::canonical::MAX_BYTES).map(Some) } else { Ok(None) }
}

/// Hands on the results in the order of their receipts, whichever thread is first.
fn in_order(receive: Receiver<Batch>, mut each: impl FnMut(Outcome)) {
    let (mut early, mut wanted) = (BTreeMap::new(), 1);
    for (number, outcomes) in receive {
        early.insert(number, outcomes);
        while let Some(outcomes) = early.remove(&wanted) {
            outcomes.into_iter().for_each(&mut each);
            wanted += 1;
        }
    }
}

/// What is printed of a receipt: all in JSON, else what does not hold.
fn line(outcome: &Outcome, as_json: bool) -> Option<String> {
    let name = &outcome.name;
    if as_json {
        let mut value = match &outcome.judged {
            Judged::Holds(verdict) => verdict_json(verdict),
            Judged::Refused(refusal) => refusal_json(refusal),
            Judged::Unread(problem) => json!({"verdict": "UNREAD", "why": problem}),
        };
        value["receipt"] = json!(name);
        return Some(value.to_string());
    }
    match &outcome.judged {
        Judged::Holds(_) => None,
        Judged::Refused(refusal) => Some(format!("{name}: REFUSED {refusal}")),
        Judged::Unread(problem) => Some(problem.clone()),
    }
}
