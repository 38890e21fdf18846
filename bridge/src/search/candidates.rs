//! Whom `$match` compares: the patients of several narrow searches, each once. What no search finds is never opened.

use super::{Result, Run, SearchError, all};
use crate::app::Core;
use crate::fhir::search::criterion::Surroundings;
use crate::fhir::search::query;
use crate::ids::{Name, TypeName};
use crate::limits::MAX_BLOCK;
use crate::read::Opened;
use crate::smart::token::Caller;
use std::collections::HashSet;

/// Whom the blocks find.
#[derive(Debug, Default)]
pub struct Candidates {
    pub found: Vec<Opened>,
    /// A block found more than can be compared: it tells too little.
    pub wide: bool,
}

/// Runs each block as a search of its own. One whose values cannot be searched for finds nobody.
pub async fn candidates(
    core: &Core,
    caller: &Caller,
    around: Surroundings<'_>,
    kind: TypeName,
    blocks: &[Vec<(String, String)>],
) -> Result<Candidates> {
    let run = Run { core, caller, around };
    let upto = run.store(|store| store.newest()).await?;
    let (mut candidates, mut known) = (Candidates::default(), HashSet::<Name>::new());
    for block in blocks {
        let Ok(search) = query::read(kind, block, &run.around) else { continue };
        let keep = |opened: Opened| {
            if known.insert(opened.stored.name.clone()) {
                candidates.found.push(opened);
            }
        };
        match all(&run, kind, &search.filters, upto, MAX_BLOCK, keep).await {
            Ok(()) => {}
            Err(SearchError::TooCostly(_)) => candidates.wide = true,
            Err(error) => return Err(error),
        }
    }
    caller.seen.shows(candidates.found.iter().map(Opened::as_shown));
    Ok(candidates)
}
