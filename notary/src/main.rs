//! `medseal-verify`: checks receipts and logs, without the service that wrote them.

mod cli;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Verifies medseal receipts and logs. Exits with 0 only if everything asked for holds, with 1 if something is refused, and
/// with 2 if nothing can be said.
#[derive(Debug, Parser)]
#[command(name = "medseal-verify", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    one: Option<cli::one::One>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify thousands of receipts in one run, and sum up.
    Many(cli::many::Many),
    /// Re-read a whole log from its tiles, and all its anchors.
    #[cfg(feature = "rpc")]
    Log(cli::log::Log),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.command, arguments.one) {
        (Some(Command::Many(arguments)), _) => cli::many::run(&arguments),
        #[cfg(feature = "rpc")]
        (Some(Command::Log(arguments)), _) => cli::log::run(&arguments),
        (None, Some(arguments)) => cli::one::run(&arguments),
        (None, None) => Err("no receipt was named; --help tells more".to_owned()),
    };
    done.unwrap_or_else(|problem| {
        eprintln!("medseal-verify: {problem}");
        ExitCode::from(2)
    })
}
