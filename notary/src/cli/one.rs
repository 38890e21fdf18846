//! `medseal-verify RECEIPT [RESOURCE]`.

use super::files::{policy, read};
use super::judge::{Judged, judge};
use super::say::{UNANSWERED, say};
use super::show::{print_refusal, print_verdict, refusal_json, verdict_json};
use clap::Args;
use notary::receipt::MAX_RECEIPT_BYTES;
use notary::verify::{Cache, Refusal, Verdict};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct One {
    /// The receipt (`medseal-receipt/1`).
    receipt: PathBuf,
    /// The FHIR resource that the receipt is to speak for, as JSON.
    resource: Option<PathBuf>,
    /// The raw HL7 v2 message that the resource came from.
    #[arg(long)]
    raw: Option<PathBuf>,
    /// What you trust (TOML): log_keys, witnesses, contracts, blocks, validators. See docs/verify.md.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A node of the receipt's chain, asked whether the anchor's block is that chain's. May be given several times: all that
    /// answer must agree.
    #[cfg(feature = "rpc")]
    #[arg(long, value_name = "URL")]
    rpc: Vec<String>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies one receipt and prints what comes out.
pub fn run(arguments: &One) -> Result<ExitCode, String> {
    let receipt = read(&arguments.receipt, MAX_RECEIPT_BYTES)?;
    let optional = |path: &Option<PathBuf>| path.as_deref().map(|p| read(p, notary::canonical::MAX_BYTES)).transpose();
    let (resource, raw) = (optional(&arguments.resource)?, optional(&arguments.raw)?);
    let mut policy = policy(arguments.policy.as_deref())?;
    let silent = ask(arguments, &receipt, &mut policy)?;
    match (judge(&mut Cache::default(), &receipt, raw.as_deref(), &policy, |_| Ok(resource)), silent) {
        (Judged::Unread(problem), _) => Err(problem),
        (Judged::Holds(verdict), None) => {
            if arguments.json {
                say(verdict_json(&verdict))
            } else {
                print_verdict(&verdict)
            }
            Ok(ExitCode::SUCCESS)
        }
        // Nothing else is wrong with it, and whether its block is the chain's nobody tells.
        (Judged::Holds(verdict), Some(why)) => Ok(unanswered(arguments, &why, Some(&verdict))),
        (Judged::Refused(Refusal::UnknownBlock), Some(why)) => Ok(unanswered(arguments, &why, None)),
        (Judged::Refused(refusal), _) => {
            if arguments.json {
                say(refusal_json(&refusal))
            } else {
                print_refusal(&refusal)
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// No node told whether the anchor's block is the chain's. What holds without that is said too.
fn unanswered(arguments: &One, why: &str, without: Option<&Verdict>) -> ExitCode {
    let why = format!("cannot say whether the anchor's block is the chain's: {why}");
    if arguments.json {
        say(json!({"verdict": "UNANSWERED", "why": why, "without": without.map(verdict_json)}));
    } else {
        say(format!("UNANSWERED {why}"));
        if let Some(verdict) = without {
            say("without that:");
            print_verdict(verdict);
        }
    }
    ExitCode::from(UNANSWERED)
}

/// Asks the nodes that were named. Why nobody answered, if nobody did.
#[cfg(feature = "rpc")]
fn ask(arguments: &One, receipt: &[u8], policy: &mut notary::verify::Policy) -> Result<Option<String>, String> {
    if arguments.rpc.is_empty() {
        return Ok(None);
    }
    super::nodes::ask(&arguments.rpc, receipt, policy)
}

#[cfg(not(feature = "rpc"))]
fn ask(_: &One, _: &[u8], _: &mut notary::verify::Policy) -> Result<Option<String>, String> {
    Ok(None)
}
