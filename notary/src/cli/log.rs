//! `medseal-verify log URL`.

use super::bar::bar;
use super::files::policy;
use super::nodes::{nodes, wait};
use super::say::{UNANSWERED, say};
use super::show::{name_and_why, refusal_json};
use alloy_primitives::{Address, B256};
use clap::Args;
use notary::chain::evm::Node;
use notary::checkpoint::{Checkpoint, LogKey};
use notary::monitor::{Anchors, Question, Source, Stop, Walked, anchors, reread};
use notary::verify::{Cosigners, Policy};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Log {
    /// Where the log is published, such as https://HOST/log.
    url: String,
    /// The log's public key, where no policy names it.
    #[arg(long)]
    key: Vec<String>,
    /// What you trust (TOML): log_keys, witnesses, contracts. See docs/verify.md.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A node of the chain that the log is anchored on. May be given several times: all that answer must agree.
    #[arg(long, value_name = "URL")]
    rpc: Vec<String>,
    /// The anchor contract, where the policy does not name just one.
    #[arg(long, value_name = "ADDRESS", requires = "rpc", requires = "chain_id")]
    contract: Option<Address>,
    /// The chain's id.
    #[arg(long, value_name = "N", requires = "contract")]
    chain_id: Option<u64>,
    /// The block in which the contract was deployed: its events are looked for from there on.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rpc")]
    from_block: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Which contract on which chain.
struct Wanted {
    chain_id: u64,
    contract: Address,
    code_hash: Option<B256>,
}

/// What is asked, and of whom.
struct Asked<'a> {
    arguments: &'a Log,
    policy: &'a Policy,
    keys: &'a [LogKey],
    source: &'a Source,
    nodes: &'a [Node],
}

/// A log that fits.
struct Fits {
    checkpoint: Checkpoint,
    cosigners: Cosigners,
    anchors: Option<Anchors>,
    walked: Walked,
}

/// Re-reads the log, and prints that it fits or where it first breaks.
pub fn run(arguments: &Log) -> Result<ExitCode, String> {
    let policy = policy(arguments.policy.as_deref())?;
    let keys = keys(arguments, &policy)?;
    let wanted = wanted(arguments, &policy)?;
    let (source, nodes) = (Source::new(&arguments.url)?, nodes(&arguments.rpc)?);
    let asked = Asked { arguments, policy: &policy, keys: &keys, source: &source, nodes: &nodes };
    match wait(check(&asked, wanted))? {
        Ok(fits) => {
            fits.print(arguments.json);
            Ok(ExitCode::SUCCESS)
        }
        Err(Stop::Away(why)) => {
            let why = format!("cannot say: {why}");
            let value = json!({"verdict": "UNANSWERED", "why": why});
            say(if arguments.json { value.to_string() } else { format!("UNANSWERED {why}") });
            Ok(ExitCode::from(UNANSWERED))
        }
        Err(Stop::Broken(broken)) => {
            let mut value = refusal_json(&broken);
            value["place"] = json!(broken.place());
            let (name, why) = name_and_why(&broken);
            say(if arguments.json { value.to_string() } else { format!("BROKEN {name}: {why}") });
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The chain before the checkpoint: an anchor that is made meanwhile is of no log that is longer than what is read.
async fn check(asked: &Asked<'_>, wanted: Option<Wanted>) -> Result<Fits, Stop> {
    let anchors = match wanted {
        Some(wanted) => Some(read_anchors(asked, &wanted).await?),
        None => None,
    };
    let (checkpoint, cosigners) = asked.source.checkpoint(asked.keys, asked.policy).await?;
    let bar = bar("{pos}/{len} entries {wide_bar} {eta} left");
    bar.set_length(checkpoint.size);
    let list = anchors.as_ref().map(|anchors| anchors.list.clone()).unwrap_or_default();
    let walked = reread(asked.source, checkpoint.clone(), list, &mut |size| bar.set_position(size)).await;
    bar.finish_and_clear();
    Ok(Fits { checkpoint, cosigners, anchors, walked: walked? })
}

async fn read_anchors(asked: &Asked<'_>, wanted: &Wanted) -> Result<Anchors, Stop> {
    let &Wanted { chain_id, contract, code_hash } = wanted;
    let (nodes, from_block) = (asked.nodes, asked.arguments.from_block);
    let question = Question { nodes, chain_id, contract, code_hash, from_block };
    let bar = bar("{pos}/{len} blocks {wide_bar} {eta} left");
    let mut tell = |block, last| {
        bar.set_length(last);
        bar.set_position(block);
    };
    let found = anchors(&question, &mut tell).await;
    bar.finish_and_clear();
    found
}

fn keys(arguments: &Log, policy: &Policy) -> Result<Vec<LogKey>, String> {
    let all = arguments.key.iter().chain(&policy.log_keys);
    let keys: Vec<_> =
        all.map(|key| LogKey::parse(key).map_err(|e| format!("{key}: {e}"))).collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err("give the log's public key, with --key or as log_keys in the policy".to_owned());
    }
    Ok(keys)
}

/// The contract of the arguments, else the policy's only one. The policy's word for the code counts for both.
fn wanted(arguments: &Log, policy: &Policy) -> Result<Option<Wanted>, String> {
    if arguments.rpc.is_empty() {
        return Ok(None);
    }
    let only = match policy.contracts.as_slice() {
        [only] => Some((only.chain_id, only.address)),
        _ => None,
    };
    let named = arguments.chain_id.zip(arguments.contract).or(only);
    let (chain_id, contract) =
        named.ok_or("name the contract with --contract and --chain-id, or just one in the policy")?;
    let listed = policy.contracts.iter().find(|c| c.chain_id == chain_id && c.address == contract);
    if listed.is_none() && !policy.contracts.is_empty() {
        return Err(format!("the policy does not name the contract {contract} on chain {chain_id}"));
    }
    Ok(Some(Wanted { chain_id, contract, code_hash: listed.and_then(|c| c.code_hash) }))
}

impl Fits {
    fn print(&self, as_json: bool) {
        if as_json { say(self.json()) } else { self.lines() }
    }

    fn json(&self) -> Value {
        let Self { checkpoint: Checkpoint { origin, size, root }, walked, .. } = self;
        let chain = self.anchors.as_ref().map(|a| {
            json!({"block": a.block.number, "hash": a.block.hash, "nodes": a.nodes, "codeHash": a.code_hash,
                   "anchors": walked.anchors, "anchored": walked.anchored})
        });
        let log = json!({"origin": origin, "size": size, "root": root.to_string()});
        let witnesses: Vec<_> = self.cosigners.signed.iter().map(|(name, _)| name).collect();
        json!({"verdict": "FITS", "log": log, "entries": walked.entries, "tiles": walked.tiles,
               "witnesses": witnesses, "chain": chain})
    }

    fn lines(&self) {
        let Self { checkpoint: Checkpoint { origin, size, root }, walked, .. } = self;
        say(format!("FITS: {size} entries of {origin} give the root that the checkpoint signs, {root}"));
        let kinds: Vec<_> = walked.entries.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        say(format!("  entries:  {}", if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }));
        say(format!("  tiles:    {} compared", walked.tiles));
        self.cosigners.sentences().for_each(|sentence| say(format!("  rests on: {sentence}")));
        say(match &self.anchors {
            None => "  anchors:  not looked at; --rpc URL does".to_owned(),
            Some(a) => format!(
                "  anchors:  {} up to size {}, all on this history: in block {} ({}) by {} nodes, code {}",
                walked.anchors, walked.anchored, a.block.number, a.block.hash, a.nodes, a.code_hash
            ),
        });
    }
}
