//! Gathers what a patient summary or report is made of: the record is read page by page, and only what a section takes stays.

use crate::app::Core;
use crate::fhir::search::criterion::Surroundings;
use crate::fhir::summary::sections::{SECTIONS, TYPES};
use crate::fhir::summary::{is_about, newest};
use crate::ids::TypeName;
use crate::limits::MAX_SUMMARISED;
use crate::read::Opened;
use crate::search::SearchError;
use crate::search::compartment::{Wanted, members, referred};
use crate::smart::token::Caller;
use notary::canonical::Json;

/// What was found of a patient.
#[derive(Debug)]
pub struct Gathered {
    /// For each section, the newest first.
    pub chosen: Vec<Vec<Opened>>,
    pub referred: Vec<Opened>,
    /// Types that the caller may not see.
    pub withheld: Vec<TypeName>,
}

type Result<T> = std::result::Result<T, SearchError>;

/// Reads a patient's record. Of results that repeat, the newest so many of each code.
pub async fn gather(
    core: &Core,
    caller: &Caller,
    around: Surroundings<'_>,
    patient: &Opened,
    per_code: Option<usize>,
) -> Result<Gathered> {
    let types = TYPES.iter().filter_map(|name| TypeName::parse(name)).collect();
    let wanted = Wanted { focus: patient.stored.name.clone(), types: Some(types), since: None, care: None };
    let mut gathered =
        Gathered { chosen: SECTIONS.iter().map(|_| Vec::new()).collect(), referred: Vec::new(), withheld: Vec::new() };
    let mut start = None;
    loop {
        let page = members(core, caller, around, &wanted, start).await?;
        gathered.withheld.extend(page.withheld);
        for opened in page.members {
            gathered.take(opened, patient, around.base)?;
        }
        match page.next {
            Some(next) => start = Some(next),
            None => break,
        }
    }
    let kept = SECTIONS.iter().zip(gathered.chosen);
    gathered.chosen = kept.map(|(s, chosen)| newest(s, chosen, per_code.or(s.per_code), Opened::json)).collect();
    let mut from: Vec<Opened> = vec![patient.clone()];
    from.extend(gathered.chosen.iter().flatten().cloned());
    let everything = Wanted { types: None, ..wanted };
    gathered.referred = referred(core, caller, around, &everything, &from).await?;
    Ok(gathered)
}

impl Gathered {
    fn take(&mut self, opened: Opened, patient: &Opened, base: &str) -> Result<()> {
        let json = opened.json();
        let section = SECTIONS.iter().position(|section| (section.takes)(&json));
        let Some(section) = section.filter(|_| is_about(&json, &patient.stored.name, base)) else { return Ok(()) };
        if self.chosen.iter().map(Vec::len).sum::<usize>() >= MAX_SUMMARISED {
            return Err(SearchError::TooCostly(
                "the record is too large for a summary: use $everything, which has pages",
            ));
        }
        self.chosen[section].push(opened);
        Ok(())
    }

    /// The sections' resources.
    pub fn json(&self) -> Vec<Vec<Json>> {
        self.chosen.iter().map(|chosen| chosen.iter().map(Opened::json).collect()).collect()
    }
}
