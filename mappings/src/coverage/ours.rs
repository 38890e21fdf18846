//! Our maps, of whichever kind, as the comparison sees them.

use super::{Kind, wording};
use crate::map_file::{MapFile, MessageFile, MessageRow, RuleRow};
use std::collections::{BTreeMap, BTreeSet};

/// A map of ours: its rules, and what it says of rows that have none.
#[derive(Default)]
pub struct Ours<'m> {
    pub name: &'m str,
    pub rules: Vec<Rule<'m>>,
    /// What the rules of a message map set.
    pub references: BTreeSet<(String, String)>,
    unmapped: Option<&'m BTreeMap<String, String>>,
    guide: Option<&'m str>,
}

/// A rule of ours.
#[derive(Default)]
pub struct Rule<'m> {
    pub row: &'m str,
    pub from: Option<&'m str>,
    pub when: &'m str,
    pub to: &'m str,
    pub with: &'m str,
    pub table: &'m str,
    pub value: String,
    pub eval: &'m str,
    pub because: Option<&'m str>,
    pub off: bool,
}

impl<'m> From<&'m RuleRow> for Rule<'m> {
    fn from(row: &'m RuleRow) -> Self {
        Self {
            row: &row.row,
            from: row.from.as_deref(),
            when: row.when.as_deref().unwrap_or_default(),
            to: &row.to,
            with: row.with.as_deref().unwrap_or_default(),
            table: row.table.as_deref().unwrap_or_default(),
            value: row.value.as_ref().map(|value| value.text()).unwrap_or_default(),
            eval: row.eval.as_deref().unwrap_or_default(),
            because: row.because.as_deref(),
            off: row.off,
        }
    }
}

impl<'m> From<&'m MessageRow> for Rule<'m> {
    fn from(row: &'m MessageRow) -> Self {
        Self {
            row: &row.row,
            when: row.when.as_deref().unwrap_or_default(),
            to: &row.to,
            with: row.with.as_deref().unwrap_or_default(),
            because: row.because.as_deref(),
            off: row.off,
            ..Self::default()
        }
    }
}

impl<'m> From<&'m MapFile> for Ours<'m> {
    fn from(file: &'m MapFile) -> Self {
        Self {
            name: &file.map,
            rules: file.rules.iter().map(Rule::from).collect(),
            unmapped: Some(&file.unmapped),
            guide: file.guide.as_deref(),
            ..Self::default()
        }
    }
}

impl<'m> From<&'m MessageFile> for Ours<'m> {
    fn from(file: &'m MessageFile) -> Self {
        let set = file.rules.iter().filter(|rule| !rule.off).flat_map(|rule| &rule.set);
        Self {
            name: &file.map,
            rules: file.rules.iter().map(Rule::from).collect(),
            references: set.filter_map(|text| wording::reference(text)).collect(),
            unmapped: Some(&file.unmapped),
            guide: file.guide.as_deref(),
        }
    }
}

impl<'m> Ours<'m> {
    /// The rule of a row. A message's row may stand in further groups, where the guide leaves one out: `ORDER_DETAIL.NTE`
    /// in `ORDER`.
    pub fn rule(&self, kind: Kind, row: &str) -> Option<&Rule<'m>> {
        let grouped = |rule: &&Rule<'_>| rule.row.strip_suffix(row).is_some_and(|groups| groups.ends_with('.'));
        let exact = self.rules.iter().find(|rule| rule.row == row);
        exact.or_else(|| self.rules.iter().filter(|_| kind == Kind::Message && row.contains('.')).find(grouped))
    }

    /// Why a row has no rule: its field is told of, or the map stands in the place of the guide's as a whole.
    pub fn told(&self, row: &str) -> Option<&str> {
        let field = row.split('/').next().unwrap_or_default();
        let whole = self.guide.filter(|text| text.contains(" instead of "));
        self.unmapped.and_then(|fields| fields.get(field)).map(String::as_str).or(whole)
    }
}
