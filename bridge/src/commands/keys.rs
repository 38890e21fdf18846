//! `medseal keys rotate`: a new root key, while services go on.

use super::Failed;
use super::recover::{bar, show};
use crate::app::keep::Keep;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::index::replicas::Noted;
use crate::upkeep::rotate::{Standing, rotate, standing};
use std::sync::Arc;

/// Rotates and says what became of the old key.
pub async fn run(config: &Config) -> Result<(), Failed> {
    let keep = Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let done = rotate(&keep, config, &tell).await.map_err(Failed::from_error)?;
    bar.finish_and_clear();
    say!("{} keys of the index and {} objects are wrapped under the new root", done.keys, done.objects);
    if let Some(kept) = done.kept {
        say!(
            "nothing here needs the old root any more; it is in {}: keep it as long as you keep backups from before, then destroy it",
            kept.display()
        );
    }
    Ok(())
}

/// Says which root wraps what, and which service wraps with which. A failure while anything needs an older one.
pub async fn status(config: &Config) -> Result<(), Failed> {
    let keep = Keep::look(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let standing = standing(&keep, config, &tell).await;
    bar.finish_and_clear();
    let standing = standing.map_err(Failed::from_error)?;
    print(&standing);
    match standing.is_settled() {
        true => Ok(()),
        false => Err(Failed("an older root is still needed: do not destroy any".to_owned())),
    }
}

fn print(standing: &Standing) {
    let name = |root: &dyn std::fmt::Display| root.to_string();
    say!("newest root: {}", standing.newest.map_or_else(|| "none".to_owned(), |root| name(&root)));
    if let Some(root) = standing.rotating {
        say!("a rotation to {root} is not finished: run `medseal keys rotate` again");
    }
    for (root, (index, objects)) in &standing.keys {
        say!("root {root}: {index} keys of the index, {objects} keys beside the packs");
    }
    standing.services.iter().for_each(|noted| say!("{}", service(noted)));
}

fn service(noted: &Noted) -> String {
    let root = noted.replica.root.map_or_else(|| "no root".to_owned(), |root| format!("root {root}"));
    let gone = if noted.is_present() { "" } else { " (gone, or it does not answer)" };
    format!("service {}: {root}{gone}", noted.replica.place)
}
