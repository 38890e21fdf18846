//! The arguments of the program `medseal`.

use bridge::commands::{self, Failed};
use bridge::config::Config;
use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// medseal: HL7 v2 and FHIR in, sealed and notarised records out.
#[derive(Debug, Parser)]
#[command(name = "medseal", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve on a fresh temporary data directory, feed samples, anchor, verify, tamper, refuse; print each step.
    Demo {
        /// End with the last step instead of going on serving.
        #[arg(long)]
        once: bool,
    },
    /// Serve. Prints `ready http=... mllp=...` once both ports answer.
    Serve {
        #[command(flatten)]
        place: Place,
        /// HTTP address, 127.0.0.1:8080 by default.
        #[arg(long)]
        http: Option<SocketAddr>,
        /// MLLP address, 127.0.0.1:2575 by default.
        #[arg(long)]
        mllp: Option<SocketAddr>,
    },
    /// Have a running service read maps, overlays, feeds and certificates anew. With a fault nothing changes.
    Reload {
        #[command(flatten)]
        place: Place,
    },
    /// Whether a running service takes work, and how its parts stand: ends with 0 if it does. For a container's health check.
    Health {
        #[command(flatten)]
        place: Place,
    },
    /// Messages that were acknowledged and of which nothing could be made yet.
    Quarantine {
        #[command(subcommand)]
        verb: Quarantine,
    },
    /// Send HL7 v2 files over MLLP and print the acknowledgements.
    Send(commands::send::Arguments),
    /// Mint a bearer token with the data directory's key (administrator at the machine).
    Token {
        #[command(flatten)]
        place: Place,
        /// SMART v2 scopes, for example 'system/*.cruds'.
        #[arg(long)]
        scope: String,
        /// The patient whose record `patient/` scopes open: Patient/id.
        #[arg(long)]
        patient: Option<String>,
        /// Whom `user/` scopes speak of: Practitioner/id, or Patient/id.
        #[arg(long)]
        user: Option<String>,
        /// What records are used for, a code of v3-ActReason such as HRESCH; else what is configured.
        #[arg(long)]
        purpose: Option<String>,
        /// The name of the program that will bear it: what it exports is its own.
        #[arg(long, default_value = "administrator")]
        subject: String,
        /// How long it holds: 90s, 15m, 8h, 7d.
        #[arg(long, default_value = "8h")]
        ttl: String,
    },
    /// People who may sign in.
    User {
        #[command(subcommand)]
        verb: User,
    },
    /// Copy the index into a file while the service goes on (SQLite; of PostgreSQL take pg_dump).
    Backup {
        #[command(flatten)]
        place: Place,
        /// A file that is not there yet.
        to: PathBuf,
    },
    /// Build the index anew, or bring an older one up to date, from packs, wrapped keys and the root key. Stop the service first.
    Recover {
        #[command(flatten)]
        place: Place,
    },
    /// Make the tables in PostgreSQL, or bring them up to date, and end: for a role that may, where the service's may not.
    Migrate {
        #[command(flatten)]
        place: Place,
    },
    /// Restore a backup, or recover from the packs, in a place of its own, and prove the result. Nothing that is live is changed.
    Drill {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        drill: commands::drill::Asked,
    },
    /// Programs that may ask for tokens by a key of their own (SMART backend services).
    Client {
        #[command(subcommand)]
        verb: Client,
    },
    /// The contracts on an EVM chain.
    Contracts {
        #[command(subcommand)]
        verb: Contracts,
    },
    /// The organisations of a network, and this one's part in it.
    Participants {
        #[command(subcommand)]
        verb: Participants,
    },
    /// The keys that wrap all others.
    Keys {
        #[command(subcommand)]
        verb: Keys,
    },
    /// What is stored, as a whole.
    Storage {
        #[command(subcommand)]
        verb: Storage,
    },
    /// Destroy a patient's key, so that nobody can read anything of this patient again. It cannot be undone.
    Erase {
        #[command(flatten)]
        place: Place,
        /// Patient/id.
        #[arg(required_unless_present = "list")]
        what: Option<String>,
        /// Why; kept sealed.
        #[arg(long, required_unless_present = "list")]
        reason: Option<String>,
        /// List who was erased, when and why.
        #[arg(long, conflicts_with_all = ["what", "reason"])]
        list: bool,
    },
    /// Write the receipt of Type/id or Type/id/version, with the service stopped.
    Receipt {
        #[command(flatten)]
        place: Place,
        what: String,
        /// Write it here instead of to standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// Also write the resource that it speaks for.
        #[arg(long)]
        resource: Option<PathBuf>,
        /// Leave the opening out, to share the proof without what would let its holder try contents.
        #[arg(long, conflicts_with = "resource")]
        without_opening: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Print a link that lets one person in, once, within 72 hours. One who has an account already adds a key to it.
    Invite {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        who: commands::user::Invited,
    },
    /// List them: id, role, state, resource, organisation, what they sign in with, since when, and when last.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Close an account, and end all its sessions at once.
    Disable {
        #[command(flatten)]
        place: Place,
        id: String,
    },
    /// Open a closed account again.
    Enable {
        #[command(flatten)]
        place: Place,
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// List what waits, the newest first: id, since when, feed, state, what is wrong.
    List {
        #[command(flatten)]
        place: Place,
        /// Also what was replayed.
        #[arg(long)]
        all: bool,
    },
    /// Print why a message is there, with its mapping report.
    Show {
        #[command(flatten)]
        place: Place,
        id: String,
        /// Print the message itself instead.
        #[arg(long)]
        raw: bool,
    },
    /// Have the running service map and store it by the maps of today.
    Replay {
        #[command(flatten)]
        place: Place,
        id: String,
        /// A mended text in its place; what came is kept.
        #[arg(long)]
        text: Option<PathBuf>,
        /// Also over what came after it: without this it is refused then, and says what that is.
        #[arg(long)]
        over_newer: bool,
    },
    /// Erase one that nobody wants any more: its key is destroyed, and a tombstone goes into the log.
    Discard {
        #[command(flatten)]
        place: Place,
        id: String,
        /// Why; kept sealed.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Contracts {
    /// Put the contracts onto a chain and print the configuration to paste.
    Deploy {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        deploy: commands::contracts::Deploy,
    },
}

#[derive(Debug, Subcommand)]
pub enum Participants {
    /// Ask to be admitted with the document that the running service publishes, or sign with a changed one.
    Apply {
        #[command(flatten)]
        place: Place,
        /// The file of this organisation's own key; participant.key in the data directory by default.
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// Admit who applied, once his document was looked at (the steward's key).
    Admit {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        word: commands::participants::Word,
    },
    /// End an organisation's part at once (the steward's key).
    Suspend {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        word: commands::participants::Word,
    },
    /// Let a suspended organisation take part again (the steward's key).
    Readmit {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        word: commands::participants::Word,
    },
    /// List them: status, id, name, endpoint, place, services.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Find some of them.
    Search {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        sought: commands::participants::Sought,
    },
}

#[derive(Debug, Subcommand)]
pub enum Client {
    /// Register a program by its public keys, or an app that people let in, and print the id that it is to use.
    Add {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        new: commands::clients::New,
    },
    /// List them: id, since when, scopes, keys, name, where an app is called back.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Remove a program. Tokens that it has are refused within seconds.
    Remove {
        #[command(flatten)]
        place: Place,
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a new root key and wrap every key under it, while the service goes on. Run it again if it was cut short.
    Rotate {
        #[command(flatten)]
        place: Place,
    },
    /// Say which root wraps what, and which service still has an older one; a failure while an older one is needed.
    Status {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub enum Storage {
    /// Hold packs, index, keys, log and ledger against each other and name every difference, while the service goes on.
    Check {
        #[command(flatten)]
        place: Place,
        /// Print what was found as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Join small packs, and remove what others have taken the place of, while the service goes on. A service does it by itself.
    Compact {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
pub struct Place {
    /// The configuration; medseal.toml where it is there.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The data directory, ./medseal-data by default.
    #[arg(long)]
    data: Option<PathBuf>,
}

impl Place {
    pub fn config(&self) -> Result<Config, Failed> {
        let mut config = Config::load(self.config.as_deref()).map_err(Failed::from_error)?;
        config.data = self.data.clone().unwrap_or(config.data);
        Ok(config)
    }
}
