//! The end of a message: its drafts are named, those of one identity united, empty ones pruned, gaps completed, and
//! what nobody used is told.

use crate::engine::{Draft, MapError, Mapped};
use crate::identity::Identity;
use crate::r4;
use crate::report::{self, Report};
use crate::run::Run;
use std::collections::HashMap;

impl<'a> Run<'a> {
    pub fn finish(mut self) -> Result<Mapped<'a>, MapError> {
        let identities = self.identities();
        let alias = self.unite(&identities);
        let kept = self.kept(&alias);
        let mut next = 0;
        let mut number = |kept: &bool| {
            next += u32::from(*kept);
            next.saturating_sub(1)
        };
        let of_kept: Vec<u32> = kept.iter().map(&mut number).collect();
        let numbers = alias.iter().map(|draft| of_kept[*draft]).collect();
        if next == 0 {
            return Err(MapError::Nothing);
        }
        report::unused(&mut self);
        let works = self.drafts.into_iter().zip(identities).zip(kept).filter(|(_, kept)| *kept);
        let drafts = works.map(|((work, identity), _)| Draft {
            type_name: r4::model().at(work.kind).name,
            identity,
            deleted: work.deleted,
            weak: work.weak,
            root: work.root,
        });
        let report = Report { set: self.set, message: self.message, notes: self.notes };
        Ok(Mapped { map: &self.plan.name, drafts: drafts.collect(), report, tree: self.tree, numbers })
    }

    /// Two drafts with one identity are one resource: the later one gives what the first lacks.
    fn unite(&mut self, identities: &[Option<Identity>]) -> Vec<usize> {
        let mut alias: Vec<usize> = (0..self.drafts.len()).collect();
        let mut first_of: HashMap<(u16, &Identity), usize, foldhash::fast::RandomState> = HashMap::default();
        first_of.reserve(identities.len());
        for (later, identity) in identities.iter().enumerate() {
            let Some(identity) = identity else { continue };
            let first = *first_of.entry((self.drafts[later].kind.0, identity)).or_insert(later);
            if first != later {
                alias[later] = first;
                self.tree.adopt(self.drafts[first].root, self.drafts[later].root);
            }
        }
        alias
    }

    /// Prunes and completes until no draft is empty or lacks what it must have, and no link leads nowhere.
    fn kept(&mut self, alias: &[usize]) -> Vec<bool> {
        let mut kept: Vec<bool> = (0..self.drafts.len()).map(|d| alias[d] == d).collect();
        loop {
            let before = kept.clone();
            for draft in (0..kept.len()).filter(|d| before[*d]) {
                let root = self.drafts[draft].root;
                kept[draft] = self.tree.prune(root, &|d| before[alias[d]]) && self.complete(draft);
            }
            if kept == before {
                return kept;
            }
        }
    }
}
