//! What compiling looks up and shares: the numbers of maps and tables, the constants, the names of the rules.

use super::{Constant, ConstantId, PlanError, RuleId, When, fault};
use crate::condition::Condition;
use crate::map_file::SwitchRow;
use crate::tree::Scalar;
use std::cell::RefCell;
use std::collections::HashMap;

/// Names to numbers, while compiling.
pub(crate) struct Names<'n> {
    pub maps: &'n HashMap<String, usize>,
    pub tables: &'n HashMap<String, usize>,
    /// What each map fills.
    pub kinds: &'n HashMap<String, String>,
    pub switches: &'n [SwitchRow],
    pub pool: RefCell<Pool>,
}

/// What the compiled maps share: the constants and the names of the rules.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pub constants: Vec<Constant>,
    pub rules: Vec<String>,
    known: HashMap<String, ConstantId>,
}

impl Names<'_> {
    pub fn map(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.maps.get(name).copied().ok_or_else(|| fault(place, format!("there is no map {name}")))
    }

    pub fn table(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.tables.get(name).copied().ok_or_else(|| fault(place, format!("there is no table {name}")))
    }

    pub fn constant(&self, scalar: &Scalar<'_>) -> ConstantId {
        let (text, json) = match scalar {
            Scalar::Text(text) => (text.to_string(), serde_json::Value::from(text.as_ref()).to_string()),
            Scalar::Number(text) => (text.to_string(), text.to_string()),
            Scalar::Bool(b) => (b.to_string(), b.to_string()),
        };
        let Pool { constants, known, .. } = &mut *self.pool.borrow_mut();
        *known.entry(json.clone()).or_insert_with(|| {
            constants.push(Constant { text, json });
            ConstantId((constants.len() - 1) as u32)
        })
    }

    pub fn rule(&self, id: &str) -> RuleId {
        let rules = &mut self.pool.borrow_mut().rules;
        rules.push(id.to_owned());
        RuleId((rules.len() - 1) as u32)
    }

    /// A condition whose switches are there and have the choices that it asks for.
    pub fn condition(&self, place: &str, text: Option<&str>) -> Result<Option<When>, PlanError> {
        let Some(condition) = text.map(Condition::parse).transpose().map_err(|e| fault(place, e))? else {
            return Ok(None);
        };
        let mut problem = None;
        condition.switches(&mut |name, choices| {
            let declared = self.switches.iter().find(|s| s.switch == name);
            let unknown = |choice: &&String| declared.is_none_or(|s| !s.choices.contains(choice));
            problem = problem.take().or_else(|| choices.iter().find(unknown).map(|c| (name.to_owned(), c.clone())));
        });
        match problem {
            Some((name, choice)) => Err(fault(place, format!("no switch {name} has the choice {choice}"))),
            None => Ok(Some(When::of(condition))),
        }
    }
}
