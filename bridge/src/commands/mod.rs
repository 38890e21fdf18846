//! The commands of the program `medseal`.

/// Prints a line on standard output, as `println!` does, and bears a reader that has stopped reading (`| head`).
macro_rules! say {
    ($($words:tt)*) => { $crate::commands::tell(format_args!($($words)*)) };
}

pub mod backup;
pub mod client;
pub mod clients;
pub mod contracts;
pub mod demo;
pub mod drill;
pub mod erase;
pub mod health;
pub mod keys;
pub mod migrate;
pub mod participants;
pub mod quarantine;
pub mod receipt;
pub mod recover;
pub mod reload;
pub mod send;
pub mod serve;
pub mod storage;
mod temporary;
pub mod token;
pub mod user;

use std::io::{ErrorKind, Write};

/// Prints a line. A result that does not arrive whole, as on a full disk, must not pass for one: the program ends.
fn tell(line: std::fmt::Arguments<'_>) {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&Failed(format!("the result cannot be written: {error}")));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Tells on standard error why a command failed, where there is somebody to hear it.
pub fn complain(failed: &Failed) {
    let _ = writeln!(std::io::stderr().lock(), "medseal: {failed}");
}

/// A command that failed: one line for people, what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl Failed {
    /// Whatever went wrong, in its own words.
    pub fn from_error(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}
