//! The program `medseal`: arguments, configuration, logging; the work is in the library.

mod arguments;

use arguments::{Arguments, Client, Command, Contracts, Keys, Participants, Quarantine, Storage, User};
use bridge::commands::{self, Failed};
use bridge::config::Telemetry;
use bridge::limits::{BLOCKING_THREADS_OF_A_CORE, MIN_BLOCKING_THREADS, STACK_BYTES};
use bridge::telemetry::log;
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

/// Many small values live and die on several threads: a fifth of the time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES).max_blocking_threads(blocking_threads()).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Failed::from_error(error)),
    };
    let done = runtime.block_on(run(arguments.command));
    // Whatever still computes was not promised to anybody; a process that was told to stop, stops.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn blocking_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    MIN_BLOCKING_THREADS.max(cores * BLOCKING_THREADS_OF_A_CORE)
}

fn failed(error: &Failed) -> ExitCode {
    commands::complain(error);
    ExitCode::FAILURE
}

/// The command, with its log; what a service tells of itself is configured.
async fn run(command: Command) -> Result<(), Failed> {
    let (settings, level) = match &command {
        Command::Serve { place, .. } => (place.config()?.telemetry, "info"),
        // It brings about itself what is warned of: a push that is refused, packs that a drill puts in.
        Command::Demo { .. } => (Telemetry::default(), "error"),
        _ => (Telemetry::default(), "info"),
    };
    let logging = log::start(&settings, level).map_err(Failed::from_error)?;
    let done = carry_out(command).await;
    logging.end().await;
    done
}

async fn carry_out(command: Command) -> Result<(), Failed> {
    match command {
        Command::Demo { once } => commands::demo::run(once).await,
        Command::Health { place } => commands::health::run(&place.config()?).await,
        Command::Reload { place } => commands::reload::run(&place.config()?).await,
        Command::Quarantine { verb: Quarantine::List { place, all } } => {
            commands::quarantine::list(&place.config()?, all).await
        }
        Command::Quarantine { verb: Quarantine::Show { place, id, raw } } => {
            commands::quarantine::show(&place.config()?, &id, raw).await
        }
        Command::Quarantine { verb: Quarantine::Replay { place, id, text, over_newer } } => {
            commands::quarantine::replay(&place.config()?, &id, text.as_deref(), over_newer).await
        }
        Command::Quarantine { verb: Quarantine::Discard { place, id, reason } } => {
            commands::quarantine::discard(&place.config()?, &id, &reason).await
        }
        Command::Send(arguments) => commands::send::run(&arguments).await,
        Command::Token { place, scope, patient, user, purpose, subject, ttl } => {
            let of = (patient.as_deref(), user.as_deref(), purpose.as_deref());
            commands::token::run(&place.config()?, &subject, &scope, of, &ttl).await
        }
        Command::Client { verb: Client::Add { place, new } } => commands::clients::add(&place.config()?, &new).await,
        Command::Client { verb: Client::List { place } } => commands::clients::list(&place.config()?),
        Command::Client { verb: Client::Remove { place, id } } => commands::clients::remove(&place.config()?, &id),
        Command::User { verb: User::Invite { place, who } } => commands::user::invite_one(&place.config()?, &who).await,
        Command::User { verb: User::List { place } } => commands::user::list(&place.config()?).await,
        Command::User { verb: User::Disable { place, id } } => commands::user::close(&place.config()?, &id, true).await,
        Command::User { verb: User::Enable { place, id } } => commands::user::close(&place.config()?, &id, false).await,
        Command::Contracts { verb: Contracts::Deploy { place, deploy } } => {
            commands::contracts::run(&place.config()?, &deploy).await
        }
        Command::Participants { verb } => participants(verb).await,
        Command::Keys { verb: Keys::Rotate { place } } => commands::keys::run(&place.config()?).await,
        Command::Keys { verb: Keys::Status { place } } => commands::keys::status(&place.config()?).await,
        Command::Storage { verb: Storage::Check { place, json } } => {
            commands::storage::check(&place.config()?, json).await
        }
        Command::Storage { verb: Storage::Compact { place } } => commands::storage::compact(&place.config()?).await,
        Command::Backup { place, to } => commands::backup::run(&place.config()?, &to),
        Command::Migrate { place } => commands::migrate::run(&place.config()?),
        Command::Drill { place, drill } => commands::drill::run(&place.config()?, &drill).await,
        Command::Recover { place } => commands::recover::run(&place.config()?).await,
        Command::Erase { place, list: true, .. } => commands::erase::list(&place.config()?).await,
        Command::Erase { place, what, reason, .. } => {
            let (what, reason) = (what.unwrap_or_default(), reason.unwrap_or_default());
            commands::erase::run(&place.config()?, &what, &reason).await
        }
        Command::Receipt { place, what, output, resource, without_opening } => {
            let (output, resource) = (output.as_deref(), resource.as_deref());
            commands::receipt::run(&place.config()?, &what, output, resource, !without_opening).await
        }
        Command::Serve { place, http, mllp } => {
            let mut config = place.config()?;
            config.http = http.unwrap_or(config.http);
            config.mllp = mllp.unwrap_or(config.mllp);
            commands::serve::run(config).await
        }
    }
}

async fn participants(verb: Participants) -> Result<(), Failed> {
    use commands::participants::{Act, Sought, apply, list, say};
    match verb {
        Participants::Apply { place, key } => apply(&place.config()?, key.as_ref()).await,
        Participants::Admit { place, word } => say(&place.config()?, Act::Admit, &word).await,
        Participants::Suspend { place, word } => say(&place.config()?, Act::Suspend, &word).await,
        Participants::Readmit { place, word } => say(&place.config()?, Act::Readmit, &word).await,
        Participants::List { place } => list(&place.config()?, &Sought::default()).await,
        Participants::Search { place, sought } => list(&place.config()?, &sought).await,
    }
}
