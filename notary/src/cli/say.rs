//! What the program prints, and how it ends. Who has stopped reading (`| head`) is told nothing more, and the exit code stands.

use serde_json::json;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Nothing can be said: an argument, a file or the policy is of no use.
const UNUSABLE: u8 = 2;
/// Nothing is wrong with what was given, and a server or node that was to be asked gave no answer.
pub const UNANSWERED: u8 = 3;

/// A line on standard output.
pub fn say(line: impl std::fmt::Display) {
    told(writeln!(std::io::stdout().lock(), "{line}"));
}

/// A line on standard error, where there is nowhere left to say that it did not arrive.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Nothing can be said, and why.
pub fn unusable(why: &str, as_json: bool) -> ExitCode {
    complain(format!("medseal-verify: {why}"));
    if as_json {
        say(json!({"verdict": "ERROR", "why": why}));
    }
    ExitCode::from(UNUSABLE)
}

/// A result that does not arrive whole, as on a full disk, must not pass for one.
fn told(done: std::io::Result<()>) {
    match done {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format!("medseal-verify: the result cannot be written: {error}"));
            std::process::exit(i32::from(UNUSABLE));
        }
        _ => {}
    }
}
