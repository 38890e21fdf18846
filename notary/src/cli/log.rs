//! `medseal-verify log URL`.

use super::bar::bar;
use super::files::policy;
use super::nodes::{nodes, wait};
use super::show::{name_and_why, refusal_json};
use alloy_primitives::{Address, B256};
use clap::Args;
use notary::checkpoint::{Checkpoint, LogKey};
use notary::monitor::{Anchors, Question, Source, Stop, Walked, anchors, reread};
use notary::verify::Policy;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct Log {
    /// Where the log is published, such as https://HOST/log.
    url: String,
    /// The log's public key, where no policy names it.
    #[arg(long)]
    key: Vec<String>,
    /// What you trust (TOML): log_keys, contracts. See docs/verify.md.
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

/// Re-reads the log, and prints that it fits or where it first breaks.
pub fn run(arguments: &Log) -> Result<ExitCode, String> {
    let policy = policy(arguments.policy.as_deref())?;
    let keys = keys(arguments, &policy)?;
    let wanted = wanted(arguments, &policy)?;
    match wait(check(arguments, &keys, wanted))? {
        Ok((checkpoint, anchors, walked)) => {
            print_fits(arguments.json, &checkpoint, anchors.as_ref(), &walked);
            Ok(ExitCode::SUCCESS)
        }
        Err(Stop::Away(why)) => Err(format!("cannot say: {why}")),
        Err(Stop::Broken(broken)) => {
            let mut value = refusal_json(&broken);
            value["place"] = json!(broken.place());
            let (name, why) = name_and_why(&broken);
            println!("{}", if arguments.json { value.to_string() } else { format!("BROKEN {name}: {why}") });
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The chain before the checkpoint: an anchor that is made meanwhile is of no log that is longer than what is read.
async fn check(
    arguments: &Log,
    keys: &[LogKey],
    wanted: Option<Wanted>,
) -> Result<(Checkpoint, Option<Anchors>, Walked), Stop> {
    let source = Source::new(&arguments.url).map_err(Stop::Away)?;
    let anchors = match wanted {
        Some(wanted) => Some(read_anchors(arguments, &wanted).await?),
        None => None,
    };
    let checkpoint = source.checkpoint(keys).await?;
    let bar = bar("{pos}/{len} entries {wide_bar} {eta} left");
    bar.set_length(checkpoint.size);
    let list = anchors.as_ref().map(|anchors| anchors.list.clone()).unwrap_or_default();
    let walked = reread(&source, checkpoint.clone(), list, &mut |size| bar.set_position(size)).await;
    bar.finish_and_clear();
    Ok((checkpoint, anchors, walked?))
}

async fn read_anchors(arguments: &Log, wanted: &Wanted) -> Result<Anchors, Stop> {
    let nodes = nodes(&arguments.rpc).map_err(Stop::Away)?;
    let &Wanted { chain_id, contract, code_hash } = wanted;
    let question = Question { nodes: &nodes, chain_id, contract, code_hash, from_block: arguments.from_block };
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

fn print_fits(as_json: bool, checkpoint: &Checkpoint, anchors: Option<&Anchors>, walked: &Walked) {
    let Checkpoint { origin, size, root } = checkpoint;
    if as_json {
        let chain = anchors.map(|a| {
            json!({"block": a.block.number, "hash": a.block.hash, "nodes": a.nodes, "codeHash": a.code_hash,
                   "anchors": walked.anchors, "anchored": walked.anchored})
        });
        let log = json!({"origin": origin, "size": size, "root": root.to_string()});
        let value =
            json!({"verdict": "FITS", "log": log, "entries": walked.entries, "tiles": walked.tiles, "chain": chain});
        println!("{value}");
        return;
    }
    println!("FITS: {size} entries of {origin} give the root that the checkpoint signs, {root}");
    let kinds: Vec<_> = walked.entries.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("  entries:  {}", if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") });
    println!("  tiles:    {} compared", walked.tiles);
    match anchors {
        None => println!("  anchors:  not looked at; --rpc URL does"),
        Some(a) => println!(
            "  anchors:  {} up to size {}, all on this history: in block {} ({}) by {} nodes, code {}",
            walked.anchors, walked.anchored, a.block.number, a.block.hash, a.nodes, a.code_hash
        ),
    }
}
