//! `medseal-verify`: checks a receipt offline, without the service that wrote it.

use clap::Parser;
use notary::receipt::{MAX_RECEIPT_BYTES, Receipt};
use notary::verify::{Policy, Refusal, Verdict, verify};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Verifies a medseal receipt offline. Exits with 0 only if everything asked for holds.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The receipt (`medseal-receipt/1`).
    receipt: PathBuf,
    /// The FHIR resource that the receipt is to speak for, as JSON.
    resource: Option<PathBuf>,
    /// The raw HL7 v2 message that the resource came from.
    #[arg(long)]
    raw: Option<PathBuf>,
    /// What you trust (TOML): log_keys, contracts, blocks.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(Ok(verdict)) => {
            print_verdict(&verdict, arguments.json);
            ExitCode::SUCCESS
        }
        Ok(Err(refusal)) => {
            print_refusal(&refusal, arguments.json);
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("medseal-verify: {problem}");
            ExitCode::from(2)
        }
    }
}

/// The outer error is a file that cannot be read, the inner one a receipt that does not hold.
fn run(arguments: &Arguments) -> Result<Result<Verdict, Refusal>, String> {
    let receipt = read(&arguments.receipt, MAX_RECEIPT_BYTES)?;
    let optional = |path: &Option<PathBuf>| path.as_deref().map(|p| read(p, notary::canonical::MAX_BYTES)).transpose();
    let (resource, raw) = (optional(&arguments.resource)?, optional(&arguments.raw)?);
    let policy = arguments.policy.as_deref().map_or(Ok(Policy::default()), read_policy)?;
    Ok(Receipt::parse(&receipt)
        .map_err(Refusal::from)
        .and_then(|receipt| verify(&receipt, resource.as_deref(), raw.as_deref(), &policy)))
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut bytes = Vec::new();
    // One byte over the limit is enough for the parser to refuse the rest.
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(bytes)
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let bytes = read(path, MAX_RECEIPT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8", path.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {}", path.display(), e.message()))
}

fn print_verdict(verdict: &Verdict, as_json: bool) {
    let checked = |name: &'static str, done: bool| done.then_some(name);
    let checked: Vec<_> = [
        checked("resource", verdict.resource_checked),
        checked("raw message", verdict.raw_checked),
        Some("log entry"),
        Some("checkpoint signature"),
        checked("anchor", verdict.anchored.is_some()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if as_json {
        println!(
            "{}",
            json!({
                "verdict": verdict.grade.to_string(),
                "deletion": verdict.deletion,
                "erased": verdict.erased,
                "checked": checked,
                "log": {"origin": verdict.checkpoint.origin, "size": verdict.checkpoint.size, "index": verdict.index},
                "restsOn": verdict.rests_on,
            })
        );
        return;
    }
    match &verdict.erased {
        Some(time) => println!("{} ERASED on {time}", verdict.grade),
        None => println!("{}", verdict.grade),
    }
    println!("  checked:  {}", checked.join(", "));
    for line in &verdict.rests_on {
        println!("  rests on: {line}");
    }
    if !verdict.resource_checked && !verdict.deletion && verdict.erased.is_none() {
        println!("  note:     no resource was given, so only the receipt itself was checked");
    }
}

fn print_refusal(refusal: &Refusal, as_json: bool) {
    let text = refusal.to_string();
    let (name, why) = text.split_once(": ").unwrap_or(("REFUSED", &text));
    if as_json {
        println!("{}", json!({"verdict": "REFUSED", "name": name, "why": why}));
    } else {
        println!("REFUSED {name}: {why}");
    }
}
