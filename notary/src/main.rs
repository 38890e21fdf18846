//! `medseal-verify`: checks receipts and logs, without the service that wrote them.

mod cli;

use clap::{Parser, Subcommand};
use cli::say::unusable;
use std::process::ExitCode;

/// Verifies medseal receipts and logs. Exits with 0 only if everything asked for holds, with 1 if something is refused, with 2 if
/// an argument or a file is of no use, and with 3 if a server or node that was to be asked gave no answer.
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
    // Also what cannot be read as arguments is told as JSON to who asked for it.
    let as_json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    let arguments = match Arguments::try_parse() {
        Err(error) if as_json && error.use_stderr() => return unusable(&error.to_string(), true),
        read => read.unwrap_or_else(|error| error.exit()),
    };
    let done = match (arguments.command, arguments.one) {
        (Some(Command::Many(arguments)), _) => cli::many::run(&arguments),
        #[cfg(feature = "rpc")]
        (Some(Command::Log(arguments)), _) => cli::log::run(&arguments),
        (None, Some(arguments)) => cli::one::run(&arguments),
        (None, None) => Err("no receipt was named; --help tells more".to_owned()),
    };
    done.unwrap_or_else(|problem| unusable(&problem, as_json))
}
