//! `medseal user`: people who may sign in. It works beside a running service and without one.

use super::Failed;
use crate::app::keep::Keep;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::ids::{Name, ResourceId};
use crate::people::enrol::invite;
use crate::people::site::Site;
use crate::people::{Account, AccountId, INVITATION_LIFE, Person, Role};
use crate::secret::system_random;
use jiff::Timestamp;
use std::sync::Arc;

/// Who is invited.
#[derive(Debug, clap::Args)]
pub struct Invited {
    /// patient, clinician, administrator or auditor.
    #[arg(long, value_parser = role)]
    role: Role,
    /// The resource that the person is: Patient/id of a patient, Practitioner/id of a clinician.
    #[arg(long = "for", value_parser = name)]
    resource: Option<Name>,
    /// Organization/id of a clinician.
    #[arg(long, value_parser = name)]
    organisation: Option<Name>,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "one of patient, clinician, administrator, auditor".to_owned())
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).ok_or_else(|| "write Type/id".to_owned())
}

/// Prints a link that lets one person in, once.
pub async fn invite_one(config: &Config, who: &Invited) -> Result<(), Failed> {
    let person = Person::new(who.role, who.resource.clone(), who.organisation.clone()).map_err(Failed::from_error)?;
    let keep = keep(config).await?;
    let code = invite(&keep.store, &person, keep.clock.now(), &system_random).map_err(Failed::from_error)?;
    say!("{}", Site::of(&config.base()).address(&format!("/auth/join?code={}", code.expose())));
    let hours = INVITATION_LIFE.as_secs() / 3_600;
    eprintln!("It counts once, for {hours} hours. Give it to nobody but this person: whoever opens it first is in.");
    Ok(())
}

/// Prints all accounts, one a line.
pub async fn list(config: &Config) -> Result<(), Failed> {
    let keep = keep(config).await?;
    for account in keep.store.accounts().map_err(Failed::from_error)? {
        let credentials = keep.store.credentials(&account.id).map_err(Failed::from_error)?;
        let kinds: Vec<&str> = credentials.iter().map(|credential| credential.kind.as_str()).collect();
        let used = credentials.iter().map(|credential| credential.used).max().filter(|used| *used > 0);
        say!("{}", line(&account, &kinds, used));
    }
    Ok(())
}

fn line(account: &Account, kinds: &[&str], used: Option<i64>) -> String {
    let Account { id, person, disabled, made } = account;
    let state = if *disabled { "disabled" } else { "enabled" };
    let name = |name: &Option<Name>| name.as_ref().map_or("-".to_owned(), ToString::to_string);
    let time =
        |time: i64| Timestamp::from_millisecond(time).unwrap_or_default().strftime("%Y-%m-%dT%H:%MZ").to_string();
    let (resource, organisation) = (name(&person.resource), name(&person.organisation));
    let kinds = if kinds.is_empty() { "-".to_owned() } else { kinds.join(",") };
    let used = used.map_or("-".to_owned(), time);
    let role = person.role.as_str();
    format!("{id}\t{role}\t{state}\t{resource}\t{organisation}\t{kinds}\t{}\t{used}", time(*made))
}

/// Closes an account, which ends its sessions at once, or opens it again.
pub async fn close(config: &Config, id: &str, closed: bool) -> Result<(), Failed> {
    let keep = keep(config).await?;
    let known = ResourceId::parse(id).map(AccountId);
    let done = known.map_or(Ok(false), |id| keep.store.close_account(&id, closed)).map_err(Failed::from_error)?;
    if done { Ok(()) } else { Err(Failed(format!("{id}: there is no such account; `medseal user list` names all"))) }
}

async fn keep(config: &Config) -> Result<Keep, Failed> {
    Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)
}
